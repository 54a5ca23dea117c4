package copier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"mbk/copier/pack"
	"mbk/internal/sys/priority"
)

// ErrClosed is returned by Add after Close or Abort.
var ErrClosed = errors.New("the copier is closed")

// Copier copies sources into packs "data-0001.pack", "data-0002.pack",
// ... All its methods may be called from several goroutines. No pack is made that would be
// empty.
type Copier struct {
	st    Putter
	opts  Options
	limit *rate.Limiter // nil: none

	ctx    context.Context // of reading; over when the copier has failed
	cancel context.CancelFunc

	storing context.Context // of what writes packs; goes on after a failure if they are to be saved
	giveUp  context.CancelCauseFunc

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

	judge   sync.Once
	judged  chan struct{} // closed after save is set
	save    bool          // after a failure, end the packs instead of giving them up
	saveFor time.Duration // after a failure
	end     sync.Once

	mu    sync.Mutex
	named int // packs
	packs []pack.Pack
}

// saveTime is how long a copier that has failed may take to make its packs durable.
const saveTime = 20 * time.Second

// Part is a part of a source that was read.
type Part struct {
	Number uint32      // Source.Number
	Extent pack.Extent // Length 0: nothing of it had to be stored
}

// segment is a part of a source that one worker copies.
type segment struct {
	job         *Pending
	start, size int64
	base        *Base // it lies in; nil: everything is stored
	isFirst     bool  // it begins with a page that is read last
}

// New starts the workers of a Copier that writes packs to a store. They run until Close,
// Abort or Stop, one of which must be called. When ctx is cancelled, the copier fails with its
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

		judged:  make(chan struct{}),
		saveFor: saveTime,
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
		w := &worker{c: c, writer: writer, pages: pageReader{opts: &c.opts, urgent: c.urgent, wait: wait}}
		writer.BeginLater(w.makePack)
		workers[i] = w
	}
	c.ctx, c.cancel = context.WithCancel(ctx)
	c.storing, c.giveUp = context.WithCancelCause(context.WithoutCancel(ctx))
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
	p := &Pending{c: c, src: &src, name: src.Name, size: src.Size, step: src.step(int64(c.opts.ChunkSize))}
	per := c.opts.segment(src.Size)
	per -= per % p.step
	segments := src.inOrder(src.segments(p, per), p.step)
	p.left = len(segments)
	if n := len(segments) - 1; n > 0 && segments[n].isFirst {
		p.held, segments = new(segments[n]), segments[:n]
	}
	c.adding.RLock()
	defer c.adding.RUnlock()
	if c.closed {
		return nil, ErrClosed
	}
	if len(segments) == 0 {
		p.complete()
	}
	for _, s := range segments {
		select {
		case c.work <- s:
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
// returns an error, and without Options.OnPack the packs that were finished by then are
// useless, and the others do not exist. With it, Close does what Stop does. No goroutine
// is left when Close returns.
func (c *Copier) Close(ctx context.Context) ([]pack.Pack, error) {
	stop := context.AfterFunc(ctx, func() { c.fail(context.Cause(ctx)) })
	c.finish(c.opts.OnPack != nil)
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
	c.giveUp(c.err)
	c.finish(false)
}

// Stop is Abort for a caller who goes on with what was stored: packs that hold whole
// segments are ended and become durable, and OnPack is called for them, as far as that
// takes no longer than 20 s. It does the same if the copier has failed before. A pack may
// end with chunks of a segment that is in no part.
func (c *Copier) Stop(err error) {
	c.fail(cmp.Or(err, ErrClosed))
	c.finish(true)
}

// Failed returns a channel that is closed when the copier has failed; Err then returns
// why. Sources that were not copied by then never will be.
func (c *Copier) Failed() <-chan struct{} { return c.failed }

// Err returns why the copier has failed. Call it only after Failed's channel was closed.
func (c *Copier) Err() error { return c.err }

// finish ends the queue and waits for all goroutines. save says what becomes of the packs
// if the copier has failed, or fails now.
func (c *Copier) finish(save bool) {
	c.adding.Lock()
	if !c.closed {
		c.closed = true
		close(c.work)
	}
	c.adding.Unlock()
	c.judge.Do(func() {
		c.save = save
		close(c.judged)
	})
	done, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		c.limitSaving(done)
	}()
	c.wg.Wait()
	close(done)
	<-watched
	c.end.Do(func() {
		if err := context.Cause(c.ctx); err != nil {
			c.fail(err) // New's ctx, if no worker has noticed yet
		}
		c.unwatch()
		c.fail1.Do(func() {}) // nothing can fail any more
		c.cancel()
		c.giveUp(nil)
	})
}

// limitSaving gives up what is not saved some time after the copier has failed.
func (c *Copier) limitSaving(done <-chan struct{}) {
	select {
	case <-c.failed:
	case <-done:
		return
	}
	t := time.NewTimer(c.saveFor)
	defer t.Stop()
	select {
	case <-t.C:
		c.giveUp(c.err)
	case <-done:
	}
}

// fail records the first error and stops all workers. Packs that nobody will use are given
// up.
func (c *Copier) fail(err error) {
	c.fail1.Do(func() {
		c.err = err
		close(c.failed)
		c.cancel()
		if c.opts.OnPack == nil {
			c.giveUp(err)
		}
	})
}

// next returns the next segment to copy, false if there will be none or stop is closed, or
// sends something.
func (c *Copier) next(stop <-chan struct{}, late <-chan time.Time) (s segment, ok, isLate bool) {
	if isClosed(c.failed) || isClosed(stop) {
		return segment{}, false, false
	}
	select {
	case s, ok = <-c.work:
	case <-late:
		isLate = true
	case <-c.failed:
	case <-stop:
	}
	return s, ok, isLate
}

// newName returns the name of the next pack.
func (c *Copier) newName() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.named++
	return fmt.Sprintf("data-%04d.pack", c.named)
}

// finished passes on what was read for a pack, which is durable or was not made.
func (c *Copier) finished(p pack.Pack, parts []Part) {
	if c.opts.OnPack != nil && len(parts) > 0 {
		if err := c.opts.OnPack(c.storing, p, parts); err != nil {
			c.fail(err)
			return
		}
	}
	if p.Name == "" {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.packs = append(c.packs, p)
}
