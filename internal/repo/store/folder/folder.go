// Package folder is a store in a folder of the local file system.
package folder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/hint"
	"mbk/internal/repo/store"
	"mbk/internal/sys/disk"
	"mbk/internal/sys/fsuser"
)

const (
	// Names that begin with a dot are never objects.
	tempPrefix = ".put-"

	// maxDepth bounds how deep List follows folders, in case of a symbolic
	// link that leads back. Objects lie at most two folders deep.
	maxDepth = 8
)

// Store keeps objects as files with mode 0600 in folders with mode 0700, as backups hold
// everything that the server knows. It may be used by several processes at once.
//
// A process of root does everything in the folder with the rights of the folder's
// owner: what it writes is the owner's, and a link that he has made leads it only to
// where he could have gone himself. Nobody else's links lead anywhere, except root's.
type Store struct {
	store.Removable
	root  string      // absolute
	owner fsuser.User // of the folder
	place place       // of the folder when it was opened

	mu     sync.Mutex
	synced map[string]bool // folders, by their names, whose own entries are known to be on disk

	// fault stands before every step of a Put in this package's tests, which
	// make one after another fail. It is nil otherwise.
	fault func(step string) error
}

var _ store.Store = (*Store)(nil)

// Open returns the store in an existing folder, to which path may be a symbolic
// link; root follows only links that others cannot have made, and else the error is a
// *fsuser.ForeignLinkError. The error is fs.ErrNotExist if there is no such folder and
// syscall.ENOTDIR if the path is something else. Whether the folder can be written to
// shows when something is written.
func Open(path string) (*Store, error) {
	root, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", path, err)
	}
	var st unix.Stat_t
	if err := ignoringEINTR(func() error { return unix.Stat(root, &st) }); err != nil {
		return nil, fmt.Errorf("open folder %s: %w", root, err)
	}
	f := &Store{synced: map[string]bool{".": true}}
	if f.root, err = resolve(root); err != nil {
		return nil, fmt.Errorf("open folder %s: %w", root, err)
	}
	if err := f.stat(&st); err != nil {
		return nil, fmt.Errorf("open folder %s: %w", root, cause(err))
	}
	f.owner, f.place = fsuser.User{UID: int(st.Uid), GID: int(st.Gid)}, placeOf(&st)
	if err := f.owner.Do(func() error { return nil }); err != nil {
		return nil, hint.Wrap(fmt.Errorf("open folder %s: %w", root, err),
			"root works in a repository with the rights of its owner, for which it needs the capabilities CAP_SETUID and "+
				"CAP_SETGID: give them to this process, or run mbk as that user")
	}
	err = f.inside(func(root *os.File) error {
		dir, err := f.openFolder(root, "", allLinks)
		if err != nil {
			return err
		}
		return dir.Close()
	})
	if err != nil {
		return nil, fmt.Errorf("open folder %s: %w", root, cause(err))
	}
	return f, nil
}

// resolve is the place that an absolute path stands for. Root looks for it without
// following the links of others: what root does in a repository of root's is done with
// root's rights, and so nobody else may say which one it is.
func resolve(path string) (string, error) {
	if os.Geteuid() != 0 {
		return path, nil
	}
	place, err := fsuser.Resolve(path)
	if link, ok := errors.AsType[*fsuser.ForeignLinkError](err); ok {
		return "", hint.Wrap(err, hint.Text(link.Advice()))
	}
	return place, cause(err)
}

// String returns the absolute path of the folder.
func (f *Store) String() string { return f.root }

// Dir returns the absolute path of the folder.
func (f *Store) Dir() string { return f.root }

// Open opens a part of an object.
func (f *Store) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("open %s: negative offset %d", name, offset)
	}
	var file *os.File
	err := f.inside(func(root *os.File) error {
		dir, err := f.openFolder(root, path.Dir(name), allLinks)
		if err != nil {
			return err
		}
		defer dir.Close() //nolint:errcheck // nothing is written to it
		file, err = f.openObject(dir, path.Base(name))
		return err
	})
	if errors.Is(err, syscall.ENOTDIR) || errors.Is(err, errForeignLink) {
		err = fs.ErrNotExist // a file stands where a folder would have to, or what leads to none
	}
	if err != nil {
		return nil, f.explainRead("open "+name, err)
	}
	if n < 0 {
		n = math.MaxInt64 // to the end
	}
	return &objectReader{ctx: ctx, file: file, part: io.NewSectionReader(file, offset, n)}, nil
}

// objectReader reads a part of a file and heeds a context. It can seek in the part.
type objectReader struct {
	ctx  context.Context
	file *os.File
	part *io.SectionReader
}

func (r *objectReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.part.Read(p)
}

