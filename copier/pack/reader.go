package pack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/zeebo/xxh3"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// readAhead is the size in bytes of a Reader's buffer: twice the largest chunk, so that
// less has to be moved to its front.
const readAhead = 2 * (headerSize + maxPlainSize)

// DamageError is returned for a place in a pack that is not as it was written.
type DamageError struct {
	Object string // with the place that its Opener names
	Offset int64  // of the chunk, in bytes; of the pack's end if that is what is wrong
	Reason string

	Missing bool // the object is not there
}

// Error names the object, the place and the reason.
func (e *DamageError) Error() string {
	return fmt.Sprintf("%s is damaged at byte %d: %s", e.Object, e.Offset, e.Reason)
}

// Fault says that a backup is damaged.
func (e *DamageError) Fault() fault.Kind { return fault.Damage }

// Hints names the commands that tell more.
func (e *DamageError) Hints() []hint.Text { return []hint.Text{hint.DamagedBackup} }

// Opener is a place to read packs from.
type Opener interface {
	// Open reads n bytes of an object from an offset, or to the end if n < 0.
	// The reader ends early where the object does.
	Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error)

	// String says where the objects are: "backups/20261121T201806Z-full".
	String() string
}

// Sink receives the bytes of a file.
type Sink interface {
	// WriteAt is as in io.WriterAt.
	WriteAt(b []byte, off int64) (n int, err error)

	// Zero makes n bytes at off read as zeros, as a hole or otherwise.
	Zero(off, n int64) error
}

// Chooser is a Sink that need not get everything, since newer layers hold some of it. A
// Reader asks it about each chunk before it reads or decompresses it, and leaves out a
// chunk of which nothing is wanted. What it is given nevertheless it has to choose from.
type Chooser interface {
	Sink

	// Wants reports whether any of n bytes from an offset on is wanted.
	Wants(off, n int64) bool
}

// Reader reads packs. It reuses its buffers, about 6 MiB. It may be used by one goroutine
// at a time.
type Reader struct {
	dec decoder
	raw []byte
	src source
	br  *bufio.Reader // of src

	object string
	open   io.Closer // the part of the object that is being read; nil: none
	end    int64     // of that part
	at     int64     // offset in the pack of the next chunk
	limit  int64     // offset in the pack that no chunk may cross

	ahead    string // the object for which Ahead was called
	aheadEnd int64
}

// NewReader returns a Reader. The caller closes it.
func NewReader() *Reader {
	return &Reader{raw: make([]byte, 0, MaxChunk), br: bufio.NewReaderSize(nil, readAhead)}
}

// leapRead is how many bytes are read after chunks were passed over: enough for a header,
// and for the small chunks that may follow.
const leapRead = 16 << 10

// source is what a Reader's buffer is filled from.
type source struct {
	r      io.Reader
	seeker io.Seeker // nil: it cannot seek
	most   int       // bytes of the next read; 0: as many as the buffer takes
}

// Read implements io.Reader.
func (s *source) Read(b []byte) (int, error) {
	if s.most > 0 && len(b) > s.most {
		b, s.most = b[:s.most], 0
	}
	return s.r.Read(b)
}

// Close releases what the Reader holds.
func (x *Reader) Close() {
	_ = x.leave() // nothing that was read is in doubt
	x.dec.close()
}

// Ahead announces that extents of a pack up to byte end will be read in their order. Extent
// then opens the pack once for all of them, and passes over what lies between them.
func (x *Reader) Ahead(st Opener, name string, end int64) {
	x.ahead, x.aheadEnd = fullName(st, name), end
}

// Extent checks an extent of the file with a number, chunk by chunk, and passes the bytes
// to sink. If the pack holds anything else, the error is a *DamageError; errors of the
// store and of the sink are returned as they are. Chunks before the damage may be in the
// sink by then.
func (x *Reader) Extent(ctx context.Context, st Opener, number uint32, e Extent, sink Sink) error {
	chooser, _ := sink.(Chooser)
	return x.Each(ctx, st, number, e, func(c *Next) error {
		if chooser != nil && !chooser.Wants(c.Start(), c.Size()) {
			return nil
		}
		return c.Pass(sink)
	})
}

