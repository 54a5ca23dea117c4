package repo

import (
	"context"
	"errors"
	"fmt"

	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/repo/store"
)

// Lineage is what the next increment, or the next attempt after one that was
// interrupted, must know of a pass of copying: numbers only, no names.
type Lineage struct {
	ID         string     // of the backup or attempt
	Checkpoint innodb.LSN // at which the pass began
	End        innodb.LSN // of its redo; 0 while it is not known
	BootID     [16]byte   // of the source's kernel when it was copied
	AriaUUID   [16]byte
	Series     [2]uint16 // of the server: 10, 11
	PageSize   uint32    // innodb_page_size
	Redo       RedoFile
	Files      []LineageFile // in the order of their numbers
}

// RedoFile is the identity of the source's redo log file.
type RedoFile struct {
	Dev, Inode uint64
	Born       int64      // nanoseconds since 1970, 0: not known
	First      innodb.LSN // with which the file begins, 0: not known
}

// LineageFile is one file as it was when its copy was begun.
type LineageFile struct {
	Number   uint32 // in the manifest
	Class    string // ClassInnoDB ...
	HasSpace bool
	Space    innodb.SpaceID
	PageSize uint32 // of the tablespace, 0: none
	Flags    uint32 // FSP_SPACE_FLAGS: the first page of a file that has not changed need not be read
	Dev      uint64
	Inode    uint64
	Born     int64 // nanoseconds since 1970, 0: the file system does not tell
	Size     int64 // of the file
	Modified int64 // nanoseconds since 1970
	Changed  int64
	// Quiescent: the same size and times later mean the same bytes, and no page of them was
	// damaged. For a tablespace that takes datadir.FileStat.WritesArrived;
	// FileStat.Quiescent alone overlooks a write on its way.
	Quiescent bool
	Copied    int64 // bytes of the copy
	// LSNs has, of a tablespace, the sum of LSNs of each group of pages of the copy
	// (innodb.LSNSums); 0 if it is not known. It may be shorter than there are groups.
	LSNs []uint32
}

// Names and sizes of what is in the documents of records. docs/format.md has the fields.
const (
	lineageMagic   = "mbkl"
	lineageVersion = 1
	idField        = 40 // bytes of an id: its length, itself, zeros
	maxStored      = 256 << 20
)

// Flags of a LineageFile.
const (
	flagSpace = 1 << iota
	flagQuiescent
	allFlags = flagSpace | flagQuiescent
)

// classCodes are the classes of files in the order of their codes, from 1.
var classCodes = []string{ClassInnoDB, ClassRedo, ClassAria, ClassLog, ClassPlain}

// Encode returns the object lineage.bin.zst.
func (l *Lineage) Encode() ([]byte, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	var w recordWriter
	w.raw([]byte(lineageMagic))
	w.u32(lineageVersion)
	l.write(&w)
	return w.document()
}

// write appends the header and the files.
func (l *Lineage) write(w *recordWriter) {
	w.text(l.ID, idField)
	w.u64(uint64(l.Checkpoint))
	w.u64(uint64(l.End))
	w.raw(l.BootID[:])
	w.raw(l.AriaUUID[:])
	w.u16(l.Series[0])
	w.u16(l.Series[1])
	w.u32(l.PageSize)
	w.u64(l.Redo.Dev)
	w.u64(l.Redo.Inode)
	w.i64(l.Redo.Born)
	w.u64(uint64(l.Redo.First))
	w.u32(uint32(len(l.Files)))
	for i := range l.Files {
		l.Files[i].write(w)
	}
}

func (f *LineageFile) write(w *recordWriter) {
	var flags, class uint8
	if f.HasSpace {
		flags |= flagSpace
	}
	if f.Quiescent {
		flags |= flagQuiescent
	}
	for i, name := range classCodes {
		if name == f.Class {
			class = uint8(i + 1)
		}
	}
	w.u32(f.Number)
	w.u8(class)
	w.u8(flags)
	w.u16(0)
	w.u32(uint32(f.Space))
	w.u32(f.PageSize)
	w.u32(f.Flags)
	w.u64(f.Dev)
	w.u64(f.Inode)
	w.i64(f.Born)
	w.i64(f.Size)
	w.i64(f.Modified)
	w.i64(f.Changed)
	w.i64(f.Copied)
	w.list(f.LSNs)
}

