package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mbk/internal/cli/options"
	"mbk/internal/ui"
)

// The help of a command is formatted here and not by a template of urfave/cli. Its
// templates print all options of a command at once, sorted by name. "mbk backup" has more
// than sixty, most of them shared with other commands: so the short help explains only its
// own and lists the others, which fits on a screen of 80 columns.

// helpWidth is the width of help texts in columns.
const helpWidth = 80

const exitStatus = `
EXIT STATUS
   0 done   1 failed   2 bad usage or configuration   3 damage found
   4 server busy, try again   5 a copy is missing   130 interrupted
`

// summary describes mbk.
const summary = "hot physical backups of MariaDB, each one proven to restore"

// usage is the syntax of a call.
const usage = "mbk COMMAND [OPTIONS] [ARGUMENTS]"

// programHelp is the template of the help of the program.
const programHelp = `mbk {{.Version}}: {{.Usage}}

USAGE
   {{.UsageText}}

EXAMPLES
   mbk check --repo /backup/db1
   mbk backup --repo /backup/db1
   mbk verify latest --repo /backup/db1 --depth boot
   mbk restore latest --repo /backup/db1 --target /var/lib/mysql

COMMANDS
{{range .VisibleCommands}}   {{printf "%-11s %s" .Name .Usage}}
{{end}}
   "mbk COMMAND --help" lists the options of a command, --help-all explains all
   of them. Each may also be set by a variable, such as MBK_REPO, or in group
   [mbk] or [mbk-COMMAND] of an option file; "mbk config" shows what is set.
` + exitStatus

// help returns the help of the program.
func (p *program) help() string {
	var b strings.Builder
	cli.HelpPrinter(&b, programHelp, p.app())
	return b.String()
}

// visible returns the commands that the help shows.
func visible(commands []*command) []*command {
	return slices.DeleteFunc(slices.Clone(commands), func(c *command) bool { return c.hidden })
}

// The two options that print the help of a command. They are in no set of options.
const (
	helpOption    = "--help"
	helpAllOption = "--help-all"
)

// helpWanted returns the help or the version if a call asks for it.
func (p *program) helpWanted(args []string) (text string, wanted bool) {
	if len(args) == 0 {
		return p.help(), true
	}
	switch args[0] {
	case "help", helpOption, "-h":
		if len(args) == 1 {
			return p.help(), true
		}
		if args[0] == "help" {
			args = []string{args[1], helpOption}
		}
	case "version", "--version", "-V", "-v":
		return "mbk version " + Version + "\n", true
	}
	c := p.find(args[0])
	if c == nil {
		return "", false
	}
	for _, arg := range args[1:] {
		switch arg {
		case "--":
			return "", false
		case helpOption, "-h", helpAllOption:
			return commandHelp(c, arg == helpAllOption), true
		}
	}
	return "", false
}

// commandHelp returns the help of a command. all explains every option, otherwise only
// those that other commands do not share.
func commandHelp(c *command, all bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "mbk %s: %s\n\nUSAGE\n   %s\n", c.name, c.summary, c.usage)
	if c.examples != "" {
		fmt.Fprintf(&b, "\nEXAMPLES\n   %s\n", strings.ReplaceAll(c.examples, "\n", "\n   "))
	}
	more := categories(c.options.Options())
	if own := inCategory(c.options.Options(), ""); len(own) > 0 {
		fmt.Fprintf(&b, "\nOPTIONS\n%s", explained(own))
		more = slices.DeleteFunc(more, func(name string) bool { return name == "" })
	}
	if all {
		for _, category := range more {
			fmt.Fprintf(&b, "\n%s\n%s", strings.ToUpper(category), explained(inCategory(c.options.Options(), category)))
		}
	} else if len(more) > 0 {
		fmt.Fprintf(&b, "\nMORE OPTIONS, explained by \"mbk %s %s\"\n", c.name, helpAllOption)
		width := 0
		for _, category := range more {
			width = max(width, len(shortCategory(category)))
		}
		for _, category := range more {
			names := briefly(inCategory(c.options.Options(), category), width+5)
			fmt.Fprintf(&b, "   %-*s  %s", width, shortCategory(category), strings.TrimLeft(names, " "))
		}
	}
	b.WriteString(exitStatus)
	return b.String()
}

// shortCategory returns a heading without its explanation.
func shortCategory(category string) string {
	name, _, _ := strings.Cut(category, " (")
	return name
}

// inCategory returns the options under a heading.
func inCategory(all []*options.Option, category string) []*options.Option {
	return slices.DeleteFunc(slices.Clone(all), func(o *options.Option) bool { return o.Category != category })
}

// categories returns the headings in the order of their first option.
func categories(all []*options.Option) []string {
	var names []string
	for _, o := range all {
		if !slices.Contains(names, o.Category) {
			names = append(names, o.Category)
		}
	}
	return names
}

// briefly lists the names of options.
func briefly(all []*options.Option, indent int) string {
	var names []string
	for _, o := range all {
		name := optionName(o)
		if o.Placeholder != "" {
			name = strings.TrimSuffix(name, " "+o.Placeholder)
		}
		// Do not break a line within an option.
		names = append(names, strings.ReplaceAll(strings.TrimSpace(name), " ", "\u00a0"))
	}
	return strings.ReplaceAll(ui.Wrap(strings.Join(names, "  "), indent, helpWidth), "\u00a0", " ")
}

// explained describes options, one per line: name, text, default.
func explained(all []*options.Option) string {
	const most = 28 // columns for the names; a longer one gets a line of its own
	width := 0
	for _, o := range all {
		if n := len(optionName(o)); n <= most {
			width = max(width, n)
		}
	}
	indent := 3 + width + 2
	var b strings.Builder
	for _, o := range all {
		name, text := optionName(o), ui.Wrap(optionText(o), indent, helpWidth)
		if len(name) <= width {
			fmt.Fprintf(&b, "   %-*s  %s", width, name, strings.TrimLeft(text, " "))
		} else {
			fmt.Fprintf(&b, "   %s\n%s", name, text)
		}
	}
	return b.String()
}

// optionName returns "-S, --socket FILE", or "    --datadir FOLDER" for an option without
// a short name.
func optionName(o *options.Option) string {
	name := "    "
	if o.Short() != "" {
		name = "-" + o.Short() + ", "
	}
	name += "--" + strings.Join(o.LongNames(), ", --")
	switch {
	case o.Name == options.PasswordOption:
		return name + "[=WORD]" // as in MariaDB's own programs
	case o.Name == encryptOption:
		return "    --[skip-]" + encryptOption
	case o.Placeholder != "" && !o.TakesWord():
		return name + "[=" + o.Placeholder + "]"
	case o.Placeholder != "":
		return name + " " + o.Placeholder
	}
	return name
}

// optionText returns what an option does, and its default.
func optionText(o *options.Option) string {
	if o.DefaultText == "" {
		return o.Text
	}
	return o.Text + " (default: " + o.DefaultText + ")"
}
