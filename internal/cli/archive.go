package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mbk/internal/archive"
	"mbk/internal/binlog"
	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/job"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

type archiveOptions struct {
	repository
	connection
	once     bool
	status   bool
	semiSync bool
	every    time.Duration
	from     string
	files    string
	metrics  metricsFile

	hooks         hooks
	notifications notifications
}

func (o *archiveOptions) bind(s *options.Set, p *program) {
	o.repository.bind(s, p.ui)
	s.Bool(&o.once, "once", "archive what the server's log holds now, and end")
	s.Duration(&o.every, "every", archive.DefaultEvery,
		"store a transaction at most `DURATION` after it was committed").MoreThanNothing()
	s.Bool(&o.semiSync, "semi-sync",
		"acknowledge what commits of the server wait for (semi-sync replication) as soon as it is stored")
	s.String(&o.from, "from", "",
		"begin a new archive where the backup `ID|latest` ends (default: where the server's oldest log begins)")
	s.String(&o.files, "from-files", "", "add what the log in `DIR` of a dead server has after the archive, and end")
	s.Bool(&o.status, "status", "say how far the archive goes, and end; exit code 1 if there is a gap")
	o.bindIdentities(s)
	o.metrics.bind(s)
	o.hooks.bindFailure(s, "run `PROGRAM` once at a gap")
	o.notifications.bind(s, p)
	o.connection.bind(s, p)
	outputOptions(s, p.ui)
}

func archiveCommand(p *program) *command {
	var o archiveOptions
	return &command{
		name: "archive", summary: "follow the server's binary log into the repository",
		usage: "mbk archive --repo REPO [OPTIONS]",
		examples: "mbk archive --repo /backup/db1 --every 10s\nmbk archive --repo /backup/db1 --once\n" +
			"mbk archive --repo /backup/db1 --status",
		changes: true, routine: true, options: bind(func(s *options.Set) { o.bind(s, p) }),
		run: func(ctx context.Context) error {
			switch {
			case o.status:
				return archiveStatus(ctx, &o, p.ui)
			case o.files != "":
				return o.metrics.after(ctx, o.repository, salvageFiles(ctx, &o, p))
			}
			return o.metrics.after(ctx, o.repository, runArchive(ctx, &o, p))
		},
	}
}

func runArchive(ctx context.Context, o *archiveOptions, p *program) error {
	if o.every < archive.MinEvery || o.every > archive.MaxEvery {
		return usagef("%s is %s, want %s to %s", hint.Option("every"), o.every, archive.MinEvery, archive.MaxEvery)
	}
	if o.once && o.semiSync {
		return usagef("%s waits for what comes, and does not go with %s", hint.Option("semi-sync"), hint.Option("once"))
	}
	alarm, err := o.alarm(p)
	if err != nil {
		return err
	}
	r, err := o.openOrNew(ctx)
	if err != nil {
		return err
	}
	from, err := o.start(ctx, r)
	if err != nil {
		return err
	}
	server, err := o.connect(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	result, err := archive.Run(ctx, archive.Options{
		Repository: r, Server: server, From: from, Every: o.every, Once: o.once, SemiSync: o.semiSync, Gap: alarm,
		Tool: tool(), Logger: p.ui.Logger(),
	})
	return archived(result, err, p.ui)
}

// alarm returns what is done at a gap.
func (o *archiveOptions) alarm(p *program) (func(ctx context.Context, timeline string, err *archive.GapError), error) {
	path, err := o.fullPath()
	if err != nil {
		return nil, err
	}
	raising, err := p.jobOptions(path, o.name, &o.hooks, &o.notifications)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, timeline string, err *archive.GapError) {
		job.New(raising).Tell(ctx, job.Event{
			Kind: job.EventArchive, ID: timeline, Err: err, Code: exitFailed,
			Text: fmt.Sprintf("mbk: archive of %s has a GAP: %s", job.Hostname(), ui.Shorten(err.Missing, job.MaxSubject)),
		})
	}, nil
}

