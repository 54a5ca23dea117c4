package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync/atomic"

	"github.com/zeebo/blake3"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
)

// Imported says what Import did with a backup.
type Imported struct {
	ID      string `json:"id"`
	Present bool   `json:"present"`       // it was in this repository already
	Objects int    `json:"objects"`       // of the backup, without the label
	Bytes   int64  `json:"bytes"`         // of these
	Written int64  `json:"bytes_written"` // of these, written now; the others were there
}

// OtherBackupError is returned by Import if this repository has something under the name of
// the backup that is not that backup. Nothing is replaced.
type OtherBackupError struct {
	ID     string // of the backup
	Object string // that is there, as this repository names it
	Where  string // this repository
}

// Error names the object.
func (e *OtherBackupError) Error() string {
	return fmt.Sprintf("%s in %s is not that of the backup %s to be copied", e.Object, e.Where, e.ID)
}

// Fault says that something is in the way.
func (e *OtherBackupError) Fault() fault.Kind { return fault.Config }

// Hints says how to go on.
func (e *OtherBackupError) Hints() []hint.Text {
	return []hint.Text{
		"copy into a repository that has only copies of this one; or, if it is a damaged copy that is in the way, " +
			hint.Text(`"mbk remove `+e.ID+`" there, and copy again`),
	}
}

// Import makes a backup of another repository one of this one, byte for byte, unless this
// repository is encrypted and the backup is not: then it is encrypted on the way, and
// Label.CopiedFrom names the original. Its objects are written
// first, each compared with what the label says of it, then the label. A backup that is
// there is left as it is, and of one that is there in part, such as after an Import that
// was killed, only what is missing is written; what is there is read and compared. The
// parent of the backup must be there. The lock of this repository must be held; the other
// one need not be locked.
//
// onBytes is called with numbers of bytes as they are read, by several goroutines; it may
// be nil. Errors: *OtherBackupError, *pack.DamageError about an object of the other
// repository, ErrRemoved, ErrDamaged about its label.
func (r *Repository) Import(ctx context.Context, from *Repository, id string, onBytes func(int64)) (Imported, error) {
	done, err := r.importBackup(ctx, id, &importing{from: from, to: r, onBytes: onBytes})
	if err != nil {
		return done, fmt.Errorf("copy %s from %s to %s: %w", id, from, r, err)
	}
	return done, nil
}

func (r *Repository) importBackup(ctx context.Context, id string, x *importing) (Imported, error) {
	done, from := Imported{ID: id}, x.from
	if err := r.CheckLock(); err != nil {
		return done, err
	}
	text, label, err := from.labelText(ctx, id)
	if err != nil {
		return done, err
	}
	done.Objects, done.Bytes = len(label.Objects), label.stored()
	x.label, x.stored = label, label
	if done.Present, err = r.holds(ctx, label); err != nil || done.Present {
		return done, err
	}
	parent, err := r.wantParent(ctx, from, label)
	if err = errors.Join(err, r.wantEncrypted(label)); err != nil {
		return done, err
	}
	switch {
	case r.encrypts(label):
		label, text, err = x.encrypted(ctx, parent)
	case parent != nil && parent.Hash != label.ParentBLAKE3:
		label, text, err = x.onAnotherCopy(ctx, parent)
	default:
		err = x.asItIs(ctx)
	}
	x.stored, done.Written = label, x.written.Load()
	if err == nil {
		err = r.compare(ctx, label)
	}
	if err == nil {
		err = r.retain(ctx, label)
	}
	if err == nil {
		err = r.putLabel(ctx, id, text)
	}
	if err != nil {
		return done, err
	}
	if err := r.importRecord(ctx, from, label); err != nil {
		r.warn(err) // the backup is there, and its label says what matters
	}
	return done, nil
}

// asItIs copies all objects but the label, byte for byte.
func (x *importing) asItIs(ctx context.Context) (err error) {
	if x.sizes, err = x.to.sizesOf(ctx, x.label); err != nil {
		return err
	}
	if err := x.keys(ctx); err != nil {
		return err
	}
	return each(ctx, len(x.label.Objects), func(ctx context.Context, i int) error {
		return x.object(ctx, &x.label.Objects[i])
	})
}

// onAnotherCopy copies an increment that was encrypted on its way, whose parent is here as another
// encrypted copy of the same original. It returns a label that names that one, and its text.
func (x *importing) onAnotherCopy(ctx context.Context, parent *Label) (*Label, []byte, error) {
	if err := x.asItIs(ctx); err != nil {
		return nil, nil, err
	}
	label := *x.label
	label.ParentBLAKE3 = parent.Hash
	text, err := label.encode()
	return &label, text, err
}

// ErrWouldExpose is returned by Import for an encrypted backup if this repository names no
// recipients.
var ErrWouldExpose = fault.New(fault.Config,
	"it is encrypted, and the repository to copy it to names no recipients")

