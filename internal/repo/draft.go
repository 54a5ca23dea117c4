package repo

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"

	"github.com/zeebo/blake3"

	"mbk/copier/pack"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
)

// Draft is a backup that is being written: one for each attempt, since it knows what was
// stored. It is not listed before Commit, and what a crash leaves of it is removed by
// Sweep. The repository's lock must be held all the time. Methods may be called from
// several goroutines.
type Draft struct {
	repository *Repository
	id         string

	keying sync.Mutex
	key    *agefile.Key // nil until the first Put, or if the repository is not encrypted
	begun  bool         // key is as it is to be

	mu       sync.Mutex
	objects  map[string]draftObject // that are stored, by name
	keys     map[string]string      // LabelKey.BLAKE3 by LabelKey.Name
	label    *Label                 // nil until Commit
	adopted  []string               // ids of the interrupted attempts on which it continues, newest first
	progress int                    // progress objects so far
	recorded map[string]bool        // these and their packs
}

// draftObject is an object that is stored.
type draftObject struct {
	Object
	plain int64 // bytes before it was encrypted
}

// Draft returns the draft of a backup of that id, which FreshID has found.
func (r *Repository) Draft(id string) *Draft {
	return &Draft{repository: r, id: id, objects: map[string]draftObject{}, keys: map[string]string{},
		recorded: map[string]bool{}}
}

// ID returns the id that the backup will have.
func (d *Draft) ID() string { return d.id }

// Kind returns the kind of the backup: KindFull, KindIncremental.
func (d *Draft) Kind() string {
	_, kind, _ := ParseID(d.id) // FreshID gives no other
	return kind
}

// Label returns the label of the backup, nil before Commit has succeeded. Nobody may
// change it.
func (d *Draft) Label() *Label {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.label
}

// Put makes an object of the backup, as store.Store.Put does, and hashes what is stored: in an
// encrypted repository the object is an age file to the key of the backup.
// The name is that within the backup: "data-0001.pack".
func (d *Draft) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	key, err := d.begin(ctx)
	if err != nil {
		return fmt.Errorf("write %s of %s: %w", name, d.id, err)
	}
	return d.store(ctx, name, key, write)
}

// begin makes the key of an encrypted backup, and stores it sealed before anything that is
// encrypted to it. Its private half is in memory only, as long as the draft.
func (d *Draft) begin(ctx context.Context) (*agefile.Key, error) {
	r := d.repository
	if err := r.CheckLock(); err != nil {
		return nil, err
	}
	d.keying.Lock()
	defer d.keying.Unlock()
	if d.begun {
		return d.key, nil
	}
	if !r.Encrypted() {
		err := r.wantRecipients(ctx)
		d.begun = err == nil
		return nil, err
	}
	to, err := r.recipients()
	if err != nil {
		return nil, err
	}
	key, err := agefile.NewKey(to)
	if err != nil {
		return nil, err
	}
	sealed, err := key.Seal(to)
	if err != nil {
		return nil, err
	}
	if err := store.PutBytes(ctx, r.st, Folder(d.id)+"/"+keyBase, sealed); err != nil {
		return nil, err
	}
	d.key, d.begun = key, true
	d.mu.Lock()
	defer d.mu.Unlock()
	d.keys[keyBase] = hashOf([]byte(key.Public()))
	return key, nil
}

