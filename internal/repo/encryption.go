package repo

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
)

// keyBase is the object with the private key of an encrypted backup, sealed to the recipients.
const keyBase = "key.age"

// maxKey limits a sealed key, in bytes.
const maxKey = 1 << 20

// ErrNoRecipients is returned when a backup is written to a repository that has encrypted
// backups and names no recipients: what was secret until now would not be.
var ErrNoRecipients = fault.New(fault.Config,
	"there are encrypted backups in it, but its mbk-repository.json names no recipients")

// HistoryKey is a key to which the records of an encrypted repository are encrypted. A change
// of the recipients may add one; older records keep theirs.
type HistoryKey struct {
	Recipient string `json:"recipient"` // its public half
	Sealed    []byte `json:"sealed"`    // its private half, an age file to the repository's recipients
}

// LabelKey is the key of the objects in one folder.
type LabelKey struct {
	Name string `json:"name"` // of the sealed key, as Object.Name: "key.age"
	// BLAKE3 is that of the public half, so that another key is not taken for it. The sealed
	// one changes with the recipients.
	BLAKE3 string `json:"blake3"`
}

// Encrypted reports whether what is written to the repository is encrypted.
func (r *Repository) Encrypted() bool { return len(r.config.Recipients) > 0 }

// UseIdentities gives the identities with which what is encrypted can be read. It is called
// before anything is.
func (r *Repository) UseIdentities(i *agefile.Identities) { r.identities = i }

// recipients returns the recipients of the repository.
func (r *Repository) recipients() (*agefile.Recipients, error) {
	to, err := agefile.NewRecipients(r.config.Recipients)
	if err != nil {
		return nil, fmt.Errorf("repository %s: %s: %w", r, configName, err)
	}
	return to, nil
}

// Concealed reports whether an error says that something is encrypted, and that no identity was
// given that opens it, or none that can be used.
func Concealed(err error) bool {
	_, none := errors.AsType[*agefile.NoIdentityError](err)
	_, wrong := errors.AsType[*agefile.WrongIdentityError](err)
	_, unusable := errors.AsType[*agefile.IdentityError](err)
	return none || wrong || unusable
}

// keyOf returns the key of the objects in a folder. want is the BLAKE3 of its public half, ""
// if that is not known. It is unwrapped once.
func (r *Repository) keyOf(ctx context.Context, id, want string) (*agefile.Key, error) {
	r.keying.Lock()
	defer r.keying.Unlock()
	key := r.keys[id]
	if key == nil {
		name := Folder(id) + "/" + keyBase
		b, err := store.ReadAll(ctx, r.st, name, maxKey)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, &pack.DamageError{Object: name, Reason: "it is missing", Missing: true}
		}
		if err == nil {
			key, err = agefile.OpenKey(b, r.identities, r.config.Recipients)
		}
		if err != nil {
			return nil, damageOf(name, err)
		}
	}
	if want != "" && hashOf([]byte(key.Public())) != want {
		return nil, &pack.DamageError{Object: Folder(id) + "/" + keyBase, Reason: "it holds another key than the label names"}
	}
	if r.keys == nil {
		r.keys = map[string]*agefile.Key{}
	}
	r.keys[id] = key
	return key, nil
}

// damageOf names the object of which an error about an age file tells. Damage becomes a
// *pack.DamageError.
func damageOf(name string, err error) error {
	if damage, ok := errors.AsType[*agefile.DamageError](err); ok {
		return &pack.DamageError{Object: name, Reason: damage.Error()}
	}
	return fmt.Errorf("%s: %w", name, err)
}

// decryptManifest returns the document of a manifest as it was before it was encrypted. l is
// nil if there is no label.
func (r *Repository) decryptManifest(ctx context.Context, id string, l *Label, b []byte) ([]byte, error) {
	if l != nil && len(l.Keys) == 0 || l == nil && !r.Encrypted() {
		return b, nil
	}
	key, err := r.keyOf(ctx, id, l.key(keyBase))
	if err != nil {
		return nil, asDamaged(err)
	}
	plain, err := key.Decrypt(b)
	if err != nil {
		return nil, asDamaged(err)
	}
	return plain, nil
}

