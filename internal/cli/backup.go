package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"mbk/backup"
	"mbk/backup/preflight"
	"mbk/copier/pack"
	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/job"
	"mbk/internal/repo"
	"mbk/internal/ui"
	"mbk/stage"
)

type backupOptions struct {
	repository
	connection
	source        source
	increment     increment
	threads       int
	damagedPages  bool
	resume        resuming
	spoolDir      string
	locks         locks
	load          load
	hooks         hooks
	notifications notifications
	metrics       metricsFile
	copies        copies
	out           streamTarget
}

func (o *backupOptions) bind(s *options.Set, p *program) {
	rare := s.In(categoryRare)
	o.repository.bind(s, p.ui)
	o.out.bind(s)
	o.source.bindDatadir(s)
	o.increment.bindKind(s)
	o.increment.bind(s)
	o.source.bindCompress(s, "compress with `CODEC`: zstd, zstd:LEVEL (1 to 22), s2 or none")
	threadsOption(s, &o.threads, "copy with `N` threads (default: one for each CPU)")
	rare.Bool(&o.damagedPages, "allow-damaged-pages", "record damaged pages and go on; the backup is marked as damaged")
	o.source.bindUnsupported(rare, "leave out tables of engines that cannot be copied, and record them")
	o.resume.bind(s)
	o.bindLock(rare)
	rare.String(&o.spoolDir, "spool-dir", "",
		"keep redo in `FOLDER` while the repository is too slow for it (default: $TMPDIR or /var/tmp)")
	o.source.bindNewServer(s)
	o.source.bindHistoryTable(s, "at the end, failed or not, write a row into `TABLE` (database.table) of the server")
	o.metrics.bind(s)
	o.copies.bind(s.In(categoryRecords), p.ui, "copy each backup, with those that it needs, to `REPO`; may be repeated")
	o.source.filters.bind(s)
	o.load.bind(s)
	o.locks.bind(s)
	o.hooks.bind(s)
	o.notifications.bind(s, p)
	o.connection.bind(s, p)
	progressOptions(s, p.ui)
}

// increment holds the options about increments. check has those that decide when one
// becomes a full backup.
type increment struct {
	of        string
	fullEvery time.Duration
	maxChain  int
	readAll   bool
}

func (o *increment) bindKind(s *options.Set) {
	s = s.In(categoryIncrements)
	s.String(&o.of, "incremental", "",
		"store what has changed since the newest backup, or with =`ID` since that one").MayBeBare(repo.Latest)
	s.Bool(&o.readAll, "read-all", "read files, too, whose times say that they have not changed")
}

func (o *increment) bind(s *options.Set) {
	s = s.In(categoryIncrements)
	s.Duration(&o.fullEvery, "full-every", 0,
		"make a full backup instead of an increment if the last is older than `DURATION`, such as 7d").MoreThanNothing()
	s.Int(&o.maxChain, "max-chain", 0, "make a full backup instead if there are `N` increments since the last")
}

// options returns the options of preflight.
func (o *increment) options() preflight.Increment {
	p := preflight.Increment{
		Wanted: o.of != "", Parent: o.of, FullEvery: o.fullEvery, MaxChain: o.maxChain, ReadAll: o.readAll,
	}
	if p.Parent == repo.Latest {
		p.Parent = ""
	}
	return p
}

// source holds the options about what is backed up, which backup and check share.
type source struct {
	datadir      string
	compress     string
	unsupported  bool
	newServer    bool
	historyTable string
	filters      filters
}

func (o *source) bindDatadir(s *options.Set) {
	s.String(&o.datadir, "datadir", "", "`FOLDER` is the server's data directory (default: what the server says)")
}

func (o *source) bindCompress(s *options.Set, usage string) {
	s.String(&o.compress, "compress", "zstd", usage)
}

func (o *source) bindUnsupported(s *options.Set, usage string) {
	s.Bool(&o.unsupported, "skip-unsupported", usage)
}

func (o *source) bindNewServer(s *options.Set) {
	s.In(categoryRare).Bool(&o.newServer, "new-server",
		"this server has taken the place of the one that the repository's backups are of")
}

