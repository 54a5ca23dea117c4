package copier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"mbk/copier/pack"
	"mbk/internal/sys/priority"
)

// ErrClosed is returned by Add after Close or Abort.
var ErrClosed = errors.New("the copier is closed")

// Copier copies sources into packs "data-0001.pack", "data-0002.pack", ... of
// one folder. All its methods may be called from several goroutines.
type Copier struct {
	st     Putter
	folder string
	opts   Options
	limit  *rate.Limiter // nil: none

	ctx    context.Context
	cancel context.CancelFunc

	unwatch func() bool // ends the watching of New's ctx
	hurry   atomic.Bool
	urge    chan struct{}  // closed while hurry is true; guarded by mu
	calm    sync.WaitGroup // calm runs; added to under mu and while hurry is false
	wg      sync.WaitGroup // workers and Puts
	puts    chan struct{}  // a place for each pack that is not durable yet

	adding sync.RWMutex // held for reading while something is sent to work
	closed bool
	work   chan segment

	fail1  sync.Once
	failed chan struct{} // closed after err is set
	err    error
	end    sync.Once

	mu    sync.Mutex
	named int // packs
	packs []pack.Pack
}

// segment is a part of a source that one worker copies.
type segment struct {
	job         *Pending
	start, size int64
}

// New starts the workers of a Copier that writes packs to a folder of a store.
// They run until Close or Abort, one of which the caller must call. When ctx is
// cancelled, the copier fails with its cause.
func New(ctx context.Context, st Putter, folder string, opts Options) (*Copier, error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("copy to %s: %w", folder, err)
	}
	opts = opts.fill()
	c := &Copier{
		st:     st,
		folder: folder,
		opts:   opts,
		urge:   make(chan struct{}),
		puts:   make(chan struct{}, 2*opts.Workers),
		work:   make(chan segment, opts.Queue),
		failed: make(chan struct{}),
	}
	if opts.BytesPerSecond > 0 {
		c.limit = rate.NewLimiter(rate.Limit(opts.BytesPerSecond), opts.ChunkSize)
	}
	workers := make([]*worker, opts.Workers)
	for i := range workers {
		p, err := pack.NewWriter(opts.Codec, opts.Level, opts.ChunkSize)
		if err != nil {
			return nil, err
		}
		workers[i] = &worker{c: c, packer: p, pages: pageReader{opts: &c.opts, hurry: &c.hurry}}
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	for _, w := range workers {
		c.wg.Go(w.run)
	}
	c.unwatch = context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	return c, nil
}

// Add queues a source. Sources are copied in the order in which they are added,
// large ones by several workers at once. Add waits while the queue is full. The
// caller keeps the file open until Wait has returned. An error of Add itself
// (ctx, a source that makes no sense) does not fail the copier, but a source
// whose Add was interrupted may be copied in part.
func (c *Copier) Add(ctx context.Context, src Source) (*Pending, error) {
	if err := src.validate(c.opts.ChunkSize); err != nil {
		return nil, fmt.Errorf("copy %s: %w", src.Name, err)
	}
	p := &Pending{c: c, src: src, step: src.step(int64(c.opts.ChunkSize)), done: make(chan struct{})}
	per := c.opts.segment(src.Size)
	per -= per % p.step
	p.left.Store((src.Size + per - 1) / per)
	if src.Size == 0 {
		p.complete()
	}
	c.adding.RLock()
	defer c.adding.RUnlock()
	if c.closed {
		return nil, ErrClosed
	}
	for at := int64(0); at < src.Size; at += per {
		select {
		case c.work <- segment{job: p, start: src.Start + at, size: min(per, src.Size-at)}:
		case <-c.failed:
			return nil, c.err
		case <-ctx.Done():
			return nil, fmt.Errorf("copy %s: %w", src.Name, context.Cause(ctx))
		}
	}
	return p, nil
}

