package copier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/time/rate"

	"mbk/copier/pack"
	"mbk/internal/sys/priority"
)

// ErrClosed is returned by Add after Close or Abort.
var ErrClosed = errors.New("the copier is closed")

// Copier copies sources into packs "data-0001.pack", "data-0002.pack",
// ... All its methods may be called from several goroutines.
type Copier struct {
	st    Putter
	opts  Options
	limit *rate.Limiter // nil: none

	ctx    context.Context
	cancel context.CancelFunc

	unwatch func() bool    // ends the watching of New's ctx
	wg      sync.WaitGroup // workers and Puts
	puts    chan struct{}  // one element for each pack that is not durable yet

	hasten     sync.Once
	urgent     chan struct{}  // closed when copying becomes urgent
	background sync.WaitGroup // workers whose threads have a lower priority

	adding sync.RWMutex // read-locked while something is sent to work
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

// New starts the workers of a Copier that writes packs to a store. They run until Close
// or Abort, one of which must be called. When ctx is cancelled, the copier fails with its
// cause.
func New(ctx context.Context, st Putter, opts Options) (*Copier, error) {
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("copy: %w", err)
	}
	opts = opts.fill()
	c := &Copier{
		st:     st,
		opts:   opts,
		urgent: make(chan struct{}),
		puts:   make(chan struct{}, 2*opts.Workers),
		work:   make(chan segment, opts.Queue),
		failed: make(chan struct{}),
	}
	if opts.BytesPerSecond > 0 {
		c.limit = rate.NewLimiter(rate.Limit(opts.BytesPerSecond), opts.ChunkSize)
	}
	wait := &patience{limit: opts.RetryTime}
	workers := make([]*worker, opts.Workers)
	for i := range workers {
		writer, err := pack.NewWriter(opts.Codec, opts.Level, opts.ChunkSize)
		if err != nil {
			return nil, err
		}
		workers[i] = &worker{c: c, writer: writer, pages: pageReader{opts: &c.opts, urgent: c.urgent, wait: wait}}
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	for _, w := range workers {
		if opts.Priority == (priority.Level{}) {
			c.wg.Go(w.run)
			continue
		}
		c.background.Add(1)
		c.wg.Go(w.runInBackground)
	}
	c.unwatch = context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	return c, nil
}

// Add queues a source. Sources are copied in the order in which they are added, large
// ones by several workers at once. Add waits while the queue is full. The caller keeps
// the file open until Wait has returned. An error of Add itself (ctx is done, or the
// source makes no sense) does not fail the copier, but if Add was interrupted, a part of
// the source may be copied.
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

// MakeUrgent is called when somebody will wait for what is copied, as the server does
// while its locks are held. From then on reading is not limited, workers go on with
// their packs beyond the limit, so that no pack is synced to disk meanwhile, and all
// threads have the priority of the process. MakeUrgent returns when none has a lower
// one. On a busy machine that may take a while, so it is called before there are locks.
func (c *Copier) MakeUrgent() {
	c.hasten.Do(func() { close(c.urgent) })
	c.background.Wait()
}

// isClosed reports whether a channel on which nothing is sent was closed.
func isClosed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

// Close waits until all sources are copied and the packs are durable. It returns the
// packs, sorted by name. If the copier has failed, or fails because ctx ends, Close
// returns an error; the packs that were finished by then are useless, and the others do
// not exist. No goroutine is left when Close returns.
func (c *Copier) Close(ctx context.Context) ([]pack.Pack, error) {
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	c.finish()
	stop()
	if isClosed(c.failed) {
		return nil, c.err
	}
	slices.SortFunc(c.packs, func(a, b pack.Pack) int { return cmp.Compare(a.Name, b.Name) })
	return slices.Clone(c.packs), nil
}

// Abort makes the copier fail with err and waits for its goroutines. The caller removes
// the packs that are finished. After Close it does nothing.
func (c *Copier) Abort(err error) {
	c.fail(cmp.Or(err, ErrClosed))
	c.finish()
}

// Failed returns a channel that is closed when the copier has failed; Err then returns
// why. Sources that were not copied by then never will be.
func (c *Copier) Failed() <-chan struct{} { return c.failed }

// Err returns why the copier has failed. Call it only after Failed's channel was closed.
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
			c.fail(err) // New's ctx, if no worker has noticed yet
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

// next returns the next segment to copy, false if there will be none or stop is closed.
func (c *Copier) next(stop <-chan struct{}) (segment, bool) {
	if isClosed(c.failed) || isClosed(stop) {
		return segment{}, false
	}
	select {
	case s, ok := <-c.work:
		return s, ok
	case <-c.failed:
	case <-stop:
	}
	return segment{}, false
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
