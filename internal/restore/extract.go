package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/aria"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/sys/disk"
	"mbk/internal/sys/fsuser"
	"mbk/internal/ui/meter"
)

// outFile is a file that is being extracted, by several workers if it has
// several extents.
type outFile struct {
	*repo.File
	path  string // below the root
	shift int64  // from the offsets of the extents to those on disk
	size  int64  // of the file on disk
	head  []byte // what the file begins with before any extent

	layers *repo.Layered

	mu      sync.Mutex
	created os.FileInfo // nil: not yet
	left    int         // pieces of this round
	last    bool        // no round follows
}

// extraction writes files of a backup below a root. Nothing is written outside
// of it whatever the manifest says, and no file is written twice.
type extraction struct {
	chain   *repo.Chain
	root    *os.Root
	as      fsuser.User // with whose rights files are made and opened
	owner   *Owner      // nil: whoever makes them
	workers int
	meter   *meter.Meter
	known   map[string]bool // folders that are there
	made    []string        // those of them that this extraction made, the outer before the inner
}

// run extracts files, in rounds: the newest layer of each file first. Every chunk's
// checksum is checked on the way; damage is reported as a *pack.DamageError, and bytes that
// no layer holds as a *repo.GapError.
func (x *extraction) run(ctx context.Context, files []*outFile) error {
	if err := x.makeFolders(files); err != nil {
		return err
	}
	for _, f := range files {
		f.layers = x.chain.Layered(f.Number)
	}
	goesOn := func(f *outFile) bool { return !f.last }
	for round := 0; slices.ContainsFunc(files, goesOn); round++ {
		var pieces []copier.Piece[*outFile]
		for _, f := range files {
			pieces = append(pieces, f.pieces(round)...)
		}
		if err := x.round(ctx, pieces); err != nil {
			return err
		}
	}
	return nil
}

// pieces returns what of the file is read in a round. In the last one there is at least one
// piece, if only an empty one: it makes the file, if there is none yet, and completes it.
func (f *outFile) pieces(round int) (pieces []copier.Piece[*outFile]) {
	if f.last {
		return nil
	}
	pieces, f.last = repo.Pieces(f.layers, round, f)
	if f.last && len(pieces) == 0 {
		pieces = []copier.Piece[*outFile]{{From: nowhere{}, File: f}}
	}
	f.left = len(pieces)
	return pieces
}

// nowhere is where the pieces without bytes come from.
type nowhere struct{}

// Open implements pack.Opener.
func (nowhere) Open(context.Context, string, int64, int64) (io.ReadCloser, error) {
	return nil, fs.ErrNotExist
}

// String implements pack.Opener.
func (nowhere) String() string { return "" }

// round extracts the pieces of one round.
func (x *extraction) round(ctx context.Context, pieces []copier.Piece[*outFile]) error {
	return copier.Extract(ctx, x.workers, pieces,
		func(ctx context.Context, r *pack.Reader, p copier.Piece[*outFile]) error {
			if err := x.extract(ctx, r, p); err != nil {
				return fmt.Errorf("extract %s: %w", p.File.Path, err)
			}
			return nil
		})
}

// makeFolders makes the folders that the files need.
func (x *extraction) makeFolders(files []*outFile) error {
	return x.as.Do(func() error {
		for _, f := range files {
			if err := x.makeFolder(path.Dir(f.path)); err != nil {
				return err
			}
		}
		return nil
	})
}

// makeFolder makes a folder and those above it, as far as they are missing.
func (x *extraction) makeFolder(dir string) error {
	if dir == "." || x.known[dir] {
		return nil
	}
	if err := x.makeFolder(path.Dir(dir)); err != nil {
		return err
	}
	if x.known == nil {
		x.known = map[string]bool{}
	}
	x.known[dir] = true
	err := x.root.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		x.made = append(x.made, dir)
		if x.owner != nil {
			err = x.root.Lchown(dir, x.owner.UID, x.owner.GID)
		}
	}
	if err != nil {
		return fmt.Errorf("make folder: %w", err)
	}
	return nil
}

