package repo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"mbk/copier/pack"
	"mbk/internal/repo/store"
)

// Draft is a backup that is being written. It is not listed before Commit, and what a
// crash leaves of it is removed by Sweep. The repository's lock must be held all the
// time. Methods may be called from several goroutines.
type Draft struct {
	repository *Repository
	id         string
}

// Draft returns the draft of a backup of that id, which FreshID has found.
func (r *Repository) Draft(id string) *Draft { return &Draft{repository: r, id: id} }

// ID returns the id that the backup will have.
func (d *Draft) ID() string { return d.id }

// Kind returns the kind of the backup: KindFull.
func (d *Draft) Kind() string {
	_, kind, _ := ParseID(d.id) // FreshID gives no other
	return kind
}

// Put makes an object of the backup, as store.Store.Put does. The name is that within
// the backup: "data-0001.pack".
func (d *Draft) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if err := d.repository.wantLocked(); err != nil {
		return fmt.Errorf("write %s of %s: %w", name, d.id, err)
	}
	return d.repository.st.Put(ctx, Folder(d.id)+"/"+name, write)
}

// Commit makes the backup exist: it checks the manifest, and that every pack that it
// names is there with its size, and writes it. If Commit returns an error the backup
// may exist nevertheless (see store.Store.Put): Discard it.
func (d *Draft) Commit(ctx context.Context, m *Manifest) error {
	if err := d.commit(ctx, m); err != nil {
		return fmt.Errorf("commit %s: %w", d.id, err)
	}
	return nil
}

func (d *Draft) commit(ctx context.Context, m *Manifest) error {
	if err := d.repository.wantLocked(); err != nil {
		return err
	}
	if m.ID != d.id {
		return fmt.Errorf("the manifest is that of %s", m.ID)
	}
	if m.FormatVersion != FormatVersion {
		return fmt.Errorf("format version %d, want %d", m.FormatVersion, FormatVersion)
	}
	if err := m.Validate(); err != nil {
		return err
	}
	if err := d.checkPacks(ctx, m.Packs); err != nil {
		return err
	}
	var raw bytes.Buffer // a line: Encode ends it
	if err := json.NewEncoder(&raw).Encode(m); err != nil {
		return err
	}
	b, err := pack.EncodeDocument(raw.Bytes())
	if err != nil {
		return err
	}
	return store.PutBytes(ctx, d.repository.st, manifestName(d.id), b)
}

// checkPacks compares the packs of a manifest with the objects that are there.
func (d *Draft) checkPacks(ctx context.Context, packs []pack.Pack) error {
	prefix := Folder(d.id) + "/"
	list, err := d.repository.st.List(ctx, prefix)
	if err != nil {
		return err
	}
	sizes := make(map[string]int64, len(list))
	for _, o := range list {
		sizes[strings.TrimPrefix(o.Name, prefix)] = o.Size
	}
	for _, p := range packs {
		switch size, ok := sizes[p.Name]; {
		case !ok:
			return fmt.Errorf("pack %s is not in the repository", p.Name)
		case size != p.Size:
			return fmt.Errorf("pack %s has %d bytes in the repository, want %d", p.Name, size, p.Size)
		}
	}
	return nil
}

// Discard removes all objects of the backup, written or not committed.
func (d *Draft) Discard(ctx context.Context) error { return d.repository.Discard(ctx, d.id) }
