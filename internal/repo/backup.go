package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"mbk/copier/pack"
	"mbk/internal/hint"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
)

// Backup is a backup that is being read. It may be removed meanwhile by whoever holds
// the repository's lock. Methods may be called from several goroutines.
type Backup struct {
	repository *Repository
	manifest   *Manifest
	label      *Label
	labelErr   error // why there is none

	mu      sync.Mutex
	objects map[string]*agefile.Object // encrypted ones that were read last, by name
}

// maxObjects limits Backup.objects: each takes some 70 KiB.
const maxObjects = 64

// Backup opens a backup, which Resolve finds; for Latest one whose manifest can be read,
// if there is one. Errors: *UnknownError, ErrNewerFormat, ErrDamaged.
func (r *Repository) Backup(ctx context.Context, idOrLatest string) (*Backup, error) {
	if idOrLatest == Latest {
		return newestThat(ctx, r, r.openID)
	}
	id, err := r.Resolve(ctx, idOrLatest)
	if err != nil {
		return nil, err
	}
	return r.openID(ctx, id)
}

// ID returns the id of the backup.
func (b *Backup) ID() string { return b.manifest.ID }

// Manifest returns what the backup says of itself. Nobody may change it.
func (b *Backup) Manifest() *Manifest { return b.manifest }

// Label returns the label of the backup, which nobody may change, or why it cannot be
// read, such as ErrDamaged. The manifest is whole even then.
func (b *Backup) Label() (*Label, error) { return b.label, b.labelErr }

// String returns what the names of all objects of the backup begin with.
func (b *Backup) String() string { return Folder(b.ID()) }

// Open reads a part of an object of the backup, decrypted, as store.Store.Open does. The name
// is that within the backup, see Object.Name. If it is missing or was tampered with the error,
// or that of the reader, is a *pack.DamageError; it wraps ErrRemoved if all of the backup was
// removed meanwhile.
func (b *Backup) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if !b.encrypted() {
		return b.openStored(ctx, name, offset, n)
	}
	object := objectName(b.ID(), name)
	o, err := b.object(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := o.Open(ctx, offset, n)
	if err != nil {
		return nil, readError(object, err)
	}
	return &decrypted{r, object}, nil
}

// encrypted reports whether the objects of the backup are.
func (b *Backup) encrypted() bool {
	if b.label == nil {
		return b.repository.Encrypted()
	}
	return len(b.label.Keys) > 0
}

// object returns an encrypted object.
func (b *Backup) object(ctx context.Context, name string) (*agefile.Object, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if o := b.objects[name]; o != nil {
		return o, nil
	}
	owner, _ := splitObject(b.ID(), name)
	keyName := keyBase
	if owner != b.ID() {
		keyName = owner + "/" + keyBase
	}
	key, err := b.repository.keyOf(ctx, owner, b.label.key(keyName))
	if err != nil {
		return nil, err
	}
	size, err := b.sizeOf(ctx, name)
	if err != nil {
		return nil, err
	}
	if b.objects == nil || len(b.objects) >= maxObjects {
		b.objects = map[string]*agefile.Object{}
	}
	o := agefile.NewObject(key, size, func(ctx context.Context, offset, n int64) (io.ReadCloser, error) {
		return b.openStored(ctx, name, offset, n)
	})
	b.objects[name] = o
	return o, nil
}

// sizeOf returns how many bytes an object has as it is stored.
func (b *Backup) sizeOf(ctx context.Context, name string) (int64, error) {
	if b.label != nil {
		if o := b.label.Object(name); o != nil {
			return o.Size, nil
		}
	}
	owner, base := splitObject(b.ID(), name)
	sizes, err := b.repository.sizesIn(ctx, owner)
	if err != nil {
		return 0, err
	}
	size, there := sizes[base]
	if !there {
		return 0, b.missing(ctx, objectName(b.ID(), name))
	}
	return size, nil
}

// readError returns what an error about an encrypted object means for who reads it. The errors
// of a store are as they are.
func readError(object string, err error) error {
	if _, ok := errors.AsType[*agefile.DamageError](err); ok {
		return damageOf(object, err)
	}
	return err
}

// decrypted is an encrypted object that is being read.
type decrypted struct {
	io.ReadCloser
	object string
}

// Read implements io.Reader.
func (d *decrypted) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if err != nil {
		err = readError(d.object, err)
	}
	return n, err
}

// Seek implements io.Seeker.
func (d *decrypted) Seek(offset int64, whence int) (int64, error) {
	return d.ReadCloser.(io.Seeker).Seek(offset, whence)
}

