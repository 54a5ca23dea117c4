// Package agefile encrypts and decrypts what a repository stores, with age
// (https://age-encryption.org): to the public keys of recipients, and with the
// identities that belong to them. It knows nothing of backups, and has no cryptography
// of its own.
//
// Every backup has a Key that was made for it. Its private half is stored as an age file to
// the recipients, and each object as an age file to its public half. So whoever only writes
// backups needs no secret, and one unwrapping opens a whole backup.
package agefile

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"
)

// Key is a pair of keys that was made for one purpose: a backup, or a history. It may be used
// by several goroutines.
type Key struct {
	identity age.Identity
	secret   string // the identity as text
	public   age.Recipient
	name     string // public as text
}

// NewKey makes a key. It resists quantum computers if that is what its recipients do.
func NewKey(to *Recipients) (*Key, error) {
	hybrid, err := to.hybrid()
	if err != nil {
		return nil, err
	}
	return generate(hybrid)
}

// generate makes a key.
func generate(hybrid bool) (*Key, error) {
	if hybrid {
		i, err := age.GenerateHybridIdentity()
		if err != nil {
			return nil, fmt.Errorf("make a key: %w", err)
		}
		return &Key{i, i.String(), i.Recipient(), i.Recipient().String()}, nil
	}
	i, err := age.GenerateX25519Identity()
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return &Key{i, i.String(), i.Recipient(), i.Recipient().String()}, nil
}

// Public returns the public half as text: "age1...".
func (k *Key) Public() string { return k.name }

// text is the file of an identity, as age-keygen makes it.
func (k *Key) text(made time.Time) []byte {
	return fmt.Appendf(nil, "# created: %s\n# public key: %s\n%s\n", made.UTC().Format(time.RFC3339), k.name, k.secret)
}

// Seal returns the key as an age file to the recipients. Its contents are an identity file.
func (k *Key) Seal(to *Recipients) ([]byte, error) {
	b, err := to.encrypt(k.text(time.Now()))
	if err != nil {
		return nil, fmt.Errorf("seal a key: %w", err)
	}
	return b, nil
}

// maxSealed limits a sealed key, in bytes: that of some hundred recipients is far smaller.
const maxSealed = 1 << 20

// OpenKey opens what Seal returned, with one of the identities. wanted names the recipients,
// for the error if none of them fits. The bytes may be hostile. Errors: *NoIdentityError,
// *WrongIdentityError, *DamageError, and why an identity cannot be used.
func OpenKey(b []byte, with *Identities, wanted []string) (*Key, error) {
	if len(b) > maxSealed {
		return nil, &DamageError{Reason: fmt.Sprintf("a sealed key of %d bytes", len(b))}
	}
	plain, err := with.decrypt(b, wanted)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(plain)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if i, err := age.ParseHybridIdentity(line); err == nil {
			return &Key{i, i.String(), i.Recipient(), i.Recipient().String()}, nil
		}
		if i, err := age.ParseX25519Identity(line); err == nil {
			return &Key{i, i.String(), i.Recipient(), i.Recipient().String()}, nil
		}
		break
	}
	return nil, &DamageError{Reason: "there is no identity in the sealed key"}
}

// CheckSealed checks what can be checked of what Seal returned without an identity. The error is
// a *DamageError.
func CheckSealed(b []byte) error {
	if len(b) > maxSealed {
		return &DamageError{Reason: fmt.Sprintf("a sealed key of %d bytes", len(b))}
	}
	header, err := age.ExtractHeader(bytes.NewReader(b))
	if err != nil {
		return damaged(err)
	}
	const least = 16 + 64 + 16 // bytes of a nonce, an identity and a tag
	if len(b) < len(header)+least {
		return &DamageError{Reason: "it ends early"}
	}
	return nil
}

// Is reports whether the public half of the key is that text.
func (k *Key) Is(public string) bool {
	return subtle.ConstantTimeCompare([]byte(k.name), []byte(public)) == 1
}

// pieces is how many bytes are passed on at a time: an age file is made of smaller ones.
const pieces = 1 << 20

// Encrypt calls write with a writer that encrypts to the public half of the key, and returns
// the number of bytes that were written to it. What w gets is an age file, whole if the
// error is nil.
func (k *Key) Encrypt(w io.Writer, write func(io.Writer) error) (plain int64, err error) {
	return encrypt(w, write, k.public)
}

