package cli_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"mbk/internal/mariadbtest"
)

// An ALTER that copies its table goes on while the server is locked. Only its end
// is held up, and what it has made so far is in nobody's way.
func TestAlterAcrossTheLock(t *testing.T) { t.Log(alterAcross(t, newest())) }

func alterAcross(t *testing.T, version string) string {
	source := mariadbtest.New(t, version)
	source.MustExec(t, statements(filled("big", 16, ""), filled("aria", 4, "ENGINE=Aria"), []string{"INSTALL SONAME 'metadata_lock_info'"})...)
	alter := func(table string) func(context.Context, *mariadbtest.Server) error {
		return churn("ALTER TABLE d."+table+" MODIFY s VARCHAR(501), ALGORITHM=COPY", "ALTER TABLE d."+table+" MODIFY s VARCHAR(500), ALGORITHM=COPY")
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
	for _, version := range []string{"10.5", newest()} {
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
		const locked = "SELECT COUNT(*) FROM information_schema.METADATA_LOCK_INFO WHERE LOCK_MODE IN ('MDL_BACKUP_WAIT_DDL', 'MDL_BACKUP_WAIT_COMMIT')"
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
