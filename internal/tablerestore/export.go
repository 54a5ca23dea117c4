package tablerestore

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/internal/ui/meter"
	"mbk/stage"
)

// Names in an exported folder.
const (
	exportReadme = "README.txt"
	exportCreate = "1-create.sql"
	exportImport = "2-import.sql"
	exportFiles  = "files" // as they lie in a data directory
	exportRows   = "rows"
)

// checkExport looks at the folder that is to be made.
func (p *plan) checkExport(context.Context) error {
	dir, err := filepath.Abs(p.o.Export)
	if err != nil {
		return err
	}
	p.o.Export = dir
	if _, err := os.Lstat(dir); err == nil || !errors.Is(err, fs.ErrNotExist) {
		p.object("name a folder that does not exist; its parent must", "%s exists", dir)
	}
	p.checkRoom(filepath.Dir(dir), "name another folder with "+hint.Option("export"))
	p.checkVersioned()
	return nil
}

// export is a folder with tables for an import by hand.
type export struct {
	plan   *plan
	root   *os.Root
	create *script // before the files are copied
	load   *script // afterwards
	tables int
	copied bool // there are files to copy
	loaded bool // there are rows to load
}

// export writes the tables into a new folder. It has its name only when it is complete.
func (p *plan) export(ctx context.Context, s *source, r *Report) (err error) {
	work := p.o.Export + "." + workPrefix + token()
	if err := os.Mkdir(work, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(work)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, root.Close())
		if err != nil {
			err = errors.Join(err, os.RemoveAll(work))
		}
	}()
	e := &export{plan: p, root: root}
	if err := e.write(ctx, s, r); err != nil {
		return err
	}
	if err := e.sync(); err != nil {
		return err
	}
	// Never in the place of something that somebody made meanwhile.
	if err := unix.Renameat2(unix.AT_FDCWD, work, unix.AT_FDCWD, p.o.Export, unix.RENAME_NOREPLACE); err != nil {
		return &os.LinkError{Op: "rename", Old: work, New: p.o.Export, Err: err}
	}
	r.Export = p.o.Export
	return nil
}

// write fills the folder.
func (e *export) write(ctx context.Context, s *source, r *Report) (err error) {
	if e.create, err = newScript(e.root, exportCreate); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.create.close()) }()
	if e.load, err = newScript(e.root, exportImport); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.load.close()) }()
	if err := e.plan.describe(ctx, s, r); err != nil {
		return err
	}
	if err := e.begin(ctx, s); err != nil {
		return err
	}
	if err := e.writeTables(ctx, s, r); err != nil {
		return err
	}
	if err := e.finish(ctx, s, r); err != nil {
		return err
	}
	return e.root.WriteFile(exportReadme, []byte(e.readme(r)), 0o600)
}

// begin writes how both scripts begin, and what makes the databases.
func (e *export) begin(ctx context.Context, s *source) error {
	for _, one := range []*script{e.create, e.load} {
		one.comment("Written by mbk: " + exportReadme + " says how to use this.")
		one.run("SET NAMES utf8mb4",
			"SET SESSION sql_mode="+stage.QuoteText(workMode)+", time_zone='+00:00', foreign_key_checks=0, "+
				"unique_checks=0, check_constraint_checks=0, innodb_strict_mode=OFF, sql_log_bin=OFF")
	}
	e.create.comment("Stop here on a server that cannot take this.")
	for _, check := range e.conditions() {
		e.create.run("BEGIN NOT ATOMIC IF NOT (" + check.condition + ") THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT=" +
			stage.QuoteText(check.message) + "; END IF; END")
	}
	done := map[string]bool{}
	databases := e.plan.databases
	for _, t := range append(e.plan.tables, e.plan.views...) {
		databases = append(databases[:len(databases):len(databases)], t.Database)
	}
	for i, from := range databases {
		name := e.plan.database(from)
		if as := e.plan.o.As; as != nil && i >= len(e.plan.databases) {
			name = as.Database
		}
		if done[name] {
			continue
		}
		done[name] = true
		defaults, err := s.defaults(ctx, from)
		if err != nil {
			return err
		}
		e.create.run("CREATE DATABASE IF NOT EXISTS " + stage.QuoteName(name) + defaults)
	}
	return nil
}

// condition is something that the server must have.
type condition struct{ condition, message string }

// conditions are what the server must have to take the tables.
func (e *export) conditions() []condition {
	const pages, fold = "innodb_page_size", "lower_case_table_names"
	var found []condition
	if v, err := stage.ParseVersion(e.plan.part.Manifest().Server.Version); err == nil {
		found = append(found, condition{
			fmt.Sprintf("SUBSTRING_INDEX(VERSION(), '.', 1) * 1000 + SUBSTRING_INDEX(SUBSTRING_INDEX(VERSION(), '.', 2), "+
				"'.', -1) >= %d", v.Major*1000+v.Minor),
			fmt.Sprintf("the tables are of MariaDB %d.%d and this server is older", v.Major, v.Minor),
		})
	}
	for _, name := range []string{pages, fold} {
		if value := e.plan.part.Manifest().Server.Variables[name]; value != "" {
			found = append(found, condition{"@@" + name + " = " + value, "the tables need " + name + "=" + value})
		}
	}
	return found
}

// writeTables writes sequences and tables, with what follows from one group of them to the next.
func (e *export) writeTables(ctx context.Context, s *source, r *Report) error {
	p := e.plan
	p.meter = meter.New(p.o.OnProgress)
	var total int64
	for _, t := range p.tables {
		total += t.bytes
	}
	p.meter.Begin(PhaseExport, total)
	for _, group := range p.sequencesFirst() {
		for _, t := range group {
			e.tables++
			if err := e.writeTable(ctx, s, t); err != nil {
				return fmt.Errorf("%s: %w", label(t), err)
			}
			if t.way == WayRows {
				p.meter.Add(t.bytes)
			}
		}
	}
	p.meter.End()
	return nil
}

