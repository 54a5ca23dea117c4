package lease

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mbk/internal/repo/store"
)

// objects are objects in memory.
type objects struct {
	mu      sync.Mutex
	content map[string][]byte
}

func newObjects() *objects { return &objects{content: map[string][]byte{}} }

func (o *objects) Create(_ context.Context, name string, content []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, there := o.content[name]; there {
		return fs.ErrExist
	}
	o.content[name] = content
	return nil
}

func (o *objects) Write(_ context.Context, name string, content []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if before, there := o.content[name]; there && len(before) != len(content) {
		return fmt.Errorf("%d bytes over %d", len(content), len(before))
	}
	o.content[name] = content
	return nil
}

func (o *objects) Read(_ context.Context, name string, limit int64) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	content, ok := o.content[name]
	if !ok {
		return nil, fs.ErrNotExist
	}
	return content[:min(limit, int64(len(content)))], nil
}

func (o *objects) List(_ context.Context, prefix string) (names []string, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name := range o.content {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, nil
}

func (o *objects) Delete(_ context.Context, name string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.content, name)
	return nil
}

func (o *objects) clear() {
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.content)
}

// failing is a way to objects that can fail.
type failing struct {
	Objects
	mu sync.Mutex
	// fault is asked before each call, and again when it has done its work; the caller
	// gets what it returns.
	fault func(call string, done bool) error
}

func (f *failing) set(fault func(call string, done bool) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// call makes a call with its faults.
func (f *failing) call(ctx context.Context, name string, do func() error) error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		fault = func(string, bool) error { return nil }
	}
	if err := errors.Join(ctx.Err(), fault(name, false)); err != nil {
		return err
	}
	return errors.Join(do(), fault(name, true))
}

func (f *failing) Create(ctx context.Context, name string, content []byte) error {
	return f.call(ctx, "create", func() error { return f.Objects.Create(ctx, name, content) })
}

func (f *failing) Write(ctx context.Context, name string, content []byte) error {
	return f.call(ctx, "write", func() error { return f.Objects.Write(ctx, name, content) })
}

func (f *failing) Read(ctx context.Context, name string, limit int64) (content []byte, err error) {
	err = f.call(ctx, "read", func() (err error) {
		content, err = f.Objects.Read(ctx, name, limit)
		return err
	})
	return content, err
}

func (f *failing) List(ctx context.Context, prefix string) (names []string, err error) {
	err = f.call(ctx, "list", func() (err error) {
		names, err = f.Objects.List(ctx, prefix)
		return err
	})
	return names, err
}

func (f *failing) Delete(ctx context.Context, name string) error {
	return f.call(ctx, "delete", func() error { return f.Objects.Delete(ctx, name) })
}

// machine is one that takes locks. Its clock can jump and stand still.
type machine struct {
	*Locker
	mu      sync.Mutex
	jumped  time.Duration
	stopped time.Duration // what the clock shows, unless it is negative
}

// newMachine returns a machine whose clocks are those of a synctest bubble.
func newMachine(o Objects) *machine {
	began := time.Now()
	m := &machine{Locker: New(o, Times{}), stopped: -1}
	m.alive = func() time.Duration {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.stopped >= 0 {
			return m.stopped
		}
		return time.Since(began) + m.jumped
	}
	m.watched = func() time.Duration { return time.Since(began) }
	return m
}

// jump puts the clock forward.
func (m *machine) jump(d time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.jumped += d
}

// freeze stops the clock until it is woken up, after having slept for a time by that clock.
func (m *machine) freeze() (wake func(slept time.Duration)) {
	now := m.alive()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = now
	return func(slept time.Duration) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.stopped += slept
	}
}

func mustLock(t *testing.T, l store.Locker, owner string) store.Lock {
	t.Helper()
	lock, err := l.Lock(t.Context(), "repository", owner)
	if err != nil {
		t.Fatalf("Lock by %s: %v", owner, err)
	}
	return lock
}

