package stage

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/fault"
	"mbk/internal/hint"
)

// ErrNoBinlog is returned by Server.LogSource for a server that writes no binary log.
var ErrNoBinlog = fault.New(fault.Config, "the server writes no binary log")

// LogSource is what a server says of its binary log.
type LogSource struct {
	ServerID uint32
	Version  string
	Hostname string
	Position binlog.Position // gtid_binlog_pos: the end of the log
	Files    int
	Bytes    int64 // of all files

	// Gaps says, in a sentence each, what of the changes to the server's data is not in its log.
	Gaps []string
}

// LogSource asks the server about its binary log. The account needs the privilege BINLOG
// MONITOR. Errors: ErrNoBinlog.
func (s *Server) LogSource(ctx context.Context) (LogSource, error) {
	var o LogSource
	status, err := s.control.rows(ctx, "SHOW MASTER STATUS")
	if err != nil {
		return o, fmt.Errorf("read the state of the binary log: %w", err)
	}
	if len(status) == 0 {
		return o, hint.Wrap(ErrNoBinlog, "set log_bin in the server's option file and start it again")
	}
	v, err := s.control.values(ctx, "SELECT @@server_id, @@version, @@hostname, @@gtid_binlog_pos, "+
		"@@log_slave_updates, @@GLOBAL.sql_log_bin")
	if err != nil {
		return o, fmt.Errorf("read the state of the binary log: %w", err)
	}
	id, err := strconv.ParseUint(v.at(0), 10, 32)
	if err != nil {
		return o, fmt.Errorf("read the server's id: %w", err)
	}
	o.ServerID, o.Version, o.Hostname = uint32(id), v.at(1), v.at(2)
	if o.Position, err = binlog.ParsePosition(v.at(3)); err != nil {
		return o, fmt.Errorf("read the position of the binary log: %w", err)
	}
	for _, filter := range []string{"Binlog_Do_DB", "Binlog_Ignore_DB"} {
		if names := status[0].get(filter); names != "" {
			o.Gaps = append(o.Gaps, fmt.Sprintf("%s=%s leaves databases out of the binary log", strings.ToLower(filter), names))
		}
	}
	if v.at(5) == "0" {
		o.Gaps = append(o.Gaps, "sql_log_bin=OFF leaves sessions out of the binary log")
	}
	if v.at(4) == "0" {
		if err := s.addUnlogged(ctx, &o); err != nil {
			return o, err
		}
	}
	return o, s.addFiles(ctx, &o)
}

// SemiSync reports whether commits of the server wait for a semi-sync replica, and how long at most.
func (s *Server) SemiSync(ctx context.Context) (on bool, timeout time.Duration, err error) {
	v, err := s.control.values(ctx, "SELECT @@rpl_semi_sync_master_enabled, @@rpl_semi_sync_master_timeout")
	if err != nil {
		return false, 0, fmt.Errorf("read the settings of semi-sync replication: %w", err)
	}
	ms, err := strconv.ParseInt(v.at(1), 10, 64)
	if err != nil {
		return false, 0, fmt.Errorf("read rpl_semi_sync_master_timeout: %w", err)
	}
	return v.at(0) == "1", time.Duration(ms) * time.Millisecond, nil
}

// addUnlogged says what a server that does not log what it gets from others leaves out.
func (s *Server) addUnlogged(ctx context.Context, o *LogSource) error {
	replicas, err := s.replicas(ctx)
	if err != nil {
		return err
	}
	if len(replicas) > 0 {
		o.Gaps = append(o.Gaps, "the server is a replica without log_slave_updates: its binary log lacks what it replicates")
	}
	galera, err := s.Galera(ctx)
	if err != nil {
		return err
	}
	if galera != nil {
		o.Gaps = append(o.Gaps,
			"the server is a Galera node without log_slave_updates: its binary log lacks what other nodes write")
	}
	return nil
}

// addFiles adds up the files of the log.
func (s *Server) addFiles(ctx context.Context, o *LogSource) error {
	files, err := s.control.rows(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return fmt.Errorf("list the files of the binary log: %w", err)
	}
	for _, f := range files {
		size, err := strconv.ParseInt(f.get("File_size"), 10, 64)
		if err != nil {
			return fmt.Errorf("list the files of the binary log: %w", err)
		}
		o.Files++
		o.Bytes += size
	}
	return nil
}

// OldestLog returns the position at which the oldest file of the server's binary log begins.
func (s *Server) OldestLog(ctx context.Context) (binlog.Position, error) {
	files, err := s.control.rows(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return nil, fmt.Errorf("list the files of the binary log: %w", err)
	}
	if len(files) == 0 {
		return nil, ErrNoBinlog
	}
	name := files[0].get("Log_name")
	events, err := s.control.rows(ctx, "SHOW BINLOG EVENTS IN "+quoteText(name)+" LIMIT 4")
	if err != nil {
		return nil, fmt.Errorf("read the beginning of %s: %w", name, err)
	}
	for _, e := range events {
		if e.get("Event_type") == "Gtid_list" {
			p, err := binlog.ParseState(strings.Trim(e.get("Info"), "[]"))
			if err != nil {
				return nil, fmt.Errorf("read the beginning of %s: %w", name, err)
			}
			return p, nil
		}
	}
	return nil, fmt.Errorf("read the beginning of %s: there is no list of GTIDs", name)
}
