package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/moment"
	"mbk/internal/repo"
	"mbk/internal/sys/disk"
	"mbk/internal/sys/fsuser"
	"mbk/internal/ui/printable"
)

// Plan is what a restore would do, and what stands against it.
type Plan struct {
	ID            string            `json:"id"`
	ServerVersion string            `json:"server_version"`
	Target        string            `json:"target"`
	KeepOld       string            `json:"keep_old"` // new name of a data directory in the target, or ""
	Owner         Owner             `json:"owner"`
	Raw           bool              `json:"raw"`
	Members       []Member          `json:"members"` // the backups that it reads, the newest first
	Files         int               `json:"files"`
	Bytes         int64             `json:"bytes"`        // of the files
	SpaceNeeded   int64             `json:"space_needed"` // estimate, in bytes
	SpaceFree     int64             `json:"space_free"`
	Mariadbd      *mariadbd.Program `json:"mariadbd,omitempty"` // recovers; nil: none is needed, or none was found
	Upgrade       *Upgrade          `json:"upgrade,omitempty"`  // nil: the series stays, or nothing was found
	Config        []string          `json:"config"`             // lines that the server's configuration needs
	Outside       []OutsideFile     `json:"outside"`            // files that go outside of the data directory
	Replay        *Replay           `json:"replay,omitempty"`   // nil: the backup is restored as it is
	Objections    []Objection       `json:"objections"`
	Warnings      []string          `json:"warnings"` // what may go wrong
	Notes         []hint.Text       `json:"notes"`

	opts     Options
	path     *moment.Path // of Replay
	chain    *repo.Chain
	manifest *repo.Manifest // of what is restored of the backup
	whole    bool           // all bytes of the packs are read, those that no file refers to as well
	older    bool           // Mariadbd is an older maintenance release than the source's
	outside  []outsideFile
	target   target
	settings mariadbd.Settings
}

// Member is a backup that a restore reads.
type Member struct {
	ID    string `json:"id"`
	Bytes int64  `json:"bytes"` // of its packs, as far as they may be needed
}

// Manifest is the manifest of the backup, as far as it is restored.
func (p *Plan) Manifest() *repo.Manifest { return p.manifest }

// Full is the manifest of the whole backup.
func (p *Plan) Full() *repo.Manifest { return p.chain.Manifest() }

// Err is nil if nothing stands against the plan, else an *ObjectionsError.
func (p *Plan) Err() error {
	return asError(fmt.Sprintf("restore %s into %s", p.ID, p.Target), p.Objections)
}

// NewPlan works out a restore without changing anything. All objections that
// can be found are in the plan. The error is for a backup that cannot be looked
// at: unknown, damaged, or of a newer format.
func NewPlan(ctx context.Context, o Options) (*Plan, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p, err := planBackup(ctx, o)
	if err != nil {
		return nil, err
	}
	p.whole = o.Filter.Empty() // else only what is needed is read
	t, objections, err := inspectTarget(o)
	if mariadbd.Lacking(err) {
		return nil, err
	}
	if err != nil {
		p.addObjection(Objection{Problem: err.Error()})
	}
	p.target, p.Target, p.KeepOld, p.Owner = t, cmp.Or(t.path, o.Target), t.old, t.owner
	p.addObjection(objections...)
	p.checkOutside()
	p.checkGalera()
	p.checkLook()
	if o.upgrades() { // which may rebuild a table
		p.SpaceNeeded += p.largest()
	}
	if t.path != "" {
		p.checkSpace(t.parent(), len(objections) == 0)
	}
	if o.Raw && p.manifest.Filter != nil {
		p.addObjection(Objection{
			Problem: "a restore that leaves tables out cannot leave recovery to the server",
			Hint:    "restore without " + hint.Option("no-recover"),
		})
	}
	if !o.Raw {
		if err := p.findServer(ctx); err != nil {
			return nil, err
		}
		p.checkServers()
		p.checkUpgrade()
	}
	p.describe()
	return p, nil
}