// asDamaged adds ErrDamaged to an error that is about damage.
func asDamaged(err error) error {
	if fault.Of(err) == fault.Damage {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}

// key returns the BLAKE3 of a key that the label names, "" if it names none.
func (l *Label) key(name string) string {
	if l == nil {
		return ""
	}
	for _, k := range l.Keys {
		if k.Name == name {
			return k.BLAKE3
		}
	}
	return ""
}

// checkKeyNames checks that the label names the key of every folder of which it names objects,
// or none at all.
func (l *Label) checkKeyNames() error {
	if len(l.Keys) == 0 {
		return nil
	}
	owners := map[string]bool{}
	for _, k := range l.Keys {
		owner, base := splitObject(l.ID, k.Name)
		if _, _, err := ParseID(owner); err != nil || base != keyBase || owner == l.ID && k.Name != keyBase {
			return fmt.Errorf("key name %q", k.Name)
		}
		if owners[owner] || !isHash(k.BLAKE3) {
			return fmt.Errorf("key %s twice, or with blake3 %q", k.Name, k.BLAKE3)
		}
		owners[owner] = true
	}
	for i := range l.Objects {
		if owner, _ := l.Objects[i].of(l.ID); !owners[owner] {
			return fmt.Errorf("no key of object %s", l.Objects[i].Name)
		}
	}
	return nil
}

// concealable is a record of which everybody may read only a part.
type concealable interface {
	// public returns a copy without names, positions and texts.
	public() any
}

// putRecord writes a record. In an encrypted repository all of it is in its field "sealed",
// and beside that is what everybody may read.
func (r *Repository) putRecord(ctx context.Context, name string, v concealable) error {
	if !r.Encrypted() {
		return putJSON(ctx, r.st, name, v)
	}
	b, err := json.MarshalIndent(v.public(), "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	b = bytes.TrimSuffix(b, []byte("\n}"))
	if keys := r.config.HistoryKeys; len(keys) > 0 {
		all, err := json.Marshal(v)
		if err == nil {
			all, err = agefile.EncryptTo(keys[len(keys)-1].Recipient, all)
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		b = fmt.Appendf(b, ",\n  \"sealed\": %q", base64.StdEncoding.EncodeToString(all))
	}
	return store.PutBytes(ctx, r.st, name, append(b, "\n}\n"...))
}

// readRecord reads what putRecord wrote: all of it if one of the identities opens it, else
// what everybody may read.
func readRecord[T any](ctx context.Context, r *Repository, name string, v *T) error {
	b, err := store.ReadAll(ctx, r.st, name, maxRecord)
	if err != nil {
		return err
	}
	if err := decodeJSON(b, v); err != nil {
		return err
	}
	var of struct {
		Sealed []byte `json:"sealed"`
	}
	if err := json.Unmarshal(b, &of); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if len(of.Sealed) == 0 || r.identities.None() {
		return nil
	}
	plain, err := r.openRecord(of.Sealed)
	if err != nil {
		return asDamaged(damageOf(name, err))
	}
	if plain == nil {
		return nil
	}
	*v = *new(T)
	return decodeJSON(plain, v)
}

// openRecord decrypts the sealed part of a record. It returns nil if no key of the history
// that can be opened is the right one.
func (r *Repository) openRecord(sealed []byte) ([]byte, error) {
	r.keying.Lock()
	defer r.keying.Unlock()
	for _, k := range slices.Backward(r.config.HistoryKeys) {
		key, tried := r.historyKeys[k.Recipient]
		if !tried {
			opened, err := agefile.OpenKey(k.Sealed, r.identities, r.config.Recipients)
			if err != nil && !Concealed(err) {
				return nil, err
			}
			if err == nil && opened.Is(k.Recipient) {
				key = opened
			}
			if r.historyKeys == nil {
				r.historyKeys = map[string]*agefile.Key{}
			}
			r.historyKeys[k.Recipient] = key
		}
		if key == nil {
			continue
		}
		if plain, err := key.Decrypt(sealed); err == nil {
			return plain, nil
		}
	}
	return nil, nil
}

// newHistoryKey makes a key for the records, sealed to recipients.
func newHistoryKey(to *agefile.Recipients) (k HistoryKey, err error) {
	key, err := agefile.NewKey(to)
	if err != nil {
		return k, err
	}
	k.Recipient = key.Public()
	k.Sealed, err = key.Seal(to)
	return k, err
}

// wantRecipients returns ErrNoRecipients if a repository that names no recipients has
// encrypted backups.
func (r *Repository) wantRecipients(ctx context.Context) error {
	folders, err := r.folders(ctx)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(folders, func(f stored) bool { return f.has(keyBase) }) {
		return nil
	}
	return hint.Wrap(fmt.Errorf("repository %s: %w", r, ErrNoRecipients),
		"bring mbk-repository.json back from a copy of the repository, or write the recipients into it")
}

// public implements concealable.
func (a Attempt) public() any {
	p := Attempt{
		FormatVersion: a.FormatVersion, ID: a.ID, Kind: a.Kind, Parent: a.Parent, Tool: a.Tool, Encrypted: true,
		Started: a.Started, Finished: a.Finished, Outcome: a.Outcome, Label: a.Label,
		ServerID: a.ServerID, DataUUID: a.DataUUID, LockMS: a.LockMS, LSN: a.LSN,
		Codec: a.Codec, Volume: a.Volume, RedoMeasures: a.RedoMeasures, Changes: a.Changes, Reuse: a.Reuse,
		Resumable: a.Resumable, Size: a.Size, Databases: a.Databases, Tables: a.Tables, Files: a.Files,
		LeftOut: a.LeftOut, Damaged: a.Damaged, WarningCount: a.WarningCount,
	}
	p.DDL.Events, p.FullReason = nil, ""
	return p
}

// public implements concealable.
func (a Around) public() any {
	clear := Around{FormatVersion: a.FormatVersion, ID: a.ID}
	for _, c := range a.Copies {
		kept := Copy{Started: c.Started, MS: c.MS, Backups: c.Backups, Bytes: c.Bytes}
		if c.Error != "" {
			kept.Error = "why is encrypted"
		}
		clear.Copies = append(clear.Copies, kept)
	}
	return clear
}

// public implements concealable.
func (v Verification) public() any {
	p := v
	p.Encrypted = true
	p.Server, p.Reason, p.Findings, p.AsOnSource, p.Replay = "", "", nil, nil, nil
	p.Drill = v.Drill.public()
	return p
}

// public implements concealable.
func (p *Pin) public() any {
	return Pin{FormatVersion: p.FormatVersion, ID: p.ID, Created: p.Created}
}
