package repo

import (
	"encoding/json"
	"errors"
	"math"
	"path"
	"strings"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/internal/aria"
	"mbk/internal/innodb"
)

func TestValidate(t *testing.T) {
	if err := newManifest("20261121T201806Z-full").Validate(); err != nil {
		t.Fatalf("a good manifest: %v", err)
	}
	for _, c := range []struct {
		name   string
		damage func(m *Manifest)
		says   string
	}{
		{"newer format", func(m *Manifest) { m.FormatVersion++ }, "made by a newer mbk"},
		{"id is a path", func(m *Manifest) { m.ID = "../20261121T201806Z-full" }, "is not the id"},
		{"kind of another id", func(m *Manifest) { m.Kind = "incr" }, `kind "incr"`},
		{"unknown kind", func(m *Manifest) { m.ID, m.Kind = "20261121T201806Z-odd", "odd" }, `unknown kind "odd"`},
		{"full backup with a parent", func(m *Manifest) { m.Parent = "20261120T201806Z-full" }, "with parent"},
		{"no start", func(m *Manifest) { m.Started = time.Time{} }, "no time"},
		{"Aria's control file of an unknown version", func(m *Manifest) { m.Aria.Control = &aria.Control{Version: 2} },
			"aria control: version 2"},
		{"Aria's last log before its checkpoint", func(m *Manifest) {
			m.Aria.Control = &aria.Control{Version: 1, Checkpoint: aria.LSN{File: 3}, LastLog: 2}
		}, "last log file 2"},
		{"negative count of what was copied late", func(m *Manifest) { m.Late.Files = -1 }, "copied_locked.files is -1"},
		{"negative count", func(m *Manifest) { m.BytesStored = -1 }, "bytes_stored is -1"},

		{"pack name with a folder", func(m *Manifest) { m.Packs[0].Name = "../x.pack" }, `pack name "../x.pack"`},
		{"pack name without .pack", func(m *Manifest) { m.Packs[0].Name = "manifest.json.zst" }, "pack name"},
		{"pack name empty", func(m *Manifest) { m.Packs[0].Name = ".pack" }, "pack name"},
		{"pack named twice", func(m *Manifest) { m.Packs[1] = m.Packs[0] }, "data-0001.pack twice"},
		{"pack of negative size", func(m *Manifest) { m.Packs[0].Size = -1 }, "-1 bytes"},
		{"pack of absurd size", func(m *Manifest) { m.Packs[0].Size = math.MaxInt64 }, "bytes for"},

		{"number twice", func(m *Manifest) { m.Files[1].Number = 1 }, "number 1 is that of another file"},
		{"unknown class", func(m *Manifest) { m.Files[0].Class = "odd" }, `unknown class "odd"`},
		{"negative size", func(m *Manifest) { m.Files[0].Size = -10 }, "size -10"},
		{"absurd size", func(m *Manifest) { m.Files[1].Size = 1 << 60 }, "size"},
		{"mode with file type bits", func(m *Manifest) { m.Files[0].Mode = 0o120777 }, "mode 0120777"},
		{"more pages than have numbers", func(m *Manifest) { m.Files[1].Size = 1 << 47 }, "more pages of 16384 bytes"},
		{"page size not a power of two", func(m *Manifest) { m.Files[1].PageSize = 10000 }, "page size 10000"},
		{"page size zero of a tablespace", func(m *Manifest) { m.Files[1].PageSize = 0 }, "page size 0 of tablespace 7"},
		{"negative page size", func(m *Manifest) { m.Files[1].PageSize = -16384 }, "page size -16384"},
		{"page size too big", func(m *Manifest) { m.Files[1].PageSize = 131072 }, "page size 131072"},
		{"origin relative", func(m *Manifest) { m.Files[1].Origin = "x/t.ibd" }, "origin"},

		{"unknown pack", func(m *Manifest) { m.Files[0].Extents[0].Pack = "data-0009.pack" },
			`unknown pack "data-0009.pack"`},
		{"extent past its pack", func(m *Manifest) { m.Files[1].Extents[1].Length++ }, "441 bytes at 560"},
		{"extent beyond all numbers", func(m *Manifest) {
			m.Files[0].Extents[0].Offset, m.Files[0].Extents[0].Length = math.MaxInt64, math.MaxInt64
		}, "extent 0"},
		{"extent at a negative offset", func(m *Manifest) { m.Files[0].Extents[0].Offset = -1 }, "extent 0"},
		{"extent without length", func(m *Manifest) { m.Files[0].Extents[0].Length = 0 }, "extent 0"},
		{"extent of no bytes", func(m *Manifest) { m.Files[0].Extents[0].Size = 0 }, "extent 0 of 0 bytes"},
		{"extent of absurd size", func(m *Manifest) { m.Files[0].Extents[0].Size = math.MaxInt64 }, "extent 0 of"},
		{"gap between extents", func(m *Manifest) { m.Files[1].Extents[0].Size-- }, "cover 32767 of 65536"},
		{"extents overlap", func(m *Manifest) { m.Files[1].Extents[1].Start = 0 },
			"starts at 0, before the end of the one before it, 32768"},
		{"extents missing at the end", func(m *Manifest) { m.Files[1].Extents = m.Files[1].Extents[:1] },
			"cover 32768 of 65536"},
		{"extents longer than the file",
			func(m *Manifest) { m.Files[0].Extents[0].Size = 11 }, "11 bytes at 0 of a file of 10"},
		{"no extents", func(m *Manifest) { m.Files[1].Extents = nil }, "cover 0 of"},

		{"extent behind the end of the file", func(m *Manifest) { m.Files[1].Extents[1].Start++ },
			"of a file of 65536"},
		{"a partial extent covers nothing", func(m *Manifest) { m.Files[1].Extents[0].Partial = true }, "cover 0 of 65536"},
		{"partial extent behind the end", func(m *Manifest) {
			m.Files[1].Extents[1].Partial, m.Files[1].Extents[1].Size = true, 32769
		}, "of a file of 65536"},
		{"earlier pass in an unknown pack", func(m *Manifest) {
			m.Files[1].Earlier = []Pass{{Number: 1, Extents: []pack.Extent{{Pack: "x.pack", Length: 1, Size: 1}}}}
		}, `earlier pass 0: extent 0: unknown pack "x.pack"`},
		{"passes that leave a gap", func(m *Manifest) {
			earlier(m, pack.Extent{Pack: attempt1, Length: 5, Start: 40000, Size: 30000})
			m.Files[1].Extents = m.Files[1].Extents[:1]
		}, "cover 32768 of 65536"},
		{"an earlier pass of the redo", func(m *Manifest) { m.Files[2].Earlier = []Pass{{Number: 1}} }, "log of several"},
		{"a base of an Aria log", func(m *Manifest) {
			increment(m)
			m.Files[0].Class, m.Files[0].Base = ClassLog, new(uint32)
		}, "log of several"},
		{"a part of the redo", func(m *Manifest) { m.Files[2].Extents[0].Partial = true }, "holds only a part"},
		{"a base in a full backup", func(m *Manifest) { m.Files[1].Base = new(uint32) }, `base 0 in a backup of kind "full"`},
		{"an increment without a base for what it lacks", func(m *Manifest) { increment(m); m.Files[1].Extents = nil },
			"cover 0 of"},
		{"an increment without a parent", func(m *Manifest) { increment(m); m.Parent = "" }, `parent: "" is not the id`},
		{"an increment of itself", func(m *Manifest) { increment(m); m.Parent = m.ID }, "its own parent"},
		{"an increment whose parent is a path", func(m *Manifest) { increment(m); m.Parent = "../x" }, "is not the id"},
		{"an increment in no chain", func(m *Manifest) { increment(m); m.Chain = 0 }, "0 increments in a chain"},
		{"a full backup in a chain", func(m *Manifest) { m.Chain = 1 }, "1 increments in a chain"},
		{"resumed from no attempt", func(m *Manifest) { m.Resumed = &Resumed{IDs: []string{".."}} }, "is not the id"},
		{"resumed less than nothing", func(m *Manifest) { m.Resumed = &Resumed{Amount: Amount{Files: -1}} }, "-1 files"},
		{"less than nothing unchanged", func(m *Manifest) { m.Unchanged = &Amount{Bytes: -1} }, "-1 bytes"},
		{"more pages changed than there are", func(m *Manifest) { m.Pages = &PageCounts{1, 2} }, "2 of 1 pages"},
		{"consolidated from no backup", func(m *Manifest) { m.ConsolidatedFrom = []string{"x"} }, "is not the id"},
		{"pack of an attempt in no folder", func(m *Manifest) { m.Packs[0].Name = "/data-0001.pack" }, "is not the id"},
		{"pack of an attempt with two folders", func(m *Manifest) { m.Packs[0].Name = "20261120T201806Z-full/a/b.pack" },
			"pack name"},
		{"pack of an attempt that is this one", func(m *Manifest) { m.Packs[0].Name = m.ID + "/data-0001.pack" },
			"pack name"},

		{"file outside", func(m *Manifest) { m.Files[0].Path = "d/../../etc/passwd" }, `the part ".."`},
		{"absolute file", func(m *Manifest) { m.Files[0].Path = "/etc/passwd" }, "absolute"},
		{"file without a name", func(m *Manifest) { m.Files[0].Path = "" }, "path of 0 bytes"},
		{"file named .", func(m *Manifest) { m.Files[0].Path = "." }, `the part "."`},
		{"file that ends with /", func(m *Manifest) { m.Files[0].Path = "d/" }, `the part ""`},
		{"file with a NUL", func(m *Manifest) { m.Files[0].Path = "d/t\x00.frm" }, "control character"},
		{"file with a line break", func(m *Manifest) { m.Files[0].Path = "d/t\n.frm" }, "control character"},
		{"file not in UTF-8", func(m *Manifest) { m.Files[0].Path = "d/t\xff.frm" }, "UTF-8"},
		{"file name too long", func(m *Manifest) { m.Files[0].Path = "d/" + strings.Repeat("x", 256) }, "the part"},
		{"path too long", func(m *Manifest) { m.Files[0].Path = strings.Repeat("x/", 2000) + "x" }, "path of 4001 bytes"},
		{"file twice", func(m *Manifest) { m.Files[0].Path = "d/t.ibd" }, `"d/t.ibd" twice`},
		{"file that is a directory", func(m *Manifest) { m.Files[0].Path = "d" }, "is a directory as well"},
		{"file above a file", func(m *Manifest) { m.Files[0].Path = "d/t.ibd/x" }, `"d/t.ibd" is a directory as well`},
		{"directory outside", func(m *Manifest) { m.Directories[0].Path = ".." }, "directory"},
		{"directory twice", func(m *Manifest) { m.Directories = append(m.Directories, m.Directories[0]) },
			`directory "d" twice`},
		{"directory below a file", func(m *Manifest) { m.Directories = append(m.Directories, Directory{Path: "d/t.ibd/x"}) },
			"is a directory as well"},
		{"directory with a strange mode", func(m *Manifest) { m.Directories[0].Mode = 1 << 31 }, "mode"},
		{"damage in an unknown file", func(m *Manifest) { m.Damaged = []DamagedPage{{File: "x"}} }, "unknown file"},

		{"redo index negative", func(m *Manifest) { m.Redo.File = -1 }, "redo is file -1 of 3"},
		{"redo index too big", func(m *Manifest) { m.Redo.File = 3 }, "redo is file 3 of 3"},
		{"redo index of a table", func(m *Manifest) { m.Redo.File = 0 }, "redo is file 0"},
		{"no files at all", func(m *Manifest) { m.Files, m.Tables = nil, nil }, "redo is file 2 of 0"},
		{"two redo files", func(m *Manifest) {
			f := m.Files[2]
			f.Number, f.Path = 4, "ib_logfile1"
			m.Files = append(m.Files, f)
		}, "a second redo"},
		{"redo ends before it starts", func(m *Manifest) { m.Redo.End, m.LSN.End, m.LSN.MaxPage = 4000, 4000, 0 },
			"redo from checkpoint 5000"},
		{"lsn and redo disagree", func(m *Manifest) { m.LSN.End++ }, "lsn 5000 to 6001, but redo 5000 to 6000"},
		{"checkpoint's records before it", func(m *Manifest) { m.Redo.Checkpoint.End = 4999 }, "its records at 4999"},
		{"checkpoint's records not held", func(m *Manifest) { m.Redo.Checkpoint.End = 6001 }, "its records at 6001"},
		{"page newer than the redo", func(m *Manifest) { m.LSN.MaxPage = 6001 }, "newer than the end of the redo"},
		{"redo of absurd length", func(m *Manifest) { m.Redo.End, m.LSN.End = math.MaxUint64, math.MaxUint64 }, "redo of"},
		{"redo with a byte missing", func(m *Manifest) { m.Files[2].Extents[0].Size-- }, "of which 999 bytes are stored"},
		{"redo in blocks with a block missing", func(m *Manifest) {
			m.Redo.Format = innodb.Format105
			m.Files[2].Extents[0].Size = 1024
		}, "redo from lsn 4608 to 6144, of which 1024 bytes are stored"},
		{"redo with absurd sizes", func(m *Manifest) {
			x := pack.Extent{Pack: "redo.pack", Length: 1, Size: maxFileSize}
			m.Files[2].Extents = []pack.Extent{x}
			for i := range 3 {
				x.Start = int64(i+1) * maxFileSize
				m.Files[2].Extents = append(m.Files[2].Extents, x)
			}
		}, "extent"},
		{"long encryption header", func(m *Manifest) { m.Redo.Crypt = make([]byte, 65) }, "encryption header"},
		{"negative capacity", func(m *Manifest) { m.Redo.Capacity = -1 }, "capacity"},

		{"table with file -1", func(m *Manifest) { m.Tables[0].Files[0] = -1 }, "table d.t: file -1 of 3"},
		{"table with file 3", func(m *Manifest) { m.Tables[0].Files[0] = 3 }, "table d.t: file 3 of 3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newManifest("20261121T201806Z-full")
			c.damage(m)
			err := m.Validate()
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("Validate = %v, want it to say %q", err, c.says)
			}
			if errors.Is(err, ErrNewerFormat) != (c.name == "newer format") {
				t.Errorf("Validate = %v, which is or is not ErrNewerFormat", err)
			}
		})
	}
}

