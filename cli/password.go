package cli

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/term"

	"mbk/internal/hint"
)

// passwordVariable is how a password reaches mbk without being seen by other
// users of the machine.
const passwordVariable = "MBK_PASSWORD"

// passwordOption is the name of the option whose value is never behind a space.
const passwordOption = "password"

// takePassword takes --password out of the arguments. As with MariaDB's own
// programs, its value is glued to it and without one it is asked for.
func takePassword(args []string) (rest []string, password string, given, prompt bool) {
	for i, arg := range args {
		if arg == "--" {
			rest = append(rest, args[i:]...)
			break
		}
		value, glued := strings.CutPrefix(arg, "--password=")
		short, isShort := strings.CutPrefix(arg, "-p")
		switch {
		case arg == "--password" || arg == "-p":
			prompt = true
		case glued:
			password, given = value, true
		case isShort && !strings.HasPrefix(arg, "--"):
			password, given = short, true
		default:
			rest = append(rest, arg)
		}
	}
	return rest, password, given, prompt
}

// hidePassword starts the program anew without the password among its arguments,
// where every user of the machine can read it. It returns only if that fails.
func hidePassword(args []string, password string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("hide the password: %w", err)
	}
	env := append(os.Environ(), passwordVariable+"="+password)
	return fmt.Errorf("hide the password: %w", syscall.Exec(self, append([]string{os.Args[0]}, args...), env))
}

// askPassword reads a password from the terminal.
func askPassword() (string, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", hint.Wrap(&configError{errors.New("no terminal to ask for the password")}, "put it into an option file, or into $"+passwordVariable)
	}
	defer f.Close() //nolint:errcheck // nothing is written that matters
	fmt.Fprint(f, "Enter password: ")
	word, err := term.ReadPassword(int(f.Fd()))
	fmt.Fprintln(f)
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	return string(word), nil
}
