package stage

import (
	"context"
	"fmt"
	"sync"
	"time"

	"mbk/internal/fault"
)

// ErrStoodStill is the cause of ErrStageLost and ErrLockLost when this process
// gave no sign of life for so long that the server ended the connection and with
// it all locks: it was stopped, its container was frozen, or it got no memory.
var ErrStoodStill = fault.New(fault.Busy, "mbk stood still")

// How long the server waits for a sign of life from a connection before it ends
// it. The clock for that runs in the server, so a process that is frozen cannot
// keep others waiting.
const (
	restLimit  = 10 * time.Minute // nobody waits for what the connection holds
	lockedMost = time.Minute      // others may wait, whatever the budget is
	lockGrace  = 2 * time.Second  // beyond the budget, so that the budget ends first
	tableGrace = 4 * time.Second  // the same for a table's lock: no sign of life is given under it
)

// waitTimeout is the statement that makes the server end a connection that is
// idle for so long. It is a sign of life, too.
func waitTimeout(limit time.Duration) string {
	return fmt.Sprintf("SET SESSION wait_timeout=%d", max(1, (limit+time.Second-1)/time.Second))
}

// idleLimit is how long the server shall wait for a sign of life while stage is
// held or asked for.
func (s *Stages) idleLimit(stage Stage) time.Duration {
	left := s.opts.Budget
	switch {
	case stage < Flush:
		return restLimit
	case stage > Flush && !s.deadline.IsZero():
		left = max(0, time.Until(s.deadline))
	}
	return min(left, lockedMost) + lockGrace
}

// sign gives a sign of life and tells the server how long to wait for the next
// one. The caller has the turn.
func (s *Stages) sign() error {
	s.mu.Lock()
	limit := s.idleLimit(s.present)
	s.mu.Unlock()
	begun := time.Now()
	err := s.own.exec(s.life, waitTimeout(limit))
	if err == nil {
		s.pulse.allow(limit, begun)
	}
	return err
}

// keepAlive gives a sign of life whenever the connection has nothing to do: so a
// loss is noticed at once, no proxy finds the connection idle, and the server knows
// that somebody is there who will give the stages back.
func (s *Stages) keepAlive() {
	defer close(s.stopped)
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-s.gone:
			return
		case <-tick.C:
		}
		select {
		case s.turn <- struct{}{}:
		default:
			continue // a statement is running
		}
		err := s.sign()
		<-s.turn
		if err != nil && lost(err) {
			_ = s.fail(err) // every later call returns it
			return
		}
	}
}

// pulse notices when this process has stood still. Methods may be called from several
// goroutines.
type pulse struct {
	mu    sync.Mutex
	last  time.Time     // of the last beat
	sign  time.Time     // the server has waited for us since then, or a moment later
	limit time.Duration // how long it waits; 0: forever
	stood error         // that we stood still for longer
	stop  context.CancelFunc
	ended chan struct{}
}

// newPulse starts one. The caller calls end.
func newPulse() *pulse {
	// It measures this process whatever the caller's context does, until end.
	ctx, stop := context.WithCancel(context.Background())
	p := &pulse{last: time.Now(), stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		tick := time.NewTicker(keepAlive / 2)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				p.beat()
			}
		}
	}()
	return p
}

// beat returns an error if this process ever stood still for longer than the server
// waits. The server counts from the last sign of life, which may be older than the last
// beat.
func (p *pulse) beat() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	still := time.Since(p.last)
	if p.limit > 0 && time.Since(p.sign) >= p.limit && still >= p.limit/2 {
		p.stood = fmt.Errorf("%w for %s, so the server ended the connection after %s, and with it the locks",
			ErrStoodStill, still.Round(100*time.Millisecond), p.limit.Round(time.Second))
	}
	p.last = time.Now()
	return p.stood
}

// allow notes how long the server waits for the next sign of life after the one that was
// begun at sign.
func (p *pulse) allow(limit time.Duration, sign time.Time) {
	_ = p.beat() // under the old limit
	p.mu.Lock()
	p.limit, p.sign = limit, sign
	p.mu.Unlock()
}

// explain is why a connection was lost: because we stood still, or err.
func (p *pulse) explain(err error) error {
	if stood := p.beat(); stood != nil {
		return stood
	}
	return err
}

// end stops it.
func (p *pulse) end() {
	p.stop()
	<-p.ended
}

// idler tells the server how long to wait for the next statement on a connection
// for table locks: not for long while a table is locked, and long when none has
// been for a moment.
type idler struct {
	own     *session
	locked  time.Duration // the limit while a table may be locked
	pulse   *pulse
	stop    context.CancelFunc
	stopped chan struct{}

	mu    sync.Mutex // held during every statement; guards what follows
	busy  bool       // a table is locked, or may be
	until time.Time  // signs of life are given under the lock until then
	rests bool       // the server waits for long
	heard time.Time
}

// newIdler begins to watch over a connection, on which a table may be locked from
// now on.
func newIdler(ctx context.Context, own *session, locked time.Duration) (*idler, error) {
	// A lock outlives the call that took it, so the signs of life do too, until close.
	life, stop := context.WithCancel(context.Background())
	i := &idler{own: own, locked: locked, stop: stop, stopped: make(chan struct{}), heard: time.Now()}
	begun := time.Now()
	if err := own.exec(ctx, waitTimeout(locked)); err != nil {
		stop()
		return nil, err
	}
	i.pulse = newPulse()
	i.pulse.allow(locked, begun)
	go i.watch(life)
	return i, nil
}

// watch lets the connection rest when it has had nothing to do for a second, and keeps a
// lock that is to be held for longer. An error shows again in the next statement.
func (i *idler) watch(ctx context.Context) {
	defer close(i.stopped)
	tick := time.NewTicker(keepAlive)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		i.mu.Lock()
		switch {
		case !i.busy && time.Since(i.heard) >= keepAlive/2:
			// Repeated each second, it is the sign of life.
			i.rests = i.sign(ctx, restLimit) || i.rests
		case i.busy && time.Now().Before(i.until):
			i.sign(ctx, i.locked)
		}
		i.mu.Unlock()
	}
}

// sign gives a sign of life, and tells the server how long to wait for the next one. It
// reports whether the server knows.
func (i *idler) sign(ctx context.Context, limit time.Duration) bool {
	begun := time.Now()
	if i.own.exec(ctx, waitTimeout(limit)) != nil {
		return false
	}
	i.heard = time.Now()
	i.pulse.allow(limit, begun)
	return true
}

// keep has signs of life given under the lock that is held, for that time.
func (i *idler) keep(d time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.until = time.Now().Add(d)
}

// exec runs a statement after which a table is locked, or none is.
func (i *idler) exec(ctx context.Context, text string, locks bool) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.rests && locks {
		begun := time.Now()
		if err := i.own.exec(ctx, waitTimeout(i.locked)); err != nil {
			return i.judge(err)
		}
		i.rests = false
		i.pulse.allow(i.locked, begun)
	}
	i.busy, i.until = i.busy || locks, time.Time{}
	err := i.own.exec(ctx, text)
	if err != nil && lost(err) {
		return i.judge(err)
	}
	i.busy, i.heard = locks && err == nil, time.Now()
	return err
}

// judge reports whether the connection was lost because we stood still.
func (i *idler) judge(err error) error {
	if lost(err) {
		return i.pulse.explain(err)
	}
	return err
}

// close ends the watch.
func (i *idler) close() {
	i.stop()
	<-i.stopped
	i.pulse.end()
}
