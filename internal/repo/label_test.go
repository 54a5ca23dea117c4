package repo

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mbk/internal/repo/store"
)

// storedLabel is the text of the label of a small backup.
func storedLabel(t testing.TB) []byte {
	t.Helper()
	r, st := newRepository(t)
	id := mustBackUp(t, r, "2026-11-20 00:00:00")
	b, err := store.ReadAll(t.Context(), st, labelName(id), maxLabel)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLabel(t *testing.T) {
	r, st := newRepository(t)
	id := mustBackUp(t, r, "2026-11-20 00:00:00")
	l := labelOf(t, r, id)
	b, err := store.ReadAll(t.Context(), st, labelName(id), maxLabel)
	must(t, err)
	if l.Hash != hashOf(b) || l.Size != 10+65536+1000 || l.Tables != 1 || l.Files != 3 || l.Databases != 1 || l.Filtered {
		t.Errorf("Label = %+v", l)
	}
	if a, err := r.Attempt(t.Context(), id); err != nil || a.Label != l.Hash {
		t.Errorf("the record has the label %q, %v, want %q", a.Label, err, l.Hash)
	}
	backup, err := r.Backup(t.Context(), id)
	must(t, err)
	if again, err := backup.Label(); err != nil || cmp.Diff(l, again) != "" {
		t.Errorf("Backup.Label = %+v, %v", again, err)
	}
	for _, name := range []string{"data-0001.pack", "redo.pack", manifestBase, lineageBase} {
		if o := l.Object(name); o == nil || o.Size <= 0 || !isHash(o.BLAKE3) {
			t.Errorf("object %s: %+v", name, o)
		}
	}
	if l.Object("x.pack") != nil || len(l.Objects) != 4 {
		t.Errorf("objects %+v", l.Objects)
	}
}

// The names of the fields are a contract, and so is the checksum of the lines before it.
func TestLabelText(t *testing.T) {
	l := newLabel(newManifest("20261120T000000Z-full"), []Object{
		{Name: "20261119T230000Z-full/data-0001.pack", Size: packSize, BLAKE3: hashOf([]byte("1"))},
		{Name: lineageBase, Size: 300, BLAKE3: hashOf([]byte("2"))},
		{Name: manifestBase, Size: 900, BLAKE3: hashOf([]byte("3"))},
	}, nil)
	b, err := l.encode()
	must(t, err)
	golden(t, "label.json", string(b))
	if got, err := decodeLabel(b); err != nil || cmp.Diff(l, got) != "" {
		t.Errorf("decodeLabel = %+v, %v", got, err)
	}
}

// What "head -n -2 label.json | b3sum" prints.
func TestSealIsThatOfB3sum(t *testing.T) {
	if got := hashOf(nil); got != "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262" {
		t.Errorf("the BLAKE3 of nothing is %s", got)
	}
	text := string(storedLabel(t))
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	before := strings.Join(lines[:len(lines)-2], "")
	if want := before + "  \"blake3\": \"" + hashOf([]byte(before)) + "\"\n}\n"; text != want {
		t.Errorf("the label is\n%s, want\n%s", text, want)
	}
}

// Every flipped bit, lost byte and further byte of a label is noticed. The backup is then
// listed as damaged; its manifest is still read.
func TestLabelDamage(t *testing.T) {
	whole := storedLabel(t)
	damaged := func(what string, b []byte) {
		t.Helper()
		if l, err := decodeLabel(b); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: decodeLabel = %+v, %v", what, l, err)
		}
	}
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			damaged("a bit", b)
		}
		damaged("cut", whole[:i])
		damaged("a byte less", append(bytes.Clone(whole[:i]), whole[i+1:]...))
		damaged("a byte more", append(append(bytes.Clone(whole[:i]), 'x'), whole[i:]...))
	}
	damaged("twice", append(bytes.Clone(whole), whole...))

	r, st := newRepository(t)
	id := mustBackUp(t, r, "2026-11-20 00:00:00")
	must(t, store.PutBytes(t.Context(), st, labelName(id), whole[:len(whole)-1]))
	list, err := r.List(t.Context())
	if err != nil || len(list) != 1 || !list[0].KnownDamaged() || list[0].Broken != "" ||
		!strings.Contains(list[0].Problem, labelName(id)) || list[0].Hostname != "db1" {
		t.Errorf("List = %+v, %v", list, err)
	}
	var warnings []string
	r.OnWarning(func(text string) { warnings = append(warnings, text) })
	backup, err := r.Backup(t.Context(), id)
	if err != nil || cmp.Diff(newManifest(id), backup.Manifest()) != "" {
		t.Fatalf("Backup: %v", err)
	}
	if l, err := backup.Label(); l != nil || !errors.Is(err, ErrDamaged) || len(warnings) != 1 ||
		!strings.Contains(warnings[0], "no label that can be read") {
		t.Errorf("Backup.Label = %+v, %v, warnings %q", l, err, warnings)
	}
	if _, err := r.Lineage(t.Context(), id); !errors.Is(err, ErrDamaged) {
		t.Errorf("Lineage = %v", err)
	}

	// That of another backup is no reason to doubt the manifest.
	other, err := store.ReadAll(t.Context(), st, labelName(mustBackUp(t, r, "2026-11-21 00:00:00")), maxLabel)
	must(t, err, store.PutBytes(t.Context(), st, labelName(id), other))
	if backup, err = r.Backup(t.Context(), id); err != nil {
		t.Fatalf("Backup with the label of another: %v", err)
	}
	if l, err := backup.Label(); l != nil || !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), labelName(id)) {
		t.Errorf("Backup.Label = %+v, %v", l, err)
	}
}

