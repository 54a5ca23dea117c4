package house

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mbk/internal/cli"
)

// programCall finds the calls of mbk in units, crontabs and scripts.
var programCall = regexp.MustCompile(`(?:/usr/bin/|\s)mbk ([a-z]+)((?: [^&>\n]*)?)`)

// The units and the crontab must call mbk as it is.
func TestPackagedCallsExist(t *testing.T) {
	flags := map[string][]string{}
	for _, f := range cli.Flags() {
		flags[f.Command] = append(flags[f.Command], f.Names...)
	}
	files, err := filepath.Glob(filepath.Join(root, "packaging/systemd/*.service"))
	if err != nil || len(files) < 2 {
		t.Fatalf("units: %v, %v", files, err)
	}
	calls := 0
	for _, path := range append(files, filepath.Join(root, "packaging/crontab.example")) {
		name, err := filepath.Rel(root, path)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(document(t, name)) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			for _, m := range programCall.FindAllStringSubmatch(line, -1) {
				calls++
				if flags[m[1]] == nil {
					t.Errorf("%s: mbk has no command %s", name, m[1])
				}
				for _, word := range strings.Fields(m[2]) {
					if strings.HasPrefix(word, "-") && !slices.Contains(flags[m[1]], word) {
						t.Errorf("%s: mbk %s has no option %s", name, m[1], word)
					}
				}
			}
		}
	}
	if calls < 8 {
		t.Errorf("only %d calls of mbk found", calls)
	}
}

// systemd itself must understand the units.
func TestUnitsAreUnderstood(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("no systemd-analyze here")
	}
	units, err := filepath.Glob(filepath.Join(root, "packaging/systemd/*"))
	if err != nil || len(units) != 7 {
		t.Fatalf("units: %v, %v", units, err)
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
	var complaints []string
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "/usr/bin/mbk is not executable") && strings.Contains(line, "mbk-") {
			complaints = append(complaints, line)
		}
	}
	if len(complaints) > 0 {
		t.Errorf("systemd-analyze: %v\n%s", err, strings.Join(complaints, ""))
	}
}

// What the packages are made of must be there, or be made by packaging/release.
func TestPackagedFilesExist(t *testing.T) {
	sources := regexp.MustCompile(`(?m)^  - src: (\S+)$|^  (?:post|pre)\w+: (\S+)$`).FindAllStringSubmatch(document(t,
		"packaging/nfpm.yaml"), -1)
	if len(sources) < 10 {
		t.Fatalf("%d sources found", len(sources))
	}
	made := document(t, "packaging/release")
	for _, m := range sources {
		name := m[1] + m[2]
		if name == "mbk" || strings.HasPrefix(name, "files/completion.") || strings.Contains(made, name) {
			continue
		}
		if found, err := filepath.Glob(filepath.Join(root, name)); err != nil || len(found) == 0 {
			t.Errorf("packaging/nfpm.yaml: there is no %s", name)
		}
	}
}
