package cli_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// A table of many that is imported again and again made each attempt fail, and the backup
// with the last. And each copied everything again.
func TestImportStorm(t *testing.T) {
	t.Parallel()
	type storm struct {
		version   string
		encrypted bool
	}
	for _, c := range mariadbtest.Some(t, storm{"10.5", false}, storm{newest(), false}, storm{"10.11", true}) {
		t.Run(fmt.Sprintf("%s encrypted=%v", c.version, c.encrypted), func(t *testing.T) {
			run := plainStorm
			if c.encrypted {
				run = encryptedStorm
			}
			t.Log(run(t, c.version))
		})
	}
}

func plainStorm(t *testing.T, version string) string     { return importStorm(t, version, false) }
func encryptedStorm(t *testing.T, version string) string { return importStorm(t, version, true) }

// importStorm backs up a server whose table d.t is imported all the time, and restores.
func importStorm(t *testing.T, version string, encrypted bool) string {
	t.Helper()
	p := profile{encrypted: encrypted, backup: []string{"--rate-limit", "12MB", "--lock-budget", "30s"}}
	if !forcesCheckpoint(version) {
		p.args = append(p.args, "--innodb-max-dirty-pages-pct=0") // as mbk advises
	}
	p.keys(t, version)
	source := mariadbtest.New(t, version, p.args...)
	source.MustExec(t, statements(filled("big", 8, ""), filled("t", 1, ""), filled("other", 1, ""),
		[]string{"UPDATE other SET n = id"})...)
	x := exported(t, source, "d", "t", "other")
	imports := 0
	storm := func(ctx context.Context, source *mariadbtest.Server) error {
		for ctx.Err() == nil {
			ctx := context.WithoutCancel(ctx) // the last round is whole
			// The replay has no files to import.
			if err := source.Exec(ctx, "SET sql_log_bin=0", "ALTER TABLE d.t DISCARD TABLESPACE",
				"SET sql_log_bin=1"); err != nil {
				return err
			}
			x.place(t)
			if err := source.Exec(ctx, "SET sql_log_bin=0", "ALTER TABLE d.t IMPORT TABLESPACE", "SET sql_log_bin=1",
				"UPDATE d.t SET n = 7", "DO SLEEP(0.2)"); err != nil {
				return err
			}
			imports++
		}
		return nil
	}
	p.during = all(storm, churn("UPDATE d.big SET n = n + 1 WHERE id < 500", "DO SLEEP(0.05)"))
	repository := t.TempDir()
	begun := time.Now()
	b := taking(t, source, repository, p)
	took := time.Since(begun).Round(100 * time.Millisecond)
	if warnings := strings.Join(b.Warnings, "\n"); strings.Contains(warnings, "discarded") {
		t.Errorf("the backup is without the table: %s", warnings)
	}
	tries := len(attempts(t, repository))
	if tries < 2 {
		t.Errorf("%d attempt, with %d imports: nothing was to be noticed", tries, imports)
	}
	wantSame(t, source, caughtUp(t, source, repository, b, p))
	own, adopted := dataStored(t, repository, b.ID), adoptedBytes(t, repository, b.ID)
	if own > adopted { // little of either: most of it is the server's own
		t.Errorf("the last attempt has stored %d bytes beside %d that the ones before have stored", own, adopted)
	}
	return fmt.Sprintf("%s in %s, %d attempts, %d imports; the last one stored %.1f MiB beside %.1f MiB", b, took, tries,
		imports, mebibytes(own), mebibytes(adopted))
}
