package innodb

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// logMemory is a log in memory that cannot grow.
type logMemory []byte

func (m logMemory) ReadAt(b []byte, at int64) (int, error) {
	if at < 0 || at > int64(len(m)) {
		return 0, io.EOF
	}
	n := copy(b, m[at:])
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (m logMemory) WriteAt(b []byte, at int64) (int, error) {
	if at < 0 || at+int64(len(b)) > int64(len(m)) {
		return 0, errors.New("written past the end of the log")
	}
	return copy(m[at:], b), nil
}

// fuzzedLog is the redo of a backup, whole except for what its records say.
func fuzzedLog(t *testing.T, blocks bool, records []byte) (h LogHeader, c Checkpoint, end LSN, redo []byte) {
	t.Helper()
	if blocks {
		l := newFakeBlocks(t, Format105, 1<<20, 1<<20)
		l.appendMTR(records)
		c, end = l.point.Checkpoint, l.end
		return LogHeader{Format: Format105}, c, end, l.want(c, end)
	}
	const start = 50000
	h = LogHeader{Format: Format108}
	redo = joinMTRs(h, checkpointRecordOf(start), records)
	return h, Checkpoint{LSN: start, End: start}, start + LSN(len(redo)), redo
}

// addRecords gives a fuzz test records of all kinds to begin with.
func addRecords(f *testing.F) {
	for _, records := range [][]byte{
		pageRecord(5, 9, make([]byte, 70)),
		fileRecord(FileCreate, 7, "./db/t.ibd"),
		fileRecord(FileModify, 7, "/other/db/t.ibd"),
		fileRecord(FileRename, 9, "/other/db/a.ibd", "./db/b.ibd"),
		fileRecord(FileDelete, 9, "/db/t.ibd"),
		checkpointRecordOf(50000),
		append(fileRecord(FileCreate, 8, "/a/very/long/path/to/db/t#P#p1.ibd"), pageRecord(8, 0, make([]byte, 3))...),
		{0xb2, 0, 0, 1},
	} {
		f.Add(records, false)
		f.Add(records, true)
	}
}

// A restore rewrites the names in a log that may be anybody's. It writes nothing
// outside of the log, and what was whole stays so.
func FuzzLocalizeNames(f *testing.F) {
	addRecords(f)
	f.Fuzz(func(t *testing.T, records []byte, blocks bool) {
		if len(records) > 100_000 {
			return
		}
		h, c, end, redo := fuzzedLog(t, blocks, records)
		whole, _ := checkedLog(h, c, end, redo)
		const before, after = 100, 50
		m := logMemory(bytes.Join([][]byte{make([]byte, before), redo, make([]byte, after)}, nil))
		_, err := LocalizeNames(m, before, h, c, end, func(space SpaceID, _ string) bool { return space != 8 })
		edges := append(bytes.Clone(m[:before]), m[len(m)-after:]...)
		if !bytes.Equal(edges, make([]byte, before+after)) {
			t.Fatal("written outside of the log")
		}
		if err != nil || !whole {
			return
		}
		whole, journal := checkedLog(h, c, end, m[before:len(m)-after])
		if !whole || journal.ExternalNames() > 0 {
			t.Fatalf("whole: %v, %d absolute names", whole, journal.ExternalNames())
		}
	})
}

// checkedLog reports whether a log is whole, and what it tells of files.
func checkedLog(h LogHeader, c Checkpoint, end LSN, redo []byte) (whole bool, journal *Journal) {
	check, err := NewLogChecker(h.Format, h.Crypt, c)
	if err != nil {
		return false, nil
	}
	_, err = check.Write(redo)
	return err == nil && check.Finish(end) == nil, check.Journal()
}

// The journal of a log takes what it says of files in any order, and can be asked.
func FuzzJournal(f *testing.F) {
	addRecords(f)
	f.Fuzz(func(t *testing.T, records []byte, blocks bool) {
		if len(records) > 100_000 {
			return
		}
		h, c, end, redo := fuzzedLog(t, blocks, records)
		whole, j := checkedLog(h, c, end, redo)
		if !whole {
			return
		}
		spaces := j.Spaces()
		if j.ExternalNames() > len(spaces) {
			t.Errorf("%d tablespaces, %d absolute names", len(spaces), j.ExternalNames())
		}
		for _, s := range spaces {
			if got, ok := j.Space(s.Space); !ok || got.Name != s.Name {
				t.Errorf("tablespace %d: %+v, want %+v", s.Space, got, s)
			}
		}
		for _, p := range Reconcile(j.Spaces(), map[SpaceID]string{5: "db/t.ibd", 7: "db/t.ibd", 9: "db/b.ibd"}) {
			if p.String() == "" {
				t.Error("a problem without words")
			}
		}
	})
}

// Names before the checkpoint, in front of any records: the log ends up whole, or
// there is an error and nothing was written outside of it.
func FuzzFinishLog(f *testing.F) {
	f.Add(fileRecord(FileModify, 7, "/other/db/t.ibd"), "./db/a.ibd\n./db/b.ibd")
	f.Add(checkpointRecordOf(1<<20+12), strings.Repeat("./db/t.ibd\n", 200))
	f.Fuzz(func(t *testing.T, records []byte, names string) {
		if len(records) > 100_000 || len(names) > 100_000 {
			return
		}
		_, c, end, redo := fuzzedLog(t, true, records)
		r := RestoredLog{Format: Format105, Checkpoint: c, Version: "test"}
		for i, name := range strings.Split(names, "\n") {
			r.Names = append(r.Names, SpaceName{SpaceID(i + 1), name})
		}
		head, err := r.Header()
		if err != nil {
			return
		}
		m := logMemory(append(head, redo...))
		_ = r.Finish(m, end, func(SpaceID, string) bool { return true }) // m notices what is written past its end
	})
}

// Whatever the end of a log holds, it is continued by a log, or refused.
func FuzzAppendDeletes(f *testing.F) {
	f.Add(pageRecord(5, 9, make([]byte, 70)), true, uint32(7), "./db/t.ibd")
	f.Add(fileRecord(FileRename, 9, "./db/a.ibd", "./db/b.ibd"), false, uint32(9), "/other/db/t.ibd")
	f.Fuzz(func(t *testing.T, records []byte, blocks bool, space uint32, name string) {
		if len(records) > 100_000 || len(name) > 60_000 {
			return
		}
		h, c, end, redo := fuzzedLog(t, blocks, records)
		whole, _ := checkedLog(h, c, end, redo)
		r := RestoredLog{Format: h.Format, Checkpoint: c}
		at := len(redo) - r.TailSize()
		more, last, err := r.AppendDeletes(redo[at:], end, []DeletedSpace{{SpaceID(space), name}})
		if err != nil || !whole {
			return
		}
		ok, journal := checkedLog(h, c, last, append(bytes.Clone(redo[:at]), more...))
		if !ok {
			t.Fatalf("the log was whole and is not; ends at %d, then at %d", end, last)
		}
		if s, found := journal.Space(SpaceID(space)); !found || s.Deleted == 0 {
			t.Errorf("tablespace %d called %q: %+v", space, name, s)
		}
	})
}
