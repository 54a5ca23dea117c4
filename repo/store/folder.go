package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Names that begin with a dot are never objects.
	tempPrefix = ".put-"
	lockPrefix = ".lock-"

	// maxDepth bounds how deep List follows folders, in case of a symbolic
	// link that leads back. Objects lie at most two folders deep.
	maxDepth = 8

	maxOwner = 1000 // bytes read of a lock holder's text

	// orphanAge is how long nobody may have written to a temporary file before
	// it counts as left behind, on file systems that have no flock.
	orphanAge = 24 * time.Hour
)

// Folder is a Store in a folder of the local file system. Objects are files with
// mode 0600 in folders with mode 0700, as backups hold everything that the
// server knows. It may be used by several processes at once.
type Folder struct {
	root string // absolute

	mu     sync.Mutex
	synced map[string]bool // folders whose own entries are known to be on disk

	// fault stands before every step of a Put in this package's tests, which
	// make one after another fail. It is nil otherwise.
	fault func(step string) error
}

var (
	_ Store   = (*Folder)(nil)
	_ Sweeper = (*Folder)(nil)
	_ Tester  = (*Folder)(nil)
)

// OpenFolder returns the store in an existing folder. The error is
// fs.ErrNotExist if there is none and syscall.ENOTDIR if the path is something
// else. Whether the folder can be written to shows when something is written.
func OpenFolder(path string) (*Folder, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", path, err)
	}
	d, err := os.OpenFile(root, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", root, cause(err))
	}
	if err := d.Close(); err != nil {
		return nil, fmt.Errorf("open folder %s: %w", root, cause(err))
	}
	return &Folder{root: root, synced: map[string]bool{root: true}}, nil
}

// CreateFolder makes a folder for a new store, with mode 0700, and opens it. Its
// parent must exist. An existing folder is opened as it is.
func CreateFolder(path string) (*Folder, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("create folder %s: %w", path, err)
	}
	err = os.Mkdir(root, 0o700)
	if err == nil {
		err = syncFolder(filepath.Dir(root))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create folder %s: %w", root, cause(err))
	}
	return OpenFolder(root)
}

// String returns the absolute path of the folder.
func (f *Folder) String() string { return f.root }

// path returns where an object lies.
func (f *Folder) path(name string) string {
	return filepath.Join(f.root, filepath.FromSlash(name))
}

// Open opens a part of an object.
func (f *Folder) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("open %s: negative offset %d", name, offset)
	}
	// O_NONBLOCK keeps a named pipe in the folder from stopping us for ever; it
	// means nothing for files.
	file, err := os.OpenFile(f.path(name), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		if errors.Is(err, syscall.ENOTDIR) {
			err = fs.ErrNotExist // a file stands where a folder would have to
		}
		return nil, fmt.Errorf("open %s: %w", name, cause(err))
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("is no file: %w", fs.ErrNotExist)
	}
	if err == nil && offset > 0 {
		_, err = file.Seek(offset, io.SeekStart)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, cause(err)), file.Close())
	}
	return &folderReader{ctx: ctx, file: file, left: n, all: n < 0}, nil
}

// folderReader reads a part of a file and heeds a context.
type folderReader struct {
	ctx  context.Context
	file *os.File
	left int64
	all  bool
}

func (r *folderReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if !r.all {
		if r.left <= 0 {
			return 0, io.EOF
		}
		p = p[:min(int64(len(p)), r.left)]
	}
	n, err := r.file.Read(p)
	r.left -= int64(n)
	return n, err
}

func (r *folderReader) Close() error { return r.file.Close() }

