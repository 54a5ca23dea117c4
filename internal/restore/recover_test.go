package restore

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// The server refuses to start when it finds transactions that were prepared and
// has no binary log to decide about them; on 11.8 it wants to be started three
// times. All the while it must not forget that the files come from a backup: or
// what an ALTER TABLE had made so far would stay for ever.
func TestPreparedTransactionsAndUnfinishedAlter(t *testing.T) {
	eachSeries(t, func(t *testing.T, series string) {
		const tries = 5
		for try := 1; !preparedAndUnfinished(t, series); try++ {
			if try == tries {
				t.Fatalf("none of %d crashes left a prepared transaction that the server can recover", tries)
			}
		}
	})
}

// preparedAndUnfinished returns whether a transaction was prepared when the server
// crashed, and could be recovered: of a few such crashes the server itself cannot
// recover, with its binary log in place either, but fails in this assertion at every
// start (10.11.19, 11.8.6).
func preparedAndUnfinished(t *testing.T, series string) bool {
	s := mariadbtest.New(t, series, "--innodb-log-file-size=96M")
	s.MustExec(t,
		"CREATE DATABASE shop",
		"CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(100)) ENGINE=InnoDB",
		"CREATE TABLE shop.large (id INT PRIMARY KEY, v VARCHAR(100)) ENGINE=InnoDB",
		"INSERT INTO shop.large SELECT seq, MD5(seq) FROM mysql.seq_1_to_100000",
	)
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() { untilKilled(t, s.DB(), "INSERT INTO shop.orders (v) VALUES (MD5(1))") })
	}
	wait.Go(func() { untilKilled(t, s.DB(), "ALTER TABLE shop.large ADD COLUMN w INT, ALGORITHM=COPY") })
	awaitFile(t, filepath.Join(s.Datadir, "shop", "#sql*.ibd"))
	f := backUp(t, s)
	wait.Wait()

	target := filepath.Join(t.TempDir(), "data")
	r, err := Restore(t.Context(), f.options(target))
	if err != nil && strings.Contains(err.Error(), "Failing assertion: tail.trx_no <= last_trx_no") {
		t.Log(err)
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	if left, err := filepath.Glob(filepath.Join(target, "*", "#sql*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	if _, err := os.Lstat(filepath.Join(target, "tc.log")); err == nil {
		t.Error("tc.log was left: with it, a server without a binary log may refuse to start")
	}
	restored := mariadbtest.Open(t, series, target)
	for q, want := range map[string]string{
		"SELECT COUNT(*) FROM shop.large": "100000",
		"SELECT COUNT(*) FROM information_schema.INNODB_SYS_TABLES WHERE NAME LIKE '%#sql%'": "0",
	} {
		if got := restored.MustValue(t, q); got != want {
			t.Errorf("%s = %s, want %s", q, got, want)
		}
	}
	if err := restored.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	return r.RolledBack
}

// untilKilled runs a statement over and over until the server is gone.
func untilKilled(t *testing.T, db *sql.DB, statement string) {
	for {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			return
		}
	}
}

// awaitFile waits until there is a file that matches a pattern.
func awaitFile(t *testing.T, pattern string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		if found, err := filepath.Glob(pattern); err != nil || len(found) > 0 {
			return
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			t.Fatalf("no %s: %v", pattern, err)
		}
	}
}

