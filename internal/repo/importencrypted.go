package repo

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"slices"

	"github.com/zeebo/blake3"

	"mbk/copier/pack"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
)

// encrypted copies all objects of a backup that is not encrypted but the label, encrypted to a
// new key, and returns the label of the copy and its text. What an import that was killed has
// left is removed first: its key was in memory only. parent is the label of the parent's copy,
// nil if there is none.
func (x *importing) encrypted(ctx context.Context, parent *Label) (*Label, []byte, error) {
	to, err := x.to.recipients()
	if err != nil {
		return nil, nil, err
	}
	key, err := agefile.NewKey(to)
	if err != nil {
		return nil, nil, err
	}
	label := *x.label
	label.CopiedFrom, label.Objects = x.label.Hash, make([]Object, len(x.label.Objects))
	if label.Keys, err = x.newKeys(ctx, key, to); err != nil {
		return nil, nil, err
	}
	if parent != nil {
		label.ParentBLAKE3 = parent.Hash
	}
	err = each(ctx, len(label.Objects), func(ctx context.Context, i int) (err error) {
		label.Objects[i], err = x.encryptedObject(ctx, &x.label.Objects[i], key)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	text, err := label.encode()
	return &label, text, err
}

// newKeys stores a key, sealed, in each folder in which the backup has objects, and returns
// what the label says of them.
func (x *importing) newKeys(ctx context.Context, key *agefile.Key, to *agefile.Recipients) ([]LabelKey, error) {
	sealed, err := key.Seal(to)
	if err != nil {
		return nil, err
	}
	var keys []LabelKey
	for i := range x.label.Objects {
		owner, _ := x.label.Objects[i].of(x.label.ID)
		name := keyBase
		if owner != x.label.ID {
			name = owner + "/" + keyBase
		}
		if slices.ContainsFunc(keys, func(k LabelKey) bool { return k.Name == name }) {
			continue
		}
		if err := x.makeRoom(ctx, owner); err != nil {
			return nil, err
		}
		if err := store.PutBytes(ctx, x.to.st, Folder(owner)+"/"+keyBase, sealed); err != nil {
			return nil, err
		}
		keys = append(keys, LabelKey{name, hashOf([]byte(key.Public()))})
	}
	slices.SortFunc(keys, func(a, b LabelKey) int { return cmp.Compare(a.Name, b.Name) })
	return keys, nil
}

// makeRoom removes what is in a folder, unless that is a backup.
func (x *importing) makeRoom(ctx context.Context, owner string) error {
	switch has, err := x.to.Has(ctx, owner); {
	case err != nil:
		return err
	case has:
		return &OtherBackupError{ID: x.label.ID, Object: labelName(owner), Where: x.to.String()}
	}
	return x.to.clear(ctx, owner, func(string) bool { return false })
}

// encryptedObject copies an object, encrypted unless it is one that is always clear, and
// returns what the label says of the copy. It does not come to be if the original is not what
// its label names.
func (x *importing) encryptedObject(ctx context.Context, o *Object, key *agefile.Key) (Object, error) {
	name := objectName(x.label.ID, o.Name)
	var out *hashingWriter
	err := x.to.st.Put(ctx, name, func(w io.Writer) error {
		out = &hashingWriter{w: w, hash: blake3.New(), may: x.to.CheckLock}
		write := func(w io.Writer) error { return x.original(ctx, name, o, w) }
		if o.Name == lineageBase {
			return write(out)
		}
		_, err := key.Encrypt(out, write)
		return err
	})
	if err != nil {
		return Object{}, err
	}
	return Object{o.Name, out.size, hex.EncodeToString(out.hash.Sum(nil))}, nil
}

// original passes an object of the other repository on, which must be what the label names.
func (x *importing) original(ctx context.Context, name string, o *Object, w io.Writer) error {
	source, err := x.from.st.Open(ctx, name, 0, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return x.lacks(ctx, name)
	}
	if err != nil {
		return err
	}
	sum := &hashingWriter{w: w, hash: blake3.New(), may: x.to.CheckLock}
	err = x.pass(sum, source, o.Size, &x.written)
	if err = errors.Join(err, source.Close()); err != nil {
		return err
	}
	if sum.size != o.Size || hex.EncodeToString(sum.hash.Sum(nil)) != o.BLAKE3 {
		return &pack.DamageError{Object: name, Reason: "it is not what the label of the backup names"}
	}
	return sum.may() // before the object gets its name
}
