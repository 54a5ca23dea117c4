package preflight

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/sys/pause"
	"mbk/stage"
)

// checkServer checks the server's version and state.
func (r *Report) checkServer() {
	v := r.Facts.Variables
	r.checkVersion()
	if n, _ := strconv.Atoi(v["innodb_force_recovery"]); n > 0 {
		r.Add("server", GradeError, fmt.Sprintf("innodb_force_recovery is %d: the server runs on damaged data", n),
			"repair the server and start it without innodb_force_recovery")
	}
	if on(v["innodb_read_only"]) {
		r.Add("server", GradeError, "innodb_read_only is ON: the server writes no checkpoints",
			"stop the server and copy its files instead, or start it without innodb_read_only")
	}
	r.checkLogFlush(v["innodb_flush_log_at_trx_commit"], v["innodb_flush_log_at_timeout"])
	if on(v["innodb_log_archive"]) {
		r.Add("server", GradeError, "innodb_log_archive is ON: its log format is not known to this mbk",
			"set innodb_log_archive=OFF or use a newer mbk")
	}
}

// checkVersion compares the server's version with those that mbk is tested with.
func (r *Report) checkVersion() {
	const tested = "10.5 to 11.8"
	version := r.Facts.Version
	text := fmt.Sprintf("MariaDB %s at %s", version, r.Facts.Hostname)
	switch {
	case !version.AtLeast(10, 5, 0):
		r.Add("server", GradeError, text+" is too old", "this mbk backs up MariaDB "+tested)
	case version.AtLeast(11, 9, 0):
		r.Add("server", GradeWarning, text+" is newer than those that this mbk was tested with, "+tested,
			"prove a backup of it: mbk verify latest --depth boot")
	default:
		r.Add("server", GradeOK, text)
	}
}

// checkLogFlush checks how long the end of a backup has to wait, with commits blocked, for
// the server to flush its redo log.
func (r *Report) checkLogFlush(mode, timeout string) {
	const longest = 3 // seconds; the redo tail waits for 5
	seconds, err := strconv.Atoi(timeout)
	if mode != "0" || err != nil || seconds <= 1 {
		return
	}
	text := fmt.Sprintf("with innodb_flush_log_at_trx_commit=0 the log is written every %d s "+
		"(innodb_flush_log_at_timeout), and commits are blocked as long at the end of a backup", seconds)
	grade := GradeWarning
	if seconds > longest {
		grade = GradeError
	}
	r.Add("server", grade, text, "SET GLOBAL innodb_flush_log_at_timeout=1")
}

// checkPlugins lists the plugins that a restore needs.
func (r *Report) checkPlugins() {
	var needed []string
	for _, plugin := range r.Facts.Plugins {
		readsPages := plugin.Type == "ENCRYPTION" || strings.HasPrefix(strings.ToLower(plugin.Name), "provider_")
		if readsPages && plugin.Library != "" && plugin.Status == "ACTIVE" {
			needed = append(needed, plugin.Name)
		}
	}
	if len(needed) > 0 {
		r.Add("plugins", GradeOK, "a restore needs the plugins "+strings.Join(needed, ", "))
	}
}

// watchRedo records the server's position in its redo log. The function that it returns
// compares it with the position at least the given time later, and judges how soon the
// server could overwrite redo that was not read yet.
func (r *Report) watchRedo(ctx context.Context, server *stage.Server, least time.Duration) (
	compare func(context.Context) error, err error,
) {
	begin := time.Now()
	first, err := server.LSNs(ctx)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error {
		if err := pause.For(ctx, time.Until(begin.Add(least))); err != nil {
			return err
		}
		last, err := server.LSNs(ctx)
		if err != nil {
			return err
		}
		r.checkRedo(first, last, time.Since(begin))
		return nil
	}, nil
}

