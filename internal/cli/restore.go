package cli

import (
	"errors"
	"fmt"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"mbk/internal/hint"
	"mbk/internal/input/bytesize"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/verify"
)

func restoreCommand(env Env) *cli.Command {
	flags := []cli.Flag{
		repoFlag(),
		&cli.StringFlag{Name: "target", Usage: "make `FOLDER` the data directory; it must be missing or empty"},
		&cli.StringSliceFlag{Name: "map-dir", Usage: "restore tables' files that lay below the folder OLD below NEW (`OLD=NEW`), not into the data directory; may be repeated"},
		&cli.BoolFlag{Name: "original-dirs", Usage: "restore tables' files that lay outside of the data directory to where they were"},
		&cli.BoolFlag{Name: "no-recover", Usage: "lay the files down only; the first start of the server recovers them"},
		&cli.BoolFlag{Name: "keep-old", Usage: "move the data directory that is in the target aside, to FOLDER.old-TIME"},
		&cli.BoolFlag{Name: "galera-node", Usage: "make it a node of the source's Galera cluster, which need not copy another one"},
		&cli.BoolFlag{Name: "allow-damaged", Category: categoryRare, Usage: "try to restore a backup although a verification found it damaged"},
		&cli.BoolFlag{Name: "upgrade", Usage: "bring the data to the newer release series of MariaDB that is on this machine, with its mariadb-upgrade"},
		&cli.StringFlag{Name: "upgrade-with", Usage: "the same, with the server program `FILE` of the newer series"},
		&cli.BoolFlag{Name: "dry-run", Usage: "print the plan and every objection, change nothing"},
		&cli.StringFlag{Name: "owner", Usage: "give the files to `USER[:GROUP]` (default: the target's owner, else mysql)"},
		threadsFlag("extract with `N` threads (default: six more than CPUs)"),
		&cli.BoolFlag{Name: "keep-on-failure", Category: categoryRare, Usage: "leave the scratch folder of a failed restore for a look"},
	}
	flags = append(append(append(flags, filterFlags()...), serverFlags()...), fileFlags()...)
	return &cli.Command{
		Name: "restore", Usage: "restore a backup into a data directory",
		UsageText: "mbk restore ID|latest --repo FOLDER --target FOLDER\n\nmbk restore latest --repo /backup/db1 --target /var/lib/mysql --dry-run",
		ArgsUsage: "ID|latest",
		Flags:     append(flags, progressFlags()...),
		Action:    func(c *cli.Context) error { return runRestore(c, env) },
	}
}

// fileFlags are the option file flags of commands that talk to no server.
func fileFlags() []cli.Flag {
	var flags []cli.Flag
	for _, f := range connectionFlags() {
		if strings.Contains(f.Names()[0], "defaults") {
			flags = append(flags, f)
		}
	}
	return flags
}

// restoreOptions are those that restoring, verifying and extracting share.
func restoreOptions(c *cli.Context, env Env, id string) (restore.Preparation, progress, error) {
	if err := checkNumbers(c, "threads"); err != nil {
		return restore.Preparation{}, nil, err
	}
	shown, err := newProgress(c, env)
	if err != nil {
		return restore.Preparation{}, nil, err
	}
	r, err := openRepository(c)
	if err != nil {
		return restore.Preparation{}, nil, err
	}
	o := restore.Preparation{
		Repository: r, ID: id, Tool: tool(), Workers: c.Int("threads"),
		Mariadbd: c.String("mariadbd"), MariadbdArgs: c.StringSlice("mariadbd-option"),
	}
	if o.Memory, err = memory(c); err != nil {
		return restore.Preparation{}, nil, err
	}
	phase := ""
	o.OnProgress = func(p restore.Progress) {
		if p.Phase != phase {
			phase = p.Phase
			shown.step(phaseName(phase))
		}
		if p.Text != "" {
			shown.note(p.Text)
			return
		}
		if phase != verify.PhaseCheck {
			shown.at(p.Done, p.Total)
		}
	}
	return o, shown, nil
}

// memory is the size of the buffer pool for recovery.
func memory(c *cli.Context) (int64, error) {
	text := c.String("use-memory")
	if text == "" {
		return 0, nil
	}
	n, err := bytesize.Parse(text)
	if err == nil && n < restore.MinMemory {
		err = fmt.Errorf("%q is not a size of 64MiB or more, such as 4GiB", text)
	}
	if err != nil {
		return 0, usagef("--use-memory %v", err)
	}
	return n, nil
}

