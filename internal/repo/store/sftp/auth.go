package sftp

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// ErrKey is wrapped by the errors for a login that failed.
var ErrKey = fault.New(fault.Config, "login with a key failed")

// agentTime bounds what an agent may take: it may ask its user.
const agentTime = time.Minute

// defaultKeys are the names of private keys below ~/.ssh, the first one first.
func defaultKeys() []string { return []string{"id_ed25519", "id_ecdsa", "id_rsa"} }

// keys are what a client can prove who it is with.
type keys struct {
	signers []ssh.Signer
	tried   []string // what they are, for messages
	locked  []string // files that need a passphrase
	agent   net.Conn // nil: none
}

// findKeys looks for keys: only in the file that the user names, or with the agent and in
// the usual files. A certificate FILE-cert.pub beside a key is used with it.
func findKeys(file, home string) (*keys, error) {
	k := &keys{}
	k.connectAgent()
	if file != "" {
		if err := k.read(file); err != nil {
			k.close()
			return nil, hint.Wrap(fmt.Errorf("%w: %v", ErrKey, err), "check "+hint.Option("ssh-key"))
		}
		return k, nil
	}
	if k.agent != nil {
		if signers, err := agent.NewClient(k.agent).Signers(); err == nil && len(signers) > 0 {
			k.signers, k.tried = signers, []string{fmt.Sprintf("%d of the agent", len(signers))}
		}
	}
	for _, name := range defaultKeys() {
		path := filepath.Join(home, ".ssh", name)
		if err := k.read(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			k.tried = append(k.tried, fmt.Sprintf("not %s, for %v", path, err))
		}
	}
	return k, nil
}

// connectAgent connects to the agent of the user, if there is one.
func (k *keys) connectAgent() {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return
	}
	conn, err := net.DialTimeout("unix", socket, agentTime)
	if err != nil {
		return // an agent that is gone is none
	}
	_ = conn.SetDeadline(time.Now().Add(agentTime)) // a socket has deadlines
	k.agent = conn
}

func (k *keys) close() {
	if k.agent != nil {
		_ = k.agent.Close() // nothing is written to it
	}
}

// maxKey bounds what is read of a key's file.
const maxKey = 1 << 20

// read adds the key in a file. One with a passphrase is taken from the agent.
func (k *keys) read(file string) error {
	b, err := readSmall(file)
	if err != nil {
		return err
	}
	signer, err := ssh.ParsePrivateKey(b)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		if signer = k.ofAgent(locked.PublicKey, file); signer == nil {
			k.locked = append(k.locked, file)
			return nil
		}
	} else if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if with := withCertificate(signer, file+"-cert.pub"); with != nil {
		k.signers, k.tried = append(k.signers, with), append(k.tried, file+"-cert.pub")
	}
	k.signers, k.tried = append(k.signers, signer), append(k.tried, file)
	return nil
}

// ofAgent returns the agent's key of that public key, nil if it has none. Older files do
// not say which one they hold; FILE.pub does.
func (k *keys) ofAgent(public ssh.PublicKey, file string) ssh.Signer {
	if k.agent == nil {
		return nil
	}
	if public == nil {
		b, err := readSmall(file + ".pub")
		if err != nil {
			return nil
		}
		if public, _, _, _, err = ssh.ParseAuthorizedKey(b); err != nil {
			return nil
		}
	}
	signers, err := agent.NewClient(k.agent).Signers()
	if err != nil {
		return nil
	}
	for _, s := range signers {
		if string(s.PublicKey().Marshal()) == string(public.Marshal()) {
			return s
		}
	}
	return nil
}

// withCertificate returns a key with its certificate, nil if there is none for it.
func withCertificate(signer ssh.Signer, file string) ssh.Signer {
	b, err := readSmall(file)
	if err != nil {
		return nil
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil
	}
	certificate, ok := public.(*ssh.Certificate)
	if !ok {
		return nil
	}
	with, err := ssh.NewCertSigner(certificate, signer)
	if err != nil {
		return nil // it is of another key
	}
	return with
}

// readSmall reads a file of limited size.
func readSmall(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxKey {
		return nil, fmt.Errorf("%s is no file with a key", file)
	}
	return os.ReadFile(file)
}

// refused is the error for a login that the server has refused, or for want of keys.
func (k *keys) refused(login, host string) error {
	err := fmt.Errorf("%w: %s at %s accepts none of these keys: %q", ErrKey, login, host, k.tried)
	if len(k.tried) == 0 {
		err = fmt.Errorf("%w: there is no key", ErrKey)
	}
	if len(k.locked) > 0 {
		return hint.Wrap(err, hint.Textf("%s has a passphrase: give it to the agent (ssh-add %[1]s), or make a key without "+
			"one that only this machine has", k.locked[0]))
	}
	return hint.Wrap(err, "let the server accept one of them (~/.ssh/authorized_keys there), or name another with "+
		hint.Option("ssh-key")+` FILE; "ssh-keygen -t ed25519" makes one`)
}
