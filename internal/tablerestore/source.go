package tablerestore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/datadir/filter"
	"mbk/internal/datadir/serverfs"
	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/stage"
)

// source is the private server, which has recovered the tables.
type source struct {
	server *mariadbd.Server
	client *stage.Client
	files  *serverfs.FS
	data   string // its data directory
}

// openSource connects to the private server.
func openSource(ctx context.Context, server *mariadbd.Server, i mariadbd.Instance) (*source, error) {
	s := &source{server: server, data: i.Data}
	var err error
	if s.files, err = serverfs.New(i.Data, i.Owner); err != nil {
		return nil, err
	}
	s.client, err = server.SQL.Client(ctx, "SET SESSION time_zone='+00:00', foreign_key_checks=0, "+
		"character_set_results=NULL", "SET GLOBAL innodb_file_per_table=ON")
	if err != nil {
		_ = s.files.Close()
		return nil, err
	}
	return s, nil
}

// close ends the connection.
func (s *source) close() {
	s.client.Close()
	_ = s.files.Close()
}

// list returns all tables, with their sizes in bytes, and databases.
func (s *source) list(ctx context.Context) (
	tables []repo.Table, databases []string, sizes map[filter.Name]int64, err error,
) {
	found, err := s.client.Rows(ctx, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA "+
		"WHERE SCHEMA_NAME NOT IN ('information_schema', 'performance_schema')")
	if err != nil {
		return nil, nil, nil, err
	}
	for _, r := range found {
		databases = append(databases, r[0])
	}
	found, err = s.client.Rows(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, ENGINE, "+
		"COALESCE(DATA_LENGTH + INDEX_LENGTH, 0) FROM information_schema.TABLES "+
		"WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema') ORDER BY 1, 2")
	sizes = map[filter.Name]int64{}
	for _, r := range found {
		tables = append(tables, repo.Table{Database: r[0], Name: r[1], Type: r[2], Engine: r[3]})
		size, _ := strconv.ParseInt(r[4], 10, 64) // the server writes numbers
		sizes[filter.Name{Database: r[0], Table: r[1]}] = size
	}
	return tables, databases, sizes, err
}

// describe reads what a table is.
func (s *source) describe(ctx context.Context, t *table) error {
	name := qualified(t.Database, t.Name)
	kind := "TABLE"
	switch t.Type {
	case "VIEW":
		kind = "VIEW"
	case "SEQUENCE":
		kind = "SEQUENCE"
	}
	row, err := s.one(ctx, "SHOW CREATE "+kind+" "+name)
	if stage.Number(err) == erWrongMerge {
		return hint.Wrap(err, "restore the tables that it is made of with it: name them with "+hint.Option("table")+", too")
	}
	if err != nil {
		return err
	}
	t.create = row[1]
	if kind != "TABLE" {
		return nil
	}
	if t.def, err = parseDefinition(t.create); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if slices.ContainsFunc(t.def.elements, byTransactions) {
		return hint.Wrap(fmt.Errorf("%s is versioned by transactions (BIGINT columns as ROW START and ROW END), of which "+
			"only the source has the times, in mysql.transaction_registry", name), wholeElsewhere())
	}
	parts, err := s.client.Rows(ctx, "SELECT COALESCE(SUBPARTITION_NAME, PARTITION_NAME) "+
		"FROM information_schema.PARTITIONS WHERE TABLE_SCHEMA=? AND TABLE_NAME=? AND PARTITION_NAME IS NOT NULL",
		t.Database, t.Name)
	if err != nil {
		return err
	}
	for _, r := range parts {
		t.parts = append(t.parts, r[0])
	}
	columns, err := s.client.Rows(ctx, "SELECT COLUMN_NAME, DATA_TYPE FROM information_schema.COLUMNS "+
		"WHERE TABLE_SCHEMA=? AND TABLE_NAME=? AND IS_GENERATED='NEVER' ORDER BY ORDINAL_POSITION", t.Database, t.Name)
	if err != nil {
		return err
	}
	for _, r := range columns {
		t.fields = append(t.fields, column{name: r[0], kind: strings.ToLower(r[1])})
	}
	if withoutRows(t.Engine) {
		return nil // and whoever asked would ask another server, or tables that are not here
	}
	t.rows, err = countRows(ctx, s.client, name, t.Type)
	return err
}

// defaults are the character set and the collation of a database, as CREATE DATABASE has them.
func (s *source) defaults(ctx context.Context, database string) (string, error) {
	row, err := s.one(ctx, "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA "+
		"WHERE SCHEMA_NAME="+stage.QuoteText(database))
	if err != nil {
		return "", err
	}
	return " CHARACTER SET " + row[0] + " COLLATE " + row[1], nil
}

// sequence returns the statements that make a sequence of that quoted name, which goes on where the
// source's was.
func (s *source) sequence(ctx context.Context, t *table, name string) ([]string, error) {
	_, rest, err := cutName(strings.TrimPrefix(t.create, "CREATE SEQUENCE "))
	if err != nil {
		return nil, err
	}
	row, err := s.one(ctx, "SELECT * FROM "+qualified(t.Database, t.Name))
	if err != nil {
		return nil, err
	}
	t.way, t.rows = WayRows, 1
	return []string{
		"CREATE SEQUENCE " + name + " " + rest, "INSERT INTO " + name + " VALUES (" + strings.Join(row, ", ") + ")",
	}, nil
}

