package repo

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/zeebo/blake3"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
)

// KeptInStream says of which objects of a repository that goes through a pipe both ends keep
// a copy in memory: they are small, and others depend on what is in them.
func KeptInStream(name string) bool { return keptLimit(name) > 0 }

// keptLimit returns how many bytes such an object may have, 0 for one that is not kept.
func keptLimit(name string) int64 {
	id, base, inFolder := strings.Cut(strings.TrimPrefix(name, backupsPrefix), "/")
	switch {
	case name == configName:
		return maxConfig
	case name == attemptName(strings.TrimSuffix(strings.TrimPrefix(name, historyPrefix), ".json")):
		return maxRecord
	case !inFolder || name != Folder(id)+"/"+base:
		return 0
	case base == labelBase:
		return maxLabel
	case base == keyBase:
		return maxKey
	}
	return 0
}

// maxKept limits all objects that are kept of a stream, in bytes.
const maxKept = 128 << 20

// Arrival takes backups of another repository that come as a stream of objects: that
// repository's mbk-repository.json first, the others in any order. Objects of the backups
// are written under the names that they will have, and the labels last, by Commit. Until
// then no backup is listed, and what a crash leaves is removed by Sweep. Object may be
// called by several goroutines, once the first call has returned.
//
// What is not encrypted is encrypted as it comes if this repository is: each folder gets a
// key of its own, since only the labels say which folders belong together.
type Arrival struct {
	kept    store.Store // small objects, by which the other repository is known
	open    func(ctx context.Context, from *Repository) (*Repository, error)
	onBytes func(int64)

	from, to *Repository // nil until the first object has come

	mu      sync.Mutex
	keeping int64                       // bytes
	there   map[string]map[string]int64 // sizes of what was in this repository before, by folder and name in it
	arrived map[string]arrived          // by name in the repository
	keys    map[string]*agefile.Key     // of what is encrypted as it comes, by folder
	ids     []string                    // of the backups whose labels came
	begun   string                      // id of the backup whose label may have been written, although that failed
	labels  []*Label                    // of the backups that are listed now
}

// arrived is an object that came as a whole.
type arrived struct {
	size    int64
	blake3  string
	written bool   // by this Arrival; otherwise it was there
	sealed  Object // as it was encrypted and written; zero of what was written as it came
}

// NewArrival begins to take backups. kept is an empty store in memory, whose name stands for
// the other repository in messages. open is called with what is known of that repository by
// its mbk-repository.json, and returns the one that the backups are for, locked. onBytes
// is called with numbers of bytes as they come; it may be nil.
func NewArrival(
	kept store.Store, open func(ctx context.Context, from *Repository) (*Repository, error), onBytes func(int64),
) *Arrival {
	if onBytes == nil {
		onBytes = func(int64) {}
	}
	return &Arrival{kept: kept, open: open, onBytes: onBytes, there: map[string]map[string]int64{},
		arrived: map[string]arrived{}, keys: map[string]*agefile.Key{}}
}

