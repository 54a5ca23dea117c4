package archive_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/archive"
	"mbk/internal/binlog"
	"mbk/internal/repo"
	"mbk/internal/repo/store/folder"
	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

// fixture is a server and a repository.
type fixture struct {
	*mariadbtest.Server
	repository string
}

func newFixture(t *testing.T, version string, args ...string) *fixture {
	t.Helper()
	return &fixture{mariadbtest.New(t, version, args...), t.TempDir()}
}

// open opens the repository, which is made if it is not there.
func (x *fixture) open(t *testing.T) *repo.Repository {
	t.Helper()
	st, err := folder.Open(x.repository)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.OpenOrNew(t.Context(), st, "mbk test")
	if err != nil {
		t.Fatal(err)
	}
	r.OnWarning(func(text string) { t.Log(text) })
	return r
}

// run archives.
func (x *fixture) run(ctx context.Context, t *testing.T, o archive.Options) (*archive.Result, error) {
	t.Helper()
	s, err := stage.Connect(ctx, stage.Config{Socket: x.Socket, User: "root"})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	o.Server, o.Repository, o.Tool = s, x.open(t), "mbk test"
	o.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	return archive.Run(ctx, o)
}

// once archives what there is, and fails the test unless the error is the one that is wanted.
func (x *fixture) once(t *testing.T, gap bool) *archive.Result {
	t.Helper()
	told := make(chan error, 10)
	r, err := x.run(t.Context(), t, archive.Options{Once: true, Size: 20_000,
		Gap: func(ctx context.Context, _ string, err *archive.GapError) { told <- alarmed(ctx, err) }})
	if _, isGap := errors.AsType[*archive.GapError](err); isGap != gap || err != nil && !isGap {
		t.Fatalf("archive: %v, want a gap: %v", err, gap)
	}
	wantTold(t, told, gap)
	return r
}

// alarmed tells of a gap for as long as a mail may take, unless the context ends.
func alarmed(ctx context.Context, err *archive.GapError) error {
	select {
	case <-ctx.Done():
		return fmt.Errorf("%w: the alarm has no time: %w", err, context.Cause(ctx))
	case <-time.After(300 * time.Millisecond):
		return nil
	}
}

// wantTold wants one alarm if there was a gap, and that it could end.
func wantTold(t *testing.T, told chan error, gap bool) {
	t.Helper()
	if n := len(told); n > 1 || (n == 1) != gap {
		t.Fatalf("%d alarms, gap: %v", n, gap)
	}
	if gap {
		if err := <-told; err != nil {
			t.Error(err)
		}
	}
}

// archived returns the GTIDs of the newest timeline, in their order, and checks its chain.
func (x *fixture) archived(t *testing.T) []string {
	t.Helper()
	r := x.open(t)
	all, err := r.Timelines(t.Context())
	if err != nil || len(all) == 0 {
		t.Fatalf("timelines: %v, %v", all, err)
	}
	newest := all[len(all)-1]
	if newest.Err != nil {
		t.Fatal(newest.Err)
	}
	at, err := binlog.ParsePosition(newest.Start)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	var before *repo.Segment
	for i, stored := range newest.Segments {
		s, err := r.Segment(t.Context(), newest.ID, stored.Number)
		if err == nil && before != nil {
			err = s.Follows(before)
		}
		if err != nil || stored.Number != uint64(i+1) || s.Before != at.String() {
			t.Fatalf("segment %d from %s, after %s: %v", stored.Number, s.Before, at, err)
		}
		before = s
		list = append(list, x.transactions(t, r, s, at)...)
		if s.After != at.String() {
			t.Fatalf("segment %d ends at %s, its transactions at %s", s.Number, s.After, at)
		}
	}
	return list
}

// transactions reads a segment, and moves the position.
func (x *fixture) transactions(t *testing.T, r *repo.Repository, s *repo.Segment, at binlog.Position) []string {
	t.Helper()
	body, err := r.OpenSegment(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(body)
	if err := errors.Join(err, body.Close()); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(b), binlog.Magic) {
		t.Fatalf("%s is not a file of the binary log", s.Name())
	}
	var list []string
	var c binlog.Cutter
	for b = b[len(binlog.Magic):]; len(b) > 0; {
		h, err := binlog.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		part, dropped, err := c.Next(b[:h.Size])
		if err != nil || dropped || part == binlog.Outside && h.Type != binlog.TypeFormat && h.Type != binlog.TypeRotate {
			t.Fatalf("%s: type %d, dropped %v, %v", s.Name(), h.Type, dropped, err)
		}
		if begin, _ := c.Begun(); part == binlog.Closing {
			list = append(list, begin.GTID.String())
			at.Add(begin.GTID)
		}
		b = b[h.Size:]
	}
	if _, open := c.Begun(); open || int64(len(list)) != s.Transactions {
		t.Fatalf("%s: %d transactions, its head says %d; open: %v", s.Name(), len(list), s.Transactions, open)
	}
	return list
}

