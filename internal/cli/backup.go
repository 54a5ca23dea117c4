package cli

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/backup"
	"mbk/copier/pack"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/restore"
)

func backupCommand(env Env) *cli.Command {
	flags := []cli.Flag{
		repoFlag(),
		datadirFlag(),
		&cli.StringFlag{Name: "compress", Value: "zstd", Usage: "compress with `CODEC`: zstd, zstd:LEVEL (1 to 22), s2 or none"},
		threadsFlag("copy with `N` threads (default: one for each CPU)"),
		&cli.BoolFlag{Name: "allow-damaged-pages", Category: categoryRare, Usage: "record damaged pages and go on; the backup says so for ever"},
		&cli.BoolFlag{Name: "skip-unsupported", Category: categoryRare, Usage: "leave out tables of engines that cannot be copied, and record them"},
		&cli.BoolFlag{Name: "keep-failed", Category: categoryRare, Usage: "keep the objects of a failed backup until the next one"},
		&cli.StringFlag{Name: "spool-dir", Category: categoryRare, Usage: "keep redo in `FOLDER` while the repository is too slow for it (default: $TMPDIR or /var/tmp)"},
		newServerFlag(),
		historyTableFlag(),
		metricsFlag(),
	}
	flags = slices.Concat(flags, filterFlags(), gentleFlags(), lockFlags(), hookFlags(), notificationFlags(), connectionFlags())
	return &cli.Command{
		Name: "backup", Usage: "take a full backup of a running server",
		UsageText: "mbk backup --repo FOLDER [OPTIONS]\n\nmbk backup --repo /backup/db1\nmbk backup --repo /backup/db1 --socket /run/mysqld/b.sock --user backup",
		Flags:     append(flags, progressFlags()...),
		Action:    measured(env, runBackup),
	}
}

func datadirFlag() cli.Flag {
	return &cli.StringFlag{Name: "datadir", Usage: "`FOLDER` is the server's data directory (default: what the server says)"}
}

func newServerFlag() cli.Flag {
	return &cli.BoolFlag{Name: "new-server", Category: categoryRare, Usage: "this server has taken the place of the one that the repository's backups are of"}
}

// lockFlags say how patient a backup is with the server's locks.
func lockFlags() []cli.Flag {
	const category = "Locks"
	return []cli.Flag{
		&cli.DurationFlag{Name: "lock-wait", Category: category, Value: time.Minute, Usage: "give up (exit code 4) when a lock is not granted within `DURATION`"},
		&cli.DurationFlag{Name: "lock-budget", Category: category, Value: time.Minute, Usage: "give the locks back and fail (exit code 4) rather than block DDL for longer than `DURATION`"},
	}
}

// backupOptions makes the options of a backup out of those of its command.
func backupOptions(c *cli.Context, env Env) (backup.Options, error) {
	o := backup.Options{
		Tool: tool(), Datadir: c.String("datadir"), Workers: c.Int("threads"),
		LockWait: c.Duration("lock-wait"), LockBudget: c.Duration("lock-budget"),
		AllowDamagedPages: c.Bool("allow-damaged-pages"), SkipUnsupported: c.Bool("skip-unsupported"),
		KeepFailed: c.Bool("keep-failed"), NewServer: c.Bool("new-server"), SpoolDir: c.String("spool-dir"), Logger: logger(env, c),
		Advice: func(err error) []string { return nextSteps(env, err) },
	}
	err := checkNumbers(c, "threads", "lock-wait", "lock-budget")
	for name, value := range map[string]time.Duration{"lock-wait": o.LockWait, "lock-budget": o.LockBudget} {
		if err == nil && value == 0 && c.IsSet(name) {
			err = usagef("option --%s is 0s, want more than nothing", name)
		}
	}
	if err != nil {
		return o, err
	}
	if info, err := os.Stat(o.SpoolDir); o.SpoolDir != "" && (err != nil || !info.IsDir()) {
		return o, hint.Wrap(&configError{fmt.Errorf("--spool-dir: %s is not a folder", o.SpoolDir)}, "name a folder with --spool-dir, on a disk with some room")
	}
	if o.HistoryTable, err = historyTable(c); err != nil {
		return o, err
	}
	if o.Filter, err = filterOf(c, env); err != nil {
		return o, err
	}
	if o.Codec, o.Level, err = pack.ParseCodec(c.String("compress")); err != nil {
		return o, usagef("--compress: %v", err)
	}
	return o, beGentle(c, &o)
}

