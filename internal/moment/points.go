package moment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/repo"
)

// Points are the moments that can be reached.
type Points struct {
	Spans []Span // the oldest backup first
	Gaps  []Gap
}

// Span is a part of a timeline that a backup can be brought to: all moments from the end of the
// backup on.
type Span struct {
	Backup   string // its id
	Timeline string
	Start
	To       binlog.Position // the last moment
	Last     time.Time       // when the last transaction was committed; zero if there is none after the backup
	Segments int             // that are read to get there
	Bytes    int64           // of these, as they are stored
	// Unproven is why it is not known that the end of the backup is on the timeline, although its
	// numbers are; "" if it is known.
	Unproven string
	// Next says why it goes no further, "" if the log ends there.
	Next string
}

// Gap is what no backup before it can be brought across.
type Gap struct {
	Timeline string // after the gap
	After    binlog.Position
	Until    binlog.Position
	From     time.Time // when the last transaction before it was committed, zero if that is not known
	To       time.Time // and the first one after it
	Missing  string    // what is missing, in a sentence
}

// Backup is a backup with its end.
type Backup struct {
	ID string
	Start
}

// Reachable lists the moments to which backups can be brought. Only heads are read, and of a segment
// within which a backup ends the transactions: damage of others shows when they are
// replayed. A timeline that cannot be read is a gap.
func Reachable(ctx context.Context, log Log, backups []Backup) (*Points, error) {
	all, err := log.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	p := &Points{Spans: []Span{}, Gaps: []Gap{}}
	var runs []run
	for i := range all {
		if all[i].Err != nil {
			p.Gaps = append(p.Gaps, Gap{Timeline: all[i].ID, Missing: all[i].Err.Error()})
			continue
		}
		more, err := runsOf(ctx, log, &all[i])
		if err != nil {
			return nil, err
		}
		runs = append(runs, more...)
	}
	for i := range runs {
		if gap := runs[i].before(runs[:i]); gap != nil {
			p.Gaps = append(p.Gaps, *gap)
			if i > 0 {
				runs[i-1].next = gap.Missing
			}
		}
	}
	for _, b := range backups {
		span, err := spanOf(ctx, log, runs, b)
		if err != nil {
			return nil, fmt.Errorf("backup %s: %w", b.ID, err)
		}
		if span != nil {
			p.Spans = append(p.Spans, *span)
		}
	}
	return p, nil
}

// run is a part of a timeline in which no segment is missing.
type run struct {
	repo.StoredTimeline
	first, last *repo.Segment // nil: it has none
	missing     string        // what is missing before it in the timeline
	next        string        // and what after it
}

// runsOf cuts a timeline where segments are missing.
func runsOf(ctx context.Context, log Log, t *repo.StoredTimeline) ([]run, error) {
	var runs []run
	one := run{StoredTimeline: *t}
	one.Segments = nil
	finish := func() error {
		if len(one.Segments) == 0 && len(t.Segments) > 0 {
			return nil
		}
		for _, s := range one.Segments {
			one.Bytes += s.Bytes
		}
		var err error
		if n := len(one.Segments); n > 0 {
			if one.first, err = log.Segment(ctx, t.ID, one.Segments[0].Number); err == nil {
				one.last, err = log.Segment(ctx, t.ID, one.Segments[n-1].Number)
			}
		}
		runs = append(runs, one)
		return err
	}
	one.Bytes = 0
	for i, s := range t.Segments {
		if i > 0 && s.Number != t.Segments[i-1].Number+1 {
			if err := finish(); err != nil {
				return nil, err
			}
			from, to := t.Segments[i-1].Number+1, s.Number-1
			one = run{StoredTimeline: *t, missing: fmt.Sprintf("the segments %d to %d of the timeline %s are missing", from, to,
				t.ID)}
			one.Segments, one.Bytes = nil, 0
			if from == to {
				one.missing = fmt.Sprintf("the segment %d of the timeline %s is missing", from, t.ID)
			}
		}
		one.Segments = append(one.Segments, s)
	}
	return runs, finish()
}

// before describes the gap before a run, nil if there is none.
func (r *run) before(earlier []run) *Gap {
	missing := r.missing
	if missing == "" {
		missing = r.Missing()
	}
	if missing == "" {
		return nil
	}
	g := &Gap{Timeline: r.ID, Missing: missing}
	g.Until, _ = binlog.ParsePosition(r.Start) // was validated
	g.After, _ = binlog.ParsePosition(r.Reached)
	if r.first != nil {
		g.Until, _ = binlog.ParsePosition(r.first.Before)
		g.To = r.first.First
	}
	if n := len(earlier); n > 0 && earlier[n-1].last != nil {
		g.After, _ = binlog.ParsePosition(earlier[n-1].last.After)
		g.From = earlier[n-1].last.Last
	}
	return g
}