// Each calls fn for each chunk of an extent of the file with a number. What fn does not
// ask for is not checked, and not read where that can be avoided. Errors are those of
// Extent, and those of fn.
func (x *Reader) Each(ctx context.Context, st Opener, number uint32, e Extent, fn func(c *Next) error) error {
	if e.Length == 0 && (e.Size == 0 || e.Partial) {
		return nil
	}
	end := e.Offset + e.Length
	if e.Offset < 0 || e.Length <= 0 || e.Start < 0 || e.Size <= 0 || end < 0 || e.Start+e.Size < 0 {
		return fmt.Errorf("read %s/%s: impossible extent %+v", st, e.Pack, e)
	}
	if err := x.seek(ctx, st, e.Pack, e.Offset, e.Length); err != nil {
		return err
	}
	err := x.each(ctx, number, &e, fn)
	if err == nil && x.at < x.end {
		return nil // the next extent may begin here
	}
	return errors.Join(err, x.leave())
}

// each reads the extent that begins at the next chunk.
func (x *Reader) each(ctx context.Context, number uint32, e *Extent, fn func(c *Next) error) error {
	pos, end := e.Start, e.Start+e.Size
	for x.at < x.limit {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		h, err := x.header()
		if err != nil {
			return err
		}
		if reason := misplaced(&h, number, pos, end, e.Partial); reason != "" {
			return x.damage(reason)
		}
		c := Next{x: x, h: h, end: end, pos: behind(&h)}
		if err := fn(&c); err != nil {
			return err
		}
		if pos = c.pos; c.read {
			err = x.skip(&h)
		} else {
			err = x.leap(&h)
		}
		if err != nil {
			return err
		}
	}
	if pos != end && !e.Partial {
		return x.damage(fmt.Sprintf("the extent holds %d bytes of file %d, %d expected", pos-e.Start, number, e.Size))
	}
	return nil
}

// misplaced returns why a chunk is not the next one of an extent, "" if it is.
func misplaced(h *header, number uint32, pos, end int64, partial bool) string {
	start := int64(h.start)
	switch {
	case h.number != number:
		return fmt.Sprintf("a chunk of file %d, file %d expected", h.number, number)
	case partial && start < pos:
		return fmt.Sprintf("a chunk for byte %d of file %d, after byte %d expected", start, number, pos)
	case !partial && start != pos:
		return fmt.Sprintf("a chunk for byte %d of file %d, byte %d expected", start, number, pos)
	case h.kind == kindPages && !partial:
		return fmt.Sprintf("a chunk of only some pages of file %d", number)
	case start >= end, h.kind != kindPages && int64(h.size) > end-start:
		return fmt.Sprintf("a chunk of %d bytes of file %d, at most %d expected", h.size, number, end-start)
	}
	return ""
}

// write writes all of b to a sink.
func write(sink Sink, b []byte, off int64) error {
	n, err := sink.WriteAt(b, off)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	return err
}

// fullName returns the name of an object for messages.
func fullName(st Opener, name string) string { return st.String() + "/" + name }

// seek makes offset the place of the next chunk in a pack. n bytes are read from there, or
// all that follow if n < 0.
func (x *Reader) seek(ctx context.Context, st Opener, name string, offset, n int64) error {
	object, limit := fullName(st, name), int64(math.MaxInt64)
	if n >= 0 {
		limit = offset + n
	}
	if x.open != nil && x.object == object && x.at <= offset && limit <= x.end {
		x.limit = limit
		if err := x.pass(offset - x.at); err != nil && !errors.Is(err, io.EOF) { // whoever reads on finds that
			return err
		}
		return nil
	}
	if err := x.leave(); err != nil {
		return err
	}
	end := limit
	if n >= 0 && x.ahead == object && x.aheadEnd > limit {
		end, n = x.aheadEnd, x.aheadEnd-offset
	}
	r, err := st.Open(ctx, name, offset, n)
	if err != nil {
		return err
	}
	x.object, x.open, x.end, x.at, x.limit = object, r, end, offset, limit
	x.src = source{r: r}
	x.src.seeker, _ = r.(io.Seeker)
	x.br.Reset(&x.src)
	return nil
}