func wantLocked(t *testing.T, l store.Locker, by string) {
	t.Helper()
	lock, err := l.Lock(t.Context(), "repository", "another")
	if err == nil {
		t.Fatal("the lock was taken, although it is held")
	}
	if locked, ok := errors.AsType[*store.LockedError](err); !ok || !strings.HasPrefix(locked.Owner, by) {
		t.Errorf("Lock = %v, %v, want one held by %s", lock, err, by)
	}
}

func wantLost(t *testing.T, lock store.Lock, reason string) {
	t.Helper()
	for name, err := range map[string]error{"Check": lock.Check(), "Confirm": lock.Confirm(t.Context())} {
		if lost, ok := errors.AsType[*store.LostError](err); !ok || !strings.Contains(lost.Error(), reason) {
			t.Errorf("%s = %v, want lost: %s", name, err, reason)
		}
	}
	select {
	case <-lock.Lost():
	default:
		t.Error("Lost is not closed")
	}
	if err := lock.Release(); err != nil {
		t.Errorf("Release of a lost lock: %v", err)
	}
}

// A holder that renews keeps its lock, for however long. Who wants it is told so within
// seconds.
func TestHeldForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObjects()
		lock := mustLock(t, newMachine(o), "db1 pid 1")
		time.Sleep(5*time.Hour + 7*time.Second)
		began := time.Now()
		wantLocked(t, newMachine(o), "db1 pid 1, last sign of life at ")
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("it took %s to find a holder alive", took)
		}
		if err := errors.Join(lock.Check(), lock.Confirm(t.Context()), lock.Release(), lock.Release()); err != nil {
			t.Error(err)
		}
		began = time.Now()
		second := mustLock(t, newMachine(o), "db2 pid 2")
		if took := time.Since(began); took > 0 {
			t.Errorf("it took %s to take a free lock", took)
		}
		if err := second.Release(); err != nil {
			t.Error(err)
		}
	})
}

// kill makes nothing of a holder reach the store any more, as if it was dead.
func kill(lock store.Lock) {
	h := lock.(*holding)
	h.stop()
	h.work.Wait()
}

func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObjects()
		first := mustLock(t, newMachine(o), "db1 pid 1")
		time.Sleep(time.Minute)
		kill(first)
		holder, err := newMachine(o).Holder(t.Context(), "repository")
		if !strings.HasPrefix(holder, "db1 pid 1") || err != nil {
			t.Errorf("Holder = %q, %v", holder, err)
		}
		began := time.Now()
		second := mustLock(t, newMachine(o), "db2 pid 2")
		if took := time.Since(began); took < 2*time.Minute || took > 125*time.Second {
			t.Errorf("a dead holder was waited for for %s, want 2 min", took)
		}
		wantLost(t, first, "")
		wantLocked(t, newMachine(o), "db2 pid 2")
		if err := second.Release(); err != nil {
			t.Error(err)
		}
		if holder, err := newMachine(o).Holder(t.Context(), "repository"); holder != "" || err != nil {
			t.Errorf("Holder of a released lock = %q, %v", holder, err)
		}
	})
}

// A process that was frozen for longer than its lease, and runs again, has no lock.
func TestFrozen(t *testing.T) {
	for _, c := range []struct {
		name  string
		slept time.Duration // by the clock of the frozen machine
		want  string
	}{
		{"the clock ran on", 10 * time.Minute, "stood still"},
		{"the clock stood still, too", 0, "taken over by db2 pid 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newObjects()
				frozen := newMachine(o)
				lock := mustLock(t, frozen, "db1 pid 1")
				wake := frozen.freeze()
				kill(lock)
				second := mustLock(t, newMachine(o), "db2 pid 2")
				wake(c.slept)
				if err := lock.Confirm(t.Context()); err == nil {
					t.Error("Confirm of a lock that was taken over succeeded")
				}
				wantLost(t, lock, c.want)
				if err := errors.Join(second.Check(), second.Confirm(t.Context()), second.Release()); err != nil {
					t.Errorf("the new holder: %v", err)
				}
			})
		})
	}
}

