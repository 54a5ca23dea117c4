package stream

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
)

// Store is a store whose objects go through a pipe. What was put can be listed, but only
// what is kept can be read again. Put makes an object whole in the stream; whether it
// becomes durable only the other end can tell. Of more than MaxOpen objects at once some
// wait. A write that fails ends the stream: then no more can be put.
//
// Nothing is written before the first Put. The caller calls Close or Abort when no Put is
// under way any more.
type Store struct {
	store.Store // what is kept

	name  string
	keeps func(name string) bool
	open  chan struct{} // one for each object that is being written

	turn   chan struct{} // whoever has taken it writes
	out    io.Writer
	frames uint64 // that were written
	begun  uint32 // objects
	err    error  // why nothing more can be written
	buf    []byte // for a header, and a short payload

	mu      sync.Mutex
	objects map[string]object // that are whole
}

// object is an object of the stream.
type object struct {
	number   uint32
	size     int64
	modified time.Time
}

var _ store.Store = (*Store)(nil)

// NewStore returns a store that writes to out. name says in messages where that is. Objects
// whose names keeps accepts are put into kept as well, which is an empty store in memory.
func NewStore(out io.Writer, name string, kept store.Store, keeps func(name string) bool) *Store {
	return &Store{
		Store: kept, name: name, keeps: keeps, open: make(chan struct{}, MaxOpen), turn: make(chan struct{}, 1),
		out: out, buf: make([]byte, 64<<10), objects: map[string]object{},
	}
}

// ErrClosed is returned by Put after Close or Abort.
var ErrClosed = errors.New("the stream has ended")

// WriteError is returned by Put if the stream cannot be written.
type WriteError struct{ Err error }

// Error is that of the write.
func (e *WriteError) Error() string { return e.Err.Error() }

// Unwrap returns the error of the write.
func (e *WriteError) Unwrap() error { return e.Err }

// Fault answers for the cause: EIO of what is written to is no damage.
func (e *WriteError) Fault() fault.Kind { return fault.Failed }

// Hints says where to look.
func (e *WriteError) Hints() []hint.Text {
	return []hint.Text{"the other end of the pipe does not read the stream any more: its own messages say why"}
}

// String says where the stream goes.
func (s *Store) String() string { return s.name }

// Put writes an object.
func (s *Store) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	if s.keeps(name) {
		var b bytes.Buffer
		if err := write(&b); err != nil {
			return err
		}
		if err := store.PutBytes(ctx, s.Store, name, b.Bytes()); err != nil {
			return err
		}
		write = func(w io.Writer) error {
			_, err := w.Write(b.Bytes())
			return err
		}
	}
	select {
	case s.open <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.open }()
	return s.put(ctx, name, write)
}

// put is Put for an object that need not wait any more.
func (s *Store) put(ctx context.Context, name string, write func(io.Writer) error) error {
	w := &objectWriter{s: s, ctx: ctx}
	var err error
	if w.number, err = s.begin(ctx, name); err != nil {
		return err
	}
	if err = write(w); err == nil {
		err = ctx.Err()
	}
	if err != nil {
		// What the other end has of it must not stay, even if ctx is cancelled.
		return errors.Join(err, s.drop(context.WithoutCancel(ctx), w.number))
	}
	if err := s.frame(ctx, kindWhole, w.number, binary.LittleEndian.AppendUint64(nil, uint64(w.size))); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objects[name] = object{w.number, w.size, time.Now().UTC()}
	return nil
}

// drop tells the other end that an object does not count. A stream that has failed has no
// other end.
func (s *Store) drop(ctx context.Context, number uint32) error {
	err := s.frame(ctx, kindDrop, number, nil)
	if _, broken := errors.AsType[*WriteError](err); broken {
		return nil
	}
	return err
}

// objectWriter writes an object.
type objectWriter struct {
	s      *Store
	ctx    context.Context
	number uint32
	size   int64
}