// attempt1 is a pack of an interrupted attempt.
const attempt1 = "20261121T201706Z-full/data-0001.pack"

// earlier makes an interrupted attempt have stored parts of the tablespace.
func earlier(m *Manifest, extents ...pack.Extent) {
	m.Packs = append(m.Packs, pack.Pack{Name: attempt1, Size: packSize, Raw: 1})
	m.Files[1].Earlier = append(m.Files[1].Earlier, Pass{Number: 77, Extents: extents})
}

// increment makes the manifest that of an incremental backup.
func increment(m *Manifest) {
	m.ID, m.Kind, m.Parent, m.Chain = "20261121T201806Z-incr", KindIncremental, "20261120T201806Z-full", 1
}

func TestValidateAccepts(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(m *Manifest)
	}{
		{"an empty file without extents", func(m *Manifest) { m.Files[0].Size, m.Files[0].Extents = 0, nil }},
		{"an idle server: no redo at all", func(m *Manifest) {
			m.Redo.Checkpoint, m.Redo.End = innodb.Checkpoint{LSN: 5000, End: 5000}, 5000
			m.LSN = LSNs{Checkpoint: 5000, End: 5000, MaxPage: 4000}
			m.Files[2].Extents, m.Files[2].Size = nil, 0
		}},
		{"redo in blocks", func(m *Manifest) {
			m.Redo.Format = innodb.Format105 // from the block at 4608 to behind the one at 5632
			m.Files[2].Extents[0].Size = 1536
		}},
		{"redo stored at its place in the file", func(m *Manifest) { m.Files[2].Extents[0].Start = 12288 }},
		{"redo in two extents", func(m *Manifest) {
			m.Files[2].Extents = []pack.Extent{
				{Pack: "redo.pack", Length: 500, Start: 0, Size: 600},
				{Pack: "redo.pack", Offset: 500, Length: 500, Start: 600, Size: 400},
			}
		}},
		{"a file that is as in the parent", func(m *Manifest) {
			increment(m)
			m.Files[1].Base, m.Files[1].Extents = new(uint32), nil
		}},
		{"a file of which some pages have changed", func(m *Manifest) {
			increment(m)
			m.Files[1].Base = new(uint32)
			m.Files[1].Extents[0].Partial = true
			m.Files[1].Extents[1].Start, m.Files[1].Extents[1].Size = 49152, 16384
		}},
		{"a file that a new pass and two earlier ones cover", func(m *Manifest) {
			m.Files[1].Extents[0].Partial, m.Files[1].Extents = true, m.Files[1].Extents[:1]
			earlier(m, pack.Extent{Pack: attempt1, Length: 5, Start: 32768, Size: 90000},
				pack.Extent{Pack: attempt1, Length: 5, Start: 200_000, Size: 10, Partial: true})
			m.Files[1].Earlier = append(m.Files[1].Earlier, Pass{Number: 78, Extents: []pack.Extent{
				{Pack: attempt1, Length: 5, Start: 0, Size: 10}, {Pack: attempt1, Length: 5, Start: 10, Size: 40000}}})
			m.Resumed = &Resumed{IDs: []string{"20261121T201706Z-full"}, Amount: Amount{Files: 1, Bytes: 65536}}
		}},
		{"names that need no encoding", func(m *Manifest) { m.Files[0].Path = "d/ä #sql t@0024.frm" }},
		{"no tables, no directories", func(m *Manifest) { m.Tables, m.Directories = nil, nil }},
		{"a file from elsewhere", func(m *Manifest) { m.Files[1].Origin = "/ssd/t.ibd" }},
		{"a damaged page", func(m *Manifest) { m.Damaged = []DamagedPage{{File: "d/t.ibd", Page: 3}} }},
		{"the clock stepped back", func(m *Manifest) { m.Finished = m.Started.Add(-time.Hour) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newManifest("20261121T201806Z-full")
			c.change(m)
			if err := m.Validate(); err != nil {
				t.Errorf("Validate: %v", err)
			}
		})
	}
}