// Hurry reports whether somebody waits for what is copied, as the server does while
// its locks are held: then reading is not limited, and workers go on with their
// packs beyond the limit, so that no pack is synced to disk meanwhile, and at the
// priority of the process. It returns when no worker has another priority: on a busy
// machine these may need a while to notice, and it is called before there are locks.
func (c *Copier) Hurry(hurry bool) {
	c.mu.Lock()
	if c.hurry.CompareAndSwap(!hurry, hurry) {
		if hurry {
			close(c.urge)
		} else {
			c.urge = make(chan struct{})
		}
	}
	c.mu.Unlock()
	if hurry {
		c.calm.Wait()
	}
}

// beCalm notes the begin of a calm run, unless there is a hurry.
func (c *Copier) beCalm() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hurry.Load() {
		return false
	}
	c.calm.Add(1)
	return true
}

// urged returns a channel that is closed when there is a hurry.
func (c *Copier) urged() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.urge
}

// Close waits until all that was added is copied and the packs are durable. It
// returns the packs by name. If the copier failed, or fails because ctx ends,
// there is an error and the packs that were finished by then are of no use; the
// others do not exist. No goroutine is left when Close returns.
func (c *Copier) Close(ctx context.Context) ([]pack.Pack, error) {
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	c.finish()
	stop()
	select {
	case <-c.failed:
		return nil, c.err
	default:
	}
	slices.SortFunc(c.packs, func(a, b pack.Pack) int { return cmp.Compare(a.Name, b.Name) })
	return slices.Clone(c.packs), nil
}

// Abort makes the copier fail with err, waits for its goroutines, and leaves the
// finished packs to whoever removes the folder. After Close it does nothing.
func (c *Copier) Abort(err error) {
	c.fail(cmp.Or(err, ErrClosed))
	c.finish()
}

// Failed returns a channel that is closed when the copier has failed; Err then
// says why. Sources that were not done by then never will be.
func (c *Copier) Failed() <-chan struct{} { return c.failed }

// Err returns why the copier has failed. It is to be called after Failed's channel
// was closed.
func (c *Copier) Err() error { return c.err }

// finish ends the queue and waits for all goroutines.
func (c *Copier) finish() {
	c.adding.Lock()
	if !c.closed {
		c.closed = true
		close(c.work)
	}
	c.adding.Unlock()
	c.wg.Wait()
	c.end.Do(func() {
		if err := context.Cause(c.ctx); err != nil {
			c.fail(err) // New's ctx, if nobody has noticed yet
		}
		c.unwatch()
		c.fail1.Do(func() {}) // nothing can fail any more
		c.cancel()
	})
}

// fail records the first error and stops all workers.
func (c *Copier) fail(err error) {
	c.fail1.Do(func() {
		c.err = err
		close(c.failed)
		c.cancel()
	})
}

// next returns the next segment to copy, false if there will be none. If calm, it
// waits no longer than until there is a hurry, and then returns an empty segment.
func (c *Copier) next(calm bool) (segment, bool) {
	select {
	case <-c.failed:
		return segment{}, false
	default:
	}
	var urged <-chan struct{}
	if calm {
		urged = c.urged()
	}
	select {
	case s, ok := <-c.work:
		return s, ok
	case <-urged:
		return segment{}, true
	case <-c.failed:
		return segment{}, false
	}
}

// newName returns the name of the next pack.
func (c *Copier) newName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named++
	return fmt.Sprintf("data-%04d.pack", c.named)
}

// finished records a durable pack.
func (c *Copier) finished(p pack.Pack) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packs = append(c.packs, p)
}

// worker copies segments into its own pack.
type worker struct {
	c      *Copier
	packer *pack.Writer
	pages  pageReader
}

// run writes packs until there are no more segments.
func (w *worker) run() {
	for {
		first, ok := w.c.next(false)
		if !ok || !w.startPack(first) {
			break
		}
	}
	if err := w.packer.Close(); err != nil {
		w.c.fail(err)
	}
}

// startPack writes a pack that begins with a segment, and returns when the last
// byte of it is written. What makes it durable goes on in another goroutine, while
// the worker writes the next pack.
func (w *worker) startPack(first segment) bool {
	c := w.c
	select {
	case c.puts <- struct{}{}:
	case <-c.failed:
		return false
	}
	name := c.newName()
	written := make(chan struct{})
	c.wg.Go(func() {
		defer func() { <-c.puts }()
		var once sync.Once
		release := func() { once.Do(func() { close(written) }) }
		defer release()
		var made pack.Pack
		err := c.st.Put(c.ctx, c.folder+"/"+name, func(out io.Writer) error {
			defer release()
			var err error
			w.packer.Begin(name, out)
			made, err = w.fill(first)
			return err
		})
		if err != nil {
			c.fail(err)
			return
		}
		c.finished(made)
	})
	<-written
	return true
}

