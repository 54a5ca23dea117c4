package cli

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

// categoryRare is for options of a command that most calls do without.
const categoryRare = "Rarely needed"

// helpWidth is the number of columns that help texts keep to.
const helpWidth = 80

const exitStatus = `
EXIT STATUS
   0 done   1 failed   2 bad usage or configuration   3 damage found
   4 server busy, try again   130 interrupted
`

// appHelp is the template of the program's help.
const appHelp = `mbk {{.Version}}: {{.Usage}}

USAGE
   {{.UsageText}}

EXAMPLES
   mbk check --repo /backup/db1
   mbk backup --repo /backup/db1
   mbk verify latest --repo /backup/db1 --depth boot
   mbk restore latest --repo /backup/db1 --target /var/lib/mysql

COMMANDS{{range .VisibleCommands}}
   {{printf "%-11s" .Name}} {{.Usage}}{{end}}

   "mbk COMMAND --help" lists the options of a command, --help-all explains all
   of them. Each may also be set by a variable, such as MBK_REPO, or in group
   [mbk] or [mbk-COMMAND] of an option file; "mbk config" shows what is set.
` + exitStatus

// The two options that print the help of a command. They are in no table of
// flags, because they are none of its own.
const (
	helpOption    = "--help"
	helpAllOption = "--help-all"
)

// helpWanted returns the help of a command if that is what a call asks for.
func helpWanted(app *cli.App, args []string) (text string, wanted bool) {
	if len(args) == 2 && args[0] == "help" {
		args = []string{args[1], helpOption}
	}
	if len(args) < 2 || app.Command(args[0]) == nil {
		return "", false
	}
	for _, arg := range args[1:] {
		switch arg {
		case "--":
			return "", false
		case helpOption, "-h", helpAllOption:
			return commandHelp(app.Command(args[0]), arg == helpAllOption), true
		}
	}
	return "", false
}

// commandHelp is the help of a command. The short one explains what only this
// command has, and names the rest, so that it fits a screen; all explains that
// too. The flag library's own layout neither keeps to a width nor to the order of
// the flags.
func commandHelp(c *cli.Command, all bool) string {
	var b strings.Builder
	usage, examples, _ := strings.Cut(c.UsageText, "\n\n")
	fmt.Fprintf(&b, "mbk %s: %s\n\nUSAGE\n   %s\n", c.Name, c.Usage, usage)
	if examples != "" {
		fmt.Fprintf(&b, "\nEXAMPLES\n   %s\n", strings.ReplaceAll(examples, "\n", "\n   "))
	}
	more := categories(c.Flags)
	if own := inCategory(c.Flags, ""); len(own) > 0 {
		fmt.Fprintf(&b, "\nOPTIONS\n%s", explained(own))
		more = slices.DeleteFunc(more, func(name string) bool { return name == "" })
	}
	if all {
		for _, category := range more {
			fmt.Fprintf(&b, "\n%s\n%s", strings.ToUpper(category), explained(inCategory(c.Flags, category)))
		}
	} else if len(more) > 0 {
		fmt.Fprintf(&b, "\nMORE OPTIONS, explained by \"mbk %s %s\"\n", c.Name, helpAllOption)
		width := 0
		for _, category := range more {
			width = max(width, len(shortCategory(category)))
		}
		for _, category := range more {
			names := briefly(inCategory(c.Flags, category), width+5)
			fmt.Fprintf(&b, "   %-*s  %s", width, shortCategory(category), strings.TrimLeft(names, " "))
		}
	}
	b.WriteString(exitStatus)
	return b.String()
}

// shortCategory is a heading without what explains it.
func shortCategory(category string) string {
	name, _, _ := strings.Cut(category, " (")
	return name
}

// inCategory are the flags below a heading.
func inCategory(flags []cli.Flag, category string) []cli.Flag {
	return slices.DeleteFunc(slices.Clone(flags), func(f cli.Flag) bool { return categoryOf(f) != category })
}

