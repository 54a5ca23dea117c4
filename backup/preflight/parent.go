package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"time"

	"github.com/dustin/go-humanize"

	"mbk/internal/datadir"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/input/period"
	"mbk/internal/repo"
	"mbk/internal/sys/boot"
)

// Increment says of which backup an increment is to be made. The zero value wants a full
// backup.
type Increment struct {
	Wanted bool
	// Told is for a full backup of which it is only said whether an increment could be made.
	Told bool
	// Parent is the id of a backup, or the beginning of one. If no increment of it can be
	// made, that is an error. "": the newest of the same filter; if no increment of that
	// can be made, the backup becomes a full one.
	Parent string

	FullEvery time.Duration // the backup becomes a full one if the last is that old; 0: never
	MaxChain  int           // ... and if there are so many increments since; 0: never

	// ReadAll reads every file, those too that have not changed since the parent.
	ReadAll bool
}

// Parent is the backup that an increment is made of.
type Parent struct {
	ID       string
	Started  time.Time
	Chain    int // increments from the full backup to the new one, that included
	Lineage  *repo.Lineage
	Unread   int64 // bytes of the files that have not changed
	SameBoot bool  // the machine has not been started since
}

// Doubt is why no increment is made.
type Doubt struct {
	text    string
	planned bool // it is as the options want it
}

// Error says what it is.
func (d *Doubt) Error() string { return d.text }

// Doubtf makes a Doubt.
func Doubtf(format string, args ...any) error { return doubtf(format, args...) }

func doubtf(format string, args ...any) *Doubt { return &Doubt{text: fmt.Sprintf(format, args...)} }

// UnfitParentError is returned for the parent that the options name if it cannot be that.
type UnfitParentError struct {
	Parent string // as it was named
	Why    *Doubt
}

// Error says what cannot be made, and why.
func (e *UnfitParentError) Error() string {
	return fmt.Sprintf("no increment of %s can be made: %s", e.Parent, e.Why.text)
}

// Fault says that another parent must be named.
func (e *UnfitParentError) Fault() fault.Kind { return fault.Config }

// Hints says what to do.
func (e *UnfitParentError) Hints() []hint.Text {
	return []hint.Text{
		"name another backup, or none: " + hint.Option("incremental") + " alone makes a full backup if it has to",
	}
}

// CheckIncrement names the check of the parent of an increment.
const CheckIncrement = "increment"

// checkParent chooses the parent of an increment. If there is none that will do, the backup
// is to be a full one, and FullReason says why.
func (r *Report) checkParent(ctx context.Context, o Options) error {
	if o.Repository == nil {
		return nil
	}
	if !o.Increment.Wanted {
		return r.tellParent(ctx, o)
	}
	parent, err := r.chooseParent(ctx, o)
	why, isDoubt := errors.AsType[*Doubt](err)
	unknown, isUnknown := errors.AsType[*repo.UnknownError](err)
	switch {
	case isUnknown:
		r.Add(CheckIncrement, GradeError, unknown.Error(), unknown.Hints()...)
	case err != nil && !isDoubt:
		return err
	case isDoubt && o.Increment.Parent != "":
		unfit := &UnfitParentError{o.Increment.Parent, why}
		r.Add(CheckIncrement, GradeError, unfit.Error(), unfit.Hints()...)
	case isDoubt:
		r.FullReason = why.text
		grade := GradeWarning
		if why.planned {
			grade = GradeOK
		}
		r.note(CheckIncrement, grade, "the backup will be a full one: "+why.text)
	default:
		r.Parent = parent
		r.note(CheckIncrement, GradeOK, fmt.Sprintf("the backup will be an increment of %s, with about %s to read", parent.ID,
			humanize.IBytes(uint64(r.Bytes))))
	}
	return nil
}

// tellParent says whether an increment could be made, if that is wanted. It changes nothing
// about the full backup that the other checks are about.
func (r *Report) tellParent(ctx context.Context, o Options) error {
	if !o.Increment.Told {
		return nil
	}
	full := r.Bytes
	parent, err := r.chooseParent(ctx, o)
	size := r.Bytes
	r.Bytes = full
	why, isDoubt := errors.AsType[*Doubt](err)
	switch {
	case isDoubt:
		r.note(CheckIncrement, GradeOK, "no increment could be made, but a full backup: "+why.text)
	case err != nil:
		return err
	default:
		r.note(CheckIncrement, GradeOK, fmt.Sprintf("an increment could be made of %s, with about %s to read", parent.ID,
			humanize.IBytes(uint64(size))))
	}
	return nil
}

// DropParent makes a full backup of what was to be an increment.
func (r *Report) DropParent(why error) {
	r.Bytes += r.Parent.Unread
	r.Parent, r.FullReason = nil, why.Error()
}

