package moment

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sort"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/fault"
	"mbk/internal/repo"
)

// UnreachableError is returned by Find for a moment to which no timeline leads.
type UnreachableError struct {
	Moment Moment
	From   binlog.Position // of the backup; nil: that does not matter
	Reason string
}

// Error says why.
func (e *UnreachableError) Error() string {
	if e.From == nil {
		return fmt.Sprintf("%q cannot be reached: %s", e.Moment.text, e.Reason)
	}
	return fmt.Sprintf("the log does not lead from %s to %q: %s", place(e.From), e.Moment.text, e.Reason)
}

// Fault says that another moment, or another backup, has to be named.
func (e *UnreachableError) Fault() fault.Kind { return fault.Config }

// place formats a position.
func place(p binlog.Position) string {
	if len(p) == 0 {
		return "the beginning of the log"
	}
	return "GTID " + p.String()
}

// placeOf formats a position of a segment.
func placeOf(position string) string {
	p, _ := binlog.ParsePosition(position) // was validated
	return place(p)
}

// isUnreachable reports whether an error is an UnreachableError.
func isUnreachable(err error) bool {
	_, ok := errors.AsType[*UnreachableError](err)
	return ok
}

// ErrTooLate is the cause of an UnreachableError if the position is after the moment: an older
// backup may lead to it.
var ErrTooLate = errors.New("the moment is before the end of the backup")

// errElsewhere is the cause if the position is not on a timeline.
var errElsewhere = errors.New("on no timeline of the log")

// historyError is an errElsewhere: the GTID is there, but it is not that transaction.
type historyError struct{ reason string }

// Error says why.
func (e *historyError) Error() string {
	return fmt.Sprintf("%v: what has the same GTID %s", errElsewhere, e.reason)
}

// Unwrap returns errElsewhere.
func (*historyError) Unwrap() error { return errElsewhere }

var (
	errOther      = &historyError{"was committed after the backup ended, in another history"}
	errOtherPlace = &historyError{"is at another place in files of the same names: they are of another server, or of " +
		"another history of this one"}
)

// tooLate is an UnreachableError for ErrTooLate.
type tooLate struct{ UnreachableError }

// Unwrap returns ErrTooLate.
func (*tooLate) Unwrap() error { return ErrTooLate }

// Start is where a path begins: the end of a backup.
type Start struct {
	At       binlog.Position
	Finished time.Time // when the backup ended, zero if that is not known
	ServerID uint32    // of the server of the backup
	// Log and Offset are where the backup ended in the files of that server, "" if that is not known. Where
	// the log is files, and not an archive, the end of the backup is known by its place, too.
	Log    string
	Offset int64
}

// limits lists the bounds of what can be in the backup, in the order in which they are tried.
func (s Start) limits(log Log) []limit {
	if _, files := log.(*Files); !files {
		s.Log = ""
	}
	l := limit{at: s}
	if s.Finished.IsZero() {
		return []limit{l}
	}
	relaxed := l
	relaxed.skew = clockSkew
	return []limit{l, relaxed}
}

// limit is the bound after which no transaction of a backup can have been committed: by the clock of its
// machine, or, for one of another server, by another clock. The zero value is no bound.
type limit struct {
	at   Start
	skew time.Duration
}

// passed reports whether a transaction was committed too late to be in the backup.
func (l limit) passed(g binlog.GTID, at time.Time) bool {
	skew := l.skew
	if g.Server == l.at.ServerID {
		skew = 0
	}
	return !l.at.Finished.IsZero() && at.After(l.at.Finished.Add(skew))
}

// misplaced reports whether a transaction that is in the backup, or comes after it, is not on that side of
// the backup's end in the files of its server.
func (l limit) misplaced(after bool, server uint32, p binlog.Place) bool {
	if l.at.Log == "" || server != l.at.ServerID || baseOf(p.File) != baseOf(l.at.Log) {
		return false
	}
	end, file := repo.LogPlace{Offset: l.at.Offset}, repo.LogPlace{Offset: p.End}
	end.File, _ = binlog.FileNumber(l.at.Log)
	file.File, _ = binlog.FileNumber(p.File)
	if after {
		file.Offset = p.Begin
		return file.Compare(end) < 0
	}
	return file.Compare(end) > 0
}

// clockSkew is how much later than a backup ended a transaction that is in it may be stamped, by
// the clock of another server.
const clockSkew = time.Minute

// Find finds the part of the archive that leads from the end of a backup to a moment. The newest
// timeline that does is taken. A transaction that was committed after the backup ended is of
// another history than one with the same GTID that is in the backup. Errors: *UnreachableError, by
// errors.Is ErrTooLate if an older backup may lead there; *AmbiguousError; damage of segments that
// are needed, such as repo.ErrDamaged and *pack.DamageError; repo.Concealed if an identity is needed.
func Find(ctx context.Context, log Log, m Moment, from Start) (*Path, error) {
	all, err := log.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	candidates := []Candidate{{Moment: m}}
	if m.kind == kindPosition {
		if candidates, err = locate(ctx, log, m); err != nil {
			return nil, err
		}
	}
	var p *Path
	for _, limit := range from.limits(log) {
		if p, err = findOne(ctx, log, all, candidates, from.At, limit); !errors.Is(err, errElsewhere) {
			break
		}
	}
	if errors.Is(err, errElsewhere) {
		reason := "there is no archive"
		if len(all) > 0 {
			reason = err.Error()
		}
		return nil, &UnreachableError{m, from.At, reason}
	}
	return p, err
}