func orDefault(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// openBackup opens the repository of a backup and connects to its server, which
// the caller closes.
func openBackup(c *cli.Context, env Env, o *backup.Options) (err error) {
	if o.Repository, err = openOrNew(c); err != nil {
		return err
	}
	o.Server, err = connect(c, env)
	return err
}

func runBackup(c *cli.Context, env Env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	o, err := backupOptions(c, env)
	if err != nil {
		return err
	}
	shown, err := newProgress(c, env)
	if err != nil {
		return err
	}
	n, err := newNight(c, env)
	if err != nil {
		return err
	}
	m, err := n.surround(&o, func() (*repo.Manifest, error) { return takeBackup(c, env, &o, shown) })
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = document(env, n.result())
	} else {
		err = printBackup(env, m)
	}
	if err != nil {
		return hint.Wrap(fmt.Errorf("backup %s is whole and in the repository, but %w", m.ID, err), hint.Text("\"mbk show "+m.ID+"\" prints it again"))
	}
	return nil
}

// takeBackup takes a backup and shows how far it is.
func takeBackup(c *cli.Context, env Env, o *backup.Options, shown progress) (*repo.Manifest, error) {
	if err := openBackup(c, env, o); err != nil {
		return nil, err
	}
	defer o.Server.Close()
	if o.Repository.New() {
		say(env, c, "%s becomes a new repository", o.Repository)
	}
	var read atomic.Int64
	var copying atomic.Bool // the other steps are short, or wait for the server
	o.Progress = backup.Progress{
		Step: func(name string) {
			copying.Store(strings.HasPrefix(name, "copying"))
			shown.step(name)
		},
		Bytes: func(more, _, total int64) {
			if done := read.Add(more); copying.Load() {
				shown.at(done, total)
			}
		},
	}
	defer shown.end()
	return backup.Run(c.Context, *o)
}

// backupDocument is what "backup --json" and "show --json" print. docs/manual/backup.md
// describes it; fields are added, never changed.
type backupDocument struct {
	ID            string          `json:"id"`
	Kind          string          `json:"kind"`
	Parent        string          `json:"parent"`
	Tool          string          `json:"tool"`
	ServerVersion string          `json:"server_version"`
	Hostname      string          `json:"hostname"`
	Datadir       string          `json:"datadir"`
	Started       time.Time       `json:"started"`
	Finished      time.Time       `json:"finished"`
	Codec         string          `json:"codec"`
	BytesRead     int64           `json:"bytes_read"`
	BytesStored   int64           `json:"bytes_stored"`
	LockWindowMS  int64           `json:"lock_window_ms"`
	Steps         []repo.Step     `json:"steps"`
	Stages        []stageDocument `json:"stages"`
	LSN           lsnDocument     `json:"lsn"`
	RedoBytes     int64           `json:"redo_bytes"`
	RedoCapacity  int64           `json:"redo_capacity"`
	RedoHeadroom  int64           `json:"redo_headroom_low"`
	Binlog        *repo.Binlog    `json:"binlog"`
	Replicas      []repo.Source   `json:"replica_of"`
	Galera        *repo.Galera    `json:"galera"`
	Databases     int             `json:"databases"`
	Tables        int             `json:"tables"`
	Files         int             `json:"files"`
	Torn          int64           `json:"torn_pages"`
	Late          repo.Late       `json:"copied_locked"`
	DDL           repo.DDL        `json:"ddl"`
	Damaged       int             `json:"damaged_pages"`
	LeftOut       []repo.LeftOut  `json:"left_out"`
	Filter        *repo.Filter    `json:"filter"`
	Config        []string        `json:"config"`
	Warnings      []string        `json:"warnings"`

	Hooks         []repo.Hook         `json:"hooks"`
	Notifications []repo.Notification `json:"notifications"`
}

type stageDocument struct {
	Name   string `json:"name"`
	MS     int64  `json:"ms"`
	WaitMS int64  `json:"wait_ms"`
	Tries  int    `json:"tries"`
}

type lsnDocument struct {
	Checkpoint uint64 `json:"checkpoint"`
	End        uint64 `json:"end"`
}

