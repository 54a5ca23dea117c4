package hint_test

import (
	"encoding/json"
	"slices"
	"testing"

	"mbk/internal/hint"
)

func TestTextNamesSettings(t *testing.T) {
	text := "wait longer: " + hint.Option("lock-wait") +
		hint.Textf(", or leave %q out with %s=%s", "d", hint.Option("exclude-database"), "d")
	if got, want := text.String(), `wait longer: --lock-wait, or leave "d" out with --exclude-database=d`; got != want {
		t.Errorf("String = %q, want %q", got, want)
	}
	if got, want := text.Options(), []string{"lock-wait", "exclude-database"}; !slices.Equal(got, want) {
		t.Errorf("Options = %q, want %q", got, want)
	}
	spelled := text.Spell(func(option string) string { return "<" + option + ">" })
	if want := `wait longer: <lock-wait>, or leave "d" out with <exclude-database>=d`; spelled != want {
		t.Errorf("Spell = %q, want %q", spelled, want)
	}
	document, err := json.Marshal([]hint.Text{"check " + hint.Option("repo"), "plain"})
	if want := `["check --repo","plain"]`; err != nil || string(document) != want {
		t.Errorf("json = %s, %v; want %s", document, err, want)
	}
}

func TestTextWithoutSettings(t *testing.T) {
	plain := hint.Text("start the server")
	if plain.String() != string(plain) || plain.Options() != nil {
		t.Errorf("String = %q, Options = %q", plain.String(), plain.Options())
	}
	if got := hint.Strings(nil); got != nil {
		t.Errorf("Strings(nil) = %q", got)
	}
}