// writeTable writes what makes one table, and its files or rows.
func (e *export) writeTable(ctx context.Context, s *source, t *table) error {
	use := "USE " + stage.QuoteName(t.as.Database)
	e.create.run(use)
	e.load.run(use)
	switch {
	case t.Type == "SEQUENCE":
		statements, err := s.sequence(ctx, t, label(t))
		e.create.run(statements...)
		return err
	case withoutRows(t.Engine):
		t.way = WayDefinition
		e.create.run(t.def.create(label(t), true))
		return nil
	case strings.EqualFold(t.Engine, "InnoDB") && !t.def.vector:
		t.way = WayFiles
		return e.writeFiles(ctx, s, t)
	}
	t.way = WayRows
	e.create.run(t.def.create(label(t), true))
	return e.writeRows(ctx, s, t)
}

// writeFiles writes the tablespaces of a table.
func (e *export) writeFiles(ctx context.Context, s *source, t *table) error {
	if err := s.rebuild(ctx, t, true); err != nil {
		return err
	}
	e.copied = true
	e.create.run(t.def.create(label(t), false))
	err := s.export(ctx, t, func(paths map[string]string) error {
		if len(t.parts) == 0 {
			e.create.run("ALTER TABLE " + label(t) + " DISCARD TABLESPACE")
			e.load.run("ALTER TABLE " + label(t) + " IMPORT TABLESPACE")
			return e.copyFiles(s, paths[""], t.as.Database, t.as.Table)
		}
		for i, part := range t.parts {
			from, ok := paths[part]
			if !ok {
				return fmt.Errorf("there is no file of partition %s", part)
			}
			name := fmt.Sprintf("mbk_import_%d%s%d", e.tables, partSuffix, i+1)
			alone := qualified(t.as.Database, name)
			e.create.run("CREATE TABLE "+alone+" LIKE "+label(t), "ALTER TABLE "+alone+" REMOVE PARTITIONING",
				"ALTER TABLE "+alone+" DISCARD TABLESPACE")
			e.load.run("ALTER TABLE "+alone+" IMPORT TABLESPACE",
				"ALTER TABLE "+label(t)+" EXCHANGE PARTITION "+stage.QuoteName(part)+" WITH TABLE "+alone+
					" /*M!110400 WITHOUT VALIDATION */", "DROP TABLE "+alone)
			if err := e.copyFiles(s, from, t.as.Database, name); err != nil {
				return err
			}
		}
		return nil
	})
	for _, k := range t.def.fulltext {
		e.load.run("ALTER TABLE " + label(t) + " ADD " + k.text)
	}
	e.checkRows(t)
	return err
}

// copyFiles copies a tablespace and its description. from has no extension.
func (e *export) copyFiles(s *source, from, database, table string) error {
	dir := path.Join(exportFiles, filename.Encode(database))
	if err := e.root.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, extension := range []string{".ibd", ".cfg"} {
		n, err := copyFile(s.files, from+extension, e, path.Join(dir, filename.Encode(table)+extension))
		if err != nil {
			return err
		}
		e.plan.copied(n)
	}
	return nil
}

// Create makes a file of the folder.
func (e *export) Create(name string) (*os.File, error) {
	return e.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// writeRows writes the rows of a table.
func (e *export) writeRows(ctx context.Context, s *source, t *table) (err error) {
	e.loaded = true
	if err := e.root.MkdirAll(exportRows, 0o700); err != nil {
		return err
	}
	name := path.Join(exportRows, fmt.Sprintf("%d.txt", e.tables))
	f, err := e.Create(name)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	out := bufio.NewWriterSize(f, 1<<20)
	var line []byte
	err = s.client.Each(ctx, readText(qualified(t.Database, t.Name), t.fields), func(row []sql.RawBytes) error {
		line = appendRow(line[:0], row)
		_, err := out.Write(line)
		return err
	})
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	e.load.run(strings.Replace(loadText(label(t), t.fields), "?", stage.QuoteText(name), 1))
	e.checkRows(t)
	return nil
}

// checkRows has the server check a table and the number of its rows.
func (e *export) checkRows(t *table) {
	all := ""
	if t.Type == "SYSTEM VERSIONED" {
		all = " FOR SYSTEM_TIME ALL"
	}
	wrong := stage.QuoteText(fmt.Sprintf("the table has not its %d rows", t.rows))
	e.load.run("CHECK TABLE "+label(t), fmt.Sprintf("BEGIN NOT ATOMIC IF (SELECT COUNT(*) FROM %s%s) <> %d "+
		"THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT=%s; END IF; END", label(t), all, t.rows, wrong))
}

// finish writes what comes when all tables are filled.
func (e *export) finish(ctx context.Context, s *source, r *Report) error {
	if e.copied {
		e.load.comment("Without a checkpoint a crash of the server would lose what was imported.")
		e.load.run("/*M!100800 SET GLOBAL innodb_log_checkpoint_now=ON */")
	}
	for _, t := range e.plan.tables {
		r.Tables = append(r.Tables, t.report())
		var add []string
		for _, k := range t.def.foreign {
			add = append(add, e.plan.addedKey(t, k))
		}
		if len(add) > 0 {
			e.load.run("ALTER TABLE " + label(t) + " " + strings.Join(add, ", "))
		}
	}
	m := programs{e.plan, e.load}
	for _, t := range e.plan.tables {
		if err := m.makeTriggers(ctx, s, t, r); err != nil {
			return err
		}
	}
	return m.make(ctx, s, r)
}

// sync waits until everything in the folder is on stable storage.
func (e *export) sync() error {
	f, err := e.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
