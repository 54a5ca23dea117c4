package cli

import (
	"cmp"
	"context"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"mbk/internal/cli/options"
)

func configCommand(p *program) *command {
	return &command{
		name: "config", summary: "print the options of a command, and where each was set",
		usage:    "mbk config [COMMAND] [OPTIONS OF THE COMMAND]",
		examples: "mbk config\nmbk config restore --target /var/lib/mysql --json", arguments: "[COMMAND]",
		options: bind(func(s *options.Set) {
			outputOptions(s, p.ui)
			fileOptions(s)
		}),
	}
}

// explained returns the command that a call of "config" is about, changed so that it only
// prints its options, and its arguments.
func (p *program) explained(args []string) (*command, []string) {
	about, rest := p.find("backup"), slices.Clone(args)
	for i := 0; i < len(rest); i++ {
		if strings.HasPrefix(rest[i], "-") {
			if p.valueFollows(rest[i]) {
				i++
			}
			continue
		}
		if c := p.find(rest[i]); c != nil && c.name != "config" {
			about, rest = c, slices.Delete(rest, i, i+1)
		}
		break
	}
	var arguments []string
	about.changes, about.id, about.args = false, nil, &arguments
	about.run = func(context.Context) error {
		if len(arguments) > 0 {
			return usagef("mbk config takes the name of one command and its options, not %q", arguments[0])
		}
		return p.printConfig()
	}
	return about, rest
}

// configDocument is what "config --json" prints.
type configDocument struct {
	Command string         `json:"command"`
	Options []configOption `json:"options"`
}

// configOption is an option and its value. The value is as one would write it,
// "" if the default is none; secrets are masked.
type configOption struct {
	Name     string   `json:"name"`
	Value    string   `json:"value"`
	Values   []string `json:"values,omitempty"` // of an option that may be repeated
	Source   string   `json:"source"`           // default, file, variable or flag
	Variable string   `json:"variable,omitempty"`
	File     string   `json:"file,omitempty"`
	Line     int      `json:"line,omitempty"`
	Group    string   `json:"group,omitempty"`
}

// printConfig prints the options of the command and where each was set.
func (p *program) printConfig() error {
	d := configDocument{Command: p.command.name}
	lines := []string{"OPTION\tVALUE\tFROM"}
	var sets []*options.Set
	for _, c := range p.commands {
		sets = append(sets, c.options)
	}
	for _, o := range p.command.options.Options() {
		one := explain(o)
		d.Options = append(d.Options, one)
		from := o.Source.String()
		if one.Group != "" {
			from += " [" + one.Group + "]"
		}
		lines = append(lines, one.Name+"\t"+cmp.Or(one.Value, "-")+"\t"+from)
	}
	// The password of the mail account has a variable but no option.
	for _, name := range options.UnknownVariables(sets, []string{mailPasswordVariable}, os.Environ()) {
		p.ui.Note("$%s is set, but no command has such an option", name)
	}
	return p.ui.Result(d, func() error { return p.ui.Rows(lines) })
}

// explain returns the value of an option and where it was set.
func explain(o *options.Option) configOption {
	from := o.Source
	one := configOption{
		Name: o.Name, Source: [...]string{"default", "file", "variable", "flag"}[from.Strength],
		Variable: from.Variable, File: from.Line.File, Line: from.Line.Line, Group: from.Line.Group,
	}
	switch {
	case o.Kind == options.KindList:
		for _, value := range o.Values() {
			one.Values = append(one.Values, masked(o.Name, value))
		}
		one.Value = strings.Join(one.Values, " ")
	case o.Name == options.PasswordOption && o.IsSet():
		one.Value = mask
	case o.Name == encryptOption && !o.IsSet(): // the default depends on the server
	default:
		one.Value = masked(o.Name, o.Shown())
	}
	return one
}

// mask replaces a secret.
const mask = "***"

// masked returns the value of an option without its secrets.
func masked(name, text string) string {
	secretive := regexp.MustCompile(`(?i)(password|passwd|secret|token|key)$`)
	if text != "" && secretive.MatchString(name) && !strings.HasPrefix(name, "ssl-") {
		return mask
	}
	if u, err := url.Parse(text); err == nil && u.Scheme != "" && u.Host != "" {
		if strings.Contains(name, "webhook") { // anybody who knows the URL may use it
			return u.Scheme + "://" + u.Host + "/" + mask
		}
		return strings.Replace(u.Redacted(), ":xxxxx@", ":"+mask+"@", 1)
	}
	program, arguments, found := strings.Cut(text, " ")
	if found && strings.HasPrefix(name, "hook-") && strings.TrimSpace(arguments) != "" {
		return program + " " + mask // they may hold anything
	}
	inner := regexp.MustCompile(`(?i)^(--[a-z_-]*(?:password|passwd|secret|token|key)=).*`) // an option of mariadbd
	return inner.ReplaceAllString(text, "${1}"+mask)
}
