package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The packaged units do under systemd what they are for: a sandbox that is too tight
// would show nowhere else.
func TestUnitsUnderSystemd(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to start systemd in namespaces of its own")
	}
	if _, err := os.Stat("/lib/systemd/systemd"); err != nil {
		t.Skip(err)
	}
	t.Parallel()
	oneAtATime(t)
	installDebian(t)
	shared := t.TempDir()
	bootMachine(t, "/", shared, "night", "testdata/machine/units", built(t), "../../packaging")
	facts := shares(t, shared, "facts")
	want := []string{
		"timers: 2",
		"backup: success inactive 0",
		"drill: success inactive 0",
		"busy: exit-code activating 4", // tried again later
		"moved: success inactive 0",
		"drilled: success inactive 0",
		"measured: success inactive 0",
		"metrics: written",
		"down: exit-code failed 1",
		"finished",
	}
	if got := strings.Split(strings.TrimSpace(facts), "\n"); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("facts:\n%s\nwant:\n%s", facts, strings.Join(want, "\n"))
	}
	var list struct {
		Backups []struct {
			Verified struct {
				Depth string `json:"depth"`
			} `json:"verified"`
		} `json:"backups"`
	}
	text := shares(t, shared, "list.json")
	if err := json.Unmarshal([]byte(text), &list); err != nil || len(list.Backups) != 1 ||
		list.Backups[0].Verified.Depth != "boot" {
		t.Errorf("the list is %s, %v; want a backup that was proven by a drill", text, err)
	}
	if t.Failed() {
		t.Logf("journal:\n%s", shares(t, shared, "journal"))
	}
}

// shares returns what the namespace has left in the shared folder.
func shares(t *testing.T, folder, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, name))
	if err != nil {
		t.Error(err)
	}
	return string(text)
}
