package binlog

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// ErrEncrypted is returned by Reader.Next for a file whose events are encrypted by the server.
var ErrEncrypted = fault.New(fault.Config, "the server has encrypted this file of its binary log")

// encryptedHint says what else leads to the events of an encrypted file.
const encryptedHint hint.Text = `only the server with its keys can read it: start one on this data directory and these keys, ` +
	`and run "mbk archive --once" with it`

// TornError is returned by Reader.Next for a file that ends within an event, or goes on with
// what is none: what was read before it is whole.
type TornError struct {
	Offset int64 // at which the last whole event ends
	Reason string
	// InUse is set if the file was not closed in good order, as far as is known: the server writes it
	// now, or has crashed. What is damaged within a whole event is no matter of that.
	InUse bool
}

// Error says what is there in place of an event.
func (e *TornError) Error() string {
	return fmt.Sprintf("no whole event at byte %d: %s", e.Offset, e.Reason)
}

// Unwrap returns ErrDamaged.
func (*TornError) Unwrap() error { return ErrDamaged }

// readerBuffer is how many bytes of a file are read at a time.
const readerBuffer = 256 << 10

// Reader reads the events of a file of the binary log, one after another. It does not look into
// them, and does not compare checksums: Cutter does. It is used by one goroutine.
type Reader struct {
	in     *bufio.Reader
	limit  int64 // of the file, in bytes
	event  []byte
	offset int64 // of the event that was returned last
	end    int64 // of that event
	begun  bool
	format Format
	inUse  bool
}

// NewReader returns a reader of a file that has limit bytes at most; no event is larger.
func NewReader(in io.Reader, limit int64) *Reader {
	return &Reader{in: bufio.NewReaderSize(in, readerBuffer), limit: min(limit, 1<<62)}
}

// Offset returns the byte of the file at which the event begins that was returned last.
func (r *Reader) Offset() int64 { return r.offset }

// End returns the byte of the file at which that event ends.
func (r *Reader) End() int64 { return r.end }

// Format returns the format of the events, which is known after the first one.
func (r *Reader) Format() Format { return r.format }

// InUse reports whether the file was not closed in good order: the server writes it now, or
// has crashed. It is known after the first event.
func (r *Reader) InUse() bool { return r.inUse }

// Next returns the next event. It is valid until the next call. The error is io.EOF at the
// end of the file, a *TornError, which is ErrDamaged, ErrEncrypted, or that of the file.
func (r *Reader) Next() ([]byte, error) {
	event, err := r.next()
	if torn, ok := errors.AsType[*TornError](err); ok {
		torn.InUse = r.inUse
	}
	return event, err
}

func (r *Reader) next() ([]byte, error) {
	if !r.begun {
		magic := make([]byte, len(Magic))
		if n, err := io.ReadFull(r.in, magic); err != nil || string(magic) != Magic {
			return nil, r.torn(err, fmt.Sprintf("it does not begin as a file of the binary log, with %x", magic[:n]))
		}
		r.end = int64(len(Magic))
	}
	if err := r.read(); err != nil {
		return nil, err
	}
	kind := Type(r.event[4])
	switch {
	case !r.begun && kind != TypeFormat:
		return nil, &TornError{Reason: fmt.Sprintf("it begins with an event of type %d in place of a format description",
			kind)}
	case kind == TypeFormat:
		format, err := ParseFormat(r.event)
		if err != nil {
			return nil, &TornError{Offset: r.end, Reason: err.Error()}
		}
		r.format = format
		if !r.begun {
			r.inUse = r.event[17]&flagInUse != 0
		}
	case kind == TypeEncryption:
		return nil, hint.Wrap(ErrEncrypted, encryptedHint)
	}
	r.begun = true
	r.offset = r.end
	r.end += int64(len(r.event))
	return r.event, nil
}

// read reads the next event.
func (r *Reader) read() error {
	b := r.event
	if cap(b) > 4<<20 {
		b = nil // one large row is no reason to hold the memory
	}
	b = slices.Grow(b[:0], HeaderSize)[:HeaderSize]
	if n, err := io.ReadFull(r.in, b); err != nil {
		if n == 0 && r.begun && errors.Is(err, io.EOF) {
			return io.EOF
		}
		return r.torn(err, "it ends within the header of an event")
	}
	h, err := ParseHeader(b)
	if err != nil {
		return &TornError{Offset: r.end, Reason: err.Error()}
	}
	if int64(h.Size) > r.limit {
		return &TornError{Offset: r.end, Reason: fmt.Sprintf("an event of %d bytes in a file of %d", h.Size, r.limit)}
	}
	for len(b) < int(h.Size) { // no more memory than there are bytes
		at := len(b)
		n := min(int(h.Size)-at, 1<<20)
		b = slices.Grow(b, n)[:at+n]
		if _, err := io.ReadFull(r.in, b[at:]); err != nil {
			return r.torn(err, fmt.Sprintf("it ends within an event of type %d with %d bytes", h.Type, h.Size))
		}
	}
	r.event = b
	return nil
}

// torn returns the error of a file that ends too early, or does not begin right.
func (r *Reader) torn(err error, reason string) error {
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &TornError{Offset: r.end, Reason: reason}
	}
	return err
}
