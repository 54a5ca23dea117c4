package options

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"mbk/internal/input/optfile"
)

// Strength orders the places where an option can be set.
type Strength int

// The places; a later one overrides an earlier one.
const (
	ByDefault Strength = iota
	ByFile
	ByVariable
	ByFlag
)

// Source is where an option was set.
type Source struct {
	Strength Strength
	Variable string          // name of the environment variable
	Line     optfile.Setting // line of the option file
}

func (s Source) String() string {
	switch s.Strength {
	case ByFile:
		return fmt.Sprintf("%s, line %d", s.Line.File, s.Line.Line)
	case ByVariable:
		return "$" + s.Variable
	case ByFlag:
		return "command line"
	}
	return "default"
}

// WhereSet returns where options were set. It leaves out those on the command line.
func (s *Set) WhereSet(names []string) []string {
	var steps []string
	for _, name := range names {
		if step := s.Where(name); step != "" && !slices.Contains(steps, step) {
			steps = append(steps, step)
		}
	}
	return steps
}

// Where returns a sentence about where an option was set, "" if that is the command line
// or nowhere.
func (s *Set) Where(name string) string {
	from := s.Source(name)
	if from.Strength != ByFile && from.Strength != ByVariable {
		return ""
	}
	return fmt.Sprintf("%s is set in %s", Spelled(name), from)
}

// ownGroup is the group for all commands of mbk. From the groups that other programs
// read too, only shared options are taken.
const ownGroup = "mbk"

// OwnFile is mbk's own option file; the packages install it. It is not in /etc/mysql,
// because Debian restarts servers when something changes there.
const OwnFile = "/etc/mbk/mbk.cnf"

func sharedGroups() []string { return []string{"client", "client-server", "client-mariadb"} }

// Variable returns the name of an option's environment variable.
func Variable(option string) string {
	return "MBK_" + strings.ToUpper(strings.ReplaceAll(option, "-", "_"))
}

// Environment is what Resolve needs to know about the run.
type Environment struct {
	Command string // its group is [mbk-COMMAND]
	Others  []*Set // of the other commands, whose options may stand in [mbk]
	Getenv  func(name string) string
	Warn    func(text string)
	Prompt  bool // --password without a value: ask for it
}

// files holds the options that choose the option files.
type files struct {
	file, extra, suffix string
	none                bool
}

// Files adds the options that choose the option files.
func (s *Set) Files() {
	f := &s.files
	s.String(&f.file, "defaults-file", "", "read options from `FILE` only")
	s.String(&f.extra, "defaults-extra-file", "", "read options from `FILE` after the global files")
	s.String(&f.suffix, "defaults-group-suffix", "", "also read option groups whose names end in `SUFFIX`")
	s.Bool(&f.none, "no-defaults", "read no option file")
}

// isFiles reports whether an option chooses option files and so cannot be set in one.
func (o *Option) isFiles() bool { return strings.Contains(o.Name, "defaults") }

// Resolve sets each option that is not on the command line from the environment or else
// from the option files, and notes where it was set.
func (s *Set) Resolve(env Environment) error {
	if err := s.resolveVariables(env); err != nil {
		return err
	}
	opened := map[string]origin{}
	lines, err := optfile.Read(optfile.Options{
		File: s.files.file, Extra: s.files.extra, Global: []string{OwnFile},
		Suffix: s.files.suffix, NoDefaults: s.files.none,
		Groups: append(sharedGroups(), ownGroup, ownGroup+"-"+env.Command), Match: isNamed,
		Warn: env.Warn, Getenv: env.Getenv,
		Opened: func(path string, f *os.File) { opened[path] = originOf(path, f) },
	})
	if err != nil {
		return Usage(err)
	}
	lines = s.keepNamed(env, lines, opened)
	if err := s.judgeFiles(env, lines, opened); err != nil {
		return err
	}
	if err := s.resolveLines(env, lines); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	return s.finish()
}