// A holder that cannot renew has given up before anybody can take over.
func TestCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObjects()
		network := &failing{Objects: o}
		lock := mustLock(t, newMachine(network), "db1 pid 1")
		time.Sleep(time.Minute + time.Millisecond)
		network.set(func(string, bool) error { return errors.New("no route to host") })
		began := time.Now()
		done := make(chan time.Time, 1)
		go func() {
			<-lock.Lost()
			done <- time.Now()
		}()
		second := mustLock(t, newMachine(o), "db2 pid 2")
		select {
		case lost := <-done:
			t.Logf("lost after %s, taken over after %s", lost.Sub(began), time.Since(began))
		default:
			t.Error("taken over before the holder knew")
		}
		network.set(nil)
		wantLost(t, lock, "could not be renewed for 1m30s: no route to host")
		if err := second.Release(); err != nil {
			t.Error(err)
		}
	})
}

// A store that is away for a minute costs nobody the lock.
func TestShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &failing{Objects: newObjects()}
		lock := mustLock(t, newMachine(network), "db1 pid 1")
		for range 5 {
			network.set(func(string, bool) error { return errors.New("connection refused") })
			time.Sleep(time.Minute)
			network.set(nil)
			time.Sleep(30 * time.Second)
		}
		if err := errors.Join(lock.Check(), lock.Confirm(t.Context()), lock.Release()); err != nil {
			t.Error(err)
		}
	})
}

// Of many who want a lock one gets it, whether it is free or its holder is dead.
func TestManyTakers(t *testing.T) {
	for _, dead := range []bool{false, true} {
		t.Run(fmt.Sprintf("after a dead holder: %t", dead), func(t *testing.T) {
			for range 20 {
				synctest.Test(t, func(t *testing.T) {
					o := newObjects()
					if dead {
						kill(mustLock(t, newMachine(o), "dead"))
					}
					var wg sync.WaitGroup
					won := make(chan store.Lock, 16)
					for i := range 16 {
						wg.Go(func() {
							lock, err := newMachine(o).Lock(t.Context(), "repository", fmt.Sprintf("taker %d", i))
							if err == nil {
								won <- lock
							} else if _, ok := errors.AsType[*store.LockedError](err); !ok {
								t.Errorf("Lock = %v, want a lock or *store.LockedError", err)
							}
						})
					}
					wg.Wait()
					if len(won) != 1 {
						t.Fatalf("%d of 16 took the lock", len(won))
					}
					if err := (<-won).Release(); err != nil {
						t.Error(err)
					}
				})
			}
		})
	}
}

// Every call of taking, renewing and releasing a lock fails in turn, before and after it
// has done its work. Nobody ever believes to hold a lock that another one has, and the lock
// can always be taken again.
func TestEveryCallFails(t *testing.T) {
	for _, done := range []bool{false, true} {
		for n := 0; ; n++ {
			fired := false
			synctest.Test(t, func(t *testing.T) {
				o := newObjects()
				kill(mustLock(t, newMachine(o), "dead"))
				time.Sleep(time.Second)
				left := n
				network := &failing{Objects: o}
				network.set(func(call string, after bool) error {
					if after != done || fired {
						return nil
					}
					if left--; left >= 0 {
						return nil
					}
					fired = true
					return fmt.Errorf("lost at %s", call)
				})
				lock, err := newMachine(network).Lock(t.Context(), "repository", "db1 pid 1")
				if err == nil {
					time.Sleep(20 * time.Second)
					if err := errors.Join(lock.Check(), lock.Confirm(t.Context())); err != nil {
						t.Errorf("call %d, done %t: one failure cost the lock: %v", n, done, err)
					}
					wantLocked(t, newMachine(o), "db1 pid 1")
					_ = lock.Release() // may be what fails
				}
				second := mustLock(t, newMachine(o), "db2 pid 2")
				if lock != nil {
					wantReleased(t, lock)
				}
				if err := second.Release(); err != nil {
					t.Error(err)
				}
			})
			if !fired {
				if n < 10 {
					t.Errorf("only %d calls", n)
				}
				break
			}
		}
	}
}

// wantReleased makes sure that a lock that was released does not say that it is held.
func wantReleased(t *testing.T, lock store.Lock) {
	t.Helper()
	if lock.Check() == nil || lock.Confirm(t.Context()) == nil {
		t.Error("a lock that was released is still held")
	}
}