func encrypt(w io.Writer, write func(io.Writer) error, to ...age.Recipient) (plain int64, err error) {
	large := &gatherer{w: w, b: make([]byte, 0, pieces)}
	in, err := age.Encrypt(large, to...)
	if err != nil {
		return 0, wrapError(err)
	}
	counted := &counter{w: in}
	if err := write(counted); err != nil {
		return counted.n, err
	}
	if err := in.Close(); err != nil {
		return counted.n, err
	}
	return counted.n, large.flush()
}

// EncryptTo returns bytes as an age file to the public half of a key, given as text.
func EncryptTo(public string, b []byte) ([]byte, error) {
	to, err := NewRecipients([]string{public})
	if err != nil {
		return nil, err
	}
	return to.encrypt(b)
}

// Decrypt returns the contents of an age file to the key. Nothing is returned of a damaged
// one: the error is a *DamageError.
func (k *Key) Decrypt(b []byte) ([]byte, error) {
	return decrypt(b, k.identity)
}

// decrypt returns the contents of an age file.
func decrypt(b []byte, with ...age.Identity) ([]byte, error) {
	r, err := age.Decrypt(bytes.NewReader(b), with...)
	if err != nil {
		return nil, damaged(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, damaged(err)
	}
	return plain, nil
}

// Identity makes the identity of a recipient, for a file of its own: the text of that file
// and the recipient. It resists quantum computers unless it is to be classic, as age before
// 1.3 needs it.
func Identity(classic bool) (file []byte, recipient string, err error) {
	k, err := generate(!classic)
	if err != nil {
		return nil, "", err
	}
	return k.text(time.Now()), k.name, nil
}

// counter counts what it passes on.
type counter struct {
	w io.Writer
	n int64
}

// Write implements io.Writer.
func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// gatherer passes what it gets on in pieces of its capacity.
type gatherer struct {
	w io.Writer
	b []byte
}

// Write implements io.Writer.
func (g *gatherer) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		n := min(len(rest), cap(g.b)-len(g.b))
		g.b, rest = append(g.b, rest[:n]...), rest[n:]
		if len(g.b) < cap(g.b) {
			continue
		}
		if err := g.flush(); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// flush passes on what there is.
func (g *gatherer) flush() error {
	if len(g.b) == 0 {
		return nil
	}
	n, err := g.w.Write(g.b)
	if err == nil && n < len(g.b) {
		err = io.ErrShortWrite
	}
	g.b = g.b[:0]
	return err
}

// damaged makes a *DamageError of what age says about a file, unless that is about identities.
func damaged(err error) error {
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return &DamageError{Reason: "it is not encrypted to the key that belongs to it"}
	}
	return &DamageError{Reason: err.Error()}
}

// EncryptStream is Encrypt for the public half of a key, given as text.
func EncryptStream(public string, w io.Writer, write func(io.Writer) error) (plain int64, err error) {
	to, err := NewRecipients([]string{public})
	if err != nil {
		return 0, err
	}
	return encrypt(w, write, to.list...)
}

// DecryptStream returns a reader of the contents of an age file to the key. Each byte that it
// returns is as it was encrypted; the error of a damaged file is a *DamageError, and those of r
// are returned as they are.
func (k *Key) DecryptStream(r io.Reader) (io.Reader, error) {
	from := &failing{r: r}
	plain, err := age.Decrypt(from, k.identity)
	if err != nil {
		return nil, from.cause(err)
	}
	return &decryption{plain, from}, nil
}

// failing is a reader that keeps its error.
type failing struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (f *failing) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && err != io.EOF {
		f.err = err
	}
	return n, err
}

// cause returns the error of the reader if there was one, else that of a damaged file.
func (f *failing) cause(err error) error {
	if f.err != nil {
		return f.err
	}
	return damaged(err)
}

type decryption struct {
	plain io.Reader
	from  *failing
}

// Read implements io.Reader.
func (d *decryption) Read(p []byte) (int, error) {
	n, err := d.plain.Read(p)
	if err != nil && err != io.EOF {
		err = d.from.cause(err)
	}
	return n, err
}
