package options

import (
	"errors"
	"strings"

	"github.com/spf13/pflag"

	"mbk/internal/hint"
)

// Parse sets options from arguments that Spell returned, and returns the arguments that
// are not options.
func (s *Set) Parse(args []string) (arguments []string, err error) {
	err = s.flags.Parse(args)
	var (
		unknown *pflag.NotExistError
		missing *pflag.ValueRequiredError
		invalid *pflag.InvalidValueError
	)
	switch {
	case err == nil:
	case errors.As(err, &unknown):
		return nil, Usagef("there is no option %s", hint.Option(unknown.GetSpecifiedName()))
	case errors.As(err, &missing):
		return nil, Usagef("option %s needs a value", hint.Option(missing.GetSpecifiedName()))
	case errors.As(err, &invalid):
		return nil, Usagef("invalid value %q for option %s", invalid.GetValue(), hint.Option(invalid.GetFlag().Name))
	default:
		return nil, Usage(err)
	}
	s.flags.Visit(func(f *pflag.Flag) { s.find(f.Name).Source = Source{Strength: ByFlag} })
	return s.flags.Args(), nil
}

// Spell rewrites all options as "--name=value". It accepts what MariaDB's own programs
// accept and no flag library knows: underscores, the prefixes skip-, disable-, enable-
// and loose-, and values glued to short options. An unknown option is dropped if it is
// loose, and otherwise left to Parse.
func (s *Set) Spell(args []string) ([]string, error) {
	var spelled []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(spelled, args[i:]...), nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			spelled = append(spelled, arg)
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
		return "--" + o.Name, o.TakesWord()
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
		case o.Short != letter:
		case rest == "":
			return "--" + o.Name, o.TakesWord()
		case rest[0] == '=' || o.Kind != KindSwitch:
			return "--" + o.Name + "=" + strings.TrimPrefix(rest, "="), false
		}
	}
	name, _, _ := strings.Cut(arg[1:], "=")
	return "--" + name, false // unknown; Parse says so
}
