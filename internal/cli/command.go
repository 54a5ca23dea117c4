package cli

import (
	"context"
	"errors"

	"mbk/internal/cli/options"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/ui"
)

// command is a command of mbk: its help, its options, and the function that runs it.
type command struct {
	name      string
	summary   string
	usage     string // its syntax
	examples  string // one per line; "" for none
	arguments string // their names in the help, "" for none
	hidden    bool
	changes   bool // it is an error if its result cannot be printed, even to a closed pipe
	routine   bool // it is run by timers: with --quiet it prints no result as text if all went well

	options *options.Set
	id      *string       // set to the only argument, the id of a backup; or "latest", if arguments has that
	noID    func() string // the option that was given in place of the id, "" if none; nil: there is none
	args    *[]string     // set to all arguments, if their number varies
	needs   []string      // options that it nearly always needs, besides the repository
	run     func(ctx context.Context) error
}

// bind returns a set with the options that the function adds.
func bind(bind func(*options.Set)) *options.Set {
	s := options.NewSet()
	bind(s)
	return s
}

// take sets the command's arguments.
func (c *command) take(args []string) error {
	switch {
	case c.args != nil:
		*c.args = args
	case c.noID != nil && c.noID() != "" && len(args) > 0:
		return usagef("mbk %s takes either an id or %s, but %q was given too", c.name, hint.Option(c.noID()), args[0])
	case c.noID != nil && c.noID() != "":
	case c.id != nil && len(args) == 0 && c.arguments == "ID":
		return usagef("mbk %s needs the id of a backup%s", c.name, c.missing())
	case c.id != nil && len(args) == 0:
		return usagef("mbk %s needs the id of a backup, or \"latest\"%s", c.name, c.missing())
	case c.id != nil && len(args) > 1:
		return usagef("mbk %s takes one id, but %q was given too", c.name, args[1])
	case c.id != nil:
		*c.id = args[0]
	case len(args) > 0:
		return usagef("mbk %s takes no argument, but %q was given", c.name, args[0])
	}
	return nil
}

// missing names the options that are missing too, ", and --repo and --target", so that one
// call is enough to learn of them.
func (c *command) missing() hint.Text {
	var names []hint.Text
	for _, name := range append([]string{options.NamedOption}, c.needs...) {
		if o, _ := c.options.Find(name); o != nil && !o.IsSet() {
			names = append(names, hint.Option(name))
		}
	}
	if len(names) == 0 {
		return ""
	}
	return ", and " + hint.Join(names, " and ")
}

// Headings of options in the help.
const (
	categoryRare         = "Rarely needed"
	categoryIncrements   = "Increments"
	categoryRecords      = "Records"
	categoryOutput       = "Output"
	categoryNotification = "Notification"
	categoryHooks        = "Hooks"
	categoryIntoServer   = "Tables into a running server"
	categoryFilter       = "Filter (* and ? are wildcards; each may be repeated)"
	categoryS3           = "S3 repositories"
	categorySFTP         = "SFTP repositories"
	categoryConnection   = "Connection (as in MariaDB's own programs)"
	categoryFiles        = "Option files (as in MariaDB's own programs)"
)

// outputOptions adds the options of commands that print a result.
func outputOptions(s *options.Set, u *ui.UI) {
	s = s.In(categoryOutput)
	s.Bool(&u.JSON, "json", "print the result as one JSON document")
	s.String(&u.JQ, "jq", "", "print what `FILTER` makes of that document, in the language of jq")
	s.Bool(&u.Quiet, "quiet", "no progress, no notes, and no result of what only did its work; only what is wrong").
		WithShort("q")
	s.Bool(&u.Verbose, "verbose", "tell more on stderr").WithShort("v")
	s.String(&u.LogFormat, "log-format", "",
		"write what goes to stderr as `FORMAT`: text or json (default: as --progress)")
	s.String(&u.LogFile, "log-file", "", "append messages, the log and the steps to `FILE`, too")
}

// progressOptions adds the options of commands that take long.
func progressOptions(s *options.Set, u *ui.UI) {
	outputOptions(s, u)
	s.In(categoryOutput).String(&u.Progress, "progress", "auto",
		"show progress on stderr as `KIND`: auto, bar, plain, json or none")
}

// fileOptions adds the options that choose option files.
func fileOptions(s *options.Set) { s.In(categoryFiles).Files() }

// maxThreads limits --threads, because each thread has buffers.
const maxThreads = 1024

// threadsOption adds --threads. mariadb-backup and others call it --parallel.
func threadsOption(s *options.Set, threads *int, usage string) {
	s.Int(threads, "threads", 0, usage).WithAlias("parallel").AtMost(maxThreads)
}

// configError is an error about what an option names, such as a missing folder. The call
// itself was understood.
type configError struct{ error }

func (e *configError) Unwrap() error { return e.error }

// Fault says that what the option names must be changed, unless it is damaged.
func (e *configError) Fault() fault.Kind { return max(fault.Config, fault.Of(e.error)) }

func usagef(format string, args ...any) error { return options.Usagef(format, args...) }

// isUsage reports whether an error is a mistake in the call.
func isUsage(err error) bool {
	var usage *options.UsageError
	return errors.As(err, &usage)
}
