package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/ui"
)

// A list draws each full backup with its increments under it, whatever their order in time
// is, and says what each needs and what is wrong with it.
func TestListDrawsChains(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	var list []repo.Summary
	add := func(id, parent string, stored int64, change func(*repo.Summary)) {
		started, kind, err := repo.ParseID(id)
		if err != nil {
			t.Fatal(err)
		}
		b := repo.Summary{Attempt: repo.Attempt{
			ID: id, Kind: kind, Parent: parent, Started: started, Finished: started.Add(8 * time.Second), LockMS: 12,
			Tables: 138, Volume: repo.Volume{BytesRead: 4 * stored, BytesStored: stored},
		}}
		if change != nil {
			change(&b)
		}
		list = append(list, b)
	}
	verified := func(depth string, ok bool) func(*repo.Summary) {
		return func(b *repo.Summary) {
			b.Verified = &repo.Verification{OK: ok, Depth: depth, FindingCount: 2, Time: b.Finished}
		}
	}
	const mib = 1 << 20
	add("20261101T003000Z-full", "", 92*mib, verified(repo.DepthBoot, true))
	pinned := func(b *repo.Summary) { b.Pin = &repo.Pin{Reason: "audit\n2026"} }
	add("20261102T003000Z-incr", "20261101T003000Z-full", mib, pinned)
	add("20261103T003000Z-incr", "20261102T003000Z-incr", 2*mib, verified(repo.DepthPages, false))
	add("20261104T003000Z-incr", "20261103T003000Z-incr", mib, nil)
	add("20261105T003000Z-full", "", 95*mib, nil)
	add("20261106T003000Z-incr", "20261102T003000Z-incr", 3*mib, verified(repo.DepthPages, true)) // a branch
	add("20261107T003000Z-incr", "20261105T003000Z-full", mib, nil)
	add("20261108T003000Z-incr", "20261001T003000Z-full", mib, nil)
	repo.Connect(list)

	l := &listed{Backups: list, Unfinished: []repo.Unfinished{
		{ID: "20261107T013000Z-full", Bytes: mib}, {ID: "20261109T003000Z-incr", Bytes: mib / 2, Running: true},
	}}
	now := time.Date(2026, 11, 9, 0, 30, 7, 0, time.UTC)
	for _, width := range []int{40, 80, 120, 200} {
		t.Run(strconv.Itoa(width), func(t *testing.T) {
			var b strings.Builder
			if err := printList(ui.New(ui.Streams{Stdout: &b, Columns: width}, false), l, now); err != nil {
				t.Fatal(err)
			}
			wantScreen(t, b.String(), fmt.Sprintf("list-%d.txt", width))
			table, _, _ := strings.Cut(b.String(), "\n20261102T003000Z-incr  pinned") // the first note
			for line := range strings.Lines(table) {
				if n := len(strings.TrimSuffix(line, "\n")); n > width {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
	t.Run("colors", func(t *testing.T) {
		var b strings.Builder
		if err := printList(ui.New(ui.Streams{Stdout: &b, Columns: 80, Colored: true}, false), l, now); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(b.String(), "\x1b[31m"); n != 6 || !strings.Contains(b.String(), "\x1b[31mDAMAGED\x1b[0m\n") {
			t.Errorf("%d times red:\n%q", n, b.String())
		}
	})
}

// Of a backup with a damaged manifest and no record nobody knows when it ended: a list said
// that it took -2562047h.
func TestTook(t *testing.T) {
	begun := time.Date(2026, 11, 9, 0, 30, 0, 0, time.UTC)
	for want, a := range map[string]repo.Attempt{
		"-":  {Started: begun},
		"8s": {Started: begun, Finished: begun.Add(8 * time.Second)},
	} {
		if got := took(&a); got != want {
			t.Errorf("from %s to %s it took %q, want %q", a.Started, a.Finished, got, want)
		}
	}
}

// wantScreen compares a text with one in testdata; with MBK_TEST_UPDATE that is written.
func wantScreen(t *testing.T, got, name string) {
	t.Helper()
	name = filepath.Join("testdata", "screens", name)
	if os.Getenv("MBK_TEST_UPDATE") != "" {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant, from %s,\n%s", got, name, want)
	}
}