// Object takes an object.
func (a *Arrival) Object(ctx context.Context, name string, content io.Reader) error {
	switch limit := keptLimit(name); {
	case a.to == nil && name != configName:
		return a.strange(name, "comes before "+configName)
	case limit > 0:
		return a.keep(ctx, name, limit, content)
	}
	id, base, _ := strings.Cut(strings.TrimPrefix(name, backupsPrefix), "/")
	_, _, err := ParseID(id)
	switch {
	case strings.HasPrefix(name, historyPrefix), err == nil && name == Folder(id)+"/"+base && isProgress(base):
		return nil // is of no use here
	case err != nil || name != Folder(id)+"/"+base || !isPackName(base) && !isDocument(base):
		return a.strange(name, "is none of a backup")
	}
	there, key, err := a.known(ctx, name, id, base)
	if err != nil {
		return err
	}
	o := arrived{written: !there}
	switch {
	case there:
		err = a.pass(io.Discard, content, &o)
	case key != nil && base != lineageBase:
		err = a.encrypt(ctx, name, key, content, &o)
	default:
		err = a.to.st.Put(ctx, name, func(w io.Writer) error { return a.pass(w, content, &o) })
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.arrived[name] = o
	if err != nil {
		delete(a.arrived, name) // it is not there, and may come again
	}
	return err
}

// strange is the error for an object that does not belong into a stream of backups.
func (a *Arrival) strange(name, why string) error {
	return &pack.DamageError{Object: fmt.Sprintf("%q in %s", name, a.kept), Reason: "it " + why}
}

// known says whether an object stays as it is in this repository: it is there, or its backup is
// listed. key is that of its folder if what comes is to be encrypted.
func (a *Arrival) known(ctx context.Context, name, id, base string) (there bool, key *agefile.Key, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, twice := a.arrived[name]; twice {
		return false, nil, a.strange(name, "comes twice")
	}
	a.arrived[name] = arrived{}
	if a.there[id] == nil {
		sizes, err := a.to.sizesIn(ctx, id)
		if err != nil {
			return false, nil, err
		}
		a.there[id] = sizes
	}
	if a.encrypts() {
		if len(a.there[id]) > 0 { // nobody can add to what another key opens
			return true, nil, nil
		}
		key, err = a.key(ctx, id)
		return false, key, err
	}
	_, listed := a.there[id][labelBase]
	_, there = a.there[id][base]
	return listed || there, nil, nil
}

// encrypts reports whether what comes is encrypted on its way.
func (a *Arrival) encrypts() bool { return a.to.Encrypted() && !a.from.Encrypted() }

// key returns the key of the objects in a folder, which it makes and stores, sealed, before the
// first of them.
func (a *Arrival) key(ctx context.Context, id string) (*agefile.Key, error) {
	if key := a.keys[id]; key != nil {
		return key, nil
	}
	to, err := a.to.recipients()
	if err != nil {
		return nil, err
	}
	key, err := agefile.NewKey(to)
	if err != nil {
		return nil, err
	}
	sealed, err := key.Seal(to)
	if err == nil {
		err = a.to.CheckLock()
	}
	if err != nil {
		return nil, err
	}
	name := Folder(id) + "/" + keyBase
	if _, came := a.arrived[name]; came {
		return nil, a.strange(name, "is the key of what is not encrypted")
	}
	a.arrived[name] = arrived{written: true} // or half
	if err := store.PutBytes(ctx, a.to.st, name, sealed); err != nil {
		return nil, err
	}
	a.keys[id] = key
	return key, nil
}

// encrypt writes an object encrypted, and notes what came and what was written.
func (a *Arrival) encrypt(ctx context.Context, name string, key *agefile.Key, content io.Reader, o *arrived) error {
	return a.to.st.Put(ctx, name, func(w io.Writer) error {
		out := &hashingWriter{w: w, hash: blake3.New(), may: a.to.CheckLock}
		_, err := key.Encrypt(out, func(w io.Writer) error { return a.pass(w, content, o) })
		o.sealed = Object{Size: out.size, BLAKE3: hex.EncodeToString(out.hash.Sum(nil))}
		return err
	})
}

// pass passes an object on, and notes what came.
func (a *Arrival) pass(to io.Writer, content io.Reader, o *arrived) error {
	sum := &hashingWriter{w: to, hash: blake3.New(), may: a.to.CheckLock}
	buf := make([]byte, importPiece)
	for {
		n, err := io.ReadFull(content, buf)
		if _, failed := sum.Write(buf[:n]); failed != nil {
			return failed
		}
		a.onBytes(int64(n))
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	o.size, o.blake3 = sum.size, hex.EncodeToString(sum.hash.Sum(nil))
	return sum.may() // before the object gets its name
}

// keep takes an object that is kept in memory. Only mbk-repository.json may come again.
func (a *Arrival) keep(ctx context.Context, name string, limit int64, content io.Reader) error {
	var b bytes.Buffer
	n, err := io.Copy(&b, io.LimitReader(content, limit+1))
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keeping += n
	_, twice := a.arrived[name]
	switch {
	case n > limit || a.keeping > maxKept:
		return fmt.Errorf("%s in %s: %w", name, a.kept, store.ErrTooLarge)
	case twice && name != configName:
		return a.strange(name, "comes twice")
	}
	a.arrived[name] = arrived{}
	if err := store.PutBytes(ctx, a.kept, name, b.Bytes()); err != nil {
		return err
	}
	if id, ok := strings.CutSuffix(strings.TrimPrefix(name, backupsPrefix), "/"+labelBase); ok {
		a.ids = append(a.ids, id)
	}
	if a.to != nil {
		return nil
	}
	if a.from, err = Open(ctx, a.kept); err != nil {
		return err
	}
	a.to, err = a.open(ctx, a.from)
	if err == nil {
		err = a.to.WouldTake(a.from)
	}
	return err
}

// Drop takes back an object that came.
func (a *Arrival) Drop(ctx context.Context, name string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.arrived[name]
	delete(a.arrived, name)
	a.ids = slices.DeleteFunc(a.ids, func(id string) bool { return name == labelName(id) })
	switch {
	case name == configName:
		return a.strange(name, "is taken back")
	case KeptInStream(name):
		return a.kept.Delete(ctx, name)
	case !o.written:
		return nil
	}
	if err := a.to.CheckLock(); err != nil {
		return err
	}
	return a.to.st.Delete(ctx, name)
}

// ErrNoBackup is returned by Commit if no label came.
var ErrNoBackup = fault.New(fault.Failed, "there is no backup in it")

// Commit makes backups of what came, none before the one that it needs, when all has
// come: first each object is compared with what the labels say of it. A backup that this
// repository has already stays as it is. After an error those that are in the result are
// listed. The caller then calls Discard.
func (a *Arrival) Commit(ctx context.Context) ([]Imported, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ids) == 0 {
		return nil, fmt.Errorf("%s: %w", a.kept, ErrNoBackup)
	}
	from, err := Open(ctx, a.kept) // again: keys may have been added to it
	if err != nil {
		return nil, err
	}
	from.UseIdentities(a.to.identities)
	ids, err := a.check(ctx, from)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", a.kept, err)
	}
	var done []Imported
	for _, id := range ids {
		if _, listed := a.there[id][labelBase]; !listed {
			a.begun = id
		}
		x := &importing{from: from, to: a.to, arrived: a.arrived, arrivedKeys: a.keys}
		one, err := a.to.importBackup(ctx, id, x)
		if err != nil {
			return done, fmt.Errorf("receive %s in %s: %w", id, a.to, err)
		}
		a.labels, a.begun = append(a.labels, x.stored), ""
		done = append(done, one)
	}
	return done, nil
}

