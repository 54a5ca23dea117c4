package restore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"mbk/internal/datadir/filename"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// partial is an extracted backup of which tables are left out.
type partial struct {
	data *dataDir
	m    *repo.Manifest
}

// prepare makes the files ready for a recovery without those tables, and returns the
// manifest with the end of the redo log as it is now.
func (p partial) prepare() (*repo.Manifest, error) {
	m := p.m
	if err := p.removeTriggers(); err != nil {
		return nil, fmt.Errorf("leave tables out: %w", err)
	}
	if !readableRedo(m) {
		return m, nil
	}
	end, err := p.deleteSpaces()
	if err != nil {
		return nil, fmt.Errorf("leave tables out: %w", err)
	}
	n := *m
	n.LSN.End = end
	return &n, nil
}

// removeTriggers removes the files that lead from triggers to tables that are left
// out. They are found by their contents only.
func (p partial) removeTriggers() error {
	m := p.m
	kept := selection(m)
	for _, d := range m.Directories {
		for _, f := range m.Files {
			if path.Dir(f.Path) != d.Path || path.Ext(f.Path) != ".TRN" {
				continue
			}
			b, err := p.data.root.ReadFile(f.Path)
			if err != nil {
				return err
			}
			if table, ok := filename.TriggerTable(b); ok && !kept(d.Name, table) {
				if err := p.data.root.Remove(f.Path); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// deleteSpaces continues the redo log so that it deletes the tablespaces that were
// not extracted. It returns where the log ends.
func (p partial) deleteSpaces() (_ innodb.LSN, err error) {
	m := p.m
	f, err := p.data.root.OpenFile(logName, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	journal, err := readJournal(f, m)
	if err != nil {
		return 0, err
	}
	log := innodb.RestoredLog{Format: m.Redo.Format, Crypt: m.Redo.Crypt, Checkpoint: m.Redo.Checkpoint}
	from, to := m.Redo.Stored()
	at := innodb.DataOffset(m.Redo.Format) + int64(to-from) - int64(log.TailSize())
	tail := make([]byte, log.TailSize())
	if _, err := f.ReadAt(tail, at); err != nil {
		return 0, fmt.Errorf("read %s: %w", logName, err)
	}
	more, end, err := log.AppendDeletes(tail, m.Redo.End, missingSpaces(journal, m))
	if err != nil {
		return 0, err
	}
	if _, err := f.WriteAt(more, at); err != nil {
		return 0, err
	}
	// The log may end anywhere, but zeros must follow.
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	size := innodb.RestoredLogSize(at+int64(len(more))-innodb.DataOffset(m.Redo.Format), logSize(m))
	return end, f.Truncate(max(size, info.Size()))
}

// readJournal reads out of an extracted redo log what it tells of tablespaces.
func readJournal(f io.ReaderAt, m *repo.Manifest) (*innodb.Journal, error) {
	c, err := innodb.NewLogChecker(m.Redo.Format, m.Redo.Crypt, m.Redo.Checkpoint)
	if err != nil {
		return nil, err
	}
	from, to := m.Redo.Stored()
	_, err = io.Copy(c, io.NewSectionReader(f, innodb.DataOffset(m.Redo.Format), int64(to-from)))
	if err == nil {
		err = c.Finish(m.Redo.End)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", logName, err)
	}
	return c.Journal(), nil
}

// missingSpaces are the tablespaces that the redo log is about and of which no file
// was extracted.
func missingSpaces(j *innodb.Journal, m *repo.Manifest) []innodb.DeletedSpace {
	spaces, files := map[innodb.SpaceID]bool{}, map[string]bool{}
	for _, f := range m.Files {
		if f.Class != repo.ClassInnoDB {
			continue
		}
		if f.Space != nil {
			spaces[*f.Space] = true
		}
		files[f.Path] = true
	}
	var missing []innodb.DeletedSpace
	for _, h := range j.Spaces() {
		dir, name := path.Split(h.Name)
		if h.Deleted == 0 && !spaces[h.Space] && !files[path.Base(dir)+"/"+name] {
			missing = append(missing, innodb.DeletedSpace{Space: h.Space, Name: h.Name})
		}
	}
	return missing
}

// removeSurplus removes, after recovery, the files that only the redo log needed.
// What is dropped then is as it is where they were never there: a prepared
// transaction holds no lock on a table that has no file.
func (p partial) removeSurplus() error {
	m := p.m
	kept, folders := selection(m), map[string]string{}
	for _, d := range m.Directories {
		folders[d.Path] = d.Name
	}
	for _, f := range m.Files {
		dir, name := path.Dir(f.Path), path.Base(f.Path)
		if f.Class != repo.ClassInnoDB || path.Ext(name) != ".ibd" {
			continue
		}
		database, held := folders[dir]
		table := filename.Base(strings.TrimSuffix(name, ".ibd"))
		if held && (filename.Temporary(name) || filename.FullText(name) || kept(database, filename.SQL(table))) {
			continue
		}
		if err := p.data.root.Remove(f.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("leave tables out: %w", err)
		}
		if !held {
			_ = p.data.root.Remove(dir) // until it is empty
		}
	}
	return nil
}
