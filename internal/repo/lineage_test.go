package repo

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mbk/copier/pack"
	"mbk/internal/innodb"
	"mbk/internal/repo/store"
)

// largeLineage is a lineage of tables, as unlike each other as they can be.
func largeLineage(files int) *Lineage {
	r := rand.New(rand.NewPCG(1, 2))
	l := newLineage(newManifest("20261121T201806Z-full"))
	l.Files = nil
	for i := range files {
		l.Files = append(l.Files, LineageFile{Number: uint32(i + 1), Class: ClassInnoDB, HasSpace: true,
			Space: innodb.SpaceID(r.Uint32()), PageSize: 16384, Flags: r.Uint32(), Dev: 2049, Inode: r.Uint64(),
			Born: r.Int64(), Size: r.Int64N(maxFileSize), Modified: r.Int64(), Changed: r.Int64(), Quiescent: r.IntN(2) > 0,
			Copied: 7<<14 + r.Int64N(maxFileSize-7<<14), LSNs: sumsOf(r, 7)})
	}
	return l
}

// sumsOf returns n sums.
func sumsOf(r *rand.Rand, n int) (sums []uint32) {
	for range n {
		sums = append(sums, r.Uint32())
	}
	return sums
}

// A lineage takes at most 120 bytes a file, however little its files have in common.
func TestLineageSize(t *testing.T) {
	const files = 20_000
	l := largeLineage(files)
	b, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	var w recordWriter
	l.write(&w)
	t.Logf("%d files: %d bytes, %.1f a file; stored as %d, %.1f a file", files, len(w.b), float64(len(w.b))/files, len(b),
		float64(len(b))/files)
	if len(b) > 120*files || len(w.b) > 120*files {
		t.Errorf("%d bytes a file, stored as %d, want at most 120", len(w.b)/files, len(b)/files)
	}
	got, err := DecodeLineage(b)
	if diff := cmp.Diff(l, got); err != nil || diff != "" {
		t.Errorf("DecodeLineage: %v, differs (-want +got):\n%s", err, diff)
	}
}

// newProgress is what an attempt has recorded of its first pack.
func newProgress(id string) *Progress {
	l := newLineage(newManifest(id))
	_, kind, _ := ParseID(id)
	p := &Progress{Lineage: *l, Kind: kind, Object: Object{Name: "data-0001.pack", Size: packSize, BLAKE3: hashOf(nil)},
		Pack: pack.Pack{Name: "data-0001.pack", Size: packSize, Raw: 65546}}
	for _, f := range newManifest(id).Files[:2] {
		for _, x := range f.Extents {
			p.Parts = append(p.Parts, Part{Number: f.Number, Extent: x})
		}
	}
	p.Parts = append(p.Parts, Part{Number: 2, Extent: pack.Extent{Start: 65536, Size: 16384}})
	p.Parts[1].Extent.Partial = true
	p.Parts[1].LSNs = []uint32{5, 0}
	if kind == KindIncremental {
		p.Parent = "20261101T000000Z-full"
	}
	return p
}

func TestProgressRoundTrip(t *testing.T) {
	for _, id := range []string{"20261121T201806Z-full", "20261121T201806Z-incr"} {
		p := newProgress(id)
		p.Adopted = []string{"20261120T201806Z-full", "20261119T201806Z-incr"}
		nothing := &Progress{Lineage: p.Lineage, Kind: p.Kind, Parent: p.Parent,
			Parts: []Part{{Number: 1, Extent: pack.Extent{Size: 5}}}}
		for _, want := range []*Progress{p, nothing} {
			b, err := want.Encode()
			if err != nil {
				t.Fatal(err)
			}
			got, err := DecodeProgress(b)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("DecodeProgress: %v, differs (-want +got):\n%s", err, diff)
			}
		}
	}
}

// Every flipped bit of a document of records is found, and every one that ends early.
func TestRecordsFlipped(t *testing.T) {
	lineage, err := newLineage(newManifest("20261121T201806Z-full")).Encode()
	if err != nil {
		t.Fatal(err)
	}
	progress, err := newProgress("20261121T201806Z-full").Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		b      []byte
		decode func([]byte) error
	}{
		"lineage":  {lineage, func(b []byte) error { _, err := DecodeLineage(b); return err }},
		"progress": {progress, func(b []byte) error { _, err := DecodeProgress(b); return err }},
	} {
		if err := c.decode(c.b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i := range c.b {
			for bit := range 8 {
				b := bytes.Clone(c.b)
				b[i] ^= 1 << bit
				if err := c.decode(b); !errors.Is(err, ErrDamaged) {
					t.Errorf("%s, bit %d of byte %d: %v", name, bit, i, err)
				}
			}
			if err := c.decode(c.b[:i]); !errors.Is(err, ErrDamaged) {
				t.Errorf("%s, cut to %d bytes: %v", name, i, err)
			}
		}
		if err := c.decode(append(bytes.Clone(c.b), 0)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s, a byte more: %v", name, err)
		}
	}
}

