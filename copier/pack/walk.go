package pack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Chunk is a chunk as Walk found it.
type Chunk struct {
	Offset int64  // in the pack, of its header
	Length int64  // in the pack: header and frame, or with Err what was skipped
	Number uint32 // of the file
	Start  int64  // offset in the file
	Size   int64  // bytes of the file, gaps between pages included
	Zero   bool   // a run of zeros: Raw is nil
	Codec  Codec
	Raw    []byte // valid until the callback returns; of a chunk of pages, their bytes without the zeros
	Runs   []Run  // of a chunk of pages: where Raw belongs; nil of others
	Err    error  // *DamageError: the bytes are lost; other fields may be 0
}

// Walk reads a whole pack without a manifest and calls fn for every chunk in it, damaged
// ones included (see Chunk.Err). After damage it goes on with the next valid header. An
// error of fn ends the walk and is returned.
func (x *Reader) Walk(ctx context.Context, st Opener, name string, fn func(Chunk) error) (err error) {
	if err := x.seek(ctx, st, name, 0, -1); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, x.leave()) }()
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if _, err := x.br.Peek(1); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read %s: %w", x.object, err)
		}
		c, err := x.walkChunk()
		if err != nil {
			return err
		}
		if err := fn(c); err != nil {
			return err
		}
	}
}

// Check reads the chunks in length bytes of a pack from an offset on, and returns the
// first damage.
func (x *Reader) Check(ctx context.Context, st Opener, name string, offset, length int64) (err error) {
	if err := x.seek(ctx, st, name, offset, length); err != nil {
		return err
	}
	defer func() {
		if err != nil || x.at >= x.end { // otherwise the next extent may follow
			err = errors.Join(err, x.leave())
		}
	}()
	for x.at < offset+length {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if _, err := x.br.Peek(1); errors.Is(err, io.EOF) {
			return &DamageError{Object: x.object, Offset: x.at, Reason: "ends early"}
		}
		c, err := x.walkChunk()
		if err != nil {
			return err
		}
		if c.Err != nil {
			return c.Err
		}
	}
	return nil
}

// walkChunk reads one chunk, or the bytes up to the next one if there is none.
func (x *Reader) walkChunk() (Chunk, error) {
	at := x.at
	h, raw, err := x.next()
	damage, damaged := errors.AsType[*DamageError](err)
	if err != nil && !damaged {
		return Chunk{}, err
	}
	if h.kind == 0 {
		err = x.resync()
	} else if err = x.skip(&h); errors.Is(err, io.EOF) {
		err = nil // the pack ends inside the frame, and next has returned that
	}
	if err != nil {
		return Chunk{}, err
	}
	c := Chunk{
		Offset: at, Length: x.at - at, Number: h.number, Start: int64(h.start), Size: int64(h.size),
		Zero: h.kind == kindZero, Codec: h.codec, Raw: raw,
	}
	if damaged {
		c.Err, c.Raw = damage, nil
	} else if h.kind == kindPages {
		c.setPages(raw, &h)
	}
	return c, nil
}

// setPages sets what a chunk of pages holds.
func (c *Chunk) setPages(raw []byte, h *header) {
	p, err := parsePages(raw, h.start)
	if err != nil {
		c.Err, c.Raw = err, nil // not after body has parsed it
		return
	}
	c.Raw, c.Size = p.data, p.end()-c.Start
	_ = p.runs(func(r Run, _ []byte) error {
		c.Runs = append(c.Runs, r)
		return nil
	})
}

// resync goes on, by at least one byte, to the next valid header or the end.
func (x *Reader) resync() error {
	var magic [4]byte
	binary.LittleEndian.PutUint32(magic[:], skipMagic)
	for skip := 1; ; {
		n, err := x.br.Discard(skip)
		x.at += int64(n)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", x.object, err)
		}
		b, err := x.br.Peek(headerSize)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read %s: %w", x.object, err)
		}
		if _, err := parseHeader(b); err == nil {
			return nil
		}
		if len(b) == headerSize {
			b, _ = x.br.Peek(x.br.Buffered()) // no error: it is there
		}
		skip = max(len(b)-len(magic)+1, 1) // the next may begin in the last three bytes
		if i := bytes.Index(b[min(1, len(b)):], magic[:]); i >= 0 {
			skip = i + 1
		}
	}
}
