package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"

	"mbk/internal/binlog"
	"mbk/internal/binlog/logfiles"
	"mbk/internal/repo"
)

// SalvageOptions say what is salvaged.
type SalvageOptions struct {
	Repository *repo.Repository
	Log        *logfiles.Log // of a server that is dead
	Size       int64         // as of Options

	Gap func(ctx context.Context, timeline string, err *GapError) // as of Options

	Tool   string
	Logger *slog.Logger
}

// Salvage adds to the archive what the files of a dead server's binary log have after it: up to
// the last whole event. What an interrupted write has left after that is told as a warning. Errors:
// *GapError, beside the result; binlog.ErrEncrypted; repo.ErrArchived; repo.ErrDamaged.
func Salvage(ctx context.Context, o SalvageOptions) (*Result, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	f := newFollowerOf(ctx, Options{Repository: o.Repository, Every: MaxEvery, Size: o.Size, Once: true, Tool: o.Tool,
		Gap: o.Gap, Logger: o.Logger})
	var err error
	if f.archive, err = o.Repository.OpenArchive(ctx); err != nil {
		return nil, err
	}
	s := &salvage{follower: f, log: o.Log}
	err = s.run(ctx)
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	err = errors.Join(err, f.flush(flushing), f.archive.Close())
	f.alarms.Wait()
	return f.outcome(err)
}

// salvage is one run.
type salvage struct {
	*follower
	log *logfiles.Log
}

// run finds the file in which the archive ends, and takes what follows.
func (s *salvage) run(ctx context.Context) error {
	names, err := s.present()
	if err != nil {
		return err
	}
	if t, _ := s.archive.End(); t == nil {
		return s.begin(ctx, names, repo.ReasonFirst)
	}
	if err := s.resumeAtEnd(); err != nil {
		return err
	}
	first, err := s.fileOf(names)
	if err != nil {
		return err
	}
	if first < 0 {
		return s.begin(ctx, names, repo.ReasonPurged)
	}
	at, err := s.look(ctx, names[first:])
	switch {
	case err != nil:
		return err
	case at == elsewhere:
		return s.begin(ctx, names, repo.ReasonDiverged)
	case at == behind:
		s.warn("the files end before %s, up to which all is archived: there is nothing to salvage in them", s.position)
		return nil
	}
	return s.take(ctx, names[first:], s.position.Clone())
}

// warn tells of something that belongs into the result.
func (s *salvage) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.result.Warnings = append(s.result.Warnings, text)
	s.o.Logger.Warn(text)
}

// present returns the names of the files that are there. The oldest may be missing.
func (s *salvage) present() ([]string, error) {
	names := s.log.Names
	for len(names) > 0 {
		f, err := s.log.Open(names[0])
		if err == nil {
			return names, f.Close()
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		s.warn("%s is in the index, and not in the folder", names[0])
		names = names[1:]
	}
	return nil, fmt.Errorf("%s: %w: none of the files is there", s.log.Dir, logfiles.ErrNone)
}

// begin begins a timeline with the oldest file, and takes all.
func (s *salvage) begin(ctx context.Context, names []string, reason string) error {
	start, err := s.log.Start(names[0])
	if err != nil {
		return err
	}
	s.next = &repo.Timeline{Tool: s.o.Tool, ServerID: s.server, Start: start.String(), Reason: reason}
	s.position, s.last, s.started = start, last{}, 0
	return s.take(ctx, names, start.Clone())
}

// fileOf returns the index of the newest file that begins no later than where the archive ends,
// -1 if all begin after that.
func (s *salvage) fileOf(names []string) (int, error) {
	for i := len(names) - 1; i >= 0; i-- {
		start, err := s.log.Start(names[i])
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, binlog.ErrDamaged) {
			continue // it is met again
		}
		if err != nil {
			return -1, err
		}
		if s.position.Reached(start) {
			return i, nil
		}
	}
	return -1, nil
}

// Where files are, compared with the archive.
const (
	within    = iota // they contain where the archive ends
	behind           // they end before that
	elsewhere        // they are of another history
)

