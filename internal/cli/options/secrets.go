package options

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
)

// PasswordOption is the option whose value is never a word of its own.
const PasswordOption = "password"

// secretOptions returns the options, besides the password, with values that other users
// must not read: URLs that contain a token, and arguments of programs.
func secretOptions() []string {
	return []string{"webhook", "hook-before", "hook-success", "hook-failure"}
}

// secretVariables lists the options that Hide moved from the command line into the
// environment.
const secretVariables = "MBK_SECRET_OPTIONS"

// IsSecretVariable reports whether an environment variable must not be passed on to
// other programs.
func IsSecretVariable(name string) bool {
	ours, found := strings.CutPrefix(name, "MBK_")
	if !found {
		return false
	}
	option := strings.ToLower(strings.ReplaceAll(ours, "_", "-"))
	return strings.Contains(ours, "PASSWORD") || strings.Contains(ours, "SECRET") ||
		slices.Contains(secretOptions(), option)
}

// TakePassword removes --password from the arguments. As in MariaDB's own programs, its
// value is glued to it; without a value, prompt is true and mbk asks for it. A value is
// returned as an environment variable.
func TakePassword(args []string) (rest, variables []string, prompt bool) {
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
			variables = []string{Variable(PasswordOption) + "=" + value}
		case isShort && !strings.HasPrefix(arg, "--"):
			variables = []string{Variable(PasswordOption) + "=" + short}
		default:
			rest = append(rest, arg)
		}
	}
	return rest, variables, prompt
}

// TakeSecrets removes secret options from arguments that Spell returned, and returns them
// as environment variables. If a value has several lines all stay, because a variable
// holds one value per line.
func TakeSecrets(args []string) (rest, variables []string) {
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
			values[name] = nil // the last one wins
		}
		values[name] = append(values[name], value)
	}
	if len(values) == 0 {
		return rest, nil
	}
	names := slices.Sorted(maps.Keys(values))
	for _, name := range names {
		variables = append(variables, Variable(name)+"="+strings.Join(values[name], "\n"))
	}
	return rest, append(variables, secretVariables+"="+strings.Join(names, ","))
}

// Hide runs the program again with secrets in its environment instead of its arguments,
// which every user of the machine can read. It returns only on failure.
func Hide(args, variables []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("hide what is secret among the arguments: %w", err)
	}
	env := slices.DeleteFunc(os.Environ(), func(old string) bool { // the first of two equal names would win
		name, _, _ := strings.Cut(old, "=")
		return slices.ContainsFunc(variables, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	})
	err = syscall.Exec(self, append([]string{os.Args[0]}, args...), append(env, variables...))
	return fmt.Errorf("hide what is secret among the arguments: %w", err)
}

// UnknownVariables returns the names in environ that look like the variable of an option
// but belong to none in sets, and are not in known.
func UnknownVariables(sets []*Set, known, environ []string) []string {
	known = append(slices.Clone(known), secretVariables)
	for _, s := range sets {
		for _, o := range s.all {
			for _, name := range o.LongNames() {
				known = append(known, Variable(name))
			}
		}
	}
	var unknown []string
	for _, line := range environ {
		name, _, _ := strings.Cut(line, "=")
		if strings.HasPrefix(name, Variable("")) && !slices.Contains(known, name) {
			unknown = append(unknown, name)
		}
	}
	return unknown
}