// checkRedo judges the redo log by two positions. A backup reads the log from the newest
// checkpoint on, as fast as it can. So the server must not come round to that checkpoint
// before the reader has passed it, nor lap a reader that is delayed for a moment.
func (r *Report) checkRedo(first, last innodb.LSNs, between time.Duration) {
	const (
		leastSample = 200 * time.Millisecond
		leastTime   = 15 * time.Second // a stalled disk or a busy machine may delay the reader that long
	)
	v := r.Facts.Variables
	capacity, _ := strconv.ParseInt(v["innodb_log_file_size"], 10, 64) // not a number: 0
	if files, err := strconv.ParseInt(v["innodb_log_files_in_group"], 10, 64); err == nil {
		capacity *= files
	}
	age := int64(last.Current - last.Checkpoint)
	text := fmt.Sprintf("%s log, of which %s since the last checkpoint", humanize.IBytes(uint64(capacity)),
		humanize.IBytes(uint64(age)))
	rate := float64(last.Current-first.Current) / between.Seconds()
	if between < leastSample || capacity == 0 {
		r.Add("redo", GradeOK, text)
		return
	}
	text += fmt.Sprintf("; the server writes %s/s", humanize.IBytes(uint64(rate)))
	room := time.Duration(float64(max(capacity-age, 0)) / max(rate, 1) * float64(time.Second))
	if room < leastTime {
		r.note("redo", GradeWarning, text+fmt.Sprintf(" and could overwrite what a backup has to read first within %s",
			room.Round(100*time.Millisecond)),
			"make innodb_log_file_size larger: a backup fails with exit code 4 if the server overwrites redo that was not "+
				"read yet")
		return
	}
	r.Add("redo", GradeOK, text)
}

// mostSkew is how much clocks may differ.
const mostSkew = 5 * time.Second

// checkClock compares this machine's clock with the server's and with the newest
// backup: ids are times, and the newest id is the latest backup.
func (r *Report) checkClock(ctx context.Context, o Options) error {
	asked := time.Now()
	server, err := o.Server.Clock(ctx)
	if err != nil {
		return err
	}
	var list []repo.Summary
	if o.Repository != nil {
		if list, err = o.Repository.List(ctx); err != nil {
			return err
		}
	}
	const correct = "set the clock of this machine right: ids are made of it, and the newest id is taken for the " +
		"latest backup"
	if n := len(list); n > 0 && list[n-1].Started.After(asked.Add(mostSkew)) {
		r.Add("clock", GradeError, fmt.Sprintf("backup %s began %s after now: a new backup would not be the latest",
			list[n-1].ID, list[n-1].Started.Sub(asked).Round(time.Second)), correct)
		return nil
	}
	ahead, took := server.Sub(asked), time.Since(asked)
	if ahead > mostSkew+took || ahead < -mostSkew {
		r.Add("clock", GradeWarning, fmt.Sprintf("the server's clock says %s, this machine's %s", server.Format(time.RFC3339),
			asked.UTC().Format(time.RFC3339)), correct)
		return nil
	}
	r.Add("clock", GradeOK, "the server's time is this machine's")
	return nil
}

// checkObstacles reports what would make a backup wait.
func (r *Report) checkObstacles(ctx context.Context, o Options) error {
	const longRunning = 5 * time.Second
	holder := ""
	if o.Repository != nil {
		var err error
		if holder, err = o.Repository.Holder(ctx); err != nil {
			return err
		}
	}
	if holder != "" {
		r.note("busy", GradeWarning, "the repository is locked by "+holder,
			"one command at a time changes a repository: wait until that one has ended")
	}
	found, err := o.Server.Obstacles(ctx, longRunning)
	if err != nil {
		return err
	}
	for _, b := range found {
		r.note("busy", GradeWarning, b.String(), "a backup waits for it, for as long as "+hint.Option("lock-wait")+
			", and fails with exit code 4 then")
	}
	if holder == "" && len(found) == 0 {
		r.note("busy", GradeOK, "nothing is in the way of a backup")
	}
	return nil
}
