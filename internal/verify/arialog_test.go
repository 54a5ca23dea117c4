package verify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/aria"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/restore"
	"mbk/internal/ui/meter"
)

// A hole in Aria's log, which no server recovers from, once passed every depth but boot.
func TestVerifyAriaLog(t *testing.T) {
	const page = aria.LogPageSize
	whole := make([]byte, 300*page)
	copy(whole, "\xfe\xfe\x0b\x01MARIALOG")
	binary.LittleEndian.PutUint16(whole[32:], page-1)
	whole[34] = 7
	for no := 1; no < 300; no++ {
		binary.LittleEndian.PutUint32(whole[no*page:], uint32(no)|7<<24)
		copy(whole[no*page+8:], bytes.Repeat([]byte("row"), 2000))
	}
	for _, c := range []struct {
		name       string
		checkpoint uint32
		change     func(b []byte) []byte
		want       []string // the findings
	}{
		{"whole", 7, func(b []byte) []byte { return b }, nil},
		{"half a page at the end", 7, func(b []byte) []byte { return b[:len(b)-page/2] }, nil},
		{"a page of zeros", 7, func(b []byte) []byte { clear(b[9*page : 10*page]); return b }, []string{"page 9: all zeros"}},
		{"a buffer of zeros", 7, func(b []byte) []byte { clear(b[100*page : 228*page]); return b },
			[]string{"page 100:", "page 101:", "page 102:", "page 103:", "page 104:", "page 105:", "page 106:", "page 107:",
				"page 108:", "page 109:"}},
		{"zeros from inside a page on", 7, func(b []byte) []byte { clear(b[100*page+9 : 102*page]); return b },
			[]string{"page 101: all zeros"}},
		{"zeros at the end", 7, func(b []byte) []byte { clear(b[298*page:]); return b }, []string{"page 298:", "page 299:"}},
		{"flipped number", 7, func(b []byte) []byte { b[50*page]++; return b }, []string{"page 50: marked as log 7 page 51"}},
		{"page of another log", 7, func(b []byte) []byte { b[50*page+3] = 6; return b }, []string{"marked as log 6 page 50"}},
		{"flipped header", 7, func(b []byte) []byte { b[5] ^= 1; return b }, []string{"starts with"}},
		{"header of another log", 7, func(b []byte) []byte { b[34] = 6; return b }, []string{"the header is that of log 6"}},
		{"zeros that recovery does not read", 8, func(b []byte) []byte { clear(b[9*page:]); return b }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := storeLog(t, c.change(bytes.Clone(whole)))
			d := &pagesDepth{v}
			v.m.Aria.Control.Checkpoint.File = c.checkpoint
			if err := d.readAll(t.Context(), d.pageChecks()); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range v.report.Findings {
				got = append(got, fmt.Sprintf("%s: %s", f.File, f.Problem))
			}
			for i := range max(len(got), len(c.want)) {
				if i >= len(got) || i >= len(c.want) || !strings.Contains(got[i], c.want[i]) {
					t.Fatalf("found %q, want %q", got, c.want)
				}
			}
		})
	}
}

// stored reads files of a manifest that is in no repository.
type stored struct {
	m    *repo.Manifest
	from pack.Opener
}

// Layered implements layered.
func (s stored) Layered(number uint32) *repo.Layered {
	i := slices.IndexFunc(s.m.Files, func(f repo.File) bool { return f.Number == number })
	f := &s.m.Files[i]
	return repo.NewLayered(f, []repo.Layer{{From: s.from, Number: number, Extents: f.Extents}}, []string{s.m.ID})
}

// storeLog stores log file 7 in a backup of nothing else.
func storeLog(t *testing.T, log []byte) *verification {
	t.Helper()
	mem := storetest.NewMem()
	m := &repo.Manifest{ID: "20261129T120000Z-full", Aria: repo.Aria{Control: &aria.Control{}},
		LSN: repo.LSNs{End: innodb.LSN(1)}}
	c, err := copier.New(t.Context(), mem, copier.Options{Workers: 1, Codec: pack.Zstd})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Add(t.Context(), copier.Source{Number: 1, Name: "log", File: bytes.NewReader(log), Size: int64(len(log))})
	if err != nil {
		t.Fatal(err)
	}
	if m.Packs, err = c.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	r, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m.Files = []repo.File{{Number: 1, Path: "aria_log.00000007", Class: repo.ClassLog, Size: int64(len(log)),
		Extents: r.Extents}}
	o := Options{Preparation: restore.Preparation{Workers: 1}}
	return &verification{
		o: o.withDefaults(), m: m, files: stored{m, mem}, meter: meter.New(nil), findings: newFindings(m.ID, repo.DepthPages,
			time.Now()),
	}
}
