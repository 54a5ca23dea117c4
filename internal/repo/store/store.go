// Package store is where the bytes of a repository live: named objects that are
// written once, whole, and durably. It knows nothing of backups; package repo
// gives the objects their meaning.
//
// Each kind of store has a package below this one: folder keeps objects as files of a
// local folder. A new kind is finished when storetest.Run passes on it.
package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// Store is all that a repository asks of the place in which it lives. A wrapper that
// adds something to one of the parts embeds the others, or names each method: the
// compiler misses what it forgets. All methods may be called from several goroutines at
// once. Called with a cancelled context a store changes nothing and returns the
// context's error.
type Store interface {
	Objects
	Locker
	Retainer
	Upkeep
}

// Objects holds objects by name. Names are checked by CheckName.
type Objects interface {
	// Put makes the object that write writes. When Put returns nil the object
	// is whole and would survive a crash of the machine; an object of that name
	// from before is replaced. When write returns an error, or anything else
	// goes wrong before the object is whole, Put returns that error and what
	// was there before stays. (If only the last step failed, the object may be
	// there, whole, although Put returned an error.) A full store is reported
	// as *NoSpaceError.
	//
	// Every Write goes straight to where the bytes live, without another
	// buffer: write in large pieces. w must not be used after write returned.
	Put(ctx context.Context, name string, write func(w io.Writer) error) error

	// Open reads n bytes of an object from an offset, both in bytes; n < 0
	// reads to its end. The reader ends early, with io.EOF, where the object
	// does: a caller who needs n bytes must count them. The error is
	// fs.ErrNotExist (by errors.Is) if there is no such object. The caller
	// closes the reader. Cancelling ctx makes later reads fail.
	Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error)

	// List returns all objects whose names begin with prefix, sorted by name.
	// What an unfinished Put has written so far is not listed, nor are locks.
	// Objects that mbk did not make are listed under the names that they have. A
	// folder below the one that prefix names that cannot be looked into makes no
	// error: see Object.Err.
	List(ctx context.Context, prefix string) ([]Object, error)

	// Delete removes an object. It is not an error if there is none.
	Delete(ctx context.Context, name string) error

	// String says where the store is, for messages: "/backup/db1".
	String() string
}

// Locker keeps writers apart. A store does it in its own way: a folder by a lock of the
// kernel's, a store behind a network by a lease that its holder renews (package lease).
type Locker interface {
	// Lock takes the lock of that name. If it is held, by this process or another, the
	// error is a *LockedError; a store that has to watch a lock to learn whether its
	// holder is alive may take some seconds to say so, and a few minutes to take over
	// that of a dead one. The lock ends with Release, and without one when the process
	// dies, however that is, or a while after. The owner's text is shown to whoever
	// finds the lock held.
	Lock(ctx context.Context, name, owner string) (Lock, error)

	// Holder returns the owner's text of the lock of that name without taking it,
	// "" if nobody holds it or the owner is not known.
	Holder(ctx context.Context, name string) (owner string, err error)
}

// Lock is a lock that was taken. Its methods may be called from several goroutines.
// Whoever holds it calls Check before each change, Confirm before one that others rely
// on, and stops when Lost is closed.
type Lock interface {
	// Check returns nil as long as nobody else can have the lock, and a *LostError from
	// the moment on when somebody could. It asks a clock and no store: it can be called
	// for each write.
	Check() error

	// Confirm is Check after the store was asked. It also fails if the store does not
	// answer.
	Confirm(ctx context.Context) error

	// Lost is closed when the lock is lost; it is nil if the lock cannot be.
	Lost() <-chan struct{}

	// Release gives the lock back. Again, or after the lock was lost, it does nothing.
	Release() error
}

// UntilReleased returns a lock that cannot be lost, for stores whose lock ends only with
// release or with the process. Release calls release once.
func UntilReleased(release func() error) Lock { return lasting{sync.OnceValue(release)} }

type lasting struct{ release func() error }

func (lasting) Check() error                      { return nil }
func (lasting) Confirm(ctx context.Context) error { return ctx.Err() }
func (lasting) Lost() <-chan struct{}             { return nil }
func (l lasting) Release() error                  { return l.release() }

