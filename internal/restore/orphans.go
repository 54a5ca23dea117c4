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
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
	"mbk/internal/ui/meter"
	"mbk/stage"
)

// orphans makes a server on the recovered files drop what its dictionary knows and should
// not: what a filter left out, and the tables that an ALTER TABLE had not finished.
// Recovery drops the latter, except in 10.6, which leaves that to a log of DDL that is in
// no backup.
type orphans struct {
	instance mariadbd.Instance
	m        *repo.Manifest
	server   *mariadbd.Server // nil unless drop needs one
}

// drop drops them. What an ALTER TABLE left and cannot be dropped is a warning: it is in
// nobody's way.
func (o *orphans) drop(ctx context.Context, meter *meter.Meter) (warnings []string, err error) {
	files, err := fsuser.Value(o.instance.Owner, o.intermediate)
	if err != nil {
		return nil, err
	}
	known := slices.ContainsFunc(files, func(name string) bool { return path.Ext(name) == ".ibd" })
	if o.m.Filter == nil && !known {
		return nil, o.instance.Owner.Do(func() error { return o.remove(files) })
	}
	meter.Begin(PhaseDrop, 0)
	// Names are those of the dictionary. A server that folds names would look for
	// "#p#" where the file of a partition has "#P#", and not find old tables whose
	// names have upper-case letters.
	if o.server, err = o.instance.Serve(ctx, "--lower-case-table-names=0"); err != nil {
		return nil, err
	}
	defer o.server.Close()
	if o.m.Filter != nil {
		if err := o.dropLeftOut(ctx); err != nil {
			return nil, o.server.Blame(fmt.Errorf("drop what was left out: %w", err))
		}
	}
	undropped := o.dropIntermediate(ctx)
	if err := o.server.Stop(ctx); err != nil {
		return nil, err
	}
	meter.End()
	if undropped != nil {
		return []string{fmt.Sprintf("what an unfinished ALTER TABLE left stays: %v", undropped)}, nil
	}
	return nil, o.instance.Owner.Do(func() error { return o.remove(files) })
}

// intermediate lists the files of tables that an ALTER TABLE was making, by their
// paths in the data directory.
func (o *orphans) intermediate() ([]string, error) {
	root, err := os.OpenRoot(o.instance.Data)
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
func (o *orphans) dropIntermediate(ctx context.Context) error {
	d, err := o.server.SQL.Dropper(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	return dropTables(ctx, d, func() (map[string][]string, error) {
		return o.tables(ctx, func(_, name string) bool { return filename.Temporary(name) })
	})
}

// remove deletes files of which the server knows nothing, as far as it has not done
// that itself.
func (o *orphans) remove(files []string) error {
	root, err := os.OpenRoot(o.instance.Data)
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

// dropLeftOut drops databases and tables that the manifest does not hold.
func (o *orphans) dropLeftOut(ctx context.Context) error {
	d, err := o.server.SQL.Dropper(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	kept, holds := selection(o.m), map[string]bool{}
	for _, dir := range o.m.Directories {
		holds[dir.Name] = true
	}
	list, err := o.server.SQL.InnoDBTables(ctx)
	if err != nil {
		return err
	}
	// A database takes all of its tables with it.
	gone := slices.DeleteFunc(slices.Clone(o.m.Filter.LeftOut),
		filename.Uncoded) // folders in which the server makes nothing
	for _, t := range list {
		dir, _ := path.Split(t.Name)
		gone = append(gone, filename.SQL(path.Clean(dir)))
	}
	slices.Sort(gone)
	for _, name := range slices.Compact(gone) {
		if holds[name] {
			continue
		}
		if err := o.makeFolder(name); err != nil {
			return err
		}
		if err := d.DropDatabase(ctx, name); err != nil {
			return err
		}
	}
	// A table takes along the hidden ones of its full-text indexes; but not those of
	// an index that a server of 10.5 was just making.
	left := func() (map[string][]string, error) { return o.leftOut(ctx, kept) }
	strays := func() (map[string][]string, error) { return o.strays(ctx) }
	for _, find := range []func() (map[string][]string, error){left, strays} {
		if err := dropTables(ctx, d, find); err != nil {
			return err
		}
	}
	// What the server did not drop would stay forever.
	for _, find := range []func() (map[string][]string, error){left, strays} {
		found, err := find()
		if err != nil {
			return err
		}
		for database, names := range found {
			return fmt.Errorf("InnoDB's dictionary still has %s.%s", database, names[0])
		}
	}
	if !holds["mysql"] {
		return nil
	}
	return d.DropStatistics(ctx, func(database, table string) bool {
		return kept(database, table) || kept(database, filename.Base(table))
	})
}

// makeFolder makes the folder of a database which the server drops only if that is
// there, and which it makes nothing by the name of.
func (o *orphans) makeFolder(database string) error {
	if !filename.Uncoded(database) {
		return nil
	}
	return o.instance.Owner.Do(func() error {
		root, err := os.OpenRoot(o.instance.Data)
		if err != nil {
			return err
		}
		defer root.Close() //nolint:errcheck // nothing is written to it
		const mode = 0o700
		if err := root.Mkdir(filename.Encode(database), mode); !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	})
}

// tables are those of InnoDB's dictionary that are wanted, by their names on disk: the
// result has the names that SQL knows, under those of their databases.
func (o *orphans) tables(ctx context.Context, wanted func(dir, name string) bool) (map[string][]string, error) {
	list, err := o.server.SQL.InnoDBTables(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string][]string{}
	for _, t := range list {
		dir, name := path.Split(t.Name)
		if wanted(dir, name) {
			database := filename.SQL(path.Clean(dir))
			found[database] = append(found[database], filename.SQL(name))
		}
	}
	return found, nil
}

// leftOut are the tables of InnoDB's dictionary that are not kept: each partition for
// itself, as there are no definitions. Hidden tables of full-text indexes are not
// among them: they go with their table. What an ALTER left is dropped for itself.
func (o *orphans) leftOut(ctx context.Context, kept func(database, table string) bool) (map[string][]string, error) {
	return o.tables(ctx, func(dir, name string) bool {
		return !filename.FullText(name) && !filename.Temporary(name) &&
			!kept(filename.SQL(path.Clean(dir)), filename.SQL(filename.Base(name)))
	})
}

// dropTables drops tables.
func dropTables(ctx context.Context, d *stage.Dropper, find func() (map[string][]string, error)) error {
	const atOnce = 100
	found, err := find()
	if err != nil {
		return err
	}
	for database, names := range found {
		for some := range slices.Chunk(names, atOnce) {
			if err := d.DropTables(ctx, database, some); err != nil {
				return err
			}
		}
	}
	return nil
}

// strays are hidden tables of full-text indexes that have no file.
func (o *orphans) strays(ctx context.Context) (map[string][]string, error) {
	return o.tables(ctx, func(dir, name string) bool {
		if !filename.FullText(name) {
			return false
		}
		_, err := os.Lstat(filepath.Join(o.instance.Data, filepath.FromSlash(dir+name)+".ibd"))
		return errors.Is(err, fs.ErrNotExist)
	})
}
