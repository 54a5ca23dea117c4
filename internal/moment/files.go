package moment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"

	"mbk/internal/binlog"
	"mbk/internal/binlog/logfiles"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
)

// Files is the log that a server has in files of its own. Each file is a segment, and a timeline
// has the name of its first file: it ends where files are missing. A file that the server writes
// is read up to where it ended when it was looked at first. The methods may be called from several
// goroutines.
type Files struct {
	log       *logfiles.Log
	timelines []repo.StoredTimeline

	mu    sync.Mutex
	files map[string]*file
	warn  []string
}

// file is a file of the log.
type file struct {
	name   string
	start  binlog.Position // at its beginning
	before *file           // the file before it in its timeline, nil if it is the first
	after  *file           // and the one after it; nil if it is the last
	number uint64          // in the timeline
	head   *repo.Segment   // nil: it was not read yet
}

// NewFiles looks at the beginnings of all files, and reads nothing else of them. Errors: binlog.ErrEncrypted,
// those of the files, and damage at their beginnings.
func NewFiles(ctx context.Context, log *logfiles.Log) (*Files, error) {
	f := &Files{log: log, files: map[string]*file{}}
	var last *file
	lost := ""
	for i, name := range log.Names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		start, err := log.Start(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			f.warning("%s is in the index, and not in the folder", name)
			lost, last = name, nil
			continue
		case errors.Is(err, binlog.ErrDamaged) && i == len(log.Names)-1 && i > 0:
			// The server died, or was looked at, as it began the file.
			f.warning("%v: it is left out", err)
			continue
		case err != nil:
			return nil, f.damaged(name, err)
		}
		size, err := log.Size(name)
		if err != nil {
			return nil, err
		}
		last = f.add(repo.StoredSegment{Number: 1, Bytes: size, File: name, Before: start}, last, lost)
		lost = ""
	}
	if len(f.timelines) == 0 {
		return nil, fmt.Errorf("%s: %w: none of the files is there", log.Dir, logfiles.ErrNone)
	}
	return f, nil
}

// Dir returns the folder of the files.
func (f *Files) Dir() string { return f.log.Dir }

// Warnings returns what of the files could not be read, as far as it was met.
func (f *Files) Warnings() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.warn...)
}

// warning notes what cannot be read.
func (f *Files) warning(format string, args ...any) {
	f.warn = append(f.warn, fmt.Sprintf(format, args...))
}

// add adds a file after another one, or as the first of a timeline. lost is the file before it, if
// that is not there.
func (f *Files) add(stored repo.StoredSegment, before *file, lost string) *file {
	if before == nil {
		t := repo.StoredTimeline{Timeline: repo.Timeline{ID: stored.File, Start: stored.Before.String(),
			Reason: repo.ReasonFirst}}
		if n := len(f.timelines); n > 0 && lost != "" {
			t.Reason, t.Previous = repo.ReasonLost, f.timelines[n-1].ID
		}
		f.timelines = append(f.timelines, t)
	} else {
		stored.Number = before.number + 1
	}
	one := &file{name: stored.File, start: stored.Before, before: before, number: stored.Number}
	if before != nil {
		before.after = one
	}
	t := &f.timelines[len(f.timelines)-1]
	t.Segments, t.Bytes = append(t.Segments, stored), t.Bytes+stored.Bytes
	f.files[one.name] = one
	return one
}

// Timelines implements Log.
func (f *Files) Timelines(ctx context.Context) ([]repo.StoredTimeline, error) {
	all := append([]repo.StoredTimeline(nil), f.timelines...)
	for i := range all {
		if i == 0 {
			continue
		}
		before := all[i-1].Segments
		s, err := f.Segment(ctx, all[i-1].ID, before[len(before)-1].Number)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err == nil { // its damage shows where it is needed
			all[i].Reached = s.After
		}
	}
	return all, nil
}

// named returns a file by its place.
func (f *Files) named(timeline string, number uint64) (*file, error) {
	for i := range f.timelines {
		if t := &f.timelines[i]; t.ID == timeline && number > 0 && number <= uint64(len(t.Segments)) {
			return f.files[t.Segments[number-1].File], nil
		}
	}
	return nil, fmt.Errorf("%s has no file %d after %s", f.log.Dir, number, timeline)
}

// Segment implements Log. All of the file is read for it, once. Errors: a *FileError about damage; that of
// the file.
func (f *Files) Segment(ctx context.Context, timeline string, number uint64) (*repo.Segment, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	one, err := f.named(timeline, number)
	if err != nil {
		return nil, err
	}
	return f.head(ctx, timeline, one)
}

