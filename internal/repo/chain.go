package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/hint"
)

// Chain is a backup with the ones that it needs: an increment, its parent, and so on to
// a full backup. A full backup is a chain of one. Nobody may change what its methods
// return; they may be called from several goroutines.
type Chain struct {
	backup  *Backup
	members []Member
	ids     []string  // of the members
	layers  [][]Layer // by the index of the file in the manifest of the newest member

	numbering sync.Once
	numbers   map[uint32]int // from the number of a file in that manifest to its index
}

// Member is one backup of a chain.
type Member struct {
	ID     string
	Kind   string
	Parent string      // "" of a full backup
	From   pack.Opener // reads its objects
	Stored pack.Opener // reads them as they are stored: encrypted, if the backup is

	backup *Backup // its manifest has no lists but that of packs
}

// Label returns the label of the backup, or why it cannot be read, as Backup.Label does.
func (m *Member) Label() (*Label, error) { return m.backup.Label() }

// Strangers returns the names of objects in the folder of the backup that it does not name.
func (m *Member) Strangers(ctx context.Context) ([]string, error) { return m.backup.Strangers(ctx) }

// owns reports whether an object of the repository is one of the member's.
func (m *Member) owns(object string) bool {
	if object == m.backup.String() || strings.HasPrefix(object, m.backup.String()+"/") {
		return true
	}
	return slices.ContainsFunc(m.backup.manifest.Packs,
		func(p pack.Pack) bool { return objectName(m.ID, p.Name) == object })
}

// Layer is what one pass of copying holds of a file.
type Layer struct {
	From    pack.Opener
	Member  string // id of the backup of the chain that it belongs to
	Number  uint32 // of the file in the chunk headers of that pass
	Extents []pack.Extent
}

// Chain opens a backup, which Resolve finds, and the ones that it needs; for Latest the
// newest one that can be read with all of these. The manifests of parents are read one
// after another, and only the extents that the backup needs are kept.
// Errors: *UnknownError, ErrNewerFormat, ErrDamaged; of another member, a *ChainError.
func (r *Repository) Chain(ctx context.Context, idOrLatest string) (*Chain, error) {
	if idOrLatest == Latest {
		return newestThat(ctx, r, r.chain)
	}
	id, err := r.Resolve(ctx, idOrLatest)
	if err != nil {
		return nil, err
	}
	return r.chain(ctx, id)
}

// Backup returns the newest member.
func (c *Chain) Backup() *Backup { return c.backup }

// Manifest returns what the newest member says of itself.
func (c *Chain) Manifest() *Manifest { return c.backup.Manifest() }

// Members returns all members, the newest first.
func (c *Chain) Members() []Member { return c.members }

// IDs returns the ids of all members, the newest first.
func (c *Chain) IDs() []string { return c.ids }

// Owner returns the id of the member that an object of the repository belongs to, "" if it
// is none of theirs.
func (c *Chain) Owner(object string) string {
	for i := range c.members {
		if c.members[i].owns(object) {
			return c.members[i].ID
		}
	}
	return ""
}

// Layers returns the layers of Manifest().Files[i] that hold anything of it, the newest
// first: what no extent of one holds is as in the next. It does not say that together
// they hold every page: who reads them sees that.
func (c *Chain) Layers(i int) []Layer { return c.layers[i] }

// index returns the index of the file of a number in the newest manifest.
func (c *Chain) index(number uint32) (int, bool) {
	c.numbering.Do(func() {
		c.numbers = make(map[uint32]int, len(c.Manifest().Files))
		for i := range c.Manifest().Files {
			c.numbers[c.Manifest().Files[i].Number] = i
		}
	})
	i, ok := c.numbers[number]
	return i, ok
}

// LayersOf returns the layers of the newest manifest's file of a number.
func (c *Chain) LayersOf(number uint32) []Layer {
	if i, ok := c.index(number); ok {
		return c.layers[i]
	}
	return nil
}

// ChainError is returned for a backup that cannot be read because of another one that
// it needs.
type ChainError struct {
	ID     string // of the backup that was asked for
	Child  string // the member that names the other one as its parent
	Parent string // the other one
	Reason string // "it is not in the repository"
	Err    error  // the cause, nil if there is none but Reason
}