// archived prints what was archived, unless that failed.
func archived(result *archive.Result, err error, u *ui.UI) error {
	if _, gap := errors.AsType[*archive.GapError](err); err != nil && !gap {
		return err
	}
	u.Silent = u.Silent && err == nil
	return errors.Join(err, u.Result(result, func() error { return u.Rows(archivedLines(result)) }))
}

// salvageFiles archives what is in the files of a dead server.
func salvageFiles(ctx context.Context, o *archiveOptions, p *program) error {
	if o.once || o.from != "" || o.semiSync {
		return usagef("%s takes all that is there: it does not go with %s, %s and %s", hint.Option("from-files"),
			hint.Option("once"), hint.Option("from"), hint.Option("semi-sync"))
	}
	log, err := openLog("from-files", o.files)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // it was only read
	alarm, err := o.alarm(p)
	if err != nil {
		return err
	}
	r, err := o.openOrNew(ctx)
	if err != nil {
		return err
	}
	result, err := archive.Salvage(ctx, archive.SalvageOptions{Repository: r, Log: log, Gap: alarm, Tool: tool(),
		Logger: p.ui.Logger()})
	return archived(result, err, p.ui)
}

// start returns the position at which a backup ends, nil if none is named.
func (o *archiveOptions) start(ctx context.Context, r *repo.Repository) (binlog.Position, error) {
	if o.from == "" {
		return nil, nil
	}
	m, err := r.Manifest(ctx, o.from)
	if err != nil {
		return nil, err
	}
	if m.Binlog == nil {
		return nil, &configError{hint.Errorf("backup %s has no position of a binary log: the server wrote none", m.ID)}
	}
	return binlog.ParsePosition(m.Binlog.GTID)
}

// archivedLines says what was archived.
func archivedLines(r *archive.Result) []string {
	lines := []string{
		"timeline\t" + r.Timeline,
		"up to\t" + gtidOrNone(r.Position),
		fmt.Sprintf("stored\t%d transactions in %d segments, %s", r.Transactions, r.Segments, ui.Size(r.Bytes)),
	}
	lines = append(lines, labelled("gap", r.Gaps)...)
	return append(lines, labelled("warning", r.Warnings)...)
}

func gtidOrNone(position string) string {
	if position == "" {
		return "the beginning of the log"
	}
	return "GTID " + position
}

// archiveStatus says how far the archive goes.
func archiveStatus(ctx context.Context, o *archiveOptions, u *ui.UI) error {
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	s, err := r.ArchiveState(ctx)
	if err != nil {
		return err
	}
	if s.Timeline == "" && !s.Running {
		return hint.Wrap(&configError{hint.Errorf("there is no archive of binary logs in %s", r)}, `"mbk archive" makes one`)
	}
	if s.Gap != "" {
		err = &archive.GapError{Missing: s.Gap}
	}
	u.Silent = false // this is all that it is asked for
	return errors.Join(err, u.Result(s, func() error { return u.Rows(stateLines(s, time.Now())) }))
}

// stateLines describe the state of an archive.
func stateLines(s *repo.ArchiveState, now time.Time) []string {
	running := "no"
	if s.Running {
		running = "by " + s.Holder
	}
	lines := []string{"running\t" + running}
	if s.Timeline == "" {
		return append(lines, "archived\tnothing yet")
	}
	lines = append(lines, fmt.Sprintf("timeline\t%s, of %d", s.Timeline, s.Timelines), "up to\t"+gtidOrNone(s.Position))
	if !s.LastStored.IsZero() {
		lines = append(lines, "last event\t"+s.LastEvent.UTC().Format(time.RFC3339),
			fmt.Sprintf("last stored\t%s, %s ago", s.LastStored.UTC().Format(time.RFC3339),
				ui.Span(now.Sub(s.LastStored).Round(time.Second))))
	}
	if s.Current.After(s.LastStored) {
		lines = append(lines, fmt.Sprintf("complete\t%s, %s ago: the server had nothing more",
			s.Current.UTC().Format(time.RFC3339), ui.Span(now.Sub(s.Current).Round(time.Second))))
	}
	lines = append(lines, fmt.Sprintf("segments\t%d, %s", s.Segments, ui.Size(s.Bytes)))
	if s.Gap != "" {
		lines = append(lines, "gap\t"+s.Gap)
	}
	return lines
}
