package binlog

import (
	"context"
	"errors"
	"io"
)

// Event is an event of a file, with where it stands.
type Event struct {
	Bytes   []byte // valid until the next event
	Part    Part
	Offset  int64 // byte of the file at which it begins
	Dropped bool  // the transaction that was open before it was never finished
}

// Scan reads a file of at most limit bytes, and calls each for its events, in their order; meanwhile the cutter
// knows the transaction to which an event belongs. Errors: that of each, and of ctx; a
// *TornError, also for an event that is not what its checksum says; ErrEncrypted; that of the file.
func (c *Cutter) Scan(ctx context.Context, in io.Reader, limit int64, each func(e Event) error) error {
	r := NewReader(in, limit)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		event, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		part, dropped, err := c.Next(event)
		if errors.Is(err, ErrDamaged) {
			return &TornError{Offset: r.Offset(), Reason: err.Error()}
		}
		if err == nil {
			err = each(Event{event, part, r.Offset(), dropped})
		}
		if err != nil {
			return err
		}
	}
}
