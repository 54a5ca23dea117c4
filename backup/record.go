package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"mbk/internal/hint"
	"mbk/internal/input/limit"
	"mbk/internal/repo"
	"mbk/stage"
)

// recoveryVariables are the global variables that a recovery of the files may
// need, by name or by a prefix that ends in "_".
func recoveryVariables() []string {
	return []string{
		"innodb_page_size", "innodb_data_home_dir", "innodb_data_file_path", "innodb_log_group_home_dir",
		"innodb_log_file_size", "innodb_undo_directory", "innodb_undo_tablespaces", "innodb_checksum_algorithm",
		"innodb_encrypt_", "innodb_encryption_", "innodb_default_encryption_key_id", "innodb_temp_data_file_path",
		"innodb_compression_", "innodb_file_per_table", "innodb_buffer_pool_filename", "innodb_buffer_pool_size",
		"innodb_flush_log_at_trx_commit", "innodb_strict_mode", "innodb_default_row_format",
		"aria_log_dir_path", "aria_log_file_size", "aria_block_size", "aria_encrypt_tables", "encrypt_",
		"lower_case_table_names", "character_set_server", "collation_server", "character_set_filesystem",
		"log_bin", "log_bin_basename", "log_bin_index", "server_id", "gtid_domain_id", "gtid_slave_pos",
		"plugin_dir", "plugin_load", "plugin_load_add", "plugin_maturity", "basedir", "datadir", "lc_messages_dir", "character_sets_dir",
		"ft_min_word_len", "ft_max_word_len", "ft_stopword_file", "file_key_management_", "hashicorp_", "aws_key_management_", "provider_", "default_storage_engine",
		"version_compile_machine", "version_compile_os", "sql_mode", "time_zone", "system_time_zone",
	}
}

// source describes the server for the manifest.
func (r *attempt) source() repo.Server {
	f := r.found.facts
	s := repo.Server{
		Version: f.Version.Text, Comment: f.Comment, Hostname: f.Hostname, Port: f.Port, Socket: f.Socket,
		Datadir: f.Datadir, ServerID: f.ServerID, Program: program(f.PeerPID), Variables: map[string]string{},
	}
	for _, wanted := range recoveryVariables() {
		for name, value := range f.Variables {
			if value != stage.Hidden && (name == wanted || strings.HasSuffix(wanted, "_") && strings.HasPrefix(name, wanted)) {
				s.Variables[name] = value
			}
		}
	}
	for _, p := range f.Plugins {
		if p.Library != "" && p.Status == "ACTIVE" {
			s.Plugins = append(s.Plugins, repo.Plugin{Name: p.Name, Type: p.Type, Library: p.Library})
		}
	}
	return s
}

