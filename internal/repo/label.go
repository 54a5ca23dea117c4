package repo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mbk/internal/hint"
	"mbk/internal/repo/store"
	"mbk/internal/ui/printable"
)

// Bounds of a label. Its objects have some 200 bytes each.
const (
	maxLabel = 32 << 20 // bytes
	maxCount = 1 << 40  // of anything that is counted in it
)

// Label is the object whose writing makes a backup exist: written last, removed first.
// It is small and names no table, host or folder, so that backups can be listed, copied,
// compared with what was stored and removed without their manifests.
type Label struct {
	FormatVersion int    `json:"format_version"`
	ID            string `json:"id"`
	Kind          string `json:"kind"`
	Parent        string `json:"parent"` // "" of a full backup
	// ParentBLAKE3 is the Hash of the parent's label: of another backup that goes by the
	// same id, a chain is not made.
	ParentBLAKE3 string `json:"parent_blake3,omitempty"`
	// CopiedFrom is the Hash of the label of which this backup is an encrypted copy, "" if it
	// is none.
	CopiedFrom string    `json:"copied_from_blake3,omitempty"`
	Tool       string    `json:"tool"`
	Started    time.Time `json:"started"`
	Finished   time.Time `json:"finished"`
	LSN        LSNs      `json:"lsn"`
	Volume
	Size      int64 `json:"size"` // bytes of the files that a restore creates
	Databases int   `json:"databases"`
	Tables    int   `json:"tables"`
	Files     int   `json:"files"`
	Damaged   int   `json:"damaged"` // pages that were damaged in the source
	Filtered  bool  `json:"filtered"`
	LeftOut   int   `json:"left_out"`       // tables that it does not hold
	LockMS    int64 `json:"lock_window_ms"` // as Manifest.LockMS
	// ConsolidatedFrom are the ids of the chain that the backup was made of, newest first.
	ConsolidatedFrom []string `json:"consolidated_from,omitempty"`
	// Keys are those with which the objects can be read, none if they are not encrypted.
	Keys    []LabelKey `json:"keys,omitempty"`
	Objects []Object   `json:"objects"` // all other objects of the backup, by name

	// Hash is the BLAKE3 of the label as it is stored, 64 hex digits. Since the label has
	// the hashes of all other objects, and that of the parent's label, it stands for the
	// whole backup and those that it needs.
	Hash string `json:"-"`
}

// Object is an object of a backup as it was stored.
type Object struct {
	// Name is that within the backup: "data-0001.pack"; or, of an interrupted attempt on
	// which the backup continued, with the id of that: "20261129T201806Z-full/data-0001.pack".
	Name   string `json:"name"`
	Size   int64  `json:"size"`   // bytes
	BLAKE3 string `json:"blake3"` // of these bytes, 64 hex digits, as b3sum prints it
}

// of returns the id of the backup or attempt in whose folder the object lies, as an object
// of the backup id, and its name in that folder.
func (o *Object) of(id string) (owner, base string) { return splitObject(id, o.Name) }

// splitObject takes the name of an object within the backup id apart.
func splitObject(id, name string) (owner, base string) {
	if owner, base, ok := strings.Cut(name, "/"); ok {
		return owner, base
	}
	return id, name
}

// objectName returns the name in the repository of an object within the backup id.
func objectName(id, name string) string {
	owner, base := splitObject(id, name)
	return Folder(owner) + "/" + base
}

// newLabel returns the label of a backup with these objects.
func newLabel(m *Manifest, objects []Object, keys []LabelKey) *Label {
	l := &Label{
		FormatVersion: FormatVersion, ID: m.ID, Kind: m.Kind, Parent: m.Parent, Tool: m.Tool,
		Started: m.Started, Finished: m.Finished, LSN: m.LSN, Volume: m.Volume,
		Databases: len(m.Directories), Tables: len(m.Tables), Files: len(m.Files), Damaged: len(m.Damaged),
		Filtered: m.Filter != nil, LeftOut: len(m.LeftOut), LockMS: m.LockMS, ConsolidatedFrom: m.ConsolidatedFrom,
		Keys: keys, Objects: objects, Size: m.size(),
	}
	return l
}

