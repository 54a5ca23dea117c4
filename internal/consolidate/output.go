package consolidate

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"mbk/copier"
	"mbk/copier/pack"
)

// outputs are the packs that are being written, one for each worker.
type outputs struct {
	st    copier.Putter
	limit int64

	mu    sync.Mutex
	named int
	made  []pack.Pack
	all   []*output
	idle  []*output
}

// output writes one pack after another. It belongs to one goroutine at a time.
type output struct {
	ctx    context.Context
	of     *outputs
	writer *pack.Writer
	open   *openPack // nil: nothing was written since the last pack
	within bool      // an extent was begun
}

// openPack is a pack of which Put runs on a goroutine of its own.
type openPack struct {
	written chan error // gets one value: nil if all is written, else why the pack is given up
	durable chan error // gets what Put returned
}

// newOutputs returns n outputs.
func newOutputs(ctx context.Context, st copier.Putter, n int, codec string, limit int64) (*outputs, error) {
	c, _, err := pack.ParseCodec(codec)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	all := &outputs{st: st, limit: limit}
	for range n {
		w, err := pack.NewWriter(c, 0, pack.MaxChunk)
		if err != nil {
			return nil, err
		}
		o := &output{ctx: ctx, of: all, writer: w}
		w.BeginLater(o.begin)
		all.all, all.idle = append(all.all, o), append(all.idle, o)
	}
	return all, nil
}

// take returns an output that nobody uses.
func (a *outputs) take() *output {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.idle[len(a.idle)-1]
	a.idle = a.idle[:len(a.idle)-1]
	return o
}

// put returns an output after an extent. A pack that is full is ended.
func (a *outputs) put(o *output) error {
	var err error
	if o.writer.Size() >= a.limit {
		err = o.end()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.idle = append(a.idle, o)
	return err
}

// close ends all packs, or after an error gives them up, and returns them by name.
func (a *outputs) close(failed error) ([]pack.Pack, error) {
	for _, o := range a.all {
		if failed == nil {
			failed = o.end()
		} else {
			o.giveUp(failed)
		}
		_ = o.writer.Close() // its memory
	}
	slices.SortFunc(a.made, func(x, y pack.Pack) int { return cmp.Compare(x.Name, y.Name) })
	return a.made, failed
}

// begin makes the next pack.
func (o *output) begin() (string, io.Writer, error) {
	o.of.mu.Lock()
	o.of.named++
	name := fmt.Sprintf("data-%04d.pack", o.of.named)
	o.of.mu.Unlock()
	p := &openPack{written: make(chan error, 1), durable: make(chan error, 1)}
	opened := make(chan io.Writer, 1)
	go func() {
		p.durable <- o.of.st.Put(o.ctx, name, func(out io.Writer) error {
			opened <- out
			return <-p.written
		})
	}()
	select {
	case out := <-opened:
		o.open = p
		return name, out, nil
	case err := <-p.durable:
		return "", nil, cmp.Or(err, io.ErrUnexpectedEOF) // Put has not called the function
	}
}

// end makes the open pack durable, if there is one.
func (o *output) end() error {
	made, err := o.writer.End()
	if o.open != nil {
		o.open.written <- err
		err = <-o.open.durable
		o.open = nil
	}
	if err != nil {
		return err
	}
	o.writer.BeginLater(o.begin)
	if made.Name != "" {
		o.of.mu.Lock()
		defer o.of.mu.Unlock()
		o.of.made = append(o.of.made, made)
	}
	return nil
}

// giveUp ends the open pack without keeping it.
func (o *output) giveUp(why error) {
	if o.open != nil {
		o.open.written <- why
		<-o.open.durable
		o.open = nil
	}
}

// extent begins an extent of a file, unless one was begun.
func (o *output) extent(f *file, start int64) *pack.Writer {
	if !o.within {
		o.within = true
		o.writer.BeginExtent(f.Number, start, f.page)
	}
	return o.writer
}

// endExtent adds the extent that was begun, if there is one, to those of the file.
func (o *output) endExtent(f *file, to *[]pack.Extent) error {
	if !o.within {
		return nil
	}
	o.within = false
	e, err := o.writer.EndExtent()
	if err == nil {
		f.add(to, e)
	}
	return err
}