// Encryption of tables and logs, compressed tables with a provider that is a
// plugin, small pages, several files of the system tablespace.
func TestRestoreOfSpecialServers(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("1;"+strings.Repeat("a7", 16)+"\n2;"+strings.Repeat("5c", 32)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	eachSeries(t, func(t *testing.T, series string) {
		for i, c := range []struct {
			name string
			args []string
		}{
			{"encrypted", []string{
				"--plugin-load-add=file_key_management", "--file-key-management-filename=" + keys,
				"--innodb-encrypt-tables=ON", "--innodb-encrypt-log=ON", "--aria-encrypt-tables=ON", "--innodb-encryption-threads=2"}},
			{"4k pages, two files, three undo tablespaces", []string{
				"--innodb-page-size=4k", "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend", "--innodb-undo-tablespaces=3"}},
			{"64k pages, compressed by a plugin", []string{
				"--innodb-page-size=64k", "--plugin-load-add=provider_lz4", "--innodb-compression-algorithm=lz4", "--innodb-compression-default=ON"}},
		} {
			// Each server is slow to make: of the last two, a series gets one.
			if versions := mariadbtest.Versions(); i > 0 && len(versions) > 1 && slices.Index(versions, series)%2 != i%2 {
				continue
			}
			t.Run(c.name, func(t *testing.T) {
				f := smallFixture(t, series, c.args...)
				o := f.options(filepath.Join(t.TempDir(), "data"))
				if _, err := Restore(t.Context(), o); err != nil {
					t.Fatal(err)
				}
				wantSmall(t, series, o.Target, c.args...)
				o.Scratch = t.TempDir()
				r, err := Verify(t.Context(), o, repo.DepthBoot)
				if err != nil {
					t.Fatal(err)
				}
				if !r.OK {
					t.Errorf("Verify = %+v", r.Findings)
				}
			})
		}
	})
}

func TestErrorLog(t *testing.T) {
	var told []string
	l := &errorLog{tell: func(s string) { told = append(told, s) }}
	l.read(strings.NewReader(`2026-11-21 23:12:20 0 [Note] InnoDB: Starting crash recovery from checkpoint LSN=45141

2026-11-21 23:12:20 0 [Note] InnoDB: End of log at LSN=6702234
2026-11-21 23:12:20 0 [Warning] InnoDB: Page [page id: space=5, page number=3] log sequence number 12 is in the future!
2026-11-21 23:12:20 0 [ERROR] Found 16 prepared transactions! It means that server was not shut down properly
2026-11-21 23:12:20 0 [ERROR] InnoDB: Crash recovery is broken due to insufficient innodb_log_file_size; last checkpoint LSN=45616, current LSN=8798437.
2026-11-21 23:12:20 0 [ERROR] Aborting
` + strings.Repeat("x", 2<<20)))
	if l.endOfLog != 6702234 || !l.prepared || len(l.damage) != 1 || len(told) != 6 {
		t.Errorf("log = %+v, told %d lines", l, len(told))
	}
	want := "[ERROR] Found 16 prepared transactions! It means that server was not shut down properly"
	if why := l.why(); len(why) != 2 || why[0] != want {
		t.Errorf("why = %q, want %q and one more", why, want)
	}
}

// A table of an unfinished ALTER once stayed in the dictionary, because a transaction
// that was yet to be rolled back held a lock, and its file was removed all the same.
func TestErrorLogOfTableThatWasNotDropped(t *testing.T) {
	for line, want := range map[string]bool{
		"2026-11-22  2:39:38 0 [ERROR] InnoDB: cannot drop shop/#sql-alter-5cd1-10: Lock wait timeout": true,
		"2026-11-22  2:39:38 0 [ERROR] InnoDB: cannot drop shop/orders: Lock wait timeout":             false,
		"2026-11-22  2:39:38 0 [Note] InnoDB: Rolled back recovered transaction 4342":                  false,
	} {
		l := &errorLog{}
		l.read(strings.NewReader(line))
		if l.undropped != want {
			t.Errorf("%s: undropped = %t, want %t", line, l.undropped, want)
		}
	}
}

// What a server says before it aborts does not look like an error.
func TestErrorLogOfAssertion(t *testing.T) {
	l := &errorLog{}
	l.read(strings.NewReader("2026-11-22 15:56:50 0 [Note] InnoDB: End of log at LSN=4711\n" +
		"2026-11-22 15:56:51 0x7f00 InnoDB: Assertion failure in file buf0flu.cc line 2550\n" +
		"InnoDB: Failing assertion: !space->is_being_imported()\n" +
		"261122 15:56:51 [ERROR] mariadbd got signal 6 ;\n"))
	want := []string{"2026-11-22 15:56:51 0x7f00 InnoDB: Assertion failure in file buf0flu.cc line 2550", "InnoDB: Failing assertion: !space->is_being_imported()", "[ERROR] mariadbd got signal 6 ;"}
	if got := l.why(); !slices.Equal(got, want) {
		t.Errorf("why = %q, want %q", got, want)
	}
}

func TestTellRecovery(t *testing.T) {
	for _, c := range []struct {
		line        string
		done, total int64
	}{
		{"2026-11-21 23:12:20 0 [Note] InnoDB: To recover: LSN 4711/4812; 13 pages", 4711, 4812},
		{"2026-11-21 23:12:20 0 [Note] InnoDB: To recover: 2039 pages", 0, 0},
		{"2026-11-21 23:12:20 0 [Note] InnoDB: To recover: LSN x/y", 0, 0},
	} {
		m := newMeter(nil)
		tellRecovery(m, c.line)
		if m.now.Done != c.done || m.now.Total != c.total || !strings.HasPrefix(m.now.Text, "[Note] InnoDB: To recover") {
			t.Errorf("%s: %+v", c.line, m.now)
		}
	}
}

func TestBufferSize(t *testing.T) {
	for _, c := range []struct{ redo, least, most int64 }{
		{0, 64 << 20, 128 << 20},
		{300 << 20, 64 << 20, 600 << 20},
		{1 << 40, 64 << 20, 1 << 30},
	} {
		if got := bufferSize(c.redo); got < c.least || got > c.most || got%(1<<20) != 0 {
			t.Errorf("bufferSize(%d) = %d, want %d to %d", c.redo, got, c.least, c.most)
		}
	}
}

// A server that leaves the log as it was has not recovered.
func TestCheckLog(t *testing.T) {
	header := func(creator string, c innodb.Checkpoint) []byte {
		b := make([]byte, innodb.LogDataOffset)
		innodb.LogHeader{Format: innodb.Format108, FirstLSN: 12288, Creator: creator}.Append(b[:0])
		c.Append(b[4096:4096])
		return b
	}
	for _, c := range []struct {
		name string
		log  []byte
		want string // of the error, "" for none
	}{
		{"log of the server", header("MariaDB 11.8.6", innodb.Checkpoint{LSN: 5000000, End: 5000000}), ""},
		{"log of the backup", header("Backup mbk", innodb.Checkpoint{LSN: 5000000, End: 5000000}), "left the redo log of the backup"},
		{"ends too early", header("MariaDB 11.8.6", innodb.Checkpoint{LSN: 4999999, End: 5000000}), "ended at LSN 4999999, want at least 5000000"},
		{"cut short", []byte("Phys"), "read ib_logfile0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := engine{data: t.TempDir()}
			if err := os.WriteFile(filepath.Join(e.data, logName), c.log, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := e.checkLog(5000000)
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("checkLog = %v, want %q", err, c.want)
			}
			if c.want == "" {
				if err := e.markLog(); err != nil {
					t.Fatal(err)
				}
				if _, err := e.checkLog(5000000); err == nil {
					t.Error("markLog did not mark the log")
				}
			}
		})
	}
}

func TestFilesOfIntermediateTables(t *testing.T) {
	e := engine{data: t.TempDir()}
	for _, name := range []string{"shop/#sql-alter-1.ibd", "shop/orders.ibd", "#sql-outside"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(e.data, name)), 0o700), os.WriteFile(filepath.Join(e.data, name), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := e.intermediate()
	if err != nil || !slices.Equal(files, []string{"shop/#sql-alter-1.ibd"}) {
		t.Errorf("intermediate files %q, %v", files, err)
	}
	for range 2 { // the server may have done it
		if err := e.remove(files); err != nil {
			t.Fatal(err)
		}
	}
	wantNothingBut(t, filepath.Join(e.data, "shop"), "orders.ibd")
	if _, err := os.Stat(filepath.Join(e.data, "#sql-outside")); err != nil {
		t.Error(err)
	}
}