// store makes an object, encrypted unless the key is nil.
func (d *Draft) store(ctx context.Context, name string, key *agefile.Key, write func(io.Writer) error) error {
	var sum *hashingWriter
	var plain int64
	err := d.repository.st.Put(ctx, Folder(d.id)+"/"+name, func(w io.Writer) (err error) {
		sum = &hashingWriter{w: w, hash: blake3.New(), may: d.repository.CheckLock}
		if key == nil {
			err = write(sum)
			plain = sum.size
		} else {
			plain, err = key.Encrypt(sum, write)
		}
		if err != nil {
			return err
		}
		return sum.may() // before the object gets its name
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.objects[name] = draftObject{Object{name, sum.size, hex.EncodeToString(sum.hash.Sum(nil))}, plain}
	return nil
}

// putClear makes an object of b that is not encrypted.
func (d *Draft) putClear(ctx context.Context, name string, b []byte) error {
	if _, err := d.begin(ctx); err != nil {
		return fmt.Errorf("write %s of %s: %w", name, d.id, err)
	}
	return d.store(ctx, name, nil, writing(b))
}

// writing returns a function that writes b.
func writing(b []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}
}

// hashingWriter hashes what it passes on, as long as it may.
type hashingWriter struct {
	w    io.Writer
	hash hash.Hash
	size int64
	may  func() error
}

func (h *hashingWriter) Write(p []byte) (int, error) {
	if err := h.may(); err != nil {
		return 0, err
	}
	n, err := h.w.Write(p)
	h.hash.Write(p[:n])
	h.size += int64(n)
	return n, err
}

// Commit makes the backup exist: it checks manifest and lineage, writes them, compares all
// objects of the backup with what is there, and writes the label, with the hash of that of
// the parent. The store confirms the lock before the label is written, and again after
// that: a label that was written although the lock was lost in that moment is removed. If
// Commit returns an error the backup may exist nevertheless (see store.Store.Put): Discard
// it.
func (d *Draft) Commit(ctx context.Context, m *Manifest, l *Lineage) error {
	if err := d.commit(ctx, m, l); err != nil {
		return fmt.Errorf("commit %s: %w", d.id, err)
	}
	return nil
}

func (d *Draft) commit(ctx context.Context, m *Manifest, l *Lineage) error {
	if err := d.repository.CheckLock(); err != nil {
		return err
	}
	if m.ID != d.id {
		return fmt.Errorf("the manifest is that of %s", m.ID)
	}
	if m.FormatVersion != FormatVersion {
		return fmt.Errorf("format version %d, want %d", m.FormatVersion, FormatVersion)
	}
	if err := errors.Join(m.Validate(), l.checkAgainst(m)); err != nil {
		return err
	}
	numbers, err := l.Encode()
	if err != nil {
		return err
	}
	var raw bytes.Buffer // a line: Encode ends it
	if err := json.NewEncoder(&raw).Encode(m); err != nil {
		return err
	}
	document, err := pack.EncodeDocument(raw.Bytes())
	if err != nil {
		return err
	}
	if err := d.Put(ctx, manifestBase, writing(document)); err != nil {
		return err
	}
	if err := d.putClear(ctx, lineageBase, numbers); err != nil {
		return err
	}
	objects, err := d.objectsOf(m)
	if err != nil {
		return err
	}
	keys, err := d.keysOf(objects)
	if err != nil {
		return err
	}
	label := newLabel(m, objects, keys)
	if err := d.repository.compare(ctx, label); err != nil {
		return err
	}
	if m.Parent != "" {
		parent, err := d.repository.Label(ctx, m.Parent)
		if err != nil {
			return fmt.Errorf("the parent %s: %w", m.Parent, err)
		}
		label.ParentBLAKE3 = parent.Hash
	}
	if err := d.repository.retain(ctx, label); err != nil {
		return err
	}
	return d.putLabel(ctx, label)
}

// putLabel writes the label. From then on the backup exists.
func (d *Draft) putLabel(ctx context.Context, l *Label) error {
	b, err := l.encode()
	if err != nil {
		return err
	}
	if err := d.repository.putLabel(ctx, d.id, b); err != nil {
		return err
	}
	d.mu.Lock()
	d.label = l
	d.mu.Unlock()
	d.forget(ctx, l)
	return nil
}

// putLabel writes the text of a label. If the lock turns out to be lost when it is written,
// another process may already have removed what it did not know to be a backup: then the
// label goes, too. No other process writes one of that name.
func (r *Repository) putLabel(ctx context.Context, id string, text []byte) error {
	if err := r.confirmLock(ctx); err != nil {
		return err
	}
	err := r.st.Put(ctx, labelName(id), func(w io.Writer) error {
		_, err := w.Write(text)
		return errors.Join(err, r.CheckLock())
	})
	if err != nil {
		return err
	}
	err = r.confirmLock(ctx)
	if _, lost := errors.AsType[*store.LostError](err); lost {
		return errors.Join(err, r.st.Delete(context.WithoutCancel(ctx), labelName(id)))
	}
	return err
}

// objectsOf returns the objects of the backup: manifest, lineage, a card if there is one, and
// the packs of the manifest.
func (d *Draft) objectsOf(m *Manifest) ([]Object, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	objects := []Object{d.objects[manifestBase].Object, d.objects[lineageBase].Object}
	if card, stored := d.objects[cardBase]; stored {
		objects = append(objects, card.Object)
	}
	for _, p := range m.Packs {
		switch o, stored := d.objects[p.Name]; {
		case !stored:
			return nil, fmt.Errorf("pack %s was not stored by this attempt", p.Name)
		case o.plain != p.Size:
			return nil, fmt.Errorf("pack %s of %d bytes was stored with %d", p.Name, p.Size, o.plain)
		default:
			objects = append(objects, o.Object)
		}
	}
	slices.SortFunc(objects, func(a, b Object) int { return cmp.Compare(a.Name, b.Name) })
	return objects, nil
}

// keysOf returns the keys with which objects of the backup can be read.
func (d *Draft) keysOf(objects []Object) ([]LabelKey, error) {
	if d.key == nil {
		return nil, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var keys []LabelKey
	for i := range objects {
		name := keyBase
		if owner, _ := objects[i].of(d.id); owner != d.id {
			name = owner + "/" + keyBase
		}
		if slices.ContainsFunc(keys, func(k LabelKey) bool { return k.Name == name }) {
			continue
		}
		if d.keys[name] == "" {
			return nil, fmt.Errorf("the key of %s is not known", objects[i].Name)
		}
		keys = append(keys, LabelKey{name, d.keys[name]})
	}
	slices.SortFunc(keys, func(a, b LabelKey) int { return cmp.Compare(a.Name, b.Name) })
	return keys, nil
}

// compare looks for the objects of a backup in the repository.
func (r *Repository) compare(ctx context.Context, l *Label) error {
	want := map[string]int64{} // -1: any size
	for i := range l.Objects {
		want[l.Objects[i].Name] = l.Objects[i].Size
	}
	for _, k := range l.Keys {
		want[k.Name] = -1
	}
	sizes, err := r.sizesOf(ctx, l)
	if err != nil {
		return err
	}
	for _, name := range l.names() {
		switch size, there := sizes[name]; {
		case !there:
			return fmt.Errorf("%s is not in the repository", objectName(l.ID, name))
		case want[name] >= 0 && size != want[name]:
			return fmt.Errorf("%s has %d bytes in the repository, want %d", objectName(l.ID, name), size, want[name])
		}
	}
	return nil
}

// sizesOf returns the sizes of those objects of a backup that are in the repository, by name.
func (r *Repository) sizesOf(ctx context.Context, l *Label) (map[string]int64, error) {
	folders := map[string]map[string]int64{} // by owner
	sizes := map[string]int64{}
	for _, name := range l.names() {
		owner, base := splitObject(l.ID, name)
		if folders[owner] == nil {
			var err error
			if folders[owner], err = r.sizesIn(ctx, owner); err != nil {
				return nil, err
			}
		}
		if size, there := folders[owner][base]; there {
			sizes[name] = size
		}
	}
	return sizes, nil
}

// sizesIn returns the sizes of the objects in the folder of a backup or attempt.
func (r *Repository) sizesIn(ctx context.Context, id string) (map[string]int64, error) {
	prefix := Folder(id) + "/"
	list, err := r.st.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	sizes := make(map[string]int64, len(list))
	for _, o := range list {
		sizes[o.Name[len(prefix):]] = o.Size
	}
	return sizes, nil
}

// Discard removes all objects of the draft, its label first. What it has adopted stays.
func (d *Draft) Discard(ctx context.Context) error {
	if err := d.repository.CheckLock(); err != nil {
		return fmt.Errorf("discard %s: %w", d.id, err)
	}
	return d.repository.discard(ctx, d.id)
}