// planBackup begins the plan for what Options.Filter keeps of the backup that Options.ID or the
// moment names.
func planBackup(ctx context.Context, o Options) (*Plan, error) {
	o.Preparation = o.WithDefaults()
	path, err := o.findMoment(ctx) // which may say what backup it is
	if err != nil {
		return nil, err
	}
	chain, err := o.Repository.Chain(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	m := chain.Manifest()
	f, unmatched := filterOf(o, m)
	p := newPlan(o, applyFilter(m, f))
	p.read(chain)
	p.addReplay(path)
	p.checkFilteredExternal(m)
	p.addObjection(unmatched...)
	if err := p.checkStanding(ctx); err != nil {
		return nil, err
	}
	return p, nil
}

// PlanIn plans to prepare a backup in a folder for scratch, and never to place it: the
// target is not made, only its scratch folder is. An *ObjectionsError says what stands
// against it.
func PlanIn(ctx context.Context, o Preparation, chain *repo.Chain, dir, purpose string) (*Plan, error) {
	return PlanUntil(ctx, Options{Preparation: o}, chain, dir, purpose)
}

// PlanUntil is PlanIn for Plan.GoOn, to Options.Until. Errors are those of PlanIn, and of a moment
// to which no log leads from this backup.
func PlanUntil(ctx context.Context, o Options, chain *repo.Chain, dir, purpose string) (*Plan, error) {
	o.Preparation = o.WithDefaults()
	o.ID = chain.Manifest().ID
	path, err := o.findMoment(ctx)
	if err != nil {
		return nil, err
	}
	p := newPlan(o, chain.Manifest())
	p.read(chain)
	p.addReplay(path)
	return p, p.scratchIn(ctx, dir, purpose)
}

// PlanPart is PlanIn for what Options.Filter keeps of a backup, which must not be known to
// be damaged unless Options.AllowDamaged is set. With Options.Until it is for all of a backup,
// and Plan.GoOn leads to that moment.
func PlanPart(ctx context.Context, o Options, dir, purpose string) (*Plan, error) {
	p, err := planBackup(ctx, o)
	if err != nil {
		return nil, err
	}
	return p, p.scratchIn(ctx, dir, purpose)
}

// scratchIn makes the plan one of work in a folder for scratch.
func (p *Plan) scratchIn(ctx context.Context, dir, purpose string) error {
	object := func(o ...Objection) error {
		p.addObjection(o...)
		return asError(fmt.Sprintf("start a server on it in %s", dir), p.Objections)
	}
	path, err := fsuser.Resolve(filepath.Join(dir, "mbk-"+purpose+"-"+plainID(p.opts.Repository.Config().ID)))
	if mariadbd.Lacking(err) {
		return err
	}
	if err != nil {
		o := Objection{
			Problem: fmt.Sprintf("scratch folder: %v", err),
			Hint:    "name a folder that is there with " + hint.Option("scratch") + ", on a disk with room for all files",
		}
		if link, ok := errors.AsType[*fsuser.ForeignLinkError](err); ok {
			o.Hint = hint.Text(link.Advice())
		}
		return object(o)
	}
	p.target, p.Target = target{path: path, mode: 0o700}, path
	if err := p.findServer(ctx); err != nil {
		return err
	}
	if p.path == nil {
		p.settings.LogSize = min(p.settings.LogSize, 96<<20) // nobody will work on it
	}
	var objection *Objection
	if p.target.owner, objection = chooseOwner(p.opts, nil); objection != nil {
		return object(*objection)
	}
	objections := p.target.inspectParent()
	p.addObjection(objections...)
	if len(objections) == 0 {
		p.checkSpace(filepath.Dir(path), true)
	}
	p.checkServers()
	return object()
}

// checkStanding objects to a backup that a verification found damaged, and notes that
// Latest is not the newest one.
func (p *Plan) checkStanding(ctx context.Context) error {
	o, r := p.opts, p.opts.Repository
	if o.ID == repo.Latest {
		ids, err := r.IDs(ctx)
		if err == nil && len(ids) > 0 && ids[len(ids)-1] > p.ID {
			p.note("%s is newer, but damaged as far as is known: \"latest\" is the newest that is not", ids[len(ids)-1])
		}
		if err != nil {
			return err
		}
	}
	v, err := p.knownDamage(ctx)
	if err != nil || v == nil {
		return err
	}
	text := fmt.Sprintf("a verification at depth %s found backup %s damaged on %s", v.Depth, v.ID,
		v.Time.UTC().Format("2006-01-02 15:04 UTC"))
	if v.ID != p.ID {
		text = fmt.Sprintf("backup %s needs %s, and %s", p.ID, v.ID, text)
	}
	if len(v.Findings) > 0 {
		f := v.Findings[0]
		text += ": " + strings.TrimSpace(cmp.Or(f.File, f.Table, f.Object)+" "+f.Problem)
	}
	if o.AllowDamaged {
		p.note("%s", text)
		return nil
	}
	good, err := r.NewestGood(ctx)
	advice := "no other backup is known to be better; " + hint.Option("allow-damaged") + " tries all the same"
	if good != "" {
		advice = hint.Textf("restore %s, the newest that is not known to be damaged; %s tries this one all the same", good,
			hint.Option("allow-damaged"))
	}
	p.addObjection(Objection{Problem: text, Hint: advice})
	return err
}

// knownDamage returns the verification that speaks against the backup, or against one that
// it needs; nil if none does.
func (p *Plan) knownDamage(ctx context.Context) (*repo.Verification, error) {
	members := p.chain.Members()
	for i := range members {
		v, err := p.opts.Repository.Standing(ctx, members[i].ID)
		if err != nil {
			return nil, err
		}
		label, _ := members[i].Label()
		if v != nil && !v.OK && !onlySourceDamage(v, label) {
			return v, nil
		}
	}
	return nil, nil
}

// onlySourceDamage reports whether a verification found nothing but the pages that were
// damaged on the source, with which the backup of that label was wanted. They are noted
// anyway.
func onlySourceDamage(v *repo.Verification, label *repo.Label) bool {
	return label != nil && v.FindingCount == label.Damaged && !slices.ContainsFunc(v.Findings,
		func(f repo.Finding) bool { return f.Object != "" || f.Table != "" || f.File == "" })
}

// newPlan plans what does not depend on where the files go.
func newPlan(o Options, m *repo.Manifest) *Plan {
	p := &Plan{
		ID: m.ID, ServerVersion: m.Server.Version, Target: o.Target, Raw: o.Raw, opts: o,
		Outside: []OutsideFile{}, Config: []string{}, Objections: []Objection{}, Warnings: []string{},
		Notes: []hint.Text{}, Members: []Member{}, manifest: m,
	}
	for _, f := range m.Files {
		p.Files++
		p.Bytes += f.Size
		if strings.HasSuffix(f.Path, ".isl") {
			p.addObjection(Objection{Problem: fmt.Sprintf("%s leads the server to a file outside of the data directory, which "+
				"the backup does not hold", f.Path)})
		}
	}
	p.checkExternal()
	var err error
	if p.settings, err = newSettings(m); err != nil {
		p.addObjection(Objection{Problem: err.Error()})
	}
	return p
}

// read makes the plan one of reading a chain, and works out what that takes.
func (p *Plan) read(chain *repo.Chain) {
	p.chain = chain
	bytes := map[string]int64{}
	for i := range p.manifest.Files {
		f := &p.manifest.Files[i]
		p.SpaceNeeded += p.room(f)
		for _, l := range chain.LayersOf(f.Number) {
			for _, e := range l.Extents {
				bytes[l.Member] += e.Length
			}
		}
	}
	for _, m := range chain.Members() {
		p.Members = append(p.Members, Member{ID: m.ID, Bytes: bytes[m.ID]})
	}
}

// addObjection adds objections.
func (p *Plan) addObjection(o ...Objection) { p.Objections = append(p.Objections, o...) }

// warn adds a warning.
func (p *Plan) warn(format string, args ...any) {
	p.Warnings = append(p.Warnings, fmt.Sprintf(format, args...))
}

// note adds a note.
func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, hint.Textf(format, args...))
}

