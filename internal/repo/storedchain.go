package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"mbk/copier/pack"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
)

// StoredChain is Chain as far as the labels tell, which takes no identity: it is for looking
// at the objects as they are stored, and for copying them. Its manifests have only what is in
// the labels, and it has no layers. A label that cannot be read is an error.
func (r *Repository) StoredChain(ctx context.Context, id string) (*Chain, error) {
	w := chainWalk{r: r, c: &Chain{}}
	for child := (*Label)(nil); ; {
		l, err := r.Label(ctx, id)
		if child != nil {
			err = w.checkParent(ctx, child, l, err)
		}
		if err != nil {
			return nil, err
		}
		b := &Backup{repository: r, manifest: l.manifest(), label: l}
		if w.c.backup == nil {
			w.c.backup = b
		}
		w.add(b)
		if l.Parent == "" {
			return w.c, nil
		}
		child, id = l, l.Parent
	}
}

// checkParent checks the label of the parent of a member, or says why it is not there.
func (w *chainWalk) checkParent(ctx context.Context, child, l *Label, err error) error {
	broken := &ChainError{ID: w.c.backup.ID(), Child: child.ID, Parent: child.Parent}
	switch {
	case slices.ContainsFunc(w.c.members, func(m Member) bool { return m.ID == child.Parent }):
		broken.Reason = "and it needs itself"
	case errors.Is(err, ErrDamaged):
		broken.Reason, broken.Err = "it cannot be read", err
	case errors.Is(err, fs.ErrNotExist):
		if err := w.c.backup.StillThere(ctx); err != nil {
			return err
		}
		broken.Reason = "it is not in the repository"
	case err != nil:
		return fmt.Errorf("backup %s needs %s: %w", broken.ID, child.Parent, err)
	case child.ParentBLAKE3 != l.Hash:
		broken.Reason = otherParent(child, l)
	default:
		return nil
	}
	return broken
}

// otherParent says that the label of a parent is not the one that a child names.
func otherParent(child, l *Label) string {
	return fmt.Sprintf("it is another backup than the one that %s was made of: "+
		"the BLAKE3 of its label is %s, not %s", child.ID, l.Hash, child.ParentBLAKE3)
}

// manifest returns what a label tells of the manifest.
func (l *Label) manifest() *Manifest {
	m := &Manifest{ID: l.ID, Kind: l.Kind, Parent: l.Parent, LSN: l.LSN}
	for i := range l.Objects {
		if _, base := l.Objects[i].of(l.ID); isPackName(base) {
			m.Packs = append(m.Packs, pack.Pack{Name: l.Objects[i].Name})
		}
	}
	return m
}

// CheckKeys checks that the keys of an encrypted member are there: with an identity that
// opens them that they are the ones that its label names, else that each is a sealed key. What is not so is a
// *pack.DamageError.
func (m *Member) CheckKeys(ctx context.Context) error {
	l := m.backup.label
	if l == nil {
		return nil
	}
	var found []error
	for _, k := range l.Keys {
		owner, _ := splitObject(l.ID, k.Name)
		found = append(found, m.backup.checkKey(ctx, owner, k))
	}
	return errors.Join(found...)
}

// checkKey checks one key.
func (b *Backup) checkKey(ctx context.Context, owner string, k LabelKey) error {
	if r := b.repository; !r.identities.None() {
		if _, err := r.keyOf(ctx, owner, k.BLAKE3); !Concealed(err) {
			return err
		}
	}
	name := objectName(b.ID(), k.Name)
	sealed, err := store.ReadAll(ctx, b.repository.st, name, maxKey)
	if errors.Is(err, fs.ErrNotExist) {
		return b.missing(ctx, name)
	}
	if err == nil {
		err = agefile.CheckSealed(sealed)
	}
	if err != nil {
		return damageOf(name, err)
	}
	return nil
}
