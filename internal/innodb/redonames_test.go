package innodb

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// TestNamesBeforeTheCheckpoint lays logs of blocks down that begin with names. Each
// must be one log from its new checkpoint to its end: the names, and then what was
// there.
func TestNamesBeforeTheCheckpoint(t *testing.T) {
	for _, n := range []int{1, 3, 11, 12, 13, 14, 200, 5000} {
		for _, size := range []int{0, 17, 461, 462, 463, 464, 465} {
			t.Run(fmt.Sprintf("%d names, %d bytes before", n, size), func(t *testing.T) {
				l := newFakeBlocks(t, Format105, 8<<20, 4<<20)
				l.appendMTR(l.sized(size))
				at := l.end
				l.do(func() { l.checkpoint(at) })
				l.fill(5, 300)
				c, end := l.point.Checkpoint, l.end
				log := RestoredLog{Format: Format105, Checkpoint: c, Version: "test"}
				for i := range n {
					log.Names = append(log.Names, SpaceName{SpaceID(i + 100), fmt.Sprintf("./db/table%d.ibd", i)})
				}
				head, err := log.Header()
				if err != nil {
					t.Fatal(err)
				}
				f, err := os.Create(filepath.Join(t.TempDir(), "log"))
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close() //nolint:errcheck // of a test
				if _, err := f.Write(append(head, l.want(c, end)...)); err != nil {
					t.Fatal(err)
				}
				if err := log.Finish(f, end, func(SpaceID, string) bool { return true }); err != nil {
					t.Fatal(err)
				}
				wantNamed(t, f.Name(), end, log.Names)
			})
		}
	}
}

// wantNamed reads a log as a server does, and compares the first files that it names.
func wantNamed(t *testing.T, name string, end LSN, want []SpaceName) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	p, torn, err := newestBlockPoint(b, Format105)
	if err != nil || torn {
		t.Fatalf("checkpoint: %v, torn %t", err, torn)
	}
	parser := newBlockParser(LogHeader{Format: Format105})
	got, err := parser.walk(b[p.offset-int64(p.LSN%blockSize):], p.LSN, end)
	if err != nil || got != end {
		t.Fatalf("the log leads to LSN %d, %v, want %d", got, err, end)
	}
	for i, w := range want {
		if op := parser.ops[i]; op.Kind != FileModify || op.Space != w.Space || op.Name != w.Name {
			t.Fatalf("file operation %d is %+v, want %v", i, op, w)
		}
	}
	for _, op := range parser.ops[len(want):] {
		if op.complete && op.Checkpoint == p.LSN {
			return
		}
	}
	t.Errorf("no FILE_CHECKPOINT of LSN %d", p.LSN)
}

func TestNamesWithoutRoom(t *testing.T) {
	log := RestoredLog{Format: Format105, Checkpoint: Checkpoint{LSN: 512 + 12, End: 512 + 12}}
	for i := range 100 {
		log.Names = append(log.Names, SpaceName{SpaceID(i + 100), "./db/t.ibd"})
	}
	if _, err := log.Header(); err == nil {
		t.Error("there is no error")
	}
}