// room is the space that a file will take. Of a file with holes its share of the
// packs gives an idea.
func (p *Plan) room(f *repo.File) int64 {
	if !f.Sparse {
		return f.Size
	}
	var stored int64
	for _, l := range p.chain.LayersOf(f.Number) {
		for _, e := range l.Extents {
			stored += e.Length
		}
	}
	return min(f.Size, stored+stored/4)
}

// largest is the size of the largest tablespace.
func (p *Plan) largest() int64 {
	var size int64
	for i := range p.manifest.Files {
		if f := &p.manifest.Files[i]; f.Class == repo.ClassInnoDB && (f.Space == nil || *f.Space != 0) {
			size = max(size, p.room(f))
		}
	}
	return size
}

// checkSpace compares what is needed with what a folder's file system has left.
// Recovery lets files grow, by no more than the redo log holds, and builds a
// fresh log. A folder that cannot be asked is an objection only if there is none to
// the target already.
func (p *Plan) checkSpace(dir string, object bool) {
	const reserve = 64 << 20
	redo := int64(p.manifest.LSN.End - p.manifest.LSN.Checkpoint)
	p.SpaceNeeded += redo + reserve
	if !p.Raw {
		p.SpaceNeeded += p.settings.LogSize
	}
	space, err := disk.SpaceOf(dir)
	if err != nil {
		if object {
			p.addObjection(Objection{Problem: err.Error()})
		}
		return
	}
	p.SpaceFree = space.Free
	if p.SpaceNeeded > p.SpaceFree {
		p.addObjection(Objection{
			Problem: fmt.Sprintf("%s has %s free, and the restore needs about %s", dir,
				humanize.IBytes(uint64(p.SpaceFree)), humanize.IBytes(uint64(p.SpaceNeeded))),
			Hint: "make room, or choose a place on another file system",
		})
	}
}

