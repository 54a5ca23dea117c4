package stage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbk/internal/hint"
)

// The positions below are exact while BLOCK_COMMIT is held by this program and
// a glance at something moving otherwise.

// Binlog is a position in the server's binary log.
type Binlog struct {
	File     string
	Position uint64 // bytes
	GTID     string // @@gtid_binlog_pos
	State    string // @@gtid_binlog_state
}

// Replica is the state of one connection of this server to a source that it
// replicates.
type Replica struct {
	Connection string // "" is the default one
	Host       string
	Port       int
	File       string // Relay_Master_Log_File: of the source, up to which all was applied; "": not known
	Position   uint64 // Exec_Master_Log_Pos, in bytes
	GTID       string // Gtid_Slave_Pos, or what was committed if that is more
	UsingGTID  string // "No", "Slave_Pos", "Current_Pos"
	IO, SQL    string // state of the two threads: "Yes", "No", "Connecting"
}

// Galera is the state of a cluster node.
type Galera struct {
	UUID  string
	SeqNo int64
}

// Binlog returns the position of the binary log, nil if the server writes none.
func (s *Server) Binlog(ctx context.Context) (*Binlog, error) {
	all, err := s.control.rows(ctx, "SHOW MASTER STATUS")
	if err != nil {
		return nil, fmt.Errorf("read the binary log's position: %w", err)
	}
	if len(all) == 0 {
		return nil, nil
	}
	b := &Binlog{File: all[0].get("File")}
	if b.Position, err = strconv.ParseUint(all[0].get("Position"), 10, 64); err != nil {
		return nil, fmt.Errorf("read the binary log's position: %w", err)
	}
	gtid, err := s.control.values(ctx, "SELECT @@gtid_binlog_pos, @@gtid_binlog_state")
	if err != nil {
		return nil, fmt.Errorf("read the binary log's GTID: %w", err)
	}
	b.GTID, b.State = gtid.at(0), gtid.at(1)
	return b, nil
}

// Committing counts the statements that may have committed and not written the binary
// log yet. Of a statement that changed Aria tables only, the server writes the log after
// it has given back the lock that BLOCK_COMMIT waits for: its rows would be in a backup,
// and behind the position. An account without the privilege PROCESS sees none.
func (s *Server) Committing(ctx context.Context) (int, error) {
	const query = `SELECT COUNT(*) FROM information_schema.PROCESSLIST
		WHERE STATE IN ('Query end', 'Prepare', 'Commit', 'Writing to binlog') AND ID <> CONNECTION_ID()`
	found, err := s.control.values(ctx, query)
	if err != nil {
		return 0, fmt.Errorf("look for commits: %w", err)
	}
	n, err := strconv.Atoi(found.at(0))
	if err != nil {
		return 0, fmt.Errorf("look for commits: %w", err)
	}
	return n, nil
}

// Bounds of the wait for the positions of a replica.
const (
	stableInterval = 10 * time.Millisecond
	stableTries    = 200
	noticeTries    = 20 // so long threads have time to note what they committed
)

// Replicas returns the state of every replication connection, none if this
// server is no replica.
//
// It is called while commits are blocked, and waits until the positions stand
// still: a thread notes what it has committed after the commit, and a replica made
// with a position that lacks it would do a transaction twice. Of parallel threads one
// may have been committed by another, and then waits for its turn to take the lock
// that is held here: it will note nothing before the end of it. The table in which
// commits themselves leave the GTID tells for certain, if it may be read. Where that
// is ahead, the GTID is the table's, and File is "": that position is not known.
func (s *Server) Replicas(ctx context.Context) ([]Replica, error) {
	before, err := s.replicas(ctx)
	if err != nil || len(before) == 0 {
		return nil, err
	}
	for try := range stableTries {
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(stableInterval):
		}
		committed, err := s.committedGTIDs(ctx)
		if err != nil {
			return nil, err
		}
		now, err := s.replicas(ctx)
		if err != nil {
			return nil, err
		}
		if slices.Equal(before, now) {
			sure := make([]Replica, len(now))
			for i, r := range now {
				sure[i] = r.atLeast(committed)
			}
			if try >= noticeTries || slices.Equal(sure, now) {
				return sure, nil
			}
		}
		before = now
	}
	err = fmt.Errorf("read the state of replication: GTID position %q does not become stable", before[0].GTID)
	return nil, hint.Wrap(err, "try again; if it stays so, look at SHOW ALL SLAVES STATUS")
}

// atLeast is r at a position that contains each of the GTIDs.
func (r Replica) atLeast(committed []string) Replica {
	position := strings.FieldsFunc(r.GTID, func(c rune) bool { return c == ',' })
	for _, gtid := range committed {
		domain, sequence := splitGTID(gtid)
		i := slices.IndexFunc(position, func(at string) bool { d, _ := splitGTID(at); return d == domain })
		if i < 0 {
			position = append(position, gtid)
		} else if _, at := splitGTID(position[i]); at < sequence {
			position[i] = gtid
		}
	}
	if gtid := strings.Join(position, ","); gtid != r.GTID {
		r.GTID = gtid
		if r.SQL == "Yes" { // else it has done nothing that it could have noted
			r.File, r.Position = "", 0
		}
	}
	return r
}

