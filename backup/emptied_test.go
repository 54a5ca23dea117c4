package backup

import (
	"os"
	"path/filepath"
	"testing"

	"mbk/copier"
	"mbk/internal/aria"
	"mbk/internal/datadir"
	"mbk/internal/repo/store/storetest"
)

// DELETE of all rows marks the header of the index file and then cuts both files off,
// under BLOCK_COMMIT too. Whenever that comes, both copies must be of one time: no
// recovery can apply what the log tells of the rows before to files without rows.
func TestAriaTableEmptiedAtTheEnd(t *testing.T) {
	for _, when := range [...]string{"never", "between the two files", "after both"} {
		t.Run(when, func(t *testing.T) {
			dir := t.TempDir()
			b, err := os.ReadFile("../internal/aria/testdata/db-10.11.MAI")
			if err != nil {
				t.Fatal(err)
			}
			file := func(ext string) string { return filepath.Join(dir, "d", "t"+ext) }
			write := func(ext string, b []byte) {
				t.Helper()
				if err := os.WriteFile(file(ext), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
				t.Fatal(err)
			}
			write(aria.IndexExt, b)
			write(aria.DataExt, make([]byte, 5*8192))
			empty := func() {
				b[48]++ // the mark
				write(aria.IndexExt, b)
				write(aria.DataExt, make([]byte, 8192))
			}
			cp, err := copier.New(t.Context(), storetest.NewMem(), copier.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer cp.Abort(os.ErrClosed)
			c, err := newCopies(datadir.Layout{Dir: dir, Vars: map[string]string{"innodb_page_size": "16384"}}, cp, nil, 10)
			if err != nil {
				t.Fatal(err)
			}
			index := datadir.Entry{Dir: "d", Name: "t" + aria.IndexExt, Table: "t"}
			data := datadir.Entry{Dir: "d", Name: "t" + aria.DataExt, Table: "t"}
			place := func(f *finalState, e datadir.Entry) {
				t.Helper()
				if err := (&resolver{c, f}).placeNow(t.Context(), e, false); err != nil {
					t.Fatal(err)
				}
			}
			early, last := &finalState{files: map[string]*finalFile{}}, &finalState{files: map[string]*finalFile{}}
			place(early, index)
			place(early, data)
			if err := early.waitLocked(t.Context()); err != nil {
				t.Fatal(err)
			}
			want := int64(5 * 8192)
			place(last, index)
			if when == "between the two files" {
				empty()
				want = 8192
			}
			place(last, data)
			if err := last.waitLocked(t.Context()); err != nil {
				t.Fatal(err)
			}
			if when == "after both" {
				empty() // the copies were made before, and the log tells of it
			}
			if err := (&resolver{c, last}).confirm(t.Context()); err != nil {
				t.Fatal(err)
			}
			i, d := last.files[index.Path()].copy, last.files[data.Path()].copy
			if !i.continues(*d.index) {
				t.Errorf("the copies are of two times: marks %s and %s", i.index.Skip, d.index.Skip)
			}
			if d.size != want {
				t.Errorf("%d bytes of rows, want %d", d.size, want)
			}
			present, err := c.presentIndex(index)
			if err != nil || when == "between the two files" && !i.continues(present) {
				t.Errorf("the copies are of the mark %s, the file has %s, %v", i.index.Skip, present.Skip, err)
			}
		})
	}
}