// records returns the bytes in the frame of a document.
func records(t testing.TB, write func(w *recordWriter)) []byte {
	t.Helper()
	var w recordWriter
	write(&w)
	b, err := w.document()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Documents whose frame is good, and whose records no attempt has written.
func TestHostileRecordsOfNumbers(t *testing.T) {
	const id = "20261121T201806Z-full"
	lineage := func(change func(l *Lineage)) []byte {
		l := newLineage(newManifest(id))
		change(l)
		return records(t, func(w *recordWriter) {
			w.raw([]byte(lineageMagic))
			w.u32(lineageVersion)
			l.write(w)
		})
	}
	raw := func(change func(b []byte) []byte) []byte {
		return records(t, func(w *recordWriter) {
			w.raw([]byte(lineageMagic))
			w.u32(lineageVersion)
			newLineage(newManifest(id)).write(w)
			w.b = change(w.b)
		})
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
		says string
	}{
		{"another magic", raw(func(b []byte) []byte { b[3] = 'x'; return b }), ErrDamaged, `begins with "mbkx"`},
		{"a newer version", raw(func(b []byte) []byte { b[4] = 2; return b }), ErrNewerFormat, "version 2"},
		{"version 0", raw(func(b []byte) []byte { b[4] = 0; return b }), ErrDamaged, "version 0"},
		{"nothing", raw(func(b []byte) []byte { return nil }), ErrDamaged, "ends early"},
		{"an id that is too long", raw(func(b []byte) []byte { b[8] = 40; return b }), ErrDamaged, "text of 40 bytes"},
		{"something behind the id", raw(func(b []byte) []byte { b[47] = 1; return b }), ErrDamaged, "follows a text"},
		{"more files than there are", raw(func(b []byte) []byte { b[136]++; return b }), ErrDamaged, "ends early"},
		{"fewer files than there are", raw(func(b []byte) []byte { b[136]--; return b }), ErrDamaged, "follows the last"},
		{"four billion files", raw(func(b []byte) []byte { copy(b[136:], "\xff\xff\xff\xff"); return b }), ErrDamaged,
			"ends early"},
		{"no class", raw(func(b []byte) []byte { b[144] = 0; return b }), ErrDamaged, "class 0"},
		{"an unknown class", raw(func(b []byte) []byte { b[144] = 6; return b }), ErrDamaged, "class 6"},
		{"an unknown flag", raw(func(b []byte) []byte { b[145] |= 4; return b }), ErrDamaged, "flags"},
		{"a number twice", lineage(func(l *Lineage) { l.Files[1].Number = 1 }), ErrDamaged, "file 1 is number 1"},
		{"an id of nothing", lineage(func(l *Lineage) { l.ID = "../x" }), ErrDamaged, "is not the id"},
		{"an end before the start", lineage(func(l *Lineage) { l.End = 1 }), ErrDamaged, "from checkpoint"},
		{"a page size of 3", lineage(func(l *Lineage) { l.PageSize = 3 }), ErrDamaged, "page size 3"},
		{"a file's page size of 1<<20", lineage(func(l *Lineage) { l.Files[1].PageSize = 1 << 20 }), ErrDamaged, "page size"},
		{"a negative size", lineage(func(l *Lineage) { l.Files[1].Size = -1 }), ErrDamaged, "-1 bytes"},
		{"an absurd size", lineage(func(l *Lineage) { l.Files[1].Copied = 1 << 62 }), ErrDamaged, "are copied"},
		{"the number of no tablespace", lineage(func(l *Lineage) { l.Files[0].Space = 5 }), ErrDamaged, "no tablespace 5"},
		{"a gigabyte of zeros", records(t, func(w *recordWriter) {
			w.raw([]byte(lineageMagic))
			w.u32(lineageVersion)
			newLineage(newManifest(id)).write(w)
			copy(w.b[136:], "\xff\xff\xff\xff")
			w.raw(make([]byte, 1<<28))
		}), ErrDamaged, "class 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var err error
			if n := allocated(func() { _, err = DecodeLineage(c.b) }); n > 16<<20 {
				t.Errorf("%d bytes allocated", n)
			}
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("DecodeLineage = %v, want %v, %q", err, c.want, c.says)
			}
		})
	}
}

