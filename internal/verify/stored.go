package verify

import (
	"context"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"mbk/copier/pack"
	"mbk/internal/repo"
	"mbk/internal/ui/meter"
)

// storedDepth proves that the objects are as they were written.
type storedDepth struct{ *verification }

// run reads every object of the backup and compares it with its hash. (The
// manifest carries its own, and has been read.)
func (d *storedDepth) run(ctx context.Context) error {
	found := d.count()
	folder := repo.Folder(d.m.ID)
	var total int64
	for _, p := range d.m.Packs {
		total += p.Size
	}
	d.meter.Begin(PhaseStored, total)
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(d.o.Workers)
	st := counted{d.o.Repository.Store(), d.meter}
	for _, p := range d.m.Packs {
		group.Go(func() error {
			err := pack.CheckHash(reading, st, folder, p)
			if f, err := d.damage(reading, folder+"/"+p.Name, err); f != nil {
				d.add(*f)
				return nil
			} else if err != nil {
				return err
			}
			d.read(p.Size)
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	d.meter.End()
	if err := d.strangers(ctx, folder); err != nil {
		return err
	}
	d.read(0) // the manifest
	d.prove(found, "the manifest and all %d packs are as they were written", len(d.m.Packs))
	return nil
}

// strangers notes objects in the backup's folder that the manifest does not name.
func (d *storedDepth) strangers(ctx context.Context, folder string) error {
	list, err := d.o.Repository.Store().List(ctx, folder+"/")
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, p := range d.m.Packs {
		known[folder+"/"+p.Name] = true
	}
	for _, o := range list {
		if !known[o.Name] && !strings.HasPrefix(o.Name, folder+"/manifest") {
			d.note("%s is not part of the backup", o.Name)
		}
	}
	return nil
}

// counted is a store whose reads are counted by a meter.
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