// Labels with a good checksum that no backup can have.
func TestHostileLabels(t *testing.T) {
	const id = "20261120T000000Z-full"
	good, hash := storedLabel(t), strings.Repeat("0", 64)
	for _, c := range []struct {
		name   string
		change func(l *Label)
		says   string
	}{
		{"an id that is a path", func(l *Label) { l.ID = "../x" }, "is not the id"},
		{"another kind", func(l *Label) { l.Kind = KindIncremental }, `kind "incr"`},
		{"an unknown kind", func(l *Label) { l.ID, l.Kind = "20261120T000000Z-odd", "odd" }, "unknown kind"},
		{"a parent of a full backup", func(l *Label) { l.Parent = "20261119T000000Z-full" }, "with parent"},
		{"its own parent", func(l *Label) { incremental(l); l.Parent = l.ID }, "its own parent"},
		{"a parent that is a path", func(l *Label) { incremental(l); l.Parent = "../../x" }, "is not the id"},
		{"a parent without its hash", func(l *Label) { incremental(l); l.ParentBLAKE3 = "" }, "parent_blake3"},
		{"a copy of nothing", func(l *Label) { l.CopiedFrom, l.Keys = "00", []LabelKey{{keyBase, hash}} }, "copied_from"},
		{"a clear copy", func(l *Label) { l.CopiedFrom = hash }, "copied_from_blake3"},
		{"no start", func(l *Label) { l.Started = time.Time{} }, "no time"},
		{"a tool that moves the cursor", func(l *Label) { l.Tool = "mbk\x1b[2J" }, "tool"},
		{"a long tool", func(l *Label) { l.Tool = strings.Repeat("x", 300) }, "tool"},
		{"an end before the checkpoint", func(l *Label) { l.LSN.End = 1 }, "lsn 5000 to 1"},
		{"a negative size", func(l *Label) { l.Size = -1 }, "size is -1"},
		{"negative bytes", func(l *Label) { l.BytesStored = -1 }, "bytes_stored is -1"},
		{"negative tables", func(l *Label) { l.Tables = -1 }, "tables is -1"},
		{"absurdly many files", func(l *Label) { l.Files = 1 << 50 }, "files is"},

		{"no manifest", func(l *Label) { l.Objects = l.Objects[:2] }, "no object manifest.json.zst"},
		{"no lineage", func(l *Label) { l.Objects = l.Objects[2:] }, "no object lineage.bin.zst"},
		{"an object twice", func(l *Label) { l.Objects[0].Name = "redo.pack" }, "redo.pack twice"},
		{"an object elsewhere", func(l *Label) { l.Objects[0].Name = "../../x.pack" }, "is not the id"},
		{"an absolute object", func(l *Label) { l.Objects[0].Name = "/etc/x.pack" }, "is not the id"},
		{"an object of another backup that is no pack", func(l *Label) {
			l.Objects[0].Name = "20261119T000000Z-full/" + labelBase
		}, "object name"},
		{"an object in a folder of a folder", func(l *Label) { l.Objects[0].Name = "20261119T000000Z-full/a/b.pack" },
			"object name"},
		{"an object by its own id", func(l *Label) { l.Objects[0].Name = id + "/data-0001.pack" }, "object name"},
		{"the label itself", func(l *Label) { l.Objects[0].Name = labelBase }, "object name"},
		{"a progress object", func(l *Label) { l.Objects[0].Name = progressName(1) }, "object name"},
		{"a negative object", func(l *Label) { l.Objects[0].Size = -1 }, "of -1 bytes"},
		{"an absurd object", func(l *Label) { l.Objects[0].Size = 1 << 60 }, "bytes"},
		{"a short hash", func(l *Label) { l.Objects[0].BLAKE3 = "00" }, "blake3"},
		{"a hash in capitals", func(l *Label) { l.Objects[0].BLAKE3 = strings.Repeat("A", 64) }, "blake3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := decodeLabel(good)
			must(t, err)
			c.change(l)
			b, err := seal(l)
			must(t, err)
			if _, err := decodeLabel(b); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("decodeLabel = %v, want it to say %q", err, c.says)
			}
			if _, err := l.encode(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("encode = %v, want it to say %q", err, c.says)
			}
		})
	}
	some := func(s string) string { return strings.Repeat(s+",", (4<<20)/(len(s)+1)) + s }
	for name, text := range map[string]string{
		"a field in capitals":      `"ID": "x"`,
		"a field twice":            `"tool": "x", "tool": "y"`,
		"a field with a long s":    `"objectſ": []`,
		"a field of an object":     `"objects": [{"Name": "x.pack"}]`,
		"objects":                  `"objects": [` + some("{}") + `]`,
		"objects that are null":    `"objects": [` + some("null") + `]`,
		"lists in lists":           `"x": ` + strings.Repeat("[", 1<<20),
		"of a wrong shape":         `"objects": 5`,
		"no format version at all": `"id": "x"`,
	} {
		t.Run(name, func(t *testing.T) {
			version := `{"format_version": 2, `
			if strings.HasPrefix(name, "no format") {
				version = "{"
			}
			b := []byte(version + text + ",\n")
			b = append(b, beforeSum+hashOf(b)+afterSum...)
			var err error
			if n := allocated(func() { _, err = decodeLabel(b) }); !errors.Is(err, ErrDamaged) || n > 200<<20 {
				t.Errorf("%d bytes allocated, %.200v, want ErrDamaged", n, err)
			}
		})
	}
	unsealed := bytes.Clone(good)
	unsealed = append(bytes.TrimSuffix(unsealed[:bytes.LastIndex(unsealed, []byte(beforeSum))], []byte(",\n")), "\n}\n"...)
	if !json.Valid(unsealed) {
		t.Fatalf("%s", unsealed)
	}
	if _, err := decodeLabel(unsealed); !errors.Is(err, ErrDamaged) {
		t.Errorf("without a checksum: %v", err)
	}
}

