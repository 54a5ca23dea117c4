package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// manCommand is hidden: packages are made with it.
func manCommand(env Env) *cli.Command {
	return &cli.Command{
		Name: "man", Usage: "print the manual page, for man(1)", Hidden: true,
		UsageText: "mbk man\n\nmbk man | man -l -",
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			_, err := fmt.Fprint(env.Stdout, manPage(c.App))
			return err
		},
	}
}

// manPage is the manual page mbk(1) in the macros of man(7), made from what the
// help is made from. It has no date, so that the same program always has the
// same page.
func manPage(app *cli.App) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH MBK 1 \"\" %s \"\"\n", roffWord("mbk "+app.Version))
	b.WriteString(".nh\n.ad l\n") // names of options are not to be broken
	fmt.Fprintf(&b, ".SH NAME\nmbk \\- %s\n", roff(app.Usage))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B mbk\n%s\n", roff(strings.TrimPrefix(app.UsageText, "mbk ")))
	b.WriteString(`.SH DESCRIPTION
.B mbk
takes hot physical backups of a MariaDB server on the machine of its data directory, keeps them in a repository,
proves that they restore, and restores them.
.PP
Options may stand before or behind the arguments. Durations are written as 90s, 2m30s or 500ms; a number alone is
seconds. An id of a backup may be shortened as long as it is unambiguous;
.I latest
is the newest one.
.SH COMMANDS
`)
	shared := []string{categoryConnection, categoryOutput}
	for _, command := range app.VisibleCommands() {
		b.WriteString(manSection(command, shared))
	}
	for _, category := range shared {
		b.WriteString(".SH " + roffWord(strings.ToUpper(shortCategory(category))+" OPTIONS") + "\n")
		var flags []cli.Flag
		for _, command := range app.VisibleCommands() {
			for _, f := range inCategory(command.Flags, category) {
				if !slices.ContainsFunc(flags, func(g cli.Flag) bool { return g.Names()[0] == f.Names()[0] }) {
					flags = append(flags, f)
				}
			}
		}
		b.WriteString(manOptions(flags))
	}
	b.WriteString(manEnd)
	return b.String()
}

// manSection is what the page says of one command. Options that all commands
// share have a section of their own.
func manSection(command *cli.Command, shared []string) string {
	var b strings.Builder
	usage, examples, _ := strings.Cut(command.UsageText, "\n\n")
	fmt.Fprintf(&b, ".SS %s\n.B %s\n.PP\n%s.\n", roffWord("mbk "+command.Name), roff(usage), roff(sentence(command.Usage)))
	if examples != "" {
		fmt.Fprintf(&b, ".PP\n.nf\n.RS\n%s\n.RE\n.fi\n", roff(examples))
	}
	var also []string
	for _, category := range categories(command.Flags) {
		flags := inCategory(command.Flags, category)
		switch {
		case slices.Contains(shared, category):
			for _, f := range flags {
				also = append(also, roff("--"+f.Names()[0]))
			}
		case category == "":
			b.WriteString(manOptions(flags))
		default:
			fmt.Fprintf(&b, ".PP\n%s:\n%s", roff(category), manOptions(flags))
		}
	}
	if len(also) > 0 {
		fmt.Fprintf(&b, ".PP\nAnd, explained below: %s.\n", strings.Join(also, ", "))
	}
	return b.String()
}

// manOptions is a list of options with what they do.
func manOptions(flags []cli.Flag) string {
	var b strings.Builder
	for _, f := range flags {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s.\n", roff(strings.TrimSpace(optionName(f))), roff(sentence(optionText(f))))
	}
	return b.String()
}

// manEnd are the sections that are about all commands.
const manEnd = `.SH EXIT STATUS
.TP
0
Done.
.TP
1
Failed.
.TP
2
Bad usage or configuration; trying again does not help.
.TP
3
Damage found, in the source or in a backup.
.TP
4
The server or the repository is busy; try again.
.TP
130
Interrupted by a signal.
.SH ENVIRONMENT
Every option may be set by a variable: its name in capitals behind MBK_, with underscores, such as
.BR MBK_REPO ,
.B MBK_LOCK_WAIT
or
.BR MBK_PASSWORD .
The command line wins over the environment, the environment over option files.
.SH FILES
.TP
.IR /etc/my.cnf ", " /etc/mysql/my.cnf ", " ~/.my.cnf
Option files, read as by MariaDB's own programs. Connection options are taken from the groups
.BR [client] ,
.B [client-server]
and
.BR [client-mariadb] ,
all options from
.B [mbk]
and
.BR [mbk-COMMAND] .
.B mbk config
shows what is set where.
.SH SEE ALSO
.BR mariadbd (8),
.BR mariadb (1),
.BR mariadb-binlog (1)
`

// sentence begins a text with a capital letter, unless it begins with a name.
func sentence(text string) string {
	if text == "" || strings.ToUpper(text[:1]) == text[:1] {
		return text
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// roff protects a text from the formatter. Hyphens are minus signs, as all of
// them may be part of a name.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "\u00a0", `\ `).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}

// roffWord is a text as one argument of a macro.
func roffWord(text string) string { return `"` + strings.ReplaceAll(roff(text), `"`, `\(dq`) + `"` }