// FuzzManifest checks that no document makes us panic, and that what Validate
// lets through is safe to use.
func FuzzManifest(f *testing.F) {
	good, err := json.Marshal(newManifest("20261121T201806Z-full"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"format_version": 2}`))
	f.Add([]byte(`{"format_version": 2, "id": "20261121T201806Z-full", "kind": "full", "files": [{}], "redo": {"file": 0}}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		m := new(Manifest)
		if decodeJSON(document, m) != nil || m.Validate() != nil {
			return
		}
		for _, file := range m.Files {
			if path.Join("/data", file.Path) != "/data/"+file.Path {
				t.Errorf("path %q is accepted", file.Path)
			}
			var sum int64
			for _, x := range file.Extents {
				sum += x.Size
			}
			if file.Class != ClassRedo && sum > file.Size || sum < 0 || file.Class != ClassRedo && sum < file.Size &&
				file.Base == nil && len(file.Earlier) == 0 {
				t.Errorf("file %q of %d bytes has extents of %d", file.Path, file.Size, sum)
			}
		}
		if _, err := json.Marshal(m); err != nil {
			t.Errorf("an accepted manifest cannot be written: %v", err)
		}
	})
}

func FuzzDecodeManifest(f *testing.F) {
	good, err := json.Marshal(newManifest("20261121T201806Z-full"))
	if err != nil {
		f.Fatal(err)
	}
	object, err := pack.EncodeDocument(good)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(object)
	f.Add(object[:len(object)/2])
	f.Fuzz(func(t *testing.T, object []byte) {
		if m, err := decodeManifest(object); err == nil && m.Validate() != nil {
			t.Error("an invalid manifest was read")
		}
	})
}
