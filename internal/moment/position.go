package moment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
)

// AmbiguousError is returned by Resolve and Find for a place in the server's files that is in the
// archive more than once: file names begin again after RESET MASTER, and each server has its own.
type AmbiguousError struct {
	Moment     Moment
	Candidates []Candidate
}

// Candidate is a place in the archive that may be meant.
type Candidate struct {
	Timeline string
	ServerID uint32
	Moment   Moment      // the same without a file
	GTID     binlog.GTID // the transaction that it is next to
	Time     time.Time   // of that
}

// String describes the candidate.
func (c Candidate) String() string {
	return fmt.Sprintf("%s of %s on server %d in the timeline %s", c.name(), c.Time.Format(time.RFC3339), c.ServerID,
		c.Timeline)
}

// name is the moment as it is named without a file.
func (c Candidate) name() string {
	if c.Moment.kind == kindBefore {
		return "before-gtid:" + c.GTID.String()
	}
	return "gtid:" + c.GTID.String()
}

// Error lists the candidates.
func (e *AmbiguousError) Error() string {
	list := make([]string, len(e.Candidates))
	for i, c := range e.Candidates {
		list[i] = c.String()
	}
	return fmt.Sprintf("%q is in the log more than once: %s", e.Moment, strings.Join(list, "; "))
}

// Fault says that the moment has to be named otherwise.
func (e *AmbiguousError) Fault() fault.Kind { return fault.Config }

// Hints says how.
func (e *AmbiguousError) Hints() []hint.Text {
	return []hint.Text{"name the transaction, and the id of the backup from which it is to be reached"}
}

// insideError is returned for an offset within a transaction.
type insideError struct {
	m          Moment
	gtid       binlog.GTID
	begin, end int64
}

// Error says in which.
func (e *insideError) Error() string {
	return fmt.Sprintf("%q is within the transaction %s, which reaches from %d to %d", e.m, e.gtid, e.begin, e.end)
}

// Fault says that the moment has to be named otherwise.
func (e *insideError) Fault() fault.Kind { return fault.Config }

// Hints says how.
func (e *insideError) Hints() []hint.Text {
	return []hint.Text{hint.Textf("name before-gtid:%s or gtid:%s", e.gtid, e.gtid)}
}

// Resolve returns a moment that names a file as the same one by its transaction, and any other
// as it is. Errors: *UnreachableError if it is not in the archive, *AmbiguousError if it is there more
// than once; damage of segments that are needed; repo.Concealed if an identity is needed.
func Resolve(ctx context.Context, log Log, m Moment) (Moment, error) {
	if m.kind != kindPosition {
		return m, nil
	}
	candidates, err := locate(ctx, log, m)
	switch {
	case err != nil:
		return m, err
	case len(candidates) > 1:
		return m, &AmbiguousError{m, candidates}
	}
	return candidates[0].Moment, nil
}

// findOne finds the path to the one of the candidates to which there is one. The error is
// errElsewhere if no timeline contains the end of the backup.
func findOne(ctx context.Context, log Log, all []repo.StoredTimeline, candidates []Candidate,
	from binlog.Position, limit limit,
) (*Path, error) {
	var found *Path
	var reached []Candidate
	var failed error
	for _, c := range candidates {
		p, err := findIn(ctx, log, all, c.Moment, from, limit)
		if err == nil {
			if found != nil && found.Timeline < p.Timeline { // the newest counts, as with any moment
				reached = nil
			}
			found, reached = p, append(reached, c)
			continue
		}
		if !isUnreachable(err) && !errors.Is(err, ErrTooLate) && !errors.Is(err, errElsewhere) {
			return nil, err
		}
		if failed == nil || !errors.Is(err, errElsewhere) {
			failed = err
		}
	}
	switch len(reached) {
	case 0:
		return nil, failed
	case 1:
		return found, nil
	}
	return nil, &AmbiguousError{reached[0].Moment, reached}
}

