// Package options binds the options of a command to the fields of a struct, and
// gives them their values: from the command line, the environment and option
// files, in this order of strength. It remembers where each was set. It knows no
// command.
package options

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"mbk/internal/fault"
)

// Set is the options of one command. The copies that In and Shared return add to
// the same options.
type Set struct {
	*registry
	category string
	shared   bool
}

// registry is what all copies of a Set have in common.
type registry struct {
	flags *pflag.FlagSet
	all   []*Option
	files files
}

// NewSet returns a set without options.
func NewSet() *Set {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	flags.SortFlags = false
	return &Set{registry: &registry{flags: flags}}
}

// In returns a copy of the set: options that are added to it stand under this
// heading of the help.
func (s *Set) In(category string) *Set {
	other := *s
	other.category = category
	return &other
}

// Shared returns a copy of the set: options that are added to it may also be set in
// the groups of option files that MariaDB's own programs read.
func (s *Set) Shared() *Set {
	other := *s
	other.shared = true
	return &other
}

// Option is one option of a command.
type Option struct {
	Name     string   // "lock-wait", without dashes
	Short    string   // "r", "" if it has none
	Aliases  []string // other long names
	Category string   // its heading in the help, "" for options of the command alone
	Value    string   // what its value is called in the help: "FOLDER"; "" for a switch
	Text     string   // what it does
	Default  string   // "" if that is nothing
	Kind     Kind
	Source   Source // of its value, once that is resolved

	flag     *pflag.Flag
	shared   bool
	withheld bool
	positive bool
	most     int // of a number, 0 for no bound
}

// Kind is what the values of an option are.
type Kind string

// The kinds of options.
const (
	KindText     Kind = "text"
	KindSwitch   Kind = "switch"
	KindNumber   Kind = "number"
	KindDuration Kind = "duration"
	KindList     Kind = "list" // of texts: the option may be repeated
)

// String adds an option whose value is a text. The name of the value stands in
// backquotes in usage.
func (s *Set) String(p *string, name, value, usage string) *Option {
	*p = value
	return s.add((*text)(p), KindText, name, usage)
}

// Bool adds a switch, which is off unless it is set.
func (s *Set) Bool(p *bool, name, usage string) *Option {
	*p = false
	o := s.add((*toggle)(p), KindSwitch, name, usage)
	o.flag.NoOptDefVal, o.Default = "on", ""
	return o
}

// Int adds an option whose value is a number, not below zero.
func (s *Set) Int(p *int, name string, value int, usage string) *Option {
	*p = value
	return s.add((*number)(p), KindNumber, name, usage)
}

// Duration adds an option whose value is a duration, not below zero.
func (s *Set) Duration(p *time.Duration, name string, value time.Duration, usage string) *Option {
	*p = value
	return s.add((*duration)(p), KindDuration, name, usage)
}

// Strings adds an option that may be repeated.
func (s *Set) Strings(p *[]string, name, usage string) *Option {
	*p = nil
	return s.add((*list)(p), KindList, name, usage)
}

func (s *Set) add(v pflag.Value, kind Kind, name, usage string) *Option {
	value, text := placeholder(usage)
	o := &Option{Name: name, Category: s.category, Value: value, Text: text, Kind: kind, shared: s.shared}
	o.flag = s.flags.VarPF(v, name, "", text)
	if o.Default = v.String(); o.Default == "0" {
		o.Default = ""
	}
	s.all = append(s.all, o)
	return o
}

// WithShort gives an option a name of one letter.
func (o *Option) WithShort(letter string) *Option {
	o.Short = letter
	return o
}

// WithAlias gives an option another long name.
func (o *Option) WithAlias(name string) *Option {
	o.Aliases = append(o.Aliases, name)
	return o
}

// AtMost bounds a number.
func (o *Option) AtMost(most int) *Option {
	o.most = most
	return o
}

