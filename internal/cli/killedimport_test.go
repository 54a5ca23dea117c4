package cli_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// A server that is killed while a file lies in its data directory that it has not imported starts
// again. Its log names the file, and if that had the id of the table in use, from which it was
// exported, no server would start.
func TestServerKilledInImport(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	for _, version := range mariadbtest.Some(t, newest()) {
		killedInImport(t, version)
	}
}

// killedInImport kills a server before it has imported a file, and restores into it in the end.
func killedInImport(t *testing.T, version string) {
	t.Helper()
	srv := mariadbtest.New(t, version)
	srv.MustExec(t, "CREATE DATABASE shop",
		"CREATE TABLE shop.orders (id INT PRIMARY KEY, c INT, v VARCHAR(200), KEY (c))",
		"INSERT INTO shop.orders SELECT seq, seq, REPEAT('x', 190) FROM shop.seq_1_to_50000")
	repository := t.TempDir()
	document[taken](t, backupArgs(srv, repository)...)
	for _, placed := range []string{".mbk", ".ibd"} {
		// The table in use is in the log, so that recovery opens it.
		ctx, stop := context.WithCancel(t.Context())
		var writer sync.WaitGroup
		writer.Go(func() { _ = churn("UPDATE shop.orders SET c = c + 1 WHERE id % 1000 = 0")(ctx, srv) }) // it is killed
		p := launch(t, command(t, into(srv, repository, "--table", "shop.orders", "--replace", "--drop-old")...))
		if !fileSeen(t, srv, p, placed) {
			t.Errorf("%s: no import was seen", version)
		}
		if err := srv.Kill(); err != nil {
			t.Fatal(err)
		}
		stop()
		writer.Wait()
		if o := p.wait(t, time.Minute); o.code == 0 {
			t.Errorf("%s: the server was killed, and mbk exits 0", version)
		}
		if err := srv.Restart(t.Context()); err != nil {
			t.Fatalf("%s, killed when there was a file %s: %v", version, placed, err)
		}
		if n := srv.MustValue(t, "SELECT COUNT(*) FROM shop.orders"); n != "50000" {
			t.Errorf("%s: the table in use has %s rows", version, n)
		}
	}
	must(t, into(srv, repository, "--table", "shop.orders", "--replace", "--drop-old")...)
	if n := srv.MustValue(t, "SELECT SUM(c = id) FROM shop.orders"); n != "50000" {
		t.Errorf("%s: restored are %s rows as they were", version, n)
	}
	wantNoWork(t, srv)
}

// fileSeen waits until a temporary table that has been discarded has a file with that ending, and reports
// false if the restore ended before.
func fileSeen(t *testing.T, srv *mariadbtest.Server, r *run, ending string) bool {
	t.Helper()
	description := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		select {
		case <-r.done:
			return false
		default:
		}
		if description == "" {
			found, err := filepath.Glob(filepath.Join(srv.Datadir, "shop", "mbk_restore_*.cfg"))
			if err != nil {
				t.Fatal(err)
			}
			if len(found) == 0 {
				time.Sleep(time.Millisecond)
				continue
			}
			description = found[0]
		}
		info, err := os.Stat(strings.TrimSuffix(description, ".cfg") + ending)
		if err == nil && info.Size() > 0 {
			return true
		}
	}
	t.Fatal("the restore does not end")
	return false
}
