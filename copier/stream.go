package copier

import (
	"context"
	"errors"
	"fmt"
	"io"

	"mbk/copier/pack"
)

// StoreStream copies r into a pack, as the bytes of a file from start on, and returns
// when the pack is durable. Of opts it uses Codec, Level, ChunkSize and OnProgress. It
// waits only for r and the store.
func StoreStream(
	ctx context.Context, st Putter, name string, number uint32, start int64, r io.Reader, opts Options,
) (Result, pack.Pack, error) {
	if err := opts.Validate(); err != nil {
		return Result{}, pack.Pack{}, fmt.Errorf("write %s: %w", name, err)
	}
	opts = opts.fill()
	w, err := pack.NewWriter(opts.Codec, opts.Level, opts.ChunkSize)
	if err != nil {
		return Result{}, pack.Pack{}, err
	}
	var (
		made   pack.Pack
		extent pack.Extent
	)
	err = st.Put(ctx, name, func(out io.Writer) error {
		w.Begin(name, out)
		w.BeginExtent(number, start, 0)
		if err := addAll(ctx, w, name, r, opts.OnProgress); err != nil {
			return err
		}
		var err error
		if extent, err = w.EndExtent(); err != nil {
			return err
		}
		made, err = w.End()
		return err
	})
	if err = errors.Join(err, w.Close()); err != nil {
		return Result{}, pack.Pack{}, err
	}
	res := Result{Extents: []pack.Extent{}, Read: extent.Size, Stored: extent.Length}
	if extent.Size > 0 {
		res.Extents = append(res.Extents, extent)
	}
	return res, made, nil
}

// addAll adds what r yields to the extent that w has begun in the pack of a name.
func addAll(
	ctx context.Context, w *pack.Writer, name string, r io.Reader, progress func(raw, stored int64),
) error {
	for {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		stored := w.Size()
		n, err := io.ReadFull(r, w.Buffer())
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("read the stream for %s: %w", name, err)
		}
		if err := w.Add(n); err != nil {
			return err
		}
		progress(int64(n), w.Size()-stored)
		if err != nil {
			return nil
		}
	}
}
