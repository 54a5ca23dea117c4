// Package options binds the options of a command to the fields of a struct and sets
// them: from the command line, else the environment, else option files. It remembers
// where each was set. It knows no command.
package options

import (
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// Set holds the options of one command. The copies that In and Shared return add to
// the same set.
type Set struct {
	*registry
	category string
	shared   bool
}

// registry is shared by all copies of a Set.
type registry struct {
	all      []*Option
	files    files
	named    named
	finishes []func() error
}

// NewSet returns a set without options.
func NewSet() *Set {
	return &Set{registry: &registry{}}
}

// In returns a copy of the set. The help lists options added to it under this heading.
func (s *Set) In(category string) *Set {
	other := *s
	other.category = category
	return &other
}

// Shared returns a copy of the set. Options added to it may also be set in the groups
// that MariaDB's own programs read, such as [client].
func (s *Set) Shared() *Set {
	other := *s
	other.shared = true
	return &other
}

// Option is one option of a command. Of the flag, Name is without dashes, Aliases are
// other long names and the letter that is its short name, Category is "" for options of
// this command only, DefaultText is "" if the default is empty or 0, and Value is the
// field that the option sets.
type Option struct {
	*cli.GenericFlag
	Placeholder string // the name of its value in the help, such as "FOLDER"; "" for a switch
	Text        string // what it does
	Kind        Kind
	Source      Source // set by Parsed and Resolve

	bare     string // its value if it is written without one; "" if it needs one
	shared   bool
	withheld bool
	positive bool
	lastLine bool
	most     int // of a number, 0 for no bound
	given    given
}

// Kind is the type of an option's value.
type Kind string

// The kinds of options.
const (
	KindText     Kind = "text"
	KindSwitch   Kind = "switch"
	KindNumber   Kind = "number"
	KindDuration Kind = "duration"
	KindList     Kind = "list" // of texts; the option may be repeated
)

// String adds an option whose value is a text. usage has the name of the value in
// backquotes.
func (s *Set) String(p *string, name, value, usage string) *Option {
	*p = value
	return s.add((*text)(p), KindText, name, usage)
}

// Bool adds a switch. It is off by default.
func (s *Set) Bool(p *bool, name, usage string) *Option {
	*p = false
	o := s.add((*toggle)(p), KindSwitch, name, usage)
	o.bare, o.DefaultText = "on", ""
	return o
}

// Int adds an option whose value is a number, 0 or more.
func (s *Set) Int(p *int, name string, value int, usage string) *Option {
	*p = value
	return s.add((*number)(p), KindNumber, name, usage)
}

// Duration adds an option whose value is a duration, 0 or more.
func (s *Set) Duration(p *time.Duration, name string, value time.Duration, usage string) *Option {
	*p = value
	return s.add((*duration)(p), KindDuration, name, usage)
}

// Strings adds an option that may be repeated.
func (s *Set) Strings(p *[]string, name, usage string) *Option {
	*p = nil
	return s.add((*list)(p), KindList, name, usage)
}

func (s *Set) add(v cli.Generic, kind Kind, name, usage string) *Option {
	flag := &cli.GenericFlag{Name: name, Category: s.category, Usage: usage, DefaultText: v.String(), Value: v}
	if flag.DefaultText == "0" {
		flag.DefaultText = ""
	}
	o := &Option{GenericFlag: flag, Kind: kind, shared: s.shared}
	o.Placeholder, o.Text = placeholder(usage)
	s.all = append(s.all, o)
	return o
}

// WithShort gives an option a one-letter name.
func (o *Option) WithShort(letter string) *Option {
	o.Aliases = append(o.Aliases, letter)
	return o
}

// WithAlias gives an option another long name.
func (o *Option) WithAlias(name string) *Option {
	o.Aliases = append(o.Aliases, name)
	return o
}

// AtMost sets the largest value of a number.
func (o *Option) AtMost(most int) *Option {
	o.most = most
	return o
}

// MoreThanNothing refuses an explicit 0.
func (o *Option) MoreThanNothing() *Option {
	o.positive = true
	return o
}

// MayBeBare makes the value optional. Without one the option has this value; with one
// it is written --name=value, never as two words.
func (o *Option) MayBeBare(value string) *Option {
	o.bare = value
	return o
}

// LastLine lets only the last line of the option files count, although the option may be
// repeated.
func (o *Option) LastLine() *Option {
	o.lastLine = true
	return o
}

// Withheld notes where the option is set but does not read its value. It is for the
// password, which is read when mbk logs in.
func (o *Option) Withheld() *Option {
	o.withheld = true
	return o
}

// Names returns the only name that Spell leaves. urfave/cli copies the value of a flag to
// its other names by setting it again, which would double a list.
func (o *Option) Names() []string { return []string{o.Name} }

// LongNames returns Name and the other long names.
func (o *Option) LongNames() []string {
	return slices.DeleteFunc(o.GenericFlag.Names(), func(name string) bool { return len(name) == 1 })
}

// Short returns the letter that is the short name, "" if there is none.
func (o *Option) Short() string {
	if i := slices.IndexFunc(o.Aliases, func(name string) bool { return len(name) == 1 }); i >= 0 {
		return o.Aliases[i]
	}
	return ""
}

// Dashed returns all names as written on the command line, "--"+Name first.
func (o *Option) Dashed() []string {
	all := []string{Spelled(o.Name)}
	if letter := o.Short(); letter != "" {
		all = append(all, "-"+letter)
	}
	for _, name := range o.LongNames()[1:] {
		all = append(all, Spelled(name))
	}
	return all
}

// Spelled returns the name of an option as written on the command line.
func Spelled(name string) string { return "--" + name }

// TakesWord reports whether the value may be the next word on the command line.
func (o *Option) TakesWord() bool { return o.bare == "" }

// IsSet reports whether the option was set anywhere.
func (o *Option) IsSet() bool { return o.Source.Strength > ByDefault }

// Shown returns the value as a user would write it, "" if it is not set and has no
// default.
func (o *Option) Shown() string {
	if text := o.Value.String(); text != "0" || o.IsSet() {
		return text
	}
	return ""
}

// Values returns the values of an option that may be repeated.
func (o *Option) Values() []string {
	if l, ok := o.Value.(*list); ok {
		return slices.Clone(*l)
	}
	return nil
}

// Options returns all options in the order of the help.
func (s *Set) Options() []*Option { return s.all }

// Flags returns all options as the flags of a command.
func (s *Set) Flags() []cli.Flag {
	var flags []cli.Flag
	for _, o := range s.all {
		flags = append(flags, o)
	}
	return flags
}

// Source returns where an option was set.
func (s *Set) Source(name string) Source {
	if o := s.find(name); o != nil {
		return o.Source
	}
	return Source{}
}

// IsSet reports whether an option was set anywhere.
func (s *Set) IsSet(name string) bool { return s.Source(name).Strength > ByDefault }

// find returns the option with this long name, or nil.
func (s *Set) find(name string) *Option {
	i := slices.IndexFunc(s.all, func(o *Option) bool { return slices.Contains(o.LongNames(), name) })
	if i < 0 {
		return nil
	}
	return s.all[i]
}

// Find returns the option with this long name, or nil. As in MariaDB's own programs,
// a switch may have a prefix (enable-, skip-, disable-); off reports that the prefix
// turns it off.
func (s *Set) Find(name string) (o *Option, off bool) {
	if o := s.find(name); o != nil {
		return o, false
	}
	for _, prefix := range []string{"enable-", "skip-", "disable-"} {
		if rest, found := strings.CutPrefix(name, prefix); found {
			if o := s.find(rest); o != nil && o.Kind == KindSwitch {
				return o, prefix != "enable-"
			}
		}
	}
	return nil, false
}

// check returns an error if a value is out of range.
func (s *Set) check() error {
	for _, o := range s.all {
		switch v := o.Value.(type) {
		case *number:
			if *v < 0 {
				return Usagef("option %s is negative", hint.Option(o.Name))
			}
			if o.most > 0 && int(*v) > o.most {
				return Usagef("option %s is %d, want at most %d", hint.Option(o.Name), *v, o.most)
			}
		case *duration:
			if *v < 0 {
				return Usagef("option %s is negative", hint.Option(o.Name))
			}
			if *v == 0 && o.positive && o.IsSet() {
				return Usagef("option %s is 0s, want more than nothing", hint.Option(o.Name))
			}
		}
	}
	return nil
}

// UsageError is a mistake in the command line, the environment or an option file.
type UsageError struct{ error }

// Unwrap returns what is wrong with it.
func (e *UsageError) Unwrap() error { return e.error }

// Fault returns fault.Config: the call must be changed.
func (e *UsageError) Fault() fault.Kind { return fault.Config }

// Usagef makes a UsageError. Options in its message are written with hint.Option.
func Usagef(format string, args ...any) error { return Usage(hint.Errorf(format, args...)) }

// Usage makes a UsageError of another error.
func Usage(err error) error { return &UsageError{err} }

// placeholder splits usage into the value's name, which is in backquotes, and the text
// without the backquotes.
func placeholder(usage string) (value, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	if !ok {
		return "", usage
	}
	value, after, _ := strings.Cut(rest, "`")
	return value, before + value + after
}
