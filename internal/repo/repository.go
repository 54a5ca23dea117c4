// Package repo is what a backup is: the repository and its lock, the label whose
// writing makes a backup exist, the manifest that describes it, the history of
// attempts and of verifications, and which backups to keep. It does not know how a
// backup is taken or restored; where the bytes live is the matter of repo/store.
//
// What is true at every instant, whatever dies when: a backup is listed exactly
// if its label exists; every object that a label names was whole and durable before
// the label was written; and the label is the first object of a backup to be deleted.
// What a crash leaves is therefore never listed, and Sweep removes it under the
// repository's lock.
package repo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"mbk/internal/fault"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
	"mbk/internal/sys/pause"
)

// Names of the objects of a repository.
const (
	configName    = "mbk-repository.json"
	backupsPrefix = "backups/"
	historyPrefix = "history/"
	labelBase     = "label.json"
	manifestBase  = "manifest.json.zst"
	lineageBase   = "lineage.bin.zst"
	lockName      = "repository"
)

const maxConfig = 1 << 20 // bytes

var (
	// ErrNotRepository is returned by Open if the store has no
	// mbk-repository.json.
	ErrNotRepository = fault.New(fault.Config, "not an mbk repository")

	// ErrNotEmpty is returned by Init if there is something in the store.
	ErrNotEmpty = errors.New("not empty")

	// ErrNewerFormat is returned when an object was written by a newer mbk in a
	// format that this one does not know.
	ErrNewerFormat = fault.New(fault.Config, "made by a newer mbk")

	// ErrEarlyFormat is returned by Open for a repository of format 1.
	ErrEarlyFormat = fault.New(fault.Config,
		"made by an early mbk in format 1, which is not read any more: make a new repository")

	// ErrDamaged is returned when an object of the repository is not what mbk
	// wrote.
	ErrDamaged = fault.New(fault.Damage, "damaged")

	// ErrNotLocked is returned by what changes a repository if this Repository
	// does not hold its lock.
	ErrNotLocked = errors.New("the repository is not locked by this process")
)

// Config is the content of mbk-repository.json.
type Config struct {
	FormatVersion int       `json:"format_version"`
	ID            string    `json:"id"` // a random UUID
	Created       time.Time `json:"created"`
	Tool          string    `json:"tool"` // "mbk 0.1.0"

	// Recipients are the public keys of those to whom the repository is encrypted, none if
	// it is not.
	Recipients  []string     `json:"recipients"`
	HistoryKeys []HistoryKey `json:"history_keys,omitempty"` // the last is the one in use

	Capabilities store.Capabilities `json:"capabilities"` // of the store, when the file was written
}

// Repository is an open repository. Its methods may be called from several
// goroutines.
type Repository struct {
	st     store.Store
	config Config
	sealed bool // mbk-repository.json has its checksum

	sent     bool              // see Fresh
	presumed map[string]string // labels' hashes of backups that are taken for some of this one, by id
	patience time.Duration     // see WaitForLock

	mu      sync.Mutex
	lock    store.Lock // nil: not taken
	pinning store.Lock // that of the pins
	fresh   bool       // not written yet
	warner  func(text string)
	warning sync.Mutex // while it is called

	decoding sync.Mutex // of manifests

	identities  *agefile.Identities
	keying      sync.Mutex              // while keys are opened
	keys        map[string]*agefile.Key // of backups and attempts, by their ids
	historyKeys map[string]*agefile.Key // by Config.HistoryKeys.Recipient; nil: it cannot be opened
	warned      map[string]bool
}