// leave closes the part of a pack that is open.
func (x *Reader) leave() error {
	if x.open == nil {
		return nil
	}
	err := x.open.Close()
	x.open = nil
	return err
}

// next returns the next chunk, checked. It remains the next one until skip is called. With
// a *DamageError, the header's kind is 0 if the header itself is damaged.
func (x *Reader) next() (header, []byte, error) {
	h, err := x.header()
	if err != nil {
		return header{}, nil, err
	}
	raw, err := x.body(&h)
	return h, raw, err
}

// header returns the header of the next chunk.
func (x *Reader) header() (header, error) {
	b, err := x.peek(headerSize)
	if err != nil {
		return header{}, err
	}
	h, err := parseHeader(b)
	if err != nil {
		return header{}, x.damage(err.Error())
	}
	return h, nil
}

// body returns the raw bytes, checked, of the next chunk, of which h is the header.
func (x *Reader) body(h *header) ([]byte, error) {
	if h.kind == kindZero {
		return nil, nil
	}
	frame, err := x.frame(h)
	if err != nil {
		return nil, err
	}
	raw, err := x.dec.decode(x.raw, frame, h.codec, int(h.size))
	if err != nil {
		return nil, x.damage(err.Error())
	}
	if xxh3.Hash(raw) != h.sum {
		return nil, x.damage("the checksum of the raw bytes does not fit")
	}
	if h.kind == kindPages {
		if _, err := parsePages(raw, h.start); err != nil {
			return nil, x.damage(err.Error())
		}
	}
	return raw, nil
}

// frame returns the frame of the next chunk, of which h is the header. Its checksum fits,
// if it has one.
func (x *Reader) frame(h *header) ([]byte, error) {
	b, err := x.peek(headerSize + int(h.stored))
	if err != nil {
		return nil, err
	}
	frame := b[headerSize:]
	if h.codec != None && castagnoli(frame) != h.check {
		return nil, x.damage("the checksum of a frame does not fit")
	}
	return frame, nil
}

// peek returns the next n bytes of the pack.
func (x *Reader) peek(n int) ([]byte, error) {
	b, err := x.br.Peek(int(min(int64(n), x.limit-x.at)))
	if errors.Is(err, io.EOF) || err == nil && len(b) < n {
		return nil, x.damage(fmt.Sprintf("ends after %d of the %d bytes of a chunk", len(b), n))
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", x.object, err)
	}
	return b, nil
}

// leap is skip for a chunk whose frame is not wanted. It is not read if that can be
// avoided, and so the next header is read with little behind it.
func (x *Reader) leap(h *header) error {
	n, left := int64(headerSize)+int64(h.stored), x.limit-x.at
	if n > left {
		return x.damage(fmt.Sprintf("ends after %d of the %d bytes of a chunk", left, n))
	}
	if x.src.seeker != nil {
		x.src.most = leapRead
	}
	return x.pass(n)
}

// pass passes over n bytes. Those that are not in the buffer are not read if that can be
// avoided.
func (x *Reader) pass(n int64) error {
	rest := n - int64(x.br.Buffered())
	if x.src.seeker == nil || rest <= 0 {
		return x.discard(int(n))
	}
	if _, err := x.src.seeker.Seek(rest, io.SeekCurrent); err != nil {
		return fmt.Errorf("read %s: %w", x.object, err)
	}
	x.br.Reset(&x.src)
	x.at += n
	return nil
}

// skip goes on after a chunk.
func (x *Reader) skip(h *header) error {
	return x.discard(headerSize + int(h.stored))
}

// discard reads n bytes for nobody.
func (x *Reader) discard(n int) error {
	n, err := x.br.Discard(n)
	x.at += int64(n)
	if err != nil {
		return fmt.Errorf("read %s: %w", x.object, err)
	}
	return nil
}

// damage returns the error for the chunk that would be next.
func (x *Reader) damage(reason string) error {
	return &DamageError{Object: x.object, Offset: x.at, Reason: reason}
}