// Retainer keeps objects from being removed for a time, by whomever. A store of another kind
// embeds Removable.
type Retainer interface {
	// RetainFor returns for how long objects of backups are retained from now on; 0 if they
	// are not. Put retains them so by itself.
	RetainFor() time.Duration

	// Retain makes sure that an object is retained until a time, or longer.
	Retain(ctx context.Context, name string, until time.Time) error

	// RetainedUntil returns the time before which an object cannot be removed, the zero
	// time if it is not retained or if there is none.
	RetainedUntil(ctx context.Context, name string) (time.Time, error)
}

// Removable is the Retainer of a store whose objects can always be removed.
type Removable struct{}

// RetainFor is 0.
func (Removable) RetainFor() time.Duration { return 0 }

// Retain fails: nobody asks for it after RetainFor.
func (Removable) Retain(context.Context, string, time.Time) error {
	return errors.New("this kind of store cannot keep objects from being removed")
}

// RetainedUntil is the zero time.
func (Removable) RetainedUntil(ctx context.Context, _ string) (time.Time, error) {
	return time.Time{}, ctx.Err()
}

// Upkeep tells how a store is doing and cleans up in it. Not every kind of store can do
// all of it: what one answers that cannot is said at each method.
type Upkeep interface {
	// Space says how much the store can still take. It is not known to all: see
	// Space.Known.
	Space(ctx context.Context) (Space, error)

	// Empty reports whether there is nothing in the store except what its system
	// keeps there. A folder that is not a repository can be anything, "/" as well:
	// it is not walked through.
	Empty(ctx context.Context) (bool, error)

	// Writable returns why a Put would fail, as far as can be told without one;
	// fs.ErrPermission if it is for want of rights. The answer of a store that
	// cannot tell is nil.
	Writable(ctx context.Context) error

	// Exposed returns a sentence for each part of the store in which others than
	// its owner could exchange objects, none if that cannot be told.
	Exposed(ctx context.Context) ([]string, error)

	// SweepTemp removes what dead writers left of objects whose names begin
	// with prefix, and returns its names. Puts in progress, of any process, are
	// left alone. Where a Put that was killed leaves nothing, it does nothing.
	SweepTemp(ctx context.Context, prefix string) (swept []string, err error)

	// Capabilities says what the store can do that not every kind of store can.
	Capabilities(ctx context.Context) (Capabilities, error)

	// Dir returns the absolute path of the local directory in which the store
	// lives, "" if it does not live in one.
	Dir() string
}

// Capabilities is what one kind of store can do and another cannot.
type Capabilities struct {
	ConditionalPut bool   `json:"conditional_put"` // it can refuse to replace an object
	Lock           string `json:"lock"`            // how it keeps writers apart: LockFlock, LockLease
	FreeSpace      bool   `json:"free_space"`      // it knows its Space
	Retention      bool   `json:"retention"`       // it can keep objects from being removed for a time
}

// Ways in which a store keeps writers apart.
const (
	LockFlock   = "flock"   // a lock of the kernel on an open file
	LockLease   = "lease"   // an object that its holder renews
	LockProcess = "process" // within one process only
)

// Object is an entry of a listing.
type Object struct {
	Name     string
	Size     int64 // bytes
	Modified time.Time
	// Err is not nil for a folder that could not be looked into, whose name this is:
	// there may be objects below it.
	Err error
}

// Space is the room of a store in bytes.
type Space struct {
	Free  int64 // what an unprivileged writer could still write
	Total int64
	Known bool // false: the store cannot say, and the numbers mean nothing
}

// ErrName is returned for an object name that CheckName does not accept.
var ErrName = errors.New("not a plain object name")

// LockedError is returned by Lock when somebody holds the lock.
type LockedError struct {
	Name  string        // of the lock
	Owner string        // what the holder gave as owner, "" if it is not known
	Lease time.Duration // how long the lock outlives a dead holder; 0 if it ends with it
}

// Error names the holder.
func (e *LockedError) Error() string {
	if e.Owner == "" {
		return "held by another process"
	}
	return "held by " + e.Owner
}

// Fault says that another try may get the lock.
func (e *LockedError) Fault() fault.Kind { return fault.Busy }

// Hints says what to wait for.
func (e *LockedError) Hints() []hint.Text {
	if e.Lease > 0 {
		return []hint.Text{hint.Text(fmt.Sprintf("wait until that mbk has ended; if it was killed or lost its machine, "+
			"nothing has to be removed: the next mbk waits until it has given no sign of life for %s, and takes over", e.Lease))}
	}
	return []hint.Text{"wait until that mbk has ended; its lock ends with it, however it ends"}
}

