package options

import (
	"strings"

	"mbk/internal/hint"
	"mbk/internal/input/optfile"
)

// NamedOption is the option whose value may be the name of a repository. The group
// [mbk repo=NAME] of an option file says where that is, and how it is reached.
const NamedOption = "repo"

// named is what option files say of things with a name.
type named struct {
	lines  []optfile.Setting
	opened map[string]origin
	env    Environment
}

// given is what an option was set to before a group of a name was looked at.
type given struct {
	source Source
	texts  []string
}

// isNamed reports whether a group is one of mbk's with a name, well-formed or not: "mbk" and
// another word.
func isNamed(group string) bool {
	words := strings.Fields(group)
	return len(words) > 1 && strings.EqualFold(words[0], ownGroup)
}

// nameOf returns the name in a group that isNamed accepts, "" if it is not well-formed.
func nameOf(group string) string {
	kind, name, _ := strings.Cut(strings.TrimSpace(group)[len(ownGroup):], "=")
	name = strings.TrimSpace(name)
	if !strings.EqualFold(strings.TrimSpace(kind), NamedOption) || !IsName(name) {
		return ""
	}
	return name
}

// IsName reports whether a text can be the name of a repository: ASCII letters, digits, ".",
// "_" and "-", of which the first two do not begin it. So a name is no path but that of a
// file in the current folder.
func IsName(text string) bool {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	return text != "" && len(text) <= 100 && strings.Contains(letters, text[:1]) && strings.Trim(text, letters+"._-") == ""
}

// keepNamed sets the lines in groups with a name aside, and returns the others.
func (s *Set) keepNamed(env Environment, lines []optfile.Setting, opened map[string]origin) []optfile.Setting {
	s.named = named{opened: opened, env: env}
	var rest []optfile.Setting
	for _, line := range lines {
		if isNamed(line.Group) {
			s.named.lines = append(s.named.lines, line)
		} else {
			rest = append(rest, line)
		}
	}
	return rest
}

// Finally adds a function that Resolve calls at its end, when all options are set.
func (s *Set) Finally(do func() error) { s.finishes = append(s.finishes, do) }

// finish calls the functions of Finally.
func (s *Set) finish() error {
	for _, line := range s.named.lines {
		if nameOf(line.Group) == "" {
			return Usagef("%s: group [%s] is none of mbk's: write [%s %s=NAME], with letters, digits, \".\", \"_\" and \"-\"",
				Source{Strength: ByFile, Line: line}, line.Group, ownGroup, NamedOption)
		}
	}
	for _, o := range s.all {
		o.given = given{o.Source, o.texts()}
	}
	for _, do := range s.finishes {
		if err := do(); err != nil {
			return err
		}
	}
	return nil
}

// texts returns the values of an option that was set, as they would be set again.
func (o *Option) texts() []string {
	switch {
	case !o.IsSet() || o.withheld:
		return nil
	case o.Kind == KindList:
		return o.Values()
	}
	return []string{o.Value.String()}
}

// TakeNamed sets the options of another set, which are those of one repository: as the
// command line of s says, else as the group of that name, else as s was set before. What of
// the name NamedOption sets is in the group only. found is false if there is no such group.
func (s *Set) TakeNamed(name string, to *Set) (found bool, err error) {
	var lines []optfile.Setting
	for _, line := range s.named.lines {
		if nameOf(line.Group) == name {
			lines = append(lines, line)
		}
	}
	if err := to.judgeNamed(s, lines); err != nil {
		return false, err
	}
	if err := to.takeLines(s, lines); err != nil {
		return false, err
	}
	for _, o := range to.all {
		from, _ := s.Find(o.Name)
		flagged := from != nil && from.given.source.Strength == ByFlag
		if o.Name == NamedOption || from == nil || o.IsSet() && !flagged {
			continue
		}
		if l, isList := o.Value.(*list); isList {
			*l = nil
		}
		for _, text := range from.given.texts {
			if err := o.Value.Set(text); err != nil {
				return false, Usagef("%s %v", hint.Option(o.Name), err)
			}
		}
		o.Source = from.given.source
	}
	if len(lines) > 0 && !to.IsSet(NamedOption) {
		return false, Usagef("%s: group [%s] does not say where the repository is: it needs a line %s=",
			Source{Strength: ByFile, Line: lines[0]}, lines[0].Group, NamedOption)
	}
	return len(lines) > 0, to.check()
}

// judgeNamed checks who may have written the lines of a group with a name.
func (s *Set) judgeNamed(main *Set, lines []optfile.Setting) error {
	for _, line := range lines {
		if from := main.named.opened[line.File]; from.others != "" {
			return Usagef("%s: %s, and so no repository may be described in it: only root and the user who runs mbk may; %s",
				Source{Strength: ByFile, Line: line}, from.others, from.advice)
		}
	}
	return nil
}

// takeLines sets options as the lines of a group say. The last line for an option wins; those
// of one that may be repeated add up.
func (s *Set) takeLines(main *Set, lines []optfile.Setting) error {
	for _, line := range lines {
		here := Source{Strength: ByFile, Line: line}
		o, off := s.Find(line.Name)
		if o == nil {
			if line.Loose {
				continue
			}
			return main.notNamed(here, line)
		}
		text, err := o.lineValue(line, off)
		if err == nil {
			err = o.Value.Set(text)
		}
		if err != nil {
			return Usagef("%s: %s %v", here, line.Name, err)
		}
		o.Source = here
	}
	return nil
}

// notNamed is the error of a line in a group with a name that sets no option of a repository.
func (s *Set) notNamed(here Source, line optfile.Setting) error {
	for _, other := range append([]*Set{s}, s.named.env.Others...) {
		if o, _ := other.Find(line.Name); o != nil {
			return Usagef("%s: option %s is not about a repository: set it in [%s] or in the group of a command",
				here, line.Name, ownGroup)
		}
	}
	return Usagef("%s: mbk has no option %q", here, line.Name)
}

// TakeSources notes that options were set where those of another set were, which has their
// values now.
func (s *Set) TakeSources(from *Set) {
	for _, o := range from.all {
		if mine, _ := s.Find(o.Name); mine != nil {
			mine.Source = o.Source
		}
	}
}