// fill copies segments into the pack that has begun, until that is full or there
// are no more.
func (w *worker) fill(s segment) (pack.Pack, error) {
	s, more, err := w.copyCalmly(s)
	if err == nil && more {
		_, _, err = w.copyRun(s, false)
	}
	if err != nil {
		// Here rather than where Put returns it, because that may say more
		// about the pack than about the cause.
		w.c.fail(err)
		return pack.Pack{}, err
	}
	select {
	case <-w.c.failed:
		return pack.Pack{}, w.c.err
	default:
	}
	return w.packer.End()
}

// copyCalmly is copyRun on a thread of the priority that the options want. The
// goroutine that ends packs and takes over when there is a hurry keeps its own:
// nobody gets the processor back from a busy server within a lock if he has to ask
// for it with the lowest priority.
func (w *worker) copyCalmly(s segment) (next segment, more bool, err error) {
	level := w.c.opts.Priority
	if level == (priority.Level{}) || !w.c.beCalm() {
		return s, true, nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer w.c.calm.Done()
		if err = level.Enter(); err == nil {
			next, more, err = w.copyRun(s, true)
		}
	}()
	<-done
	return next, more, err
}

// copyRun copies segments, beginning with s unless that is empty, until the pack
// is full or there are no more. A calm run also ends as soon as there is a hurry;
// then there is more to copy, beginning with next.
func (w *worker) copyRun(s segment, calm bool) (next segment, more bool, err error) {
	for ok := true; ok; s, ok = w.c.next(calm) {
		hurry := w.c.hurry.Load()
		if calm && hurry {
			return s, true, nil
		}
		if s.job == nil {
			continue
		}
		if err := w.copy(s); err != nil {
			return segment{}, false, err
		}
		if w.packer.Size() >= w.c.opts.PackLimit && !hurry {
			break
		}
	}
	return segment{}, false, nil
}

// copy copies a segment.
func (w *worker) copy(s segment) error {
	c, p := w.c, w.packer
	p.BeginExtent(s.job.src.Number, s.start)
	stored := p.Size()
	empty := holesOf(s)
	var at int64
	pass := func() bool { // over a hole
		n := empty.skip(s.start+at, s.size-at)
		if n > 0 {
			p.AddHole(n)
			c.opts.OnProgress(n, 0)
			at += n
		}
		return n > 0
	}
	pass() // so that nothing is fetched of it
	prints := newFootprint(segment{job: s.job, start: s.start + at, size: s.size - at}, c.opts.SpareCache)
	for at < s.size {
		if pass() {
			prints.passed(s.start + at)
			continue
		}
		n := min(s.job.step, s.size-at)
		if err := w.admit(int(n)); err != nil {
			return err
		}
		prints.reading(s.start + at + n)
		buf := p.Buffer()[:n]
		if err := w.pages.read(c.ctx, s.job, buf, s.start+at); err != nil {
			return err
		}
		if err := p.Add(len(buf)); err != nil {
			return err
		}
		c.opts.OnProgress(n, p.Size()-stored)
		stored = p.Size()
		at += n
		prints.read(s.start + at)
	}
	e, err := p.EndExtent()
	if err != nil {
		return err
	}
	if p.Size() > stored {
		c.opts.OnProgress(0, p.Size()-stored)
	}
	s.job.finish(e)
	return nil
}

// admit waits until n bytes may be read.
func (w *worker) admit(n int) error {
	c := w.c
	if c.limit == nil || c.hurry.Load() {
		return context.Cause(c.ctx)
	}
	place := c.limit.ReserveN(time.Now(), n)
	t := time.NewTimer(place.Delay())
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.urged():
		place.Cancel()
	case <-c.ctx.Done():
	}
	return context.Cause(c.ctx)
}