// extract extracts one piece, and completes its file if it was the last.
func (x *extraction) extract(ctx context.Context, r *pack.Reader, p copier.Piece[*outFile]) (err error) {
	file, e := p.File, p.Extent
	f, err := fsuser.Value(x.as, func() (*os.File, error) { return x.open(file) })
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if e.Size > 0 {
		// Fragments that newer layers leave of an extent are too small to go past the page cache.
		cached := e.Size < directFrom || !file.layers.Single()
		to := &disk.Writer{File: f, Cached: cached, WriteBack: writeBack}
		sink := &copier.FileSink{File: f, Out: to, Sparse: file.Sparse, Fresh: true}
		if err := repo.Read(ctx, file.layers, r, p, shiftedSink{sink, file.shift, x.meter}); err != nil {
			return err
		}
	}
	file.mu.Lock()
	defer file.mu.Unlock()
	if file.left--; file.left > 0 || !file.last {
		return nil
	}
	if err := file.layers.Gap(); err != nil {
		return err
	}
	file.layers = nil // it may be large
	return x.as.Do(func() error { return x.complete(f, file) })
}

// open opens a file for writing; whoever comes first makes it.
func (x *extraction) open(f *outFile) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.created != nil {
		return x.reopen(f)
	}
	file, err := x.root.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	if f.created, err = file.Stat(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	_, err = file.WriteAt(f.head, 0)
	if err = errors.Join(err, file.Truncate(f.size), f.reserve(file)); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// reopen opens a file that was made. In a folder of somebody else's there may be
// another file by now.
func (x *extraction) reopen(f *outFile) (*os.File, error) {
	file, err := x.root.OpenFile(f.path, os.O_WRONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !os.SameFile(info, f.created) {
		err = errExchanged
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// errExchanged is returned if somebody has exchanged a file or folder that was made.
var errExchanged = errors.New("somebody has put something else in its place")

// reserve gives a large file its room on the disk at once. Workers who write past the
// page cache then need not wait for each other's blocks, and a disk that is too small
// is noticed early. Of a redo log most stays a hole: the server makes its own.
func (f *outFile) reserve(file *os.File) error {
	if f.Sparse || f.head != nil || f.size < directFrom || !disk.IsLocal(file) {
		return nil
	}
	err := unix.Fallocate(int(file.Fd()), 0, 0, f.size)
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return &os.PathError{Op: "reserve", Path: f.path, Err: err}
	}
	return nil // where the file system cannot do that, it goes without
}

// complete sets owner, mode and times.
func (x *extraction) complete(file *os.File, f *outFile) error {
	if x.owner != nil {
		if err := file.Chown(x.owner.UID, x.owner.GID); err != nil {
			return err
		}
	}
	if err := file.Chmod(fs.FileMode(f.Mode) & 0o777); err != nil {
		return err
	}
	if f.Modified.IsZero() {
		return nil
	}
	return setTimes(file, f.Modified)
}

// setTimes sets both times of an open file.
func setTimes(file *os.File, to time.Time) error {
	at, err := unix.TimeToTimespec(to)
	if err != nil {
		return err
	}
	both := [2]unix.Timespec{at, at}
	// As futimens of the C library: without a name the call is about the descriptor.
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, file.Fd(), 0, uintptr(unsafe.Pointer(&both)), 0, 0, 0)
	if errno != 0 {
		return &os.PathError{Op: "set times of", Path: file.Name(), Err: errno}
	}
	return nil
}

// shiftedSink passes on what an Extractor delivers, moved to another place in
// the file, and counts it.
type shiftedSink struct {
	pack.Sink
	shift int64
	meter *meter.Meter
}

// WriteAt implements pack.Sink.
func (s shiftedSink) WriteAt(p []byte, off int64) (int, error) {
	s.meter.Add(int64(len(p)))
	return s.Sink.WriteAt(p, off+s.shift)
}

// Zero implements pack.Sink.
func (s shiftedSink) Zero(off, n int64) error {
	s.meter.Add(n)
	return s.Sink.Zero(off+s.shift, n)
}

const (
	// writeBack is how many bytes of a file may gather in the page cache before the
	// kernel is told to write them. Left to itself it waits until the restore wants
	// everything synced, when the processors have nothing else to do.
	writeBack = 8 << 20

	// directFrom is how many bytes must be in a row to be written past the page cache.
	directFrom = 1 << 20
)

// outFiles lists the files of a backup as they are laid down in a data
// directory: under their own names, the redo log with a header.
func outFiles(m *repo.Manifest, tool string) ([]*outFile, error) {
	files := make([]*outFile, 0, len(m.Files))
	for i := range m.Files {
		f := &m.Files[i]
		switch {
		case f.Class == repo.ClassRedo:
			log, err := redoFile(m, f, tool)
			if err != nil {
				return nil, err
			}
			files = append(files, log)
		case m.Aria.Control != nil && path.Base(f.Path) == aria.ControlFile:
			// It is written again, by writeAriaControl.
		default:
			files = append(files, &outFile{File: f, path: f.Path, size: f.Size})
		}
	}
	return files, nil
}

// redoFile is ib_logfile0: a header, the bytes of the backup, and zeros.
func redoFile(m *repo.Manifest, f *repo.File, tool string) (*outFile, error) {
	if len(f.Extents) == 0 {
		return nil, fmt.Errorf("manifest: the redo log is empty: %w", repo.ErrDamaged)
	}
	head, err := restoredLog(m, tool).Header()
	if err != nil {
		return nil, fmt.Errorf("manifest: redo log: %w: %w", err, repo.ErrDamaged)
	}
	log := *f
	from, to := m.Redo.Stored()
	log.Size, log.Mode, log.Sparse = int64(to-from), 0o660, false
	return &outFile{
		File: &log, path: logName, shift: int64(len(head)) - f.Extents[0].Start, head: head,
		size: innodb.RestoredLogSize(log.Size, logSize(m)),
	}, nil
}

// extractAll lays all files of a manifest down in the scratch folder.
func (s *scratch) extractAll(
	ctx context.Context, o Preparation, chain *repo.Chain, m *repo.Manifest, ariaDir string, meter *meter.Meter,
) error {
	files, err := outFiles(m, o.Tool)
	if err != nil {
		return err
	}
	var total int64
	for _, f := range files {
		total += f.File.Size
	}
	meter.Begin(PhaseExtract, total)
	x := &extraction{chain: chain, root: s.tree.root, as: s.tree.as, workers: o.extractors, meter: meter}
	if os.Geteuid() == 0 {
		x.owner = &s.target.owner
	}
	if err := x.run(ctx, slices.DeleteFunc(files,
		func(f *outFile) bool { return s.outside.holds(f.Number) })); err != nil {
		return err
	}
	if err := s.outside.extract(ctx, *x); err != nil {
		return err
	}
	meter.End()
	return x.as.Do(func() error {
		if err := (external{s.tree, &s.outside, m}).localNames(o.Tool); err != nil {
			return err
		}
		for _, d := range m.Directories {
			if err := x.makeFolder(d.Path); err != nil {
				return err
			}
			if err := x.root.Chmod(d.Path, fs.FileMode(d.Mode&0o777|0o700)); err != nil {
				return fmt.Errorf("make folder: %w", err)
			}
		}
		return x.writeAriaControl(m, ariaDir)
	})
}

// laterTransactions is more than a server begins between two writes of Aria's control
// file. Those that only read are not in the log either, so the number in the
// control file is too low; a server takes a table that was made by a later transaction
// for one of another system, and a check of it (by 10.5) says that it is corrupt.
const laterTransactions = 1 << 24

// writeAriaControl makes Aria's control file.
func (x *extraction) writeAriaControl(m *repo.Manifest, dir string) error {
	if m.Aria.Control == nil {
		return nil
	}
	control := *m.Aria.Control
	control.MaxTrid = min(control.MaxTrid+laterTransactions, 1<<48-1)
	b := control.Append(nil)
	if len(b) > aria.MaxControlSize {
		return fmt.Errorf("manifest: %s of %d bytes: %w", aria.ControlFile, len(b), repo.ErrDamaged)
	}
	f, err := x.root.OpenFile(path.Join(dir, aria.ControlFile), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o660)
	if err != nil {
		return fmt.Errorf("extract %s: %w", aria.ControlFile, err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Chmod(0o660)) // whatever the umask is
	if x.owner != nil {
		err = errors.Join(err, f.Chown(x.owner.UID, x.owner.GID))
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("extract %s: %w", aria.ControlFile, err)
	}
	return nil
}