// categories lists the headings in the order in which flags first have them.
func categories(flags []cli.Flag) []string {
	var all []string
	for _, f := range flags {
		if name := categoryOf(f); !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// categoryOf is a flag's heading, "" for the options of its command alone.
func categoryOf(f cli.Flag) string {
	if c, ok := f.(cli.CategorizableFlag); ok {
		return c.GetCategory()
	}
	return ""
}

// briefly names options.
func briefly(flags []cli.Flag, indent int) string {
	var all []string
	for _, f := range flags {
		name := optionName(f)
		if value, _ := placeholder(usageOf(f)); value != "" {
			name = strings.TrimSuffix(name, " "+value)
		}
		// What belongs together is not broken.
		all = append(all, strings.ReplaceAll(strings.TrimSpace(name), " ", "\u00a0"))
	}
	return strings.ReplaceAll(wrap(strings.Join(all, "  "), indent), "\u00a0", " ")
}

// explained gives every option its line: name, text, default.
func explained(flags []cli.Flag) string {
	const most = 28 // columns for the names; a longer one gets a line of its own
	width := 0
	for _, f := range flags {
		if n := len(optionName(f)); n <= most {
			width = max(width, n)
		}
	}
	indent := 3 + width + 2
	var b strings.Builder
	for _, f := range flags {
		name, text := optionName(f), wrap(optionText(f), indent)
		if len(name) <= width {
			fmt.Fprintf(&b, "   %-*s  %s", width, name, strings.TrimLeft(text, " "))
		} else {
			fmt.Fprintf(&b, "   %s\n%s", name, text)
		}
	}
	return b.String()
}

// optionName is "-S, --socket FILE", or "    --datadir FOLDER" for an option
// without a short name.
func optionName(f cli.Flag) string {
	name := "    "
	if short := shortName(f); short != "" {
		name = "-" + short + ", "
	}
	name += "--" + strings.Join(longNames(f), ", --")
	switch f.Names()[0] {
	case passwordOption:
		return name + "[=WORD]" // as in MariaDB's own programs
	case historyTableOption:
		return name + "[=TABLE]"
	case encryptOption:
		return "    --[skip-]" + encryptOption
	}
	if value, _ := placeholder(usageOf(f)); value != "" {
		name += " " + value
	}
	return name
}

// usageOf is a flag's text, the name of its value in backquotes.
func usageOf(f cli.Flag) string {
	if d, ok := f.(cli.DocGenerationFlag); ok {
		return d.GetUsage()
	}
	return ""
}

// optionText is what an option does, and its default where that is something.
func optionText(f cli.Flag) string {
	_, text := placeholder(usageOf(f))
	switch f := f.(type) {
	case *cli.StringFlag:
		if f.Value != "" {
			text += " (default: " + f.Value + ")"
		}
	case *cli.DurationFlag:
		if f.Value != 0 {
			text += " (default: " + shortDuration(f.Value) + ")"
		}
	}
	return text
}

// shortDuration is "1m" where the standard library says "1m0s".
func shortDuration(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
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

// wrap breaks a text of the help into lines.
func wrap(text string, indent int) string { return wrapTo(text, indent, helpWidth) }

// wrapTo breaks a text into lines of so many columns, each indented. Two spaces
// are kept.
func wrapTo(text string, indent, width int) string {
	var b strings.Builder
	margin := strings.Repeat(" ", indent)
	line := ""
	for _, word := range strings.SplitAfter(text, " ") {
		if line != "" && indent+len(line)+len(strings.TrimRight(word, " ")) > width {
			fmt.Fprintf(&b, "%s%s\n", margin, strings.TrimRight(line, " "))
			line = ""
		}
		if line == "" {
			word = strings.TrimLeft(word, " ")
		}
		line += word
	}
	fmt.Fprintf(&b, "%s%s\n", margin, strings.TrimRight(line, " "))
	return b.String()
}