// resolveVariables sets options from the environment.
func (s *Set) resolveVariables(env Environment) error {
	typed := strings.Split(env.Getenv(secretVariables), ",")
	for _, o := range s.all {
		if o.Name == PasswordOption && env.Prompt {
			o.Source = Source{Strength: ByFlag}
		}
		from, text := o.variable(env.Getenv)
		if text == "" || o.Source.Strength >= ByFlag {
			continue
		}
		if err := o.assign(from, o.Name, o.separate(text)); err != nil {
			return err
		}
		if slices.Contains(typed, o.Name) {
			o.Source = Source{Strength: ByFlag} // Hide moved it
		}
	}
	return nil
}

// variable looks an option up in the environment, by each of its names.
func (o *Option) variable(getenv func(string) string) (from Source, text string) {
	for _, name := range o.LongNames() {
		if text = getenv(Variable(name)); text != "" {
			return Source{Strength: ByVariable, Variable: Variable(name)}, text
		}
	}
	return Source{}, ""
}

// separate splits the text of a variable: if the option may be repeated, each line is a
// value.
func (o *Option) separate(text string) []string {
	if o.Kind == KindList {
		return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
	}
	return []string{text}
}

// resolveLines sets options from option files. The last line for an option wins, as in
// MariaDB's own programs, except that the command's own group wins over all others.
// The lines of an option that may be repeated add up.
func (s *Set) resolveLines(env Environment, lines []optfile.Setting) error {
	general := func(l optfile.Setting) bool { return l.Group != ownGroup+"-"+env.Command }
	slices.SortStableFunc(lines, func(a, b optfile.Setting) int {
		switch {
		case general(a) == general(b):
			return 0
		case general(a):
			return -1
		}
		return 1
	})
	values, from := map[*Option][]string{}, map[*Option]Source{}
	for _, line := range lines {
		o, off := s.Find(line.Name)
		if line.Group != ownGroup && general(line) && (o == nil || !o.shared) {
			continue
		}
		if o == nil || o.isFiles() {
			if err := s.unknownLine(env, line); err != nil {
				return err
			}
			continue
		}
		if o.Source.Strength > ByFile {
			continue
		}
		here := Source{Strength: ByFile, Line: line}
		text, err := o.lineValue(line, off)
		if err != nil {
			return Usagef("%s: %s %v", here, line.Name, err)
		}
		if o.Kind != KindList || o.lastLine {
			values[o] = nil
		}
		values[o], from[o] = append(values[o], text), here
	}
	for _, o := range s.all {
		if len(values[o]) == 0 {
			continue
		}
		if err := o.assign(from[o], from[o].Line.Name, values[o]); err != nil {
			return err
		}
	}
	return nil
}

// unknownLine returns an error for a line in mbk's groups that sets no option of the
// command, unless it is in the group for all commands and another command has it.
func (s *Set) unknownLine(env Environment, line optfile.Setting) error {
	if line.Loose {
		return nil
	}
	where := Source{Strength: ByFile, Line: line}
	for _, other := range append([]*Set{s}, env.Others...) {
		o, _ := other.Find(line.Name)
		switch {
		case o != nil && o.isFiles():
			return Usagef("%s: option %s cannot be set in an option file", where, line.Name)
		case o != nil && line.Group == ownGroup:
			return nil
		}
	}
	if line.Group == ownGroup {
		return &UnknownError{line.Name, Usagef("%s: mbk has no option %q", where, line.Name)}
	}
	return &UnknownError{line.Name, Usagef("%s: mbk %s has no option %q", where, env.Command, line.Name)}
}

// lineValue returns the value that a line of an option file sets.
func (o *Option) lineValue(line optfile.Setting, off bool) (string, error) {
	switch {
	case line.HasValue && off:
		return inverted(line.Value), nil
	case line.HasValue, o.withheld:
		return line.Value, nil
	case off:
		return "off", nil
	case o.bare != "":
		return o.bare, nil
	}
	return "", fmt.Errorf("needs a value")
}

// assign sets an option from the environment or an option file. name is how it is
// written there.
func (o *Option) assign(from Source, name string, values []string) error {
	o.Source = from
	if o.withheld {
		return nil
	}
	for _, text := range values {
		if err := o.Value.Set(text); err != nil {
			return Usagef("%s: %s %v", from, name, err)
		}
	}
	return nil
}
