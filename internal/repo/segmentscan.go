package repo

import (
	"context"
	"errors"
	"io"

	"mbk/copier/pack"
	"mbk/internal/binlog"
)

// ErrStop ends a scan without an error.
var ErrStop = errors.New("enough")

// ScanSegment reads a segment, and calls each for the events in it, in their order, with where they stand.
// c knows the transaction to which an event belongs. When each returns ErrStop the rest is
// read, since what was read is proven at the end only, but not shown. Damage is a *pack.DamageError.
func (r *Repository) ScanSegment(ctx context.Context, s *Segment,
	each func(event []byte, part binlog.Part, c *binlog.Cutter) error,
) (err error) {
	body, err := r.OpenSegment(ctx, s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, body.Close()) }()
	damaged := func(reason error) error { return &pack.DamageError{Object: s.Name(), Reason: reason.Error()} }
	var c binlog.Cutter
	stopped := false
	err = c.Scan(ctx, body, s.Raw, func(e binlog.Event) error {
		if e.Dropped {
			return damaged(errors.New("a transaction is not whole"))
		}
		err := each(e.Bytes, e.Part, &c)
		stopped = errors.Is(err, ErrStop)
		return err
	})
	if _, torn := errors.AsType[*binlog.TornError](err); torn {
		return damaged(err)
	}
	if stopped {
		_, err = io.Copy(io.Discard, body)
	}
	return err
}
