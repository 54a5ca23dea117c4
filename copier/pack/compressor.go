package pack

import (
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// streamWindow is how far a compressed stream looks back, in bytes.
const streamWindow = 4 << 20

// NewCompressor returns a writer that compresses to w what is written to it: one zstd frame,
// which ends with a checksum when the writer is closed.
func NewCompressor(w io.Writer) (io.WriteCloser, error) {
	enc, err := zstd.NewWriter(w,
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(DefaultLevel)),
		zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(streamWindow),
		zstd.WithLowerEncoderMem(true),
		zstd.WithZeroFrames(true))
	if err != nil {
		return nil, fmt.Errorf("compress: %w", err)
	}
	return enc, nil
}

// ErrCompressed is returned by the reader of NewDecompressor for bytes that are no zstd frames.
var ErrCompressed = errors.New("damaged zstd frame")

// NewDecompressor returns a reader of what NewCompressor has compressed. The bytes may be
// hostile: it takes a few times streamWindow of memory at most. The caller limits what is read,
// and closes it.
func NewDecompressor(r io.Reader) (io.ReadCloser, error) {
	from := &remembering{r: r}
	dec, err := zstd.NewReader(from,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(streamWindow))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCompressed, err)
	}
	return &decompressor{dec, from}, nil
}

// remembering is a reader that keeps its error.
type remembering struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (m *remembering) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && err != io.EOF {
		m.err = err
	}
	return n, err
}

type decompressor struct {
	dec  *zstd.Decoder
	from *remembering
}

// Read implements io.Reader.
func (d *decompressor) Read(p []byte) (int, error) {
	n, err := d.dec.Read(p)
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case d.from.err != nil:
		return n, d.from.err // what the store says is no damage
	}
	return n, fmt.Errorf("%w: %w", ErrCompressed, err)
}

// Close implements io.Closer.
func (d *decompressor) Close() error {
	d.dec.Close()
	return nil
}
