package lease

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"mbk/internal/repo/store"
	"mbk/internal/sys/pause"
)

const (
	// kept are the numbers below the highest that are not removed, so that a listing that
	// takes its time never misses the highest one.
	kept = 8

	// releaseTime bounds what is done to give up a lock.
	releaseTime = 15 * time.Second
)

// holding is a lock that was taken.
type holding struct {
	locker *Locker
	name   string
	number uint64

	turn chan struct{} // whoever writes the record holds its only element
	// Of whoever has the turn.
	record record

	mu    sync.Mutex
	until time.Duration // the lock is counted on until then, by Locker.alive
	err   error         // why it is lost
	cause error         // why it was not renewed the last time
	over  bool          // released

	lost chan struct{}      // closed with err
	stop context.CancelFunc // ends the goroutines
	work sync.WaitGroup
}

func (l *Locker) newHolding(name, owner string, number uint64) *holding {
	h := &holding{
		locker: l, name: name, number: number, turn: make(chan struct{}, 1), lost: make(chan struct{}),
		record: record{Owner: plain(owner), Token: newToken()},
	}
	h.turn <- struct{}{}
	return h
}

func (h *holding) object() string { return objectName(h.name, h.number) }

// claim creates the number, after what was seen of the lock before. The error is a
// *store.LockedError if somebody else was faster, with the owner if that one holds the lock.
func (h *holding) claim(ctx context.Context, last seen) error {
	l := h.locker
	began := l.alive()
	content, err := h.next()
	if err != nil {
		return err
	}
	if err = l.objects.Create(ctx, h.object(), content); err != nil {
		err = h.look(ctx, err)
	}
	if err == nil {
		err = h.prove(ctx, last)
	}
	h.until = began + l.times.Hold
	if err == nil {
		err = h.Check()
	}
	if err != nil { // the object may have been created nevertheless
		return errors.Join(err, h.withdraw(ctx))
	}
	return nil
}

// look finds out whether the object was created although Create returned an error, as it
// does if the answer was lost.
func (h *holding) look(ctx context.Context, created error) error {
	l := h.locker
	content, err := l.objects.Read(ctx, h.object(), maxRecord)
	if err != nil {
		return created
	}
	now := seen{number: h.number, content: content, record: decode(content)}
	switch {
	case now.record.Token == h.record.Token:
		return nil
	case !errors.Is(created, fs.ErrExist):
		return created
	}
	return l.locked(h.name, &now)
}

// prove makes sure that the number is the highest, and that the holder before it has not
// come back to life.
func (h *holding) prove(ctx context.Context, last seen) error {
	l := h.locker
	now, err := l.newest(ctx, h.name)
	if err != nil {
		return err
	}
	if now.number != h.number || now.record.Token != h.record.Token {
		return l.locked(h.name, &now)
	}
	if last.free() {
		return nil
	}
	content, err := l.objects.Read(ctx, objectName(h.name, last.number), maxRecord)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil && !bytes.Equal(content, last.content) {
		last.record = decode(content)
		return l.locked(h.name, &last)
	}
	return nil
}

// begin removes what older holders have left, and renews the lock from now on.
func (h *holding) begin() {
	ctx, stop := context.WithCancel(context.Background()) // ends with Release
	h.stop = stop
	h.work.Go(func() {
		h.cleanUp(ctx)
		h.renewAlways(ctx)
	})
	h.work.Go(func() { h.noticeEnd(ctx) })
}

// cleanUp removes old numbers. What fails is for the next holder.
func (h *holding) cleanUp(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, h.locker.times.Renew)
	defer cancel()
	numbers, err := h.locker.numbers(ctx, h.name)
	if err != nil {
		return
	}
	for _, number := range numbers {
		if number+kept >= h.number || h.Check() != nil {
			return
		}
		if err := h.locker.objects.Delete(ctx, objectName(h.name, number)); err != nil {
			return
		}
	}
}

// renewAlways renews the lock until it is released or lost.
func (h *holding) renewAlways(ctx context.Context) {
	wait := h.locker.times.Renew
	for pause.For(ctx, wait) == nil {
		try, cancel := context.WithTimeout(ctx, h.locker.times.Hold/3)
		err := h.renew(try)
		cancel()
		wait = h.locker.times.Renew
		if err != nil {
			wait /= 4
		}
		if _, lost := errors.AsType[*store.LostError](err); lost {
			return
		}
	}
}