// Who has created the next number, but not seen the answer, recognizes its own.
func TestLostAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := &failing{Objects: newObjects()}
		network.set(func(call string, done bool) error {
			if call == "create" && done {
				return errors.New("connection reset")
			}
			return nil
		})
		lock := mustLock(t, newMachine(network), "db1 pid 1")
		if err := errors.Join(lock.Confirm(t.Context()), lock.Release()); err != nil {
			t.Error(err)
		}
	})
}

// Somebody who was frozen between seeing a dead holder and taking over loses against those
// who were faster, however many these were and although their objects are gone.
func TestSlowTaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObjects()
		kill(mustLock(t, newMachine(o), "dead"))
		slow := newMachine(o)
		last, err := slow.await(t.Context(), "repository")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 * kept {
			lock := mustLock(t, newMachine(o), "db2 pid 2")
			time.Sleep(time.Second)
			if err := lock.Release(); err != nil {
				t.Fatal(err)
			}
		}
		names, err := o.List(t.Context(), "")
		if err != nil || len(names) > kept+2 {
			t.Errorf("%d objects were kept: %q, %v", len(names), names, err)
		}
		holder := mustLock(t, newMachine(o), "db3 pid 3")
		h := slow.newHolding("repository", "slow", last.number+1)
		err = h.claim(t.Context(), last)
		if locked, ok := errors.AsType[*store.LockedError](err); !ok || !strings.HasPrefix(locked.Owner, "db3 pid 3") {
			t.Errorf("claim = %v, want held by db3", err)
		}
		if err := errors.Join(holder.Confirm(t.Context()), holder.Release()); err != nil {
			t.Error(err)
		}
	})
}

// A holder that renews while another one takes over: at least one of them gives up, at
// whatever call of the takeover the renewal comes.
func TestRenewedDuringTakeover(t *testing.T) {
	for n := 0; ; n++ {
		fired := false
		synctest.Test(t, func(t *testing.T) {
			o := newObjects()
			old := newMachine(o)
			lock := mustLock(t, old, "db1 pid 1")
			kill(lock)
			network := &failing{Objects: o}
			taker := newMachine(network)
			last, err := taker.await(t.Context(), "repository")
			if err != nil {
				t.Fatal(err)
			}
			// Its clock has stood still: it does not know that it is late.
			old.jump(-5 * time.Minute)
			calls := 0
			network.set(func(string, bool) error {
				if calls++; calls == n+1 && !fired {
					fired = true
					_ = lock.(*holding).renew(t.Context())
				}
				return nil
			})
			h := taker.newHolding("repository", "db2 pid 2", last.number+1)
			err = h.claim(t.Context(), last)
			if fired && err == nil && lock.Check() == nil {
				t.Errorf("renewed at call %d of the takeover: both hold the lock", n)
			}
			if err != nil && !fired {
				t.Errorf("the takeover failed without a renewal: %v", err)
			}
		})
		if !fired {
			if n < 8 {
				t.Errorf("only %d calls", n)
			}
			return
		}
	}
}