// List lists the files below the folder.
func (f *Folder) List(ctx context.Context, prefix string) ([]Object, error) {
	var objects []Object
	err := f.walk(ctx, prefix, func(name string, e fs.FileInfo) error {
		if !strings.HasPrefix(path.Base(name), ".") {
			objects = append(objects, Object{Name: name, Size: e.Size(), Modified: e.ModTime().UTC()})
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", f.root, err)
	}
	slices.SortFunc(objects, func(a, b Object) int { return cmp.Compare(a.Name, b.Name) })
	return objects, nil
}

// walk calls visit for every regular file whose name begins with prefix; for a
// temporary file that is the name of the object that it would have become.
func (f *Folder) walk(ctx context.Context, prefix string, visit func(name string, e fs.FileInfo) error) error {
	folder, _ := path.Split(prefix)
	folder = strings.TrimSuffix(folder, "/")
	if folder != "" {
		if err := CheckName(folder); err != nil {
			return err
		}
	}
	return f.walkFolder(ctx, folder, prefix, strings.Count(folder, "/"), visit)
}

func (f *Folder) walkFolder(ctx context.Context, folder, prefix string, depth int, visit func(string, fs.FileInfo) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(f.path(folder))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if foreign(folder, e.Name()) {
			continue
		}
		name := path.Join(folder, e.Name())
		object := path.Join(folder, objectOf(e.Name()))
		if !strings.HasPrefix(object, prefix) {
			continue
		}
		info, err := os.Stat(f.path(name)) // follows links: an operator may have moved a part to another disk
		switch {
		case errors.Is(err, fs.ErrNotExist): // removed meanwhile, or a dead link
		case err != nil:
			return err
		case info.IsDir() && depth < maxDepth:
			if err := f.walkFolder(ctx, name, prefix, depth+1, visit); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			if err := visit(name, info); err != nil {
				return err
			}
		}
	}
	return nil
}

// foreign tells whether an entry of a folder belongs to the system: snapshots,
// marks of mount points, locks.
func foreign(folder, entry string) bool {
	if folder == "" && entry == "lost+found" {
		return true
	}
	return strings.HasPrefix(entry, ".") && !strings.HasPrefix(entry, tempPrefix)
}

// objectOf returns the base name of the object for which a file was made:
// ".put-0123456789abcdef.x" is a part of "x".
func objectOf(base string) string {
	if rest, ok := strings.CutPrefix(base, tempPrefix); ok {
		if _, object, ok := strings.Cut(rest, "."); ok {
			return object
		}
	}
	return base
}

// Writable tells whether objects can be made in the folder and its subfolders, as
// far as can be told without making one.
func (f *Folder) Writable(ctx context.Context) error {
	entries, err := os.ReadDir(f.root)
	if err != nil {
		return f.explain("list "+f.root, err)
	}
	folders := []string{f.root}
	for _, e := range entries {
		if e.IsDir() && !foreign("", e.Name()) {
			folders = append(folders, filepath.Join(f.root, e.Name()))
		}
	}
	for _, folder := range folders {
		if err := errors.Join(ctx.Err(), unix.Access(folder, unix.W_OK|unix.X_OK)); err != nil {
			return fmt.Errorf("folder %s is not writable: %w", folder, err)
		}
	}
	return nil
}

// Empty tells whether the folder holds nothing but what belongs to the system.
func (f *Folder) Empty(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	entries, err := os.ReadDir(f.root)
	if err != nil {
		return false, fmt.Errorf("list %s: %w", f.root, cause(err))
	}
	for _, e := range entries {
		if !foreign("", e.Name()) && !strings.HasPrefix(e.Name(), tempPrefix) {
			return false, nil
		}
	}
	return true, nil
}

// Delete removes the object's file, durably, and folders that it leaves empty.
func (f *Folder) Delete(ctx context.Context, name string) error {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return err
	}
	err := unix.Unlink(f.path(name))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	if err == nil {
		err = f.removeEmpty(path.Dir(name))
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, cause(err))
	}
	return nil
}

// removeEmpty removes a folder and those above it as far as they are empty, and
// makes that durable.
func (f *Folder) removeEmpty(folder string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ; folder != "."; folder = path.Dir(folder) {
		// Rmdir fails on a symbolic link, which is an operator's and stays.
		if err := unix.Rmdir(f.path(folder)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			break
		}
		delete(f.synced, f.path(folder))
	}
	err := syncFolder(f.path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed by another process, and with it our entry
	}
	return err
}

// SweepTemp removes the temporary files and empty folders of writers that are dead.
func (f *Folder) SweepTemp(ctx context.Context, prefix string) ([]string, error) {
	var swept []string
	err := f.walk(ctx, prefix, func(name string, e fs.FileInfo) error {
		if !strings.HasPrefix(path.Base(name), tempPrefix) {
			return nil
		}
		dead, err := abandoned(f.path(name), e.ModTime())
		if err != nil || !dead {
			return err
		}
		swept = append(swept, name)
		return f.removeEmpty(path.Dir(name))
	})
	if err == nil {
		err = f.sweepFolders(prefix)
	}
	if err != nil {
		return swept, fmt.Errorf("sweep %s: %w", f.root, err)
	}
	return swept, nil
}

