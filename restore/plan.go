package restore

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/dustin/go-humanize"

	"mbk/repo"
)

// Plan is what a restore would do, and what stands against it.
type Plan struct {
	ID            string        `json:"id"`
	ServerVersion string        `json:"server_version"`
	Target        string        `json:"target"`
	KeepOld       string        `json:"keep_old"` // where the data directory goes that is in the target, "" if there is none
	Owner         Owner         `json:"owner"`
	Raw           bool          `json:"raw"`
	Files         int           `json:"files"`
	Bytes         int64         `json:"bytes"`        // of the files
	SpaceNeeded   int64         `json:"space_needed"` // estimate, in bytes
	SpaceFree     int64         `json:"space_free"`
	Mariadbd      *Program      `json:"mariadbd,omitempty"` // nil: none is needed, or none was found
	Outside       []OutsideFile `json:"outside"`            // files that go outside of the data directory
	Objections    []Objection   `json:"objections"`
	Notes         []string      `json:"notes"`

	manifest *repo.Manifest
	outside  []outsideFile
	target   target
	settings settings
}

// Manifest is the manifest of the backup.
func (p *Plan) Manifest() *repo.Manifest { return p.manifest }

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
	o = o.withDefaults()
	m, err := o.Repository.Manifest(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	f, unmatched := filterOf(o, m)
	p := newPlan(o, narrow(m, f))
	p.checkFilteredFar(m)
	p.object(unmatched...)
	if err := p.checkStanding(ctx, o); err != nil {
		return nil, err
	}
	t, objections, err := inspectTarget(o)
	if err != nil {
		p.object(Objection{Problem: err.Error()})
	}
	p.target, p.Target, p.KeepOld, p.Owner = t, cmp.Or(t.path, o.Target), t.old, t.owner
	p.object(objections...)
	p.checkOutside(o)
	p.checkGalera(o)
	if t.path != "" {
		p.checkSpace(t.parent(), len(objections) == 0)
	}
	if o.Raw && p.manifest.Filter != nil {
		p.object(Objection{
			Problem: "a restore that leaves tables out cannot leave recovery to the server",
			Hint:    "restore without --no-recover",
		})
	}
	if !o.Raw {
		p.findServer(ctx, o)
		p.checkServer(o)
	}
	p.describe()
	return p, nil
}

// checkStanding objects to a backup that a verification found damaged, and notes that
// Latest is not the newest one.
func (p *Plan) checkStanding(ctx context.Context, o Options) error {
	r := o.Repository
	if o.ID == repo.Latest {
		ids, err := r.IDs(ctx)
		if err == nil && len(ids) > 0 && ids[len(ids)-1] > p.ID {
			p.note("%s is newer, but damaged as far as is known: \"latest\" is the newest that is not", ids[len(ids)-1])
		}
		if err != nil {
			return err
		}
	}
	v, err := r.Standing(ctx, p.ID)
	if err != nil || v == nil || v.OK {
		return err
	}
	text := fmt.Sprintf("a verification at depth %s found backup %s damaged on %s", v.Depth, p.ID, v.Time.UTC().Format("2006-01-02 15:04 UTC"))
	if len(v.Findings) > 0 {
		text += ": " + strings.TrimSpace(cmp.Or(v.Findings[0].File, v.Findings[0].Table, v.Findings[0].Object)+" "+v.Findings[0].Problem)
	}
	if o.AllowDamaged {
		p.note("%s", text)
		return nil
	}
	good, err := r.NewestGood(ctx)
	advice := "no other backup is known to be better; --allow-damaged tries all the same"
	if good != "" {
		advice = fmt.Sprintf("restore %s, the newest that is not known to be damaged; --allow-damaged tries this one all the same", good)
	}
	p.object(Objection{Problem: text, Hint: advice})
	return err
}

// newPlan plans what does not depend on where the files go.
func newPlan(o Options, m *repo.Manifest) *Plan {
	p := &Plan{
		ID: m.ID, ServerVersion: m.Server.Version, Target: o.Target, Raw: o.Raw,
		Outside: []OutsideFile{}, Objections: []Objection{}, Notes: []string{}, manifest: m,
	}
	if m.Parent != "" || m.Kind != repo.KindFull {
		p.object(Objection{
			Problem: fmt.Sprintf("backup %s is of kind %q, which this mbk does not restore", m.ID, m.Kind),
			Hint:    "use the mbk that made it: " + m.Tool,
		})
	}
	for _, f := range m.Files {
		p.Files++
		p.Bytes += f.Size
		p.SpaceNeeded += room(&f)
		if strings.HasSuffix(f.Path, ".isl") {
			p.object(Objection{Problem: fmt.Sprintf("%s leads the server to a file outside of the data directory, which the backup does not hold", f.Path)})
		}
	}
	p.checkFar()
	var err error
	if p.settings, err = newSettings(m); err != nil {
		p.object(Objection{Problem: err.Error()})
	}
	return p
}

// object adds objections.
func (p *Plan) object(o ...Objection) { p.Objections = append(p.Objections, o...) }

// note adds a note.
func (p *Plan) note(format string, args ...any) {
	p.Notes = append(p.Notes, fmt.Sprintf(format, args...))
}

