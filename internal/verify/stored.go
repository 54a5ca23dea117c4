package verify

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sync/errgroup"

	"mbk/copier/pack"
	"mbk/internal/repo"
	"mbk/internal/ui/meter"
	"mbk/internal/ui/printable"
)

// storedDepth proves that the objects are as they were written.
type storedDepth struct{ *verification }

// run reads every object of the backup and of those that it needs, and compares it with
// the hash in the label. (The labels carry their own, and have been read.)
func (d *storedDepth) run(ctx context.Context) error {
	found := d.count()
	members := d.chain.Members()
	objects := make([][]repo.Object, len(members))
	var total int64
	for i := range members {
		label, err := members[i].Label()
		if errors.Is(err, repo.ErrDamaged) {
			d.add(repo.Finding{Object: members[i].From.String(), Problem: err.Error()})
			continue
		}
		if err != nil {
			return err
		}
		objects[i] = label.Objects
		for _, o := range label.Objects {
			total += o.Size
		}
	}
	if d.count() > found {
		return nil
	}
	d.meter.Begin(PhaseStored, total)
	if err := d.objects(ctx, objects); err != nil {
		return err
	}
	d.meter.End()
	named := 0
	for i := range members {
		if f, err := damageOf(members[i].CheckKeys(ctx)); f != nil {
			d.add(*f)
		} else if err != nil {
			return err
		}
		strangers, err := members[i].Strangers(ctx)
		if err != nil {
			return err
		}
		for _, name := range strangers {
			d.note("%s is not part of the backup", name)
		}
		d.read(0) // the label
		named += len(objects[i])
	}
	what := fmt.Sprintf("the label and all %d objects that it names are", named)
	if len(members) > 1 {
		what = fmt.Sprintf("the labels of %d backups (%s) and all %d objects that they name are", len(members),
			printable.List(d.chain.IDs()), named)
	}
	d.prove(found, "%s as they were written", what)
	return nil
}

// objects compares the objects of each member with their hashes.
func (d *storedDepth) objects(ctx context.Context, objects [][]repo.Object) error {
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(d.o.Workers)
	for i, member := range d.chain.Members() {
		packs := counted{member.Stored, d.meter}
		for _, o := range objects[i] {
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
	}
	return group.Wait()
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
