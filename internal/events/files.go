package events

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/fault"
	"mbk/internal/hint"
)

// files searches the files of a server's log.
func (s *search) files(ctx context.Context) error {
	names := s.o.Log.Names
	for i, name := range names {
		if i+1 < len(names) && !s.o.From.IsZero() {
			// What is in a file was committed before the next one was begun.
			if next, err := s.begins(names[i+1]); err == nil && next.Before(s.o.From) {
				continue
			}
		}
		if begins, err := s.begins(name); err == nil && s.after(begins) {
			return nil
		}
		err := s.file(ctx, name, i == len(names)-1)
		if errors.Is(err, fs.ErrNotExist) {
			s.warn("%s is in the index, and not in the folder", name)
			continue
		}
		if err != nil {
			return &fileError{path: filepath.Join(s.o.Log.Dir, name), err: err}
		}
	}
	return nil
}

// begins returns when a file was begun.
func (s *search) begins(name string) (time.Time, error) {
	f, err := s.o.Log.Open(name)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	event, err := binlog.NewReader(f, binlog.MaxEvent).Next()
	if err != nil {
		return time.Time{}, err
	}
	h, err := binlog.ParseHeader(event)
	return h.When(), err
}

// file searches one file. The last one may be written meanwhile.
func (s *search) file(ctx context.Context, name string, last bool) error {
	f, err := s.o.Log.Open(name)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	var c binlog.Cutter
	var position int64
	err = c.Scan(ctx, f, binlog.MaxEvent, func(e binlog.Event) error {
		if e.Part == binlog.Opening {
			position = e.Offset
		}
		begin, _ := c.Begun()
		return s.take(e.Bytes, e.Part, begin, name, position)
	})
	if torn, ok := errors.AsType[*binlog.TornError](err); ok && torn.InUse {
		if !last { // the server has crashed while it wrote it
			s.warn("%s ends at byte %d: %s", name, torn.Offset, torn.Reason)
		}
		return nil
	}
	return err
}

// fileError is an error about a file of a binary log.
type fileError struct {
	path string
	err  error
}

// Error names the file.
func (e *fileError) Error() string { return e.path + ": " + e.err.Error() }

// Unwrap returns what is wrong with it.
func (e *fileError) Unwrap() error { return e.err }

// Fault says that it is damaged, if it is.
func (e *fileError) Fault() fault.Kind {
	if errors.Is(e.err, binlog.ErrDamaged) {
		return fault.Damage
	}
	return fault.Of(e.err)
}

// Hints says how to go on.
func (e *fileError) Hints() []hint.Text {
	if errors.Is(e.err, binlog.ErrDamaged) {
		return []hint.Text{"what is before and after it can be searched: leave the file out of a copy of the index, " +
			"and name that index"}
	}
	return nil
}
