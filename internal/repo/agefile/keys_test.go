package agefile

import (
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// sshKey makes a key of OpenSSH: the public half with a comment, and the private one.
func sshKey(t testing.TB, passphrase string) (public string, private []byte) {
	t.Helper()
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sshPublic, err := ssh.NewPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	var block *pem.Block
	if passphrase == "" {
		block, err = ssh.MarshalPrivateKey(key, "root@db1")
	} else {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(key, "root@db1", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(sshPublic))) + " root@db1", pem.EncodeToMemory(block)
}

func TestRecipients(t *testing.T) {
	_, classic, err := Identity(true)
	if err != nil {
		t.Fatal(err)
	}
	secret, hybrid, err := Identity(false)
	if err != nil {
		t.Fatal(err)
	}
	public, private := sshKey(t, "")
	to, err := NewRecipients([]string{classic, " " + public, classic})
	if err != nil || len(to.Texts()) != 2 || strings.Contains(to.Texts()[1], "db1") {
		t.Fatalf("recipients %v, %v: want two, without the comment", to, err)
	}
	for _, c := range []struct {
		name  string
		texts []string
		says  string
		never string // is not said
	}{
		{"mixed", []string{classic, hybrid}, "post-quantum", ""},
		{"mixed with OpenSSH", []string{hybrid, public}, "post-quantum", ""},
		{"cut off", []string{classic[:len(classic)-1]}, classic[:30], ""},
		{"an identity", []string{secretLine(secret)}, "secret", secretLine(secret)[:40]},
		{"a private key", []string{string(private)}, "secret", "OPENSSH"},
		{"nothing known", []string{"bob"}, "bob", ""},
		{"an unusable kind of OpenSSH", []string{"ssh-dss AAAAB3NzaC1kc3MAAACBAJ db1"}, "ssh-dss", ""},
		{"a control character", []string{"age1\x1b[2J"}, "not the text of a recipient", "\x1b"},
		{"a path", []string{"age1../../sh1qqqq"}, "recipient", ""},
		{"far too long", []string{"age1" + strings.Repeat("q", 1<<20)}, "not the text of a recipient", "qqq"},
	} {
		_, err := NewRecipients(c.texts)
		if err == nil || !strings.Contains(err.Error(), c.says) || fault.Of(err) != fault.Config {
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.says)
		} else if c.never != "" && strings.Contains(err.Error(), c.never) {
			t.Errorf("%s: it shows %q: %v", c.name, c.never, err)
		}
	}
	if _, err := NewKey(&Recipients{}); err == nil {
		t.Error("a key for nobody")
	}
}

// secretLine is the line of an identity file that is secret.
func secretLine(file []byte) string {
	lines := strings.Split(strings.TrimSpace(string(file)), "\n")
	return lines[len(lines)-1]
}

