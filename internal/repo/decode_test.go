package repo

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/internal/repo/store"
)

// allocated is how many bytes a function allocates.
func allocated(do func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

// A manifest of four kilobytes once took nine gigabytes of memory. Each of these is
// larger without compression than a small manifest may be, or says more than its
// bytes are worth.
func TestHostileManifests(t *testing.T) {
	const most = 700 << 20 // bytes that may be allocated in turn, garbage included
	many := func(s string) string { return strings.Repeat(s+",", 17<<20/(len(s)+1)) + s }
	some := func(s string) string { return strings.Repeat(s+",", 2<<20/(len(s)+1)) + s } // passes as a small one
	for name, document := range map[string]string{
		"files":                        `"files":[` + many(`{}`) + `]`,
		"fewer files":                  `"files":[` + some(`{}`) + `]`,
		"files, in the name of others": `"Files":[` + some(`{}`) + `]`,
		"files, with a long s":         `"fileſ":[` + some(`{}`) + `]`,
		"files, once more":             `"files":[],"files":[` + some(`{}`) + `]`,
		"files that are null":          `"files":[` + some(`null`) + `]`,
		"files with spaces":            `"files":[` + some("{}            ") + `]`,
		"extents":                      `"files":[{"extents":[` + many(`{}`) + `]}]`,
		"fewer extents":                `"files":[{"extents":[` + some(`{}`) + `]}]`,
		"extents that are null":        `"files":[{"extents":[` + some(`null`) + `]}]`,
		"tables":                       `"tables":[` + some(`{}`) + `]`,
		"packs":                        `"packs":[` + some(`{}`) + `]`,
		"directories":                  `"directories":[` + some(`{}`) + `]`,
		"left out":                     `"left_out":[` + some(`{}`) + `]`,
		"damaged pages":                `"damaged":[` + some(`{}`) + `]`,
		"steps":                        `"steps":[` + some(`{}`) + `]`,
		"stages":                       `"stages":[` + some(`{}`) + `]`,
		"events":                       `"ddl":{"events":[` + some(`{}`) + `]}`,
		"plugins":                      `"server":{"plugins":[` + some(`{}`) + `]}`,
		"lists in lists":               `"x":` + strings.Repeat("[", 1<<20),
		"objects in objects":           `"x":` + strings.Repeat(`{"":`, 1<<20),
		"a long name":                  `"hostname":"` + many("x") + `"`,
		"not closed":                   `"files":[{"path":"`,
		"a number":                     `"files":` + strings.Repeat("1", 17<<20),
		"something behind":             `"x":1}` + many(`{}`) + `{"y":1`,
		"not a list":                   `"files":{"a":1}`,
	} {
		t.Run(name, func(t *testing.T) {
			b, err := pack.EncodeDocument([]byte(`{"format_version":2,` + document + "}\n"))
			if err != nil {
				t.Fatal(err)
			}
			var m *Manifest
			if n := allocated(func() { m, err = decodeManifest(b) }); n > most {
				t.Errorf("%d bytes allocated for an object of %d", n, len(b))
			}
			if !errors.Is(err, ErrDamaged) || m != nil {
				t.Errorf("decodeManifest = %v", err)
			}
		})
	}
}

// The version must come first: what follows may have any shape.
func TestManifestVersionFirst(t *testing.T) {
	for document, want := range map[string]error{
		`{"format_version":3,"files":5,"Files":7}`: ErrNewerFormat,
		`{"files":[],"format_version":2}`:          ErrDamaged,
		`{"format_version":0}`:                     ErrDamaged,
		`{"format_version":1}`:                     ErrDamaged,
		`{"format_version":"1"}`:                   ErrDamaged,
		`{}`:                                       ErrDamaged,
		`[]`:                                       ErrDamaged,
		``:                                         ErrDamaged,
	} {
		b, err := pack.EncodeDocument([]byte(document))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decodeManifest(b); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", document, err, want)
		}
	}
}

// A large manifest whose files are as alike as they can be is far from all bounds.
func TestLargeManifest(t *testing.T) {
	const tables = 10_000
	m := newManifest("20261120T000000Z-full")
	for i := range tables {
		f := m.Files[1]
		f.Number, f.Path = uint32(10+i), fmt.Sprintf("d/t%06d.ibd", i)
		m.Files = append(m.Files, f)
		m.Tables = append(m.Tables, Table{Database: "d", Name: fmt.Sprintf("t%06d", i), Engine: "InnoDB", Type: "BASE TABLE",
			Files: []int{len(m.Files) - 1}})
		m.LeftOut = append(m.LeftOut, LeftOut{Database: "d", Name: "x"})
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := pack.EncodeDocument(raw)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d bytes of JSON, %d stored, ratio %d", len(raw), len(b), len(raw)/len(b))
	if len(raw) > smallManifest/2 && len(raw)/len(b) > maxManifestRatio/2 {
		t.Errorf("%d bytes are stored as %d, near the ratio that is refused", len(raw), len(b))
	}
	got, err := decodeManifest(b)
	if err != nil || len(got.Files) != len(m.Files) || len(got.Tables) != tables+1 {
		t.Errorf("decodeManifest: %v", err)
	}
}

// Records of the history are small, and so must be what is made of them.
func TestHostileRecords(t *testing.T) {
	const most = 24 << 20 // for each of three
	const id = "20261120T000000Z-full"
	some := func(s string) string { return strings.Repeat(s+",", (maxRecord/2)/(len(s)+1)) + s }
	for name, fields := range map[string]string{
		"stages":   `"stages":[` + some(`{}`) + `]`,
		"nulls":    `"stages":[` + some(`null`) + `]`,
		"tables":   `"largest":[` + some(`{}`) + `]`,
		"findings": `"findings":[` + some(`{}`) + `]`,
		"hooks":    `"hooks":[` + some(`{}`) + `]`,
	} {
		t.Run(name, func(t *testing.T) {
			r, st := newRepository(t)
			mustBackUp(t, r, "2026-11-20 00:00:00")
			document := []byte(`{"format_version":2,"id":"` + id + `","outcome":"ok","depth":"pages","ok":true,` + fields + `}`)
			for _, object := range []string{attemptName(id), aroundName(id),
				verificationName{id: id, depth: DepthPages, time: time.Unix(0, 0)}.name()} {
				if err := store.PutBytes(t.Context(), st, object, document); err != nil {
					t.Fatal(err)
				}
			}
			var err error
			if n := allocated(func() { _, err = r.List(t.Context()) }); err != nil || n > 3*most {
				t.Errorf("%d bytes allocated, %v", n, err)
			}
		})
	}
}