// OnWarning makes warner be told, once for each, of objects that cannot be read or
// removed and that what is asked for does not depend on, and of a wait for the lock. It is
// called by several goroutines, one at a time.
func (r *Repository) OnWarning(warner func(text string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warner, r.warned = warner, map[string]bool{}
}

// warn tells the warner of err, which names the object.
func (r *Repository) warn(err error) {
	text := err.Error()
	r.mu.Lock()
	warner := r.warner
	told := warner == nil || r.warned[text]
	if !told {
		r.warned[text] = true
	}
	r.mu.Unlock()
	if !told {
		r.warning.Lock()
		defer r.warning.Unlock()
		warner(text)
	}
}

// Init makes a repository in an empty store and opens it. The error is
// ErrNotEmpty if something is there, a repository included. Tool names the
// program and its version.
func Init(ctx context.Context, st store.Store, tool string) (*Repository, error) {
	if err := wantEmpty(ctx, st); err != nil {
		return nil, fmt.Errorf("make a repository in %s: %w", st, err)
	}
	r := blank(st, tool)
	release, err := r.Lock(ctx)
	if err != nil {
		return nil, err
	}
	return r, release()
}

// InitEncrypted is Init for a repository of which all is encrypted to recipients.
func InitEncrypted(ctx context.Context, st store.Store, tool string, to *agefile.Recipients) (*Repository, error) {
	if err := wantEmpty(ctx, st); err != nil {
		return nil, fmt.Errorf("make a repository in %s: %w", st, err)
	}
	r, err := blankFor(st, tool, to)
	if err != nil {
		return nil, err
	}
	release, err := r.Lock(ctx)
	if err != nil {
		return nil, err
	}
	return r, release()
}

// blankFor is blank for a repository of which all is encrypted to recipients.
func blankFor(st store.Store, tool string, to *agefile.Recipients) (*Repository, error) {
	r := blank(st, tool)
	key, err := newHistoryKey(to) // which also shows whether the recipients can be used
	if err != nil {
		return nil, fmt.Errorf("make a repository in %s: %w", st, err)
	}
	r.config.Recipients, r.config.HistoryKeys = to.Texts(), []HistoryKey{key}
	return r, nil
}

// OpenOrCopyOf is OpenOrNew for the copies of a repository: one that is made now is
// encrypted to the same recipients.
func OpenOrCopyOf(ctx context.Context, st store.Store, tool string, of *Repository) (*Repository, error) {
	r, err := OpenOrNew(ctx, st, tool)
	if err != nil || !r.New() || !of.Encrypted() {
		return r, err
	}
	to, err := of.recipients()
	if err != nil {
		return nil, err
	}
	return blankFor(st, tool, to)
}

// OpenOrNew is Open, except that an empty store will do. It becomes a repository
// when that is locked for the first time; until then nothing is written.
func OpenOrNew(ctx context.Context, st store.Store, tool string) (*Repository, error) {
	r, err := Open(ctx, st)
	if !errors.Is(err, ErrNotRepository) {
		return r, err
	}
	switch full := wantEmpty(ctx, st); {
	case full == nil:
		return blank(st, tool), nil
	case errors.Is(full, ErrNotEmpty):
		return nil, err
	default:
		return nil, fmt.Errorf("open repository %s: %w", st, full)
	}
}

// Fresh returns a repository in an empty store, which is encrypted to recipients unless they
// are nil. Nothing is written until it is locked. An encrypted one has no key for records:
// of these it has only what everybody may read. Records of failures are not written: it is
// for a backup that is sent away, and they have no reader.
func Fresh(st store.Store, tool string, to *agefile.Recipients) *Repository {
	r := blank(st, tool)
	r.sent = true
	if to != nil {
		r.config.Recipients = to.Texts()
	}
	return r
}

// FreshCopyOf is Fresh for copies of backups of another repository. It has the same
// recipients and keys for records.
func FreshCopyOf(st store.Store, tool string, of *Repository) *Repository {
	r := blank(st, tool)
	r.config.Recipients = slices.Clone(of.config.Recipients)
	r.config.HistoryKeys = slices.Clone(of.config.HistoryKeys)
	return r
}

func blank(st store.Store, tool string) *Repository {
	return &Repository{st: st, fresh: true, sealed: true, config: Config{
		FormatVersion: FormatVersion, ID: newUUID(), Created: time.Now().UTC().Truncate(time.Second), Tool: tool,
		Recipients: []string{},
	}}
}

// Open opens the repository in a store. Errors: ErrNotRepository,
// ErrEarlyFormat, ErrNewerFormat, ErrDamaged.
func Open(ctx context.Context, st store.Store) (*Repository, error) {
	b, err := store.ReadAll(ctx, st, configName, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notRepository(ctx, st)
	}
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %w", st, err)
	}
	config, sealed, err := decodeConfig(b)
	if err != nil {
		return nil, fmt.Errorf("open repository %s: %s: %w", st, configName, err)
	}
	if !isUUID(config.ID) {
		return nil, fmt.Errorf("open repository %s: %s: id %q: %w", st, configName, config.ID, ErrDamaged)
	}
	return &Repository{st: st, config: config, sealed: sealed}, nil
}