// sweepFolders removes empty folders: of a writer that died before it made a file
// there. A Put that finds its folder gone makes it anew.
func (f *Folder) sweepFolders(prefix string) error {
	folder := path.Dir(prefix)
	entries, err := os.ReadDir(f.path(folder))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		if !e.IsDir() || foreign(folder, e.Name()) || !strings.HasPrefix(name, prefix) {
			continue
		}
		held, err := os.ReadDir(f.path(name))
		if err == nil && len(held) == 0 {
			err = f.removeEmpty(name)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// abandoned removes a temporary file if its writer is dead: a living one holds a
// lock on it.
func abandoned(file string, modified time.Time) (bool, error) {
	d, err := os.OpenFile(file, os.O_RDWR|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	err = flock(d)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, d.Close()
	case err != nil && time.Since(modified) < orphanAge:
		return false, d.Close()
	}
	return true, errors.Join(os.Remove(file), d.Close())
}

// Lock takes a flock on a file of its own in the folder. The file stays, and its
// text outlives the holder: only the flock counts.
func (f *Folder) Lock(ctx context.Context, name, owner string) (func() error, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !plainElement(name) {
		return nil, fmt.Errorf("lock %q: %w", name, ErrName)
	}
	// os opens with O_CLOEXEC: a program started by the holder, a mariadbd that
	// outlives it, must not inherit the lock.
	file, err := os.OpenFile(filepath.Join(f.root, lockPrefix+name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, f.explain("lock "+name, err)
	}
	if err := flock(file); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(&LockedError{Name: name, Owner: readOwner(file)}, file.Close())
	} else if err != nil {
		return nil, errors.Join(f.explain("lock "+name, err), file.Close())
	}
	// The text is for people. A full disk must not stop an expiry that would
	// make room, so a failure to write it is none of the lock's.
	if file.Truncate(0) == nil {
		_, _ = file.WriteAt([]byte(owner+"\n"), 0) // see above
	}
	return sync.OnceValue(func() error {
		if err := file.Truncate(0); err != nil {
			return errors.Join(f.explain("unlock "+name, err), file.Close())
		}
		return file.Close()
	}), nil
}

// Holder implements Holder. A lock whose file has no text is not held, so that nobody
// who takes it in this moment finds it locked by the one who asks.
func (f *Folder) Holder(ctx context.Context, name string) (string, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if !plainElement(name) {
		return "", fmt.Errorf("lock %q: %w", name, ErrName)
	}
	file, err := os.Open(filepath.Join(f.root, lockPrefix+name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", f.explain("look at lock "+name, err)
	}
	defer file.Close() //nolint:errcheck // only read
	owner := readOwner(file)
	if owner == "" {
		return "", nil
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return owner, nil
	}
	return "", f.explain("look at lock "+name, err) // a text that a dead holder left
}

// readOwner returns the printable part of a lock file's first line.
func readOwner(file *os.File) string {
	b := make([]byte, maxOwner)
	n, err := file.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return ""
	}
	line, _, _ := strings.Cut(string(b[:n]), "\n")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, ""))
}

// Space asks the file system.
func (f *Folder) Space(ctx context.Context) (Space, error) {
	if err := ctx.Err(); err != nil {
		return Space{}, err
	}
	s, err := f.space()
	if err != nil {
		return Space{}, fmt.Errorf("space of %s: %w", f.root, err)
	}
	return s, nil
}

func (f *Folder) space() (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(f.root, &st); err != nil {
		return Space{}, err
	}
	unit := st.Frsize
	return Space{Free: int64(st.Bavail) * unit, Total: int64(st.Blocks) * unit, Known: true}, nil
}

// explain gives an error of the file system its operation and what a person
// needs to know.
func (f *Folder) explain(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		space, spaceErr := f.space()
		space.Known = space.Known && spaceErr == nil
		return fmt.Errorf("%s: %w", op, &NoSpaceError{Where: f.root, Space: space, Err: cause(err)})
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s: folder %s is not writable: %w", op, f.root, cause(err))
	}
	return fmt.Errorf("%s: %w", op, cause(err))
}

// cause takes the operation and path off an error of package os: our callers
// know the object by another name.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}

// flock takes an exclusive lock on an open file without waiting.
func flock(file *os.File) error {
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// syncFolder makes the entries of a folder durable. Some network and FUSE file
// systems have no such operation; there is nothing better to do on those.
func syncFolder(folder string) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