// Seek implements io.Seeker. Of a part up to the end of the object, that is not known.
func (r *objectReader) Seek(offset int64, whence int) (int64, error) {
	return r.part.Seek(offset, whence)
}

func (r *objectReader) Close() error { return r.file.Close() }

// List lists the files below the folder.
func (f *Store) List(ctx context.Context, prefix string) ([]store.Object, error) {
	var objects []store.Object
	err := f.walk(ctx, prefix, allLinks, walker{
		file: func(_ *os.File, name string, st *unix.Stat_t) error {
			if !strings.HasPrefix(path.Base(name), ".") {
				objects = append(objects, store.Object{Name: name, Size: st.Size, Modified: time.Unix(st.Mtim.Unix()).UTC()})
			}
			return nil
		},
		unreadable: func(name string, err error) error {
			objects = append(objects, store.Object{Name: name, Err: f.explainRead("list "+name, err)})
			return nil
		},
	})
	if err != nil {
		return nil, f.explainRead("list "+f.root, err)
	}
	slices.SortFunc(objects, func(a, b store.Object) int { return cmp.Compare(a.Name, b.Name) })
	return objects, nil
}

// walker is told what walk comes across.
type walker struct {
	// file is called for every regular file, with its open folder; name is that of
	// the file, with the folders that lead to it.
	file func(dir *os.File, name string, st *unix.Stat_t) error
	// unreadable is called for a folder that cannot be looked into, except the one
	// where the walk starts.
	unreadable func(name string, err error) error
	start      string
}

// walk goes through all files whose names begin with prefix; for a temporary file
// that is the name of the object that it would have become.
func (f *Store) walk(ctx context.Context, prefix string, follow links, w walker) error {
	folder, _ := path.Split(prefix)
	folder = strings.TrimSuffix(folder, "/")
	if folder != "" {
		if err := store.CheckName(folder); err != nil {
			return err
		}
	}
	w.start = folder
	return f.inside(func(root *os.File) error {
		dir, err := f.openFolder(root, folder, follow)
		if isGone(err) || errors.Is(err, errForeignLink) {
			return nil
		}
		if err != nil {
			return err
		}
		depth := 0
		if folder != "" {
			depth = 1 + strings.Count(folder, "/")
		}
		return errors.Join(f.walkFolder(ctx, dir, folder, prefix, depth, follow, w), dir.Close())
	})
}

func (f *Store) walkFolder(ctx context.Context, dir *os.File, folder, prefix string, depth int, follow links,
	w walker) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := dir.Readdirnames(-1)
	switch {
	case isGone(err): // removed meanwhile
		return nil
	case err != nil && folder != w.start:
		return w.unreadable(folder, err)
	case err != nil:
		return err
	}
	through := follow == allLinks || depth == 0
	for _, entry := range entries {
		if foreign(folder, entry) {
			continue
		}
		name := path.Join(folder, entry)
		if !strings.HasPrefix(path.Join(folder, objectOf(entry)), prefix) {
			continue
		}
		st, err := f.statIn(dir, entry, through) // an operator may have moved a part to another disk
		switch kind := st.Mode & unix.S_IFMT; {
		case isGone(err), errors.Is(err, errForeignLink): // removed meanwhile, a dead link, or one that leads nowhere
		case err != nil:
			err = w.unreadable(name, err)
			if err != nil {
				return err
			}
		case kind == unix.S_IFDIR && depth < maxDepth:
			if err := f.walkInto(ctx, dir, entry, name, prefix, depth, follow, w); err != nil {
				return err
			}
		case kind == unix.S_IFREG:
			if err := w.file(dir, name, &st); err != nil {
				return err
			}
		}
	}
	return nil
}

// walkInto is walkFolder for a folder in dir.
func (f *Store) walkInto(ctx context.Context, dir *os.File, entry, name, prefix string, depth int, follow links,
	w walker) error {
	next, err := f.openIn(dir, entry, unix.O_RDONLY|unix.O_DIRECTORY, follow == allLinks || depth == 0)
	if isGone(err) || errors.Is(err, errForeignLink) || errors.Is(err, store.ErrThroughLink) {
		return nil
	}
	if err != nil {
		return w.unreadable(name, err)
	}
	return errors.Join(f.walkFolder(ctx, next, name, prefix, depth+1, follow, w), next.Close())
}

// foreign reports whether an entry of a folder belongs to the system: snapshots,
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

// subfolders calls do for the repository's folder and those in it.
func (f *Store) subfolders(do func(dir *os.File, name string, st *unix.Stat_t) error) error {
	return f.inside(func(root *os.File) error {
		dir, err := f.openFolder(root, "", allLinks)
		if err != nil {
			return err
		}
		defer dir.Close() //nolint:errcheck // nothing is written to it
		entries, err := dir.Readdirnames(-1)
		if err != nil {
			return err
		}
		for _, entry := range append([]string{"."}, entries...) {
			if entry != "." && foreign("", entry) {
				continue
			}
			st, err := f.statIn(dir, entry, true)
			if err != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR {
				continue // that is said when it is used
			}
			if err := do(dir, entry, &st); err != nil {
				return err
			}
		}
		return nil
	})
}

