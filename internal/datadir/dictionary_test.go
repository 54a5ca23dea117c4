package datadir

import (
	"encoding/binary"
	"hash/crc32"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/innodb"
)

// page0 is the first page of a tablespace of 16 KiB pages with full_crc32.
func page0(id uint32) string {
	const size = 16384
	b := make([]byte, size)
	binary.BigEndian.PutUint32(b[34:], id) // in the page header
	binary.BigEndian.PutUint32(b[38:], id) // in that of the tablespace
	binary.BigEndian.PutUint32(b[46:], 7)  // pages
	binary.BigEndian.PutUint32(b[54:], 0x15)
	binary.BigEndian.PutUint32(b[size-4:], crc32.Checksum(b[:size-4], crc32.MakeTable(crc32.Castagnoli)))
	return string(b)
}

// datadirWith makes the files of databases, and a scan that has found them.
func datadirWith(t *testing.T, files map[string]string) (Layout, []Entry) {
	t.Helper()
	l := Layout{Dir: t.TempDir(), Vars: map[string]string{"innodb_page_size": "16384", "version": "11.8.2-MariaDB"}}
	var entries []Entry
	for name, contents := range files {
		file := filepath.Join(l.Dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, Entry{Dir: path.Dir(name), Name: path.Base(name), Table: TableOf(path.Base(name))})
	}
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Path(), b.Path()) })
	return l, entries
}

// A file that may be all that there is of a table, or that a running statement is
// making, is never left out.
func TestLeftOver(t *testing.T) {
	const fts, index, alter = "FTS_0000000000000014_CONFIG.ibd", "FTS_0000000000000014_0000000000000020_INDEX_1.ibd",
		"#sql-alter-1-2.ibd"
	d := &Dictionary{
		Spaces: map[string]innodb.SpaceID{"shop/t": 5, "shop/ft": 6, "shop/" + strings.ToLower(fts[:len(fts)-4]): 7,
			"shop/#sql-alter-1-2": 8, "shop/inside": 0},
		Names: map[innodb.SpaceID]string{5: "shop/t", 6: "shop/ft", 7: "shop/" + fts[:len(fts)-4], 8: "shop/#sql-alter-1-2"},
	}
	for _, tt := range []struct {
		name        string
		files       map[string]string
		gone        []string // between the list of the files and the look at them
		want, moved string
	}{
		{name: "all are known", files: map[string]string{"shop/t.ibd": page0(5), "shop/ft.ibd": page0(6),
			"shop/" + fts: page0(7), "shop/" + alter: page0(8)}},
		{name: "a copy of a table", files: map[string]string{"shop/t.ibd": page0(5), "shop/old.ibd": page0(5)},
			want: "shop/old.ibd"},
		{name: "a copy of a full-text index", files: map[string]string{"shop/" + fts: page0(7), "shop2/" + fts: page0(7)},
			want: "shop2/" + fts},
		{name: "a table of another server", files: map[string]string{"shop/other.ibd": page0(99)}, want: "shop/other.ibd"},
		{name: "a full-text index of another server", files: map[string]string{"shop/" + index: page0(99)},
			want: "shop/" + index},
		{name: "an intermediate table of another server", files: map[string]string{"shop/#sql-ib99-1.ibd": page0(99)},
			want: "shop/#sql-ib99-1.ibd"},
		{name: "a copy under the name of an intermediate table",
			files: map[string]string{"shop/t.ibd": page0(5), "shop/#sql-ib99-1.ibd": page0(5)}, want: "shop/#sql-ib99-1.ibd"},
		{name: "garbage", files: map[string]string{"shop/garbage.ibd": "garbage"}, want: "shop/garbage.ibd"},
		{name: "a file in the place of a table of the system tablespace",
			files: map[string]string{"shop/inside.ibd": page0(99)}, want: "shop/inside.ibd"},
		{name: "new files without pages", files: map[string]string{"shop/#sql-alter-9-9.ibd": "",
			"shop/" + index: strings.Repeat("\x00", 16384)}},
		{name: "an intermediate table that has got its name",
			files: map[string]string{"shop/#sql-alter-7-7.ibd": page0(5),
				"shop/t.ibd": page0(5)}, gone: []string{"shop/#sql-alter-7-7.ibd"}},
		{name: "a dropped index", files: map[string]string{"shop/" + index: page0(99)}, gone: []string{"shop/" + index}},
		{name: "a renamed table", files: map[string]string{"shop/moved.ibd": page0(5)},
			moved: "shop/moved.ibd has the number of shop/t.ibd, which is not there"},
		{name: "two tables with each other's files, and a copy",
			files: map[string]string{"shop/t.ibd": page0(6), "shop/old.ibd": page0(5)}, moved: "shop/old.ibd has the number " +
				"of shop/t.ibd, which has another"},
		{name: "an index under another name", files: map[string]string{"shop/" + index: page0(7)},
			moved: "shop/" + index + " has the number of shop/" + fts},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, entries := datadirWith(t, tt.files)
			for _, name := range tt.gone {
				if err := os.Remove(filepath.Join(l.Dir, name)); err != nil {
					t.Fatal(err)
				}
			}
			found, moved, err := d.Unowned(l, d.Unknown(entries), entries)
			if got := strings.Join(found, " "); got != tt.want || err != nil {
				t.Errorf("left over are %q, %v, want %q", got, err, tt.want)
			}
			if got := strings.Join(moved, " "); !strings.HasPrefix(got, tt.moved) || tt.moved == "" && got != "" {
				t.Errorf("moved are %q, want %q", got, tt.moved)
			}
		})
	}
}

// What a filter leaves out is not listed, and still owns its tablespace.
func TestLeftOverOfTableThatIsLeftOut(t *testing.T) {
	d := &Dictionary{Spaces: map[string]innodb.SpaceID{"Shop/t": 5}, Names: map[innodb.SpaceID]string{5: "Shop/T"}}
	l, entries := datadirWith(t, map[string]string{"Shop/T.ibd": page0(5), "other/old.ibd": page0(5)})
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.Dir == "Shop" })
	found, moved, err := d.Unowned(l, d.Unknown(entries), entries)
	if !slices.Equal(found, []string{"other/old.ibd"}) || len(moved) > 0 || err != nil {
		t.Errorf("left over are %q, moved %q, %v, want other/old.ibd", found, moved, err)
	}
}