// logged returns the GTIDs in the server's binary log, in their order.
func (x *fixture) logged(t *testing.T) []string {
	t.Helper()
	var list []string
	rows, err := x.DB().QueryContext(t.Context(), "SHOW BINARY LOGS")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // read to its end
	for rows.Next() {
		var name, size string
		if err := rows.Scan(&name, &size); err != nil {
			t.Fatal(err)
		}
		list = append(list, x.loggedIn(t, name)...)
	}
	return list
}

func (x *fixture) loggedIn(t *testing.T, name string) []string {
	t.Helper()
	rows, err := x.DB().QueryContext(t.Context(), "SHOW BINLOG EVENTS IN '"+name+"'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close() //nolint:errcheck // read to its end
	var list []string
	for rows.Next() {
		var file, pos, kind, server, end, info string
		if err := rows.Scan(&file, &pos, &kind, &server, &end, &info); err != nil {
			t.Fatal(err)
		}
		if kind == "Gtid" {
			words := strings.Fields(strings.TrimPrefix(info, "BEGIN "))
			list = append(list, strings.TrimPrefix(words[len(words)-1], "GTID "))
			for i, w := range words {
				if w == "GTID" {
					list[len(list)-1] = words[i+1]
				}
			}
		}
	}
	return list
}

// wantSame compares the newest timeline with what the server's log has from an index on.
func (x *fixture) wantSame(t *testing.T, from int) {
	t.Helper()
	got, want := x.archived(t), x.logged(t)[from:]
	if strings.Join(got, " ") != strings.Join(want, " ") {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		t.Fatalf("%d transactions are archived, the server has %d; they differ from number %d on", len(got), len(want), i)
	}
}

// write makes transactions in two domains and all kinds of tables.
func (x *fixture) write(t *testing.T, n int) {
	t.Helper()
	x.MustExec(t, "CREATE DATABASE IF NOT EXISTS d",
		"CREATE TABLE IF NOT EXISTS d.i (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)",
		"CREATE TABLE IF NOT EXISTS d.m (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT) ENGINE=MyISAM")
	for i := range n {
		x.MustExec(t, fmt.Sprintf("SET gtid_domain_id=%d", i%2), "INSERT INTO d.i (b) VALUES (REPEAT('x', 1000))",
			"INSERT INTO d.m (b) VALUES (1)", "SET binlog_format=STATEMENT", "INSERT INTO d.i (b) VALUES (RAND())")
	}
}

// The archive is what the server's log is, over restarts of either and files of the log, and
// an end of what was received never comes twice.
func TestArchiveOnce(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, "10.5", "10.11", "11.8") {
		t.Run(version, func(t *testing.T) {
			x := newFixture(t, version)
			x.write(t, 30)
			if r := x.once(t, false); r.Segments < 3 || r.Timeline == "" {
				t.Errorf("the first run: %+v", r)
			}
			x.wantSame(t, 0)
			if r := x.once(t, false); r.Segments != 0 || r.Position == "" {
				t.Errorf("a run with nothing to do: %+v", r)
			}
			x.MustExec(t, "FLUSH BINARY LOGS", "SET GLOBAL binlog_checksum=NONE")
			x.write(t, 3)
			if err := x.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			x.write(t, 3)
			x.once(t, false)
			x.wantSame(t, 0)
			x.readable(t)

			// What was archived may be purged. What was not is a gap, with a name.
			have := len(x.logged(t))
			x.MustExec(t, "FLUSH BINARY LOGS")
			x.purge(t)
			x.once(t, false)
			x.write(t, 2)
			x.once(t, false)
			if n := len(x.archived(t)); n <= have {
				t.Errorf("%d transactions after the purge, there were %d", n, have)
			}
			x.write(t, 2)
			x.MustExec(t, "FLUSH BINARY LOGS")
			x.purge(t)
			x.write(t, 1)
			r := x.once(t, true)
			if len(r.Gaps) != 1 || !strings.Contains(r.Gaps[0], "purged") {
				t.Errorf("after a gap: %+v", r)
			}
			x.wantSame(t, 0)
			x.once(t, false)

			// Another history with the same numbers.
			position, err := binlog.ParsePosition(x.MustValue(t, "SELECT @@gtid_binlog_pos"))
			if err != nil {
				t.Fatal(err)
			}
			x.MustExec(t, "RESET MASTER")
			for domain, g := range position {
				x.MustExec(t, fmt.Sprintf("SET gtid_domain_id=%d, gtid_seq_no=%d", domain, g.Sequence),
					fmt.Sprintf("CREATE TABLE d.x%d (a INT)", domain))
			}
			if at := x.MustValue(t, "SELECT @@gtid_binlog_pos"); at != position.String() {
				t.Fatalf("the other history is at %s, want %s", at, position)
			}
			if r := x.once(t, true); len(r.Gaps) != 1 || !strings.Contains(r.Gaps[0], "another history") {
				t.Errorf("after RESET MASTER: %+v", r)
			}
			x.wantSame(t, 0)
			x.once(t, false)
		})
	}
}

