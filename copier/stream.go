package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
)

// StoreStream reads r to its end into a pack of its own, as the bytes of a file
// from start on. It returns the result and the durable pack. Of opts it uses
// Codec, Level, ChunkSize and OnProgress. The stream waits for nothing but r
// and the store.
func StoreStream(ctx context.Context, st Putter, folder, name string, number uint32, start int64, r io.Reader, opts Options) (Result, Pack, error) {
	if err := opts.Validate(); err != nil {
		return Result{}, Pack{}, fmt.Errorf("write %s: %w", name, err)
	}
	opts = opts.fill()
	p, err := newPacker(opts.Codec, opts.Level, opts.ChunkSize)
	if err != nil {
		return Result{}, Pack{}, err
	}
	var (
		pack   Pack
		extent Extent
	)
	err = st.Put(ctx, folder+"/"+name, func(out io.Writer) error {
		p.begin(name, out)
		p.beginExtent(number, start)
		if err := p.addAll(ctx, r, opts.OnProgress); err != nil {
			return err
		}
		var err error
		if extent, err = p.endExtent(); err != nil {
			return err
		}
		pack, err = p.end()
		return err
	})
	if err = errors.Join(err, p.close()); err != nil {
		return Result{}, Pack{}, err
	}
	res := Result{Extents: []Extent{}, Read: extent.Size, Stored: extent.Length}
	if extent.Size > 0 {
		res.Extents = append(res.Extents, extent)
	}
	return res, pack, nil
}

// addAll adds what r yields to the extent.
func (p *packer) addAll(ctx context.Context, r io.Reader, progress func(raw, stored int64)) error {
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		stored := p.pack.Size
		n, err := io.ReadFull(r, p.buffer())
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("read the stream for %s: %w", p.pack.Name, err)
		}
		if err := p.add(n); err != nil {
			return err
		}
		progress(int64(n), p.pack.Size-stored)
		if err != nil {
			return nil
		}
	}
}
