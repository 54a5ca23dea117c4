package cli

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mbk/internal/hint"
	"mbk/internal/test/mariadbtest"
)

// What is mistyped, or is meant for another tool, is answered with what may be meant.
func TestMistypedCalls(t *testing.T) {
	for call, want := range map[string]string{
		"bakup":                       "did you mean mbk backup?",
		"help resotre":                "did you mean mbk restore?",
		"snapshots --json":            `restic's snapshots: "mbk list"`,
		"info":                        `pgBackRest's info: "mbk list"`,
		"xyzzy":                       "",
		"list --jsno":                 "did you mean --json?",
		"list --repos x":              "did you mean --repo?",
		"--repos x list":              "did you mean --repo?",
		"--backup --target-dir=X":     `mariadb-backup's --backup: "mbk backup --repo REPO"`,
		"--target-dir X --backup":     "mariadb-backup's --target-dir: --repo REPO: ",
		"backup --target-dir=X":       "mariadb-backup's --target-dir: --repo REPO: ",
		"backup --target_dir=X":       "mariadb-backup's --target-dir: --repo REPO: ",
		"backup --innodb-log-files 3": "mariadb-backup's --innodb-log-files: not needed",
		"backup --tables=^shop[.]":    "mariadb-backup's --tables: --table DB.NAME, with wildcards",
		"verify --lock-wait 3":        "--lock-wait is an option of mbk backup",
		"list --xyzzy":                "",
	} {
		p := newProgram(Env{Getenv: func(string) string { return "" }})
		err := p.call(t.Context(), strings.Fields(call))
		if !isUsage(err) {
			t.Errorf("mbk %s: %v", call, err)
			continue
		}
		advice := p.advice(err)
		last := `"mbk --help" lists the commands`
		if p.called != nil {
			last = `"mbk ` + p.called.name + ` --help" lists the options`
		}
		if advice[len(advice)-1] != last || (want == "") != (len(advice) == 1) || !strings.HasPrefix(advice[0], want) {
			t.Errorf("mbk %s: %q, want %q", call, advice, want)
		}
	}
}

// An option file may have a mistyped option in it.
func TestMistypedLine(t *testing.T) {
	file := t.TempDir() + "/my.cnf"
	if err := os.WriteFile(file, []byte("[mbk]\nrepos=/x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := newProgram(Env{Getenv: func(string) string { return "" }})
	err := p.call(t.Context(), []string{"list", "--defaults-file", file})
	if advice := p.advice(err); !isUsage(err) || advice[0] != "did you mean --repo?" {
		t.Errorf("%v: %q", err, advice)
	}
}

// The list names no command and no option of mbk that does not exist, and the page has its
// rows.
func TestOtherTools(t *testing.T) {
	page, err := os.ReadFile("../../docs/mariadb-backup.md")
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram(Env{Getenv: os.Getenv})
	named := regexp.MustCompile(`mbk ([a-z-]+)`)
	dashed := regexp.MustCompile(`--([a-z][a-z0-9-]*)`)
	rows := 0
	for line := range strings.Lines(otherTools) {
		name, here, found := strings.Cut(strings.TrimSpace(line), "\t")
		if !found || strings.HasPrefix(line, "#") {
			continue
		}
		rows++
		if row := "| `" + name + "` | " + here + " |\n"; !strings.Contains(string(page), row) {
			t.Errorf("docs/mariadb-backup.md has no row %s", row)
		}
		for _, code := range codeOf.FindAllStringSubmatch(here, -1) {
			if m := named.FindStringSubmatch(code[1]); m != nil && p.find(m[1]) == nil {
				t.Errorf("%s: mbk has no command %q", name, m[1])
			}
			for _, m := range dashed.FindAllStringSubmatch(code[1], -1) {
				if !p.known(m[0]) && elsewhere(m[0]) == "" {
					t.Errorf("%s: mbk has no option %s", name, m[0])
				}
			}
		}
	}
	if rows < 100 {
		t.Errorf("%d rows: is the list still read right?", rows)
	}
}

// Each option of the real mariadb-backup is an option of mbk, or in the list.
func TestAllOptionsOfMariadbBackup(t *testing.T) {
	t.Parallel()
	for _, series := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		d, err := mariadbtest.Get(t.Context(), series)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(d.Program("mariadb-backup"), "--help").Output()
		if len(out) == 0 {
			t.Fatalf("mariadb-backup of %s says nothing of its options: %v", series, err)
		}
		p := newProgram(Env{Getenv: os.Getenv})
		options := regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z][a-z0-9-]*)`).FindAllStringSubmatch(string(out), -1)
		if len(options) < 100 {
			t.Fatalf("mariadb-backup of %s has %d options: is its help read right?", series, len(options))
		}
		ours := []string{"--help", "--version"}
		for _, o := range options {
			if !p.known(o[1]) && elsewhere(o[1]) == "" && !slices.Contains(ours, o[1]) {
				t.Errorf("%s of mariadb-backup %s is not in the list", o[1], series)
			}
		}
	}
}

func TestDidYouMean(t *testing.T) {
	if got := hint.Strings(didYouMean([]string{"repo", "report"}, "--")); len(got) != 1 ||
		got[0] != "did you mean --repo or --report?" {
		t.Errorf("%q", got)
	}
}