// room is the space that a file will take. Of a file with holes its share of the
// packs gives an idea.
func room(f *repo.File) int64 {
	if !f.Sparse {
		return f.Size
	}
	var stored int64
	for _, e := range f.Extents {
		stored += e.Length
	}
	return min(f.Size, stored+stored/4)
}

// checkSpace compares what is needed with what a folder's file system has left.
// Recovery lets files grow, by no more than the redo log holds, and builds a
// fresh log. A folder that cannot be asked is an objection only if there is none to
// the target already.
func (p *Plan) checkSpace(dir string, object bool) {
	const spare = 64 << 20
	redo := int64(p.manifest.LSN.End - p.manifest.LSN.Checkpoint)
	p.SpaceNeeded += redo + spare
	if !p.Raw {
		p.SpaceNeeded += p.settings.logSize
	}
	var err error
	if p.SpaceFree, err = freeSpace(dir); err != nil {
		if object {
			p.object(Objection{Problem: err.Error()})
		}
		return
	}
	if p.SpaceNeeded > p.SpaceFree {
		p.object(Objection{
			Problem: fmt.Sprintf("%s has %s free, and the restore needs about %s", dir,
				humanize.IBytes(uint64(p.SpaceFree)), humanize.IBytes(uint64(p.SpaceNeeded))),
			Hint: "make room, or choose a place on another file system",
		})
	}
}

// findServer looks for a mariadbd that fits.
func (p *Plan) findServer(ctx context.Context, o Options) {
	program, objection := findProgram(ctx, o, p.manifest)
	if objection != nil {
		p.object(*objection)
		return
	}
	p.Mariadbd = &program
}

// checkServer checks that the owner can run the mariadbd that was found, and that
// there is what its plugins need.
func (p *Plan) checkServer(o Options) {
	if p.Mariadbd == nil {
		return
	}
	program := *p.Mariadbd
	if len(p.target.owner.reaches(filepath.Dir(program.Path))) > 0 {
		p.object(Objection{
			Problem: fmt.Sprintf("user %d, who is to own the data directory, cannot run %s", p.target.owner.UID, program.Path),
			Hint:    "name a mariadbd that this user can reach with --mariadbd, or another owner",
		})
	}
	for _, plugin := range p.manifest.Server.Plugins {
		if !neededPlugin(plugin) || !consistsOf(plugin.Library, pluginChars) {
			continue
		}
		if ok, err := program.hasPlugin(plugin.Library); err == nil && !ok {
			p.object(Objection{
				Problem: fmt.Sprintf("plugin %s is missing: there is no %s in %s", plugin.Name, plugin.Library, program.PluginDir),
				Hint:    "install the package of that plugin; recovery cannot read the files without it",
			})
		}
	}
	if len(o.MariadbdArgs) > 0 {
		return // they may say where the keys are
	}
	for _, name := range keyFiles(p.manifest) {
		if err := readableFor(name, p.target.owner); err != nil {
			p.object(Objection{
				Problem: fmt.Sprintf("the source's encryption keys are in %s: %v", name, err),
				Hint:    "bring the key file there, or name another place with an option for mariadbd",
			})
		}
	}
}

// readableFor says whether a file exists and the owner may read it.
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

// describe notes what whoever restores should know.
func (p *Plan) describe() {
	m := p.manifest
	for _, line := range configLines(m) {
		p.note("files from outside the data directory are restored into it: set %s", line)
	}
	p.describeFar()
	p.Notes = append(p.Notes, leftOutNotes(m)...)
	if n := len(m.Damaged); n > 0 {
		p.note("the backup holds %d pages that were damaged on the source, the first in %s", n, m.Damaged[0].File)
	}
	if p.Raw {
		p.note("the files will be consistent only after the first start of the server has applied the redo log")
		if len(m.Replicas) > 0 {
			p.note("the source was a replica: if that start ends with \"Found N prepared transactions\", start once with --tc-heuristic-recover=ROLLBACK")
		}
	}
}

// configLines are the lines of the server's configuration that fit the restored
// files, where the source kept them outside its data directory.
func configLines(m *repo.Manifest) []string {
	moved := map[string]string{}
	for _, f := range m.Files {
		if f.Origin == "" {
			continue
		}
		switch dir := path.Dir(f.Path); {
		case f.Class == repo.ClassLog:
			moved["aria_log_dir_path"] = dir
		case f.Class == repo.ClassRedo:
			moved["innodb_log_group_home_dir"] = "."
		case f.Class == repo.ClassInnoDB && f.Space != nil && *f.Space == 0:
			moved["innodb_data_home_dir"] = ""
			moved["innodb_data_file_path"], _ = dataFilePath(m) // an error is an objection already
		case f.Class == repo.ClassInnoDB && undoName(path.Base(f.Path)):
			moved["innodb_undo_directory"] = dir
		}
	}
	lines := []string{}
	for _, name := range []string{"innodb_data_home_dir", "innodb_data_file_path", "innodb_undo_directory", "innodb_log_group_home_dir", "aria_log_dir_path"} {
		if value, ok := moved[name]; ok {
			lines = append(lines, name+" = "+value)
		}
	}
	return lines
}