// wantEncrypted returns an error for an encrypted backup if this repository is not encrypted.
func (r *Repository) wantEncrypted(l *Label) error {
	if len(l.Keys) > 0 && !r.Encrypted() {
		return hint.Wrap(ErrWouldExpose, `make the other repository with "mbk init" and recipients`)
	}
	return nil
}

// encrypts reports whether Import encrypts a backup.
func (r *Repository) encrypts(l *Label) bool { return r.Encrypted() && len(l.Keys) == 0 }

// WouldTake returns an error if Import would take no backup that another repository, or one
// that is still to be made, gets now.
func (r *Repository) WouldTake(from *Repository) error {
	l := &Label{}
	if from.Encrypted() {
		l.Keys = []LabelKey{{}}
	}
	return r.wantEncrypted(l)
}

// Presume makes Import take a backup of another repository for one of this one, as a parent.
// It is for a repository that is sent to where that backup is. It is called before Import.
func (r *Repository) Presume(ctx context.Context, from *Repository, id string) error {
	l, err := from.Label(ctx, id)
	if err != nil {
		return err
	}
	if r.presumed == nil {
		r.presumed = map[string]string{}
	}
	r.presumed[id] = l.Hash
	return nil
}

// Holds says of a backup of another repository whether it is in this one, as Import would.
// Nothing is read but the labels.
func (r *Repository) Holds(ctx context.Context, from *Repository, id string) (Imported, error) {
	_, label, err := from.labelText(ctx, id)
	if err != nil {
		return Imported{ID: id}, err
	}
	has, err := r.holds(ctx, label)
	return Imported{ID: id, Present: has, Objects: len(label.Objects), Bytes: label.stored()}, err
}

// stored returns the number of bytes of all objects of the backup but the label.
func (l *Label) stored() (n int64) {
	for i := range l.Objects {
		n += l.Objects[i].Size
	}
	return n
}

// holds reports whether the repository has the backup of a label. Another one that goes by
// the same id is an *OtherBackupError.
func (r *Repository) holds(ctx context.Context, l *Label) (bool, error) {
	own, err := r.Label(ctx, l.ID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	case err != nil && !lost(err):
		return false, err
	case err != nil || !own.sameAs(l):
		return false, &OtherBackupError{ID: l.ID, Object: labelName(l.ID), Where: r.String()}
	}
	return true, nil
}

// sameAs reports whether two labels are of one backup, or of encrypted copies of it.
func (l *Label) sameAs(other *Label) bool {
	return l.Hash == other.Hash || l.CopiedFrom == other.Hash ||
		other.CopiedFrom != "" && (other.CopiedFrom == l.CopiedFrom || other.CopiedFrom == l.Hash)
}