// openStored is Open for the bytes as they are stored.
func (b *Backup) openStored(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	object := objectName(b.ID(), name)
	r, err := b.repository.st.Open(ctx, object, offset, n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, b.missing(ctx, object)
	}
	return r, err
}

// missing is the error for an object that is not there.
func (b *Backup) missing(ctx context.Context, object string) error {
	if removed := b.StillThere(ctx); removed != nil {
		return removed
	}
	return &pack.DamageError{Object: object, Reason: "it is missing", Missing: true}
}

// storedObjects are the objects of a backup as they are stored.
type storedObjects struct{ *Backup }

// Open implements pack.Opener.
func (s storedObjects) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	return s.openStored(ctx, name, offset, n)
}

// StillThere returns ErrRemoved if the backup is no longer in the repository. Whoever
// works on one asks when something of it is missing: that is no damage if an expiry
// has removed the backup, whose label goes first.
func (b *Backup) StillThere(ctx context.Context) error {
	has, err := b.repository.Has(ctx, b.ID())
	if err == nil && !has {
		err = fmt.Errorf("backup %s: %w", b.ID(), ErrRemoved)
	}
	return err
}

// Strangers returns the names of objects in the folder of the backup that it does not name.
func (b *Backup) Strangers(ctx context.Context) ([]string, error) {
	list, err := b.repository.st.List(ctx, b.String()+"/")
	if err != nil {
		return nil, err
	}
	known := map[string]bool{
		labelBase: true, manifestBase: true, lineageBase: true, cardBase: true, keyBase: b.encrypted(),
	}
	for _, p := range b.manifest.Packs {
		known[p.Name] = true
	}
	var names []string
	for _, o := range list {
		if !known[strings.TrimPrefix(o.Name, b.String()+"/")] {
			names = append(names, o.Name)
		}
	}
	return names, nil
}

// Manifest reads and validates the manifest of a backup, which Resolve finds; for
// Latest one that can be read, if there is one.
// Errors: *UnknownError, ErrNewerFormat, ErrDamaged.
func (r *Repository) Manifest(ctx context.Context, idOrLatest string) (*Manifest, error) {
	b, err := r.Backup(ctx, idOrLatest)
	if err != nil {
		return nil, err
	}
	return b.manifest, nil
}

// openID reads manifest and label of a backup. A label that cannot be read does not hide
// the manifest: Backup.Label says why.
func (r *Repository) openID(ctx context.Context, id string) (*Backup, error) {
	l, labelErr := r.Label(ctx, id)
	if labelErr != nil && (!lost(labelErr) || errors.Is(labelErr, fs.ErrNotExist) ||
		errors.Is(labelErr, ErrNewerFormat)) {
		return nil, labelErr
	}
	m, err := r.manifest(ctx, id, l)
	if err != nil {
		return nil, err
	}
	if labelErr != nil {
		r.warn(fmt.Errorf("backup %s has a manifest, but no label that can be read: %w", id, labelErr))
	}
	return &Backup{repository: r, manifest: m, label: l, labelErr: labelErr}, nil
}

// manifest reads the manifest of a backup, and compares it with the label if there is one.
func (r *Repository) manifest(ctx context.Context, id string, l *Label) (*Manifest, error) {
	r.decoding.Lock() // one at a time: each may take a lot of memory
	defer r.decoding.Unlock()
	b, err := store.ReadAll(ctx, r.st, manifestName(id), maxManifestStored)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, r.missing(ctx, id, err)
	}
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %s in %s: %w", id, r, err)
	}
	if l != nil {
		err = l.wantObject(manifestBase, b)
	}
	if err == nil {
		b, err = r.decryptManifest(ctx, id, l, b)
	}
	var m *Manifest
	if err == nil {
		m, err = decodeManifest(b)
	}
	if err == nil && m.ID != id {
		err = fmt.Errorf("it is the manifest of %q: %w", m.ID, ErrDamaged)
	}
	if err != nil {
		err = fmt.Errorf("manifest %s: %w", manifestName(id), err)
	}
	if errors.Is(err, ErrDamaged) {
		err = hint.Wrap(err, hint.DamagedBackup)
	}
	return m, err
}

// missing is the error for a manifest that is not there: ErrDamaged if the backup is, since
// its label goes first.
func (r *Repository) missing(ctx context.Context, id string, err error) error {
	has, hasErr := r.Has(ctx, id)
	switch {
	case hasErr != nil:
		return hasErr
	case has:
		return hint.Wrap(fmt.Errorf("manifest %s is missing: %w", manifestName(id), ErrDamaged), hint.DamagedBackup)
	}
	return fmt.Errorf("read the manifest of %s in %s: %w", id, r, err)
}
