package stage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"mbk/internal/hint"
)

// DefaultHistoryTable is the table for the history of backups on the server.
const DefaultHistoryTable = "mysql.mbk_history"

// ErrHistoryLogged is returned when a row of the history table would get into the
// server's binary log, or into a cluster. Other servers would then run it too, or
// a replica would have a transaction of its own.
var ErrHistoryLogged = errors.New("the row could not be kept on this server alone")

// errNoDatabase is what the server says with erBadDB.
var errNoDatabase = errors.New("there is no such database")

// HistoryTable names a table of the server in which attempts to back it up are
// kept. The zero value is none.
type HistoryTable struct{ Database, Name string }

// ParseHistoryTable reads "database.table".
func ParseHistoryTable(text string) (HistoryTable, error) {
	database, name, found := strings.Cut(text, ".")
	if !found || database == "" || name == "" || strings.Contains(name, ".") {
		return HistoryTable{}, fmt.Errorf("table %q: not of the form database.table", text)
	}
	return HistoryTable{database, name}, nil
}

// IsZero reports whether no table is named.
func (t HistoryTable) IsZero() bool { return t == HistoryTable{} }

// String is the name as a person writes it.
func (t HistoryTable) String() string { return t.Database + "." + t.Name }

func (t HistoryTable) quoted() string { return quoteName(t.Database) + "." + quoteName(t.Name) }

// HistoryRow is one attempt. docs/manual/history-table.md describes the columns.
type HistoryRow struct {
	RepositoryID, ID, Repository                        string
	Kind, Parent, Tool                                  string
	Label, FullReason                                   string // BLAKE3 of the label; why the backup is full, if it is
	Chain                                               int    // increments since the full backup
	BytesUnchanged, BytesResumed                        int64
	ServerVersion, Hostname                             string
	Started, Finished                                   time.Time
	Outcome, Error, Hints                               string
	LockMS                                              int64
	Checkpoint, End                                     uint64 // LSNs
	BytesRead, BytesStored                              int64
	RedoBytes, RedoCapacity, LowestHeadroom             int64
	BinlogFile                                          string
	BinlogPosition                                      uint64
	GTID                                                string
	Tables, Files, LeftOut, DamagedPages, DDL, Warnings int
}

// historyColumns are the definitions of the table's columns, in the order of
// HistoryRow.values.
const historyColumns = "`repository_id` CHAR(36) CHARACTER SET ascii NOT NULL," +
	"`id` VARCHAR(64) CHARACTER SET ascii NOT NULL," +
	"`repository` VARCHAR(1000) NOT NULL," +
	"`kind` VARCHAR(20) NOT NULL," +
	"`parent` VARCHAR(64) CHARACTER SET ascii NOT NULL," +
	"`label` CHAR(64) CHARACTER SET ascii NOT NULL COMMENT 'BLAKE3 of the label; empty if there is no backup'," +
	"`full_reason` TEXT NOT NULL COMMENT 'why no increment was made'," +
	"`chain` INT NOT NULL COMMENT 'increments since the full backup'," +
	"`bytes_unchanged` BIGINT NOT NULL COMMENT 'not read, as they are in the parent'," +
	"`bytes_resumed` BIGINT NOT NULL COMMENT 'of interrupted attempts'," +
	"`tool` VARCHAR(100) NOT NULL," +
	"`server_version` VARCHAR(100) NOT NULL," +
	"`hostname` VARCHAR(255) NOT NULL," +
	"`started` DATETIME(3) NOT NULL COMMENT 'UTC'," +
	"`finished` DATETIME(3) NOT NULL COMMENT 'UTC'," +
	"`outcome` VARCHAR(10) NOT NULL COMMENT 'ok or failed'," +
	"`error` TEXT NOT NULL," +
	"`hints` TEXT NOT NULL," +
	"`lock_window_ms` BIGINT NOT NULL," +
	"`lsn_checkpoint` BIGINT UNSIGNED NOT NULL," +
	"`lsn_end` BIGINT UNSIGNED NOT NULL," +
	"`bytes_read` BIGINT NOT NULL," +
	"`bytes_stored` BIGINT NOT NULL," +
	"`redo_bytes` BIGINT NOT NULL," +
	"`redo_capacity` BIGINT NOT NULL," +
	"`redo_headroom_low` BIGINT NOT NULL," +
	"`binlog_file` VARCHAR(512) NOT NULL," +
	"`binlog_position` BIGINT UNSIGNED NOT NULL," +
	"`binlog_gtid` TEXT NOT NULL," +
	"`tables` INT NOT NULL," +
	"`files` INT NOT NULL," +
	"`left_out` INT NOT NULL," +
	"`damaged_pages` INT NOT NULL," +
	"`ddl` INT NOT NULL," +
	"`warnings` INT NOT NULL,"