// notRepository says what is in a store without mbk-repository.json.
func notRepository(ctx context.Context, st store.Store) error {
	switch err := wantEmpty(ctx, st); {
	case err == nil:
		return fmt.Errorf("open repository %s: it is empty: %w", st, ErrNotRepository)
	case errors.Is(err, ErrNotEmpty):
		return fmt.Errorf("open repository %s: there is no %s in it: %w", st, configName, ErrNotRepository)
	default:
		return fmt.Errorf("open repository %s: %w", st, err)
	}
}

// wantEmpty returns ErrNotEmpty if a store holds anything.
func wantEmpty(ctx context.Context, st store.Store) error {
	empty, err := st.Empty(ctx)
	if err == nil && !empty {
		err = ErrNotEmpty
	}
	return err
}

// Space says how much the repository can still take.
func (r *Repository) Space(ctx context.Context) (store.Space, error) { return r.st.Space(ctx) }

// Writable returns why nothing can be written to the repository, as far as can be told
// without doing it.
func (r *Repository) Writable(ctx context.Context) error { return r.st.Writable(ctx) }

// Exposed returns a sentence for each part of the repository in which others than its
// owner can exchange something.
func (r *Repository) Exposed(ctx context.Context) ([]string, error) { return r.st.Exposed(ctx) }

// Dir returns the absolute path of the local directory in which the repository lives, ""
// if it does not live in one.
func (r *Repository) Dir() string { return r.st.Dir() }

// Capabilities asks the store what it can do, which may write and remove small objects.
func (r *Repository) Capabilities(ctx context.Context) (store.Capabilities, error) {
	return r.st.Capabilities(ctx)
}

// Config returns what mbk-repository.json says.
func (r *Repository) Config() Config { return r.config }

// String says where the repository is, for messages.
func (r *Repository) String() string { return r.st.String() }

// New reports whether the repository is still to be written.
func (r *Repository) New() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fresh
}

// write makes the store a repository. The lock is held, so that only another
// process that was faster can have put something there since it was empty.
func (r *Repository) write(ctx context.Context) error {
	if err := wantEmpty(ctx, r.st); err != nil {
		return fmt.Errorf("make a repository in %s: %w", r.st, err)
	}
	if err := r.putConfig(ctx); err != nil {
		return fmt.Errorf("make a repository in %s: %w", r.st, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fresh = false
	return nil
}

// Lock takes the lock that everything needs that changes the repository. If another
// process or Repository holds it, the error wraps a *store.LockedError and names the
// holder. The lock ends with release or with the process; it can be lost before, see
// LockLost.
func (r *Repository) Lock(ctx context.Context) (release func() error, err error) {
	lock, err := r.takeLock(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock repository %s: %w", r.st, err)
	}
	switch {
	case r.New():
		err = r.write(ctx)
	case r.Encrypted():
		err = r.readRecipients(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, lock.Release())
	}
	if !r.sealed {
		r.sealed = r.putConfig(ctx) == nil // without a checksum it was good enough until now
	}
	r.hold(&r.lock, lock)
	return sync.OnceValue(func() error {
		r.hold(&r.lock, nil)
		if err := lock.Release(); err != nil {
			return fmt.Errorf("unlock repository %s: %w", r.st, err)
		}
		return nil
	}), nil
}

// lockPatience is how long a store may take for a lock before somebody is told why.
const lockPatience = 3 * time.Second

// WaitForLock makes Lock wait so long for another process that holds the lock. It is called
// before Lock.
func (r *Repository) WaitForLock(d time.Duration) { r.patience = d }

// lockPause is between two tries to take the lock.
const lockPause = 500 * time.Millisecond

// takeLock takes the lock, and waits for whoever holds it as WaitForLock says.
func (r *Repository) takeLock(ctx context.Context) (store.Lock, error) {
	end := time.Now().Add(r.patience)
	for told := false; ; {
		lock, err := r.tryLock(ctx)
		var held *store.LockedError
		if !errors.As(err, &held) || !time.Now().Before(end) {
			return lock, err
		}
		if !told {
			told = true
			r.warn(fmt.Errorf("the repository is locked by %s; waiting for it, until %s", held.Owner,
				end.Local().Format(time.TimeOnly)))
		}
		if err := pause.For(ctx, lockPause); err != nil {
			return nil, err
		}
	}
}

// tryLock takes the lock. A store that has to watch whether its holder is alive may take
// minutes: then the warner is told for whom.
func (r *Repository) tryLock(ctx context.Context) (store.Lock, error) {
	waiting, stop := context.WithTimeout(ctx, lockPatience)
	var telling sync.WaitGroup
	telling.Go(func() {
		<-waiting.Done()
		if ctx.Err() != nil || !errors.Is(waiting.Err(), context.DeadlineExceeded) {
			return
		}
		if holder, err := r.Holder(ctx); err == nil && holder != "" {
			r.warn(fmt.Errorf("the repository is locked by %s; waiting for a sign of life, or until it counts as dead", holder))
		}
	})
	lock, err := r.st.Lock(ctx, lockName, r.lockOwner())
	stop()
	telling.Wait()
	return lock, err
}

// LockLost is closed when this Repository has lost the lock that it holds; CheckLock says
// why. It is nil if that cannot happen.
func (r *Repository) LockLost() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lock == nil {
		return nil
	}
	return r.lock.Lost()
}

// lockOwner is what this process says of itself to whoever finds a lock held. In an
// encrypted repository that names no host.
func (r *Repository) lockOwner() string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host" // the lock does not depend on its text
	}
	if r.Encrypted() {
		host = "mbk"
	}
	return fmt.Sprintf("%s pid %d since %s", host, os.Getpid(), time.Now().UTC().Format(time.RFC3339))
}

