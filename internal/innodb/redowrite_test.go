package innodb

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// deletedIn writes FILE_DELETE records after a log of any format and reads all of
// it again.
func TestAppendDeletes(t *testing.T) {
	var gone []DeletedSpace
	for i := range 300 {
		gone = append(gone, DeletedSpace{SpaceID(i*1_000_003%(1<<30) + 1),
			fmt.Sprintf("./db/%s%d.ibd", strings.Repeat("t", i%200), i)})
	}
	crypt := make([]byte, logCryptSize)
	crypt[3] = 1
	for name, c := range map[string]struct {
		format uint32
		crypt  []byte
		mtrs   int
	}{
		"10.8":                     {Format108, nil, 5},
		"10.8 with encryption":     {Format108, crypt, 5},
		"blocks":                   {Format105, nil, 5},
		"blocks, the last is full": {Format105, nil, 37},
	} {
		for n := range 40 { // the log ends anywhere in a block
			t.Run(fmt.Sprintf("%s %d", name, n), func(t *testing.T) {
				log, from, point, end := writtenLog(t, c.format, c.crypt, c.mtrs+n)
				r := RestoredLog{Format: c.format, Crypt: c.crypt, Checkpoint: point}
				at := len(log) - r.TailSize()
				more, last, err := r.AppendDeletes(log[at:], end, gone)
				if err != nil {
					t.Fatal(err)
				}
				log = append(log[:at:at], more...)
				if got, _ := StoredRedo(c.format, point, last); got != from {
					t.Fatalf("the log begins at %d, want %d", got, from)
				}
				check, err := NewLogChecker(c.format, c.crypt, point)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := check.Write(log); err != nil {
					t.Fatal(err)
				}
				if err := check.Finish(last); err != nil {
					t.Fatal(err)
				}
				for _, d := range gone {
					if h, ok := check.Journal().Space(d.Space); !ok || h.Deleted == 0 || h.Name != d.Name {
						t.Fatalf("tablespace %d: %+v", d.Space, h)
					}
				}
			})
		}
	}
}

// writtenLog is the redo of a backup, with its checkpoint and its end.
func writtenLog(t *testing.T, format uint32, crypt []byte, mtrs int) (log []byte, from LSN, c Checkpoint, end LSN) {
	t.Helper()
	if hasBlocks(format) {
		l := newFakeBlocks(t, format, 1<<20, 1<<20)
		l.fill(mtrs, 10+mtrs)
		from, _ := StoredRedo(format, l.point.Checkpoint, l.end)
		return l.want(l.point.Checkpoint, l.end), from, l.point.Checkpoint, l.end
	}
	l := newFakeLog(t, 1<<20, 1<<20, LogHeader{Format: format, Crypt: crypt})
	for range mtrs {
		l.appendMTR(pageRecord(7, 9, []byte("some data")))
	}
	return l.truth[l.point.LSN-l.base:], l.point.LSN, l.point, l.end()
}

func TestAppendDeletesRefuses(t *testing.T) {
	log, _, point, end := writtenLog(t, Format105, nil, 5)
	tail := log[len(log)-blockSize:]
	one := []DeletedSpace{{7, "./a/b.ibd"}}
	damaged := append([]byte{}, tail...)
	damaged[20] ^= 1
	for name, c := range map[string]struct {
		log  RestoredLog
		tail []byte
		gone []DeletedSpace
		want error
	}{
		"a log that hides names": {RestoredLog{Format: FormatEnc11, Checkpoint: point}, nil, one, ErrHiddenNames},
		"hidden blocks":          {RestoredLog{Format: Format105Enc, Checkpoint: point}, tail, one, ErrHiddenNames},
		"a damaged block":        {RestoredLog{Format: Format105, Checkpoint: point}, damaged, one, ErrBadMTR},
		"no block":               {RestoredLog{Format: Format105, Checkpoint: point}, nil, one, nil},
		"no file of a table": {RestoredLog{Format: Format108, Checkpoint: point}, nil, []DeletedSpace{{7, "./a/b"}},
			nil},
		"the system tablespace": {RestoredLog{Format: Format108, Checkpoint: point}, nil,
			[]DeletedSpace{{0, "./a/b.ibd"}}, nil},
	} {
		if _, _, err := c.log.AppendDeletes(c.tail, end, c.gone); err == nil || c.want != nil &&
			!errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
