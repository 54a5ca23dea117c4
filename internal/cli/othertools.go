package cli

import (
	_ "embed"
	"regexp"
	"slices"
	"strings"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/input/nearest"
)

// otherTools is a list of what other tools call their commands and options.
//
//go:embed othertools.txt
var otherTools string

// codeOf finds what is in backquotes in the list.
var codeOf = regexp.MustCompile("`([^`]*)`")

// elsewhere says what does here what the name of a command or an option ("--" and its name)
// stands for in another tool; "" if the list has no such name.
func elsewhere(name string) string {
	tool, name := "", strings.ReplaceAll(name, "_", "-")
	for line := range strings.Lines(otherTools) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			tool = strings.Trim(line, "[]")
			continue
		}
		known, here, found := strings.Cut(line, "\t")
		prefix, any := strings.CutSuffix(known, "*")
		if !found || strings.HasPrefix(line, "#") || known != name && !(any && strings.HasPrefix(name, prefix)) {
			continue
		}
		return tool + "'s " + name + ": " + codeOf.ReplaceAllStringFunc(here, func(code string) string {
			code = strings.Trim(code, "`")
			if strings.HasPrefix(code, "mbk ") {
				return `"` + code + `"`
			}
			return code
		})
	}
	return ""
}

// commandAdvice says which command may be meant by one that does not exist.
func (p *program) commandAdvice(word string) []hint.Text {
	if here := elsewhere(word); here != "" {
		return hint.Plain(here)
	}
	var names []string
	for _, c := range visible(p.commands) {
		names = append(names, c.name)
	}
	return didYouMean(nearest.Names(word, names), "mbk ")
}

// optionAdvice says which option may be meant by one that a command does not have. The
// command is nil if none is named.
func (p *program) optionAdvice(c *command, name string) []hint.Text {
	if here := elsewhere(options.Spelled(name)); here != "" {
		return hint.Plain(here)
	}
	var having, names []string
	for _, other := range visible(p.commands) {
		if o, _ := other.options.Find(name); o != nil {
			having = append(having, "mbk "+other.name)
		}
		if c == nil || other == c {
			for _, o := range other.options.Options() {
				names = append(names, o.LongNames()...)
			}
		}
	}
	if len(having) > 0 && len(having) <= nearest.Most {
		return hint.Plain(options.Spelled(name) + " is an option of " + strings.Join(having, ", "))
	}
	slices.Sort(names)
	return didYouMean(nearest.Names(name, slices.Compact(names)), "--")
}

// didYouMean asks for the names, each with a prefix, nil if there are none.
func didYouMean(names []string, prefix string) []hint.Text {
	if len(names) == 0 {
		return nil
	}
	return hint.Plain("did you mean " + prefix + strings.Join(names, " or "+prefix) + "?")
}
