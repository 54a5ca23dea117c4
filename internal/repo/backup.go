package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"mbk/copier/pack"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
)

// Backup is a backup that is being read. It may be removed meanwhile by whoever holds
// the repository's lock. Methods may be called from several goroutines.
type Backup struct {
	repository *Repository
	manifest   *Manifest
}

// Backup opens a backup, which Resolve finds; for Latest one whose manifest can be read,
// if there is one. Errors: *UnknownError, ErrNewerFormat, ErrDamaged.
func (r *Repository) Backup(ctx context.Context, idOrLatest string) (*Backup, error) {
	m, err := r.Manifest(ctx, idOrLatest)
	if err != nil {
		return nil, err
	}
	return &Backup{repository: r, manifest: m}, nil
}

// ID returns the id of the backup.
func (b *Backup) ID() string { return b.manifest.ID }

// Manifest returns what the backup says of itself. Nobody may change it.
func (b *Backup) Manifest() *Manifest { return b.manifest }

// String returns what the names of all objects of the backup begin with.
func (b *Backup) String() string { return Folder(b.ID()) }

// Open reads a part of an object of the backup, as store.Store.Open does. The name is
// that within the backup: "data-0001.pack". If it is missing the error is a
// *pack.DamageError, or wraps ErrRemoved if all of the backup was removed meanwhile.
func (b *Backup) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	object := b.String() + "/" + name
	r, err := b.repository.st.Open(ctx, object, offset, n)
	if errors.Is(err, fs.ErrNotExist) {
		if removed := b.StillThere(ctx); removed != nil {
			return nil, removed
		}
		err = &pack.DamageError{Object: object, Reason: "it is missing", Missing: true}
	}
	return r, err
}

// StillThere returns ErrRemoved if the backup is no longer in the repository. Whoever
// works on one asks when something of it is missing: that is no damage if an expiry
// has removed the backup, whose manifest goes first.
func (b *Backup) StillThere(ctx context.Context) error {
	has, err := b.repository.Has(ctx, b.ID())
	if err == nil && !has {
		err = fmt.Errorf("backup %s: %w", b.ID(), ErrRemoved)
	}
	return err
}

// Strangers returns the names of objects among those of the backup that its manifest
// does not name.
func (b *Backup) Strangers(ctx context.Context) ([]string, error) {
	list, err := b.repository.st.List(ctx, b.String()+"/")
	if err != nil {
		return nil, err
	}
	packs := map[string]bool{}
	for _, p := range b.manifest.Packs {
		packs[p.Name] = true
	}
	var names []string
	for _, o := range list {
		name := strings.TrimPrefix(o.Name, b.String()+"/")
		if !packs[name] && !strings.HasPrefix(name, "manifest") {
			names = append(names, o.Name)
		}
	}
	return names, nil
}

// Manifest reads and validates the manifest of a backup, which Resolve finds; for
// Latest one that can be read, if there is one.
// Errors: *UnknownError, ErrNewerFormat, ErrDamaged.
func (r *Repository) Manifest(ctx context.Context, idOrLatest string) (*Manifest, error) {
	if idOrLatest == Latest {
		return r.latestManifest(ctx)
	}
	id, err := r.Resolve(ctx, idOrLatest)
	if err != nil {
		return nil, err
	}
	return r.manifest(ctx, id)
}

func (r *Repository) manifest(ctx context.Context, id string) (*Manifest, error) {
	r.decoding.Lock() // one at a time: each may take a lot of memory
	defer r.decoding.Unlock()
	b, err := store.ReadAll(ctx, r.st, manifestName(id), maxManifestStored)
	if err != nil {
		return nil, fmt.Errorf("read the manifest of %s in %s: %w", id, r, err)
	}
	m, err := decodeManifest(b)
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
