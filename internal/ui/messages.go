package ui

import (
	"context"
	"log/slog"
	"slices"
	"strings"

	"mbk/internal/ui/printable"
)

// messages is a handler for a log that people read: what is a warning or an error is written
// as all messages are, and only the rest as lines of a log.
type messages struct {
	slog.Handler
	ui    *UI
	attrs []slog.Attr
}

func (m *messages) Handle(ctx context.Context, r slog.Record) error {
	if r.Level < slog.LevelWarn {
		return m.Handler.Handle(ctx, r)
	}
	kind := messageWarning
	if r.Level >= slog.LevelError {
		kind = messageError
	}
	m.ui.toStderr(kind, printable.Text(strings.ReplaceAll(m.text(r), "\n", "; ")))
	return nil
}

// text is a record as a sentence: the reason follows after a colon, and other attributes with
// their names.
func (m *messages) text(r slog.Record) string {
	var reason string
	var others []string
	add := func(a slog.Attr) bool {
		switch value := a.Value.String(); a.Key {
		case "reason", "error", "cause":
			reason = ": " + value
		default:
			others = append(others, a.Key+" "+value)
		}
		return true
	}
	for _, a := range m.attrs {
		add(a)
	}
	r.Attrs(add)
	if len(others) == 0 {
		return r.Message + reason
	}
	return r.Message + " (" + strings.Join(others, ", ") + ")" + reason
}

func (m *messages) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &messages{m.Handler.WithAttrs(attrs), m.ui, slices.Concat(m.attrs, attrs)}
}

func (m *messages) WithGroup(name string) slog.Handler {
	return &messages{m.Handler.WithGroup(name), m.ui, m.attrs}
}
