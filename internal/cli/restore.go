package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/moment"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/sys/disk"
	"mbk/internal/ui"
)

type restoreOptions struct {
	repository
	id            string
	from          string
	target        string
	mapDirs       []string
	originalDirs  bool
	until         string
	binlog        binlogDir
	looking       looking
	noRecover     bool
	keepOld       bool
	galeraNode    bool
	allowDamaged  bool
	upgrade       bool
	upgradeWith   string
	dryRun        bool
	owner         string
	threads       int
	keepOnFailure bool
	filters       filters
	server        serverProgram
	intoServer    intoServer
	set           *options.Set
}

func (o *restoreOptions) bind(s *options.Set, p *program) {
	o.set = s
	rare, u := s.In(categoryRare), p.ui
	o.repository.bind(s, u)
	o.bindIdentities(s)
	s.String(&o.from, "from", "",
		"restore the newest backup of the stream that comes from standard input (`-`)")
	s.String(&o.target, "target", "", "make `FOLDER` the data directory; it must be missing or empty")
	rare.Strings(&o.mapDirs, "map-dir",
		"restore tables' files that lay below the folder OLD below NEW (`OLD=NEW`), "+
			"not into the data directory; may be repeated")
	rare.Bool(&o.originalDirs, "original-dirs",
		"restore tables' files that lay outside of the data directory to where they were")
	s.String(&o.until, "until", "", "go on from the end of the backup to `MOMENT`, with the archive of binary logs: "+
		"a time, gtid:GTID, before-gtid:GTID, position:FILE:OFFSET, or end")
	o.binlog.bind(s, "go on")
	o.looking.bind(s)
	s.Bool(&o.noRecover, "no-recover", "lay the files down only; the first start of the server recovers them")
	s.Bool(&o.keepOld, "keep-old", "move the data directory that is in the target aside, to FOLDER.old-TIME")
	s.Bool(&o.galeraNode, "galera-node", "make it a node of the source's Galera cluster, which need not copy another one")
	rare.Bool(&o.allowDamaged, "allow-damaged", "try to restore a backup although a verification found it damaged")
	s.Bool(&o.upgrade, "upgrade",
		"bring the data to the newer release series of MariaDB that is on this machine, with its mariadb-upgrade")
	s.String(&o.upgradeWith, "upgrade-with", "",
		"bring the data to the newer series of the server program `FILE`, with its mariadb-upgrade")
	s.Bool(&o.dryRun, "dry-run", "print the plan and every objection only")
	s.String(&o.owner, "owner", "", "give the files to `USER[:GROUP]` (default: the target's owner, else mysql)")
	threadsOption(s, &o.threads, "extract with `N` threads (default: six more than CPUs)")
	rare.Bool(&o.keepOnFailure, "keep-on-failure", "leave the scratch folder of a failed restore for a look")
	o.filters.bind(s)
	o.server.bind(s)
	o.intoServer.bind(s, p)
	progressOptions(s, u)
}

func restoreCommand(p *program) *command {
	var o restoreOptions
	return &command{
		name: "restore", summary: "restore a backup, or tables of it into a running server",
		usage: "mbk restore ID|latest --repo REPO --target FOLDER\n   mbk restore --from - --target FOLDER\n" +
			"   mbk restore ID|latest --repo REPO --table DB.NAME --into-server\n" +
			"   mbk restore ID|latest --repo REPO --table DB.NAME --export FOLDER",
		examples: "mbk restore latest --repo /backup/db1 --target /var/lib/mysql --dry-run\n" +
			"mbk restore latest --repo /db1 --target /x --until 2026-11-30T11:59:00Z\n" +
			"mbk restore latest --repo /db1 --table shop.orders --into-server --replace\n" +
			"ssh db1 mbk backup --to - | mbk restore --from - --target /var/lib/mysql",
		changes: true, routine: true, needs: []string{"target"}, arguments: "ID|latest", id: &o.id,
		noID: func() string {
			if o.from != "" {
				return "from"
			}
			return ""
		},
		options: bind(func(s *options.Set) { o.bind(s, p) }),
		run:     func(ctx context.Context) error { return runRestore(ctx, &o, p.ui) },
	}
}

