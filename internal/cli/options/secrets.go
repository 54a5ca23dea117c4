package options

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
)

// PasswordOption is the name of the option whose value is never behind a space.
const PasswordOption = "password"

// secretOptions are those besides the password whose values nobody else should read:
// addresses with a token in them, and arguments of programs.
func secretOptions() []string {
	return []string{"webhook", "hook-before", "hook-success", "hook-failure"}
}

// secretVariables names the options whose values the command line had, and the
// environment has now.
const secretVariables = "MBK_SECRET_OPTIONS"

// IsSecretVariable reports whether a variable of the environment is for mbk alone.
func IsSecretVariable(name string) bool {
	ours, found := strings.CutPrefix(name, "MBK_")
	if !found {
		return false
	}
	option := strings.ToLower(strings.ReplaceAll(ours, "_", "-"))
	return strings.Contains(ours, "PASSWORD") || strings.Contains(ours, "SECRET") ||
		slices.Contains(secretOptions(), option)
}

// TakePassword takes --password out of the arguments. As with MariaDB's own
// programs, its value is glued to it and without one it is asked for: prompt says so
// then. A value is returned as the variable that holds it instead.
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

// TakeSecrets takes the values of secret options out of arguments that Spell has
// returned, and returns the variables that hold them instead. A value of several lines
// stays where it is, since a variable takes lines apart.
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
			values[name] = nil // the last one counts
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

// Hide starts the program again with secrets in its environment in place of its
// arguments, which every user of the machine can read. It returns only if that fails.
func Hide(args, variables []string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("hide what is secret among the arguments: %w", err)
	}
	env := slices.DeleteFunc(os.Environ(), func(old string) bool { // the first one of a name would count
		name, _, _ := strings.Cut(old, "=")
		return slices.ContainsFunc(variables, func(v string) bool { return strings.HasPrefix(v, name+"=") })
	})
	err = syscall.Exec(self, append([]string{os.Args[0]}, args...), append(env, variables...))
	return fmt.Errorf("hide what is secret among the arguments: %w", err)
}

// UnknownVariables are those of an environment that look like an option's, and are
// none's of the sets nor in known.
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
