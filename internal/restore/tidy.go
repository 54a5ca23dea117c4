package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
)

// tidy makes a server on the recovered files drop what its dictionary knows and should
// not: what a filter left out, and the tables that an ALTER TABLE had not finished.
// Recovery drops these, but for servers of 10.6, which leave that to a log of DDL
// that is in no backup. One that cannot be dropped is a warning: it is in nobody's way.
func (e engine) tidy(ctx context.Context, m *repo.Manifest, meter *meter) (warnings []string, err error) {
	orphans, err := fsuser.Value(e.owner.user(), e.intermediate)
	if err != nil {
		return nil, err
	}
	known := slices.ContainsFunc(orphans, func(name string) bool { return path.Ext(name) == ".ibd" })
	if m.Filter == nil && !known {
		return nil, e.owner.user().Do(func() error { return e.remove(orphans) })
	}
	meter.begin(PhaseTidy, 0)
	// Names are those of the dictionary. A server that folds names would look for
	// "#p#" where the file of a partition has "#P#", and not find old tables whose
	// names have upper-case letters.
	s, err := e.serve(ctx, "--lower-case-table-names=0")
	if err != nil {
		return nil, err
	}
	defer s.close()
	if m.Filter != nil {
		if err := s.dropLeftOut(ctx, e, m); err != nil {
			return nil, s.blame(fmt.Errorf("drop what was left out: %w", err))
		}
	}
	undropped := s.dropIntermediate(ctx)
	if err := s.stop(ctx); err != nil {
		return nil, err
	}
	meter.end()
	if undropped != nil {
		return []string{fmt.Sprintf("what an unfinished ALTER TABLE left stays: %v", undropped)}, nil
	}
	return nil, e.owner.user().Do(func() error { return e.remove(orphans) })
}

// intermediate lists the files of tables that an ALTER TABLE was making, by their
// paths in the data directory.
func (e engine) intermediate() ([]string, error) {
	root, err := os.OpenRoot(e.data)
	if err != nil {
		return nil, fmt.Errorf("look for intermediate tables: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	files, err := fs.Glob(root.FS(), "*/#sql*")
	if err != nil {
		return nil, fmt.Errorf("look for intermediate tables: %w", err)
	}
	return files, nil
}

// dropIntermediate drops such tables.
func (s *served) dropIntermediate(ctx context.Context) error {
	d, err := s.server.Dropper(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	return dropTables(ctx, d, func() (map[string][]string, error) {
		return s.tables(ctx, func(_, name string) bool { return filename.Temporary(name) })
	})
}

// remove deletes files of which the server knows nothing, as far as it has not done
// that itself.
func (e engine) remove(files []string) error {
	root, err := os.OpenRoot(e.data)
	if err != nil {
		return fmt.Errorf("remove orphans: %w", err)
	}
	defer root.Close() //nolint:errcheck // nothing is written through it
	for _, name := range files {
		if err := root.Remove(filepath.FromSlash(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove orphans: %w", err)
		}
	}
	return nil
}
