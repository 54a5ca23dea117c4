package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/s3test"
)

// setUp is what "mbk setup --json" prints.
type setUp struct {
	Steps []struct {
		Name    string   `json:"name"`
		Outcome string   `json:"outcome"`
		What    []string `json:"what"`
		Undo    string   `json:"undo"`
	} `json:"steps"`
	Card string `json:"card"`
}

// outcomes are the outcomes of the steps, without the last, which depends on this machine.
func (s setUp) outcomes() (all []string) {
	for _, step := range s.Steps[:len(s.Steps)-1] {
		all = append(all, step.Name+": "+step.Outcome)
	}
	return all
}

// Setup by options: a dry run changes nothing, then everything is made, and a second call finds
// it there. Other answers change nothing of what is there.
func TestSetupByOptions(t *testing.T) {
	onlyIn(t, "the settings of an object store would be answers, too", inFolder)
	t.Parallel()
	srv := mariadbtest.New(t, newest())
	srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY)")
	base := t.TempDir()
	repository, file := filepath.Join(base, "backup", "db1"), filepath.Join(base, "etc", "mbk.cnf")
	args := []string{"setup", "--repo", repository, "--option-file", file, "--socket", srv.Socket, "--user", "root",
		"--archive", "--at", "03:15", "--protocol", "socket"}
	run := func(code int, more ...string) (s setUp, o outcome) {
		t.Helper()
		cmd := command(t, slices.Concat(args, []string{"--json"}, more)...)
		cmd.Env = append(cmd.Env, "MBK_OWNER="+self())
		o = launch(t, cmd).wait(t, 3*time.Minute)
		if o.code != code {
			t.Fatalf("mbk setup %q exits %d: %s", more, o.code, o.stderr)
		}
		if code == 0 {
			wantValid(t, "setup", o.stdout)
			if err := json.Unmarshal([]byte(o.stdout), &s); err != nil {
				t.Fatal(err)
			}
		}
		return s, o
	}
	if _, o := run(2); !strings.Contains(o.stderr, "--yes") {
		t.Errorf("without a terminal: %s", o.stderr)
	}
	plan, _ := run(0, "--dry-run")
	text := fmt.Sprint(plan)
	for _, want := range []string{"CREATE USER 'mbk'@'localhost' IDENTIFIED BY '...'", "REPLICATION SLAVE", "repo = " +
		repository, "protocol = socket", "DROP USER 'mbk'@'localhost'", "rmdir " + repository} {
		if !strings.Contains(text, want) {
			t.Errorf("the plan does not say %q:\n%s", want, text)
		}
	}
	if left, err := os.ReadDir(base); err != nil || len(left) > 0 {
		t.Errorf("a dry run leaves %v, %v", left, err)
	}

	made, _ := run(0, "--yes")
	want := []string{"folder: done", "account: done", "option file: done", "repository: done", "check: done",
		"first backup: done", "proof: done"}
	if !slices.Equal(made.outcomes(), want) {
		t.Errorf("the steps are %q, want %q", made.outcomes(), want)
	}
	if !strings.Contains(made.Card, "mbk restore 20") {
		t.Errorf("the card is %s", made.Card)
	}
	last := made.Steps[len(made.Steps)-1]
	if last.Name != "every night" || last.Outcome == "by hand" && !strings.Contains(strings.Join(last.What, "\n"),
		"15 03 * * *  ") {
		t.Errorf("the last step is %+v", last)
	}
	grants, err := srv.Value(t.Context(), "SHOW GRANTS FOR mbk@localhost")
	if err != nil || strings.Contains(grants, "SUPER") || !strings.Contains(grants, "RELOAD") {
		t.Errorf("rights: %s, %v", grants, err)
	}
	// The settings are enough for the nightly commands, and for the archive.
	must(t, "backup", "--defaults-file", file, "--quiet")
	must(t, "archive", "--once", "--defaults-file", file, "--quiet")
	list := must(t, "list", "--repo", repository).stdout
	if !strings.Contains(list, "-incr") || !strings.Contains(list, "boot") {
		t.Errorf("the list is\n%s", list)
	}

	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := run(0, "--yes")
	want = []string{"folder: there", "account: there", "option file: there", "repository: there", "check: done",
		"first backup: there", "proof: done"} // of the increment that was made in between
	if !slices.Equal(again.outcomes(), want) {
		t.Errorf("the second time the steps are %q, want %q", again.outcomes(), want)
	}
	if _, o := run(2, "--yes", "--mail-to", "dba@example.org"); !strings.Contains(o.stderr, "other settings") {
		t.Errorf("with other answers: %s", o.stderr)
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the option file has changed: %v\n%s", err, after)
	}
}