// StillThere returns a *Doubt if the parent is in the repository no more. Whoever holds the
// repository's lock keeps it there.
func (p *Parent) StillThere(ctx context.Context, r *repo.Repository) error {
	has, err := r.Has(ctx, p.ID)
	if err == nil && !has {
		err = doubtf("backup %s, which was to be the parent, was removed meanwhile", p.ID)
	}
	return err
}

// chooseParent returns the parent, or a *Doubt.
func (r *Report) chooseParent(ctx context.Context, o Options) (*Parent, error) {
	list, err := o.Repository.List(ctx)
	if err != nil {
		return nil, err
	}
	candidate, err := r.candidate(ctx, o, list)
	if err != nil {
		return nil, err
	}
	p := &Parent{ID: candidate.ID, Started: candidate.Started}
	full, chain := chainOf(candidate, list)
	if p.Chain = chain + 1; full != nil && o.Increment.Parent == "" {
		if d := due(o.Increment, full, p.Chain, time.Now()); d != nil {
			return nil, d
		}
	}
	if d := doubtOf(candidate); d != nil {
		return nil, d
	}
	p.Lineage, err = o.Repository.Lineage(ctx, p.ID)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case err != nil:
		return nil, doubtf("the lineage of %s cannot be read: %v", p.ID, err)
	}
	return p, r.compareLineage(ctx, o, p)
}

// candidate is the backup of which the increment would be made.
func (r *Report) candidate(ctx context.Context, o Options, list []repo.Summary) (*repo.Summary, error) {
	if o.Increment.Parent != "" {
		id, err := o.Repository.Resolve(ctx, o.Increment.Parent)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(list, func(s repo.Summary) bool { return s.ID == id })
		if i < 0 {
			return nil, &repo.UnknownError{Where: o.Repository.String(), What: "backup", ID: id}
		}
		same, err := r.sameFilter(ctx, o, &list[i])
		if err == nil && !same {
			err = doubtf("it holds other databases and tables than this filter keeps")
		}
		return &list[i], err
	}
	for i := range slices.Backward(list) {
		switch same, err := r.sameFilter(ctx, o, &list[i]); {
		case err != nil:
			return nil, err
		case same:
			return &list[i], nil
		}
	}
	if len(list) == 0 {
		return nil, &Doubt{text: "the repository has no backup yet", planned: true}
	}
	return nil, &Doubt{text: "the repository has no backup yet that holds the same databases and tables", planned: true}
}

// sameFilter reports whether a backup has the filter of this one. Of one whose label cannot
// be read that is assumed, so that the damage shows.
func (r *Report) sameFilter(ctx context.Context, o Options, s *repo.Summary) (bool, error) {
	switch {
	case s.Problem != "":
		return true, nil
	case s.Filter == nil || o.Filter.Empty():
		return s.Filter == nil && o.Filter.Empty(), nil
	}
	m, err := o.Repository.Manifest(ctx, s.ID)
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	if repo.Concealed(err) {
		return r.keepsFilesOf(ctx, o, s)
	}
	if err != nil {
		return false, doubtf("the manifest of %s cannot be read: %v", s.ID, err)
	}
	f := m.Filter
	return f != nil && slices.Equal(f.Databases, o.Filter.Databases) && slices.Equal(f.Tables, o.Filter.Tables) &&
		slices.Equal(f.ExcludeDatabases, o.Filter.ExcludeDatabases) &&
		slices.Equal(f.ExcludeTables, o.Filter.ExcludeTables), nil
}

// keepsFilesOf reports whether this filter keeps the definitions of tables that a backup holds,
// as far as they are still there, and no others that were there when it was made. That is
// said by the numbers in its lineage, where its filter is encrypted. An increment is right
// with any filter, so two that do the same with these tables may differ otherwise.
func (r *Report) keepsFilesOf(ctx context.Context, o Options, s *repo.Summary) (bool, error) {
	l, err := o.Repository.Lineage(ctx, s.ID)
	switch {
	case ctx.Err() != nil:
		return false, context.Cause(ctx)
	case err != nil:
		return false, doubtf("the lineage of %s cannot be read: %v", s.ID, err)
	}
	if r.definitions == nil {
		if r.definitions, err = r.listDefinitions(ctx); err != nil {
			return false, err
		}
	}
	type file struct {
		inode uint64
		born  int64
	}
	held := map[file]bool{}
	for i := range l.Files {
		held[file{l.Files[i].Inode, l.Files[i].Born}] = true
	}
	for _, d := range r.definitions {
		holds := held[file{d.id.Inode, d.id.Born}]
		isNew := d.id.Born == 0 || d.id.Born >= s.Started.UnixNano() // or may be
		if d.kept != holds && (holds || !isNew) {
			return false, nil
		}
	}
	return true, nil
}