func runRestore(ctx context.Context, o *restoreOptions, u *ui.UI) (err error) {
	if err := o.binlog.check(o.until); err != nil {
		return err
	}
	if o.intoServer.wanted || o.intoServer.export != "" {
		return runRestoreTables(ctx, o, u)
	}
	if err := o.intoServer.unused(); err != nil {
		return err
	}
	r, err := o.restore(ctx, u)
	if err != nil {
		return err
	}
	binlog, done, err := o.binlog.open(ctx)
	defer done()
	if err != nil {
		return err
	}
	r.Binlog = binlog
	if o.from != "" {
		defer func() { err = errors.Join(err, r.Inbox.Close(err != nil && o.keepOnFailure)) }()
		if err := o.receive(ctx, &r, u); err != nil {
			return err
		}
	}
	if o.dryRun {
		return dryRun(ctx, r, u)
	}
	shown := showProgress(u, &r.Preparation)
	result, err := restore.Restore(ctx, r)
	shown.End()
	if err != nil {
		return err
	}
	return u.ResultWith(result, func() error { return printRestore(u, result) }, concernOf(result))
}

// moment returns the moment that --until names, nil without one.
func (o *restoreOptions) moment() (*moment.Moment, error) { return parseUntil(o.until) }

// restore returns the options of the restore.
func (o *restoreOptions) restore(ctx context.Context, u *ui.UI) (r restore.Options, err error) {
	if o.target == "" {
		also := hint.Text("")
		if o.repository.path == "" && o.from == "" {
			also = ", and " + hint.Option("repo")
		}
		return r, usagef("mbk restore needs %s FOLDER, the data directory to make, or %s with tables to restore%s",
			hint.Option("target"), hint.Option("into-server"), also)
	}
	if r.Preparation, err = preparation(o.server, o.id, o.threads); err != nil {
		return r, err
	}
	r.Target, r.Raw, r.KeepOnFailure = o.target, o.noRecover, o.keepOnFailure
	r.KeepOld, r.GaleraNode, r.AllowDamaged = o.keepOld, o.galeraNode, o.allowDamaged
	r.Upgrade, r.UpgradeWith = o.upgrade, o.upgradeWith
	if r.Raw && (r.Upgrade || r.UpgradeWith != "") {
		return r, usagef("%s needs the recovery, which %s leaves to the server",
			hint.Option("upgrade"), hint.Option("no-recover"))
	}
	if r.Until, err = o.moment(); err != nil {
		return r, err
	}
	if r.Look, err = o.looking.look(o.target, u); err != nil {
		return r, err
	}
	if r.DirMaps, err = o.dirMaps(); err != nil {
		return r, err
	}
	if r.Owner, err = parseOwner(o.owner); err != nil {
		return r, err
	}
	if o.from != "" {
		if err := o.checkStream(); err != nil {
			return r, err
		}
		r.Filter, err = o.filters.spec(strings.NewReader("")) // standard input has the stream
		if err == nil {
			r.Inbox, err = restore.NewInbox(r)
		}
		return r, err
	}
	if r.Filter, err = o.filters.spec(u.Stdin); err != nil {
		return r, err
	}
	if r.Repository, err = o.open(ctx); err != nil {
		return r, err
	}
	if path, ok := inRepository(r.Repository, r.Target); ok {
		return r, hint.Wrap(&configError{hint.Errorf("target %s lies in the repository", path)},
			hint.Text("name a target outside of "+r.Repository.String()))
	}
	return r, nil
}

// parseUntil reads a moment, nil if none is named.
func parseUntil(text string) (*moment.Moment, error) {
	if text == "" {
		return nil, nil
	}
	m, err := moment.Parse(text, time.Local)
	if err != nil {
		return nil, options.Usage(err)
	}
	return &m, nil
}