// DecodeLineage reads what Encode returned. The bytes may be hostile. The error is
// ErrDamaged, or ErrNewerFormat.
func DecodeLineage(b []byte) (*Lineage, error) {
	r, done, err := openRecords(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer done()
	if err := r.version(lineageMagic, lineageVersion); err != nil {
		return nil, err
	}
	l := new(Lineage)
	l.read(r)
	err = r.end()
	if err == nil {
		err = l.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return l, nil
}

// version reads the first eight bytes of a document of records.
func (r *recordReader) version(magic string, known uint32) error {
	if got := string(r.next(4)); r.err == nil && got != magic {
		r.fail(fmt.Errorf("it begins with %q", got))
	}
	version := r.u32()
	switch {
	case r.err != nil:
		return fmt.Errorf("%w: %w", ErrDamaged, r.err)
	case version > known:
		return fmt.Errorf("version %d of its records, while this mbk reads up to %d: %w", version, known, ErrNewerFormat)
	case version < 1:
		return fmt.Errorf("version %d of its records: %w", version, ErrDamaged)
	}
	return nil
}

func (l *Lineage) read(r *recordReader) {
	l.ID = r.text(idField)
	l.Checkpoint, l.End = innodb.LSN(r.u64()), innodb.LSN(r.u64())
	copy(l.BootID[:], r.next(16))
	copy(l.AriaUUID[:], r.next(16))
	l.Series = [2]uint16{r.u16(), r.u16()}
	l.PageSize = r.u32()
	l.Redo = RedoFile{Dev: r.u64(), Inode: r.u64(), Born: r.i64(), First: innodb.LSN(r.u64())}
	n := r.u32()
	for i := uint32(0); i < n && r.err == nil; i++ {
		f := readLineageFile(r)
		// Before there is room made for more: zeros compress well.
		if i > 0 && f.Number <= l.Files[i-1].Number || i >= maxManifestList {
			r.fail(fmt.Errorf("file %d is number %d", i, f.Number))
		}
		l.Files = append(l.Files, f)
	}
}

func readLineageFile(r *recordReader) LineageFile {
	f := LineageFile{Number: r.u32()}
	class, flags, unused := r.u8(), r.u8(), r.u16()
	if r.err == nil && (class < 1 || int(class) > len(classCodes) || flags&^allFlags != 0 || unused != 0) {
		r.fail(fmt.Errorf("file number %d: class %d, flags %#x, %d", f.Number, class, flags, unused))
	}
	if r.err == nil {
		f.Class = classCodes[class-1]
	}
	f.HasSpace, f.Quiescent = flags&flagSpace != 0, flags&flagQuiescent != 0
	f.Space, f.PageSize, f.Flags = innodb.SpaceID(r.u32()), r.u32(), r.u32()
	f.Dev, f.Inode = r.u64(), r.u64()
	f.Born, f.Size, f.Modified, f.Changed, f.Copied = r.i64(), r.i64(), r.i64(), r.i64(), r.i64()
	f.LSNs = r.list()
	return f
}

// Validate checks that nobody has to fear the numbers.
func (l *Lineage) Validate() error {
	if _, _, err := ParseID(l.ID); err != nil {
		return fmt.Errorf("lineage: %w", err)
	}
	switch {
	case l.End != 0 && l.End < l.Checkpoint:
		return fmt.Errorf("lineage: from checkpoint %d to %d", l.Checkpoint, l.End)
	case l.PageSize > 65536 || l.PageSize&(l.PageSize-1) != 0:
		return fmt.Errorf("lineage: page size %d", l.PageSize)
	}
	for i := range l.Files {
		f := &l.Files[i]
		switch {
		case i > 0 && f.Number <= l.Files[i-1].Number:
			return fmt.Errorf("lineage: file number %d after %d", f.Number, l.Files[i-1].Number)
		case !isClass(f.Class):
			return fmt.Errorf("lineage: file number %d: unknown class %q", f.Number, f.Class)
		case f.Size < 0 || f.Size > maxFileSize || f.Copied < 0 || f.Copied > maxFileSize:
			return fmt.Errorf("lineage: file number %d: %d bytes, of which %d are copied", f.Number, f.Size, f.Copied)
		case f.PageSize > 65536 || f.PageSize&(f.PageSize-1) != 0:
			return fmt.Errorf("lineage: file number %d: page size %d", f.Number, f.PageSize)
		case !f.HasSpace && (f.Space != 0 || f.Flags != 0):
			return fmt.Errorf("lineage: file number %d: no tablespace %d", f.Number, f.Space)
		case len(f.LSNs) > f.groups():
			return fmt.Errorf("lineage: file number %d: sums of %d groups of pages, and it has %d", f.Number, len(f.LSNs),
				f.groups())
		}
	}
	return nil
}

// groups is the number of groups of pages of the copy that have sums of LSNs.
func (f *LineageFile) groups() int {
	if f.PageSize == 0 {
		return 0
	}
	return innodb.LSNGroups(f.Copied / int64(f.PageSize))
}

// checkAgainst checks that a lineage is that of a manifest.
func (l *Lineage) checkAgainst(m *Manifest) error {
	switch {
	case l.ID != m.ID:
		return fmt.Errorf("the lineage is that of %s", l.ID)
	case l.Checkpoint != m.LSN.Checkpoint || l.End != m.LSN.End:
		return fmt.Errorf("the lineage goes from lsn %d to %d, the manifest from %d to %d", l.Checkpoint, l.End,
			m.LSN.Checkpoint, m.LSN.End)
	}
	classes := make(map[uint32]string, len(m.Files))
	for i := range m.Files {
		classes[m.Files[i].Number] = m.Files[i].Class
	}
	for i := range l.Files {
		f := &l.Files[i]
		if class, ok := classes[f.Number]; !ok || class != f.Class {
			return fmt.Errorf("the lineage has file number %d of class %q, the manifest of class %q", f.Number, f.Class, class)
		}
	}
	return nil
}

// Lineage reads the lineage of a backup. Errors: fs.ErrNotExist if there is no such
// backup, ErrDamaged, ErrNewerFormat.
func (r *Repository) Lineage(ctx context.Context, id string) (*Lineage, error) {
	label, err := r.Label(ctx, id)
	if err != nil {
		return nil, err
	}
	name := Folder(id) + "/" + lineageBase
	b, err := store.ReadAll(ctx, r.st, name, maxStored)
	if err != nil {
		return nil, fmt.Errorf("read the lineage of %s in %s: %w", id, r, err)
	}
	var l *Lineage
	if err = label.wantObject(lineageBase, b); err == nil {
		l, err = DecodeLineage(b)
	}
	if err == nil && l.ID != id {
		err = fmt.Errorf("it is the lineage of %q: %w", l.ID, ErrDamaged)
	}
	if err != nil {
		err = fmt.Errorf("lineage %s: %w", name, err)
	}
	if errors.Is(err, ErrDamaged) {
		err = hint.Wrap(err, hint.DamagedBackup)
	}
	return l, err
}