// Error names both backups.
func (e *ChainError) Error() string {
	by := ""
	if e.Child != e.ID {
		by = ", the parent of " + e.Child
	}
	text := fmt.Sprintf("backup %s needs %s%s: %s", e.ID, e.Parent, by, e.Reason)
	if e.Err != nil {
		text = strings.TrimSuffix(text, ": ") + ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause, and ErrDamaged.
func (e *ChainError) Unwrap() []error {
	if e.Err == nil {
		return []error{ErrDamaged}
	}
	return []error{ErrDamaged, e.Err}
}

// Fault says that the backup is damaged: it cannot be restored as it is.
func (e *ChainError) Fault() fault.Kind { return fault.Damage }

// Hints says what can be done.
func (e *ChainError) Hints() []hint.Text {
	return []hint.Text{
		hint.Text("choose a backup that does not need " + e.Parent + `: "mbk list" shows them; or bring back the folder ` +
			Folder(e.Parent) + " from another copy of the repository"),
	}
}

// chain opens a backup and the ones that it needs.
func (r *Repository) chain(ctx context.Context, id string) (*Chain, error) {
	b, err := r.openID(ctx, id)
	if err != nil {
		return nil, err
	}
	w := chainWalk{r: r, c: &Chain{backup: b, layers: make([][]Layer, len(b.manifest.Files))}}
	w.begin(b)
	for m := b.manifest; m.Parent != ""; {
		if m, err = w.parent(ctx, m); err != nil {
			return nil, err
		}
	}
	return w.c, nil // a full backup has no Base: Validate sees to that
}

// chainWalk makes a chain, from its newest member to its oldest.
type chainWalk struct {
	r    *Repository
	c    *Chain
	open []openFile // files of which a parent holds more
}

// openFile is a file of the newest member.
type openFile struct {
	index  int    // in its manifest
	number uint32 // in the manifest of the member that is read next
}

// begin takes over the newest member.
func (w *chainWalk) begin(b *Backup) {
	source := w.add(b)
	source.keeps = true
	for i := range b.manifest.Files {
		w.take(source, &b.manifest.Files[i], i)
	}
}

// add adds a member, and returns what makes its layers.
func (w *chainWalk) add(whole *Backup) *layerSource {
	m := whole.manifest
	// Of the manifest only what is needed for reading objects stays.
	b := &Backup{repository: w.r, manifest: &Manifest{ID: m.ID, Packs: slices.Clone(m.Packs)},
		label: whole.label, labelErr: whole.labelErr}
	w.c.members = append(w.c.members, Member{ID: m.ID, Kind: m.Kind, Parent: m.Parent, From: b,
		Stored: storedObjects{b}, backup: b})
	w.c.ids = append(w.c.ids, m.ID)
	s := &layerSource{from: b, names: map[string]string{}}
	for _, p := range b.manifest.Packs {
		s.names[p.Name] = p.Name
	}
	return s
}

// parent takes over the parent of a member, and returns its manifest without the lists.
func (w *chainWalk) parent(ctx context.Context, child *Manifest) (*Manifest, error) {
	broken := func(reason string, cause error) error {
		return &ChainError{ID: w.c.backup.ID(), Child: child.ID, Parent: child.Parent, Reason: reason, Err: cause}
	}
	if slices.ContainsFunc(w.c.members, func(m Member) bool { return m.ID == child.Parent }) {
		return nil, broken("and it needs itself", nil)
	}
	b, err := w.r.openID(ctx, child.Parent)
	switch {
	case errors.Is(err, ErrDamaged):
		return nil, broken("it cannot be read", err)
	case errors.Is(err, fs.ErrNotExist):
		// An expiry removes a parent after those that need it.
		if err := w.c.backup.StillThere(ctx); err != nil {
			return nil, err
		}
		return nil, broken("it is not in the repository", nil)
	case err != nil:
		return nil, fmt.Errorf("backup %s needs %s: %w", w.c.backup.ID(), child.Parent, err)
	}
	m := b.manifest
	if label := w.c.members[len(w.c.members)-1].backup.label; label != nil && b.label != nil &&
		label.ParentBLAKE3 != b.label.Hash {
		return nil, broken(otherParent(label, b.label), nil)
	}
	if m.Chain != child.Chain-1 {
		return nil, broken(fmt.Sprintf("it is not the parent that %s was made of: "+
			"its chain has %d increments, not %d", child.ID, m.Chain, child.Chain-1), nil)
	}
	if m.LSN.Checkpoint > child.LSN.Checkpoint || m.LSN.End > child.LSN.End {
		return nil, broken(fmt.Sprintf("it is not the parent that %s was made of: "+
			"it holds LSN %d to %d, and that one %d to %d",
			child.ID, m.LSN.Checkpoint, m.LSN.End, child.LSN.Checkpoint, child.LSN.End), nil)
	}
	if err := w.descend(b); err != nil {
		return nil, broken(err.Error(), nil)
	}
	short := &Manifest{ID: m.ID, Parent: m.Parent, LSN: m.LSN}
	short.Chain = m.Chain
	return short, nil
}

// descend adds what a parent holds of the files.
func (w *chainWalk) descend(b *Backup) error {
	m := b.manifest
	byNumber := make(map[uint32]*File, len(m.Files))
	for i := range m.Files {
		byNumber[m.Files[i].Number] = &m.Files[i]
	}
	source := w.add(b)
	open := w.open
	w.open = make([]openFile, 0, len(open))
	for _, o := range open {
		above, f := &w.c.Manifest().Files[o.index], byNumber[o.number]
		if f == nil {
			return fmt.Errorf("%s is file %d of it, which it does not have", above.Path, o.number)
		}
		if problem := above.differs(f); problem != "" {
			return fmt.Errorf("%s is file %d of it, %s, which %s", above.Path, o.number, f.Path, problem)
		}
		w.take(source, f, o.index)
	}
	return nil
}

// differs tells why two files cannot be layers of one, "" if they can.
func (f *File) differs(below *File) string {
	switch {
	case f.Class != below.Class:
		return fmt.Sprintf("is of class %q there, not %q", below.Class, f.Class)
	case f.PageSize != below.PageSize:
		return fmt.Sprintf("has pages of %d bytes there, not %d", below.PageSize, f.PageSize)
	case f.First != below.First:
		return fmt.Sprintf("begins with page %d there, not %d", below.First, f.First)
	case (f.Space == nil) != (below.Space == nil):
		return "is of a tablespace in one of them only"
	case f.Space != nil && *f.Space != *below.Space:
		return fmt.Sprintf("is of tablespace %d there, not %d", *below.Space, *f.Space)
	}
	return ""
}

// take adds what a member holds of a file, and notes whether its parent holds more.
func (w *chainWalk) take(s *layerSource, f *File, index int) {
	size := w.c.Manifest().Files[index].Size
	layers := w.c.layers[index]
	whole := false
	for _, p := range append([]Pass{{Number: f.Number, Extents: f.Extents}}, f.Earlier...) {
		if whole {
			break
		}
		if l := s.layer(p, f.Class, size); len(l.Extents) > 0 {
			layers = append(layers, l)
			whole = f.Class != ClassRedo && coverAll(layers, size)
		}
	}
	w.c.layers[index] = slices.Clip(layers)
	if f.Base != nil && !whole && size > 0 {
		w.open = append(w.open, openFile{index: index, number: *f.Base})
	}
}

// coverAll reports whether the extents of some layers that have no gaps hold all of a
// file, so that nothing below them is needed.
func coverAll(layers []Layer, size int64) bool {
	var gapless []pack.Extent
	for _, l := range layers {
		for _, e := range l.Extents {
			if !e.Partial {
				gapless = append(gapless, e)
			}
		}
	}
	slices.SortFunc(gapless, func(a, b pack.Extent) int { return int(min(max(a.Start-b.Start, -1), 1)) })
	var at int64
	for _, e := range gapless {
		if e.Start > at {
			return false
		}
		at = max(at, e.Start+e.Size)
	}
	return at >= size
}

// layerSource makes the layers of one member.
type layerSource struct {
	from  *Backup
	names map[string]string // of packs, so that each is in memory once
	keeps bool              // the manifest stays, and its extents with it
}

// layer returns what a pass holds of the first size bytes of a file.
func (s *layerSource) layer(p Pass, class string, size int64) Layer {
	n := 0
	needed := func(e *pack.Extent) bool { return class == ClassRedo || e.Start < size }
	for i := range p.Extents {
		if needed(&p.Extents[i]) {
			n++
		}
	}
	l := Layer{From: s.from, Member: s.from.ID(), Number: p.Number}
	if n == 0 || n == len(p.Extents) && s.keeps {
		l.Extents = p.Extents[:n]
		return l
	}
	l.Extents = make([]pack.Extent, 0, n)
	for i := range p.Extents {
		if e := p.Extents[i]; needed(&e) {
			name, known := s.names[e.Pack]
			if !known {
				name = strings.Clone(e.Pack)
				s.names[name] = name
			}
			e.Pack = name
			l.Extents = append(l.Extents, e)
		}
	}
	return l
}
