package sftp

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// ErrHostKey is wrapped by the errors for a server that cannot be trusted.
var ErrHostKey = fault.New(fault.Config, "the host key is not trusted")

// hostKeys decides which host keys are trusted, by files in the form of OpenSSH's
// known_hosts.
type hostKeys struct {
	target Target
	files  []string // that are there
	first  string   // where a new key belongs
	check  ssh.HostKeyCallback
}

// systemKnownHosts is OpenSSH's file for all users.
const systemKnownHosts = "/etc/ssh/ssh_known_hosts"

// newHostKeys reads the file that the user names, or those of OpenSSH.
func newHostKeys(t Target, file, home string) (*hostKeys, error) {
	h := &hostKeys{target: t, first: file}
	candidates := []string{file}
	if file == "" {
		h.first = filepath.Join(home, ".ssh", "known_hosts")
		candidates = []string{h.first, systemKnownHosts}
	}
	for _, name := range candidates {
		_, err := os.Stat(name)
		switch {
		case err == nil:
			h.files = append(h.files, name)
		case file != "" || !errors.Is(err, fs.ErrNotExist):
			return nil, hint.Wrap(fmt.Errorf("%w: %v", ErrHostKey, err), "check "+hint.Option("ssh-known-hosts"))
		}
	}
	var err error
	if h.check, err = knownhosts.New(h.files...); err != nil {
		return nil, hint.Wrap(fmt.Errorf("%w: %v", ErrHostKey, err), "correct that line")
	}
	return h, nil
}

// algorithms returns the algorithms of the keys that are known of the host, so that the
// server proves one of these. nil means all.
func (h *hostKeys) algorithms() []string {
	var known *knownhosts.KeyError
	if !errors.As(h.check(h.target.address(), &net.TCPAddr{}, noKey{}), &known) {
		return nil
	}
	var algorithms []string
	for _, k := range known.Want {
		switch kind := k.Key.Type(); kind {
		case ssh.KeyAlgoRSA:
			algorithms = append(algorithms, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
		default:
			algorithms = append(algorithms, kind)
		}
	}
	slices.Sort(algorithms)
	return slices.Compact(algorithms)
}

// noKey is a key that no file has.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// callback is asked about the key that the server has proven to have.
func (h *hostKeys) callback(host string, remote net.Addr, key ssh.PublicKey) error {
	err := h.check(host, remote, key)
	if err == nil {
		return nil
	}
	shown := key.Type() + " " + ssh.FingerprintSHA256(key)
	var bad *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return fmt.Errorf("%w: %s of %s is marked as revoked in %s:%d", ErrHostKey, shown, h.target.Host,
			revoked.Revoked.Filename, revoked.Revoked.Line)
	case !errors.As(err, &bad):
		return fmt.Errorf("%w: %s of %s: %w", ErrHostKey, shown, h.target.Host, err)
	case len(bad.Want) == 0:
		return hint.Wrap(fmt.Errorf("%w: %s is not known, and has %s", ErrHostKey, h.target.Host, shown),
			hint.Text(fmt.Sprintf("compare that with what \"ssh-keygen -lf /etc/ssh/ssh_host_%s_key.pub\" prints on the "+
				"server; if it is the same, let this machine know it: ssh-keyscan -t %[1]s%s %s >> %s",
				shortKind(key.Type()), h.portOption(), h.target.Host, h.first)))
	}
	return hint.Wrap(fmt.Errorf("%w: %s has %s, which differs from the one in %s:%d", ErrHostKey, h.target.Host, shown,
		bad.Want[0].Filename, bad.Want[0].Line),
		hint.Text(fmt.Sprintf("somebody may be between this machine and the server; if the server has a new key, which its "+
			"administrator knows, remove the old one: ssh-keygen -f %s -R %s", bad.Want[0].Filename,
			knownhosts.Normalize(h.target.address()))))
}

// portOption is the option of ssh-keyscan for another port than SSH's.
func (h *hostKeys) portOption() string {
	if h.target.Port == 0 || h.target.Port == sshPort {
		return ""
	}
	return " -p " + strconv.Itoa(h.target.Port)
}

// shortKind is the name of a kind of key in the names of files: "ed25519".
func shortKind(kind string) string {
	switch {
	case strings.HasPrefix(kind, "ecdsa"):
		return "ecdsa"
	case strings.HasPrefix(kind, "ssh-rsa"):
		return "rsa"
	}
	return strings.TrimPrefix(strings.TrimSuffix(kind, "-cert-v01@openssh.com"), "ssh-")
}