// head reads a file, if it was not read.
func (f *Files) head(ctx context.Context, timeline string, one *file) (*repo.Segment, error) {
	if one.head != nil {
		return one.head, nil
	}
	r := headReader{at: one.start.Clone(), last: one.start.Clone()}
	r.head = repo.Segment{Timeline: timeline, Number: one.number, Raw: int64(len(binlog.Magic))}
	err := f.scan(ctx, one.name, binlog.MaxEvent, r.event)
	torn, isTorn := errors.AsType[*binlog.TornError](err)
	switch {
	case err != nil && !isTorn:
		return nil, err
	case one.after != nil && !r.at.Reached(one.after.start):
		reason := fmt.Sprintf("it ends with %s, and %s begins after %s", place(r.at), one.after.name,
			place(one.after.start))
		if isTorn {
			reason += ": " + torn.Error()
		}
		return nil, &FileError{Path: f.path(one.name), Reason: reason}
	case isTorn && !(torn.InUse && one.after == nil):
		f.warning("%s is whole up to byte %d only: %s", f.path(one.name), torn.Offset, torn.Reason)
	}
	s := &r.head
	s.Before, s.BeforeLast, s.After = one.start.String(), r.last.String(), r.at.String()
	if one.after != nil { // domains may have been deleted
		s.After = one.after.start.String()
	}
	s.Bytes, s.LastLog.Offset = s.Raw, s.Raw
	s.LastLog.File, _ = binlog.FileNumber(one.name)
	s.FirstLog = repo.LogPlace{File: s.LastLog.File, Offset: int64(len(binlog.Magic))}
	if s.Transactions == 0 && one.before != nil { // when the last transaction was committed before its end
		before, err := f.head(ctx, timeline, one.before)
		if err != nil {
			return nil, err
		}
		s.First, s.Last, s.BeforeLast = before.Last, before.Last, s.After
	}
	one.head = s
	return s, nil
}

// headReader finds out what a file holds.
type headReader struct {
	head     repo.Segment
	at, last binlog.Position // after the last transaction, and before it
	dropped  bool            // the last one is not whole
}

// event takes the next event.
func (r *headReader) event(e binlog.Event, c *binlog.Cutter) error {
	h, err := binlog.ParseHeader(e.Bytes)
	if err != nil {
		return err
	}
	s, end := &r.head, e.Offset+int64(len(e.Bytes))
	begin, open := c.Begun()
	r.dropped = r.dropped || e.Dropped
	switch {
	case r.dropped && e.Part == binlog.Opening:
		return &binlog.TornError{Offset: s.Raw, Reason: "a transaction is not whole"}
	case h.Type == binlog.TypeIncident:
		return hint.Wrap(fault.New(fault.Config, fmt.Sprintf("at byte %d the server wrote that changes are missing in its "+
			"log", e.Offset)), "moments before this file can be reached; take a backup now for later ones")
	case h.Type == binlog.TypeFormat:
		s.ServerID = h.ServerID
	}
	if !open && !r.dropped {
		s.Raw = end
	}
	if e.Part != binlog.Closing {
		return nil
	}
	when := committed(begin)
	if s.Transactions == 0 || when.Before(s.First) {
		s.First = when
	}
	if s.Last.Before(when) {
		s.Last = when
	}
	s.Transactions++
	r.last = r.at.Clone()
	r.at.Add(begin.GTID)
	return nil
}

// path returns the path of a file.
func (f *Files) path(name string) string { return filepath.Join(f.log.Dir, name) }

// scan reads a file up to a byte, or a torn event. An error of each that is not repo.ErrStop is about the file.
func (f *Files) scan(ctx context.Context, name string, size int64,
	each func(e binlog.Event, c *binlog.Cutter) error,
) error {
	in, err := f.log.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return hint.Wrap(fmt.Errorf("%s is gone: the server has purged it meanwhile", f.path(name)), "try again")
	}
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	var c binlog.Cutter
	c.Enter(name)
	var from io.Reader = in
	if size != binlog.MaxEvent {
		from = io.LimitReader(in, size)
	}
	err = c.Scan(ctx, from, binlog.MaxEvent, func(e binlog.Event) error { return each(e, &c) })
	if _, torn := errors.AsType[*binlog.TornError](err); torn || err == nil || ctx.Err() != nil {
		return err
	}
	return fmt.Errorf("%s: %w", f.path(name), err)
}

// ScanSegment implements Log.
func (f *Files) ScanSegment(ctx context.Context, s *repo.Segment,
	each func(event []byte, part binlog.Part, c *binlog.Cutter) error,
) error {
	one, err := f.named(s.Timeline, s.Number)
	if err != nil {
		return err
	}
	var taken error
	err = f.scan(ctx, one.name, s.Raw, func(e binlog.Event, c *binlog.Cutter) error {
		event := e.Bytes
		if binlog.Type(event[4]) == binlog.TypeFormat {
			event = c.Format.Description(event, c.Format.Created != 0)
		}
		taken = each(event, e.Part, c)
		return taken
	})
	switch {
	case errors.Is(taken, repo.ErrStop):
		return nil
	case taken != nil:
		return taken
	}
	if torn, ok := errors.AsType[*binlog.TornError](err); ok { // it was whole when it was looked at
		return &FileError{Path: f.path(one.name), Reason: torn.Error()}
	}
	return err
}

// FileError is returned for a file of a server's log that is damaged.
type FileError struct {
	Path   string
	Reason string
}

// Error names the file.
func (e *FileError) Error() string { return fmt.Sprintf("%s is damaged: %s", e.Path, e.Reason) }

// Fault says that it is damaged.
func (e *FileError) Fault() fault.Kind { return fault.Damage }

// Hints says how to go on.
func (e *FileError) Hints() []hint.Text {
	return []hint.Text{"moments before this file can be reached, and later ones from a backup that ended after it: " +
		"leave it out of a copy of the index, and name that index; or bring the file back from a copy"}
}

// damaged makes a *FileError of an error about damage.
func (f *Files) damaged(name string, err error) error {
	if !errors.Is(err, binlog.ErrDamaged) {
		return err
	}
	path := f.path(name)
	return &FileError{Path: path, Reason: strings.TrimPrefix(err.Error(), path+": ")}
}