// checkStream refuses what cannot be combined with a stream.
func (o *restoreOptions) checkStream() error {
	var wrong []hint.Text
	for _, name := range []string{"repo", "dry-run", "until", "keep-running-on"} {
		if o.set.Source(name).Strength == options.ByFlag {
			wrong = append(wrong, hint.Option(name))
		}
	}
	if o.id != "" {
		wrong = append(wrong, hint.Text(fmt.Sprintf("an id such as %q", o.id)))
	}
	switch {
	case o.from != standard:
		return usagef("%s takes %q only, which is standard input", hint.Option("from"), standard)
	case len(wrong) > 0:
		return usagef("%s - restores what comes from standard input: it cannot be combined with %s",
			hint.Option("from"), hint.Join(wrong, ", "))
	}
	return nil
}

// receive stores the stream in the inbox.
func (o *restoreOptions) receive(ctx context.Context, r *restore.Options, u *ui.UI) error {
	in, err := streamIn(ctx, u)
	if err != nil {
		return err
	}
	inbox := repository{path: r.Inbox.Folder(), option: "from", identities: o.identities, ui: u}
	result, to, err := receiveInto(ctx, inbox, in, u)
	if err != nil {
		return err
	}
	r.Repository, r.ID = to, result.Backups[len(result.Backups)-1].ID
	return nil
}

// dirMaps returns where files go that were outside of the data directory.
func (o *restoreOptions) dirMaps() ([]restore.DirMap, error) {
	var maps []restore.DirMap
	if o.originalDirs {
		maps = append(maps, restore.DirMap{From: "/", To: "/"})
	}
	for _, text := range o.mapDirs {
		m, err := restore.ParseDirMap(text)
		if err != nil {
			return nil, usagef("%s %v", hint.Option("map-dir"), err)
		}
		maps = append(maps, m)
	}
	return maps, nil
}

// inRepository reports whether a path is inside the folder of a repository.
func inRepository(r *repo.Repository, path string) (string, bool) {
	path, err := filepath.Abs(path)
	if err != nil {
		return path, false
	}
	return path, r.Dir() != "" && disk.Within(filepath.Dir(path), r.Dir())
}

// dryRun prints the plan of a restore.
func dryRun(ctx context.Context, o restore.Options, u *ui.UI) error {
	p, err := restore.NewPlan(ctx, o)
	if err != nil {
		return err
	}
	return errors.Join(p.Err(), u.Result(p, func() error { return u.Rows(planLines(p)) }))
}

// planLines describe what a restore would do.
func planLines(p *restore.Plan) []string {
	lines := []string{
		"would restore\t" + p.ID, "into\t" + p.Target,
		fmt.Sprintf("files\t%d, %s", p.Files, ui.Size(p.Bytes)),
		"room\t" + roomFor(p),
		"source\tMariaDB " + p.ServerVersion,
	}
	if p.Owner != (restore.Owner{}) || len(p.Objections) == 0 { // otherwise the owner may be unknown
		lines = slices.Insert(lines, 2, "owner\t"+ownerName(p.Owner))
	}
	if p.KeepOld != "" {
		lines = append(lines, "old data\twould be kept in "+p.KeepOld)
	}
	if p.Mariadbd != nil {
		lines = append(lines, fmt.Sprintf("recovery\tby %s, %s", p.Mariadbd.Path, p.Mariadbd.Version))
	}
	lines = append(lines, replayLines("would go on", p.Replay)...)
	for _, f := range p.Outside {
		lines = append(lines, "outside\t"+f.Path+" to "+f.To)
	}
	if u := p.Upgrade; u != nil {
		lines = append(lines, fmt.Sprintf("upgrade\tby %s, %s, and %s", u.Mariadbd.Path, u.Mariadbd.Version, u.Tool))
	}
	lines = append(lines, labelled("my.cnf", p.Config)...)
	lines = append(lines, labelled("warning", p.Warnings)...)
	lines = append(lines, labelled("note", hint.Strings(p.Notes))...)
	return lines
}

