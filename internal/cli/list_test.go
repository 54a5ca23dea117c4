package cli

import (
	"os"
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

	var b strings.Builder
	if err := ui.Rows(&b, listLines(list)); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile("testdata/list-chains.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}
