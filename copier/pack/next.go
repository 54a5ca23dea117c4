package pack

import "fmt"

// Next is the next chunk of an extent that is being read. It is valid until the function
// that got it returns.
type Next struct {
	x    *Reader
	h    header
	end  int64 // of the extent in the file
	pos  int64 // in the file, before which the next chunk may not begin
	read bool  // all of it
}

// behind returns the offset in the file before which what follows a chunk may not begin, as
// far as its header says.
func behind(h *header) int64 {
	if h.kind == kindPages {
		return int64(h.start) + 1
	}
	return int64(h.start + h.size)
}

// Start returns the offset in the file of the first byte of the chunk.
func (c *Next) Start() int64 { return int64(c.h.start) }

// Size returns how many bytes of the file from Start on the chunk reaches. A chunk of
// pages may hold anything up to the end of the extent.
func (c *Next) Size() int64 {
	if c.Pages() {
		return c.end - c.Start()
	}
	return int64(c.h.size)
}

// Pages reports whether it is a chunk of pages: it holds only some of the bytes.
func (c *Next) Pages() bool { return c.h.kind == kindPages }

// Pass checks the chunk and passes its bytes to a sink.
func (c *Next) Pass(sink Sink) error {
	h := &c.h
	c.read = true
	raw, err := c.x.body(h)
	if err != nil {
		return err
	}
	switch h.kind {
	case kindZero:
		return sink.Zero(int64(h.start), int64(h.size))
	case kindData:
		return write(sink, raw, int64(h.start))
	}
	p, err := parsePages(raw, h.start)
	if err != nil {
		return err // body has parsed it
	}
	if c.pos = p.end(); c.pos > c.end {
		return c.x.damage(fmt.Sprintf("pages up to byte %d of file %d, at most %d expected", c.pos, h.number, c.end))
	}
	return p.runs(func(r Run, b []byte) error {
		if r.Zero {
			return sink.Zero(r.Start, r.Size)
		}
		return write(sink, b, r.Start)
	})
}

// CopyTo appends the chunk to the extent that a Writer has begun, of the same file under
// that Writer's number, without decompressing it. Of what is compressed the checksum of the
// frame is checked, of the rest that of the raw bytes. What lies in the file between the
// end of the extent so far and the chunk is not stored: the extent becomes a partial one. A
// chunk of pages cannot be copied, since its runs are not known.
func (c *Next) CopyTo(w *Writer) error {
	h := &c.h
	c.read = true
	switch {
	case h.kind == kindPages:
		return fmt.Errorf("copy %s: a chunk of pages at byte %d", c.x.object, c.x.at)
	case h.kind == kindZero:
		return w.AddZeros(int64(h.start), int64(h.size))
	case h.codec == None:
		if _, err := c.x.body(h); err != nil {
			return err
		}
	}
	frame, err := c.x.frame(h)
	if err != nil {
		return err
	}
	return w.addFrame(*h, frame)
}
