package stage

import (
	"context"
	"errors"
	"fmt"
)

// Table is a table, view or sequence by the server's names.
type Table struct {
	Database string
	Name     string
	Engine   string // "InnoDB"; that of the partitions of a partitioned table; "" for a view
	Type     string // "BASE TABLE", "VIEW", "SEQUENCE", "SYSTEM VERSIONED"
	Options  string // CREATE_OPTIONS: "partitioned transactional=1 ..."; from TableInfo only

	// Problem is what the server says of a definition that it cannot read; Engine
	// is "" then although the table is no view.
	Problem string
}

// Checkable reports whether CHECK TABLE can tell something of the table's own data. It
// does not know sequences. Views depend on other objects, and may be invalid for long.
func (t Table) Checkable() bool {
	switch t.Engine {
	case "", "FEDERATED", "MEMORY", "BLACKHOLE", "MRG_MyISAM", "PERFORMANCE_SCHEMA":
		return false
	}
	return t.Type != "VIEW" && t.Type != "SEQUENCE"
}

// ErrNoTable is returned by TableInfo for a table that does not exist.
var ErrNoTable = errors.New("no such table")

// listed leaves out the schemas that exist in memory only.
const listed = ` FROM information_schema.TABLES
	WHERE TABLE_SCHEMA NOT IN ('information_schema', 'performance_schema')`

// Tables lists every table, view and sequence, without Options, in no order. The
// server reads the head of each definition, and waits (up to 10 s each) for a
// table that a statement has locked exclusively; one that it cannot read comes
// back with a Problem. Not for use under BLOCK_DDL.
func (s *Server) Tables(ctx context.Context) ([]Table, error) {
	// Any further column makes the server open every table, which takes fifty
	// times as long.
	all, err := s.control.rows(ctx,
		"SELECT TABLE_SCHEMA, TABLE_NAME, ENGINE, TABLE_TYPE"+listed+" AND TABLE_TYPE <> 'TEMPORARY'")
	if err != nil {
		return nil, fmt.Errorf("list the tables: %w", err)
	}
	tables := make([]Table, 0, len(all))
	for _, r := range all {
		t := Table{Database: r.at(0), Name: r.at(1), Engine: r.at(2), Type: r.at(3)}
		if t.Engine == "" && t.Type != "VIEW" {
			full, err := s.TableInfo(ctx, t.Database, t.Name)
			if errors.Is(err, ErrNoTable) {
				continue // dropped since
			}
			if err != nil {
				return nil, fmt.Errorf("list the tables: %w", err)
			}
			t.Problem = full.Problem
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// TableNames lists the same by Database and Name only, without reading a
// definition and without waiting for any lock.
func (s *Server) TableNames(ctx context.Context) ([]Table, error) {
	all, err := s.control.rows(ctx, "SELECT TABLE_SCHEMA, TABLE_NAME"+listed)
	if err != nil {
		return nil, fmt.Errorf("list the tables' names: %w", err)
	}
	tables := make([]Table, len(all))
	for i, r := range all {
		tables[i] = Table{Database: r.at(0), Name: r.at(1)}
	}
	return tables, nil
}

// HasTables reports whether the server finds a table in a database. Lists of all
// databases lack those whose directories are not readable by their modes, although
// their tables can be used.
func (s *Server) HasTables(ctx context.Context, database string) (bool, error) {
	found, err := s.control.rows(ctx,
		"SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? LIMIT 1", database)
	if err != nil {
		return false, fmt.Errorf("look for tables of %s: %w", quoteName(database), err)
	}
	return len(found) > 0, nil
}

// Databases lists the names of all databases that have files.
func (s *Server) Databases(ctx context.Context) ([]string, error) {
	all, err := s.control.rows(ctx, `SELECT SCHEMA_NAME FROM information_schema.SCHEMATA
		WHERE SCHEMA_NAME NOT IN ('information_schema', 'performance_schema')`)
	if err != nil {
		return nil, fmt.Errorf("list the databases: %w", err)
	}
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = r.at(0)
	}
	return names, nil
}

// TableInfo describes one table in full; the server opens it. It returns
// ErrNoTable if there is none.
func (s *Server) TableInfo(ctx context.Context, db, name string) (Table, error) {
	all, err := s.control.rows(ctx, `SELECT ENGINE, TABLE_TYPE, CREATE_OPTIONS, TABLE_COMMENT
		FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ? AND TABLE_TYPE <> 'TEMPORARY'`, db, name)
	if err == nil && len(all) == 0 {
		err = ErrNoTable
	}
	if err != nil {
		return Table{}, fmt.Errorf("look at table %s.%s: %w", quoteName(db), quoteName(name), err)
	}
	r := all[0]
	t := Table{Database: db, Name: name, Engine: r.at(0), Type: r.at(1), Options: r.at(2)}
	if t.Engine == "" && t.Type != "VIEW" {
		t.Problem = r.at(3)
	}
	return t, nil
}

// ForeignKey is a foreign key of InnoDB, by the names of its tables on disk.
type ForeignKey struct{ Child, Parent string }

// ForeignKeys lists all foreign keys.
func (s *Server) ForeignKeys(ctx context.Context) ([]ForeignKey, error) {
	all, err := s.control.rows(ctx, "SELECT FOR_NAME, REF_NAME FROM information_schema.INNODB_SYS_FOREIGN")
	if err != nil {
		return nil, fmt.Errorf("list foreign keys: %w", err)
	}
	keys := make([]ForeignKey, len(all))
	for i, r := range all {
		keys[i] = ForeignKey{Child: r.at(0), Parent: r.at(1)}
	}
	return keys, nil
}
