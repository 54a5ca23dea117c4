package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
)

// Receiver takes the objects of a stream.
type Receiver interface {
	// Object takes one object. content ends with io.EOF if the object came as a whole, and
	// with another error if it did not. It is called on a goroutine of its own for each
	// object, except that it has returned for the first one before others begin; and for
	// one of a name, before another one of that name begins. An error ends the reading.
	Object(ctx context.Context, name string, content io.Reader) error

	// Drop takes back an object that came as a whole.
	Drop(ctx context.Context, name string) error
}

// Read reads a stream to its end and gives its objects to a Receiver. If it returns nil the
// stream came as a whole, and nothing follows it in r. Errors are *BrokenError, *CutError,
// *AbortError, ErrNotStream, ErrNewer, those of r and those of the Receiver. No call of
// the Receiver is under way when it returns. A cancelled ctx is noticed when r returns.
func Read(ctx context.Context, r io.Reader, to Receiver) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	x := &reading{frames: frames{r: r}, to: to, open: map[uint32]*incoming{}, whole: map[uint32]string{}}
	err := x.run(ctx)
	if err != nil {
		cancel()
	}
	return errors.Join(err, x.leave(err))
}

// reading is a stream that is being read.
type reading struct {
	frames
	to    Receiver
	begun uint32
	names int                  // bytes of the names of all objects
	open  map[uint32]*incoming // objects that are not whole, or still with the Receiver
	whole map[uint32]string    // names of those that are whole
}

// incoming is an object that is being received.
type incoming struct {
	name    string
	w       *io.PipeWriter
	size    int64
	ended   bool // all of it was read
	dropped bool
	done    chan error // has the Receiver's error, and is read once
}

// errDropped is what a Receiver reads of an object that the sender gave up.
var errDropped = errors.New("the sender has given up this object")

func (x *reading) run(ctx context.Context) error {
	if err := x.head(); err != nil {
		return err
	}
	buf := make([]byte, maxPayload)
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		f, err := x.read(buf)
		if err != nil {
			return err
		}
		if f.kind == kindEnd {
			return x.over(&f)
		}
		if err := x.take(ctx, &f); err != nil {
			return err
		}
	}
}

// take takes a frame.
func (x *reading) take(ctx context.Context, f *frame) error {
	if f.kind == kindAbort {
		return &AbortError{Reason: strings.ToValidUTF8(string(f.payload[:min(len(f.payload), maxReason)]), "?")}
	}
	if f.kind == kindBegin {
		return x.begin(ctx, f)
	}
	o := x.open[f.object]
	switch {
	case f.kind == kindDrop:
		return x.drop(ctx, f)
	case o == nil || o.ended:
		return x.broken(fmt.Sprintf("a frame of object %d, which is not being sent", f.object))
	case f.kind == kindData && len(f.payload) > 0:
		n, err := o.w.Write(f.payload)
		o.size += int64(n)
		return err // the Receiver's
	case f.kind == kindWhole && len(f.payload) == 8 && binary.LittleEndian.Uint64(f.payload) == uint64(o.size):
		return x.end(f.object, o)
	}
	return x.broken(fmt.Sprintf("a frame of kind %d that does not fit object %d", f.kind, f.object))
}

// begin begins an object.
func (x *reading) begin(ctx context.Context, f *frame) error {
	name, err := x.checkName(f.payload)
	if err != nil {
		return err
	}
	if f.object != x.begun+1 || f.object > MaxObjects {
		return x.broken(fmt.Sprintf("object %d begins after object %d", f.object, x.begun))
	}
	x.begun++
	if x.names += len(name); x.names > maxNames {
		return x.broken(fmt.Sprintf("names of more than %d bytes", maxNames))
	}
	if err := x.finishSome(name); err != nil {
		return err
	}
	unfinished := 0
	for _, o := range x.open {
		if !o.ended {
			unfinished++
		}
		if !o.ended && o.name == name {
			return x.broken(fmt.Sprintf("object %s twice at once", name))
		}
	}
	if unfinished >= MaxOpen {
		return x.broken(fmt.Sprintf("more than %d objects at once", MaxOpen))
	}
	r, w := io.Pipe()
	o := &incoming{name: name, w: w, done: make(chan error, 1)}
	x.open[f.object] = o
	go func() {
		err := x.to.Object(ctx, name, r)
		if err == nil {
			// A Receiver may leave the rest of what it does not want.
			_, err = io.Copy(io.Discard, r)
		}
		if err != nil {
			_ = r.CloseWithError(err) // is always nil
		}
		o.done <- err
	}()
	return nil
}

// end ends an object. Only the first one is waited for.
func (x *reading) end(number uint32, o *incoming) error {
	o.ended = true
	x.whole[number] = o.name
	if err := o.w.Close(); err != nil || number > 1 {
		return err
	}
	return x.wait(number, o)
}

// wait waits until the Receiver is done with an object that has ended.
func (x *reading) wait(number uint32, o *incoming) error {
	delete(x.open, number)
	if err := <-o.done; err != nil && (!o.dropped || !errors.Is(err, errDropped)) {
		return err
	}
	return nil
}

// finishSome waits for those that have ended and are done, or are of a name, or too many.
func (x *reading) finishSome(name string) error {
	many := len(x.open) >= 2*MaxOpen
	for number, o := range x.open {
		if o.ended && (many || o.name == name || len(o.done) > 0) {
			if err := x.wait(number, o); err != nil {
				return err
			}
		}
	}
	return nil
}

// drop takes an object back.
func (x *reading) drop(ctx context.Context, f *frame) error {
	o := x.open[f.object]
	if len(f.payload) > 0 {
		return x.broken("a frame that takes an object back and has bytes")
	}
	if o != nil && !o.ended {
		o.ended, o.dropped = true, true
		_ = o.w.CloseWithError(errDropped) // is always nil
		return x.wait(f.object, o)
	}
	name, whole := x.whole[f.object]
	if !whole {
		return x.broken(fmt.Sprintf("object %d is taken back, which is none", f.object))
	}
	delete(x.whole, f.object)
	if o != nil {
		if err := x.wait(f.object, o); err != nil {
			return err
		}
	}
	return x.to.Drop(ctx, name)
}

// over ends the stream.
func (x *reading) over(f *frame) error {
	for number, o := range x.open {
		if !o.ended {
			return x.broken(fmt.Sprintf("the stream ends before object %d, %s", number, o.name))
		}
	}
	if len(f.payload) != 8 || binary.LittleEndian.Uint64(f.payload) != uint64(x.begun) || f.object != 0 {
		return x.broken(fmt.Sprintf("the end does not fit: %d objects came", x.begun))
	}
	for number, o := range x.open {
		if err := x.wait(number, o); err != nil {
			return err
		}
	}
	return x.frames.end()
}

// leave waits for all calls of the Receiver, after err. Their errors about the end of the
// stream are those that it was told.
func (x *reading) leave(err error) error {
	var others []error
	for _, o := range x.open {
		if !o.ended {
			_ = o.w.CloseWithError(err) // is always nil
		}
	}
	for _, o := range x.open {
		own := <-o.done
		if own != nil && !errors.Is(own, err) && !errors.Is(own, context.Canceled) && !errors.Is(err, own) {
			others = append(others, own)
		}
	}
	return errors.Join(others...)
}