// Holder says who works on the repository now, "" if nobody does or the store cannot
// tell.
func (r *Repository) Holder(ctx context.Context) (string, error) {
	owner, err := r.st.Holder(ctx, lockName)
	if err != nil {
		return "", fmt.Errorf("repository %s: %w", r.st, err)
	}
	return owner, nil
}

// hold notes that a lock was taken, or, with nil, that it is given back.
func (r *Repository) hold(place *store.Lock, lock store.Lock) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*place = lock
}

// CheckLock returns ErrNotLocked unless this Repository has taken its lock, and a
// *store.LostError if it has lost that, or the lock of the pins that it took besides. It
// asks no store.
func (r *Repository) CheckLock() error {
	return r.eachLock(store.Lock.Check)
}

// confirmLock is CheckLock after the store was asked.
func (r *Repository) confirmLock(ctx context.Context) error {
	return r.eachLock(func(lock store.Lock) error { return lock.Confirm(ctx) })
}

// eachLock calls do for the locks that are held. The error is ErrNotLocked if that of the
// repository is not.
func (r *Repository) eachLock(do func(store.Lock) error) error {
	r.mu.Lock()
	lock, pinning := r.lock, r.pinning
	r.mu.Unlock()
	if lock == nil {
		return ErrNotLocked
	}
	err := do(lock)
	if err == nil && pinning != nil {
		err = do(pinning)
	}
	return err
}

// putJSON writes a small object for people and programs.
func putJSON(ctx context.Context, st store.Store, name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return store.PutBytes(ctx, st, name, append(b, '\n'))
}

// decodeJSON reads a document with a format_version.
func decodeJSON(b []byte, v any) error {
	// The version first: a newer format may have changed anything else.
	var version struct {
		FormatVersion int `json:"format_version"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := checkFormat(version.FormatVersion); err != nil {
		return err
	}
	const some = 1000
	if err := checkDensity(b, some); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// checkFormat reports whether this program reads a version of the format.
func checkFormat(version int) error {
	switch {
	case version > FormatVersion:
		return fmt.Errorf("format %d, while this mbk reads up to format %d: %w", version, FormatVersion, ErrNewerFormat)
	case version < FormatVersion:
		return fmt.Errorf("format version %d: %w", version, ErrDamaged)
	}
	return nil
}

// newUUID returns a random (version 4) UUID.
func newUUID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[0:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func isUUID(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !strings.ContainsRune("0123456789abcdef", c) {
			return false
		}
	}
	return true
}
