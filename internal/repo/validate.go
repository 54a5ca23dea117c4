package repo

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"mbk/copier/pack"
)

// Bounds of what a manifest may say. They are beyond what a server can have.
const (
	maxFileSize = 1 << 50 // bytes; InnoDB ends at 2^48
	maxPath     = 4000    // bytes
	maxPathPart = 255
	maxMode     = 0o7777
)

// Validate checks that a manifest hangs together, so that nobody who uses it has
// to fear its numbers, indexes and paths: the bytes of a repository may be
// damaged or hostile. It does not look at other objects.
func (m *Manifest) Validate() error {
	if err := checkFormat(m.FormatVersion); err != nil {
		return err
	}
	for _, check := range []func() error{
		m.checkIdentity, m.checkCounts, m.checkReuse, m.checkPackList, m.checkFiles,
		m.checkPaths, m.checkRedo, m.checkAria, m.checkTables,
	} {
		if err := check(); err != nil {
			return fmt.Errorf("manifest: %w", err)
		}
	}
	return nil
}

func (m *Manifest) checkIdentity() error {
	if m.Started.IsZero() || m.Finished.IsZero() {
		return errors.New("no time of start or end")
	}
	return checkKinship(m.ID, m.Kind, m.Parent)
}

func (m *Manifest) checkCounts() error {
	for name, n := range map[string]int64{
		"lock_window_ms": m.LockMS, "bytes_read": m.BytesRead, "bytes_stored": m.BytesStored, "torn_pages": m.TornPages,
		"copied_locked.files": int64(m.Late.Files), "copied_locked.bytes": m.Late.Bytes,
	} {
		if n < 0 {
			return fmt.Errorf("%s is %d", name, n)
		}
	}
	return nil
}

// checkReuse checks what a backup says of earlier ones.
func (m *Manifest) checkReuse() error {
	if m.Chain < 0 || (m.Chain == 0) != (m.Kind == KindFull) {
		return fmt.Errorf("%d increments in a chain that ends with a backup of kind %q", m.Chain, m.Kind)
	}
	var resumed []string
	if m.Resumed != nil {
		resumed = m.Resumed.IDs
	}
	for _, id := range slices.Concat(resumed, m.ConsolidatedFrom) {
		if _, _, err := ParseID(id); err != nil {
			return err
		}
	}
	for _, a := range []*Amount{m.Unchanged, m.Resumed.amount()} {
		if a != nil && (a.Files < 0 || a.Bytes < 0) {
			return fmt.Errorf("%d files with %d bytes", a.Files, a.Bytes)
		}
	}
	if p := m.Pages; p != nil && (p.Changed < 0 || p.Examined < p.Changed) {
		return fmt.Errorf("%d of %d pages", p.Changed, p.Examined)
	}
	return nil
}

func (m *Manifest) checkPackList() error {
	seen := make(map[string]bool, len(m.Packs))
	for _, p := range m.Packs {
		owner, base := splitObject(m.ID, p.Name)
		switch {
		case !isPackName(base) || owner == m.ID && base != p.Name:
			return fmt.Errorf("pack name %q", p.Name)
		case seen[p.Name]:
			return fmt.Errorf("pack %s twice", p.Name)
		case p.Size < 0 || p.Size > maxFileSize || p.Raw < 0:
			return fmt.Errorf("pack %s of %d bytes for %d", p.Name, p.Size, p.Raw)
		}
		if _, _, err := ParseID(owner); err != nil {
			return fmt.Errorf("pack name %q: %w", p.Name, err)
		}
		seen[p.Name] = true
	}
	return nil
}

