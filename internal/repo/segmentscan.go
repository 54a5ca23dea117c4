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
	events := binlog.NewReader(body, s.Raw)
	var c binlog.Cutter
	for {
		event, err := events.Next()
		switch {
		case err == io.EOF:
			return nil
		case errors.Is(err, binlog.ErrDamaged):
			return damaged(err)
		case err != nil:
			return err
		}
		part, dropped, err := c.Next(event)
		if err == nil && dropped {
			err = errors.New("a transaction is not whole")
		}
		if err != nil {
			return damaged(err)
		}
		if err := each(event, part, &c); err != nil {
			if !errors.Is(err, ErrStop) {
				return err
			}
			_, err := io.Copy(io.Discard, body)
			return err
		}
	}
}