// look finds out whether files contain what the archive ends with.
func (s *salvage) look(ctx context.Context, names []string) (int, error) {
	start, err := s.log.Start(names[0])
	if err != nil {
		return 0, err
	}
	w, server := binlog.NewWalk(s.position, start), s.server
	other := false
	err = s.read(ctx, names, func(event []byte, part binlog.Part, begin binlog.Begin) error {
		if part == binlog.Opening {
			s.hash.Reset()
		}
		s.add(event)
		if part != binlog.Closing {
			return nil
		}
		w.Pass(begin.GTID)
		if begin.GTID == s.last.gtid && s.server == server && s.sum() != s.last.hash {
			other = true // on another server the same transaction does not look the same
		}
		if w.Met() || w.Missed() {
			return repo.ErrStop
		}
		return nil
	})
	s.cutter, s.hash = binlog.Cutter{}, newTransactionHash()
	switch {
	case err != nil && !errors.Is(err, repo.ErrStop):
		return 0, err
	case other, w.Missed():
		return elsewhere, nil
	case !w.Met():
		return behind, nil
	}
	return within, nil
}

// take archives the transactions in files that come after a position.
func (s *salvage) take(ctx context.Context, names []string, from binlog.Position) error {
	start, err := s.log.Start(names[0])
	if err != nil {
		return err
	}
	w := binlog.NewWalk(from, start)
	for i, name := range names {
		if i > 0 {
			gap, err := s.gap(ctx, name)
			if err != nil {
				return err
			}
			if gap {
				w = binlog.NewWalk(s.position, s.position)
			}
		}
		wanted := false
		err := s.file(ctx, name, func(event []byte, part binlog.Part, c *binlog.Cutter) error {
			begin, _ := c.Begun()
			if part == binlog.Opening {
				wanted = w.Pass(begin.GTID)
			}
			if part == binlog.Outside || wanted {
				return s.event(ctx, event)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// gap begins a timeline, and says so, if a file does not go on where the one before ended.
func (s *salvage) gap(ctx context.Context, name string) (bool, error) {
	start, err := s.log.Start(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, binlog.ErrDamaged) {
		return false, nil // it is told when it is read, and the next one shows what is missing
	}
	if err != nil || s.position.Reached(start) {
		return false, err
	}
	if err := s.flush(ctx); err != nil {
		return false, err
	}
	s.next = &repo.Timeline{Tool: s.o.Tool, ServerID: s.server, Start: start.String(), Reason: repo.ReasonLost}
	s.position, s.last = start, last{}
	return true, nil
}

// read reads files without archiving them.
func (s *salvage) read(ctx context.Context, names []string,
	each func(event []byte, part binlog.Part, begin binlog.Begin) error,
) error {
	for _, name := range names {
		warnings, logger := s.result.Warnings, s.o.Logger
		s.o.Logger = slog.New(slog.DiscardHandler) // they are read again
		err := s.file(ctx, name, func(event []byte, part binlog.Part, c *binlog.Cutter) error {
			if part == binlog.Outside {
				return nil
			}
			s.cutter.Format = c.Format
			begin, _ := c.Begun()
			return each(event, part, begin)
		})
		s.result.Warnings, s.o.Logger = warnings, logger
		if err != nil {
			return err
		}
	}
	return nil
}

// file reads one file up to its last whole event that has the right checksum.
func (s *salvage) file(ctx context.Context, name string,
	each func(event []byte, part binlog.Part, c *binlog.Cutter) error,
) error {
	in, err := s.log.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		s.warn("%s is in the index, and not in the folder", name)
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close() //nolint:errcheck // it was only read
	var c binlog.Cutter
	var taken error
	err = c.Scan(ctx, in, binlog.MaxEvent, func(e binlog.Event) error {
		if h, err := binlog.ParseHeader(e.Bytes); err == nil && h.Type == binlog.TypeFormat {
			if taken = s.enter(ctx, h.ServerID, name); taken != nil {
				return taken
			}
		}
		taken = each(e.Bytes, e.Part, &c)
		return taken
	})
	path := filepath.Join(s.log.Dir, name)
	torn, isTorn := errors.AsType[*binlog.TornError](err)
	switch {
	case taken != nil || err == nil || ctx.Err() != nil:
		return err
	case isTorn:
		s.warn("%s is whole up to byte %d only: %v", path, torn.Offset, err)
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}

// enter notes of which server a file is, and its name.
func (s *salvage) enter(ctx context.Context, server uint32, name string) error {
	if s.server != server { // a segment is of one server
		if err := s.flush(ctx); err != nil {
			return err
		}
	}
	s.server = server
	if s.next != nil {
		s.next.ServerID = server
	}
	return s.event(ctx, s.cutter.Format.Rotate(server, name))
}