// erWrongMerge is the server's number for a table of MERGE of which the parts are not there.
const erWrongMerge = 1168

// byTransactions reports whether a column is the id of the transaction that made a version of a
// row.
func byTransactions(element string) bool {
	_, rest, err := cutName(element)
	return err == nil && strings.HasPrefix(rest, "bigint") && findOutsideQuotes(rest, " GENERATED ALWAYS AS ROW ") > 0
}

// one runs a query whose answer has one row.
func (s *source) one(ctx context.Context, text string) ([]string, error) {
	all, err := s.client.Rows(ctx, text)
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("%s: %d rows in place of one", text, len(all))
	}
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// countRows counts the rows of a table, those of its history too.
func countRows(ctx context.Context, c *stage.Client, name, kind string) (int64, error) {
	text := "SELECT COUNT(*) FROM " + name
	if kind == "SYSTEM VERSIONED" {
		text += " FOR SYSTEM_TIME ALL"
	}
	all, err := c.Rows(ctx, text)
	if err != nil {
		return 0, err
	}
	var n int64
	if _, err := fmt.Sscan(all[0][0], &n); err != nil {
		return 0, fmt.Errorf("%s: %w", text, err)
	}
	return n, nil
}

// rebuild brings a table of InnoDB into a form whose files any server takes: without
// full-text indexes and what they leave behind, in a tablespace of its own, and without
// what instant changes of columns have left in it, if old says that the running server may
// not read that right (MDEV-33512).
func (s *source) rebuild(ctx context.Context, t *table, old bool) error {
	paths, err := s.tablespaces(t)
	if err != nil {
		return err
	}
	hidden, err := s.client.Rows(ctx, "SELECT 1 FROM information_schema.INNODB_SYS_INDEXES i JOIN "+
		"information_schema.INNODB_SYS_TABLES t ON i.TABLE_ID = t.TABLE_ID "+
		"WHERE t.NAME=? AND i.NAME='FTS_DOC_ID_INDEX'", filename.Encode(t.Database)+"/"+filename.Encode(t.Name))
	if err != nil {
		return err
	}
	if len(paths) > 0 && len(hidden) == 0 && !old {
		return nil
	}
	var changes []string
	for _, k := range t.def.fulltext {
		changes = append(changes, "DROP INDEX "+stage.QuoteName(k.name))
	}
	changes = append(changes, "FORCE")
	return s.client.Exec(ctx, "ALTER TABLE "+qualified(t.Database, t.Name)+" "+strings.Join(changes, ", "))
}

// tablespaces returns the paths of a table's files of InnoDB without their extension, by the
// names of its partitions; by "" if it has none.
func (s *source) tablespaces(t *table) (map[string]string, error) {
	dir := filepath.Join(s.data, filename.Encode(t.Database))
	list, err := s.files.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	base := filename.Encode(t.Name)
	found := map[string]string{}
	for _, e := range list {
		name, ok := strings.CutSuffix(e.Name(), ".ibd")
		if !ok || filename.Base(name) != base {
			continue
		}
		part := ""
		if name != base {
			part = filename.SQL(name[strings.LastIndexByte(strings.ToLower(name), '#')+1:])
		}
		found[part] = filepath.Join(dir, name)
	}
	return found, nil
}

// export holds the table's files still while f copies them, by the names of its partitions.
func (s *source) export(ctx context.Context, t *table, f func(paths map[string]string) error) (err error) {
	if err := s.client.Exec(ctx, "FLUSH TABLES "+qualified(t.Database, t.Name)+" FOR EXPORT"); err != nil {
		return err
	}
	paths, err := s.tablespaces(t)
	if err == nil && len(paths) != max(1, len(t.parts)) {
		err = fmt.Errorf("%s has %d tablespaces, want %d", qualified(t.Database, t.Name), len(paths), max(1, len(t.parts)))
	}
	if err == nil {
		err = f(paths)
	}
	if unlockErr := s.client.Exec(ctx, "UNLOCK TABLES"); err == nil {
		err = unlockErr
	}
	return err
}

// creator makes files: a data directory, or an exported folder.
type creator interface {
	Create(path string) (*os.File, error)
}

// copyFile copies a file of the private server's data directory.
func copyFile(from *serverfs.FS, path string, to creator, target string) (n int64, err error) {
	return copyChanged(from, path, to, target, 0, func([]byte) error { return nil })
}

// copyChanged copies such a file, of which change may change the first bytes, as many as there are up
// to size.
func copyChanged(
	from *serverfs.FS, path string, to creator, target string, size int, change func(first []byte) error,
) (n int64, err error) {
	in, err := from.Open(path)
	if err != nil {
		return 0, err
	}
	defer in.Close() //nolint:errcheck // only read
	first := make([]byte, size)
	have, err := io.ReadFull(in, first)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
		return 0, err
	}
	if err := change(first[:have]); err != nil {
		return 0, err
	}
	var out *os.File
	if out, err = to.Create(target); err != nil {
		return 0, err
	}
	if _, err = out.Write(first[:have]); err == nil {
		n, err = io.Copy(out, in)
		n += int64(have)
	}
	if err == nil {
		err = out.Sync()
	}
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return n, err
}