// Writable reports whether objects can be made in the folder and its subfolders, as
// far as can be told without making one.
func (f *Store) Writable(ctx context.Context) error {
	err := f.subfolders(func(dir *os.File, name string, _ *unix.Stat_t) error {
		// AT_EACCESS is about the rights that the owner has, not root.
		err := unix.Faccessat(int(dir.Fd()), name, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
		if err := errors.Join(ctx.Err(), err); err != nil {
			return f.notWritable(filepath.Join(f.root, name), err)
		}
		return nil
	})
	if err != nil {
		return f.explainRead("look at "+f.root, err)
	}
	return nil
}

// Exposed names what others than the owner of the repository can exchange in it.
func (f *Store) Exposed(ctx context.Context) ([]string, error) {
	var found []string
	err := f.subfolders(func(_ *os.File, name string, st *unix.Stat_t) error {
		path := filepath.Join(f.root, name)
		switch uid := int(st.Uid); {
		case st.Mode&0o002 != 0:
			found = append(found, fmt.Sprintf("folder %s can be written to by every user (mode %04o)", path, st.Mode&0o7777))
		case st.Mode&0o020 != 0:
			found = append(found, fmt.Sprintf("folder %s can be written to by group %d (mode %04o)", path, st.Gid,
				st.Mode&0o7777))
		case uid != f.owner.UID && uid != 0:
			found = append(found, fmt.Sprintf("folder %s belongs to another user, %d, than the repository, %d", path, uid,
				f.owner.UID))
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, f.explainRead("look at "+f.root, err)
	}
	return found, nil
}

// Empty reports whether the folder holds nothing but what belongs to the system.
func (f *Store) Empty(ctx context.Context) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	empty := true
	err := f.inside(func(root *os.File) error {
		dir, err := f.openFolder(root, "", allLinks)
		if err != nil {
			return err
		}
		defer dir.Close() //nolint:errcheck // nothing is written to it
		entries, err := dir.Readdirnames(-1)
		for _, entry := range entries {
			empty = empty && (foreign("", entry) || strings.HasPrefix(entry, tempPrefix))
		}
		return err
	})
	if err != nil {
		return false, f.explainRead("list "+f.root, err)
	}
	return empty, nil
}

// Capabilities are those of a local folder: an object can always be replaced and removed.
func (f *Store) Capabilities(ctx context.Context) (store.Capabilities, error) {
	space, err := f.Space(ctx)
	if err != nil {
		return store.Capabilities{}, err
	}
	return store.Capabilities{Lock: store.LockFlock, FreeSpace: space.Known}, nil
}

// Space asks the file system.
func (f *Store) Space(ctx context.Context) (store.Space, error) {
	if err := ctx.Err(); err != nil {
		return store.Space{}, err
	}
	return f.space()
}

func (f *Store) space() (store.Space, error) {
	s, err := disk.SpaceOf(f.root)
	if err != nil {
		return store.Space{}, err
	}
	return store.Space{Free: s.Free, Total: s.Total, Known: true}, nil
}

// explain gives an error of writing its operation and what a person needs to know.
func (f *Store) explain(op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		space, spaceErr := f.space()
		space.Known = space.Known && spaceErr == nil
		return fmt.Errorf("%s: %w", op, &store.NoSpaceError{Where: f.root, Space: space, Err: cause(err)})
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s: %w", op, f.notWritable(f.root, err))
	}
	return fmt.Errorf("%s: %w", op, &store.WriteError{Err: cause(err)})
}

// notWritable is the error for a folder that cannot be written to.
func (f *Store) notWritable(folder string, err error) error {
	return f.withRights(fmt.Errorf("folder %s is not writable: %w", folder, cause(err)))
}

// explainRead gives an error of reading its operation.
func (f *Store) explainRead(op string, err error) error {
	return f.withRights(fmt.Errorf("%s: %w", op, cause(err)))
}

// withRights adds advice to an error if the owner of the repository lacks rights in
// it, whose rights those of root are here.
func (f *Store) withRights(err error) error {
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, fsuser.ErrProcess) || !f.owner.Other() ||
		len(hint.Attached(err)) > 0 {
		return err
	}
	return hint.Wrap(err, hint.Textf(
		"give all that is in the repository to its owner, with whose rights mbk works in it: chown -R %d:%d %s",
		f.owner.UID, f.owner.GID, f.root))
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
