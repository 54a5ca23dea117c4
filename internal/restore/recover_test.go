package restore

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mbk/internal/sys/pause"
	"mbk/internal/test/coldbackup"
	"mbk/internal/test/mariadbtest"
)

// The server refuses to start when it finds transactions that were prepared and
// has no binary log to decide about them; on 11.8 it wants to be started three
// times. All the while it must not forget that the files come from a backup: or
// what an ALTER TABLE had made so far would stay forever.
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
	f := coldbackup.Of(t, s)
	wait.Wait()

	target := filepath.Join(t.TempDir(), "data")
	r, err := Restore(t.Context(), options(f, target))
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
		if err := pause.For(ctx, time.Millisecond); err != nil {
			t.Fatalf("no %s: %v", pattern, err)
		}
	}
}
