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

// say prints a note for people on stderr. Whoever reads progress as JSON is none.
func say(env Env, c *cli.Context, format string, args ...any) {
	if !c.Bool("quiet") && c.String("progress") != "json" {
		fmt.Fprintf(env.Stderr, "mbk: "+format+"\n", args...)
	}
}

// warn prints a warning on stderr, quiet or not.
func warn(env Env, text string) {
	fmt.Fprintln(env.Stderr, "mbk: warning:", strings.ReplaceAll(text, "\n", "; "))
}

// logger makes the log that the packages below write to stderr.
func logger(env Env, c *cli.Context) *slog.Logger {
	level := slog.LevelWarn
	if c.Bool("verbose") {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: level}))
}

// rows prints lines whose cells are separated by tabs as columns.
func rows(env Env, lines []string) error {
	w := tabwriter.NewWriter(env.Stdout, 0, 0, 2, ' ', 0)
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
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