// definition is the definition of a table, which the filter keeps or not.
type definition struct {
	id   datadir.Identity
	kept bool
}

// listDefinitions lists the definitions of all tables that a backup can hold.
func (r *Report) listDefinitions(ctx context.Context) ([]definition, error) {
	everything := r.Layout
	everything.Selection = nil
	all, err := everything.Scan(ctx)
	if err != nil {
		return nil, err
	}
	kept, leftOut := map[string]bool{}, map[datadir.TableKey]bool{}
	for _, e := range r.first.Entries {
		kept[e.Path()] = true
	}
	for _, t := range r.leftOut {
		leftOut[datadir.TableName{Database: t.Database, Name: t.Name}.Key()] = true
	}
	entries := slices.DeleteFunc(all.Entries, func(e datadir.Entry) bool { return !e.IsDefinition() || leftOut[e.Key()] })
	var list []definition
	for i, found := range everything.StatAll(entries) {
		if found.Err == nil { // otherwise it is gone by now
			list = append(list, definition{found.Stat.ID, kept[entries[i].Path()]})
		}
	}
	return list, nil
}

// chainOf returns the full backup that a backup needs, nil if that is not known, and the
// number of increments from there.
func chainOf(s *repo.Summary, list []repo.Summary) (full *repo.Summary, chain int) {
	for range list {
		if s.Parent == "" {
			return s, chain
		}
		i := slices.IndexFunc(list, func(other repo.Summary) bool { return other.ID == s.Parent })
		if i < 0 {
			return nil, chain
		}
		s, chain = &list[i], chain+1
	}
	return nil, chain
}

// due returns why it is time for a full backup, nil if it is not. chain is the number of
// increments that there would be.
func due(o Increment, full *repo.Summary, chain int, now time.Time) *Doubt {
	// A timer does not fire at the same second each week.
	slack := min(time.Hour, o.FullEvery/20)
	switch age := now.Sub(full.Started); {
	case o.FullEvery > 0 && age >= o.FullEvery-slack:
		return &Doubt{planned: true, text: fmt.Sprintf("the last full backup, %s, is %s old, and one is wanted every %s",
			full.ID, period.Text(age.Round(time.Minute)), period.Text(o.FullEvery))}
	case o.MaxChain > 0 && chain > o.MaxChain:
		return &Doubt{planned: true, text: fmt.Sprintf("there are %d increments since the full backup %s, "+
			"as many as are wanted", chain-1, full.ID)}
	}
	return nil
}

// doubtOf returns what is known to be wrong with a backup.
func doubtOf(s *repo.Summary) *Doubt {
	switch {
	case s.Problem != "":
		return doubtf("backup %s cannot be read: %s", s.ID, s.Problem)
	case s.Broken != "":
		return doubtf("backup %s is not whole: %s", s.ID, s.Broken)
	case s.KnownDamaged():
		return doubtf("backup %s is damaged, as a verification has found", s.ID)
	}
	return nil
}

// SameServer returns a *Doubt unless the server's files are the ones that an interrupted
// attempt has copied, as they have become since.
func (r *Report) SameServer(ctx context.Context, o Options, l *repo.Lineage) error {
	bytes := r.Bytes
	err := r.compareLineage(ctx, o, &Parent{ID: l.ID, Lineage: l})
	r.Bytes = bytes // what has to be read is another question
	return err
}

// compareLineage returns a *Doubt unless the server's files are the ones of the parent, as
// they have become since.
func (r *Report) compareLineage(ctx context.Context, o Options, p *Parent) error {
	now, err := boot.Present()
	if err != nil {
		return doubtf("whether the machine was started since %s cannot be seen: %v", p.ID, err)
	}
	p.SameBoot = p.Lineage.BootID == now
	control, err := r.Layout.ReadAriaControl()
	if err != nil {
		return err
	}
	lsns, err := o.Server.LSNs(ctx)
	if err != nil {
		return err
	}
	redo, err := RedoFile(r.Layout)
	if err != nil {
		return err
	}
	page, err := r.Layout.PageSize()
	if err != nil {
		return err
	}
	v := r.Facts.Version
	if series := [2]uint16{uint16(v.Major), uint16(v.Minor)}; series != p.Lineage.Series {
		return doubtf("the server was %d.%d when %s was taken, and is %d.%d now", p.Lineage.Series[0], p.Lineage.Series[1],
			p.ID, series[0], series[1])
	}
	if uint32(page) != p.Lineage.PageSize {
		return doubtf("innodb_page_size was %d when %s was taken, and is %d now", p.Lineage.PageSize, p.ID, page)
	}
	files := parentFiles{Parent: p, index: repo.NewLineageIndex(p.Lineage)}
	if err := files.compareFirst(r.Layout); err != nil {
		return err
	}
	if d := p.Doubt(control.UUID, lsns.Current, redo); d != nil {
		return d
	}
	return r.compareFiles(&files)
}

