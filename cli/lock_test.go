package cli_test

import (
	"strings"
	"testing"
	"time"

	"mbk/internal/mariadbtest"
)

// Behind a long statement a backup neither waits for ever nor makes others wait:
// it gives the queue free between its tries.
func TestBehindALongUpdate(t *testing.T) {
	for _, version := range mariadbtest.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			srv := mariadbtest.New(t, version, "--aria-log-file-size=8M")
			srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.m (a INT) ENGINE=MyISAM", "INSERT INTO d.m VALUES (1)",
				"CREATE TABLE d.a (a INT, b CHAR(200)) ENGINE=Aria")
			repository := t.TempDir()
			args := []string{"backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--quiet", "--no-defaults"}

			update := func(seconds string) <-chan error {
				done := make(chan error, 1)
				go func() { done <- srv.Exec(t.Context(), "UPDATE d.m SET a = a + SLEEP("+seconds+")") }()
				time.Sleep(300 * time.Millisecond)
				return done
			}
			done := update("6")
			impatient := mbk(t, append(args, "--lock-wait", "2s")...)
			if impatient.code != 4 || !strings.Contains(impatient.stderr, "UPDATE d.m") || impatient.stdout != "" {
				t.Errorf("with --lock-wait 2s mbk exits %d, stderr %q, stdout %q", impatient.code, impatient.stderr, impatient.stdout)
			}
			if listed := must(t, "list", "--repo", repository).stdout; !strings.HasPrefix(listed, "no backups") {
				t.Errorf("a failed backup is listed: %s", listed)
			}
			srv.MustExec(t, "INSERT INTO d.a VALUES (1, 'x')", "CREATE TABLE d.t (a INT)", "DROP TABLE d.t")
			if err := <-done; err != nil {
				t.Fatal(err)
			}

			probe, err := mariadbtest.StartProbe(t.Context(), srv, 0)
			if err != nil {
				t.Fatal(err)
			}
			done = update("7")
			must(t, args...)
			stalls, err := probe.Stop()
			if err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			t.Logf("longest stalls: commit %s, DDL %s, MyISAM insert %s", stalls.Commit.Longest, stalls.DDL.Longest, stalls.MyISAM.Longest)
			const most = 2500 * time.Millisecond // the request stands for 1 s at a time
			if stalls.Commit.Longest > most || stalls.DDL.Longest > most || stalls.MyISAM.Longest > most {
				t.Errorf("longest stalls: commit %s, DDL %s, MyISAM insert %s; want less than %s", stalls.Commit.Longest, stalls.DDL.Longest, stalls.MyISAM.Longest, most)
			}
			must(t, "verify", "latest", "--repo", repository, "--quiet")
		})
	}
}
