package cli_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// A node that joins a cluster under writes gets its state by wsrep_sst_mbk, also after one that
// was killed while it got it. One that was away for a moment gets only what it has missed.
func TestGaleraStateTransfer(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(stateTransfer(t, newest(), 2))
}

// stateTransfer makes a cluster and tells how long it took.
func stateTransfer(t *testing.T, version string, nodes int) string {
	began := time.Now()
	dist, err := mariadbtest.Get(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	first, address := joiner(t, dist, "", "").must(t)
	until(t, "cluster of one", func() bool { return galeraStatus(t, first, "ready") == "ON" })
	first.MustExec(t, statements(filled("t", 24, ""), filled("u", 2, ""))...)
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() {
		written <- all(undaunted("UPDATE d.t SET n = n + 1 WHERE id % 50 = FLOOR(RAND() * 50)"),
			undaunted("UPDATE d.u SET n = n + 1 WHERE id = 1"))(ctx, first)
	}()

	killed := joiner(t, dist, "", address)
	data := filepath.Join(killed.options.Dir, "data")
	work := filepath.Join(data, ".mbk-sst")
	go func() {
		for killed.ctx.Err() == nil {
			if found, _ := filepath.Glob(filepath.Join(work, ".data.mbk-restore-*")); len(found) > 0 {
				killed.kill()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := mariadbtest.Start(killed.ctx, killed.options); err == nil || killed.ctx.Err() == nil {
		t.Fatalf("the joiner was not killed while it got the state: %v", err)
	}
	if _, err := os.Stat(work); err != nil {
		t.Log("what it got is removed already: ", err)
	}
	until(t, "donor that is done", func() bool { return galeraStatus(t, first, "local_state_comment") == "Synced" })

	all := []*mariadbtest.Server{first}
	for size := 2; size <= nodes; size++ {
		further, _ := joiner(t, dist, data, address).must(t)
		data = "" // of the next one
		until(t, "node that is in step", func() bool { return galeraStatus(t, further, "local_state_comment") == "Synced" })
		if got := galeraStatus(t, first, "cluster_size"); got != strconv.Itoa(size) {
			t.Errorf("the cluster has %s nodes, want %d", got, size)
		}
		if left, err := filepath.Glob(filepath.Join(further.Datadir, ".mbk-sst*")); err != nil || len(left) > 0 {
			t.Errorf("the state transfer leaves %v (%v)", left, err)
		}
		further.MustExec(t, fmt.Sprintf("INSERT INTO d.u (id, n) VALUES (%d, 1)", 1_000_000+size))
		all = append(all, further)
	}
	away := all[nodes-1] // what it misses now comes from the cache of another node
	if err := away.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.MustExec(t, "INSERT INTO d.u (id, n) VALUES (1000000, 1)")
	if err := away.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "node that is back", func() bool { return galeraStatus(t, away, "local_state_comment") == "Synced" })
	stop()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if got := galeraStatus(t, first, "cluster_size"); got != strconv.Itoa(nodes) {
		t.Errorf("the cluster has %s nodes in the end, want %d", got, nodes)
	}
	for _, further := range all[1:] {
		further.MustExec(t, "SET SESSION wsrep_sync_wait=7", "SELECT COUNT(*) FROM d.u")
		wantSame(t, first, further)
		log, err := os.ReadFile(further.ErrorLog)
		if err != nil || !strings.Contains(string(log), "wsrep_sst_mbk: the state is "+
			galeraStatus(t, first, "cluster_state_uuid")) {
			t.Errorf("the error log of the joiner does not tell of the transfer (%v)", err)
		}
	}
	return fmt.Sprintf("%d nodes in %s", nodes, time.Since(began).Round(time.Second))
}

// undaunted repeats a statement, also when the cluster refuses one because a node was lost. In
// the end it must have succeeded often.
func undaunted(statement string) func(context.Context, *mariadbtest.Server) error {
	return func(ctx context.Context, s *mariadbtest.Server) error {
		done := 0
		var last error
		for ctx.Err() == nil {
			if err := s.Exec(context.WithoutCancel(ctx), statement); err != nil {
				last = err
			} else {
				done++
			}
		}
		if done < 20 {
			return fmt.Errorf("%q has succeeded %d times: %w", statement, done, last)
		}
		return nil
	}
}

// joining is a node that is to be started.
type joining struct {
	options mariadbtest.Options
	address string
	ctx     context.Context
	kill    context.CancelFunc
}

// joiner prepares a node of the cluster at an address that gets its state by wsrep_sst_mbk.
func joiner(t *testing.T, dist mariadbtest.Dist, datadir, join string) *joining {
	t.Helper()
	args, address, err := mariadbtest.GaleraArgs(dist, join)
	if err != nil {
		t.Skip(err)
	}
	if join == "" { // of two nodes the one that is left when the other is killed must be the cluster
		args[len(args)-1] += ";pc.weight=3"
	}
	port, err := mariadbtest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	j := &joining{address: address, options: mariadbtest.Options{
		Dist: dist, Dir: t.TempDir(), Datadir: datadir, Timeout: 5 * time.Minute,
		Args: append(args, "--debug-no-sync", "--skip-ssl", "--wsrep-sst-method=mbk", "--wsrep-sst-auth=root:",
			fmt.Sprintf("--wsrep-sst-receive-address=127.0.0.1:%d", port)),
	}}
	j.ctx, j.kill = context.WithCancel(t.Context())
	t.Cleanup(func() {
		j.kill()
		if log, err := os.ReadFile(filepath.Join(j.options.Dir, "error.log")); err == nil && t.Failed() {
			for line := range strings.Lines(string(log)) {
				if !strings.Contains(line, "InnoDB") && !strings.Contains(line, "[Note] WSREP: ") {
					t.Log(strings.TrimSpace(line))
				}
			}
		}
	})
	return j
}

// must starts the node.
func (j *joining) must(t *testing.T) (s *mariadbtest.Server, address string) {
	t.Helper()
	s, err := mariadbtest.Start(j.ctx, j.options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // with all that it has
	return s, j.address
}
