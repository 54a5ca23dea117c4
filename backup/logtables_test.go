package backup

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbk/copier"
	"mbk/internal/datadir"
	"mbk/internal/repo/store/storetest"
)

// The rows of a log table and the file that counts them once came from different
// moments, and the latter with the mark of a crash, because the server had the table open.
func TestLogTables(t *testing.T) {
	line := `"2026-11-29 12:00:00.000000","root[root] @ localhost []","select ` + strings.Repeat("x", 70) + `"` + "\n"
	long := `"` + strings.Repeat("y", 200<<10) + `"` + "\n"
	many, some := strings.Repeat(line, 200), strings.Repeat(line, 9)
	for name, c := range map[string]struct {
		first, more string // in the file when it is opened, and what is appended before the lock
		want        string
		rows        byte
	}{
		"empty":                        {"", "", "", 0},
		"small":                        {line + line, "", line + line, 2},
		"small, grown":                 {line + line, line, line + line + line, 3},
		"half a line at the end":       {line + line[:20], "", line, 1},
		"half a line, finished":        {line + line[:20], line[20:] + line, line + line + line, 3},
		"half a line, and half a line": {line + line[:20], line[20:] + line[:9], line + line, 2},
		"half a line, a little more":   {line + line[:20], line[20:30], line, 1},
		"no whole line":                {line[:20], "", "", 0},
		"large":                        {many + long + long, line, many + long + long + line, 203},
		"large, long line not whole":   {some + long[:150<<10], long[150<<10:], some + long, 10},
	} {
		t.Run(name, func(t *testing.T) {
			dir, mem := t.TempDir(), storetest.NewMem()
			cp, err := copier.New(t.Context(), mem, copier.Options{ChunkSize: 64 << 10})
			if err != nil {
				t.Fatal(err)
			}
			defer cp.Abort(os.ErrClosed)
			copies, err := newCopies(datadir.Layout{Dir: dir, Vars: map[string]string{"innodb_page_size": "16384"}}, cp, nil, 10)
			if err != nil {
				t.Fatal(err)
			}
			write := func(name, text string) {
				f, err := os.OpenFile(filepath.Join(dir, "mysql", name), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
				if err == nil {
					_, err = f.WriteString(text)
					f.Close()
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir(filepath.Join(dir, "mysql"), 0o700); err != nil {
				t.Fatal(err)
			}
			open := datadir.CSVState(1)
			open[len(open)-1] = 1
			write("slow_log.CSV", c.first)
			write("slow_log.CSM", string(open))

			f := &finalState{files: map[string]*finalFile{}}
			place := func() {
				for _, ext := range []string{".CSM", ".CSV"} {
					e := datadir.Entry{Dir: "mysql", Name: "slow_log" + ext, Table: "slow_log"}
					if err := (&resolver{copies, f}).placeNow(t.Context(), e, false); err != nil {
						t.Fatal(err)
					}
				}
			}
			place()
			write("slow_log.CSV", c.more)
			place()
			if err := copies.closeLogTables(t.Context(), f); err != nil {
				t.Fatal(err)
			}
			if _, err := cp.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := contentsOf(t, mem, f.files["mysql/slow_log.CSV"].copy); string(got) != c.want {
				t.Errorf("%d bytes of rows, want %d", len(got), len(c.want))
			}
			want := append([]byte{0xfe, 1, c.rows}, make([]byte, 32)...)
			if got := contentsOf(t, mem, f.files["mysql/slow_log.CSM"].copy); !bytes.Equal(got, want) {
				t.Errorf("state %x, want %x", got, want)
			}
		})
	}
}