// findIn looks through timelines. The error is errElsewhere if none contains the end of the backup.
func findIn(ctx context.Context, log Log, all []repo.StoredTimeline, m Moment, from binlog.Position,
	limit limit,
) (*Path, error) {
	failed := fmt.Errorf("the end of the backup is %w", errElsewhere)
	for i := len(all) - 1; i >= 0; i-- {
		if m.timeline != "" && all[i].ID != m.timeline {
			continue
		}
		f := finding{log: log, m: m, from: from, limit: limit, t: &all[i], next: missingAfter(all, all[i].ID),
			heads: map[int]*repo.Segment{}}
		p, err := f.find(ctx)
		_, other := errors.AsType[*historyError](err)
		_, known := errors.AsType[*historyError](failed)
		switch {
		case err == nil:
			return p, nil
		case errors.Is(err, ErrTooLate):
			return nil, err
		case isUnreachable(err), other && errors.Is(failed, errElsewhere):
			failed = err // why on the timeline that it is on
		case !errors.Is(err, errElsewhere):
			return nil, err
		case err.Error() != errElsewhere.Error() && errors.Is(failed, errElsewhere) && !known:
			failed = fmt.Errorf("the end of the backup is %w", err)
		}
	}
	return nil, failed
}

// finding looks for a path on one timeline.
type finding struct {
	log   Log
	m     Moment
	from  binlog.Position
	limit limit
	t     *repo.StoredTimeline
	heads map[int]*repo.Segment

	path *Path
	walk *binlog.Walk
	done bool // the moment was found
	seen bool // the transaction of the moment was seen before the position

	next  string // why the timeline goes no further
	other error  // why what has the GTIDs of the backup is another history; nil if it is not
}

// head returns the head of the segment with an index.
func (f *finding) head(ctx context.Context, i int) (*repo.Segment, error) {
	if s := f.heads[i]; s != nil {
		return s, nil
	}
	s, err := f.log.Segment(ctx, f.t.ID, f.t.Segments[i].Number)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, repo.MissingSegment(f.t.ID, f.t.Segments[i].Number)
	}
	f.heads[i] = s
	return s, err
}

// find looks for the path.
func (f *finding) find(ctx context.Context) (*Path, error) {
	if f.t.Err != nil {
		return nil, f.t.Err
	}
	f.path = &Path{Timeline: f.t.ID, From: f.from, To: f.from.Clone(), log: f.log}
	first, err := f.first(ctx)
	if g, named := f.m.GTID(); err == nil && named && f.m.kind == kindGTID && f.from[g.Domain] == g {
		return f.path, nil // the backup ends with it
	}
	if err != nil {
		return nil, err
	}
	var before *repo.Segment
	for i := first; i < len(f.t.Segments) && !f.done; i++ {
		s, err := f.head(ctx, i)
		if err == nil && before != nil {
			if s.Number != before.Number+1 {
				err = repo.MissingSegment(f.t.ID, before.Number+1)
			} else {
				err = s.Follows(before)
			}
		}
		if err == nil {
			err = f.segment(ctx, s)
		}
		if err != nil {
			return nil, err
		}
		before = s
	}
	return f.end()
}

// begins returns the position at the beginning of the segment with an index.
func (f *finding) begins(ctx context.Context, i int) (binlog.Position, error) {
	if before := f.t.Segments[i].Before; before != nil {
		return before, nil
	}
	s, err := f.head(ctx, i)
	if err != nil {
		return nil, err
	}
	return binlog.ParsePosition(s.Before)
}

// first returns the index of the segment in which the position is.
func (f *finding) first(ctx context.Context) (int, error) {
	start, err := binlog.ParsePosition(f.t.Start)
	if err != nil {
		return 0, err
	}
	if len(f.t.Segments) == 0 {
		if !f.from.Equal(start) {
			return 0, errElsewhere
		}
		return 0, nil
	}
	var failed error
	n := sort.Search(len(f.t.Segments), func(i int) bool { // the first that begins after it
		before, err := f.begins(ctx, i)
		if err != nil {
			failed = err
		}
		return !f.from.Reached(before)
	})
	if failed != nil {
		return 0, failed
	}
	if n == 0 {
		before, err := f.begins(ctx, 0)
		if err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("%w: %s begins after %s, and what was committed between the two is not in the log",
			errElsewhere, f.t.ID, place(before))
	}
	s, err := f.head(ctx, n-1)
	if err != nil {
		return 0, err
	}
	if before, err := binlog.ParsePosition(s.Before); err == nil && before.Equal(f.from) && n > 1 {
		last, err := f.head(ctx, n-2)
		if err != nil {
			return 0, err
		}
		for _, g := range before {
			if f.limit.passed(g, last.Last) {
				f.other = errOther
			}
		}
	}
	f.walk, err = newWalk(f.from, s)
	return n - 1, err
}

