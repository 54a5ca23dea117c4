// Package pieces makes pieces of equal size of what is written to it. One piece is stored
// while the next one is gathered. It knows nothing of where they go.
package pieces

import (
	"context"
	"errors"
)

// Size is how many bytes a piece has, except for the last one. It is large because a
// spinning disk may get several objects at once.
const Size = 2 << 20

// Writer is an io.Writer for one goroutine. It remembers the first error: an object whose
// writer overlooked one must not be kept.
type Writer struct {
	ctx   context.Context
	store func(piece []byte) error

	gathered []byte     // not stored yet
	sent     []byte     // is being stored if busy is not nil, else free
	busy     chan error // gets the result of the store that is under way
	written  int64      // bytes
	err      error
}

// NewWriter returns a Writer that calls store for one piece after another, on a goroutine
// of its own except for the last one. store may not keep the piece. Pieces begin at the
// boundary of a block of memory, as direct writes need it. Nothing is stored any more
// after ctx has ended.
func NewWriter(ctx context.Context, store func(piece []byte) error) *Writer {
	return &Writer{ctx: ctx, store: store}
}

// Write appends p. The error may be that of an earlier piece.
func (w *Writer) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) && w.err == nil {
		if w.gathered == nil {
			w.gathered = make([]byte, 0, Size) // slices of this size begin at a block's boundary
		}
		part := p[n:min(len(p), n+Size-len(w.gathered))]
		w.gathered = append(w.gathered, part...)
		n += len(part)
		if len(w.gathered) == Size {
			w.err = w.send()
		}
	}
	w.written += int64(n)
	return n, w.err
}

// send begins to store a full piece when the one before it has ended.
func (w *Writer) send() error {
	if err := errors.Join(w.Wait(), w.ctx.Err()); err != nil {
		return err
	}
	w.gathered, w.sent = w.sent[:0], w.gathered
	busy, full := make(chan error, 1), w.sent
	go func() { busy <- w.store(full) }()
	w.busy = busy
	return nil
}

// Wait waits for the piece that is being stored, and returns its error. After that store
// is not called before the next Write or Flush.
func (w *Writer) Wait() error {
	if w.busy == nil {
		return nil
	}
	err := <-w.busy
	w.busy = nil
	return err
}

// Flush stores what is left, and returns the first error of all. Nothing may be written
// after it.
func (w *Writer) Flush() error {
	if w.err == nil {
		w.err = errors.Join(w.Wait(), w.ctx.Err())
	}
	if w.err == nil && len(w.gathered) > 0 {
		w.err = w.store(w.gathered)
		w.gathered = nil
	}
	return w.err
}

// Written is how many bytes were written.
func (w *Writer) Written() int64 { return w.written }
