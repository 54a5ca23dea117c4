package verify

import (
	"context"
	"errors"
	"io"

	"golang.org/x/sync/errgroup"

	"mbk/copier/pack"
	"mbk/internal/repo"
	"mbk/internal/ui/meter"
)

// storedDepth proves that the objects are as they were written.
type storedDepth struct{ *verification }

// run reads every object of the backup and compares it with the hash in the label. (The
// label carries its own, and has been read.)
func (d *storedDepth) run(ctx context.Context) error {
	found := d.count()
	label, err := d.backup.Label()
	if errors.Is(err, repo.ErrDamaged) {
		d.add(repo.Finding{Object: d.backup.String(), Problem: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	var total int64
	for _, o := range label.Objects {
		total += o.Size
	}
	d.meter.Begin(PhaseStored, total)
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(d.o.Workers)
	packs := counted{d.packs, d.meter}
	for _, o := range label.Objects {
		group.Go(func() error {
			err := pack.CheckHash(reading, packs, o.Name, o.Size, o.BLAKE3)
			if f, err := damageOf(err); f != nil {
				d.add(*f)
				return nil
			} else if err != nil {
				return err
			}
			d.read(o.Size)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	d.meter.End()
	strangers, err := d.backup.Strangers(ctx)
	if err != nil {
		return err
	}
	for _, name := range strangers {
		d.note("%s is not part of the backup", name)
	}
	d.read(0) // the label
	d.prove(found, "the label and all %d objects that it names are as they were written", len(label.Objects))
	return nil
}

// counted opens packs whose reads are counted by a meter.
type counted struct {
	pack.Opener
	meter *meter.Meter
}

// Open implements pack.Opener.
func (c counted) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	r, err := c.Opener.Open(ctx, name, offset, n)
	if err != nil {
		return nil, err
	}
	return countedReader{r, c.meter}, nil
}

// countedReader is what counted opens.
type countedReader struct {
	io.ReadCloser
	meter *meter.Meter
}

// Read implements io.Reader.
func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.meter.Add(int64(n))
	return n, err
}
