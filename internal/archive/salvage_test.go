package archive_test

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/archive"
	"mbk/internal/binlog"
	"mbk/internal/binlog/logfiles"
	"mbk/internal/test/mariadbtest"
)

// salvage archives what is in a folder.
func (x *fixture) salvage(t *testing.T, dir string, gap bool) *archive.Result {
	t.Helper()
	r, err := x.trySalvage(t, dir)
	if _, isGap := errors.AsType[*archive.GapError](err); isGap != gap || err != nil && !isGap {
		t.Fatalf("salvage: %v, want a gap: %v", err, gap)
	}
	return r
}

func (x *fixture) trySalvage(t *testing.T, dir string) (*archive.Result, error) {
	t.Helper()
	l, err := logfiles.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	return archive.Salvage(t.Context(), archive.SalvageOptions{Repository: x.open(t), Log: l, Size: 20_000,
		Tool: "mbk test", Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
}

// The tail of a dead server's log is archived to its last whole transaction: none is missing, and
// none is there twice, whether the archive ends before, in or after the files.
func TestSalvage(t *testing.T) {
	t.Parallel()
	x := newFixture(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0])
	x.write(t, 5)
	x.once(t, false)
	x.MustExec(t, "FLUSH BINARY LOGS")
	x.write(t, 10)
	x.MustExec(t, "INSERT INTO d.i (b) VALUES ('a row with an annotation')")
	x.once(t, false)
	x.write(t, 3)
	x.MustExec(t, "FLUSH BINARY LOGS")
	x.write(t, 4)
	want := x.logged(t)
	if err := x.Kill(); err != nil {
		t.Fatal(err)
	}
	if r := x.salvage(t, x.Datadir, false); r.Transactions < 14 || r.Position == "" {
		t.Errorf("%+v", r)
	}
	if got := x.archived(t); !slices.Equal(got, want) {
		t.Fatalf("%d transactions are archived, the server had %d", len(got), len(want))
	}
	if r := x.salvage(t, x.Datadir, false); r.Transactions != 0 {
		t.Errorf("a second time: %+v", r)
	}

	// Without an archive, cut at any byte.
	last := "binlog.000003"
	whole, err := os.ReadFile(filepath.Join(x.Datadir, last))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		cut, flip int
	}{{cut: len(whole) - 3}, {cut: len(whole) / 2}, {cut: len(whole), flip: len(whole) / 2}} {
		dir := x.CopyLog(t)
		b := slices.Clone(whole[:c.cut])
		b[c.flip] ^= 4
		if c.flip == 0 {
			b[0] ^= 4
		}
		if err := os.WriteFile(filepath.Join(dir, last), b, 0o600); err != nil {
			t.Fatal(err)
		}
		x.repository = t.TempDir()
		r := x.salvage(t, dir, false)
		got := x.archived(t)
		if n := len(got); n >= len(want) || n < len(want)-22 || !slices.Equal(got, want[:n]) ||
			!strings.Contains(strings.Join(r.Warnings, " "), last) {
			t.Errorf("cut at %d, flipped at %d: %d of %d transactions: %+v", c.cut, c.flip, len(got), len(want), r)
		}
		// The server that lived on has the rest.
		x.salvage(t, x.Datadir, false)
		if got := x.archived(t); !slices.Equal(got, want) {
			t.Errorf("afterwards %d of %d transactions", len(got), len(want))
		}
	}

	// Files that are missing are a gap with a name; older files are nothing new.
	x.repository = t.TempDir()
	r := x.salvage(t, x.CopyLog(t, "binlog.000002"), true)
	if len(r.Gaps) != 1 || !strings.Contains(r.Gaps[0], "not whole") {
		t.Errorf("a file is missing: %+v", r)
	}
	if got := x.archived(t); len(got) == 0 || got[len(got)-1] != want[len(want)-1] {
		t.Errorf("after the gap: %v", got)
	}
	r = x.salvage(t, x.CopyLog(t, "binlog.000002", "binlog.000003"), false)
	if r.Transactions != 0 || !strings.Contains(strings.Join(r.Warnings, " "), "nothing to salvage") {
		t.Errorf("files that end before the archive: %+v", r)
	}

	// Another server with the same numbers is another history.
	other := newFixture(t, x.Dist.Series)
	other.write(t, 25)
	if err := other.Kill(); err != nil {
		t.Fatal(err)
	}
	r = x.salvage(t, other.Datadir, true)
	if len(r.Gaps) != 1 || !strings.Contains(r.Gaps[0], "another history") {
		t.Errorf("another server: %+v", r)
	}
}

// What the server has encrypted is refused, with what to do.
func TestSalvageEncrypted(t *testing.T) {
	t.Parallel()
	keys, err := mariadbtest.EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	x := newFixture(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0], append(keys, "--encrypt-binlog=ON")...)
	x.write(t, 1)
	if _, err := x.trySalvage(t, x.Datadir); !errors.Is(err, binlog.ErrEncrypted) {
		t.Errorf("salvage = %v", err)
	}
	if all, err := x.open(t).Timelines(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("timelines %v, %v", all, err)
	}
}