// LostError is returned by the methods of a Lock that another process may have taken
// over.
type LostError struct {
	Name   string // of the lock
	Reason string // "it was taken over by db2 pid 7"
	Err    error  // why it could not be renewed, nil if it is not that
}

// Error says how the lock was lost.
func (e *LostError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("the lock %q was lost: %s", e.Name, e.Reason)
	}
	return fmt.Sprintf("the lock %q was lost: %s: %v", e.Name, e.Reason, e.Err)
}

// Unwrap returns why the lock could not be renewed.
func (e *LostError) Unwrap() error { return e.Err }

// Fault says that another try may succeed, whatever kept this one from renewing.
func (e *LostError) Fault() fault.Kind { return fault.Busy }

// Hints says where to look.
func (e *LostError) Hints() []hint.Text {
	return []hint.Text{"find out what stopped this process or its machine, or the network to the repository, and start " +
		"again; without its lock mbk lists no backup and removes none"}
}

// NoSpaceError is returned by Put when the store is full. Its cause is found by
// errors.Is: syscall.ENOSPC, or syscall.EDQUOT where a quota was reached.
type NoSpaceError struct {
	Where string // the store
	Space Space  // as it was when the write failed
	Err   error  // the cause
}

// Error names the store, the cause and what is left.
func (e *NoSpaceError) Error() string {
	if !e.Space.Known {
		return fmt.Sprintf("%s is full: %v", e.Where, e.Err)
	}
	return fmt.Sprintf("%s is full: %v (%s of %s free)", e.Where, e.Err,
		humanize.IBytes(uint64(max(0, e.Space.Free))), humanize.IBytes(uint64(max(0, e.Space.Total))))
}

// Unwrap returns the cause.
func (e *NoSpaceError) Unwrap() error { return e.Err }

// Hints says how to make room.
func (e *NoSpaceError) Hints() []hint.Text {
	return []hint.Text{`remove old backups with "mbk expire", or make room otherwise`}
}

// WriteError is the cause of a Put, or of a lock, that failed for another reason than
// a full store or missing rights: the store could not be written to.
type WriteError struct{ Err error }

// Error is that of the cause.
func (e *WriteError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *WriteError) Unwrap() error { return e.Err }

// Fault answers for the cause: EIO of a store that is written to is no damage.
func (e *WriteError) Fault() fault.Kind { return fault.Failed }

// Hints says where to look if it is the disk.
func (e *WriteError) Hints() []hint.Text {
	if !errors.Is(e.Err, syscall.EIO) {
		return nil
	}
	return []hint.Text{"the repository could not be written to, and the kernel's log says why: " +
		"look at its disk, or at the network to it; nothing is known to be wrong with the backups in it"}
}

// ErrThroughLink is returned by Delete for an object that lies behind a symbolic link.
var ErrThroughLink = errors.New("is a symbolic link, and nothing is removed through one")

// ErrTooLarge is returned by ReadAll for an object of more bytes than its limit.
var ErrTooLarge = errors.New("too large")

// Longest names that CheckName accepts, in bytes.
const (
	maxName    = 1000
	maxElement = 200
)

// CheckName reports whether name can be the name of an object: elements of ASCII
// letters, digits, ".", "_" and "-", joined by "/", none of them empty or
// beginning with "." or "-". The error wraps ErrName.
func CheckName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("object name of %d bytes: %w", len(name), ErrName)
	}
	for element := range strings.SplitSeq(name, "/") {
		if !plainElement(element) {
			return fmt.Errorf("object %q: %w", name, ErrName)
		}
	}
	return nil
}

// CheckLockName says whether name can be the name of a lock: one element of the name of
// an object. The error wraps ErrName.
func CheckLockName(name string) error {
	if !plainElement(name) {
		return fmt.Errorf("lock %q: %w", name, ErrName)
	}
	return nil
}

func plainElement(s string) bool {
	if s == "" || len(s) > maxElement || s[0] == '.' || s[0] == '-' {
		return false
	}
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// ReadAll returns a whole object. One of more than limit bytes is an error.
func ReadAll(ctx context.Context, st Objects, name string, limit int64) ([]byte, error) {
	r, err := st.Open(ctx, name, 0, limit+1)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("read %s: larger than %d bytes: %w", name, limit, ErrTooLarge)
	}
	return b, nil
}

// PutBytes makes an object of b.
func PutBytes(ctx context.Context, st Objects, name string, b []byte) error {
	return st.Put(ctx, name, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
}
