package cli_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// A node of a Galera cluster is the source of an archive: what is written on any node is in it, and leads to any
// moment. A node that has come from a backup has a log that begins there: it is another history, which is a gap with
// a name, also with GTIDs of the cluster.
func TestGaleraArchive(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	for name, args := range map[string][]string{
		"GTIDs of each node":   {"--server-id=%d"},
		"GTIDs of the cluster": {"--server-id=9", "--wsrep-gtid-mode=ON", "--wsrep-gtid-domain-id=5", "--gtid-domain-id=%d"},
	} {
		t.Run(name, func(t *testing.T) { galeraArchive(t, newest(), args) })
	}
}

func galeraArchive(t *testing.T, version string, args []string) {
	repository := t.TempDir()
	nodeArgs := func(n int) []string {
		list := slices.Clone(args)
		if last := len(list) - 1; strings.Contains(list[last], "%d") {
			list[last] = fmt.Sprintf(list[last], n)
		}
		return list
	}
	ready := func(s *mariadbtest.Server) {
		until(t, "node in step", func() bool { return galeraStatus(t, s, "local_state_comment") == "Synced" })
	}
	first, address := node(t, version, "", "", nodeArgs(1)...)
	ready(first)
	first.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b TEXT)")
	b := document[taken](t, backupArgs(first, repository)...)
	target := filepath.Join(t.TempDir(), "node")
	must(t, append(restoreArgs(b.ID, repository, target), "--galera-node")...)
	second, _ := node(t, version, target, address, nodeArgs(2)...)
	ready(second)
	both := func(from int) {
		for i := range 10 {
			first.MustExec(t, fmt.Sprintf("INSERT INTO d.t VALUES (%d, 'first')", from+2*i))
			second.MustExec(t, fmt.Sprintf("INSERT INTO d.t VALUES (%d, 'second')", from+2*i+1))
		}
		first.MustExec(t, fmt.Sprintf("CREATE TABLE d.t%d (a INT PRIMARY KEY)", from))
		for _, s := range []*mariadbtest.Server{first, second} { // wait for what the other has written
			s.MustExec(t, "SET SESSION wsrep_sync_wait=7", "SELECT COUNT(*) FROM d.t")
		}
	}
	wantEnd := func(source *mariadbtest.Server) {
		t.Helper()
		target := filepath.Join(t.TempDir(), "restored")
		got := document[untilDocument](t, append(restoreArgs("latest", repository, target), "--until", "end")...)
		if at := source.MustValue(t, "SELECT @@gtid_binlog_pos"); got.Replay.To != at {
			t.Errorf("restored to %s, the node is at %s", got.Replay.To, at)
		}
		// The tables in mysql about the cluster are those of the backup.
		restored := mariadbtest.Open(t, version, target)
		const rows = "SELECT CONCAT(COUNT(*), ' ', SUM(a), ' ', SUM(CRC32(b)), ' ', " +
			"(SELECT GROUP_CONCAT(table_name ORDER BY 1) FROM information_schema.tables WHERE table_schema = 'd')) FROM d.t"
		if got, want := restored.MustValue(t, rows), source.MustValue(t, rows); got != want {
			t.Errorf("restored: %s, the node has %s", got, want)
		}
	}

	both(0)
	archiving(t, first, repository)
	wantEnd(first)

	// The node is gone, and the archive follows the other one.
	both(100)
	o := mbk(t, "archive", "--once", "--repo", repository, "--socket", second.Socket, "--user", "root")
	if o.code != 1 || !strings.Contains(o.stderr, "another history") {
		t.Errorf("the archive of another node ended with %d: %s", o.code, o.stderr)
	}
	must(t, append(backupArgs(second, repository), "--new-server")...)
	both(200)
	archiving(t, second, repository)
	wantEnd(second)
}
