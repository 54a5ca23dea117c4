package moment

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"mbk/copier/pack"
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

	r     *repo.Repository
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

// reading is a walk through the segments of a path.
type reading struct {
	from   binlog.Position // what the walk begins after
	passed map[uint32]bool // domains of which that was met
	at     binlog.Position
}

// newReading begins a walk at a segment.
func newReading(from binlog.Position, first *repo.Segment) (*reading, error) {
	before, err := binlog.ParsePosition(first.Before)
	if err != nil {
		return nil, err
	}
	w := &reading{from: from, passed: map[uint32]bool{}, at: from.Clone()}
	for domain, g := range before {
		// A domain that the position does not know begins after it.
		if known, ok := from[domain]; !ok || known == g {
			w.passed[domain] = true
		}
	}
	return w, nil
}

// wants moves the walk behind a transaction, and reports whether it comes after the position.
func (w *reading) wants(g binlog.GTID) bool {
	known, ok := w.from[g.Domain]
	if !ok || w.passed[g.Domain] {
		w.at.Add(g)
		return true
	}
	w.passed[g.Domain] = known == g
	return false
}

// met reports whether the walk has come to all of the position.
func (w *reading) met() bool {
	for domain := range w.from {
		if !w.passed[domain] {
			return false
		}
	}
	return true
}

// bufferSize is how much of a segment is read at a time.
const bufferSize = 256 << 10

// scan reads a segment, and calls each for the events in it with where they stand. begin is the
// transaction to which an event belongs. It stops without an error when each returns errStop.
func scan(ctx context.Context, r *repo.Repository, s *repo.Segment,
	each func(event []byte, part binlog.Part, begin binlog.Begin) error,
) (err error) {
	body, err := r.OpenSegment(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	in := bufio.NewReaderSize(body, bufferSize)
	damaged := func(reason error) error { return &pack.DamageError{Object: s.Name(), Reason: reason.Error()} }
	magic := make([]byte, len(binlog.Magic))
	if _, err := io.ReadFull(in, magic); err != nil || string(magic) != binlog.Magic {
		return readError(err, damaged)
	}
	var c binlog.Cutter
	var event []byte
	for {
		if event, err = next(in, event, s.Raw); err == io.EOF {
			return nil
		}
		if err != nil {
			return readError(err, damaged)
		}
		part, dropped, err := c.Next(event)
		if err == nil && dropped {
			err = errors.New("a transaction is not whole")
		}
		if err != nil {
			return damaged(err)
		}
		begin, _ := c.Begun()
		if err := each(event, part, begin); err != nil {
			if !errors.Is(err, errStop) {
				return err
			}
			_, err := io.Copy(io.Discard, in) // what was read is proven at the end only
			return err
		}
	}
}

// errStop ends a scan.
var errStop = errors.New("enough")

// readError makes damage of a segment that ends within an event, and leaves other errors.
func readError(err error, damaged func(error) error) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, binlog.ErrDamaged) {
		return damaged(errors.New("it does not consist of whole events"))
	}
	return err
}

// next reads one event into b. limit bounds its size.
func next(in *bufio.Reader, b []byte, limit int64) ([]byte, error) {
	if cap(b) > 4<<20 {
		b = nil
	}
	b = slices.Grow(b[:0], binlog.HeaderSize)[:binlog.HeaderSize]
	if _, err := io.ReadFull(in, b); err != nil {
		return b, err
	}
	h, err := binlog.ParseHeader(b)
	if err != nil {
		return b, err
	}
	if int64(h.Size) > limit {
		return b, fmt.Errorf("%w: an event of %d bytes in %d", binlog.ErrDamaged, h.Size, limit)
	}
	for len(b) < int(h.Size) { // no more memory than there are bytes
		at := len(b)
		n := min(int(h.Size)-at, 1<<20)
		b = slices.Grow(b, n)[:at+n]
		if _, err := io.ReadFull(in, b[at:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return b, err
		}
	}
	return b, nil
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
	w, err := newReading(from, p.heads[first])
	if err != nil {
		return nil, err
	}
	for _, s := range p.heads[first:] {
		if err := p.sendSegment(ctx, w, s, send); err != nil {
			return nil, err
		}
	}
	if !w.met() || !w.at.Equal(p.To) {
		return nil, fmt.Errorf("the archive from %s on ends at %s, want %s", from, w.at, p.To)
	}
	return p.To, nil
}

// sendSegment sends what is wanted of one segment.
func (p *Path) sendSegment(
	ctx context.Context, w *reading, s *repo.Segment, send func(event []byte) error,
) error {
	wanted := false
	return scan(ctx, p.r, s, func(event []byte, part binlog.Part, begin binlog.Begin) error {
		if part == binlog.Outside {
			return send(event) // a format description
		}
		if part == binlog.Opening {
			if w.at.Equal(p.To) && w.met() {
				return errStop
			}
			wanted = w.wants(begin.GTID)
		}
		if !wanted {
			return nil
		}
		return send(event)
	})
}
