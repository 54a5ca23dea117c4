package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"mbk/internal/filename"
	"mbk/repo"
)

// final is the state of the data directory that the backup will restore: which
// copy stands for which path. It is made under BLOCK_DDL, when names no longer
// change, and corrected under BLOCK_COMMIT for what DDL does not protect.
type final struct {
	databases []string
	files     map[string]*placed // by path below the data directory
}

// placed is a copy under its final name.
type placed struct {
	entry entry
	held  *held
	late  bool // copied under the lock, so its stat must still be the file's at the end
}

// settle finds the copy that stands for every file of a scan and copies what
// has none. It waits until these copies are complete.
func (c *copies) settle(ctx context.Context, s scan) (*final, error) {
	f := &final{databases: s.databases, files: make(map[string]*placed, len(s.entries))}
	for _, e := range s.entries {
		if err := c.place(ctx, f, e); err != nil {
			return nil, err
		}
	}
	return f, f.waitLate(ctx)
}

// place puts one file of a scan into the final state.
func (c *copies) place(ctx context.Context, f *final, e entry) error {
	if c.foreign(e) {
		return nil
	}
	now, err := statPath(filepath.Join(c.layout.datadir, filepath.FromSlash(e.path())))
	if errors.Is(err, fs.ErrNotExist) {
		return vanished(e)
	}
	if err != nil {
		return err
	}
	h, ok := c.holds(e, now)
	if ok {
		f.files[e.path()] = &placed{entry: e, held: h}
		return nil
	}
	if h != nil && e.logTable() && now.size > h.size {
		f.files[e.path()] = &placed{entry: e, held: h, late: true}
		return c.extend(ctx, h, now.size)
	}
	if err := c.descriptors.Acquire(ctx, 1); err != nil {
		return err
	}
	g, found, err := c.grab(e)
	if err != nil {
		return err
	}
	if !found {
		return vanished(e)
	}
	if h, err = c.submit(ctx, g); err != nil {
		return fmt.Errorf("copy %s: %w", e.path(), err)
	}
	f.files[e.path()] = &placed{entry: e, held: h, late: true}
	return nil
}

// extend copies what a log table has grown by since it was copied, however large
// it is: the server only ever appends to it.
func (c *copies) extend(ctx context.Context, h *held, size int64) error {
	path := filepath.Join(c.layout.datadir, filepath.FromSlash(h.entry.path()))
	if err := c.copyRange(ctx, h, path, h.size, size); err != nil {
		return err
	}
	h.size = size
	return nil
}

// vanished decides what it means that a file is gone that a scan has just
// listed. An ALTER in its copy phase goes on under BLOCK_DDL and may give up, and
// InnoDB drops full-text tables in the background. Nothing else may vanish.
func vanished(e entry) error {
	if filename.Temporary(e.name) || filename.FullText(e.name) {
		return nil
	}
	return fmt.Errorf("%s vanished although BACKUP STAGE BLOCK_DDL was held", e.path())
}

// waitLate waits for the copies that were made under the lock.
func (f *final) waitLate(ctx context.Context) error {
	for path, p := range f.files {
		if !p.late {
			continue
		}
		if err := p.held.done(ctx); err != nil {
			return fmt.Errorf("copy %s: %w", path, err)
		}
	}
	return nil
}

// unprotected says whether a file may still change under BLOCK_DDL in a way that
// the logs do not make up for: the tables of the server itself, and Aria's, whose
// writes go on until BLOCK_COMMIT.
func (p *placed) unprotected() bool {
	return p.entry.aria() || p.held.class == repo.ClassPlain && p.entry.dir == "mysql"
}

// resettle brings the final state up to date under BLOCK_COMMIT: InnoDB files of
// an ALTER that runs on, and tables that only BLOCK_COMMIT protects.
func (c *copies) resettle(ctx context.Context, f *final, s scan) error {
	seen := make(map[string]bool, len(s.entries))
	for _, e := range s.entries {
		path := e.path()
		seen[path] = true
		p, known := f.files[path]
		moving := filename.Temporary(e.name) || filename.FullText(e.name)
		if known && !moving && !p.unprotected() {
			continue
		}
		if !known && !moving && !e.innodb() && e.dir != "mysql" {
			return fmt.Errorf("%s appeared although BACKUP STAGE BLOCK_DDL was held", path)
		}
		delete(f.files, path)
		if err := c.place(ctx, f, e); err != nil {
			return err
		}
	}
	for path, p := range f.files {
		if seen[path] {
			continue
		}
		if err := vanished(p.entry); err != nil {
			return err
		}
		delete(f.files, path)
	}
	return f.waitLate(ctx)
}

// confirm checks that what was copied under the lock did not change meanwhile.
func (f *final) confirm(datadir string) error {
	for path, p := range f.files {
		if !p.late || p.held.class != repo.ClassPlain || p.entry.logTable() {
			continue
		}
		now, err := statPath(filepath.Join(datadir, filepath.FromSlash(path)))
		if err != nil {
			return fmt.Errorf("check %s at the end: %w", path, err)
		}
		was := p.held.stat
		if now.id != was.id || now.size != was.size || !now.modified.Equal(was.modified) {
			return fmt.Errorf("%s changed while it was copied, although BACKUP STAGE BLOCK_COMMIT was held", path)
		}
	}
	return nil
}