// wantParent returns the label of the parent of a backup, nil if there is none. It is an error
// if it is not in the repository. The parent of a backup that is encrypted on its way, or was,
// may be another encrypted copy.
func (r *Repository) wantParent(ctx context.Context, from *Repository, l *Label) (*Label, error) {
	if l.Parent == "" || r.presumed[l.Parent] == l.ParentBLAKE3 {
		return nil, nil
	}
	parent, err := r.Label(ctx, l.Parent)
	if err == nil && parent.Hash != l.ParentBLAKE3 {
		named := &Label{Hash: l.ParentBLAKE3}
		if its, err := from.Label(ctx, l.Parent); err == nil && its.Hash == l.ParentBLAKE3 {
			named = its // which may say of what it is a copy
		}
		if !r.encrypts(l) && l.CopiedFrom == "" || !parent.sameAs(named) {
			err = &OtherBackupError{ID: l.Parent, Object: labelName(l.Parent), Where: r.String()}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("the parent of %s: %w", l.ID, err)
	}
	return parent, nil
}

// importRecord copies what the history of the other repository says of a backup, unless there
// is a record already. What is encrypted to the same recipients is copied as it is, unless the
// label is not; else as far as it can be read. label is that of the copy.
func (r *Repository) importRecord(ctx context.Context, from *Repository, label *Label) error {
	id := label.ID
	switch own, err := r.attempt(ctx, id); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil || own.Outcome == OutcomeOK:
		return err
	default: // of one that brought the backup here and was killed
		if err := r.st.Delete(ctx, attemptName(id)); err != nil {
			return err
		}
	}
	a, err := from.attempt(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	switch {
	case err != nil:
		return err
	case !from.Encrypted() || !sameTexts(from.config.Recipients, r.config.Recipients) ||
		label.CopiedFrom != "" && a.Label != label.Hash:
		if label.CopiedFrom != "" {
			a.Label = label.Hash
		}
		return r.PutAttempt(ctx, a)
	}
	if err := r.addHistoryKeys(ctx, from.config.HistoryKeys); err != nil {
		return err
	}
	b, err := store.ReadAll(ctx, from.st, attemptName(id), maxRecord)
	if err != nil {
		return err
	}
	return store.PutBytes(ctx, r.st, attemptName(id), b)
}

// addHistoryKeys adds keys with which records of another repository can be read. They are
// sealed to the same recipients. The newest key stays the one in use.
func (r *Repository) addHistoryKeys(ctx context.Context, keys []HistoryKey) error {
	before := r.config.HistoryKeys
	var more []HistoryKey
	for _, k := range keys {
		if !slices.ContainsFunc(before, func(own HistoryKey) bool { return own.Recipient == k.Recipient }) {
			more = append(more, k)
		}
	}
	if len(more) == 0 {
		return nil
	}
	r.config.HistoryKeys = slices.Concat(more, before)
	if err := r.putConfig(ctx); err != nil {
		r.config.HistoryKeys = before
		return err
	}
	return nil
}

// importing is a backup that is being copied from another repository.
type importing struct {
	from, to *Repository
	label    *Label
	stored   *Label           // that of the copy, which is another one if it was encrypted on its way
	sizes    map[string]int64 // of the objects that are there
	onBytes  func(int64)
	written  atomic.Int64

	arrived     map[string]arrived      // objects that came as a stream, by their names in a repository; nil: from has all
	arrivedKeys map[string]*agefile.Key // of those that were encrypted as they came, by folder
}

// keys copies the keys of an encrypted backup. If the repositories have different recipients
// they are sealed again, which takes an identity; the backup stays as it is.
func (x *importing) keys(ctx context.Context) error {
	if len(x.label.Keys) == 0 {
		return nil
	}
	to, err := x.to.recipients()
	if err != nil {
		return err
	}
	same := sameTexts(x.from.config.Recipients, x.to.config.Recipients)
	for _, k := range x.label.Keys {
		if _, there := x.sizes[k.Name]; there {
			continue
		}
		name := objectName(x.label.ID, k.Name)
		sealed, err := store.ReadAll(ctx, x.from.st, name, maxKey)
		if errors.Is(err, fs.ErrNotExist) {
			err = x.lacks(ctx, name)
		}
		if err == nil && !same {
			sealed, err = x.reseal(ctx, k, to)
		}
		if err == nil {
			err = store.PutBytes(ctx, x.to.st, name, sealed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reseal returns a key sealed to other recipients.
func (x *importing) reseal(ctx context.Context, k LabelKey, to *agefile.Recipients) ([]byte, error) {
	owner, _ := splitObject(x.label.ID, k.Name)
	key, err := x.from.keyOf(ctx, owner, k.BLAKE3)
	if err != nil {
		return nil, err
	}
	return key.Seal(to)
}

// sameTexts reports whether two lists have the same elements, in any order.
func sameTexts(a, b []string) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// object copies one object, or compares it with the one that is there.
func (x *importing) object(ctx context.Context, o *Object) error {
	name := objectName(x.label.ID, o.Name)
	if x.arrived != nil {
		came := x.arrived[name]
		if err := came.want(name, o); err != nil {
			return err
		}
		if came.written {
			x.written.Add(came.size)
			return nil
		}
	}
	size, there := x.sizes[o.Name]
	if !there {
		return x.copy(ctx, name, o)
	}
	sum := ""
	if size == o.Size {
		var err error
		if sum, err = x.hash(ctx, name, o); err != nil {
			return err
		}
	}
	if sum != o.BLAKE3 {
		return &OtherBackupError{ID: x.label.ID, Object: name, Where: x.to.String()}
	}
	return nil
}

// copy copies an object, which does not come to be if it is not what the label names.
func (x *importing) copy(ctx context.Context, name string, o *Object) error {
	return x.to.st.Put(ctx, name, func(w io.Writer) error { return x.original(ctx, name, o, w) })
}

// lacks is the error for an object that the source of the copy does not have.
func (x *importing) lacks(ctx context.Context, name string) error {
	has, err := x.from.Has(ctx, x.label.ID)
	switch {
	case err != nil:
		return err
	case !has:
		return fmt.Errorf("backup %s: %w", x.label.ID, ErrRemoved)
	}
	return &pack.DamageError{Object: name, Reason: "it is missing", Missing: true}
}

// hash returns the BLAKE3 of an object that is there.
func (x *importing) hash(ctx context.Context, name string, o *Object) (string, error) {
	r, err := x.to.st.Open(ctx, name, 0, -1)
	if err != nil {
		return "", err
	}
	sum := &hashingWriter{w: io.Discard, hash: blake3.New(), may: x.to.CheckLock}
	err = x.pass(sum, r, o.Size, new(atomic.Int64))
	return hex.EncodeToString(sum.hash.Sum(nil)), errors.Join(err, r.Close())
}

// importPiece is how much is read and written at a time.
const importPiece = 1 << 20

// pass passes bytes on up to the end, or one byte more than size, and counts them.
func (x *importing) pass(to io.Writer, from io.Reader, size int64, count *atomic.Int64) error {
	counted := writerFunc(func(p []byte) (int, error) {
		n, err := to.Write(p)
		count.Add(int64(n))
		if x.onBytes != nil {
			x.onBytes(int64(n))
		}
		return n, err
	})
	_, err := io.CopyBuffer(counted, io.LimitReader(from, size+1), make([]byte, importPiece))
	return err
}

// writerFunc is a function as a Writer.
type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
