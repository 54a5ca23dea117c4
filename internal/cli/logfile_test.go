package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A log file has all that runs have said, one after another, and a file that cannot be written
// ends a run before anything is done.
func TestLogFile(t *testing.T) {
	t.Parallel()
	onlyIn(t, "it is about what is said", inFolder)
	at, folder := newChains(t), t.TempDir()
	log := filepath.Join(folder, "mbk.log")
	must(t, "verify", newFull, "--repo", at, "--depth", "stored", "--quiet", "--log-file", log)
	info, err := os.Stat(log)
	if err != nil || info.Mode().Perm()&^0o640 != 0 || info.Mode().Perm()&0o600 != 0o600 {
		t.Fatalf("the log file: %v, %v", info, err)
	}
	if o := mbk(t, "show", "20200101T000000Z-full", "--repo", at, "--log-file", log); o.code != 2 {
		t.Fatalf("show of what is not there: %d %s", o.code, o.stderr)
	}
	text := read(t, log)
	rest := text
	for _, want := range []string{"verify begins\" pid=", " event=step\n", "msg=\"ends with exit code 0\" pid=",
		"show begins\" pid=",
		"level=ERROR msg=", "20200101T000000Z-full", "event=hint\n", "msg=\"ends with exit code 2\" pid="} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("no %q, in that order, in\n%s", want, text)
		}
		rest = after
	}
	inJSON := filepath.Join(folder, "json.log")
	o := mbk(t, "show", "20200101T000000Z-full", "--repo", at, "--log-file", inJSON, "--log-format", "json")
	lines := strings.Split(strings.TrimSpace(read(t, inJSON)), "\n")
	for _, line := range lines {
		wantValid(t, "progress-message", line)
	}
	if o.code != 2 || len(lines) < 3 || !strings.Contains(lines[1], `"event":"error"`) {
		t.Errorf("exit code %d, and the log has\n%s", o.code, strings.Join(lines, "\n"))
	}
	cannotLog(t, at, log)
}

// cannotLog names log files that cannot be written. A pin would be a change.
func cannotLog(t *testing.T, at, log string) {
	t.Helper()
	link, pipe := log+".link", log+".pipe"
	if err := os.Symlink(log, link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		link: "too many levels", pipe: "no such device", filepath.Dir(log): "is a directory", "/dev/full": "no space left",
		filepath.Join(at, "none", "mbk.log"): "no such file",
	} {
		o := mbk(t, "pin", newFull, "--repo", at, "--log-file", name)
		if o.code != 2 || !strings.Contains(o.stderr, want) || !strings.Contains(o.stderr, "--log-file") {
			t.Errorf("log file %s: exit code %d: %s", name, o.code, o.stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(at, "pins")); err == nil {
		t.Error("a run without its log file has pinned")
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