// spanOf finds out how far a backup can be brought, nil if it is on no timeline.
func spanOf(ctx context.Context, log Log, runs []run, b Backup) (*Span, error) {
	for _, limit := range b.limits(log) {
		for i := range slices.Backward(runs) {
			r := &runs[i]
			f := finding{log: log, from: b.At, limit: limit, t: &r.StoredTimeline, heads: map[int]*repo.Segment{}}
			first, why, err := f.contains(ctx)
			if errors.Is(err, errElsewhere) {
				continue
			}
			if err != nil {
				return nil, err
			}
			s := &Span{Backup: b.ID, Timeline: r.ID, Start: b.Start, To: b.At, Unproven: why, Next: r.next}
			if r.last == nil {
				return s, nil
			}
			if s.To, err = binlog.ParsePosition(r.last.After); err != nil || s.To.Equal(b.At) {
				return s, err
			}
			s.Last = r.last.Last
			for _, stored := range r.Segments[first:] {
				s.Segments++
				s.Bytes += stored.Bytes
			}
			return s, nil
		}
	}
	return nil, nil
}

// contains returns the index of the segment in which a position is. The error is errElsewhere if
// it is not on this timeline. unproven says why that could not be looked at.
func (f *finding) contains(ctx context.Context) (first int, unproven string, err error) {
	f.path = &Path{Timeline: f.t.ID, From: f.from, To: f.from.Clone(), log: f.log}
	f.m.kind = kindBefore // of no transaction: it goes on until the position is met
	if first, err = f.first(ctx); err != nil {
		return first, "", err
	}
	for i := first; f.walk != nil && !f.walk.Met(); i++ {
		if i == len(f.t.Segments) {
			return first, "", errElsewhere
		}
		s, err := f.head(ctx, i)
		if err == nil {
			err = f.segment(ctx, s)
		}
		if repo.Concealed(err) {
			return first, "no identity was given that opens its segments", nil
		}
		if err != nil {
			return first, "", err
		}
	}
	if f.other != nil {
		return first, "", f.other
	}
	return first, "", nil
}

// missingAfter says why a timeline goes no further, "" if it is the newest.
func missingAfter(all []repo.StoredTimeline, id string) string {
	i := slices.IndexFunc(all, func(t repo.StoredTimeline) bool { return t.ID == id })
	if i < 0 || i+1 >= len(all) {
		return ""
	}
	return all[i+1].Missing()
}

// Without is a backup that cannot be brought to a later moment.
type Without struct {
	ID     string
	Reason string
}

// Backups lists the backups of a repository from which a log may lead on, the oldest first, and the
// others. The error is repo.Concealed if an identity is needed.
func Backups(ctx context.Context, r *repo.Repository) (list []Backup, without []Without, err error) {
	ids, err := r.IDs(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, id := range ids {
		b, reason, err := backup(ctx, r, id)
		if err != nil {
			return nil, nil, err
		}
		if reason != "" {
			without = append(without, Without{id, reason})
			continue
		}
		list = append(list, b)
	}
	return list, without, nil
}

// backup returns a backup with its end, or why no log leads on from it.
func backup(ctx context.Context, r *repo.Repository, id string) (b Backup, reason string, err error) {
	v, err := r.Standing(ctx, id)
	if err != nil {
		return b, "", err
	}
	if v != nil && !v.OK {
		return b, "it is known to be damaged", nil
	}
	m, err := r.Manifest(ctx, id)
	switch {
	case repo.Concealed(err), ctx.Err() != nil:
		return b, "", err
	case err != nil:
		return b, err.Error(), nil
	case m.Binlog == nil:
		return b, "the server wrote no binary log when it was taken", nil
	case m.Filter != nil:
		return b, "it holds a part of the tables", nil
	}
	b = Backup{ID: id, Start: Start{Finished: m.Finished, ServerID: m.Server.ServerID, Log: m.Binlog.File,
		Offset: int64(m.Binlog.Position)}}
	if b.At, err = binlog.ParsePosition(m.Binlog.GTID); err != nil {
		return b, err.Error(), nil
	}
	return b, "", nil
}

// String describes the span in a few words.
func (s *Span) String() string {
	text := fmt.Sprintf("from %s on, %s", s.Backup, s.Finished.UTC().Format(time.RFC3339))
	if s.Last.IsZero() {
		return text + ", no further"
	}
	return fmt.Sprintf("%s to %s (GTID %s)", text, s.Last.UTC().Format(time.RFC3339), s.To)
}