func (o *source) bindHistoryTable(s *options.Set, usage string) {
	const table = stage.DefaultHistoryTable
	s = s.In(categoryRecords)
	s.String(&o.historyTable, "history-table", "", usage+" (without a value: "+table+")").MayBeBare(table)
}

// apply sets the options of a backup. A list of names for the filter may come from stdin.
func (o *source) apply(b *backup.Options, u *ui.UI) (err error) {
	b.Datadir, b.SkipUnsupported, b.NewServer = o.datadir, o.unsupported, o.newServer
	if o.historyTable != "" {
		if b.HistoryTable, err = stage.ParseHistoryTable(o.historyTable); err != nil {
			return usagef("%s: %v", hint.Option("history-table"), err)
		}
	}
	if b.Filter, err = o.filters.spec(u.Stdin); err != nil {
		return err
	}
	if b.Codec, b.Level, err = pack.ParseCodec(o.compress); err != nil {
		return usagef("%s: %v", hint.Option("compress"), err)
	}
	return nil
}

// locks holds the options that limit waiting for the server's locks and holding them.
type locks struct{ wait, budget time.Duration }

// defaultLock is the default of both.
const defaultLock = time.Minute

func (o *locks) bind(s *options.Set) {
	s = s.In("Locks")
	s.Duration(&o.wait, "lock-wait", defaultLock,
		"give up (exit code 4) when a lock is not granted within `DURATION`").MoreThanNothing()
	s.Duration(&o.budget, "lock-budget", defaultLock,
		"give the locks back and fail (exit code 4) rather than block DDL for longer than `DURATION`").MoreThanNothing()
}

func backupCommand(p *program) *command {
	var o backupOptions
	return &command{
		name: "backup", summary: "take a backup of a running server, full or incremental",
		usage: "mbk backup --repo REPO [OPTIONS]\n   mbk backup --to - [OPTIONS]",
		examples: "mbk backup --repo /backup/db1 --socket /run/mysqld/b.sock --user backup\n" +
			"mbk backup --repo /backup/db1 --incremental --full-every 7d\n" +
			"mbk backup --to - | ssh backuphost mbk receive --repo /backup/db1",
		changes: true, routine: true, options: bind(func(s *options.Set) { o.bind(s, p) }),
		run: func(ctx context.Context) error {
			if o.out.wanted() {
				return runBackup(ctx, &o, p)
			}
			return o.metrics.after(ctx, o.repository, runBackup(ctx, &o, p))
		},
	}
}

func runBackup(ctx context.Context, o *backupOptions, p *program) error {
	if err := o.out.check(); err != nil {
		return err
	}
	b, err := o.backup(p)
	if err != nil {
		return err
	}
	j, err := o.job(p)
	if err != nil {
		return err
	}
	b.Card = o.repository.cards(func() *repo.Repository { return b.Repository })
	j.Card = b.Card
	take := func() (*repo.Manifest, error) { return takeBackup(ctx, o, &b, p.ui) }
	if o.out.wanted() {
		take, err = o.out.taking(ctx, o, &b, p.ui)
	}
	if err != nil {
		return err
	}
	m, err := j.Backup(ctx, &b, take)
	if err != nil {
		return err
	}
	err = p.ui.ResultWith(describe(m, j.Label(), j.Around()), func() error { return printTaken(p.ui, m, j) },
		labelled("warning", concerning(m.Warnings)))
	if err != nil && !o.out.wanted() {
		err = hint.Wrap(fmt.Errorf("backup %s is whole and in the repository, but %w", m.ID, err),
			hint.Textf("\"mbk show %s\" prints it again", m.ID))
	}
	return errors.Join(j.Missing(), err)
}

// printTaken prints a backup that was just made, and its copies.
// concerning returns the warnings of a backup that are no news of every night.
func concerning(warnings []string) []string {
	return slices.DeleteFunc(slices.Clone(warnings), func(w string) bool { return w == backup.WithoutBinlog })
}

func printTaken(u *ui.UI, m *repo.Manifest, j *job.Job) error {
	if err := printBackup(u, m, j.Label()); err != nil {
		return err
	}
	return u.Rows(job.Lines(repo.Around{Copies: j.Around().Copies}))
}