// segment takes the next segment.
func (f *finding) segment(ctx context.Context, s *repo.Segment) error {
	f.path.heads = append(f.path.heads, s)
	f.path.Segments++
	f.path.Bytes += s.Bytes
	f.path.Transactions += s.Transactions
	after, err := binlog.ParsePosition(s.After)
	if err != nil {
		return err
	}
	if f.walk.Met() && f.beyond(s, after) {
		for _, g := range after {
			f.walk.Pass(g)
		}
		last, err := binlog.ParsePosition(s.BeforeLast)
		if err != nil {
			return err
		}
		for domain, g := range after {
			if last[domain] != g {
				f.path.Last, f.path.LastTime = g, s.Last
			}
		}
		return nil
	}
	wanted := false
	return f.log.ScanSegment(ctx, s, func(_ []byte, part binlog.Part, c *binlog.Cutter) error {
		begin, _ := c.Begun()
		if part == binlog.Opening {
			wanted = f.walk.After(begin.GTID)
		}
		if (part == binlog.Opening && wanted || part == binlog.Closing) && f.limit.misplaced(wanted, s.ServerID, c.Place()) {
			f.other = errOtherPlace
		}
		if part != binlog.Opening {
			return nil
		}
		return f.transaction(begin)
	})
}

// beyond reports whether the moment is after all of a segment, as far as its head says.
func (f *finding) beyond(s *repo.Segment, after binlog.Position) bool {
	switch f.m.kind {
	case kindEnd:
		return true
	case kindTime:
		return s.Last.Before(f.m.time)
	}
	g, _ := f.m.GTID()
	return after[g.Domain].Sequence < g.Sequence
}

// committed returns when a transaction was committed, as far as the log says.
func committed(begin binlog.Begin) time.Time { return time.Unix(int64(begin.Time), 0).UTC() }

// transaction looks whether the moment is before or after a transaction.
func (f *finding) transaction(begin binlog.Begin) error {
	g, _ := f.m.GTID()
	this := f.m.kind != kindEnd && f.m.kind != kindTime && g == begin.GTID
	known := f.from[begin.GTID.Domain]
	if !f.walk.After(begin.GTID) {
		f.walk.Pass(begin.GTID)
		if known == begin.GTID && f.limit.passed(known, committed(begin)) {
			f.other = errOther
		}
		f.seen = f.seen || this && (f.m.kind == kindBefore || known != g)
		return nil
	}
	when := committed(begin)
	if f.m.kind == kindTime && !when.Before(f.m.time) || f.m.kind == kindBefore && this {
		f.path.Next, f.path.NextTime, f.done = begin.GTID, when, true
		return repo.ErrStop
	}
	f.walk.Pass(begin.GTID)
	f.path.Last, f.path.LastTime = begin.GTID, when
	if f.m.kind == kindGTID && this {
		f.done = true
		return repo.ErrStop
	}
	return nil
}

// addNext adds why the timeline goes no further.
func (f *finding) addNext(e *UnreachableError) {
	if f.next != "" {
		e.Reason += "; then " + f.next
	}
}

// notMet says why the timeline does not contain the end of the backup, which it does not begin after.
func (f *finding) notMet() error {
	if f.walk.Missed() {
		return fmt.Errorf("%w: %s has other transactions with its numbers, and is of another server or history",
			errElsewhere, f.t.ID)
	}
	last := f.path.heads[len(f.path.heads)-1]
	return fmt.Errorf("%w: %s ends with %s, before it", errElsewhere, f.t.ID, placeOf(last.After))
}

// end makes the path of what was found.
func (f *finding) end() (*Path, error) {
	unreachable := UnreachableError{Moment: f.m, From: f.from}
	if f.walk != nil {
		if !f.walk.Met() {
			return nil, f.notMet()
		}
		if f.other != nil {
			return nil, f.other
		}
		f.path.To = f.walk.At()
	}
	g, named := f.m.GTID()
	switch at, known := f.from[g.Domain]; {
	case f.done, f.m.kind == kindEnd:
		return f.path, nil
	case f.seen, named && known && at.Sequence >= g.Sequence:
		unreachable.Reason = "it is before the end of the backup"
		return nil, &tooLate{unreachable}
	case f.m.kind == kindTime:
		unreachable.Reason = fmt.Sprintf("the log ends with %s", place(f.path.To))
		if !f.path.LastTime.IsZero() {
			unreachable.Reason += " of " + f.path.LastTime.UTC().Format(time.RFC3339)
		}
		f.addNext(&unreachable)
		return nil, &unreachable
	}
	unreachable.Reason = fmt.Sprintf("%s is not in the timeline %s, which goes on to %s", g, f.t.ID, place(f.path.To))
	f.addNext(&unreachable)
	return nil, &unreachable
}