// check compares what came with the labels, and returns the ids of the backups, none before the
// one that it needs. The labels may have come in any order.
func (a *Arrival) check(ctx context.Context, from *Repository) (ids []string, err error) {
	labels := map[string]*Label{}
	for _, id := range a.ids {
		if labels[id], err = from.Label(ctx, id); err != nil {
			return nil, err
		}
		if err := a.whole(labels[id]); err != nil {
			return nil, err
		}
	}
	var add func(id string)
	add = func(id string) {
		l := labels[id]
		if delete(labels, id); l != nil {
			add(l.Parent)
			ids = append(ids, id)
		}
	}
	for _, id := range slices.Sorted(slices.Values(a.ids)) {
		add(id)
	}
	return ids, nil
}

// whole compares what came of a backup with its label.
func (a *Arrival) whole(l *Label) error {
	if (len(l.Keys) > 0) != a.from.Encrypted() {
		return a.strange(labelName(l.ID), "says of encryption what "+configName+" does not")
	}
	for i := range l.Objects {
		name := objectName(l.ID, l.Objects[i].Name)
		came := a.arrived[name]
		if err := came.want(name, &l.Objects[i]); err != nil {
			return err
		}
	}
	return nil
}

// want returns an error unless an object is what the label names.
func (o *arrived) want(name string, want *Object) error {
	switch {
	case o.blake3 == "":
		return &pack.DamageError{Object: name, Reason: "it is missing in the stream", Missing: true}
	case o.size != want.Size || o.blake3 != want.BLAKE3:
		return &pack.DamageError{Object: name, Reason: "it is not what the label of the backup names"}
	}
	return nil
}

// Discard removes what was written and belongs to no backup. It is called at the end, whether
// or not Commit has succeeded.
func (a *Arrival) Discard(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.to == nil {
		return nil
	}
	if a.begun != "" {
		if err := a.to.confirmLock(ctx); err != nil {
			return fmt.Errorf("remove what came of %s: %w", a.begun, err)
		}
		if err := a.to.st.Delete(ctx, labelName(a.begun)); err != nil {
			return fmt.Errorf("remove what came of %s: %w", a.begun, err)
		}
	}
	needed := map[string]bool{}
	for _, l := range a.labels {
		for _, name := range l.names() {
			needed[objectName(l.ID, name)] = true
		}
	}
	for name, o := range a.arrived {
		if !o.written || needed[name] {
			continue
		}
		if err := a.to.CheckLock(); err != nil {
			return fmt.Errorf("remove what came of %s: %w", name, err)
		}
		if err := a.to.st.Delete(ctx, name); err != nil {
			return fmt.Errorf("remove what came of %s: %w", name, err)
		}
	}
	return nil
}
