//go:build soak

package cli_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// untilMoments is how many moments of one server are restored in a run.
const untilMoments = 10

// untilSoak restores a server that is written to in every way to random moments, by its archive and by its own
// files, and compares each with a replica that was stopped there. The rounds have the formats of the log in turn.
func untilSoak(t *testing.T, version string, round int) string {
	format := []string{"ROW", "MIXED", "STATEMENT"}[round%3]
	args := []string{"--binlog-format=" + format, "--binlog-checksum=" + []string{"CRC32", "NONE"}[round%2],
		"--max-binlog-size=1048576"}
	if round/2%2 == 0 {
		args = append(args, "--log-bin-compress=ON", "--log-bin-compress-min-len=10")
	}
	encrypted := round%4 == 3
	if encrypted {
		keys, err := mariadbtest.EncryptionArgs(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		args = append(args, keys[0], keys[1], "--encrypt-binlog=ON")
	}
	source := mariadbtest.New(t, version, args...)
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)",
		"CREATE TABLE d.m (a INT AUTO_INCREMENT PRIMARY KEY, b DOUBLE) ENGINE=MyISAM")
	repository := t.TempDir()
	stop := untilWriters(t, source, format == "STATEMENT")
	b := document[taken](t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	follows := command(t, "archive", "--every", "1s", "--repo", repository, "--socket", source.Socket, "--user", "root",
		"--quiet")
	if err := follows.Start(); err != nil {
		t.Fatal(err)
	}
	domains(t, source)
	time.Sleep(5 * time.Second)
	stop()
	if err := follows.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = follows.Wait() // it was killed
	time.Sleep(time.Second)
	archiving(t, source, repository)
	after := loggedSince(t, source, b.Binlog.GTID)
	ways := map[string]int{}
	for i := range untilMoments {
		to := []string{"gtid:", "before-gtid:"}[i%2] + after[1+rand.IntN(len(after)-1)]
		target := filepath.Join(t.TempDir(), fmt.Sprint("restored", i))
		more := []string{"--until", to}
		if !encrypted && i%3 == 2 {
			more = append(more, "--binlog-dir", source.Datadir)
		}
		got := document[untilDocument](t, append(restoreArgs(b.ID, repository, target), more...)...)
		ways[got.Replay.Way]++
		if _, gtid, _ := strings.Cut(to, ":"); got.Replay.Last != gtid && got.Replay.Next != gtid {
			t.Errorf("%v: %+v", more, got)
		}
		wantAsReplica(t, source, target, version, got.Replay.To)
		if t.Failed() {
			t.Fatalf("%v, of the log in %s, was not what a replica is at %s", more, format, got.Replay.To)
		}
	}
	return fmt.Sprintf("%s, %d moments of %d transactions, %v", format, untilMoments, len(after), ways)
}

// untilWriters begins to write to a server: the load of all engines, or, if the log is to have statements only,
// what a replica carries out alike. The caller calls stop.
func untilWriters(t *testing.T, source *mariadbtest.Server, statements bool) (stop func()) {
	t.Helper()
	if !statements {
		if err := mariadbtest.Populate(t.Context(), source, mariadbtest.Fill{InnoDBMiB: 1}); err != nil {
			t.Fatal(err)
		}
		source.MustExec(t, "SET sql_log_bin=0", "DROP TABLE mbk_load.idle_innodb") // that no binary log has
		load, err := mariadbtest.Write(t.Context(), source, mariadbtest.WriteOptions{Pause: 20 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return func() {
			if _, err := load.Stop(); err != nil {
				t.Error(err)
			}
		}
	}
	var all sync.WaitGroup
	done := make(chan struct{})
	failures := make([]error, 3)
	for i := range failures {
		table := fmt.Sprintf("d.w%d", i)
		source.MustExec(t, "CREATE TABLE "+table+" (a INT PRIMARY KEY, b TEXT) ENGINE="+
			[]string{"InnoDB", "Aria", "MyISAM"}[i])
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
				}
				failures[i] = errors.Join(failures[i], source.Exec(t.Context(), fmt.Sprintf("SET gtid_domain_id=%d", 5+i),
					fmt.Sprintf("REPLACE INTO %s VALUES (%d, REPEAT('x', %d)), (%d, NOW())", table, n%200, n%900, n%200+1),
					fmt.Sprintf("DELETE FROM %s WHERE a < %d", table, n%100), "XA START 'w"+fmt.Sprint(i, n)+"'",
					fmt.Sprintf("INSERT INTO d.t (b) VALUES ('w%d-%d')", i, n), "XA END 'w"+fmt.Sprint(i, n)+"'",
					"XA COMMIT 'w"+fmt.Sprint(i, n)+"' ONE PHASE"))
			}
		})
	}
	return func() {
		close(done)
		all.Wait()
		if err := errors.Join(failures...); err != nil {
			t.Error(err)
		}
	}
}
