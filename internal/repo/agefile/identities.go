package agefile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/armor"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"

	"mbk/internal/hint"
)

// Terminal is where an identity that is protected asks for what opens it.
type Terminal struct {
	// Ask returns what a person types, without showing it.
	Ask func(prompt string) ([]byte, error)
	// Say shows a message of a plugin, such as that a key is to be touched.
	Say func(text string)
}

// Identities are the private keys that open what is encrypted to their recipients. The zero
// value has none; nil has none either. They may be used by several goroutines.
type Identities struct {
	files []string
	list  []age.Identity
	using sync.Mutex // a terminal can only be asked one thing at a time
}

// None reports whether there are none.
func (i *Identities) None() bool { return i == nil || len(i.list) == 0 }

// Add adds the identities of a file: of age, of its plugins, of OpenSSH, each of these also
// behind a passphrase, for which the terminal is asked only when it is needed. public returns
// the text of the file FILE.pub of an OpenSSH key that does not say what its public half is.
// The error is an *IdentityError.
func (i *Identities) Add(file string, text []byte, public func() ([]byte, error), t Terminal) error {
	list, err := parseIdentities(file, text, public, t)
	if err != nil {
		return &IdentityError{file, err}
	}
	i.files, i.list = append(i.files, file), append(i.list, list...)
	return nil
}

// Protected reports whether what is in the file of an identity is of no use without a
// passphrase.
func Protected(text []byte) bool {
	if encryptedFile(text) {
		return true
	}
	var missing *ssh.PassphraseMissingError
	_, err := agessh.ParseIdentity(text)
	return isPEM(text) && errors.As(err, &missing)
}

// encryptedFile reports whether a text is an age file.
func encryptedFile(text []byte) bool {
	return bytes.HasPrefix(text, []byte("age-encryption.org/")) ||
		bytes.HasPrefix(bytes.TrimSpace(text), []byte(armor.Header))
}

// isPEM reports whether a text is a private key as OpenSSH writes it.
func isPEM(text []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN")) }

func parseIdentities(
	file string, text []byte, public func() ([]byte, error), t Terminal,
) ([]age.Identity, error) {
	switch {
	case encryptedFile(text):
		return []age.Identity{&protectedFile{file: file, text: text, terminal: t}}, nil
	case isPEM(text):
		one, err := parsePrivateKey(file, text, public, t)
		if err != nil {
			return nil, err
		}
		return []age.Identity{one}, nil
	}
	return parseLines(file, text, t)
}

// parseLines parses the file of identities of age and its plugins.
func parseLines(file string, text []byte, t Terminal) ([]age.Identity, error) {
	var list []age.Identity
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		one, err := parseIdentity(file, line, t)
		if err != nil { // which may show the secret
			return nil, fmt.Errorf("line %d is no identity of age", number)
		}
		list = append(list, one)
	}
	if len(list) == 0 {
		return nil, errors.New("there is no identity in it")
	}
	return list, nil
}

func parseIdentity(file, text string, t Terminal) (age.Identity, error) {
	switch {
	case strings.HasPrefix(text, "AGE-PLUGIN-"):
		one, err := plugin.NewIdentity(text, t.client())
		if err != nil {
			return nil, err
		}
		return &answering{file, &limited{name: "age-plugin-" + one.Name(), limit: unwrapTime, open: one}}, nil
	case strings.HasPrefix(text, "AGE-SECRET-KEY-PQ-1"):
		return age.ParseHybridIdentity(text)
	}
	return age.ParseX25519Identity(text)
}

// client lets plugins use the terminal.
func (t Terminal) client() *plugin.ClientUI {
	c := &plugin.ClientUI{}
	if t.Say != nil {
		c.DisplayMessage = func(name, message string) error {
			t.Say("age-plugin-" + name + ": " + message)
			return nil
		}
		c.WaitTimer = func(name string) { t.Say("waiting for age-plugin-" + name) }
	}
	if t.Ask != nil {
		c.RequestValue = func(name, prompt string, _ bool) (string, error) {
			b, err := t.Ask("age-plugin-" + name + ": " + prompt)
			return string(b), err
		}
	}
	return c
}