// describe makes it out of a manifest and what ran around the backup.
func describe(m *repo.Manifest, around repo.Around) backupDocument {
	d := backupDocument{
		ID: m.ID, Kind: m.Kind, Parent: m.Parent, Tool: m.Tool, ServerVersion: m.Server.Version,
		Hostname: m.Server.Hostname, Datadir: m.Server.Datadir, Started: m.Started, Finished: m.Finished, Codec: m.Codec,
		BytesRead: m.BytesRead, BytesStored: m.BytesStored, LockWindowMS: m.LockMS, Steps: m.Steps, Stages: []stageDocument{},
		LSN:       lsnDocument{Checkpoint: uint64(m.LSN.Checkpoint), End: uint64(m.LSN.End)},
		RedoBytes: int64(m.LSN.End - m.LSN.Checkpoint), RedoCapacity: m.Redo.Capacity, RedoHeadroom: m.Redo.LowestMargin,
		Binlog: m.Binlog, Replicas: m.Replicas, Galera: m.Galera,
		Databases: len(m.Directories), Tables: len(m.Tables), Files: len(m.Files), Torn: m.TornPages,
		Late: m.Late, DDL: m.DDL, Damaged: len(m.Damaged), LeftOut: m.LeftOut, Filter: m.Filter, Config: restore.Config(m), Warnings: m.Warnings,
		Hooks: append([]repo.Hook{}, around.Hooks...), Notifications: append([]repo.Notification{}, around.Notifications...),
	}
	for _, s := range m.Stages {
		d.Stages = append(d.Stages, stageDocument{Name: s.Name, MS: s.HeldMS, WaitMS: s.WaitMS, Tries: s.Tries})
	}
	if d.Replicas == nil {
		d.Replicas = []repo.Source{}
	}
	if d.LeftOut == nil {
		d.LeftOut = []repo.LeftOut{}
	}
	if d.Warnings == nil {
		d.Warnings = []string{}
	}
	return d
}

// linkLines names the links of the data directory that a backup has followed.
func linkLines(m *repo.Manifest) []string {
	const most = 5
	var names []string
	for _, d := range m.Directories {
		if d.Origin != "" {
			names = append(names, d.Path+" in "+d.Origin)
		}
	}
	for _, f := range m.Files {
		if f.Link != "" {
			names = append(names, f.Path+" in "+f.Origin)
		}
	}
	switch n := len(names); {
	case n == 0:
		return nil
	case n > most:
		return []string{fmt.Sprintf("links\tfollowed to %d files and databases elsewhere: %s and %d more", n, strings.Join(names[:most], ", "), n-most)}
	default:
		return []string{fmt.Sprintf("links\tfollowed to %d files and databases elsewhere: %s", n, strings.Join(names, ", "))}
	}
}

// printBackup prints a backup for people.
func printBackup(env Env, m *repo.Manifest) error {
	took := m.Finished.Sub(m.Started)
	lines := []string{
		"backup\t" + m.ID,
		fmt.Sprintf("server\tMariaDB %s at %s, %s", m.Server.Version, m.Server.Hostname, m.Server.Datadir),
		fmt.Sprintf("holds\t%d tables in %d databases, %d files", len(m.Tables), len(m.Directories), len(m.Files)),
		fmt.Sprintf("size\t%s read, %s stored (%.1f : 1, %s)", size(m.BytesRead), size(m.BytesStored), ratio(m), m.Codec),
		fmt.Sprintf("time\t%s, %s", span(took), rate(m.BytesRead, took)),
		fmt.Sprintf("locked\t%s (BLOCK_DDL to END)", milliseconds(m.LockMS)),
		fmt.Sprintf("redo\t%s from checkpoint %d to LSN %d; lowest head-room %s of %s", size(int64(m.LSN.End-m.LSN.Checkpoint)), m.LSN.Checkpoint, m.LSN.End, size(m.Redo.LowestMargin), size(m.Redo.Capacity)),
	}
	if b := m.Binlog; b != nil {
		lines = append(lines, fmt.Sprintf("binlog\t%s %d, GTID %s", b.File, b.Position, orDefault(b.GTID, "none")))
	}
	for _, s := range m.Replicas {
		position := ""
		if s.File != "" {
			position = fmt.Sprintf(" %s %d,", s.File, s.Position)
		}
		lines = append(lines, fmt.Sprintf("replica of\t%s:%d,%s GTID %s", s.Host, s.Port, position, orDefault(s.GTID, "none")))
	}
	lines = append(lines, linkLines(m)...)
	lines = append(lines, leftOutLines(m)...)
	for _, w := range m.Warnings {
		lines = append(lines, "warning\t"+w)
	}
	return rows(env, lines)
}

// ratio is raw bytes to stored ones.
func ratio(m *repo.Manifest) float64 {
	return float64(m.BytesRead) / float64(max(m.BytesStored, 1))
}
