package innodb

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLocalName(t *testing.T) {
	for external, want := range map[string]string{
		"/other/db/t.ibd":        ".//////db/t.ibd",
		"/x/db/t.ibd":            ".//db/t.ibd",
		"/a//b/db/t#P#p0.ibd":    "./////db/t#P#p0.ibd",
		"/a/./../db/t@0020x.ibd": ".///////db/t@0020x.ibd",
		"/db/t.ibd":              "",
		"/t.ibd":                 "",
	} {
		got, err := localName(external)
		if got != want || (err != nil) != (want == "") || err != nil && !errors.Is(err, ErrExternalName) {
			t.Errorf("localName(%q) = %q, %v, want %q", external, got, err, want)
		}
		if err == nil && len(got) != len(external) {
			t.Errorf("localName(%q) has %d bytes, want %d", external, len(got), len(external))
		}
	}
}

// externalLog makes mini-transactions of all kinds, one in ten of which names files, and
// returns them joined. add takes their records.
func externalLog(r *rand.Rand, n int, add func(records []byte)) {
	names := []string{"./db/t.ibd", "/other/db/t.ibd", "/a/very/long/path/to/db/other@0020table#P#p1.ibd"}
	any := func() string { return names[r.IntN(len(names))] }
	for range n {
		records := pageRecord(SpaceID(r.IntN(300)), PageNo(r.IntN(9000)), make([]byte, r.IntN(300)))
		switch r.IntN(20) {
		case 0:
			records = append(fileRecord(FileCreate, 7, any()), records...)
		case 1:
			records = bytes.Join([][]byte{fileRecord(FileModify, 7, any()), fileRecord(FileModify, 8, any()),
				fileRecord(FileModify, 70000, any())}, nil)
		case 2:
			records = fileRecord(FileRename, 9, any(), any())
		case 3:
			records = fileRecord(FileDelete, 9, any())
		}
		add(records)
	}
}

// TestLocalizeNames rewrites logs of all forms in which names can be read. What comes out
// must be a log that differs in names only.
func TestLocalizeNames(t *testing.T) {
	const start = 50000
	for _, h := range []LogHeader{{Format: Format108},
		{Format: Format108, Crypt: bytes.Repeat([]byte{1}, logCryptSize)}, {Format: Format105}} {
		t.Run(fmt.Sprintf("format %#x, %d bytes of key", h.Format, len(h.Crypt)), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			var redo []byte
			c, end := Checkpoint{LSN: start, End: start}, LSN(0)
			if h.Format == Format105 {
				l := newFakeBlocks(t, h.Format, 64<<20, start&^511)
				externalLog(r, 40000, l.appendMTR)
				c, end = l.point.Checkpoint, l.end
				redo = l.want(c, end)
			} else {
				all := [][]byte{checkpointRecordOf(start)}
				externalLog(r, 40000, func(records []byte) { all = append(all, records) })
				redo = joinMTRs(h, all...)
				end = start + LSN(len(redo))
			}
			before := externalNames(t, h, c, end, redo)
			f, err := os.Create(filepath.Join(t.TempDir(), "log"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close() //nolint:errcheck // of a test
			const offset = 777
			if _, err := f.WriteAt(redo, offset); err != nil {
				t.Fatal(err)
			}
			changed, err := LocalizeNames(f, offset, h, c, end,
				func(space SpaceID, _ string) bool { return space != 8 })
			if err != nil {
				t.Fatal(err)
			}
			after := make([]byte, len(redo))
			if _, err := f.ReadAt(after, offset); err != nil {
				t.Fatal(err)
			}
			if n := externalNames(t, h, c, end, after); before == 0 || n != 0 || changed == 0 {
				t.Errorf("%d mini-transactions changed; %d tablespaces had absolute names, %d have now, want none",
					changed, before, n)
			}
			if n, err := LocalizeNames(f, offset, h, c, end,
				func(space SpaceID, _ string) bool { return space != 8 }); n != 0 || err != nil {
				t.Errorf("a second time: %d changed, %v, want none", n, err)
			}
			if i := strings.Index(string(after), "/other/"); i >= 0 {
				t.Errorf("byte %d is that of an absolute name", i)
			}
		})
	}
}

// externalNames proves that a log is whole and returns how many tablespaces it calls by
// absolute paths.
func externalNames(t *testing.T, h LogHeader, c Checkpoint, end LSN, redo []byte) int {
	t.Helper()
	check, err := NewLogChecker(h.Format, h.Crypt, c)
	if err == nil {
		_, err = check.Write(redo)
	}
	if err == nil {
		err = check.Finish(end)
	}
	if err != nil {
		t.Fatal(err)
	}
	return check.Journal().ExternalNames()
}

func TestLocalizeNamesThatCannotBe(t *testing.T) {
	const start = 50000
	always := func(SpaceID, string) bool { return true }
	h := LogHeader{Format: Format108}
	redo := joinMTRs(h, checkpointRecordOf(start), fileRecord(FileModify, 7, "/db/t.ibd"))
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // of a test
	if _, err := f.Write(redo); err != nil {
		t.Fatal(err)
	}
	c, end := Checkpoint{LSN: start, End: start}, start+LSN(len(redo))
	if _, err := LocalizeNames(f, 0, h, c, end, always); !errors.Is(err, ErrExternalName) {
		t.Errorf("a name without room: error = %v, want %v", err, ErrExternalName)
	}
	if _, err := LocalizeNames(f, 0, h, c, end+100, always); err == nil {
		t.Error("a log that is too short: no error")
	}
	if _, err := LocalizeNames(f, 0, LogHeader{Format: FormatEnc11, Crypt: make([]byte, logCryptSize)}, c, end,
		always); err == nil {
		t.Error("a log that hides names: no error")
	}
}