func TestReadRecipients(t *testing.T) {
	_, classic, err := Identity(true)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ReadRecipients([]byte("# ours\n\n" + classic + "\r\n"))
	if err != nil || len(got) != 1 || got[0] != classic {
		t.Errorf("ReadRecipients = %q, %v", got, err)
	}
	for text, says := range map[string]string{
		"# ours\n\n" + classic + "\nnobody\n": "line 4", "": "no recipient", "# only this": "no recipient",
		"AGE-SECRET-KEY-1ABC": "line 1",
	} {
		if _, err := ReadRecipients([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want it to say %q", text, err, says)
		}
	}
}

func TestIdentities(t *testing.T) {
	file, recipient, err := Identity(true)
	if err != nil {
		t.Fatal(err)
	}
	public, private := sshKey(t, "")
	protectedPublic, protected := sshKey(t, "open")
	asked := 0
	says := func(word string) Terminal {
		return Terminal{Ask: func(string) ([]byte, error) { asked++; return []byte(word), nil }}
	}
	for _, c := range []struct {
		name      string
		recipient string
		text      []byte
		terminal  Terminal
		asks      int
		problem   string // "": it opens
	}{
		{"of age", recipient, file, Terminal{}, 0, ""},
		{"of OpenSSH", public, private, Terminal{}, 0, ""},
		{"of OpenSSH, protected", protectedPublic, protected, says("open"), 1, ""},
		{"of OpenSSH, protected, a wrong passphrase", protectedPublic, protected, says("shut"), 1, "me.key"},
		{"of OpenSSH, protected, no terminal", protectedPublic, protected, Terminal{}, 0, "no terminal"},
		{"behind a passphrase", recipient, passphrase(t, file, "open"), says("open"), 1, ""},
		{"behind a passphrase, a wrong one", recipient, passphrase(t, file, "open"), says("shut"), 1, "passphrase is wrong"},
		{"behind a passphrase, none", recipient, passphrase(t, file, "open"), says(""), 1, "not given"},
		{"behind a passphrase, no terminal", recipient, passphrase(t, file, "open"), Terminal{}, 0, "no terminal"},
	} {
		to, err := NewRecipients([]string{c.recipient})
		if err != nil {
			t.Fatal(err)
		}
		k, err := NewKey(to)
		if err != nil {
			t.Fatal(err)
		}
		b, err := k.Seal(to)
		if err != nil {
			t.Fatal(err)
		}
		with := &Identities{}
		if err := with.Add("me.key", c.text, nil, c.terminal); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		asked = 0
		for range 2 { // a passphrase is asked for once
			_, err = OpenKey(b, with, to.Texts())
		}
		switch {
		case c.problem == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.problem != "" && (!isType[*IdentityError](err) || !strings.Contains(err.Error(), c.problem) ||
			fault.Of(err) != fault.Config):
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.problem)
		case c.problem == "" && asked != c.asks:
			t.Errorf("%s: asked %d times, want %d", c.name, asked, c.asks)
		}
		if Protected(c.text) != (c.name != "of age" && c.name != "of OpenSSH") {
			t.Errorf("%s: Protected = %v", c.name, Protected(c.text))
		}
	}
	for name, text := range map[string]string{
		"nothing": "", "a recipient": recipient, "a bad line": "# one\nAGE-SECRET-KEY-1ABC\n",
		"PEM": "-----BEGIN NOTHING-----",
	} {
		err := (&Identities{}).Add("me.key", []byte(text), nil, Terminal{})
		if !isType[*IdentityError](err) || strings.Contains(err.Error(), "ABC") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// waiting is a recipient that answers when it is closed.
type waiting <-chan struct{}

func (w waiting) WrapWithLabels([]byte) ([]*age.Stanza, []string, error) {
	<-w
	return nil, nil, errors.New("too late")
}

// The program of a plugin is looked for in the PATH, and only there.
func TestPlugins(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	recipient := plugin.EncodeRecipient("nothere", []byte("x"))
	to, err := NewRecipients([]string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewKey(to); err == nil || !strings.Contains(err.Error(), "age-plugin-nothere") ||
		fault.Of(err) != fault.Config || len(hint.Attached(err)) == 0 {
		t.Errorf("a recipient without its plugin: %v", err)
	}
	real, _ := recipientsOf(t, true)
	k := newKey(t)
	b, err := k.Seal(real)
	if err != nil {
		t.Fatal(err)
	}
	with := &Identities{}
	if err := with.Add("me.key", []byte(plugin.EncodeIdentity("nothere", []byte("x"))), nil, Terminal{}); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKey(b, with, nil); !isType[*IdentityError](err) ||
		!strings.Contains(err.Error(), "age-plugin-nothere") {
		t.Errorf("an identity without its plugin: %v", err)
	}

	// One that hangs.
	hangs := &limited{name: "age-plugin-slow", limit: 10 * time.Millisecond, wrap: waiting(t.Context().Done())}
	if _, err := (&Recipients{[]string{"slow"}, []age.Recipient{hangs}}).encrypt(nil); fault.Of(err) != fault.Config ||
		!strings.Contains(err.Error(), "age-plugin-slow has not answered within 10ms") {
		t.Errorf("a plugin that hangs: %v", err)
	}

	// One that breaks off.
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "age-plugin-nothere"), []byte("#!/bin/sh\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	if _, err := NewKey(to); err == nil {
		t.Error("a plugin that breaks off encrypts")
	}
	if _, err := OpenKey(b, with, nil); err == nil {
		t.Error("a plugin that breaks off decrypts")
	}
}
