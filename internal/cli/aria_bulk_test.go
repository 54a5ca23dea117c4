package cli_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// Bulk inserts into empty Aria tables, which the server does not log row by row,
// go on before, during and after the copy and the locks.
func TestAriaBulkInsertsAllAlong(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			srv := mariadbtest.New(t, version, "--aria-log-file-size=8M") // so that it begins new logs all the time
			const sessions, each = 3, 5
			srv.MustExec(t, "CREATE DATABASE a", "SET GLOBAL binlog_format=STATEMENT")
			for s := range sessions {
				for n := range each {
					srv.MustExec(t, fmt.Sprintf("CREATE TABLE a.t%d_%d (a INT, b VARCHAR(100), KEY (a)) ENGINE=Aria", s, n))
				}
			}
			repository := t.TempDir()
			for round := range 2 {
				ctx, stop := context.WithCancel(t.Context())
				var wg sync.WaitGroup
				for s := range sessions {
					wg.Add(1)
					go func() {
						defer wg.Done()
						bulk(t, ctx, srv.DB(), s, each)
					}()
				}
				time.Sleep(300 * time.Millisecond)
				o := mbk(t, "backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--quiet", "--no-defaults")
				time.Sleep(100 * time.Millisecond)
				stop()
				wg.Wait()
				if o.code != 0 {
					t.Fatalf("backup: exit code %d: %s", o.code, o.stderr)
				}
				must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
				b := document[taken](t, "show", "latest", "--repo", repository)
				target := filepath.Join(t.TempDir(), fmt.Sprint("restored", round))
				must(t, restoreArgs("latest", repository, target)...)
				restored := mariadbtest.Open(t, version, target)
				if err := mariadbtest.ReplayBinlog(t.Context(), srv, restored, b.Binlog.File, b.Binlog.Position); err != nil {
					t.Fatal(err)
				}
				wantSame(t, srv, restored)
			}
		})
	}
}

// bulk empties and fills the tables of one session until the context ends.
func bulk(t *testing.T, ctx context.Context, db *sql.DB, session, tables int) {
	for i := 0; ctx.Err() == nil; i++ {
		name := fmt.Sprintf("a.t%d_%d", session, i%tables)
		for _, statement := range []string{
			[]string{"TRUNCATE " + name, "DELETE FROM " + name}[i/tables%2],
			fmt.Sprintf("INSERT INTO %s SELECT seq, MD5(seq) FROM a.seq_1_to_%d", name, 200+i%5*1500),
			"UPDATE " + name + " SET b = 'u' WHERE a % 50 = 1",
		} {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Errorf("%s: %v", statement, err)
				return
			}
		}
	}
}