// MoreThanNothing refuses zero, if that is set.
func (o *Option) MoreThanNothing() *Option {
	o.positive = true
	return o
}

// MayBeBare lets an option stand without a value, and then mean this one. A value
// is always behind "=" then.
func (o *Option) MayBeBare(value string) *Option {
	o.flag.NoOptDefVal = value
	return o
}

// Withheld leaves the value where it is: only its source is noted. It is for a
// password, which nobody needs before it is time to log in.
func (o *Option) Withheld() *Option {
	o.withheld = true
	return o
}

// LongNames are the names that are words, its own one first.
func (o *Option) LongNames() []string { return append([]string{o.Name}, o.Aliases...) }

// Dashed are all names as they are written on the command line, the own one first.
func (o *Option) Dashed() []string {
	all := []string{Spelled(o.Name)}
	if o.Short != "" {
		all = append(all, "-"+o.Short)
	}
	for _, name := range o.Aliases {
		all = append(all, Spelled(name))
	}
	return all
}

// Spelled is an option as it is written on the command line.
func Spelled(name string) string { return "--" + name }

// TakesWord reports whether the value of an option may be the next word of the
// command line.
func (o *Option) TakesWord() bool { return o.flag.NoOptDefVal == "" }

// IsSet reports whether an option was set, in whatever place.
func (o *Option) IsSet() bool { return o.Source.Strength > ByDefault }

// Shown is the value as one would write it, "" if nothing was set and there is no
// default.
func (o *Option) Shown() string {
	if text := o.flag.Value.String(); text != "0" || o.IsSet() {
		return text
	}
	return ""
}

// Values are those of an option that may be repeated.
func (o *Option) Values() []string {
	if l, ok := o.flag.Value.(*list); ok {
		return slices.Clone(*l)
	}
	return nil
}

// Options are all of them, in the order of the help.
func (s *Set) Options() []*Option { return s.all }

// Source is the place where an option was set.
func (s *Set) Source(name string) Source {
	if o := s.find(name); o != nil {
		return o.Source
	}
	return Source{}
}

// IsSet reports whether an option was set, in whatever place.
func (s *Set) IsSet(name string) bool { return s.Source(name).Strength > ByDefault }

// find returns the option of a long name, nil if there is none.
func (s *Set) find(name string) *Option {
	i := slices.IndexFunc(s.all, func(o *Option) bool { return slices.Contains(o.LongNames(), name) })
	if i < 0 {
		return nil
	}
	return s.all[i]
}

// Find is find for a name as MariaDB's own programs would accept it, in which a
// switch may have a prefix: off says that the prefix turns it off. It returns nil if
// there is no such option.
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

// check finds values that can be read and are none all the same.
func (s *Set) check() error {
	for _, o := range s.all {
		switch v := o.flag.Value.(type) {
		case *number:
			if *v < 0 {
				return Usagef("option %s is negative", Spelled(o.Name))
			}
			if o.most > 0 && int(*v) > o.most {
				return Usagef("option %s is %d, want at most %d", Spelled(o.Name), *v, o.most)
			}
		case *duration:
			if *v < 0 {
				return Usagef("option %s is negative", Spelled(o.Name))
			}
			if *v == 0 && o.positive && o.IsSet() {
				return Usagef("option %s is 0s, want more than nothing", Spelled(o.Name))
			}
		}
	}
	return nil
}

// UsageError is a call that cannot be carried out as it was written.
type UsageError struct{ Message string }

func (e *UsageError) Error() string { return e.Message }

// Fault says that the call must be changed.
func (e *UsageError) Fault() fault.Kind { return fault.Config }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{Message: fmt.Sprintf(format, args...)}
}

// placeholder takes the value's name, in backquotes, out of a text.
func placeholder(usage string) (value, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	if !ok {
		return "", usage
	}
	value, after, _ := strings.Cut(rest, "`")
	return value, before + value + after
}
