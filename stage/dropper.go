package stage

import (
	"context"
	"fmt"
	"strings"

	"mbk/internal/datadir/filename"
)

// Dropper is a connection that removes databases and tables. It is for servers
// that nobody else uses, such as one that was started on a restored backup. One
// statement runs at a time.
type Dropper struct {
	own *session
}

// Dropper opens the connection. The caller calls Close.
func (s *Server) Dropper(ctx context.Context) (*Dropper, error) {
	own, err := open(ctx, s.cfg, 0, false)
	if err != nil {
		return nil, fmt.Errorf("open a connection to drop tables: %w", err)
	}
	d := &Dropper{own}
	if err := own.exec(ctx, "SET SESSION foreign_key_checks=0"); err != nil {
		d.Close()
		return nil, fmt.Errorf("open a connection to drop tables: %w", err)
	}
	return d, nil
}

// Close ends the connection.
func (d *Dropper) Close() { d.own.close() }

// DropDatabase drops a database with all that the server knows of it, even if its
// directory is missing. One whose name the server makes no database by ("#mysql50#a-b")
// is dropped if its directory is there.
func (d *Dropper) DropDatabase(ctx context.Context, name string) error {
	texts := []string{"CREATE DATABASE IF NOT EXISTS ", "DROP DATABASE "}
	if filename.Uncoded(name) {
		texts = []string{"DROP DATABASE IF EXISTS "}
	}
	for _, text := range texts {
		if err := d.own.exec(ctx, text+quoteName(name)); err != nil {
			return fmt.Errorf("drop database %s: %w", quoteName(name), err)
		}
	}
	return nil
}

// DropTables drops tables of one database, also such as only InnoDB knows.
func (d *Dropper) DropTables(ctx context.Context, database string, names []string) error {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = quoteName(database) + "." + quoteName(name)
	}
	if err := d.own.exec(ctx, "DROP TABLE "+strings.Join(list, ", ")); err != nil {
		return fmt.Errorf("drop %s: %w", strings.Join(list, ", "), err)
	}
	return nil
}

// The tables in which the server keeps statistics of others.
const (
	innodbStatistics = "innodb_table_stats innodb_index_stats"
	serverStatistics = "table_stats column_stats index_stats"
)

// DropStatistics removes the statistics of all tables but those that keep says to
// keep. Partitions come as "table#P#partition". Tables of statistics that are
// missing have none.
func (d *Dropper) DropStatistics(ctx context.Context, keep func(database, table string) bool) error {
	kinds := []struct{ tables, column string }{{innodbStatistics, "database_name"}, {serverStatistics, "db_name"}}
	for _, kind := range kinds {
		for _, table := range strings.Fields(kind.tables) {
			all, err := d.own.rows(ctx, "SELECT DISTINCT "+kind.column+", table_name FROM mysql."+table)
			if number(err) == erNoSuchTable {
				continue
			}
			if err != nil {
				return fmt.Errorf("look at mysql.%s: %w", table, err)
			}
			for _, r := range all {
				if keep(r.at(0), r.at(1)) {
					continue
				}
				of := kind.column + "=" + quoteText(r.at(0)) + " AND table_name=" + quoteText(r.at(1))
				if err := d.own.exec(ctx, "DELETE FROM mysql."+table+" WHERE "+of); err != nil {
					return fmt.Errorf("clear mysql.%s: %w", table, err)
				}
			}
		}
	}
	return nil
}