// Doubt compares the parent with what the server is at one moment. Nil: it is the server of
// the parent, and none of its past was undone.
func (p *Parent) Doubt(aria [16]byte, current innodb.LSN, redo repo.RedoFile) error {
	l := p.Lineage
	same := redo.Inode == l.Redo.Inode && redo.Born == l.Redo.Born &&
		(redo.Dev == l.Redo.Dev || !p.SameBoot && redo.Born != 0)
	switch {
	case aria != l.AriaUUID:
		return doubtf("the data directory was made anew since %s was taken: Aria's control file is another", p.ID)
	case current < l.End:
		return doubtf("the server was put back to an earlier state: its log is at LSN %d, and that of %s ends at %d",
			current, p.ID, l.End)
	case same && redo.First == l.Redo.First:
		return nil
	case redo.First < l.Checkpoint:
		return doubtf("the redo log was made anew since %s was taken, and where it begins does not show that it goes on "+
			"from there", p.ID)
	}
	return nil
}

// RedoFile returns the identity of the server's redo log.
func RedoFile(l datadir.Layout) (repo.RedoFile, error) {
	s, err := l.Stat(l.Redo)
	if err != nil {
		return repo.RedoFile{}, err
	}
	_, header, err := l.ReadLogHead()
	if err != nil {
		return repo.RedoFile{}, fmt.Errorf("redo log %s: %w", l.Redo, err)
	}
	f := repo.RedoFile{Dev: s.ID.Dev, Inode: s.ID.Inode, Born: s.ID.Born}
	if header.Format == innodb.Format108 || header.Format == innodb.FormatEnc11 {
		f.First = header.FirstLSN
	}
	return f, nil
}

// compareFirst returns a *Doubt if the system tablespace is not that of the parent.
func (files *parentFiles) compareFirst(l datadir.Layout) error {
	first := l.System[0]
	s, err := l.Stat(first)
	if err != nil {
		return err
	}
	if f := files.find(s); f == nil || !f.HasSpace || f.Space != 0 {
		return doubtf("the data directory is another than that of %s: the file %s is", files.ID, path.Base(first))
	}
	return nil
}

// compareFiles returns a *Doubt if a file was changed earlier than the parent has seen it
// changed. It sums up what has to be read.
func (r *Report) compareFiles(files *parentFiles) error {
	for _, file := range r.Layout.System {
		s, err := r.Layout.Stat(file)
		if err != nil {
			return err
		}
		if err := files.compare(file, s); err != nil {
			return err
		}
	}
	for i, found := range r.stats {
		if errors.Is(found.Err, fs.ErrNotExist) {
			continue
		}
		if found.Err != nil {
			return found.Err
		}
		if err := files.compare(r.first.Entries[i].Path(), found.Stat); err != nil {
			return err
		}
	}
	files.Unread, r.Bytes = r.Bytes-files.toRead, files.toRead
	return nil
}

// parentFiles are the files of a parent.
type parentFiles struct {
	*Parent
	index  repo.LineageIndex
	toRead int64 // bytes of the files that have changed since
}

// find returns a file as the parent knows it, nil if it does not.
func (files *parentFiles) find(s datadir.FileStat) *repo.LineageFile {
	found := files.index.Find(s.ID.Inode, s.ID.Born)
	for i := range found {
		if f := &found[i]; f.Dev == s.ID.Dev || !files.SameBoot && s.ID.Born != 0 {
			return f
		}
	}
	return nil
}

// compare compares a file with the parent's.
func (files *parentFiles) compare(name string, s datadir.FileStat) error {
	f := files.find(s)
	if f != nil && s.WentBack(f) {
		was, is := datadir.Timestamp(f.Changed), s.Changed
		if int64(s.Modified) < f.Modified {
			was, is = datadir.Timestamp(f.Modified), s.Modified
		}
		return doubtf("the file system, the clock or a file was put back to an earlier state since %s was taken: "+
			"%s was changed at %s, and then at %s", files.ID, name, was.Time().Format(time.RFC3339Nano),
			is.Time().Format(time.RFC3339Nano))
	}
	if f == nil || !files.SameBoot || !s.UnchangedSince(f) {
		files.toRead += s.Blocks
	}
	return nil
}
