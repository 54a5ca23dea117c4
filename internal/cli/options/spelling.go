package options

import (
	"errors"
	"flag"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"mbk/internal/hint"
)

// Parsed notes which options the command line has set.
func (s *Set) Parsed(c *cli.Context) {
	for _, o := range s.all {
		if c.IsSet(o.Name) {
			o.Source = Source{Strength: ByFlag}
		}
	}
}

// UnknownError is the error of an option that does not exist. It is a UsageError.
type UnknownError struct {
	Name string // without dashes
	error
}

// Unwrap returns the UsageError.
func (e *UnknownError) Unwrap() error { return e.error }

// noOption returns the error of an option of the command line that does not exist.
func noOption(name string) error {
	if len(name) == 1 {
		return &UnknownError{name, Usagef("there is no option -%s", name)}
	}
	return &UnknownError{name, Usagef("there is no option %s", hint.Option(name))}
}

// ParseError returns an error of package flag, which parses the command line, in mbk's
// words. That package has only texts for them.
func ParseError(err error) error {
	text := err.Error()
	if name, found := strings.CutPrefix(text, "flag provided but not defined: -"); found {
		return noOption(name)
	}
	if errors.Is(err, flag.ErrHelp) { // --help=3; without a value it is never parsed
		return Usagef("option --help takes no value")
	}
	if rest, found := strings.CutPrefix(text, "invalid value "); found {
		value, _ := strconv.QuotedPrefix(rest)
		name, _, _ := strings.Cut(strings.TrimPrefix(rest, value+" for flag -"), ":")
		return Usagef("invalid value %s for option %s", value, hint.Option(name))
	}
	return Usage(err)
}

// Spell rewrites all options as "--name=value" and moves them before the arguments, which
// follow "--". It accepts what MariaDB's own programs accept and no flag library knows:
// underscores, the prefixes skip-, disable-, enable- and loose-, and values glued to short
// options. An unknown option is dropped if it is loose, and otherwise left to the parser.
func (s *Set) Spell(args []string) ([]string, error) {
	var spelled, arguments []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			arguments = append(arguments, args[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			arguments = append(arguments, arg)
			continue
		}
		word, needsValue := s.spell(arg)
		if !needsValue {
			if word != "" {
				spelled = append(spelled, word)
			}
			continue
		}
		if i++; i == len(args) {
			return nil, Usagef("option %s needs a value", arg)
		}
		// A forgotten value must not swallow the next option, such as --dry-run. Only
		// the values of --mariadbd-option are options themselves.
		if strings.HasPrefix(args[i], "--") && word != "--mariadbd-option" {
			return nil, Usagef("option %s needs a value, but %s follows (if that is the value, write %s=%s)",
				arg, args[i], arg, args[i])
		}
		spelled = append(spelled, word+"="+args[i])
	}
	if len(arguments) > 0 {
		spelled = append(append(spelled, "--"), arguments...)
	}
	return spelled, nil
}

// ValueFollows reports whether an argument is an option with its value in the next
// argument.
func (s *Set) ValueFollows(arg string) bool {
	_, follows := s.spell(arg)
	return follows
}

// spell rewrites one option; it returns "" for one that is dropped. needsValue reports
// that the next argument is its value.
func (s *Set) spell(arg string) (word string, needsValue bool) {
	name, value, hasValue := strings.Cut(arg, "=")
	long, isLong := strings.CutPrefix(name, "--")
	if !isLong {
		long = strings.TrimPrefix(name, "-")
		if o, _ := s.Find(long); o == nil || len(long) < 2 { // otherwise it is -repo
			return s.spellShort(arg)
		}
	}
	long, loose := strings.CutPrefix(strings.ReplaceAll(long, "_", "-"), "loose-")
	o, off := s.Find(long)
	switch {
	case o == nil && loose:
		return "", false
	case o == nil:
		return arg, false
	case !hasValue && off:
		return "--" + o.Name + "=off", false
	case !hasValue:
		return o.spellBare()
	case off:
		value = inverted(value)
	}
	return "--" + o.Name + "=" + value, false
}

// spellShort rewrites an option of one letter: -q, -u root, -uroot or -u=root.
func (s *Set) spellShort(arg string) (word string, needsValue bool) {
	letter, rest := arg[1:2], arg[2:]
	for _, o := range s.all {
		switch {
		case o.Short() != letter:
		case rest == "":
			return o.spellBare()
		case rest[0] == '=' || o.Kind != KindSwitch:
			return "--" + o.Name + "=" + strings.TrimPrefix(rest, "="), false
		}
	}
	name, _, _ := strings.Cut(arg[1:], "=")
	if name == "" {
		return arg, false // not an option; the parser says so
	}
	return "--" + name, false // unknown; the parser says so
}

// spellBare rewrites an option that is written without a value.
func (o *Option) spellBare() (word string, needsValue bool) {
	if o.TakesWord() {
		return "--" + o.Name, true
	}
	return "--" + o.Name + "=" + o.bare, false
}
