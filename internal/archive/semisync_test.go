package archive_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"mbk/internal/archive"
	"mbk/internal/test/mariadbtest"
)

// With semi-sync no commit returns before its transaction is in the archive; and without the
// archive it returns after the server's time-out.
func TestSemiSync(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, "10.5", "10.11", "11.8") {
		t.Run(version, func(t *testing.T) { semiSync(t, version) })
	}
}

func semiSync(t *testing.T, version string) {
	const timeout = 20 * time.Second
	x := newFixture(t, version, "--rpl-semi-sync-master-enabled=ON",
		fmt.Sprintf("--rpl-semi-sync-master-timeout=%d", timeout.Milliseconds()))
	x.MustExec(t, "SET GLOBAL rpl_semi_sync_master_enabled=OFF", "CREATE DATABASE d",
		"CREATE TABLE d.t (a INT PRIMARY KEY, b LONGTEXT)", "SET GLOBAL rpl_semi_sync_master_enabled=ON")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := x.run(ctx, t, archive.Options{SemiSync: true, Every: time.Hour})
		ended <- err
	}()
	for range 500 {
		if x.status(t, "Rpl_semi_sync_master_clients") == "1" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}

	// What a client knows to be committed is there at once, although a segment may wait for an hour.
	began := time.Now()
	for i := range 10 {
		x.MustExec(t, fmt.Sprintf("INSERT INTO d.t VALUES (%d, REPEAT('x', %d))", i, i*i*5000))
		if got, want := x.archived(t), x.logged(t); !slices.Equal(got, want) {
			t.Fatalf("after commit %d: %d transactions are archived, the server has %d", i, len(got), len(want))
		}
		if i == 5 {
			x.MustExec(t, "FLUSH BINARY LOGS")
		}
	}
	if took := time.Since(began); took > timeout/2 {
		t.Errorf("ten commits took %s: the server waited in vain", took)
	}
	// Of several sessions, in one group or not, with transactions without an engine's commit among them.
	var all sync.WaitGroup
	var failed [4]error
	for i := range failed {
		all.Go(func() {
			for n := range 10 {
				failed[i] = errors.Join(failed[i], x.Exec(t.Context(),
					fmt.Sprintf("INSERT INTO d.t VALUES (%d, '')", 1000*(i+1)+n), fmt.Sprintf("CREATE TABLE d.t%d_%d (a INT)", i, n),
					fmt.Sprintf("XA START 'x%d-%d'", i, n), fmt.Sprintf("INSERT INTO d.t VALUES (%d, '')", 1000*(i+1)+500+n),
					fmt.Sprintf("XA END 'x%d-%d'", i, n), fmt.Sprintf("XA PREPARE 'x%d-%d'", i, n),
					fmt.Sprintf("XA COMMIT 'x%d-%d'", i, n)))
			}
		})
	}
	all.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		t.Fatal(err)
	}
	x.wantSame(t, 0)
	for name, want := range map[string]string{"Rpl_semi_sync_master_no_tx": "0", "Rpl_semi_sync_master_status": "ON"} {
		if got := x.status(t, name); got != want {
			t.Errorf("%s = %s, want %s", name, got, want)
		}
	}

	// The archive stops: a commit waits as long as the server is told to, and is let through.
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	x.MustExec(t, "SET GLOBAL rpl_semi_sync_master_timeout=1500")
	began = time.Now()
	x.MustExec(t, "INSERT INTO d.t VALUES (-1, '')")
	if took := time.Since(began); took < 1400*time.Millisecond || took > timeout {
		t.Errorf("without the archive a commit took %s, want 1.5 s", took)
	}
	if n, have := len(x.archived(t)), len(x.logged(t)); n != have-1 {
		t.Errorf("%d transactions are archived, the server has %d", n, have)
	}
	x.once(t, false)
	x.wantSame(t, 0)
}

// status returns a status variable of the server.
func (x *fixture) status(t *testing.T, name string) string {
	t.Helper()
	return x.MustValue(t, "SELECT variable_value FROM information_schema.global_status WHERE variable_name = '"+name+"'")
}