// locate finds all places in the archive that may be meant; at least one, or there is an error.
func locate(ctx context.Context, log Log, m Moment) ([]Candidate, error) {
	all, err := log.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	l := locating{log: log, m: m}
	l.at.File, _ = binlog.FileNumber(m.file)
	l.at.Offset = m.offset
	for i := range all {
		if err := l.timeline(ctx, &all[i]); err != nil {
			return nil, err
		}
	}
	if len(l.found) == 0 && l.inside != nil {
		return nil, l.inside
	}
	if len(l.found) == 0 {
		e := &UnreachableError{Moment: m, Reason: "there is no such place in the log"}
		if l.last != "" {
			e.Reason += ", which ends with " + l.last
		}
		return nil, e
	}
	return l.found, nil
}

// locating looks for a place in the server's files.
type locating struct {
	log   Log
	m     Moment
	at    repo.LogPlace
	found []Candidate
	last  string // the end of the newest timeline

	inside *insideError // the place is within a transaction
}

// timeline looks into one timeline. Damage of it is no error unless the place may be in there.
func (l *locating) timeline(ctx context.Context, t *repo.StoredTimeline) error {
	if t.Err != nil {
		return nil // no path leads through it
	}
	var before *repo.Segment
	for _, stored := range t.Segments {
		if stored.File != "" && stored.File != l.m.file {
			continue
		}
		s, err := l.log.Segment(ctx, t.ID, stored.Number)
		if errors.Is(err, fs.ErrNotExist) {
			before = nil // it has expired meanwhile
			continue
		}
		if err != nil {
			return err
		}
		if l.within(before, s) {
			if err := l.segment(ctx, s); err != nil {
				return err
			}
		}
		before = s
	}
	if before != nil {
		l.last = fmt.Sprintf("offset %d of the file of number %d", before.LastLog.Offset, before.LastLog.File)
	}
	return nil
}

// within reports whether the place is in a segment, or between the one before and it.
func (l *locating) within(before, s *repo.Segment) bool {
	if l.at.Compare(s.LastLog) > 0 || s.FirstLog.File == 0 {
		return false
	}
	if l.at.Compare(s.FirstLog) >= 0 {
		return true
	}
	// What is between the two is no transaction.
	return before != nil && before.ServerID == s.ServerID && before.Number+1 == s.Number &&
		l.at.Compare(before.LastLog) > 0
}

// segment looks next to which transaction of a segment the place is, if it is that file.
func (l *locating) segment(ctx context.Context, s *repo.Segment) error {
	c := Candidate{Timeline: s.Timeline, ServerID: s.ServerID}
	base := baseOf(l.m.file)
	err := l.log.ScanSegment(ctx, s, func(_ []byte, part binlog.Part, cutter *binlog.Cutter) error {
		if part != binlog.Closing {
			return nil
		}
		place := cutter.Place()
		begin, _ := cutter.Begun()
		number, _ := binlog.FileNumber(place.File)
		if baseOf(place.File) != base {
			return repo.ErrStop
		}
		if l.at.Compare(repo.LogPlace{File: number, Offset: place.End}) >= 0 {
			c.take(l.m, kindGTID, begin)
			return nil
		}
		if l.at.Compare(repo.LogPlace{File: number, Offset: place.Begin}) > 0 {
			l.inside = &insideError{l.m, begin.GTID, place.Begin, place.End}
			c.Moment.text = ""
			return repo.ErrStop
		}
		if c.Moment.text == "" {
			c.take(l.m, kindBefore, begin)
		}
		return repo.ErrStop
	})
	if err == nil && c.Moment.text != "" {
		l.found = append(l.found, c)
	}
	return err
}

// take makes the candidate the moment before or after a transaction.
func (c *Candidate) take(m Moment, k kind, begin binlog.Begin) {
	c.GTID, c.Time = begin.GTID, committed(begin)
	c.Moment = Moment{text: m.text, kind: k, gtids: binlog.Position{c.GTID.Domain: c.GTID}, timeline: c.Timeline}
}

// baseOf returns the name of a file without its number.
func baseOf(file string) string { return file[:max(strings.LastIndexByte(file, '.'), 0)] }
