package sftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/sync/errgroup"

	"mbk/internal/repo/store"
)

const (
	// maxDepth bounds how deep List looks into folders.
	maxDepth = 8

	// folders is how many of them are read at a time.
	folders = 16

	// maxListed bounds a listing.
	maxListed = 5_000_000

	// orphanAge is how long nobody may have written to a temporary file before it counts as
	// left behind. Whoever writes into backups/ has the lock of the repository, and other
	// objects are small.
	orphanAge = 15 * time.Minute
)

// List lists the files below the folder.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Object, error) {
	all, err := again(ctx, s.link, func(c *session) ([]entry, error) { return s.walk(ctx, c, prefix) })
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", s, err)
	}
	objects := make([]store.Object, 0, len(all))
	for _, e := range all {
		if !strings.HasPrefix(path.Base(e.name), tempPrefix) {
			objects = append(objects, store.Object{Name: e.name, Size: e.size, Modified: e.modified, Err: e.err})
		}
	}
	slices.SortFunc(objects, func(a, b store.Object) int { return cmp.Compare(a.Name, b.Name) })
	return objects, nil
}

// entry is a file, or a folder that cannot be read.
type entry struct {
	name     string
	size     int64
	modified time.Time
	err      error
}

// walker goes through folders.
type walker struct {
	store   *Store
	session *session
	prefix  string
	group   *errgroup.Group

	mu    sync.Mutex
	found []entry
}

// walk finds all files whose names begin with prefix; for a temporary file that is the name
// of the object that it would have become.
func (s *Store) walk(ctx context.Context, c *session, prefix string) ([]entry, error) {
	start := strings.TrimSuffix(prefix[:strings.LastIndex(prefix, "/")+1], "/")
	if start != "" {
		if err := store.CheckName(start); err != nil {
			return nil, err
		}
	}
	err := s.checkFolders(ctx, c, start, true)
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	w := &walker{store: s, session: c, prefix: prefix}
	w.group, ctx = errgroup.WithContext(ctx)
	w.group.SetLimit(folders)
	depth := 0
	if start != "" {
		depth = 1 + strings.Count(start, "/")
	}
	err = w.folder(ctx, start, depth, true)
	if err = errors.Join(err, w.group.Wait()); err != nil {
		return nil, err
	}
	return w.found, nil
}

// folder reads one folder, and has those in it read.
func (w *walker) folder(ctx context.Context, folder string, depth int, start bool) error {
	entries, err := readDir(ctx, w.session, w.store.path(folder))
	switch {
	case isGone(err): // removed meanwhile
		return nil
	case err != nil && !start && !isLost(err) && ctx.Err() == nil:
		return w.add(entry{name: folder, err: fmt.Errorf("list %s: %w", folder, err)})
	case err != nil:
		return err
	}
	for _, e := range entries {
		name := path.Join(folder, e.Name())
		if foreign(folder, e.Name()) || !strings.HasPrefix(path.Join(folder, objectOf(e.Name())), w.prefix) {
			continue
		}
		switch {
		case e.Mode().IsRegular():
			err = w.add(entry{name: name, size: e.Size(), modified: e.ModTime().UTC()})
		case e.IsDir() && depth < maxDepth:
			look := func() error { return w.folder(ctx, name, depth+1, false) }
			if !w.group.TryGo(look) {
				err = look()
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// add notes what was found.
func (w *walker) add(e entry) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.found) >= maxListed {
		return fmt.Errorf("more than %d files", maxListed)
	}
	w.found = append(w.found, e)
	return nil
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

// Delete removes the object's file and the folders that it leaves empty, and nothing
// through a symbolic link.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	_, err := again(ctx, s.link, func(c *session) (struct{}, error) { return struct{}{}, s.remove(ctx, c, name) })
	switch {
	case err == nil || isGone(err) && !errors.Is(err, store.ErrThroughLink):
		return nil
	case errors.Is(err, store.ErrThroughLink), errors.Is(err, fs.ErrPermission), isLost(err), ctx.Err() != nil:
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return fmt.Errorf("delete %s: %w", name, &store.WriteError{Err: err})
}

// remove removes a file and the folders that it leaves empty.
func (s *Store) remove(ctx context.Context, c *session, name string) error {
	if err := s.checkFolders(ctx, c, path.Dir(name), true); err != nil {
		return err
	}
	if err := do(ctx, c, dataLimit, func(client *sftp.Client) error { return client.Remove(s.path(name)) }); err != nil {
		return err
	}
	if last := s.removeEmpty(ctx, c, path.Dir(name)); last != "" {
		return s.syncFolder(ctx, c, last)
	}
	return nil
}

// removeEmpty removes a folder and those above it as far as they are empty, and returns the
// last one that stays.
func (s *Store) removeEmpty(ctx context.Context, c *session, folder string) string {
	for ; folder != "."; folder = path.Dir(folder) {
		err := do(ctx, c, dataLimit, func(client *sftp.Client) error { return client.RemoveDirectory(s.path(folder)) })
		if err != nil && !isGone(err) {
			return folder // it has something in it, or cannot be removed
		}
		c.know(folder, false)
	}
	return folder
}

// SweepTemp removes temporary files to which nobody has written for orphanAge by the clock
// of the server.
func (s *Store) SweepTemp(ctx context.Context, prefix string) ([]string, error) {
	all, err := again(ctx, s.link, func(c *session) ([]entry, error) { return s.walk(ctx, c, prefix) })
	if err != nil {
		return nil, fmt.Errorf("sweep %s: %w", s, err)
	}
	all = slices.DeleteFunc(all, func(e entry) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return e.err != nil || !strings.HasPrefix(path.Base(e.name), tempPrefix) || s.temps[e.name]
	})
	if len(all) == 0 {
		return nil, nil
	}
	var swept []string
	_, err = again(ctx, s.link, func(c *session) (struct{}, error) {
		now, err := s.clock(ctx, c)
		if err != nil {
			return struct{}{}, err
		}
		var failed []error
		for _, e := range all {
			if now.Sub(e.modified) < orphanAge {
				continue
			}
			switch err := s.remove(ctx, c, e.name); {
			case err == nil:
				swept = append(swept, path.Join(path.Dir(e.name), objectOf(path.Base(e.name))))
			case isLost(err):
				return struct{}{}, err
			case !isGone(err):
				failed = append(failed, fmt.Errorf("sweep %s: %w", e.name, err))
			}
		}
		return struct{}{}, errors.Join(failed...)
	})
	slices.Sort(swept)
	return swept, err
}

// clock returns the time at the server, as its file system stamps a new file.
func (s *Store) clock(ctx context.Context, c *session) (time.Time, error) {
	name := s.path(tempPrefix + random() + ".clock")
	info, err := ask(ctx, c, dataLimit, func(client *sftp.Client) (fs.FileInfo, error) {
		file, err := client.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err != nil {
			return nil, err
		}
		info, err := file.Stat()
		return info, errors.Join(err, file.Close(), client.Remove(name))
	})
	if err != nil {
		return time.Time{}, s.explain(ctx, c, "sweep "+s.String(), err)
	}
	return info.ModTime(), nil
}
