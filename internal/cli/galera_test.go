package cli_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// A backup of a busy node of a Galera cluster becomes another node of it, which fetches
// what is missing from the others. First it is the node that is written to, and then
// one that gets it all from there.
func TestGaleraNode(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(galeraNode(t, newest()))
}

func galeraNode(t *testing.T, version string) string {
	repository := t.TempDir()
	first, address := node(t, version, "", "")
	until(t, "cluster of one", func() bool { return galeraStatus(t, first, "ready") == "ON" })
	first.MustExec(t, statements(filled("t", 8, ""), filled("u", 2, ""))...)
	written := all(
		churn("UPDATE d.t SET n = n + 1 WHERE id % 50 = FLOOR(RAND() * 50)"),
		churn("UPDATE d.u SET n = n + 1 WHERE id = 1"),
		clusterDDL,
	)
	var b taken
	source := first
	for size := 2; size <= 3; size++ {
		b = taking(t, source, repository, profile{
			during: func(ctx context.Context, _ *mariadbtest.Server) error { return written(ctx, first) },
			backup: []string{"--rate-limit", "20MB"},
		})
		if b.Galera == nil || b.Galera.UUID != galeraStatus(t, first, "cluster_state_uuid") {
			t.Fatalf("the backup's place in the cluster is %+v, want one in %s", b.Galera,
				galeraStatus(t, first, "cluster_state_uuid"))
		}
		target := filepath.Join(t.TempDir(), "restored")
		mbk(t, append(restoreArgs(b.ID, repository, target), "--galera-node", "--table", "d.t")...).wantRefusal(t, 2,
			"--galera-node", "tables are left out")
		r := must(t, append(restoreArgs(b.ID, repository, target), "--galera-node")...)
		if position := fmt.Sprintf("%s:%d", b.Galera.UUID, b.Galera.SeqNo); !strings.Contains(r.stdout, position) {
			t.Errorf("the restore does not tell %s:\n%s", position, r.stdout)
		}
		first.MustExec(t, "UPDATE d.t SET n = n + 1 WHERE id < 100")

		further, _ := node(t, version, target, address)
		until(t, "node that is in step", func() bool { return galeraStatus(t, further, "local_state_comment") == "Synced" })
		if got := galeraStatus(t, first, "cluster_size"); got != strconv.Itoa(size) {
			t.Errorf("the cluster has %s nodes, want %d", got, size)
		}
		further.MustExec(t, fmt.Sprintf("INSERT INTO d.u (id, n) VALUES (%d, 1)", 1_000_000+size))
		first.MustExec(t, "SET SESSION wsrep_sync_wait=7", "SELECT COUNT(*) FROM d.u") // waits for what the other nodes wrote
		wantSame(t, first, further)
		source = further
	}
	return b.String()
}

// clusterDDL makes and drops tables. Where a backup has paused the node, the server
// refuses that instead of letting it wait.
func clusterDDL(ctx context.Context, s *mariadbtest.Server) error {
	for ctx.Err() == nil {
		for _, q := range []string{"CREATE TABLE IF NOT EXISTS d.brief (a INT PRIMARY KEY)", "DROP TABLE IF EXISTS d.brief"} {
			if err := s.Exec(context.WithoutCancel(ctx), q); err != nil &&
				!strings.Contains(err.Error(), "Replication paused on node") {
				return err
			}
		}
	}
	return nil
}

// node starts a node of the cluster that it finds at an address, on files that may be
// there already, and returns its own address.
func node(t *testing.T, version, datadir, join string, more ...string) (s *mariadbtest.Server, address string) {
	t.Helper()
	dist, err := mariadbtest.Get(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	args, address, err := mariadbtest.GaleraArgs(dist, join)
	if err != nil {
		t.Skip(err)
	}
	args = append(append(args, "--wsrep-sst-method=cached"), more...)
	return mariadbtest.Open(t, version, datadir, args...), address
}

func galeraStatus(t *testing.T, s *mariadbtest.Server, name string) string {
	t.Helper()
	return s.MustValue(t, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'wsrep_"+name+
		"'")
}
