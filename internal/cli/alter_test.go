package cli_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// An ALTER that copies its table goes on while the server is locked. Only its end
// is held up, and what it has made so far is in nobody's way.
func TestAlterAcrossTheLock(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(alterAcross(t, newest()))
}

func alterAcross(t *testing.T, version string) string {
	source := mariadbtest.New(t, version)
	source.MustExec(t, statements(filled("big", 16, ""), filled("aria", 4, "ENGINE=Aria"),
		[]string{"INSTALL SONAME 'metadata_lock_info'"})...)
	alter := func(table string) func(context.Context, *mariadbtest.Server) error {
		return churn("ALTER TABLE d."+table+" MODIFY s VARCHAR(501), ALGORITHM=COPY",
			"ALTER TABLE d."+table+" MODIFY s VARCHAR(500), ALGORITHM=COPY")
	}
	seen := 0
	watch := func(ctx context.Context, source *mariadbtest.Server) error {
		const copying = `SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE STATE = 'copy to tmp table' AND
			(SELECT COUNT(*) FROM information_schema.METADATA_LOCK_INFO WHERE LOCK_MODE IN ('MDL_BACKUP_WAIT_DDL', 'MDL_BACKUP_WAIT_COMMIT'))`
		for ctx.Err() == nil {
			n, err := source.Value(context.WithoutCancel(ctx), copying)
			if err != nil {
				return err
			}
			if n != "0" {
				seen++
			}
		}
		return nil
	}
	p := profile{during: all(alter("big"), alter("aria"), watch)}
	for try := 1; ; try++ {
		repository := t.TempDir()
		b := taking(t, source, repository, p)
		if seen == 0 && try < 5 {
			continue
		}
		if seen == 0 {
			t.Error("no ALTER was seen to copy while the server was locked")
		}
		restored := caughtUp(t, source, repository, b, p)
		wantSame(t, source, restored)
		left, err := filepath.Glob(filepath.Join(restored.Datadir, "d", "#sql*"))
		if err != nil || len(left) > 0 {
			t.Errorf("of the ALTER there is left %v, %v", left, err)
		}
		return fmt.Sprintf("%s, seen to copy %d times under the lock", b, seen)
	}
}

// An ALTER that has waited for its table makes its files whenever it gets it, even
// while the server is locked. Recovery needs each of which the redo log changes a page.
func TestAltersBeginUnderTheLock(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, "10.5", newest()) {
		t.Run(version, func(t *testing.T) { t.Log(altersBegin(t, version)) })
	}
}

func altersBegin(t *testing.T, version string) string {
	const tables = 24
	source := mariadbtest.New(t, version)
	source.MustExec(t, "CREATE DATABASE d", "INSTALL SONAME 'metadata_lock_info'")
	for i := range tables {
		source.MustExec(t, fmt.Sprintf("CREATE TABLE d.t%d (id INT PRIMARY KEY, s VARCHAR(100), FULLTEXT (s))", i),
			fmt.Sprintf("INSERT INTO d.t%d SELECT seq, CONCAT('row ', seq) FROM d.seq_1_to_100", i))
	}
	released := false
	p := profile{during: func(ctx context.Context, source *mariadbtest.Server) error {
		outlive, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		reader, err := source.DB().Conn(outlive)
		if err != nil {
			return err
		}
		defer reader.Close() //nolint:errcheck // only read
		if _, err := reader.ExecContext(outlive, "START TRANSACTION"); err != nil {
			return err
		}
		altered := make(chan error, tables)
		for i := range tables {
			if _, err := reader.ExecContext(outlive, fmt.Sprintf("DO (SELECT COUNT(*) FROM d.t%d)", i)); err != nil {
				return err
			}
			go func() { altered <- source.Exec(outlive, fmt.Sprintf("ALTER TABLE d.t%d FORCE", i)) }()
		}
		const locked = "SELECT COUNT(*) FROM information_schema.METADATA_LOCK_INFO WHERE LOCK_MODE IN " +
			"('MDL_BACKUP_WAIT_DDL', 'MDL_BACKUP_WAIT_COMMIT')"
		for n := "0"; n == "0" && err == nil && ctx.Err() == nil; {
			n, err = source.Value(outlive, locked)
			released = n != "0"
		}
		_, failed := reader.ExecContext(outlive, "ROLLBACK")
		err = errors.Join(err, failed)
		for range tables {
			err = errors.Join(err, <-altered)
		}
		return err
	}}
	for try := 1; ; try++ {
		repository := t.TempDir()
		b := taking(t, source, repository, p)
		if !released && try < 5 {
			continue
		}
		if !released {
			t.Error("the server was not seen to be locked")
		}
		wantSame(t, source, caughtUp(t, source, repository, b, p))
		return b.String()
	}
}

// An ALTER makes its file between the first look at the files and the checkpoint at
// which the redo begins, and goes on until the end: the redo does not hold that file.
func TestAlterBeginsBeforeTheCheckpoint(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	source := mariadbtest.New(t, newest())
	source.MustExec(t, statements(filled("t", 1, ""),
		[]string{"INSTALL SONAME 'metadata_lock_info'", "CREATE DATABASE later"})...)
	for i := range 300 {
		source.MustExec(t, fmt.Sprintf("CREATE TABLE later.t%d (id INT) ENGINE=MyISAM", i))
	}
	repository := t.TempDir()
	r := launch(t, command(t, backupArgs(source, repository)...))
	until(t, "table opened", func() bool {
		const opening = "SELECT COUNT(*) FROM information_schema.METADATA_LOCK_INFO WHERE TABLE_SCHEMA = 'later'"
		return source.MustValue(t, opening) != "0"
	})
	altered := make(chan error, 1)
	r.whileStopped(t, func() {
		// Slow for each row, so that it writes all the time.
		go func() {
			altered <- source.Exec(t.Context(),
				"ALTER IGNORE TABLE d.t ADD COLUMN c CHAR(128) CHARACTER SET latin1 DEFAULT (SHA2(REPEAT(s, 5000), 512)), "+
					"ALGORITHM=COPY")
		}()
		until(t, "file of the ALTER", func() bool {
			found, err := filepath.Glob(filepath.Join(source.Datadir, "d", "#sql*.ibd"))
			return err == nil && len(found) > 0
		})
		source.MustExec(t, "SET GLOBAL innodb_log_checkpoint_now=ON")
	})
	if o := r.wait(t, time.Minute); o.code != 0 {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	select {
	case err := <-altered:
		t.Fatalf("the ALTER ended before the backup: %v", err)
	default:
	}
	target := filepath.Join(t.TempDir(), "restored")
	must(t, restoreArgs("latest", repository, target)...)
	if err := <-altered; err != nil {
		t.Fatal(err)
	}
	const rows = "SELECT COUNT(*) FROM d.t"
	if got, want := mariadbtest.Open(t, source.Dist.Series, target).MustValue(t, rows),
		source.MustValue(t, rows); got != want {
		t.Errorf("%s rows, want %s", got, want)
	}
}