// phaseName is a phase in words.
func phaseName(phase string) string {
	switch phase {
	case verify.PhaseStored:
		return "reading all objects"
	case verify.PhasePages:
		return "checking all pages"
	case restore.PhaseExtract:
		return "extracting"
	case restore.PhaseRecover:
		return "mariadbd applies the redo log"
	case restore.PhaseDrop:
		return "mariadbd drops what does not belong there"
	case restore.PhaseUpgrade:
		return "mariadb-upgrade brings the tables to the newer series"
	case verify.PhaseCheck:
		return "mariadbd checks all tables"
	case restore.PhasePlace:
		return "syncing and placing"
	}
	return phase
}

func runRestore(c *cli.Context, env Env) error {
	id, err := oneID(c)
	if err != nil {
		return err
	}
	if c.String("target") == "" {
		return usagef("mbk restore needs --target FOLDER, the data directory to make")
	}
	shared, shown, err := restoreOptions(c, env, id)
	if err != nil {
		return err
	}
	o := restore.Options{Preparation: shared}
	o.Target, o.Raw, o.KeepOnFailure = c.String("target"), c.Bool("no-recover"), c.Bool("keep-on-failure")
	o.KeepOld, o.GaleraNode, o.AllowDamaged = c.Bool("keep-old"), c.Bool("galera-node"), c.Bool("allow-damaged")
	o.Upgrade, o.UpgradeWith = c.Bool("upgrade"), c.String("upgrade-with")
	if o.Raw && (o.Upgrade || o.UpgradeWith != "") {
		return usagef("--upgrade needs the recovery, which --no-recover leaves to the server")
	}
	if o.DirMaps, err = dirMaps(c); err != nil {
		return err
	}
	if path, ok := inRepository(o.Repository, o.Target); ok {
		return hint.Wrap(&configError{fmt.Errorf("target %s lies in the repository", path)}, hint.Text("name a target outside of "+o.Repository.String()))
	}
	if o.Filter, err = filterOf(c, env); err != nil {
		return err
	}
	if o.Owner, err = parseOwner(c.String("owner")); err != nil {
		return err
	}
	if c.Bool("dry-run") {
		return dryRun(c, env, o)
	}
	r, err := restore.Restore(c.Context, o)
	shown.end()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return document(env, r)
	}
	return printRestore(env, r)
}

// dirMaps says where files go that lay outside of the data directory.
func dirMaps(c *cli.Context) ([]restore.DirMap, error) {
	var maps []restore.DirMap
	if c.Bool("original-dirs") {
		maps = append(maps, restore.DirMap{From: "/", To: "/"})
	}
	for _, text := range c.StringSlice("map-dir") {
		m, err := restore.ParseDirMap(text)
		if err != nil {
			return nil, usagef("--map-dir %v", err)
		}
		maps = append(maps, m)
	}
	return maps, nil
}

// inRepository reports whether a path leads into a repository that is a folder.
func inRepository(r *repo.Repository, path string) (string, bool) {
	path, err := filepath.Abs(path)
	if err != nil {
		return path, false
	}
	parent := filepath.Dir(path)
	if real, err := filepath.EvalSymlinks(parent); err == nil {
		parent = real
	}
	folder := r.Dir()
	if folder == "" {
		return path, false
	}
	if real, err := filepath.EvalSymlinks(folder); err == nil {
		folder = real
	}
	rel, err := filepath.Rel(folder, parent)
	return path, err == nil && filepath.IsLocal(rel)
}

// parseOwner reads USER[:GROUP], names or numbers; "" is no owner.
func parseOwner(text string) (*restore.Owner, error) {
	if text == "" {
		return nil, nil
	}
	name, group, hasGroup := strings.Cut(text, ":")
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, usagef("--owner: no user %q on this machine", name)
		}
	}
	gid := u.Gid
	if hasGroup {
		g, err := user.LookupGroup(group)
		if err != nil {
			if g, err = user.LookupGroupId(group); err != nil {
				return nil, usagef("--owner: no group %q on this machine", group)
			}
		}
		gid = g.Gid
	}
	var o restore.Owner
	var errs [2]error
	o.UID, errs[0] = strconv.Atoi(u.Uid)
	o.GID, errs[1] = strconv.Atoi(gid)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, usagef("--owner %q: %v", text, err)
	}
	return &o, nil
}

