package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/input/inputfile"
	"mbk/internal/ui"
)

// passwordFileOption is the option for a file with the password.
const passwordFileOption = "password-file"

// password returns the password to log in with, from the strongest source. A password
// file wins over a password in an option file.
func (o *connection) password(ctx context.Context) (string, error) {
	word, file := o.set.Source(options.PasswordOption), o.set.Source(passwordFileOption)
	switch {
	case o.program.prompt:
		return askPassword(ctx)
	case file.Strength > options.ByDefault && file.Strength >= word.Strength:
		return readPassword(o.program.ui, passwordFileOption, o.passwordFile)
	case word.Strength == options.ByVariable:
		return o.program.getenv(word.Variable), nil
	case word.Strength == options.ByFile && !word.Line.HasValue:
		return askPassword(ctx)
	}
	return word.Line.Value, nil
}

// readPassword reads the first line of a file that an option names.
func readPassword(u *ui.UI, option, path string) (word string, err error) {
	const most = 4 << 10 // bytes; no password is longer
	f, err := inputfile.Open(path)
	if err != nil {
		return "", hint.Wrap(&configError{hint.Errorf("%s: %w", hint.Option(option), err)},
			"name a file that the user who runs mbk can read")
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o006 != 0 {
		u.Warn(fmt.Sprintf("everyone can get at the password in %s: chmod 600 %s", path, path))
	}
	line, err := bufio.NewReader(io.LimitReader(f, most)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", &configError{hint.Errorf("%s: %w", hint.Option(option), err)}
	}
	return strings.TrimRight(line, "\r\n"), nil
}

// errNoTerminal is returned by askSecret.
var errNoTerminal = errors.New("no terminal to ask at")

// askPassword reads a password from the terminal.
func askPassword(ctx context.Context) (string, error) {
	word, err := askSecret(ctx, "Enter password: ")
	if errors.Is(err, errNoTerminal) {
		return "", hint.Wrap(&configError{errors.New("no terminal to ask for the password")},
			hint.Text("put it into an option file, into the file of --"+passwordFileOption+
				", or into $"+options.Variable(options.PasswordOption)))
	}
	if err != nil && ctx.Err() == nil {
		err = fmt.Errorf("read the password: %w", err)
	}
	return word, err
}

// askSecret reads what is typed at the terminal, without showing it. A signal ends it. The
// error is errNoTerminal if there is none.
func askSecret(ctx context.Context, prompt string) (string, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", errNoTerminal
	}
	defer f.Close() //nolint:errcheck // nothing important is written
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", err
	}
	fmt.Fprint(f, prompt)
	type answer struct {
		word []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() { // after a signal it goes on reading until the process ends
		word, err := term.ReadPassword(int(f.Fd()))
		done <- answer{word, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(int(f.Fd()), before) // if it fails, the terminal is gone
		fmt.Fprintln(f)
		return "", ctx.Err()
	case got := <-done:
		fmt.Fprintln(f)
		return string(got.word), got.err
	}
}