// plainName reports whether s has only lower-case letters, digits and "-".
func plainName(s string) bool {
	return s != "" && len(s) <= 100 && s[0] != '-' && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// isPackName reports whether s can be the name of a pack in its folder.
func isPackName(s string) bool {
	base, ok := strings.CutSuffix(s, ".pack")
	return ok && plainName(base)
}

func (m *Manifest) checkFiles() error {
	packs := make(map[string]*pack.Pack, len(m.Packs))
	for i := range m.Packs {
		packs[m.Packs[i].Name] = &m.Packs[i]
	}
	numbers := make(map[uint32]bool, len(m.Files))
	for i := range m.Files {
		f := &m.Files[i]
		if numbers[f.Number] {
			return fmt.Errorf("file %q: number %d is that of another file", f.Path, f.Number)
		}
		numbers[f.Number] = true
		if err := f.check(); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
		if err := f.checkLayers(m, packs); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
	}
	return nil
}

func (f *File) check() error {
	switch {
	case !isClass(f.Class):
		return fmt.Errorf("unknown class %q", f.Class)
	case f.Size < 0 || f.Size > maxFileSize:
		return fmt.Errorf("size %d", f.Size)
	case f.Mode > maxMode:
		return fmt.Errorf("mode %#o", f.Mode)
	case f.PageSize < 0 || f.PageSize > 65536 || f.PageSize&(f.PageSize-1) != 0:
		return fmt.Errorf("page size %d", f.PageSize)
	case f.Class == ClassInnoDB && f.Space != nil && f.PageSize < 1024:
		return fmt.Errorf("page size %d of tablespace %d", f.PageSize, *f.Space)
	case f.PageSize > 0 && f.Size/int64(f.PageSize) > math.MaxUint32:
		return fmt.Errorf("size %d: more pages of %d bytes than have numbers", f.Size, f.PageSize)
	case f.Origin != "" && !isOrigin(f.Origin):
		return fmt.Errorf("origin %q", f.Origin)
	case f.Link != "" && (f.Origin == "" || f.Link != LinkISL && f.Link != LinkSymbolic):
		return fmt.Errorf("link %q to %q", f.Link, f.Origin)
	}
	return nil
}

// isClass reports whether a file can have a class.
func isClass(s string) bool { return slices.Contains(classCodes, s) }

// isOrigin reports whether a string can be the path of a file or folder of the
// source.
func isOrigin(s string) bool {
	return path.IsAbs(s) && path.Clean(s) == s && len(s) <= maxPath && !strings.ContainsFunc(s, unicode.IsControl)
}

// checkLayers checks what the passes of a file hold: that the extents of each lie in their
// packs, in order, and that together they cover the file, unless the parent has the rest of
// it. The redo is covered from where its first extent starts; checkRedo knows how far.
func (f *File) checkLayers(m *Manifest, packs map[string]*pack.Pack) error {
	switch {
	case f.Base != nil && m.Kind != KindIncremental:
		return fmt.Errorf("base %d in a backup of kind %q", *f.Base, m.Kind)
	case (f.Class == ClassRedo || f.Class == ClassLog) && (f.Base != nil || len(f.Earlier) > 0):
		return errors.New("a log of several passes")
	case len(f.Earlier) > maxPasses:
		return fmt.Errorf("%d earlier passes", len(f.Earlier))
	}
	if err := checkExtents(f.Extents, packs, f.Size, f.Class == ClassRedo); err != nil {
		return err
	}
	for i := range f.Earlier {
		// The file may have been longer then.
		if err := checkExtents(f.Earlier[i].Extents, packs, maxFileSize, false); err != nil {
			return fmt.Errorf("earlier pass %d: %w", i, err)
		}
	}
	switch {
	case f.Class == ClassRedo || f.Class == ClassLog:
		return f.checkGapless()
	case f.Base != nil:
		return nil
	}
	return f.checkCoverage(len(m.ConsolidatedFrom) > 0)
}

// maxPasses is how many interrupted attempts a backup can have continued on.
const maxPasses = 1000

// checkExtents checks the extents of one pass of a file of size bytes. Those of the redo
// are not places in the file that the source had.
func checkExtents(extents []pack.Extent, packs map[string]*pack.Pack, size int64, redo bool) error {
	var next int64 // the end of the extent before
	for i, x := range extents {
		p := packs[x.Pack]
		switch {
		case p == nil:
			return fmt.Errorf("extent %d: unknown pack %q", i, x.Pack)
		case x.Offset < 0 || x.Length <= 0 || x.Offset > p.Size || x.Length > p.Size-x.Offset:
			return fmt.Errorf("extent %d: %d bytes at %d of pack %s, which has %d", i, x.Length, x.Offset, x.Pack, p.Size)
		case x.Start < 0 || x.Start > maxFileSize || x.Start < next:
			return fmt.Errorf("extent %d starts at %d, before the end of the one before it, %d", i, x.Start, next)
		case x.Size <= 0 || x.Size > maxFileSize:
			return fmt.Errorf("extent %d of %d bytes", i, x.Size)
		case !redo && x.Size > size-x.Start:
			return fmt.Errorf("extent %d: %d bytes at %d of a file of %d", i, x.Size, x.Start, size)
		}
		next = x.Start + x.Size
	}
	return nil
}

// checkGapless checks that the extents of a log follow each other and hold all of it.
func (f *File) checkGapless() error {
	var next int64
	if f.Class == ClassRedo && len(f.Extents) > 0 {
		next = f.Extents[0].Start
	}
	for i, x := range f.Extents {
		if x.Partial || x.Start != next {
			return fmt.Errorf("extent %d of a log starts at %d, want %d, or holds only a part of it", i, x.Start, next)
		}
		next += x.Size
	}
	if f.Class != ClassRedo && next != f.Size {
		return fmt.Errorf("extents cover %d of %d bytes", next, f.Size)
	}
	return nil
}

// checkCoverage checks that the extents of all passes that hold all of their part cover the
// file. In a consolidated backup the oldest pass lacks pages that newer ones hold, and all
// extents together have to reach over the file.
func (f *File) checkCoverage(consolidated bool) error {
	whole := make([]pack.Extent, 0, len(f.Extents))
	add := func(extents []pack.Extent) {
		for _, x := range extents {
			if !x.Partial || consolidated {
				whole = append(whole, x)
			}
		}
	}
	add(f.Extents)
	for i := range f.Earlier {
		add(f.Earlier[i].Extents)
	}
	if len(f.Earlier) > 0 { // else they are in order
		slices.SortFunc(whole, func(a, b pack.Extent) int { return cmp.Compare(a.Start, b.Start) })
	}
	var covered int64
	for _, x := range whole {
		if x.Start > covered {
			break
		}
		covered = max(covered, x.Start+x.Size)
	}
	if covered < f.Size {
		return fmt.Errorf("extents cover %d of %d bytes", covered, f.Size)
	}
	return nil
}

// checkPaths checks that every path stays inside the data directory, that no two
// files have the same, and that none is both a file and a folder.
func (m *Manifest) checkPaths() error {
	folders := make(map[string]bool, len(m.Directories))
	for _, d := range m.Directories {
		if err := CheckPath(d.Path); err != nil {
			return fmt.Errorf("directory %q: %w", d.Path, err)
		}
		if d.Mode > maxMode {
			return fmt.Errorf("directory %q: mode %#o", d.Path, d.Mode)
		}
		if d.Origin != "" && !isOrigin(d.Origin) {
			return fmt.Errorf("directory %q: origin %q", d.Path, d.Origin)
		}
		if folders[d.Path] {
			return fmt.Errorf("directory %q twice", d.Path)
		}
		folders[d.Path] = true
	}
	for _, d := range m.Directories {
		addParents(folders, d.Path)
	}
	for _, f := range m.Files {
		if err := CheckPath(f.Path); err != nil {
			return fmt.Errorf("file %q: %w", f.Path, err)
		}
		addParents(folders, f.Path)
	}
	files := make(map[string]bool, len(m.Files))
	for _, f := range m.Files {
		switch {
		case files[f.Path]:
			return fmt.Errorf("file %q twice", f.Path)
		case folders[f.Path]:
			return fmt.Errorf("file %q is a directory as well", f.Path)
		}
		files[f.Path] = true
	}
	for _, d := range m.Damaged {
		if !files[d.File] {
			return fmt.Errorf("damaged page in unknown file %q", d.File)
		}
	}
	return nil
}

// addParents adds the folders above a path.
func addParents(folders map[string]bool, name string) {
	for dir := path.Dir(name); dir != "." && !folders[dir]; dir = path.Dir(dir) {
		folders[dir] = true
	}
}

// CheckPath reports whether a manifest can hold a path: relative, with "/", without
// "." and ".." and empty parts, in UTF-8, without control characters.
func CheckPath(name string) error {
	switch {
	case name == "" || len(name) > maxPath:
		return fmt.Errorf("path of %d bytes", len(name))
	case !utf8.ValidString(name):
		return errors.New("path is not UTF-8")
	case path.IsAbs(name):
		return errors.New("path is absolute")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == "" || part == "." || part == ".." || len(part) > maxPathPart {
			return fmt.Errorf("path has the part %q", part)
		}
	}
	for i := range len(name) {
		if name[i] < ' ' || name[i] == 0x7f {
			return errors.New("path has a control character")
		}
	}
	return nil
}

// checkRedo checks that there is one redo file, and that it holds what the LSNs
// say.
func (m *Manifest) checkRedo() error {
	redo := &m.Redo
	if redo.File < 0 || redo.File >= len(m.Files) || m.Files[redo.File].Class != ClassRedo {
		return fmt.Errorf("redo is file %d of %d", redo.File, len(m.Files))
	}
	for i, f := range m.Files {
		if f.Class == ClassRedo && i != redo.File {
			return fmt.Errorf("file %q: a second redo", f.Path)
		}
	}
	start := redo.Checkpoint.LSN
	switch {
	case m.LSN.Checkpoint != start || m.LSN.End != redo.End:
		return fmt.Errorf("lsn %d to %d, but redo %d to %d", m.LSN.Checkpoint, m.LSN.End, start, redo.End)
	case start > redo.End || redo.Checkpoint.End < start || redo.Checkpoint.End > redo.End:
		return fmt.Errorf("redo from checkpoint %d, its records at %d, to %d", start, redo.Checkpoint.End, redo.End)
	case redo.End-start > maxFileSize:
		return fmt.Errorf("redo of %d bytes", redo.End-start)
	case m.LSN.MaxPage > redo.End:
		return fmt.Errorf("page of lsn %d, newer than the end of the redo, %d", m.LSN.MaxPage, redo.End)
	case len(redo.Crypt) > 64:
		return fmt.Errorf("redo encryption header of %d bytes", len(redo.Crypt))
	case redo.Capacity < 0 || redo.Capacity > maxFileSize:
		return fmt.Errorf("redo capacity %d", redo.Capacity)
	}
	var held int64
	for _, x := range m.Files[redo.File].Extents {
		held += x.Size
		if held > maxFileSize {
			break
		}
	}
	if from, to := redo.Stored(); held != int64(to-from) {
		return fmt.Errorf("redo from lsn %d to %d, of which %d bytes are stored", from, to, held)
	}
	return nil
}

// checkAria checks that Aria's control file can be made of what the manifest says.
func (m *Manifest) checkAria() error {
	if m.Aria.Control == nil {
		return nil
	}
	return m.Aria.Control.Validate()
}

func (m *Manifest) checkTables() error {
	for _, t := range m.Tables {
		for _, i := range t.Files {
			if i < 0 || i >= len(m.Files) {
				return fmt.Errorf("table %s.%s: file %d of %d", t.Database, t.Name, i, len(m.Files))
			}
		}
	}
	return nil
}