// checkServers checks that the owner can run the programs that were found, and that
// there is what their plugins need.
func (p *Plan) checkServers() {
	programs := []*mariadbd.Program{}
	if p.Mariadbd != nil {
		programs = append(programs, p.Mariadbd)
	}
	if u := p.Upgrade; u != nil && (p.Mariadbd == nil || u.Mariadbd.Path != p.Mariadbd.Path) {
		programs = append(programs, &u.Mariadbd)
	}
	for _, program := range programs {
		p.checkServer(*program)
	}
	if u := p.Upgrade; u != nil && u.Tool != "" && filepath.Dir(u.Tool) != filepath.Dir(u.Mariadbd.Path) {
		p.checkReach(u.Tool)
	}
	if len(programs) > 0 {
		p.checkKeys()
	}
}

// checkReach checks that the owner can run a program.
func (p *Plan) checkReach(path string) {
	if len(p.target.owner.reaches(filepath.Dir(path))) == 0 {
		return
	}
	option := hint.Option("mariadbd")
	if u := p.Upgrade; u != nil && (path == u.Mariadbd.Path || path == u.Tool) &&
		(p.Mariadbd == nil || path != p.Mariadbd.Path) {
		option = hint.Option("upgrade-with")
	}
	p.addObjection(Objection{
		Problem: fmt.Sprintf("user %d, who is to own the data directory, cannot run %s", p.target.owner.UID, path),
		Hint:    "name a mariadbd that this user can reach with " + option + ", or another owner",
	})
}

