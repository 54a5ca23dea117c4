package archive_test

import (
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// replica makes a replica of a server that was stopped at a position, and has the same repository.
func (x *fixture) replica(t *testing.T, position string, args ...string) *fixture {
	t.Helper()
	y := &fixture{mariadbtest.New(t, x.Dist.Series, args...), x.repository}
	if err := mariadbtest.ReplicateUntil(t.Context(), x.Server, y.Server, position); err != nil {
		t.Fatal(err)
	}
	return y
}

// timelines counts the timelines of the archive.
func (x *fixture) timelines(t *testing.T) int {
	t.Helper()
	all, err := x.open(t).Timelines(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// The archive follows from one server of a cluster to another, whose files have the same names: on
// the same timeline if that has all that is archived, whether it is strict or not, and on another one if it
// has not. Nothing that a new primary has written of its own is taken for what is archived.
func TestArchiveFailover(t *testing.T) {
	t.Parallel()
	x := newFixture(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0])
	x.write(t, 6)
	x.once(t, false)
	at := x.MustValue(t, "SELECT @@gtid_binlog_pos")
	x.write(t, 1) // which replicas do not get, and the archive neither
	early := x.replica(t, "0-1-9", "--log-slave-updates")
	y := x.replica(t, at, "--log-slave-updates", "--gtid-strict-mode=ON")

	// Promoted: what it writes follows what is archived, under its own id.
	y.MustExec(t, "CREATE USER app@localhost", "INSERT INTO d.i (b) VALUES ('after the failover')")
	before := len(y.archived(t))
	y.once(t, false)
	got := y.archived(t)
	if y.timelines(t) != 1 || len(got) != before+2 || !strings.HasPrefix(got[before], "0-4000000001-") {
		t.Fatalf("after the failover: %d timelines, %d transactions, then %v", y.timelines(t), before, got[before:])
	}
	y.once(t, false)

	// The old primary comes back with a transaction that nobody has: it is another history.
	if r := x.once(t, true); !strings.Contains(r.Gaps[0], "another history") || x.timelines(t) != 2 {
		t.Errorf("the old primary: %+v", r)
	}
	x.wantSame(t, 0)

	// A replica that lags is no other history for good: what it lacks is missing now.
	early.repository = x.repository
	if r := early.once(t, true); len(r.Gaps) != 1 {
		t.Errorf("a replica that lags: %+v", r)
	}
}

// A replica that does not log what it replicates is told from one that does.
func TestArchiveOfReplica(t *testing.T) {
	t.Parallel()
	x := newFixture(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0])
	x.write(t, 3)
	y := x.replica(t, x.MustValue(t, "SELECT @@gtid_binlog_pos"), "--log-slave-updates")
	r := y.once(t, false)
	if len(r.Warnings) > 0 {
		t.Errorf("with log_slave_updates: %v", r.Warnings)
	}
	if got, want := y.archived(t), x.logged(t); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%d transactions are archived from the replica, the primary has %d", len(got), len(want))
	}
	// From the primary it goes on, and what it has is not archived again.
	x.write(t, 1)
	x.once(t, false)
	if x.timelines(t) != 1 {
		t.Errorf("%d timelines", x.timelines(t))
	}
	x.wantSame(t, 0)
}