func TestProgressValidate(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(p *Progress)
		says   string
	}{
		{"the lineage's faults", func(p *Progress) { p.Files[0].Size = -1 }, "-1 bytes"},
		{"a parent of a full backup", func(p *Progress) { p.Parent = "20261101T000000Z-full" }, "with parent"},
		{"another kind", func(p *Progress) { p.Kind = KindIncremental }, `kind "incr"`},
		{"adopted itself", func(p *Progress) { p.Adopted = []string{p.ID} }, "itself"},
		{"adopted twice",
			func(p *Progress) { p.Adopted = []string{"20261101T000000Z-full", "20261101T000000Z-full"} }, "twice"},
		{"adopted nothing", func(p *Progress) { p.Adopted = []string{"."} }, "is not the id"},
		{"a pack in another folder", func(p *Progress) {
			p.Object.Name = "20261101T000000Z-full/data-0001.pack"
			p.Pack.Name = p.Object.Name
		}, "object name"},
		{"the manifest as its pack", func(p *Progress) { p.Object.Name, p.Pack.Name = manifestBase, manifestBase },
			"object name"},
		{"no hash", func(p *Progress) { p.Object.BLAKE3 = "" }, "blake3"},
		{"another pack", func(p *Progress) { p.Pack.Name = "x.pack" }, `pack "x.pack"`},
		{"a part of an unknown file", func(p *Progress) { p.Parts[0].Number = 99 }, "file number 99"},
		{"a part in another pack", func(p *Progress) { p.Parts[0].Extent.Pack = "x.pack" }, `the pack "x.pack"`},
		{"a part behind the pack's end", func(p *Progress) { p.Parts[0].Extent.Length = packSize + 1 }, "of a pack that has"},
		{"a part of no bytes", func(p *Progress) { p.Parts[0].Extent.Size = 0 }, "part 0: 0 bytes"},
		{"a part at a negative place", func(p *Progress) { p.Parts[0].Extent.Start = -1 }, "at -1"},
		{"a stored part without a pack", func(p *Progress) { p.Object, p.Pack = Object{}, pack.Pack{} }, "lies in the pack"},
	} {
		p := newProgress("20261121T201806Z-full")
		c.damage(p)
		if _, err := p.Encode(); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: Encode = %v, want %q", c.name, err, c.says)
		}
	}
}

func TestLineageOfABackup(t *testing.T) {
	r, st := newRepository(t)
	id := mustBackUp(t, r, "2026-11-20 00:00:00")
	got, err := r.Lineage(t.Context(), id)
	if diff := cmp.Diff(newLineage(newManifest(id)), got); err != nil || diff != "" {
		t.Errorf("Lineage: %v, differs (-want +got):\n%s", err, diff)
	}
	// One that is good in itself, and not that of the label.
	other, err := largeLineage(3).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{"another": other, "cut off": other[:50]} {
		if err := store.PutBytes(t.Context(), st, Folder(id)+"/"+lineageBase, b); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Lineage(t.Context(), id); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), lineageBase) {
			t.Errorf("%s: %v, want ErrDamaged", what, err)
		}
	}
}

func FuzzLineage(f *testing.F) {
	f.Add([]byte{})
	for _, n := range []int{0, 1, 3} {
		var w recordWriter
		w.raw([]byte(lineageMagic))
		w.u32(lineageVersion)
		largeLineage(n).write(&w)
		f.Add(w.b)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := pack.EncodeDocument(raw)
		if err != nil {
			t.Fatal(err)
		}
		l, err := DecodeLineage(b)
		if err != nil {
			return
		}
		wantSameRecords(t, raw, l)
		_, _ = DecodeLineage(raw)
	})
}

func FuzzProgress(f *testing.F) {
	f.Add([]byte{})
	for _, id := range []string{"20261121T201806Z-full", "20261121T201806Z-incr"} {
		p := newProgress(id)
		p.Adopted = []string{"20261120T201806Z-full"}
		b, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(openDocument(f, b))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := pack.EncodeDocument(raw)
		if err != nil {
			t.Fatal(err)
		}
		p, err := DecodeProgress(b)
		if err != nil {
			return
		}
		wantSameRecords(t, raw, p)
		_, _ = DecodeProgress(raw)
	})
}

// wantSameRecords checks that what was read is written as it was.
func wantSameRecords(t *testing.T, raw []byte, v interface{ Encode() ([]byte, error) }) {
	t.Helper()
	b, err := v.Encode()
	if err != nil {
		t.Fatalf("what was read cannot be written: %v", err)
	}
	if again := openDocument(t, b); !bytes.Equal(again, raw) {
		t.Errorf("%q becomes %q", raw, again)
	}
}

// openDocument returns the bytes in the frame of a document.
func openDocument(t testing.TB, b []byte) []byte {
	t.Helper()
	doc, err := pack.OpenDocument(b)
	if err != nil {
		t.Fatal(err)
	}
	defer doc.Close()
	var raw bytes.Buffer
	if _, err := raw.ReadFrom(doc); err != nil {
		t.Fatal(err)
	}
	return raw.Bytes()
}
