package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"mbk/internal/hint"
	"mbk/internal/input/inputfile"
	"mbk/internal/repo/agefile"
	"mbk/internal/ui"
)

// readIdentities reads files of identities. Passphrases are asked for when one is needed.
func readIdentities(ctx context.Context, files []string, u *ui.UI) (*agefile.Identities, error) {
	all := &agefile.Identities{}
	terminal := agefile.Terminal{
		Ask: func(prompt string) ([]byte, error) {
			word, err := askSecret(ctx, prompt)
			if errors.Is(err, errNoTerminal) {
				err = hint.Wrap(errors.New("there is no terminal to ask for its passphrase"),
					"run mbk at a terminal, or name an identity without a passphrase")
			}
			return []byte(word), err
		},
		Say: func(text string) { u.Note("%s", text) },
	}
	for _, file := range files {
		text, err := readIdentity(file)
		if err != nil {
			return nil, err
		}
		public := func() ([]byte, error) { return inputfile.Read(file + ".pub") }
		if err := all.Add(file, text, public, terminal); err != nil {
			return nil, hint.Wrap(err, "an identity is what "+"\"mbk init --new-identity\" or age-keygen makes, "+
				"or a private key of OpenSSH")
		}
	}
	return all, nil
}

// readIdentity reads the file of an identity. As OpenSSH does it refuses one of this user that
// others can read, unless it is of no use without a passphrase.
func readIdentity(file string) (text []byte, err error) {
	const most = 1 << 20 // bytes
	f, err := inputfile.Open(file)
	if err != nil {
		return nil, hint.Wrap(&configError{hint.Errorf("%s: %w", hint.Option("identity"), err)},
			"name a file that the user who runs mbk can read")
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err = io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, &configError{hint.Errorf("%s: %w", hint.Option("identity"), err)}
	}
	if len(text) > most {
		return nil, &configError{hint.Errorf("%s: %s is larger than %d bytes", hint.Option("identity"), file, most)}
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	if known && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 && int(owner.Uid) == os.Getuid() &&
		!agefile.Protected(text) {
		return nil, hint.Wrap(&configError{fmt.Errorf("identity file %s: others can read it (mode %04o)", file,
			info.Mode().Perm())}, hint.Text("chmod 600 "+file))
	}
	return text, nil
}
