package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"mbk/internal/ui/printable"
)

// errFindings is the error of a command whose output has said already what was
// found damaged.
var errFindings = errors.New("damage was found")

const categoryOutput = "Output"

// outputFlags are those of every command.
func outputFlags() []cli.Flag {
	return []cli.Flag{
		&cli.BoolFlag{Name: "json", Category: categoryOutput, Usage: "print the result as one JSON document"},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Category: categoryOutput, Usage: "no progress and no notes; only the result and what is wrong"},
		&cli.BoolFlag{Name: "verbose", Aliases: []string{"v"}, Category: categoryOutput, Usage: "tell more on stderr"},
		&cli.StringFlag{Name: "log-format", Category: categoryOutput, Usage: "write what goes to stderr as `FORMAT`: text or json (default: as --progress)"},
	}
}

// progressFlags are those of commands that take long.
func progressFlags() []cli.Flag {
	return append(outputFlags(),
		&cli.StringFlag{Name: "progress", Value: "auto", Category: categoryOutput, Usage: "show progress on stderr as `KIND`: auto, bar, plain, json or none"})
}

// document prints a value as indented JSON.
func document(env Env, v any) error {
	enc := json.NewEncoder(env.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// messages is how a run of mbk talks on stderr.
type messages struct{ json bool }

// inJSON reports whether a command talks in lines of JSON.
func inJSON(c *cli.Context) (bool, error) {
	switch format := c.String("log-format"); format {
	case "":
		return c.String("progress") == "json", nil
	case "text", "json":
		return format == "json", nil
	default:
		return false, usagef("--log-format is text or json, not %q", format)
	}
}

// inJSONPerhaps guesses the same of a call that is not yet understood, for the
// error that it may turn out to be.
func inJSONPerhaps(env Env) bool {
	args := strings.ReplaceAll(strings.Join(env.Args, "\n"), "=", "\n") + "\n"
	return env.Getenv(variable("log-format")) == "json" || env.Getenv(variable("progress")) == "json" ||
		strings.Contains(args, "--log-format\njson\n") || strings.Contains(args, "--progress\njson\n")
}

// tell writes a message for the operator: a note, a warning, an error or a hint.
func tell(env Env, kind, text string) {
	text = printable.Text(strings.ReplaceAll(text, "\n", "; "))
	switch {
	case env.messages.json:
		_ = json.NewEncoder(env.Stderr).Encode(message{Time: time.Now().UTC(), Event: kind, Text: text}) // whom to tell?
	case kind == messageNote:
		fmt.Fprintln(env.Stderr, "mbk:", text)
	default:
		fmt.Fprintf(env.Stderr, "mbk: %s: %s\n", kind, text)
	}
}

// say tells a note, unless nobody wants one.
func say(env Env, c *cli.Context, format string, args ...any) {
	if !c.Bool("quiet") {
		tell(env, messageNote, fmt.Sprintf(format, args...))
	}
}

// warn tells a warning, quiet or not.
func warn(env Env, text string) { tell(env, messageWarning, text) }

// warnOf prints an error as a warning, with its advice.
func warnOf(env Env, err error) {
	warn(env, err.Error())
	for _, step := range advice(env, err) {
		tell(env, messageHint, step)
	}
}

// logger makes the log that the packages below write to stderr.
func logger(env Env, c *cli.Context) *slog.Logger {
	o := &slog.HandlerOptions{Level: slog.LevelWarn}
	if c.Bool("verbose") {
		o.Level = slog.LevelDebug
	}
	if !env.messages.json {
		return slog.New(slog.NewTextHandler(env.Stderr, o))
	}
	o.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
		switch {
		case len(groups) > 0:
		case a.Key == slog.MessageKey:
			a.Key = "text"
		case a.Key == slog.TimeKey:
			a.Value = slog.TimeValue(a.Value.Time().UTC())
		}
		return a
	}
	return slog.New(slog.NewJSONHandler(env.Stderr, o)).With("event", messageLog).WithGroup("fields")
}

// rows prints lines whose cells are separated by tabs as columns. A cell that may
// have tabs of its own is made printable by whoever has it.
func rows(env Env, lines []string) error {
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, printable.Columns(line)); err != nil {
			return err
		}
	}
	return w.Flush()
}

// size prints bytes for people.
func size(bytes int64) string { return humanize.IBytes(uint64(max(bytes, 0))) }

// span prints a duration for people.
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// milliseconds is span of a number of them.
func milliseconds(ms int64) string { return span(time.Duration(ms) * time.Millisecond) }

// rate is bytes in a second.
func rate(bytes int64, d time.Duration) string {
	if d <= 0 {
		return "-"
	}
	return size(int64(float64(bytes)/d.Seconds())) + "/s"
}