// encode checks a label and returns its text. It sets the hash.
func (l *Label) encode() ([]byte, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	b, err := seal(l)
	if err != nil {
		return nil, err
	}
	if len(b) > maxLabel {
		return nil, fmt.Errorf("label of %d bytes for %d objects: %w", len(b), len(l.Objects), store.ErrTooLarge)
	}
	l.Hash = hashOf(b)
	return b, nil
}

// decodeLabel reads the text of a label. It may be hostile.
func decodeLabel(b []byte) (*Label, error) {
	switch sealed, err := checkSeal(b); {
	case err != nil:
		return nil, err
	case !sealed:
		return nil, fmt.Errorf("it has no checksum: %w", ErrDamaged)
	}
	l := new(Label)
	if err := decodeJSON(b, l); err != nil {
		return nil, err
	}
	err := checkKeys(b)
	if err == nil {
		err = l.Validate()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	l.Hash = hashOf(b)
	return l, nil
}

// Validate checks that a label hangs together, so that nobody who uses it has to fear its
// names and numbers. It does not look at other objects.
func (l *Label) Validate() error {
	if err := checkFormat(l.FormatVersion); err != nil {
		return err
	}
	for _, check := range []func() error{
		func() error { return checkKinship(l.ID, l.Kind, l.Parent) }, l.checkFacts, l.checkObjects, l.checkKeyNames,
	} {
		if err := check(); err != nil {
			return fmt.Errorf("label: %w", err)
		}
	}
	return nil
}

// checkKinship checks the kind and the parent of a backup.
func checkKinship(id, kind, parent string) error {
	_, want, err := ParseID(id)
	switch {
	case err != nil:
		return err
	case kind != want:
		return fmt.Errorf("kind %q in backup %s", kind, id)
	case kind == KindFull && parent != "":
		return fmt.Errorf("full backup with parent %q", parent)
	case kind == KindFull:
		return nil
	case kind != KindIncremental:
		return fmt.Errorf("unknown kind %q", kind)
	case parent == id:
		return errors.New("the backup is its own parent")
	}
	if _, _, err := ParseID(parent); err != nil {
		return fmt.Errorf("parent: %w", err)
	}
	return nil
}

func (l *Label) checkFacts() error {
	if (l.Parent == "") != (l.ParentBLAKE3 == "") || l.ParentBLAKE3 != "" && !isHash(l.ParentBLAKE3) {
		return fmt.Errorf("parent_blake3 %q of parent %q", l.ParentBLAKE3, l.Parent)
	}
	if l.CopiedFrom != "" && (!isHash(l.CopiedFrom) || len(l.Keys) == 0) {
		return fmt.Errorf("copied_from_blake3 %q with %d keys", l.CopiedFrom, len(l.Keys))
	}
	if l.Started.IsZero() || l.Finished.IsZero() {
		return errors.New("no time of start or end")
	}
	if len(l.Tool) > 200 || printable.Text(l.Tool) != l.Tool {
		return fmt.Errorf("tool %.200q", l.Tool)
	}
	if l.LSN.Checkpoint > l.LSN.End {
		return fmt.Errorf("lsn %d to %d", l.LSN.Checkpoint, l.LSN.End)
	}
	for name, n := range map[string]int64{
		"bytes_read": l.BytesRead, "bytes_stored": l.BytesStored, "size": l.Size,
		"lock_window_ms": l.LockMS,
	} {
		if n < 0 {
			return fmt.Errorf("%s is %d", name, n)
		}
	}
	for name, n := range map[string]int{
		"databases": l.Databases, "tables": l.Tables, "files": l.Files, "damaged": l.Damaged,
		"left_out": l.LeftOut,
	} {
		if n < 0 || n > maxCount {
			return fmt.Errorf("%s is %d", name, n)
		}
	}
	for _, id := range l.ConsolidatedFrom {
		if _, _, err := ParseID(id); err != nil {
			return fmt.Errorf("consolidated_from: %w", err)
		}
	}
	return nil
}

func (l *Label) checkObjects() error {
	seen := make(map[string]bool, len(l.Objects))
	for i := range l.Objects {
		o := &l.Objects[i]
		if err := checkObject(l.ID, o); err != nil {
			return err
		}
		if seen[o.Name] {
			return fmt.Errorf("object %s twice", o.Name)
		}
		seen[o.Name] = true
	}
	for _, name := range []string{manifestBase, lineageBase} {
		if !seen[name] {
			return fmt.Errorf("no object %s", name)
		}
	}
	return nil
}

// checkObject checks an object of the backup id.
func checkObject(id string, o *Object) error {
	owner, base := o.of(id)
	known := isPackName(base)
	if owner == id {
		known = isPackName(o.Name) || isDocument(o.Name)
	} else if _, _, err := ParseID(owner); err != nil {
		return fmt.Errorf("object name %q: %w", o.Name, err)
	}
	switch {
	case !known:
		return fmt.Errorf("object name %q", o.Name)
	case o.Size < 0 || o.Size > maxFileSize:
		return fmt.Errorf("object %s of %d bytes", o.Name, o.Size)
	case !isHash(o.BLAKE3):
		return fmt.Errorf("object %s: blake3 %q", o.Name, o.BLAKE3)
	}
	return nil
}

// isDocument reports whether an object of a backup is one of those beside its packs.
func isDocument(base string) bool {
	return base == manifestBase || base == lineageBase || base == cardBase
}

// isHash reports whether s is a BLAKE3 as b3sum prints it: 64 lower-case hex digits.
func isHash(s string) bool {
	return len(s) == 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// Object returns what the label says of an object, nil if it does not name it.
func (l *Label) Object(name string) *Object {
	for i := range l.Objects {
		if l.Objects[i].Name == name {
			return &l.Objects[i]
		}
	}
	return nil
}

// wantObject returns ErrDamaged unless b is the object that the label names.
func (l *Label) wantObject(name string, b []byte) error {
	o := l.Object(name)
	if o == nil || o.Size != int64(len(b)) || o.BLAKE3 != hashOf(b) {
		return fmt.Errorf("it is not what the label names: %w", ErrDamaged)
	}
	return nil
}

// names returns the names of all objects of the backup but the label, as Object.Name.
func (l *Label) names() []string {
	names := make([]string, 0, len(l.Objects)+len(l.Keys))
	for i := range l.Objects {
		names = append(names, l.Objects[i].Name)
	}
	for _, k := range l.Keys {
		names = append(names, k.Name)
	}
	return names
}

// Adopted returns the ids of the interrupted attempts whose objects belong to the backup.
func (l *Label) Adopted() []string {
	var ids []string
	seen := map[string]bool{l.ID: true}
	for i := range l.Objects {
		if owner, _ := l.Objects[i].of(l.ID); !seen[owner] {
			seen[owner] = true
			ids = append(ids, owner)
		}
	}
	return ids
}

// Label reads the label of a backup. Errors: fs.ErrNotExist if there is no such backup,
// ErrNewerFormat, ErrDamaged.
func (r *Repository) Label(ctx context.Context, id string) (*Label, error) {
	_, l, err := r.labelText(ctx, id)
	return l, err
}

// labelText reads the label of a backup, and its text as it is stored.
func (r *Repository) labelText(ctx context.Context, id string) ([]byte, *Label, error) {
	text, err := store.ReadAll(ctx, r.st, labelName(id), maxLabel)
	if err != nil {
		return nil, nil, fmt.Errorf("read the label of %s in %s: %w", id, r, err)
	}
	l, err := decodeLabel(text)
	if err == nil && l.ID != id {
		l, err = nil, fmt.Errorf("it is the label of %q: %w", l.ID, ErrDamaged)
	}
	if err != nil {
		err = fmt.Errorf("label %s: %w", labelName(id), err)
	}
	if errors.Is(err, ErrDamaged) {
		err = hint.Wrap(err, hint.DamagedBackup)
	}
	return text, l, err
}
