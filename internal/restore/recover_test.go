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

	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
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

func TestFilesOfIntermediateTables(t *testing.T) {
	dir := t.TempDir()
	o := orphans{instance: mariadbd.Instance{Data: dir, Owner: fsuser.Current()}}
	for _, name := range []string{"shop/#sql-alter-1.ibd", "shop/orders.ibd", "#sql-outside"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := o.intermediate()
	if err != nil || !slices.Equal(files, []string{"shop/#sql-alter-1.ibd"}) {
		t.Errorf("intermediate files %q, %v", files, err)
	}
	for range 2 { // the server may have done it
		if err := o.remove(files); err != nil {
			t.Fatal(err)
		}
	}
	wantNothingBut(t, filepath.Join(dir, "shop"), "orders.ibd")
	if _, err := os.Stat(filepath.Join(dir, "#sql-outside")); err != nil {
		t.Error(err)
	}
}