// incremental makes a label that of an incremental backup.
func incremental(l *Label) {
	l.ID, l.Kind, l.Parent = "20261120T000000Z-incr", KindIncremental, "20261119T000000Z-full"
	l.ParentBLAKE3 = strings.Repeat("0", 64)
}

// A label that a newer mbk wrote says so, and the backup is not taken for damaged.
func TestLabelOfNewerFormat(t *testing.T) {
	r, st := newRepository(t)
	mustBackUp(t, r, "2026-11-19 00:00:00")
	id := mustBackUp(t, r, "2026-11-20 00:00:00")
	l := labelOf(t, r, id)
	l.FormatVersion = FormatVersion + 1
	putLabel(t, st, l)
	list, err := r.List(t.Context())
	if err != nil || len(list) != 2 || list[1].KnownDamaged() || !list[1].Newer || list[1].Problem == "" {
		t.Errorf("List = %+v, %v", list, err)
	}
	for _, ask := range []string{Latest, id} {
		if _, err := r.Manifest(t.Context(), ask); !errors.Is(err, ErrNewerFormat) {
			t.Errorf("Manifest(%s) = %v", ask, err)
		}
	}
	if _, err := r.Expire(t.Context(), Policy{Last: 1}, ExpireOptions{Now: late}); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("Expire = %v", err)
	}
	if _, err := r.Sweep(t.Context(), SweepOptions{}); err != nil {
		t.Errorf("Sweep = %v", err)
	}
}

// A label is there, and the manifest is not: that is damage, and no backup that was removed.
func TestManifestMissing(t *testing.T) {
	r, st := newRepository(t)
	first, second := mustBackUp(t, r, "2026-11-19 00:00:00"), mustBackUp(t, r, "2026-11-20 00:00:00")
	must(t, st.Delete(t.Context(), manifestName(second)))
	_, err := r.Backup(t.Context(), second)
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("Backup = %v, want ErrDamaged", err)
	}
	if b, err := r.Backup(t.Context(), Latest); err != nil || b.ID() != first {
		t.Errorf("the latest is %v, want %s", err, first)
	}
}

func FuzzLabel(f *testing.F) {
	good := storedLabel(f)
	f.Add(good[:bytes.LastIndex(good, []byte(beforeSum))])
	f.Add([]byte(`{"format_version": 2,`))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _ = decodeLabel(text)
		b := append(bytes.Clone(text), beforeSum+hashOf(text)+afterSum...)
		l, err := decodeLabel(b)
		if err != nil {
			return
		}
		again, err := l.encode()
		if err != nil {
			return // a time that JSON cannot write
		}
		if got, err := decodeLabel(again); err != nil || cmp.Diff(got, l) != "" {
			t.Errorf("%q becomes %q: %v", b, again, err)
		}
		for i := range l.Objects {
			if store.CheckName(objectName(l.ID, l.Objects[i].Name)) != nil ||
				!strings.HasPrefix(objectName(l.ID, l.Objects[i].Name), backupsPrefix) {
				t.Errorf("the object %q is accepted", l.Objects[i].Name)
			}
		}
	})
}