// program is the path of the mariadbd that runs as a process, "" if this may not
// be seen.
func program(pid int) string {
	if pid == 0 {
		return ""
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}

// record puts the attempt into the history.
func (r *attempt) record(ctx context.Context, m *repo.Manifest, failed error) error {
	if failed == nil {
		return putAttempt(ctx, r.opts, repo.AttemptOf(m))
	}
	return putAttempt(ctx, r.opts, r.failure(failed))
}

// putAttempt puts the record of an attempt into the history, the server's first, because
// the record says if that failed, and tells Options.Attempted.
func putAttempt(ctx context.Context, o Options, a repo.Attempt) error {
	if err := putRow(ctx, o, a); err != nil {
		text := fmt.Sprintf("no row was written: %v", err)
		if hints := hint.Of(err); len(hints) > 0 {
			text += " (" + hint.Join(hints, "; ").String() + ")"
		}
		o.Logger.Warn(text)
		a.Warn(text)
	}
	err := o.Repository.PutAttempt(ctx, a)
	o.Attempted(a)
	return err
}

// rowTime bounds how long the row in the server's table may take.
const rowTime = 20 * time.Second

// putRow writes the attempt into the table of the server that is to have it.
func putRow(ctx context.Context, o Options, a repo.Attempt) error {
	if o.Server == nil || o.HistoryTable.IsZero() {
		return nil
	}
	row := stage.HistoryRow{
		RepositoryID: o.Repository.Config().ID, ID: a.ID, Repository: o.Repository.String(),
		Kind: a.Kind, Parent: a.Parent, Tool: a.Tool, ServerVersion: a.ServerVersion, Hostname: a.Hostname,
		Started: a.Started, Finished: a.Finished, Outcome: a.Outcome, Error: a.Error, Hints: strings.Join(a.Hints, "\n"),
		LockMS: a.LockMS, Checkpoint: uint64(a.LSN.Checkpoint), End: uint64(a.LSN.End),
		BytesRead: a.BytesRead, BytesStored: a.BytesStored,
		RedoBytes: a.RedoBytes, RedoCapacity: a.RedoCapacity, RedoHeadroom: a.LowestMargin,
		Tables: a.Tables, Files: a.Files, LeftOut: a.LeftOut, DamagedPages: a.Damaged, DDL: a.DDL.Total(), Warnings: a.WarningCount,
	}
	if b := a.Binlog; b != nil {
		row.BinlogFile, row.BinlogPosition, row.GTID = b.File, b.Position, b.GTID
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rowTime)
	defer cancel()
	return limit.Explain(o.Server.PutHistory(ctx, o.HistoryTable, row), rowTime)
}

// recordTime bounds how long the record of an attempt may take that never began.
const recordTime = 10 * time.Second

// NotBegun puts an attempt into the history that failed before it could begin,
// because no server answered, say, unless Options.Unrecorded says that it is none. Only Repository, Tool, Logger and Attempted of
// the options need be set. That it cannot be recorded is logged only, since cause
// is what the user must know.
func NotBegun(ctx context.Context, o Options, started time.Time, cause error) {
	o.fillHooks()
	if !o.Unrecorded(cause) {
		notBegun(ctx, o, failure(o, "", started, cause))
	}
}

func notBegun(ctx context.Context, o Options, a repo.Attempt) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	a.ID = repo.NewID(a.Started, repo.KindFailed)
	if o.Repository.New() {
		o.Attempted(a) // there is no history yet, and a failure does not begin one
		return
	}
	id, err := o.Repository.FreshID(ctx, a.Started, repo.KindFailed)
	if err == nil {
		a.ID = id
		err = putAttempt(ctx, o, a)
	}
	if err != nil {
		o.Logger.Warn("the failed attempt is not in the history", "reason", limit.Explain(err, recordTime))
	}
}

// failure is the record of an attempt that failed.
func failure(o Options, id string, started time.Time, cause error) repo.Attempt {
	a := repo.Attempt{
		FormatVersion: repo.FormatVersion, ID: id, Kind: repo.KindFailed, Tool: o.Tool, Codec: o.Codec.String(),
		Started: started.UTC(), Finished: time.Now().UTC(), Outcome: repo.OutcomeFailed,
		Error: cause.Error(), Hints: append(hint.Strings(hint.Of(cause)), o.Advice(cause)...),
	}
	if errors.Is(cause, context.Canceled) && !strings.Contains(a.Error, "signal received") {
		a.Error = "interrupted: " + a.Error
	}
	return a
}

// describe adds what is known of the server.
func describe(a *repo.Attempt, f stage.Facts) {
	a.Hostname, a.ServerVersion, a.ServerID, a.Datadir = f.Hostname, f.Version.Text, f.ServerID, f.Datadir
}

// failure is the record of this attempt, as far as it has come.
func (r *attempt) failure(cause error) repo.Attempt {
	a := failure(r.opts, r.id, r.started, cause)
	a.Kind = repo.KindFull
	describe(&a, r.found.facts)
	a.Steps, a.LockMS = r.stepTimes(), r.window.Milliseconds()
	a.BytesRead, a.BytesStored = r.read.Load(), r.stored.Load()
	if r.stages != nil {
		a.Stages = r.stageTimes()
	}
	if r.aria != nil {
		a.DataUUID = r.aria.control.UUID.String()
	}
	if r.redo != nil {
		a.RedoCapacity, a.LowestMargin = r.redo.capacity, r.redo.tail.Progress().LowestHeadroom
	}
	a.Warn(r.found.warnings()...)
	return a
}

// stageTimes are the stages as they were held.
func (r *attempt) stageTimes() []repo.Stage {
	var times []repo.Stage
	for _, t := range r.stages.Times() {
		times = append(times, repo.Stage{
			Name: t.Stage.String(), Granted: t.Granted.UTC(), WaitMS: t.Wait.Milliseconds(), HeldMS: t.Held.Milliseconds(), Tries: t.Tries,
		})
	}
	return times
}