// purge removes all files of the log but the last.
func (x *fixture) purge(t *testing.T) {
	t.Helper()
	file, _, err := x.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 100 { // a file may be needed until InnoDB has flushed what it is for
		x.MustExec(t, "PURGE BINARY LOGS TO '"+file+"'")
		if oldest := x.oldest(t); oldest == file {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("the server does not purge its log")
}

// oldest returns the name of the oldest file of the log.
func (x *fixture) oldest(t *testing.T) string {
	t.Helper()
	var name, size string
	if err := x.DB().QueryRowContext(t.Context(), "SHOW BINARY LOGS").Scan(&name, &size); err != nil {
		t.Fatal(err)
	}
	return name
}

// readable checks that the server's own program reads a segment that zstd has decompressed.
func (x *fixture) readable(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("zstd"); err != nil {
		t.Log(err)
		return
	}
	paths, err := filepath.Glob(filepath.Join(x.repository, "binlog", "*", "*.seg"))
	if err != nil || len(paths) < 3 {
		t.Fatal(paths, err)
	}
	for _, path := range paths {
		plain := filepath.Join(t.TempDir(), "binlog")
		if out, err := exec.Command("zstd", "-d", "-q", "-o", plain, path).CombinedOutput(); err != nil {
			t.Fatalf("zstd: %v: %s", err, out)
		}
		out, err := exec.Command(x.Dist.Program("mariadb-binlog"), "--no-defaults", "--verify-binlog-checksum",
			plain).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "GTID") {
			t.Fatalf("mariadb-binlog: %v: %s", err, out)
		}
	}
}

// As a service: a server that writes, restarts and flushes its log, and an archive that is
// ended at any moment. Nothing is missing and nothing is there twice.
func TestArchiveFollows(t *testing.T) {
	t.Parallel()
	x := newFixture(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0])
	if err := mariadbtest.Populate(t.Context(), x.Server, mariadbtest.Fill{InnoDBMiB: 1}); err != nil {
		t.Fatal(err)
	}
	load, err := mariadbtest.Write(t.Context(), x.Server, mariadbtest.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(200+rand.IntN(800))*time.Millisecond)
		_, err := x.run(ctx, t, archive.Options{Every: time.Second, Size: 100_000})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("run %d: %v", i, err)
		}
		x.MustExec(t, "FLUSH BINARY LOGS")
	}
	if _, err := load.Stop(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := x.run(ctx, t, archive.Options{Every: time.Second})
		ended <- err
	}()
	time.Sleep(500 * time.Millisecond)
	if _, err := x.run(t.Context(), t, archive.Options{Once: true}); !errors.Is(err, repo.ErrArchived) {
		t.Errorf("a second archive: %v", err)
	}
	if err := errors.Join(x.Kill(), x.Restart(t.Context())); err != nil {
		t.Fatal(err)
	}
	x.write(t, 5)
	for range 100 {
		if got := x.archived(t); len(got) == len(x.logged(t)) {
			break
		}
		time.Sleep(200 * time.Millisecond)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the service: %v", err)
	}
	x.wantSame(t, 0)
}