func (r HistoryRow) values() []any {
	const utc = "2006-01-02 15:04:05.000"
	return []any{
		r.RepositoryID, r.ID, r.Repository, r.Kind, r.Parent, r.Label, r.FullReason, r.Chain, r.BytesUnchanged,
		r.BytesResumed, r.Tool, r.ServerVersion, r.Hostname,
		r.Started.UTC().Format(utc), r.Finished.UTC().Format(utc), r.Outcome, r.Error, r.Hints,
		r.LockMS, r.Checkpoint, r.End, r.BytesRead, r.BytesStored, r.RedoBytes, r.RedoCapacity, r.LowestHeadroom,
		r.BinlogFile, r.BinlogPosition, r.GTID, r.Tables, r.Files, r.LeftOut, r.DamagedPages, r.DDL, r.Warnings,
	}
}

// create is the statement that makes the table.
func (t HistoryTable) create() string {
	return "CREATE TABLE IF NOT EXISTS " + t.quoted() + " (" + historyColumns +
		"PRIMARY KEY (`repository_id`, `id`), KEY (`started`)) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 " +
		"COMMENT='attempts to back up this server, by mbk'"
}

// insert is the statement that adds a row, with a mark for each value.
func (t HistoryTable) insert() string {
	var names []string
	for definition := range strings.SplitSeq(strings.TrimSuffix(historyColumns, ","), ",`") {
		name, _, _ := strings.Cut(strings.TrimPrefix(definition, "`"), "`")
		names = append(names, quoteName(name))
	}
	values := "?" + strings.Repeat(", ?", len(names)-1)
	return "INSERT INTO " + t.quoted() + " (" + strings.Join(names, ", ") + ") VALUES (" + values + ")"
}

// historyLimit bounds a statement about the history table.
const historyLimit = 8 * time.Second

// PutHistory adds a row to the table, which it makes if it is not there. Neither
// gets into the binary log: on a replica a transaction of its own would part it
// from its source, and other replicas have their own backups. Where that cannot be
// had nothing is written and the error is ErrHistoryLogged. Errors carry hints.
func (s *Server) PutHistory(ctx context.Context, table HistoryTable, row HistoryRow) error {
	x, err := open(ctx, s.cfg, historyLimit, false)
	if err != nil {
		return fmt.Errorf("history table %s: %w", table, err)
	}
	defer x.close()
	// Somebody else's lock ends the attempt before our limit ends the connection:
	// a statement that was given up must not be carried out later.
	if err := x.exec(ctx, "SET SESSION lock_wait_timeout=3, innodb_lock_wait_timeout=3"); err != nil {
		return s.explained(ctx, table, err)
	}
	if err := x.keepLocal(ctx); err != nil {
		return s.explained(ctx, table, err)
	}
	insert := func() error {
		return x.do(ctx, func(ctx context.Context, c *sql.Conn) error {
			_, err := c.ExecContext(ctx, table.insert(), row.values()...)
			return err
		})
	}
	err = insert()
	if number(err) == erNoSuchTable {
		if err = x.exec(ctx, table.create()); err == nil {
			err = insert()
		}
	}
	return s.explained(ctx, table, err)
}

// explained adds the table and advice to an error, nil of nil.
func (s *Server) explained(ctx context.Context, table HistoryTable, err error) error {
	if err == nil {
		return nil
	}
	var hints []hint.Text
	if number(err) == erBadDB || errors.Is(err, errNoDatabase) {
		hints = append(hints, hint.Textf("create the database %s, or name another table with %s",
			quoteName(table.Database), hint.Option("history-table")))
	}
	switch number(err) {
	case erBadField, erTableAccessDenied, erDBAccessDenied, erSpecificAccessDenied, erReadOnly:
		// What is missing can be asked for in whole.
		if grants, grantsErr := s.MissingHistoryGrants(ctx, table); grantsErr == nil {
			for _, grant := range grants {
				hints = append(hints, hint.Text(grant))
			}
		}
		if number(err) == erBadField {
			hints = append(hints, "a table of that name does not have the columns of this mbk: rename it, or name another with "+
				hint.Option("history-table"))
		}
	}
	return hint.Wrap(fmt.Errorf("history table %s: %w", table, err), hints...)
}