// A store can hold anything, and a holder's text is shown on a terminal.
func TestHostileObjects(t *testing.T) {
	for name, c := range map[string]struct {
		object, content string
		want            string // holder; "" if there is none
	}{
		"no record":            {"repository.000000000001", "garbage", "somebody who left no name"},
		"empty":                {"repository.000000000001", "", "somebody who left no name"},
		"large":                {"repository.000000000001", strings.Repeat("[", 1<<20), "somebody who left no name"},
		"control characters":   {"repository.000000000001", `{"owner":"\u001b[2Jx\n\u0000","token":"t"}`, "[2Jx, last"},
		"a long owner":         {"repository.000000000001", `{"owner":"` + strings.Repeat("ä", 999) + `","token":"t"}`, "ä"},
		"number zero":          {"repository.000000000000", "garbage", ""},
		"no number":            {"repository.x", "garbage", ""},
		"another form":         {"repository.1", "garbage", ""},
		"a number too large":   {"repository.99999999999999999999", "garbage", ""},
		"below a folder":       {"repository.000000000001/x", "garbage", ""},
		"the lock of another":  {"repository.old.000000000001", "garbage", ""},
		"the last but one":     {"repository.4611686018427387902", `{"released":true}`, ""},
		"the largest possible": {"repository.4611686018427387903", `{"released":true}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newObjects()
				o.content[Prefix+c.object] = []byte(c.content)
				l := newMachine(o)
				holder, err := l.Holder(t.Context(), "repository")
				if err != nil || !strings.HasPrefix(holder, c.want) || c.want == "" && holder != "" {
					t.Errorf("Holder = %q, %v, want %q", holder, err, c.want)
				}
				if strings.ContainsFunc(holder, func(r rune) bool { return r < ' ' }) || len(holder) > 400 {
					t.Errorf("Holder = %q", holder)
				}
				lock, err := l.Lock(t.Context(), "repository", "me")
				if name == "the largest possible" {
					if err == nil {
						t.Error("took a lock whose number nobody sees")
					}
					return
				}
				if err != nil {
					t.Fatalf("Lock = %v", err)
				}
				if err := errors.Join(lock.Confirm(t.Context()), lock.Release()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// Somebody removes or replaces the objects of a lock that is held.
func TestObjectsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObjects()
		lock := mustLock(t, newMachine(o), "db1 pid 1")
		o.clear()
		second := mustLock(t, newMachine(o), "db2 pid 2")
		time.Sleep(time.Minute)
		wantLost(t, lock, "written by somebody else: db2 pid 2")
		if err := second.Release(); err != nil {
			t.Error(err)
		}
		third := mustLock(t, newMachine(o), "db3 pid 3")
		o.clear()
		if err := third.Confirm(t.Context()); err == nil {
			t.Error("Confirm of a removed lock succeeded")
		}
		wantLost(t, third, "removed")
	})
}

// A cancelled Lock leaves nothing that others have to wait for.
func TestCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newObjects()
		ctx, cancel := context.WithCancel(t.Context())
		network := &failing{Objects: o}
		network.set(func(call string, done bool) error {
			if call == "create" && done {
				cancel()
				return ctx.Err()
			}
			return nil
		})
		if _, err := newMachine(network).Lock(ctx, "repository", "db1 pid 1"); !errors.Is(err, context.Canceled) {
			t.Errorf("Lock = %v, want context.Canceled", err)
		}
		began := time.Now()
		lock := mustLock(t, newMachine(o), "db2 pid 2")
		if took := time.Since(began); took > 0 {
			t.Errorf("waited for %s", took)
		}
		if err := lock.Release(); err != nil {
			t.Error(err)
		}
		kill(mustLock(t, newMachine(o), "dead"))
		ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := newMachine(o).Lock(ctx, "repository", "db1 pid 1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock while it watches = %v, want context.DeadlineExceeded", err)
		}
	})
}

func TestNames(t *testing.T) {
	l := New(newObjects(), Times{})
	if _, err := l.Lock(t.Context(), "../x", "me"); !errors.Is(err, store.ErrName) {
		t.Errorf("Lock = %v, want ErrName", err)
	}
	if _, err := l.Holder(t.Context(), "a/b"); !errors.Is(err, store.ErrName) {
		t.Errorf("Holder = %v, want ErrName", err)
	}
}

func FuzzDecode(f *testing.F) {
	r := record{Owner: "db1 pid 1", Token: newToken(), Renewed: time.Unix(1, 0)}
	content, err := r.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte(`{"owner":"\u001b"}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		r := decode(content)
		again, err := r.encode()
		if err != nil { // its token is not ours
			if len(r.Token) < 100 {
				t.Errorf("encode: %v", err)
			}
			return
		}
		if len(again) != recordSize || !bytes.HasPrefix(again, []byte("{")) {
			t.Errorf("%d bytes: %q", len(again), again)
		}
		if back := decode(again); back.Owner != r.Owner || back.Released != r.Released {
			t.Errorf("decode(encode(%+v)) = %+v", r, back)
		}
	})
}
