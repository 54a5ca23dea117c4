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

// encrypted copies all objects of a backup that is not encrypted but the label, encrypted, and
// returns the label of the copy and its text. parent is the label of the parent's copy, nil if
// there is none.
func (x *importing) encrypted(ctx context.Context, parent *Label) (*Label, []byte, error) {
	label := *x.label
	label.CopiedFrom = x.label.Hash
	if parent != nil {
		label.ParentBLAKE3 = parent.Hash
	}
	encrypt := x.encryptedObjects
	if x.arrived != nil {
		encrypt = x.encryptedArrived
	}
	var err error
	if label.Objects, label.Keys, err = encrypt(ctx); err != nil {
		return nil, nil, err
	}
	text, err := label.encode()
	return &label, text, err
}

// encryptedObjects copies all objects of a backup, encrypted to a new key, and returns what the
// label says of the copies. What an import that was killed has left is removed first: its key
// was in memory only.
func (x *importing) encryptedObjects(ctx context.Context) ([]Object, []LabelKey, error) {
	to, err := x.to.recipients()
	if err != nil {
		return nil, nil, err
	}
	key, err := agefile.NewKey(to)
	if err != nil {
		return nil, nil, err
	}
	keys, err := x.newKeys(ctx, key, to)
	if err != nil {
		return nil, nil, err
	}
	objects := make([]Object, len(x.label.Objects))
	err = each(ctx, len(objects), func(ctx context.Context, i int) (err error) {
		objects[i], err = x.encryptedObject(ctx, &x.label.Objects[i], key)
		return err
	})
	return objects, keys, err
}

// encryptedArrived returns what the label says of the objects of a backup that were encrypted as
// they came.
func (x *importing) encryptedArrived(context.Context) (objects []Object, keys []LabelKey, err error) {
	for i := range x.label.Objects {
		o := x.label.Objects[i]
		name := objectName(x.label.ID, o.Name)
		came := x.arrived[name]
		if err := came.want(name, &o); err != nil {
			return nil, nil, err
		}
		owner, base := o.of(x.label.ID)
		key := x.arrivedKeys[owner]
		if !came.written || key == nil {
			return nil, nil, &OtherBackupError{ID: x.label.ID, Object: name, Where: x.to.String()}
		}
		x.written.Add(came.size)
		if base != lineageBase {
			o.Size, o.BLAKE3 = came.sealed.Size, came.sealed.BLAKE3
		}
		objects, keys = append(objects, o), addKey(keys, x.label.ID, owner, key)
	}
	return objects, keys, nil
}

// addKey adds the key of the objects in the folder of owner to those of the backup id, which stay
// in the order of their names.
func addKey(keys []LabelKey, id, owner string, key *agefile.Key) []LabelKey {
	name := keyBase
	if owner != id {
		name = owner + "/" + keyBase
	}
	i, there := slices.BinarySearchFunc(keys, name, func(k LabelKey, name string) int { return cmp.Compare(k.Name, name) })
	if there {
		return keys
	}
	return slices.Insert(keys, i, LabelKey{name, hashOf([]byte(key.Public()))})
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
		known := len(keys)
		if keys = addKey(keys, x.label.ID, owner, key); len(keys) == known {
			continue
		}
		if err := x.makeRoom(ctx, owner); err != nil {
			return nil, err
		}
		if err := store.PutBytes(ctx, x.to.st, Folder(owner)+"/"+keyBase, sealed); err != nil {
			return nil, err
		}
	}
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
		switch o.Name {
		case lineageBase:
			return write(out)
		case cardBase: // the original has names
			return writing([]byte(namelessCard(x.label.ID)))(out)
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
