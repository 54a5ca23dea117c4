package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mbk/internal/cli/options"
)

// The manual page is made here and not by a library. Those of cobra and urfave/cli lack
// exit codes, environment and files, which are what a DBA looks up in a manual page, and
// repeat the connection options for every command.

// manCommand is hidden: packages are made with it.
func manCommand(p *program) *command {
	return &command{
		name: "man", summary: "print the manual page, for man(1)", hidden: true,
		usage: "mbk man", examples: "mbk man | man -l -", options: options.NewSet(),
		run: func(context.Context) error {
			_, err := fmt.Fprint(p.ui.Stdout, manPage(visible(p.commands)))
			return err
		},
	}
}

// manPage returns the manual page mbk(1) in the macros of man(7). It is made from the
// same texts as the help. It has no date, so that a build is reproducible.
func manPage(commands []*command) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".TH MBK 1 \"\" %s \"\"\n", roffWord(tool()))
	b.WriteString(".nh\n.ad l\n") // do not break names of options
	fmt.Fprintf(&b, ".SH NAME\nmbk \\- %s\n", roff(summary))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B mbk\n%s\n", roff(strings.TrimPrefix(usage, "mbk ")))
	b.WriteString(`.SH DESCRIPTION
.B mbk
takes hot physical backups of a MariaDB server on the machine of its data directory, keeps them in a repository,
proves that they restore, and restores them.
.PP
Options may stand before or after the arguments. Durations are written as 90s, 2m30s or 500ms; a number alone is
seconds. An id of a backup may be shortened as long as it is unambiguous;
.I latest
is the newest one.
.SH COMMANDS
`)
	shared := []string{categoryConnection, categoryFiles, categoryOutput}
	for _, c := range commands {
		b.WriteString(manSection(c, shared))
	}
	for _, category := range shared {
		b.WriteString(".SH " + roffWord(strings.ToUpper(shortCategory(category))+" OPTIONS") + "\n")
		var all []*options.Option
		for _, c := range commands {
			for _, o := range inCategory(c.options.Options(), category) {
				if !slices.ContainsFunc(all, func(other *options.Option) bool { return other.Name == o.Name }) {
					all = append(all, o)
				}
			}
		}
		b.WriteString(manOptions(all))
	}
	b.WriteString(manEnd)
	return b.String()
}

// manSection describes one command. Shared options have a section of their own.
func manSection(c *command, shared []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".SS %s\n.B %s\n.PP\n%s\n", roffWord("mbk "+c.name), roff(c.usage), roff(sentence(c.summary)))
	if c.examples != "" {
		fmt.Fprintf(&b, ".PP\n.nf\n.RS\n%s\n.RE\n.fi\n", roff(c.examples))
	}
	var also []string
	for _, category := range categories(c.options.Options()) {
		all := inCategory(c.options.Options(), category)
		switch {
		case slices.Contains(shared, category):
			for _, o := range all {
				also = append(also, roff("--"+o.Name))
			}
		case category == "":
			b.WriteString(manOptions(all))
		default:
			fmt.Fprintf(&b, ".PP\n%s:\n%s", roff(category), manOptions(all))
		}
	}
	if len(also) > 0 {
		fmt.Fprintf(&b, ".PP\nAnd, explained below: %s.\n", strings.Join(also, ", "))
	}
	return b.String()
}

// manOptions describes options.
func manOptions(all []*options.Option) string {
	var b strings.Builder
	for _, o := range all {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(strings.TrimSpace(optionName(o))), roff(sentence(optionText(o))))
	}
	return b.String()
}

// manEnd has the sections about all commands.
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
Every option may be set by a variable: its name in capitals after MBK_, with underscores, such as
.BR MBK_REPO ,
.B MBK_LOCK_WAIT
or
.BR MBK_PASSWORD .
The command line wins over the environment, the environment over option files.
.SH FILES
.TP
.IR /etc/my.cnf ", " /etc/mysql/my.cnf ", " /etc/mbk/mbk.cnf ", " ~/.my.cnf
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

// sentence returns a text with its first letter in upper case and an end.
func sentence(text string) string {
	if text == "" {
		return text
	}
	if !strings.HasSuffix(text, "?") {
		text += "."
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// roff escapes a text for the formatter. Hyphens become minus signs, because any of them
// may be part of a name.
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

// roffWord returns a text as one argument of a macro.
func roffWord(text string) string { return `"` + strings.ReplaceAll(roff(text), `"`, `\(dq`) + `"` }
