package cli_test

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"mbk/internal/mariadbtest"
)

// A backup of a busy node of a Galera cluster becomes another node of it, which fetches
// what is missing from the others. First it is the node that is written to, and then
// one that gets it all from there.
func TestGaleraNode(t *testing.T) {
	t.Parallel()
	t.Log(galeraNode(t, newest()))
}

func galeraNode(t *testing.T, version string) string {
	address, repository := freeAddress(t), t.TempDir()
	first := mariadbtest.New(t, version, galeraArgs(t, version, "gcomm://", address)...)
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
			t.Fatalf("the backup's place in the cluster is %+v, want one in %s", b.Galera, galeraStatus(t, first, "cluster_state_uuid"))
		}
		target := filepath.Join(t.TempDir(), "restored")
		mbk(t, append(restoreArgs(b.ID, repository, target), "--galera-node", "--table", "d.t")...).wantRefusal(t, 2, "--galera-node", "tables are left out")
		r := must(t, append(restoreArgs(b.ID, repository, target), "--galera-node")...)
		if position := fmt.Sprintf("%s:%d", b.Galera.UUID, b.Galera.SeqNo); !strings.Contains(r.stdout, position) {
			t.Errorf("the restore does not tell %s:\n%s", position, r.stdout)
		}
		first.MustExec(t, "UPDATE d.t SET n = n + 1 WHERE id < 100")

		node := mariadbtest.Open(t, version, target, galeraArgs(t, version, "gcomm://"+address, freeAddress(t))...)
		until(t, "node that is in step", func() bool { return galeraStatus(t, node, "local_state_comment") == "Synced" })
		if got := galeraStatus(t, first, "cluster_size"); got != strconv.Itoa(size) {
			t.Errorf("the cluster has %s nodes, want %d", got, size)
		}
		node.MustExec(t, fmt.Sprintf("INSERT INTO d.u (id, n) VALUES (%d, 1)", 1_000_000+size))
		first.MustExec(t, "SET SESSION wsrep_sync_wait=7", "SELECT COUNT(*) FROM d.u") // waits for what the other nodes wrote
		wantSame(t, first, node)
		source = node
	}
	return b.String()
}

// clusterDDL makes and drops tables. Where a backup has paused the node, the server
// refuses that instead of letting it wait.
func clusterDDL(ctx context.Context, s *mariadbtest.Server) error {
	for ctx.Err() == nil {
		for _, q := range []string{"CREATE TABLE IF NOT EXISTS d.brief (a INT PRIMARY KEY)", "DROP TABLE IF EXISTS d.brief"} {
			if err := s.Exec(context.WithoutCancel(ctx), q); err != nil && !strings.Contains(err.Error(), "Replication paused on node") {
				return err
			}
		}
	}
	return nil
}

// galeraArgs make a server a node at address of the cluster that it finds at another.
func galeraArgs(t *testing.T, version, cluster, address string) []string {
	t.Helper()
	dist, err := mariadbtest.Get(context.Background(), version)
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(filepath.Dir(filepath.Dir(dist.Program("mariadbd"))), "root/usr/lib/galera/libgalera_smm.so"))
	if err != nil || len(found) != 1 {
		t.Skipf("no Galera library beside the server: %q, %v", found, err)
	}
	return []string{
		"--wsrep-on=ON", "--wsrep-provider=" + found[0], "--wsrep-cluster-address=" + cluster, "--wsrep-sst-method=cached", "--wsrep-node-address=127.0.0.1",
		"--innodb-autoinc-lock-mode=2", "--binlog-format=ROW", "--log-slave-updates=ON",
		fmt.Sprintf("--wsrep-provider-options=gmcast.listen_addr=tcp://%s;base_host=127.0.0.1;ist.recv_addr=%s", address, freeAddress(t)),
	}
}

func galeraStatus(t *testing.T, s *mariadbtest.Server, name string) string {
	t.Helper()
	return s.MustValue(t, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'wsrep_"+name+"'")
}

// freeAddress is one at which nobody listens.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it is not used
	return l.Addr().String()
}
