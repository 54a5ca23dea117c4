package main

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"mbk/copier"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// What increments add may not make many tables expensive: stored, or in memory while a backup
// or a restore runs.
const perTable = 500 // bytes

// manyTables is the lineage of a server with n tables: a definition and a tablespace each.
func manyTables(n int) *repo.Lineage {
	r := rand.New(rand.NewPCG(1, 2))
	l := &repo.Lineage{
		ID: "20261129T201806Z-full", Checkpoint: 1 << 40, End: 1<<40 + 1<<20, Series: [2]uint16{11, 8}, PageSize: 16384,
	}
	for i := range 2 * n {
		f := repo.LineageFile{
			Number: uint32(i), Class: repo.ClassPlain, Dev: 0xfe00, Inode: r.Uint64N(1 << 40), Quiescent: true,
			Born: r.Int64(), Size: r.Int64N(1 << 34), Modified: r.Int64(), Changed: r.Int64(),
		}
		if i%2 == 0 {
			f.Class, f.HasSpace, f.Space, f.PageSize, f.Flags = repo.ClassInnoDB, true, innodb.SpaceID(i/2+1), 16384, 0x15
			f.Size = 7 * 16384
		}
		f.Copied = f.Size
		l.Files = append(l.Files, f)
	}
	return l
}

// held is how much memory what make returns takes.
func held(make func() any) int64 {
	var before, after runtime.MemStats
	for range 3 { // pools are emptied by the second
		runtime.GC()
	}
	runtime.ReadMemStats(&before)
	kept := make()
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(kept)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}

func TestBytesPerTable(t *testing.T) {
	const tables = 100_000
	stored, err := manyTables(tables).Encode()
	if err != nil {
		t.Fatal(err)
	}
	index := held(func() any {
		l, err := repo.DecodeLineage(stored)
		if err != nil {
			t.Fatal(err)
		}
		return repo.NewLineageIndex(l)
	})
	overlays := held(func() any {
		var all []*copier.Overlay
		for range tables { // a definition has one layer
			all = append(all, copier.NewOverlay(7*16384, 16384))
		}
		return all
	})
	runtime.KeepAlive(stored) // it is not to be given back while the rest is measured
	t.Logf("%d bytes stored of the lineage, %d in memory, %d for overlays, per table", len(stored)/tables, index/tables,
		overlays/tables)
	if n := int64(len(stored)) / tables; n > perTable {
		t.Errorf("a lineage takes %d bytes for a table where it is stored, want at most %d", n, perTable)
	}
	if n := (index + overlays) / tables; n > perTable {
		t.Errorf("a lineage and its overlays take %d bytes of memory for a table, want at most %d", n, perTable)
	}
}