// keepLocal keeps what this session writes out of the binary log.
func (x *session) keepLocal(ctx context.Context) error {
	vars, err := x.pairs(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('log_bin', 'wsrep_on')")
	if err != nil {
		return err
	}
	if vars["wsrep_on"] == "ON" {
		return fmt.Errorf("%w: it is a node of a cluster", ErrHistoryLogged)
	}
	if vars["log_bin"] != "ON" {
		return nil
	}
	if err := x.exec(ctx, "SET SESSION sql_log_bin=0"); err != nil {
		return fmt.Errorf("%w: %w", ErrHistoryLogged, err)
	}
	return nil
}

// MissingHistoryGrants returns the statements that give the account what it needs
// for PutHistory, or nothing. Nothing is written or made.
func (s *Server) MissingHistoryGrants(ctx context.Context, table HistoryTable) ([]string, error) {
	x, err := open(ctx, s.cfg, historyLimit, false)
	if err != nil {
		return nil, err
	}
	defer x.close()
	global, err := s.missingForLocal(ctx, x)
	if err != nil {
		return nil, s.explained(ctx, table, err)
	}
	local, err := x.missingForTable(ctx, table)
	if err != nil {
		return nil, s.explained(ctx, table, err)
	}
	if len(global)+len(local) == 0 {
		return nil, nil
	}
	account, err := x.values(ctx, "SELECT CURRENT_USER()")
	if err != nil {
		return nil, err
	}
	var grants []string
	if len(global) > 0 {
		grants = append(grants, "GRANT "+strings.Join(global, ", ")+" ON *.* TO "+quoteAccount(account.at(0)))
	}
	if len(local) > 0 {
		grants = append(grants, "GRANT "+strings.Join(local, ", ")+" ON "+table.quoted()+" TO "+quoteAccount(account.at(0)))
	}
	return grants, nil
}

// missingForLocal names what the account lacks to write on this server alone, and
// on one that is read-only.
func (s *Server) missingForLocal(ctx context.Context, x *session) ([]string, error) {
	var lacking []string
	err := x.keepLocal(ctx)
	switch {
	case errors.Is(err, ErrPrivilege):
		lacking = append(lacking, "BINLOG ADMIN")
	case err != nil:
		return nil, err
	}
	vars, err := x.pairs(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name IN ('read_only', 'version')")
	if err != nil || vars["read_only"] == "OFF" {
		return lacking, err
	}
	enough := []string{"READ_ONLY ADMIN", "READ ONLY ADMIN", "ALL PRIVILEGES"}
	version, err := ParseVersion(vars["version"])
	if err != nil {
		return nil, err
	}
	if !version.AtLeast(10, 11, 0) {
		enough = append(enough, "SUPER")
	}
	has, err := s.hasRight(ctx, enough...)
	if err == nil && !has {
		lacking = append(lacking, "READ_ONLY ADMIN")
	}
	return lacking, err
}

// missingForTable names what the account lacks for the table: preparing a statement
// asks for the privileges and does nothing.
func (x *session) missingForTable(ctx context.Context, table HistoryTable) ([]string, error) {
	database, err := x.values(ctx,
		"SELECT COUNT(*) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = ?", table.Database)
	if err != nil {
		return nil, err
	}
	if database.at(0) == "0" {
		return nil, errNoDatabase
	}
	there, err := x.values(ctx,
		"SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ? AND TABLE_NAME = ?",
		table.Database, table.Name)
	if err != nil {
		return nil, err
	}
	probes := []struct{ privilege, statement string }{{"INSERT", "INSERT INTO " + table.quoted() + " () VALUES ()"}}
	if there.at(0) == "0" {
		create := "CREATE TABLE " + table.quoted() + " (a INT)"
		probes = append(probes, struct{ privilege, statement string }{"CREATE", create})
	}
	var lacking []string
	for _, p := range probes {
		err := x.exec(ctx, "PREPARE mbk FROM "+quoteText(p.statement))
		switch {
		case errors.Is(err, ErrPrivilege):
			lacking = append(lacking, p.privilege)
		case err != nil && number(err) != erNoSuchTable:
			return nil, err
		}
	}
	return lacking, nil
}