// dryRun prints the plan of a restore.
func dryRun(c *cli.Context, env Env, o restore.Options) error {
	p, err := restore.NewPlan(c.Context, o)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = document(env, p)
	} else {
		lines := []string{
			"would restore\t" + p.ID, "into\t" + p.Target,
			fmt.Sprintf("files\t%d, %s", p.Files, size(p.Bytes)),
			"room\t" + roomFor(p),
			"source\tMariaDB " + p.ServerVersion,
		}
		if p.Owner != (restore.Owner{}) || len(p.Objections) == 0 { // else nobody may have been chosen
			lines = slices.Insert(lines, 2, "owner\t"+ownerName(p.Owner))
		}
		if p.KeepOld != "" {
			lines = append(lines, "old data\twould be kept in "+p.KeepOld)
		}
		if p.Mariadbd != nil {
			lines = append(lines, fmt.Sprintf("recovery\tby %s, %s", p.Mariadbd.Path, p.Mariadbd.Version))
		}
		for _, f := range p.Outside {
			lines = append(lines, "outside\t"+f.Path+" to "+f.To)
		}
		if u := p.Upgrade; u != nil {
			lines = append(lines, fmt.Sprintf("upgrade\tby %s, %s, and %s", u.Mariadbd.Path, u.Mariadbd.Version, u.Tool))
		}
		lines = append(lines, labelled("my.cnf", p.Config)...)
		lines = append(lines, labelled("warning", p.Warnings)...)
		lines = append(lines, labelled("note", hint.Strings(p.Notes))...)
		err = rows(env, lines)
	}
	return errors.Join(p.Err(), err)
}

// ownerName is the user who owns files, by name where it is known, and the group.
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

// labelled are lines with the same label.
func labelled(label string, texts []string) []string {
	var lines []string
	for _, text := range texts {
		lines = append(lines, label+"\t"+text)
	}
	return lines
}

// roomFor is what a plan needs and finds. Nothing is said of a place that could not be
// looked at: the plan's objections tell why.
func roomFor(p *restore.Plan) string {
	text := size(p.SpaceNeeded) + " needed"
	if p.SpaceFree > 0 || len(p.Objections) == 0 {
		text += ", " + size(p.SpaceFree) + " free"
	}
	return text
}

func printRestore(env Env, r *restore.Result) error {
	lines := []string{
		"restored\t" + r.ID, "into\t" + r.Target, "owner\t" + ownerName(r.Owner),
		fmt.Sprintf("files\t%d, %s", r.Files, size(r.Bytes)),
		fmt.Sprintf("time\t%s (extract %s, recover %s, place %s)", milliseconds(r.Elapsed.Total), milliseconds(r.Elapsed.Extract), milliseconds(r.Elapsed.Recover), milliseconds(r.Elapsed.Place)),
	}
	if r.KeptOld != "" {
		lines = append(lines, "old data\tkept in "+r.KeptOld)
	}
	if r.Raw {
		lines = append(lines, "recovery\tby the first start of the server")
	} else {
		lines = append(lines, fmt.Sprintf("recovered\tto LSN %d", r.LSN))
	}
	if r.UpgradedTo != "" {
		lines = append(lines, fmt.Sprintf("upgraded\tto %s, in %s", r.UpgradedTo, milliseconds(r.Elapsed.Upgrade)))
	}
	if b := r.Binlog; b != nil {
		lines = append(lines, fmt.Sprintf("binlog\t%s %d, GTID %s", b.File, b.Position, orDefault(b.GTID, "none")))
	}
	lines = append(lines, labelled("my.cnf", r.Config)...)
	lines = append(lines, labelled("replica of the source", r.ReplicaOfSource)...)
	lines = append(lines, labelled("replica as the source is", r.ReplicaLikeSource)...)
	lines = append(lines, labelled("note", hint.Strings(r.Notes))...)
	lines = append(lines, labelled("warning", r.Warnings)...)
	return rows(env, lines)
}
