package filename_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/datadir/filename"
	"mbk/internal/test/mariadbtest"
)

// The server encodes every character of Unicode's first plane; so do we.
func TestEncodesAsTheServer(t *testing.T) {
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	conn, err := srv.DB().Prepare("SELECT CAST(CONVERT(CONVERT(? USING utf8mb3) USING filename) AS BINARY)")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for first := rune(0x20); first < 0x10000; first += 16 {
		var text strings.Builder
		for r := first; r < first+16; r++ {
			if r < 0xd800 || r > 0xdfff {
				text.WriteRune(r)
			}
		}
		if text.Len() == 0 {
			continue
		}
		var want string
		if err := conn.QueryRow(text.String()).Scan(&want); err != nil {
			t.Fatal(err)
		}
		if got := filename.Encode(text.String()); got != want {
			t.Errorf("Encode(%+q) = %q, the server says %q", text.String(), got, want)
		}
		if got, ok := filename.Decode(want); !ok || got != text.String() {
			t.Errorf("Decode(%q) = %+q, %t", want, got, ok)
		}
	}
}

// What the server makes of names that are special to it.
func TestNamesOfFiles(t *testing.T) {
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	names := []string{"aux", "Con", "com1", "lpt9", "com0", "nul", "clock$", "a b", "a.b", "@", "a@b", "größe", "表",
		"x#P#y", "%", "a'b\"c`d", "_"}
	srv.MustExec(t, "CREATE DATABASE d")
	for _, name := range names {
		srv.MustExec(t, "CREATE TABLE d.`"+strings.ReplaceAll(name, "`", "``")+"` (a INT)")
		if _, err := os.Stat(filepath.Join(srv.Datadir, "d", filename.Encode(name)+".frm")); err != nil {
			t.Errorf("Encode(%q) = %q: %v", name, filename.Encode(name), err)
		}
	}
	files, err := filepath.Glob(filepath.Join(srv.Datadir, "d", "*.frm"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := filename.SQL(strings.TrimSuffix(filepath.Base(f), ".frm"))
		if !slices.Contains(names, name) {
			t.Errorf("SQL(%q) = %q, which is none of the tables", filepath.Base(f), name)
		}
	}
}

func TestSQLOfUncodedNames(t *testing.T) {
	for name, want := range map[string]string{
		"plain": "plain", "a-b": "#mysql50#a-b", "a@b": "#mysql50#a@b", "": "#mysql50#", "@0061": "#mysql50#@0061",
		"a@0020b": "a b",
	} {
		if got := filename.SQL(name); got != want {
			t.Errorf("SQL(%q) = %q, want %q", name, got, want)
		}
		if got := filename.Encode(filename.SQL(name)); got != name {
			t.Errorf("Encode(SQL(%q)) = %q", name, got)
		}
	}
}

func TestPartsOfNames(t *testing.T) {
	for name, want := range map[string]string{
		"t": "t", "t#P#p0": "t", "t#P#p0#SP#p0sp1": "t", "t#p#p0": "t", "t#i#00": "t", "#sql-12_3": "#sql-12_3",
	} {
		if got := filename.Base(name); got != want {
			t.Errorf("Base(%q) = %q, want %q", name, got, want)
		}
	}
	for name, want := range map[string]bool{
		"FTS_000000000000007e_00000000000000b0_INDEX_1.ibd": true,
		"FTS_000000000000007e_00000000000000b0_INDEX_6.ibd": true,
		"FTS_000000000000007e_CONFIG.ibd":                   true, "FTS_000000000000007e_BEING_DELETED_CACHE.ibd": true,
		"FTS_000000000000007e_DELETED": true,
		"FTS_orders.ibd":               false, "FTS_000000000000007e_orders.ibd": false,
		"FTS_000000000000007E_CONFIG.ibd":                   false,
		"FTS_000000000000007e_00000000000000b0_INDEX_7.ibd": false,
		"FTS_000000000000007e_00000000000000b0_INDEX_.ibd":  false,
		"FTS_000000000000007e_00000000000000b0.ibd":         false, "FTS_000000000000007e_INDEX_1.ibd": false,
		"FTS_000000000000007e_00000000000000b0_CONFIG.ibd": false, "FTS_000000000000007e_": false,
		"fts_000000000000007e_CONFIG.ibd": false,
	} {
		if got := filename.FullText(name); got != want {
			t.Errorf("FullText(%q) = %v, want %v", name, got, want)
		}
	}
	if !filename.Temporary("#sql-alter-1.ibd") || filename.Temporary("sql.ibd") {
		t.Error("Temporary confuses temporary tables and others")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("a@0020b@1i")
	f.Add("@@@")
	f.Fuzz(func(t *testing.T, name string) {
		if sql, ok := filename.Decode(name); ok && filename.Encode(sql) != name {
			t.Errorf("Encode(Decode(%q)) = %q", name, filename.Encode(sql))
		}
	})
}

func TestFullTextParent(t *testing.T) {
	for name, want := range map[string]uint64{
		"FTS_000000000000014a_CONFIG.ibd": 0x14a, "FTS_000000000000014a_00000000000001c3_INDEX_1.ibd": 0x14a,
		"FTS_14a_CONFIG.ibd": 0, "t.ibd": 0,
	} {
		if got, ok := filename.FullTextParent(name); got != want || ok != (want != 0) {
			t.Errorf("FullTextParent(%s) = %d, %t", name, got, ok)
		}
	}
}

func TestTriggerTable(t *testing.T) {
	for text, want := range map[string]string{
		"TYPE=TRIGGERNAME\ntrigger_table=innodb_audited\n": "innodb_audited",
		"TYPE=TRIGGERNAME\ntrigger_table=a\\\\b\\nc 表\n":   "a\\b\nc 表",
		"TYPE=TRIGGERNAME\n": "", "": "",
	} {
		if got, ok := filename.TriggerTable([]byte(text)); got != want || ok != (want != "") {
			t.Errorf("TriggerTable(%q) = %q, %t", text, got, ok)
		}
	}
}

func FuzzTriggerTable(f *testing.F) {
	f.Add([]byte("TYPE=TRIGGERNAME\ntrigger_table=orders\n"))
	f.Add([]byte(`trigger_table=a\nb\0c\zd\'e\\`))
	f.Fuzz(func(t *testing.T, contents []byte) {
		table, ok := filename.TriggerTable(contents)
		if len(table) > len(contents) || !ok && table != "" {
			t.Errorf("%q: %q, %v", contents, table, ok)
		}
	})
}
