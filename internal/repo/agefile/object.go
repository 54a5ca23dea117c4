package agefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"filippo.io/age"
)

// Source reads n bytes of an encrypted object from an offset on, or to its end if n < 0, as
// a store does.
type Source func(ctx context.Context, offset, n int64) (io.ReadCloser, error)

// Object is an encrypted object of which parts are read. Its beginning and its end, which age
// needs for each part, are read once. It may be used by several goroutines.
type Object struct {
	key  *Key
	size int64 // bytes, encrypted
	from Source

	mu         sync.Mutex
	head, tail []byte       // nil: not read yet
	file       age.Identity // has the key of the file, so that nothing is unwrapped twice
}

// NewObject returns an object of size bytes, as it is stored.
func NewObject(key *Key, size int64, from Source) *Object {
	return &Object{key: key, size: size, from: from}
}

const (
	// headBytes is what age reads to get at the header of a file.
	headBytes = 4 << 10

	// A file is encrypted in chunks of plainChunk bytes, which have chunk bytes then.
	plainChunk = 64 << 10
	chunk      = plainChunk + 16

	// leapBytes is how far it is worth to read on rather than to open the object again.
	leapBytes = 1 << 20
)

// Open reads n decrypted bytes from an offset on, or all that follow if n < 0. The reader
// ends early where the object does, and can seek. What it returns was authenticated; if the
// object is damaged the error is a *DamageError, and one of the source is as the source
// returned it. The caller closes the reader.
func (o *Object) Open(ctx context.Context, offset, n int64) (io.ReadCloser, error) {
	if offset < 0 {
		return nil, fmt.Errorf("read at offset %d", offset)
	}
	file, err := o.begin(ctx)
	if err != nil {
		return nil, err
	}
	in := &stream{ctx: ctx, object: o, limit: o.size}
	plain, size, err := age.DecryptReaderAt(in, o.size, file)
	if err != nil {
		return nil, in.explain(err)
	}
	end := size
	if n >= 0 && n < size-offset {
		end = offset + n
		// The end of the last chunk of which anything is wanted.
		in.limit = min(o.size, headBytes+(end/plainChunk+1)*chunk)
	}
	return &objectReader{io.NewSectionReader(plain, offset, max(end-offset, 0)), in}, nil
}

// begin reads what age needs for each part.
func (o *Object) begin(ctx context.Context) (age.Identity, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		return o.file, nil
	}
	in := &stream{ctx: ctx, object: o, limit: o.size}
	// A small object is read at once.
	head := o.size
	if o.size > 2*chunk {
		head = headBytes
		tail := make([]byte, chunk)
		if _, err := in.ReadAt(tail, o.size-chunk); err != nil {
			return nil, errors.Join(in.explain(err), in.close())
		}
		o.tail = tail
	}
	b := make([]byte, head)
	if _, err := in.ReadAt(b, 0); err != nil {
		return nil, errors.Join(in.explain(err), in.close())
	}
	if err := in.close(); err != nil {
		return nil, err
	}
	header, err := age.ExtractHeader(bytes.NewReader(b))
	if err != nil {
		return nil, damaged(err)
	}
	key, err := age.DecryptHeader(header, o.key.identity)
	if err != nil {
		return nil, damaged(err)
	}
	o.head, o.file = b, age.NewInjectedFileKeyIdentity(key)
	return o.file, nil
}

// cached copies what is known of the object at an offset.
func (o *Object) cached(p []byte, off int64) bool {
	switch {
	case off+int64(len(p)) <= int64(len(o.head)):
		copy(p, o.head[off:])
	case o.tail != nil && off >= o.size-int64(len(o.tail)):
		copy(p, o.tail[off-(o.size-int64(len(o.tail))):])
	default:
		return false
	}
	return true
}

// stream reads an encrypted object for one reader: on from where it is if that is near, so
// that what is read in order is read with one request.
type stream struct {
	ctx    context.Context
	object *Object
	limit  int64 // nothing behind this offset will be asked for

	r   io.ReadCloser // nil: none
	at  int64         // offset of r
	end int64         // of what r will return
	err error         // the first of the source
}

// ReadAt implements io.ReaderAt.
func (s *stream) ReadAt(p []byte, off int64) (int, error) {
	short := false
	if left := s.object.size - off; int64(len(p)) > left {
		p, short = p[:max(left, 0)], true
	}
	if err := s.fill(p, off); err != nil {
		return 0, err
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// fill reads all of p.
func (s *stream) fill(p []byte, off int64) error {
	if len(p) == 0 || s.object.file != nil && s.object.cached(p, off) {
		return nil
	}
	if s.r == nil || off < s.at || off-s.at > leapBytes || off+int64(len(p)) > s.end {
		if err := s.reopen(off, max(s.limit-off, int64(len(p)))); err != nil {
			return err
		}
	}
	_, err := io.CopyN(io.Discard, s.r, off-s.at)
	if err == nil {
		_, err = io.ReadFull(s.r, p)
	}
	if err != nil { // where it is now is not known
		return errors.Join(s.failed(err), s.close())
	}
	s.at = off + int64(len(p))
	return nil
}

// reopen opens n bytes of the object at an offset.
func (s *stream) reopen(off, n int64) error {
	err := s.close()
	if err == nil {
		s.r, err = s.object.from(s.ctx, off, n)
		s.at, s.end = off, off+n
	}
	return s.failed(err)
}

// failed notes an error of the source. That the object is shorter than it was is none of it.
func (s *stream) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &DamageError{Reason: fmt.Sprintf("it ends before byte %d", s.object.size)}
	case s.err == nil:
		s.err = err
	}
	return err
}

// explain returns the error of the source, or what age says of the object.
func (s *stream) explain(err error) error {
	if s.err != nil {
		return s.err
	}
	if short, ok := errors.AsType[*DamageError](err); ok {
		return short
	}
	return damaged(err)
}

// close closes what is open.
func (s *stream) close() error {
	if s.r == nil {
		return nil
	}
	err := s.r.Close()
	s.r = nil
	return err
}

// objectReader reads a part of an object.
type objectReader struct {
	part *io.SectionReader
	in   *stream
}

// Read implements io.Reader.
func (r *objectReader) Read(p []byte) (int, error) {
	n, err := r.part.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.in.explain(err)
	}
	return n, err
}

// Seek implements io.Seeker.
func (r *objectReader) Seek(offset int64, whence int) (int64, error) {
	return r.part.Seek(offset, whence)
}

// Close implements io.Closer.
func (r *objectReader) Close() error { return r.in.close() }
