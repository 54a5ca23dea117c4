package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"mbk/internal/hint"
	"mbk/internal/input/inputfile"
)

// passwordVariable is how a password reaches mbk without being seen by other
// users of the machine.
const passwordVariable = "MBK_PASSWORD"

// passwordOption is the name of the option whose value is never behind a space.
const passwordOption = "password"

// passwordFileOption names a file with the password.
const passwordFileOption = "password-file"

// password is the one to log in with, of the strongest of its sources. A file
// for it is there for mbk and wins over other lines of option files.
func password(c *cli.Context, env Env) (string, error) {
	word, file := env.sources[passwordOption], env.sources[passwordFileOption]
	switch {
	case env.prompt:
		return askPassword(c.Context)
	case file.strength > byDefault && file.strength >= word.strength:
		return readPassword(env, passwordFileOption, c.String(passwordFileOption))
	case word.strength == byVariable:
		return env.Getenv(passwordVariable), nil
	case word.strength == byFile && !word.line.HasValue:
		return askPassword(c.Context)
	}
	return word.line.Value, nil
}

// readPassword reads the first line of a file that an option names.
func readPassword(env Env, option, path string) (word string, err error) {
	const most = 4 << 10 // bytes; no password is longer
	f, err := inputfile.Open(path)
	if err != nil {
		return "", hint.Wrap(&configError{fmt.Errorf("--%s: %w", option, err)}, "name a file that the user who runs mbk can read")
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o006 != 0 {
		warn(env, fmt.Sprintf("everyone can get at the password in %s: chmod 600 %s", path, path))
	}
	line, err := bufio.NewReader(io.LimitReader(f, most)).ReadString('\n')
	if err != nil && err != io.EOF {
		return "", &configError{fmt.Errorf("--%s: %w", option, err)}
	}
	return strings.TrimRight(line, "\r\n"), nil
}

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

// secretOptions are those besides the password whose values nobody else should read:
// addresses with a token in them, and arguments of programs.
func secretOptions() []string {
	return []string{"webhook", "hook-before", "hook-success", "hook-failure"}
}

// secretVariables names the options whose values the command line had, and the
// environment has now.
const secretVariables = "MBK_SECRET_OPTIONS"

// takeSecrets takes the values of such options out of arguments that optionsFirst has
// spelled, and returns the variables that hold them instead. A value of several lines
// stays where it is, since a variable takes lines apart.
func takeSecrets(args []string) (rest, variables []string) {
	values := map[string][]string{}
	for i, arg := range args {
		if arg == "--" {
			rest = append(rest, args[i:]...)
			break
		}
		name, value, found := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if !found || !slices.Contains(secretOptions(), name) {
			rest = append(rest, arg)
			continue
		}
		if strings.Contains(value, "\n") {
			return args, nil
		}
		if name == "webhook" {
			values[name] = nil // the last one counts
		}
		values[name] = append(values[name], value)
	}
	if len(values) == 0 {
		return rest, nil
	}
	names := slices.Sorted(maps.Keys(values))
	for _, name := range names {
		variables = append(variables, variable(name)+"="+strings.Join(values[name], "\n"))
	}
	return rest, append(variables, secretVariables+"="+strings.Join(names, ","))
}

// hide starts the program anew with secrets in its environment in place of its
// arguments, which every user of the machine can read. It returns only if that fails.
func hide(args, variables []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("hide what is secret among the arguments: %w", err)
	}
	env := slices.DeleteFunc(os.Environ(), func(old string) bool { // the first one of a name would count
		name, _, _ := strings.Cut(old, "=")
		return slices.ContainsFunc(variables, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	})
	return fmt.Errorf("hide what is secret among the arguments: %w", syscall.Exec(self, append([]string{os.Args[0]}, args...), append(env, variables...)))
}

// askPassword reads a password from the terminal. A signal ends it.
func askPassword(ctx context.Context) (string, error) {
	f, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", hint.Wrap(&configError{errors.New("no terminal to ask for the password")}, "put it into an option file, into the file of --"+passwordFileOption+", or into $"+passwordVariable)
	}
	defer f.Close() //nolint:errcheck // nothing is written that matters
	before, err := term.GetState(int(f.Fd()))
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	fmt.Fprint(f, "Enter password: ")
	type answer struct {
		word []byte
		err  error
	}
	done := make(chan answer, 1)
	go func() { // after a signal it waits for a key, until the process ends, which is now
		word, err := term.ReadPassword(int(f.Fd()))
		done <- answer{word, err}
	}()
	select {
	case <-ctx.Done():
		_ = term.Restore(int(f.Fd()), before) // a terminal that is gone needs no echo
		fmt.Fprintln(f)
		return "", ctx.Err()
	case got := <-done:
		fmt.Fprintln(f)
		if got.err != nil {
			return "", fmt.Errorf("read the password: %w", got.err)
		}
		return string(got.word), nil
	}
}
