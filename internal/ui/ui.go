// Package ui prints: results on stdout, as text or JSON; messages, the log and progress
// on stderr. It decides no exit codes and knows no commands.
package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"mbk/internal/hint"
	"mbk/internal/ui/printable"
)

// Streams are the standard streams of a run.
type Streams struct {
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Terminal bool // stderr is a terminal on which a line can be replaced
	Colored  bool // stdout is a terminal, and shows colors
	Alarming bool // so is stderr
	Journal  bool // stderr is systemd's journal, which takes a priority before each line
	Columns  int  // how wide lists may be, 0: as wide as the terminal that stdout is
	Typed    bool // stdin is a terminal: a person started mbk, not a timer
}

// Settings are the user's choices about output.
type Settings struct {
	JSON      bool   // the result as JSON
	JQ        string // what is to be made of that, in the language of jq; implies JSON
	Quiet     bool   // no progress and no notes
	Verbose   bool   // the log in detail
	LogFormat string // of stderr and LogFile: text, json, or "" to follow Progress
	LogFile   string // takes what goes to stderr and more, "": none
	Progress  string // auto, bar, plain, json or none
}

// UI prints for one run of mbk.
type UI struct {
	Settings
	Stdin  io.Reader
	Stdout io.Writer // replaces what a terminal could take for a command
	Typed  bool      // a person started mbk, not a timer
	Silent bool      // Result prints no text: all went well, and nobody wants to read so

	results      *results
	journal      bool
	stderr       io.Writer
	terminal     bool
	colored      bool
	alarming     bool
	columns      int
	jsonMessages bool
	log          *logFile // nil: none
	filter       *jq      // nil: none
}

// New returns a UI. jsonMessages is the format of messages until Start.
func New(s Streams, jsonMessages bool) *UI {
	r := &results{to: s.Stdout}
	return &UI{
		Settings: Settings{Progress: "auto"},
		Stdin:    s.Stdin, Stdout: r, Typed: s.Typed,
		results: r, stderr: s.Stderr, terminal: s.Terminal, jsonMessages: jsonMessages, journal: s.Journal,
		colored: s.Colored, alarming: s.Alarming, columns: s.Columns,
	}
}

// Start puts the settings into effect. It returns an error if one is not valid.
func (u *UI) Start() error {
	if u.JQ != "" {
		var err error
		if u.filter, err = newJQ(u.JQ); err != nil {
			return err
		}
		u.JSON = true
	}
	switch u.LogFormat {
	case "":
		u.jsonMessages = u.Progress == "json"
	case "text", "json":
		u.jsonMessages = u.LogFormat == "json"
	default:
		return hint.Errorf("%s is text or json, not %q", hint.Option("log-format"), u.LogFormat)
	}
	switch u.Progress {
	case "auto", "bar", "plain", "json", "none":
		return nil
	}
	return hint.Errorf("%s is auto, bar, plain, json or none, not %q", hint.Option("progress"), u.Progress)
}

// The events of JSON lines on stderr other than progress.
const (
	messageNote    = "note"
	messageWarning = "warning"
	messageError   = "error"
	messageHint    = "hint"
	messageLog     = "log"
)

// Message is a line of --log-format=json other than progress.
type Message struct {
	Time   time.Time      `json:"time"`
	Event  string         `json:"event"` // one of the constants above
	Text   string         `json:"text"`
	Level  string         `json:"level,omitempty"`  // of a line of the log: DEBUG, INFO, WARN or ERROR
	Fields map[string]any `json:"fields,omitempty"` // of a line of the log
}

// tell writes a message.
func (u *UI) tell(kind, text string) {
	text = printable.Text(strings.ReplaceAll(text, "\n", "; "))
	u.toStderr(kind, text)
	if u.log != nil {
		u.log.message(kind, text)
	}
}

func (u *UI) toStderr(kind, text string) {
	switch {
	case u.jsonMessages:
		m := Message{Time: time.Now().UTC(), Event: kind, Text: text}
		_ = json.NewEncoder(u.stderr).Encode(m) // stderr is broken: nobody can be told
	case u.journal && kind == messageNote:
		fmt.Fprintf(u.stderr, "%smbk: %s\n", priority(kind), text)
	case u.journal:
		fmt.Fprintf(u.stderr, "%smbk: %s: %s\n", priority(kind), kind, text)
	case kind == messageNote:
		fmt.Fprintln(u.stderr, "mbk:", text)
	case kind == messageError && u.alarming:
		fmt.Fprintf(u.stderr, "mbk: %s%s:%s %s\n", red, kind, plain, text)
	default:
		fmt.Fprintf(u.stderr, "mbk: %s: %s\n", kind, text)
	}
}

// priority is what the journal takes before a message, as syslog numbers it.
func priority(kind string) string {
	switch kind {
	case messageError:
		return "<3>"
	case messageWarning:
		return "<4>"
	case messageHint:
		return "<5>"
	}
	return "<6>"
}

// Note prints a note; with --quiet it is in the log file only.
func (u *UI) Note(format string, args ...any) {
	switch text := fmt.Sprintf(format, args...); {
	case !u.Quiet:
		u.tell(messageNote, text)
	case u.log != nil:
		u.log.message(messageNote, printable.Text(text))
	}
}

// Tell prints a note even with Quiet: something waits for an answer to it.
func (u *UI) Tell(text string) { u.tell(messageNote, text) }

// Warn prints a warning.
func (u *UI) Warn(text string) { u.tell(messageWarning, text) }

// Error prints an error.
func (u *UI) Error(text string) { u.tell(messageError, text) }

// Hint prints advice about the message before it.
func (u *UI) Hint(text string) { u.tell(messageHint, text) }

// Logger returns a logger that writes to stderr, and to the log file.
func (u *UI) Logger() *slog.Logger {
	level := slog.LevelWarn
	if u.Verbose {
		level = slog.LevelDebug
	}
	handler := newHandler(u.stderr, u.jsonMessages, level)
	if !u.jsonMessages {
		handler = &messages{Handler: handler, ui: u}
	}
	if u.log != nil {
		handler = slog.NewMultiHandler(handler, u.log.logger.Handler())
	}
	return slog.New(handler)
}

// newHandler returns a handler for lines of the log.
func newHandler(to io.Writer, inJSON bool, level slog.Level) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	if !inJSON {
		return slog.NewTextHandler(to, o)
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
	return slog.NewJSONHandler(to, o).WithAttrs([]slog.Attr{slog.String("event", messageLog)}).WithGroup("fields")
}