// replayLines say to which moment a restore goes on.
func replayLines(verb string, r *restore.Replay) []string {
	if r == nil {
		return nil
	}
	lines := []string{
		fmt.Sprintf("%s\tto GTID %s, for %q", verb, r.To, r.Moment),
		fmt.Sprintf("with\t%s", r),
	}
	if r.Way != "" {
		lines = append(lines, "way\t"+string(r.Way))
	}
	if r.Last != "" {
		lines = append(lines, fmt.Sprintf("last\tGTID %s of %s", r.Last, r.LastTime.Format(time.RFC3339)))
	}
	if r.Next != "" {
		lines = append(lines, fmt.Sprintf("not any more\tGTID %s of %s", r.Next, r.NextTime.Format(time.RFC3339)))
	}
	return lines
}

// ownerName formats the user and group of files, by name where it is known.
func ownerName(o restore.Owner) string {
	name, group := strconv.Itoa(o.UID), strconv.Itoa(o.GID)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	if g, err := user.LookupGroupId(group); err == nil {
		group = g.Name
	}
	return fmt.Sprintf("%s:%s (%d:%d)", name, group, o.UID, o.GID)
}

// labelled returns lines with the same label.
func labelled(label string, texts []string) []string {
	var lines []string
	for _, text := range texts {
		lines = append(lines, label+"\t"+text)
	}
	return lines
}

// roomFor describes the space that a restore needs and has. If the free space is unknown,
// the objections tell why.
func roomFor(p *restore.Plan) string {
	text := ui.Size(p.SpaceNeeded) + " needed"
	if p.SpaceFree > 0 || len(p.Objections) == 0 {
		text += ", " + ui.Size(p.SpaceFree) + " free"
	}
	return text
}

// concernOf is what somebody has to know or to do about a restore.
func concernOf(r *restore.Result) []string {
	lines := labelled("my.cnf", r.Config)
	lines = append(lines, labelled("note", hint.Strings(r.Notes))...)
	return append(lines, labelled("warning", r.Warnings)...)
}

func printRestore(u *ui.UI, r *restore.Result) error {
	lines := []string{
		"restored\t" + r.ID, "into\t" + r.Target, "owner\t" + ownerName(r.Owner),
		fmt.Sprintf("files\t%d, %s", r.Files, ui.Size(r.Bytes)),
		fmt.Sprintf("time\t%s (extract %s, recover %s, place %s)",
			ui.Milliseconds(r.Elapsed.Total), ui.Milliseconds(r.Elapsed.Extract),
			ui.Milliseconds(r.Elapsed.Recover), ui.Milliseconds(r.Elapsed.Place)),
	}
	if r.KeptOld != "" {
		lines = append(lines, "old data\tkept in "+r.KeptOld)
	}
	if r.Raw {
		lines = append(lines, "recovery\tby the first start of the server")
	} else {
		lines = append(lines, fmt.Sprintf("recovered\tto LSN %d", r.LSN))
	}
	lines = append(lines, replayLines("went on", r.Replay)...)
	if r.UpgradedTo != "" {
		lines = append(lines, fmt.Sprintf("upgraded\tto %s, in %s", r.UpgradedTo, ui.Milliseconds(r.Elapsed.Upgrade)))
	}
	if b := r.Binlog; b != nil {
		lines = append(lines, fmt.Sprintf("binlog\t%s %d, GTID %s", b.File, b.Position, cmp.Or(b.GTID, "none")))
	}
	lines = append(lines, labelled("replica of the source", r.ReplicaOfSource)...)
	lines = append(lines, labelled("replica as the source is", r.ReplicaLikeSource)...)
	return u.Rows(append(lines, concernOf(r)...))
}
