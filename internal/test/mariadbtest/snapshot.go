package mariadbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Object names one thing that Snapshot compares.
type Object struct {
	// "table", "rows", "database", "view", "trigger", "procedure", "function", "package", "event", "sequence", ...
	Kind string
	Name string // quoted, with its database
}

// Snapshot is everything in a server that a restored copy must have too, each
// with a text that is equal if and only if the thing is.
type Snapshot map[Object]string

// TakeSnapshot reads a server that is at rest: all definitions, and a checksum
// and the number of rows of every table. Left out is what the binary log does
// not carry and differs after a replay: the contents of MEMORY tables, of log
// and statistics tables and of gtid_slave_pos, next AUTO_INCREMENT values, and
// when events ran last. A table that cannot be read is an error. Of what is read only these
// databases can be wanted, if others are in a state that cannot be read.
func TakeSnapshot(ctx context.Context, s *Server, databases ...string) (Snapshot, error) {
	found := Snapshot{}
	schemas := realSchemas
	if len(databases) > 0 {
		schemas = "IN ('" + strings.Join(databases, "', '") + "')"
	}
	err := s.withConn(ctx, func(conn *sql.Conn) error {
		t := &snapshotter{ctx: ctx, conn: conn, found: found, schemas: schemas}
		for _, step := range []func() error{t.prepare, t.databases, t.tables, t.disabledKeys, t.routines,
			t.triggers, t.events} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	return found, nil
}

// Diff returns one line for each object that is missing from got, is only in
// got, or differs. None means equal.
func Diff(got, want Snapshot) []string {
	var lines []string
	for o, w := range want {
		switch g, ok := got[o]; {
		case !ok:
			lines = append(lines, fmt.Sprintf("%s %s: missing", o.Kind, o.Name))
		case g != w:
			from := firstDifference(g, w)
			lines = append(lines, fmt.Sprintf("%s %s: got %q, want %q", o.Kind, o.Name, excerpt(g, from), excerpt(w, from)))
		}
	}
	for o := range got {
		if _, ok := want[o]; !ok {
			lines = append(lines, fmt.Sprintf("%s %s: not in the original", o.Kind, o.Name))
		}
	}
	slices.Sort(lines)
	return lines
}

// realSchemas is the condition for databases that have files.
const realSchemas = "NOT IN ('information_schema', 'performance_schema')"

// snapshotter fills a Snapshot.
type snapshotter struct {
	ctx     context.Context
	conn    *sql.Conn
	found   Snapshot
	schemas string // the condition on the names of databases
}

// prepare makes results independent of the server's settings.
func (t *snapshotter) prepare() error {
	for _, q := range []string{
		"SET SESSION sql_mode='', time_zone='+00:00', character_set_results=NULL, group_concat_max_len=16777216",
		"SET SESSION sql_quote_show_create=1, lock_wait_timeout=60",
	} {
		if _, err := t.conn.ExecContext(t.ctx, q); err != nil {
			return fmt.Errorf("%s: %w", q, err)
		}
	}
	return nil
}

func (t *snapshotter) databases() error {
	names, err := t.rows("SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME " + t.schemas)
	if err != nil {
		return err
	}
	for _, row := range names {
		err := t.definition("database", quote(row[0]), "SHOW CREATE DATABASE "+quote(row[0]))
		if err != nil {
			return err
		}
	}
	return nil
}

// tables reads base tables, sequences and views, and the rows of the first two.
func (t *snapshotter) tables() error {
	all, err := t.rows("SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, IFNULL(ENGINE, '') FROM information_schema.TABLES " +
		"WHERE TABLE_SCHEMA " + t.schemas)
	if err != nil {
		return err
	}
	virtual, err := t.virtualColumns()
	if err != nil {
		return err
	}
	for _, row := range all {
		name, kind := quote(row[0], row[1]), "table"
		switch row[2] {
		case "VIEW":
			kind = "view"
		case "SEQUENCE":
			kind = "sequence"
		}
		if err := t.definition(kind, name, "SHOW CREATE TABLE "+name); err != nil {
			return err
		}
		if row[3] == "ARCHIVE" { // one that stays open may answer with an old number of rows
			if _, err := t.rows("FLUSH LOCAL TABLES " + name); err != nil {
				return err
			}
		}
		switch {
		case kind == "view", row[3] == "MEMORY", row[3] == "BLACKHOLE", !replayed(row[0], row[1]):
			continue
		case kind == "sequence":
			err = t.sequence(name)
		case row[2] == "SYSTEM VERSIONED", virtual[name], row[0] == "mysql":
			err = t.sum(row[0], row[1], row[2] == "SYSTEM VERSIONED")
		default:
			err = t.checksum(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replayed reports whether the binary log brings a table's rows to a copy.
func replayed(db, name string) bool {
	if db != "mysql" {
		return true
	}
	switch name {
	case "general_log", "slow_log", "table_stats", "column_stats", "index_stats", "innodb_table_stats",
		"innodb_index_stats", "gtid_slave_pos", "transaction_registry":
		return false
	}
	return true
}

// virtualColumns returns the tables for which CHECKSUM TABLE gives a random
// number: those with columns that are not stored.
func (t *snapshotter) virtualColumns() (map[string]bool, error) {
	rows, err := t.rows("SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME FROM information_schema.COLUMNS WHERE EXTRA LIKE " +
		"'%VIRTUAL GENERATED%' AND TABLE_SCHEMA " + t.schemas)
	if err != nil {
		return nil, err
	}
	found := map[string]bool{}
	for _, row := range rows {
		found[quote(row[0], row[1])] = true
	}
	return found, nil
}

// disabledKeys reads which keys are not kept up to date.
func (t *snapshotter) disabledKeys() error {
	rows, err := t.rows("SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME FROM information_schema.STATISTICS WHERE " +
		"COMMENT = 'disabled' AND TABLE_SCHEMA " + t.schemas)
	for _, row := range rows {
		t.found[Object{"disabled key", quote(row[0], row[1], row[2])}] = ""
	}
	return err
}

// checksum lets the server add up a table.
func (t *snapshotter) checksum(name string) error {
	rows, err := t.rows("CHECKSUM TABLE " + name + " EXTENDED")
	if err != nil {
		return err
	}
	if len(rows) != 1 || rows[0][1] == null {
		return fmt.Errorf("CHECKSUM TABLE %s: no result: %s", name, t.warnings())
	}
	// Not COUNT(*), which Aria answers from a counter that may be wrong, until
	// the table is closed, after a BINLOG statement has filled it.
	count, err := t.rows("SELECT IFNULL(SUM(1), 0) FROM " + name)
	if err != nil {
		return err
	}
	t.found[Object{"rows", name}] = fmt.Sprintf("%s rows, checksum %s", count[0][0], rows[0][1])
	return nil
}

// sequence reads the one row of a sequence.
func (t *snapshotter) sequence(name string) error {
	rows, err := t.rows("SELECT * FROM " + name)
	if err != nil {
		return err
	}
	t.found[Object{"rows", name}] = fmt.Sprint(rows)
	return nil
}

// sum adds a table up by a query, column by column.
func (t *snapshotter) sum(db, table string, versioned bool) error {
	columns, err := t.columns(db, table)
	if err != nil {
		return err
	}
	name, history := quote(db, table), ""
	if versioned {
		history = " FOR SYSTEM_TIME ALL"
	}
	rows, err := t.rows("SELECT COUNT(*), IFNULL(SUM(CRC32(CONCAT_WS('|', " + strings.Join(columns, ", ") +
		"))), 0) FROM " + name + history)
	if err != nil {
		return err
	}
	t.found[Object{"rows", name}] = fmt.Sprintf("%s rows, sum %s", rows[0][0], rows[0][1])
	return nil
}

// columns returns an expression for each column of a table which the binary log
// brings to a copy; it tells NULL from every value.
func (t *snapshotter) columns(db, table string) ([]string, error) {
	rows, err := t.rows("SELECT COLUMN_NAME FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? "+
		"ORDER BY ORDINAL_POSITION", db, table)
	if err != nil {
		return nil, err
	}
	var found []string
	for _, row := range rows {
		if db == "mysql" && table == "event" && row[0] == "last_executed" {
			continue // written by the scheduler, not logged
		}
		found = append(found, "COALESCE(CONCAT('=', CAST("+quote(row[0])+" AS BINARY)), '-')")
	}
	return found, nil
}

func (t *snapshotter) routines() error {
	rows, err := t.rows("SELECT ROUTINE_SCHEMA, ROUTINE_NAME, ROUTINE_TYPE FROM information_schema.ROUTINES WHERE " +
		"ROUTINE_SCHEMA " + t.schemas)
	if err != nil {
		return err
	}
	for _, row := range rows {
		name := quote(row[0], row[1])
		if err := t.definition(strings.ToLower(row[2]), name, "SHOW CREATE "+row[2]+" "+name); err != nil {
			return err
		}
	}
	return nil
}

func (t *snapshotter) triggers() error {
	rows, err := t.rows("SELECT TRIGGER_SCHEMA, TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA " +
		t.schemas)
	if err != nil {
		return err
	}
	for _, row := range rows {
		name := quote(row[0], row[1])
		definition, err := t.rows("SHOW CREATE TRIGGER " + name)
		if err != nil {
			return err
		}
		if len(definition) != 1 {
			return fmt.Errorf("SHOW CREATE TRIGGER %s: no result", name)
		}
		// The last column is the time of creation, with a fraction of a second
		// that 10.5 does not log.
		columns := definition[0]
		t.found[Object{"trigger", name}] = strings.Join(columns[:len(columns)-1], " | ")
	}
	return nil
}

func (t *snapshotter) events() error {
	rows, err := t.rows("SELECT EVENT_SCHEMA, EVENT_NAME FROM information_schema.EVENTS WHERE EVENT_SCHEMA " + t.schemas)
	if err != nil {
		return err
	}
	for _, row := range rows {
		name := quote(row[0], row[1])
		if err := t.definition("event", name, "SHOW CREATE EVENT "+name); err != nil {
			return err
		}
	}
	return nil
}

// definition enters the result of a SHOW CREATE statement.
func (t *snapshotter) definition(kind, name, query string) error {
	rows, err := t.rows(query)
	if err != nil {
		return err
	}
	var text []string
	for _, row := range rows {
		text = append(text, strings.Join(row, " | "))
	}
	t.found[Object{kind, name}] = withoutAutoIncrement(strings.Join(text, "\n"))
	return nil
}

// withoutAutoIncrement removes the next value of the counter from a definition:
// a transaction that was rolled back has moved it on one side only.
func withoutAutoIncrement(definition string) string {
	before, after, found := strings.Cut(definition, "\n)")
	if !found {
		return definition
	}
	const option = " AUTO_INCREMENT="
	if i := strings.Index(after, option); i >= 0 {
		rest := strings.TrimLeft(after[i+len(option):], "0123456789")
		after = after[:i] + rest
	}
	return before + "\n)" + after
}

// null stands for NULL among the texts of rows.
const null = "\x00NULL"

// rows returns the result of a query as text.
func (t *snapshotter) rows(query string, args ...any) ([][]string, error) {
	found, err := queryText(t.ctx, t.conn, query, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shorten(query), err)
	}
	return found, nil
}

// warnings returns the warnings of the last statement.
func (t *snapshotter) warnings() string {
	rows, err := t.rows("SHOW WARNINGS")
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(rows)
}

// queryText reads a whole result.
func queryText(ctx context.Context, conn *sql.Conn, query string, args ...any) (found [][]string, err error) {
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	names, err := rows.Columns()
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		values := make([]sql.NullString, len(names))
		into := make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, err
		}
		row := make([]string, len(names))
		for i, v := range values {
			row[i] = v.String
			if !v.Valid {
				row[i] = null
			}
		}
		found = append(found, row)
	}
	return found, rows.Err()
}

// DiffRows returns up to limit rows that are in one of two servers' tables only,
// to find out what Diff is about. It reads both tables whole. The table's name
// is quoted, with its database, as in Object.
func DiffRows(ctx context.Context, got, want *Server, table string, limit int) ([]string, error) {
	g, err := allRows(ctx, got, table)
	if err != nil {
		return nil, err
	}
	w, err := allRows(ctx, want, table)
	if err != nil {
		return nil, err
	}
	var lines []string
	for row, n := range w {
		if n > g[row] {
			lines = append(lines, "missing: "+excerpt(row, 0))
		}
	}
	for row, n := range g {
		if n > w[row] {
			lines = append(lines, "not in the original: "+excerpt(row, 0))
		}
	}
	slices.Sort(lines)
	return lines[:min(limit, len(lines))], nil
}

// allRows counts the equal rows of a table.
func allRows(ctx context.Context, s *Server, table string) (map[string]int, error) {
	rows, err := s.query(ctx, "SELECT * FROM "+table)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", table, err)
	}
	found := map[string]int{}
	for _, row := range rows {
		found[strings.Join(row, " | ")]++
	}
	return found, nil
}

// Tables returns the names of the tables and views in a snapshot, sorted.
func (t Snapshot) Tables() []string {
	var names []string
	for o := range maps.Keys(t) {
		if o.Kind == "table" || o.Kind == "view" || o.Kind == "sequence" {
			names = append(names, o.Name)
		}
	}
	slices.Sort(names)
	return names
}

// firstDifference returns the place of the first byte in which a and b differ.
func firstDifference(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// excerpt returns at most 200 bytes of s around a place.
func excerpt(s string, at int) string {
	from := max(0, at-60)
	return s[min(from, len(s)):min(from+200, len(s))]
}