// backup returns the options of the backup.
func (o *backupOptions) backup(p *program) (backup.Options, error) {
	b := backup.Options{
		Options: preflight.Options{SpoolDir: o.spoolDir, Increment: o.increment.options()},
		Tool:    tool(), Workers: o.threads, LockWait: o.locks.wait, LockBudget: o.locks.budget,
		AllowDamagedPages: o.damagedPages,
		Logger:            p.ui.Logger(),
	}
	if info, err := os.Stat(o.spoolDir); o.spoolDir != "" && (err != nil || !info.IsDir()) {
		return b, hint.Wrap(&configError{hint.Errorf("%s: %s is not a folder", hint.Option("spool-dir"), o.spoolDir)},
			"name a folder with "+hint.Option("spool-dir")+", on a disk with some room")
	}
	if err := o.source.apply(&b, p.ui); err != nil {
		return b, err
	}
	if err := o.resume.apply(&b); err != nil {
		return b, err
	}
	if o.out.wanted() {
		o.out.apply(&b)
	}
	return b, o.load.apply(&b)
}

// job returns the job with its hooks and notifications.
func (o *backupOptions) job(p *program) (*job.Job, error) {
	path, open, err := standardOutput, noHistory, error(nil)
	if o.out.wanted() { // whatever option files say about other backups
		o.copies.to, o.repository.name = nil, ""
	} else {
		open, err = o.repository.open, o.repository.named()
		if err == nil {
			err = o.copies.check(o.repository)
		}
		if err == nil {
			path, err = o.repository.fullPath()
		}
	}
	if err != nil {
		return nil, err
	}
	around, err := p.jobOptions(path, o.repository.name, &o.hooks, &o.notifications)
	if err != nil {
		return nil, err
	}
	around.Copies, around.Open, around.ExitCode, around.Refused = o.copies.targets(), open, exitCode, p.refused
	around.Result = func(m *repo.Manifest, label string, around repo.Around) any { return describe(m, label, around) }
	return job.New(around), nil
}

// jobOptions returns what every job needs to know: what it is about, who is told of it, and
// what runs around it.
func (p *program) jobOptions(path, name string, h *hooks, n *notifications) (o job.Options, err error) {
	o = job.Options{Tool: tool(), Repo: path, RepoName: name, UI: p.ui, Interrupted: p.interrupted, Advice: p.advice}
	if o.Hooks, err = h.resolve(); err == nil {
		o.Notifications, err = n.resolve()
	}
	return o, err
}

// refused reports whether an error from before the backup began means that there was no
// attempt. That is so for mistakes in the call. If a person typed the command, it is so
// for everything that needs another call, and for a repository in use; if a timer started
// it, those are failed backups.
func (p *program) refused(ctx context.Context, err error) bool {
	var finding *preflight.FindingError
	if isUsage(err) || errors.As(err, &finding) && finding.Finding.Check == "filter" {
		return true
	}
	code := exitCode(ctx, err)
	return p.ui.Typed && (code == exitUsage || code == exitBusy)
}

// takeBackup takes a backup and shows its progress.
func takeBackup(ctx context.Context, o *backupOptions, b *backup.Options, u *ui.UI) (m *repo.Manifest, err error) {
	if b.Repository == nil { // else it is a stream
		if b.Repository, err = o.repository.openOrNew(ctx); err != nil {
			return nil, err
		}
	}
	if b.Server, err = o.connection.connect(ctx); err != nil {
		return nil, err
	}
	defer b.Server.Close()
	if b.Repository.New() && !o.out.wanted() {
		u.Note("%s becomes a new repository", b.Repository)
	}
	shown := u.NewProgress()
	defer shown.End()
	var read atomic.Int64
	var copying atomic.Bool // the other steps are short, or wait for the server
	b.Progress = backup.Progress{
		Step: func(name string) {
			copying.Store(strings.HasPrefix(name, "copying"))
			shown.Step(name)
		},
		Bytes: func(more, _, total int64) {
			if done := read.Add(more); copying.Load() {
				shown.At(done, total)
			}
		},
	}
	return backup.Run(ctx, *b)
}
