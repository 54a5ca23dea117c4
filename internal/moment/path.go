package moment

import (
	"context"
	"fmt"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/repo"
)

// Path is a part of the binary log: from where a backup ends to a moment.
type Path struct {
	Timeline     string
	From         binlog.Position // of the backup
	To           binlog.Position // of the moment
	Last         binlog.GTID     // the last transaction; meaningless if there is none
	LastTime     time.Time       // when it was committed, as far as the server says; zero if there is none
	Next         binlog.GTID     // the first one that is not wanted
	NextTime     time.Time       // and its time; zero if there is none in the archive
	Segments     int             // that are read
	Bytes        int64           // of these, as they are stored
	Transactions int64           // in them, with those before and after what is wanted

	log   Log
	heads []*repo.Segment
}

// RawBytes returns the bytes of the binary log in the segments of the path.
func (p *Path) RawBytes() int64 {
	var n int64
	for _, s := range p.heads {
		n += s.Raw
	}
	return n
}

// Domains returns how many GTID domains have transactions on the path.
func (p *Path) Domains() int {
	n := 0
	for domain, g := range p.To {
		if p.From[domain] != g {
			n++
		}
	}
	return n
}

// newWalk begins a walk at a segment.
func newWalk(from binlog.Position, first *repo.Segment) (*binlog.Walk, error) {
	before, err := binlog.ParsePosition(first.Before)
	if err != nil {
		return nil, err
	}
	return binlog.NewWalk(from, before), nil
}

// Send implements primary.Source: it sends what follows a position on the path, and returns
// the end of the path. A position that is not on it is an error.
func (p *Path) Send(ctx context.Context, from binlog.Position, send func(event []byte) error) (binlog.Position, error) {
	if from.Equal(p.To) || len(p.heads) == 0 {
		return p.To, nil
	}
	// A replica that connects again has much of it already.
	first := 0
	for i, s := range p.heads {
		before, err := binlog.ParsePosition(s.Before)
		if err != nil {
			return nil, err
		}
		if i > 0 && from.Reached(before) {
			first = i
		}
	}
	w, err := newWalk(from, p.heads[first])
	if err != nil {
		return nil, err
	}
	for _, s := range p.heads[first:] {
		if err := p.sendSegment(ctx, w, s, send); err != nil {
			return nil, err
		}
	}
	if !w.Met() || !w.At().Equal(p.To) {
		return nil, fmt.Errorf("the archive from %s on ends at %s, want %s", from, w.At(), p.To)
	}
	return p.To, nil
}

// sendSegment sends what is wanted of one segment.
func (p *Path) sendSegment(
	ctx context.Context, w *binlog.Walk, s *repo.Segment, send func(event []byte) error,
) error {
	wanted := false
	return p.log.ScanSegment(ctx, s, func(event []byte, part binlog.Part, c *binlog.Cutter) error {
		if part == binlog.Outside {
			if binlog.Type(event[4]) != binlog.TypeFormat {
				return nil // the name of a file
			}
			return send(event)
		}
		if part == binlog.Opening {
			if w.At().Equal(p.To) && w.Met() {
				return repo.ErrStop
			}
			begin, _ := c.Begun()
			wanted = w.Pass(begin.GTID)
		}
		if !wanted {
			return nil
		}
		return send(event)
	})
}