// Write implements io.Writer.
func (w *objectWriter) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(n+maxPayload, len(p))]
		if err := w.s.frame(w.ctx, kindData, w.number, part); err != nil {
			return n, err
		}
		n += len(part)
		w.size += int64(len(part))
	}
	return n, nil
}

// begin begins an object, and before the first one the stream.
func (s *Store) begin(ctx context.Context, name string) (number uint32, err error) {
	err = s.inTurn(ctx, func() error {
		if s.begun == MaxObjects {
			return fmt.Errorf("write %s to %s: a stream has no more than %d objects", name, s.name, MaxObjects)
		}
		if s.begun == 0 {
			if err := s.write(head(Version)); err != nil {
				return err
			}
		}
		s.begun++
		number = s.begun
		return s.writeFrame(kindBegin, number, []byte(name))
	})
	return number, err
}

// frame writes a frame.
func (s *Store) frame(ctx context.Context, kind byte, object uint32, payload []byte) error {
	return s.inTurn(ctx, func() error { return s.writeFrame(kind, object, payload) })
}

// inTurn calls do when nobody else writes.
func (s *Store) inTurn(ctx context.Context, do func() error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	if s.err != nil {
		return s.err
	}
	return do()
}

// writeFrame writes a frame. The caller has the turn.
func (s *Store) writeFrame(kind byte, object uint32, payload []byte) error {
	f := frame{kind: kind, object: object, number: s.frames, payload: payload}
	s.frames++
	b := s.buf[:headerSize]
	f.putHeader(b)
	if len(payload) <= cap(b)-headerSize {
		return s.write(append(b, payload...))
	}
	if err := s.write(b); err != nil {
		return err
	}
	return s.write(payload)
}

// write writes b, or notes that nothing can be written any more.
func (s *Store) write(b []byte) error {
	n, err := s.out.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		s.err = &WriteError{fmt.Errorf("write to %s: %w", s.name, err)}
	}
	return s.err
}

// Open reads an object that was kept.
func (s *Store) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	r, err := s.Store.Open(ctx, name, offset, n)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.objects[name]; there && errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open %s: it went to %s, and cannot be read again", name, s.name)
	}
	return r, err
}

// List lists the objects that are whole.
func (s *Store) List(ctx context.Context, prefix string) ([]store.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []store.Object
	for name, o := range s.objects {
		if strings.HasPrefix(name, prefix) {
			list = append(list, store.Object{Name: name, Size: o.size, Modified: o.modified})
		}
	}
	slices.SortFunc(list, func(a, b store.Object) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Delete tells the other end that an object does not count any more.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := s.Store.Delete(ctx, name); err != nil {
		return err
	}
	s.mu.Lock()
	o, there := s.objects[name]
	delete(s.objects, name)
	s.mu.Unlock()
	if !there {
		return nil
	}
	return s.drop(ctx, o.number)
}

// Empty reports whether there is no object.
func (s *Store) Empty(ctx context.Context) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.objects) == 0, ctx.Err()
}

// Close ends the stream: all that was put counts.
func (s *Store) Close(ctx context.Context) error {
	return s.finish(ctx, func() error {
		return s.writeFrame(kindEnd, 0, binary.LittleEndian.AppendUint64(nil, uint64(s.begun)))
	})
}

// Abort ends the stream: nothing that was put counts. The other end is told why. If nothing
// was put, nothing is written.
func (s *Store) Abort(ctx context.Context, why error) error {
	return s.finish(ctx, func() error {
		if s.begun == 0 {
			return nil
		}
		reason := strings.ToValidUTF8(why.Error(), "?")
		return s.writeFrame(kindAbort, 0, []byte(reason[:min(len(reason), maxReason)]))
	})
}

// finish writes the last frame. Again it does nothing.
func (s *Store) finish(ctx context.Context, last func() error) error {
	err := s.inTurn(ctx, func() error {
		err := last()
		if s.err == nil {
			s.err = ErrClosed
		}
		return err
	})
	if errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}