// parsePrivateKey parses a private key of OpenSSH.
func parsePrivateKey(file string, text []byte, public func() ([]byte, error), t Terminal) (age.Identity, error) {
	one, err := agessh.ParseIdentity(text)
	var missing *ssh.PassphraseMissingError
	if !errors.As(err, &missing) {
		if err != nil {
			err = fmt.Errorf("not a private key of OpenSSH that can be used: %w", err)
		}
		return one, err
	}
	key := missing.PublicKey
	if key == nil { // an old format
		b, err := public()
		if err == nil {
			key, _, _, _, err = ssh.ParseAuthorizedKey(b)
		}
		if err != nil {
			return nil, hint.Wrap(fmt.Errorf("its public half is needed too: %w", err),
				hint.Text("convert it to a newer format: ssh-keygen -p -f "+file))
		}
	}
	protected, err := agessh.NewEncryptedSSHIdentity(key, text, func() ([]byte, error) { return t.passphrase(file) })
	return &answering{file, protected}, err
}

// answering is an identity that answers for its errors: they say nothing about what it was to
// open.
type answering struct {
	file string
	of   age.Identity
}

// Unwrap implements age.Identity.
func (a *answering) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	key, err := a.of.Unwrap(stanzas)
	if err != nil && !errors.Is(err, age.ErrIncorrectIdentity) {
		err = &IdentityError{a.file, err}
	}
	return key, err
}

// passphrase asks for the passphrase of a file.
func (t Terminal) passphrase(file string) ([]byte, error) {
	if t.Ask == nil {
		return nil, errors.New("there is no terminal to ask for its passphrase")
	}
	return t.Ask("Passphrase of " + file + ": ")
}

// protectedFile is an identity file that is an age file to a passphrase. It is opened when it
// is used first.
type protectedFile struct {
	file     string
	text     []byte
	terminal Terminal

	opened []age.Identity
	err    error
}

// Unwrap implements age.Identity.
func (p *protectedFile) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if p.opened == nil && p.err == nil {
		if p.opened, p.err = p.open(); p.err != nil {
			p.err = &IdentityError{p.file, p.err}
		}
	}
	if p.err != nil {
		return nil, p.err
	}
	for _, one := range p.opened {
		if key, err := one.Unwrap(stanzas); !errors.Is(err, age.ErrIncorrectIdentity) {
			return key, err
		}
	}
	return nil, age.ErrIncorrectIdentity
}

// open decrypts the file.
func (p *protectedFile) open() ([]age.Identity, error) {
	word, err := p.terminal.passphrase(p.file)
	if err != nil {
		return nil, err
	}
	if len(word) == 0 {
		return nil, errors.New("its passphrase was not given")
	}
	one, err := age.NewScryptIdentity(string(word))
	if err != nil {
		return nil, err
	}
	var in io.Reader = bytes.NewReader(p.text)
	if bytes.HasPrefix(bytes.TrimSpace(p.text), []byte(armor.Header)) {
		in = armor.NewReader(in)
	}
	plain, err := age.Decrypt(in, one)
	switch {
	case noMatch(err) && strings.Contains(err.Error(), "not passphrase-encrypted"):
		return nil, errors.New("it is encrypted, but not with a passphrase")
	case noMatch(err):
		return nil, errors.New("the passphrase is wrong")
	case err != nil:
		return nil, err
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		return nil, err
	}
	return parseLines(p.file, text, p.terminal)
}

// decrypt returns the contents of an age file to recipients, of which wanted are the names.
func (i *Identities) decrypt(b []byte, wanted []string) ([]byte, error) {
	if i.None() {
		return nil, &NoIdentityError{wanted}
	}
	i.using.Lock()
	defer i.using.Unlock()
	r, err := age.Decrypt(bytes.NewReader(b), i.list...)
	switch {
	case noMatch(err):
		return nil, &WrongIdentityError{i.files, wanted}
	case err != nil:
		return nil, unwrapError(err)
	}
	plain, err := io.ReadAll(r)
	if err != nil {
		return nil, damaged(err)
	}
	return plain, nil
}