// noticeEnd closes the channel in time if no renewal succeeds.
func (h *holding) noticeEnd(ctx context.Context) {
	for h.Check() == nil {
		h.mu.Lock()
		left := h.until - h.locker.alive()
		h.mu.Unlock()
		if pause.For(ctx, max(left, time.Millisecond)) != nil {
			return
		}
	}
}

// renew writes the record again, if the lock is still ours, and makes sure that it is
// afterwards. The error is a *store.LostError if it is not.
func (h *holding) renew(ctx context.Context) (err error) {
	select {
	case <-h.turn:
		defer func() { h.turn <- struct{}{} }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := h.Check(); err != nil {
		return err
	}
	defer func() { h.note(err) }()
	l := h.locker
	began := l.alive()
	content, err := l.objects.Read(ctx, h.object(), maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return h.lose("its object was removed", nil)
	}
	if err != nil {
		return err
	}
	if there := decode(content); there.Token != h.record.Token || there.Released {
		return h.lose("its object was written by somebody else: "+there.holder(), nil)
	}
	if content, err = h.next(); err != nil {
		return err
	}
	err = l.objects.Write(ctx, h.object(), content)
	if errors.Is(err, fs.ErrNotExist) {
		return h.lose("its object was removed", nil)
	}
	if err != nil {
		return err
	}
	now, err := l.newest(ctx, h.name)
	if err != nil {
		return err
	}
	if now.number != h.number || now.record.Token != h.record.Token {
		return h.lose("it was taken over by "+now.record.holder(), nil)
	}
	return h.extend(began + l.times.Hold)
}

// next returns the record of the next renewal, encoded. The caller has the turn, or is alone.
func (h *holding) next() ([]byte, error) {
	h.record.Renewals++
	h.record.Renewed = time.Now().UTC().Truncate(time.Second)
	return h.record.encode()
}

// extend makes the lock count until a time, unless it was lost meanwhile.
func (h *holding) extend(until time.Duration) error {
	if err := h.Check(); err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.until = until
	return nil
}

// note keeps why a renewal failed.
func (h *holding) note(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cause = err
}

// lose ends the lock, and returns why it ended.
func (h *holding) lose(reason string, cause error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = &store.LostError{Name: h.name, Reason: reason, Err: cause}
		close(h.lost)
	}
	return h.err
}

// Check asks the clock.
func (h *holding) Check() error {
	h.mu.Lock()
	err, cause, over, late := h.err, h.cause, h.over, h.locker.alive()-h.until
	h.mu.Unlock()
	switch {
	case err != nil:
		return err
	case over:
		return &store.LostError{Name: h.name, Reason: "it was released"}
	case late < 0:
		return nil
	case cause != nil:
		return h.lose(fmt.Sprintf("it could not be renewed for %s", h.since(late)), cause)
	}
	return h.lose(fmt.Sprintf("it was not renewed for %s, because this process, its machine or the store stood still",
		h.since(late)), nil)
}

// since is how long ago the last renewal was, given how late the next one is.
func (h *holding) since(late time.Duration) time.Duration {
	return (h.locker.times.Hold + late).Round(time.Second)
}

// Confirm renews the lock, so that there is time for what is to come.
func (h *holding) Confirm(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, h.locker.times.Hold)
	defer cancel()
	for {
		err := h.renew(ctx)
		if err == nil {
			return nil
		}
		if lost := h.Check(); lost != nil {
			return lost
		}
		if pause.For(ctx, h.locker.times.Renew/4) != nil {
			return fmt.Errorf("confirm lock %s: %w", h.name, err)
		}
	}
}

// Lost is closed when the lock is lost.
func (h *holding) Lost() <-chan struct{} { return h.lost }

// Release gives the lock back.
func (h *holding) Release() error {
	gone := h.Check() // lost, or released before
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.stop()
	h.work.Wait()
	if gone != nil {
		return nil
	}
	return h.withdraw(context.Background()) // has a limit of its own
}

// withdraw writes down that the lock is free, if it is ours. The record is never written
// again after that.
func (h *holding) withdraw(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTime)
	defer cancel()
	select {
	case <-h.turn: // and keeps it
	case <-ctx.Done():
		return ctx.Err()
	}
	h.record.Released = true
	there, err := h.locker.objects.Read(ctx, h.object(), maxRecord)
	if errors.Is(err, fs.ErrNotExist) || err == nil && decode(there).Token != h.record.Token {
		return nil
	}
	var content []byte
	if err == nil {
		content, err = h.next()
	}
	if err == nil {
		err = h.locker.objects.Write(ctx, h.object(), content)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("release lock %s, which ends by itself after %s: %w", h.name, h.locker.times.Dead, err)
	}
	return nil
}
