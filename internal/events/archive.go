package events

import (
	"context"
	"errors"
	"io/fs"
	"sort"

	"mbk/internal/binlog"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
)

// ErrNoArchive is returned by Find for a repository without an archive.
var ErrNoArchive = fault.New(fault.Config, "there is no archive of binary logs")

// archive searches the archive of the repository, one timeline after the other.
func (s *search) archive(ctx context.Context) error {
	all, err := s.o.Repository.Timelines(ctx)
	if err == nil && len(all) == 0 {
		err = hint.Wrap(ErrNoArchive, `"mbk archive" makes one; `+hint.Option("binlog-dir")+
			" DIR searches the server's own log")
	}
	if err != nil {
		return err
	}
	for i := range all {
		t := &all[i]
		if t.Err != nil {
			s.warn("timeline %s cannot be read: %v", t.ID, t.Err)
			continue
		}
		if missing := t.Missing(); missing != "" {
			s.warn("a gap: %s", missing)
		}
		if err := s.timeline(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

// timeline searches the segments of a timeline.
func (s *search) timeline(ctx context.Context, t *repo.StoredTimeline) error {
	// Nothing was committed after it was stored.
	var failed error
	first := sort.Search(len(t.Segments), func(i int) bool {
		head, err := s.o.Repository.Segment(ctx, t.ID, t.Segments[i].Number)
		if err != nil {
			failed = err
			return true
		}
		return !head.Written.Before(s.o.From)
	})
	if failed != nil && fault.Of(failed) != fault.Damage && !errors.Is(failed, fs.ErrNotExist) {
		return failed
	}
	if failed != nil {
		first = 0 // the damage is met again, where it is
	}
	var before *repo.Segment
	for _, stored := range t.Segments[first:] {
		head, err := s.o.Repository.Segment(ctx, t.ID, stored.Number)
		if errors.Is(err, fs.ErrNotExist) {
			err = repo.MissingSegment(t.ID, stored.Number)
		}
		switch {
		case err != nil || before == nil:
		case head.Number != before.Number+1:
			err = repo.MissingSegment(t.ID, before.Number+1)
		default:
			err = head.Follows(before)
		}
		if err != nil {
			return err
		}
		if s.after(head.First) {
			return nil
		}
		before = head
		if head.Last.Before(s.o.From) || !s.o.To.IsZero() && !head.First.Before(s.o.To) {
			continue
		}
		err = s.o.Repository.ScanSegment(ctx, head, func(event []byte, part binlog.Part, c *binlog.Cutter) error {
			begin, _ := c.Begun()
			return s.take(event, part, begin, head.Name(), 0)
		})
		if err != nil {
			return err
		}
		if s.result.More {
			return repo.ErrStop
		}
	}
	return nil
}