// Setup at a terminal, with answers that are typed: encrypted, into an object store, with an
// option file that is there already.
func TestSetupAtTerminal(t *testing.T) {
	t.Parallel()
	srv, store := mariadbtest.New(t, newest()), s3test.New(t)
	srv.MustExec(t, "CREATE DATABASE zebraledger", "CREATE TABLE zebraledger.orders (id INT PRIMARY KEY)")
	base := t.TempDir()
	identity, file := filepath.Join(base, "new.key"), filepath.Join(base, "mbk.cnf")
	if err := os.WriteFile(file, []byte("# ours\n[mbk-backup]\nlock-budget = 10s\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	repository := "s3://" + s3test.Bucket + "/" + filepath.Base(base)
	cmd := command(t, "setup", "--option-file", file, "--user", "root", "--s3-allow-http", "--s3-credentials-file",
		store.CredentialsFile, "--quiet")
	cmd.Env = append(cmd.Env, "MBK_OWNER="+self())
	keyboard := atTerminal(t, cmd)
	screen, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(4*time.Minute, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	shown, buf := "", make([]byte, 4096)
	read := func() bool {
		n, err := screen.Read(buf)
		shown += string(buf[:n])
		return err == nil
	}
	for _, typed := range [][2]string{
		{"1. Where ", repository}, {"URL of the object store", store.Endpoint()}, {"2. Encrypt ", "y"},
		{"new identity?", identity}, {"3. Socket", srv.Socket}, {"Account to make", "nightly"}, {"4. At which time", ""},
		{"Follow the binary log", "perhaps"}, {"Follow the binary log", "n"}, {"5. Who gets", "dba@example.org"},
		{"Carry out these steps?", "y"},
	} {
		for !strings.Contains(shown, typed[0]) {
			if !read() {
				t.Fatalf("no %q on\n%s\n%s", typed[0], shown, &stderr)
			}
		}
		_, shown, _ = strings.Cut(shown, typed[0])
		if _, err := keyboard.WriteString(typed[1] + "\n"); err != nil {
			t.Fatal(err)
		}
	}
	shown = ""
	for read() {
		continue
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v: %s\n%s", err, &stderr, shown)
	}
	for _, want := range []string{"identity: done", "first backup: done", "proof: done", "RESTORE CARD",
		"export MBK_IDENTITY=" + identity, "MBK_S3_ENDPOINT=" + store.Endpoint()} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in\n%s", want, shown)
		}
	}
	settings, err := os.ReadFile(file)
	if err != nil || !strings.HasPrefix(string(settings), "# ours\n[mbk-backup]\nlock-budget = 10s\n\n# What") ||
		!strings.Contains(string(settings), "\nmail-to = dba@example.org\n") {
		t.Errorf("the option file is %v\n%s", err, settings)
	}
	// The machine needs no identity for the next one, and nobody else learns a name.
	must(t, "backup", "--defaults-file", file, "--quiet")
	wantNoName(t, filepath.Join(store.Dir, s3test.Bucket, filepath.Base(base)), namesOf(srv))
	// Without the identity nothing is planned that needs it.
	again := must(t, "setup", "--repo", repository, "--defaults-file", file, "--socket", srv.Socket, "--user", "root",
		"--account", "nightly", "--option-file", filepath.Join(base, "other.cnf"), "--dry-run").stdout
	for _, want := range []string{"repository: there", "first backup: there", "proof: by hand"} {
		if !strings.Contains(again, want) {
			t.Errorf("no %q in\n%s", want, again)
		}
	}
}