// committedGTIDs lists the newest GTID of each domain that the server's replication
// threads have committed, none if the account may not read that or it is not there.
// With gtid_pos_auto_engines there is a table for each engine, and a transaction notes
// its GTID in that of its own. They count together.
func (s *Server) committedGTIDs(ctx context.Context) ([]string, error) {
	const query = "SELECT TABLE_NAME FROM information_schema.TABLES " +
		"WHERE TABLE_SCHEMA = 'mysql' AND LEFT(TABLE_NAME, 14) = 'gtid_slave_pos'"
	names, err := s.control.rows(ctx, query)
	if err != nil {
		return nil, fmt.Errorf("list the tables of replicated GTIDs: %w", err)
	}
	newest := map[string]committedGTID{} // by domain
	for _, n := range names {
		if err := s.readGTIDs(ctx, n.get("TABLE_NAME"), newest); err != nil {
			return nil, err
		}
	}
	list := make([]string, 0, len(newest))
	for _, domain := range slices.Sorted(maps.Keys(newest)) {
		list = append(list, newest[domain].gtid)
	}
	return list, nil
}

// committedGTID is a GTID and its place in the order of commits of its domain.
type committedGTID struct {
	order uint64
	gtid  string
}

// readGTIDs adds what a table holds of committed GTIDs.
func (s *Server) readGTIDs(ctx context.Context, table string, newest map[string]committedGTID) error {
	name := "mysql." + quoteName(table)
	query := "SELECT domain_id, sub_id, CONCAT_WS('-', domain_id, server_id, seq_no) AS gtid FROM " + name + ` AS p
		WHERE sub_id = (SELECT MAX(sub_id) FROM ` + name + " AS q WHERE q.domain_id = p.domain_id)"
	rows, err := s.control.rows(ctx, query)
	switch {
	case errors.Is(err, ErrPrivilege), number(err) == erNoSuchTable, number(err) == erBadField: // a user's own table
		return nil
	case err != nil:
		return fmt.Errorf("read %s: %w", name, err)
	}
	for _, r := range rows {
		order, err := strconv.ParseUint(r.get("sub_id"), 10, 64)
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		domain := r.get("domain_id")
		if at, ok := newest[domain]; !ok || at.order < order {
			newest[domain] = committedGTID{order, r.get("gtid")}
		}
	}
	return nil
}

// splitGTID takes domain and sequence number out of DOMAIN-SERVER-SEQUENCE.
func splitGTID(gtid string) (domain string, sequence uint64) {
	parts := strings.Split(gtid, "-")
	if len(parts) != 3 {
		return "", 0
	}
	sequence, _ = strconv.ParseUint(parts[2], 10, 64) // 0 is before all others
	return parts[0], sequence
}

// replicas reads the state of every replication connection as it is now.
func (s *Server) replicas(ctx context.Context) ([]Replica, error) {
	all, err := s.control.rows(ctx, "SHOW ALL SLAVES STATUS")
	if err != nil {
		return nil, fmt.Errorf("read the state of replication: %w", err)
	}
	var replicas []Replica
	for _, r := range all {
		p := Replica{
			Connection: r.get("Connection_name"),
			Host:       r.get("Master_Host"),
			File:       r.get("Relay_Master_Log_File"),
			GTID:       r.get("Gtid_Slave_Pos"),
			UsingGTID:  r.get("Using_Gtid"),
			IO:         r.get("Slave_IO_Running"),
			SQL:        r.get("Slave_SQL_Running"),
		}
		var errs [2]error
		p.Port, errs[0] = strconv.Atoi(r.get("Master_Port"))
		p.Position, errs[1] = strconv.ParseUint(r.get("Exec_Master_Log_Pos"), 10, 64)
		if err := errors.Join(errs[:]...); err != nil {
			return nil, fmt.Errorf("read the state of replication connection %q: %w", p.Connection, err)
		}
		replicas = append(replicas, p)
	}
	return replicas, nil
}

// Galera returns the node's position in its cluster, nil if it is in none.
func (s *Server) Galera(ctx context.Context) (*Galera, error) {
	status, err := s.status(ctx, "wsrep_%")
	if err != nil {
		return nil, fmt.Errorf("read the cluster's state: %w", err)
	}
	uuid := status["wsrep_local_state_uuid"]
	if strings.Trim(uuid, "0-") == "" {
		return nil, nil
	}
	seqno, err := strconv.ParseInt(status["wsrep_last_committed"], 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read the cluster's position: %w", err)
	}
	return &Galera{UUID: uuid, SeqNo: seqno}, nil
}