// checkServer checks one program.
func (p *Plan) checkServer(program mariadbd.Program) {
	if len(p.target.owner.reaches(filepath.Dir(program.Path))) > 0 {
		p.addObjection(Objection{
			Problem: fmt.Sprintf("user %d, who is to own the data directory, cannot run %s", p.target.owner.UID, program.Path),
			Hint: "name a mariadbd that this user can reach with " + hint.Option("mariadbd") + ", or another user with " +
				hint.Option("owner") + "; " + hint.Option("owner") + " root is for a server that root itself runs",
		})
	}
	for _, plugin := range p.manifest.Server.Plugins {
		if !consistsOf(plugin.Library, pluginChars) {
			continue
		}
		if ok, err := program.HasPlugin(plugin.Library); err != nil || ok {
			continue
		}
		missing := fmt.Sprintf("plugin %s is missing: there is no %s in %s", plugin.Name, plugin.Library, program.PluginDir)
		if neededPlugin(plugin) {
			p.addObjection(Objection{Problem: missing,
				Hint: "install the package of that plugin; recovery cannot read the files without it"})
		} else if tables := tablesOf(p.manifest, plugin); tables != "" {
			p.warn("%s; without it the server cannot open %s, of which it has the storage engine", missing, tables)
		}
	}
}

// checkKeys looks for the key files of the source, if no option names others.
func (p *Plan) checkKeys() {
	for _, k := range keyFiles(p.manifest) {
		if k.named(p.opts.MariadbdArgs) {
			continue
		}
		if err := readableFor(k.path, p.target.owner); err != nil {
			p.addObjection(Objection{
				Problem: fmt.Sprintf("the source's encryption keys are in %s: %v", k.path, err),
				Hint: hint.Textf("bring the key file there, or name it with %s=%s", hint.Option("mariadbd-option"),
					k.option("FILE")),
			})
		}
	}
}

// readableFor reports whether a file exists and the owner may read it.
func readableFor(name string, owner Owner) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		return f.Close()
	}
	if objections := owner.reaches(filepath.Dir(name)); len(objections) > 0 {
		return fmt.Errorf("%s", objections[0].Problem)
	}
	if !owner.may(info, 0o4) {
		return fmt.Errorf("user %d may not read it", owner.UID)
	}
	return nil
}

// describeChain notes what an increment needs.
func (p *Plan) describeChain() {
	if len(p.Members) == 1 {
		return
	}
	var others []string
	var bytes int64
	for _, m := range p.Members {
		if bytes += m.Bytes; m.ID != p.ID {
			others = append(others, m.ID)
		}
	}
	p.note("%s is an increment: %s are read, up to %s of %s and of %s", p.ID, printable.Count(len(p.Members), "backup"),
		humanize.IBytes(uint64(bytes)), p.ID, printable.List(others))
}

// describe notes what whoever restores should know.
func (p *Plan) describe() {
	m := p.manifest
	p.Config = Config(m)
	if p.Upgrade != nil {
		p.Config = configLines(m, p.Upgrade.found.Release)
	}
	p.Config = withOptions(p.Config, p.opts.MariadbdArgs)
	p.describeChain()
	p.describeExternal()
	p.Notes = append(p.Notes, hint.Plain(leftOutNotes(m)...)...)
	if n := len(m.Damaged); n > 0 {
		p.note("the backup holds %s damaged on the source, the first in %s", printable.Count(n, "page"), m.Damaged[0].File)
	}
	p.Notes = append(p.Notes, hint.Plain(problemNotes(m)...)...)
	if p.Raw {
		p.note("the files will be consistent only after the first start of the server has applied the redo log")
		if len(m.Replicas) > 0 {
			p.note(`the source was a replica: if that start ends with "Found N prepared transactions", ` +
				"start once with --tc-heuristic-recover=ROLLBACK")
		}
	}
}
