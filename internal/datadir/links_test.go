package datadir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"mbk/internal/repo"
)

// linkedDatadir makes a data directory with a table of each kind of link, and the folder
// that they lead to.
func linkedDatadir(t *testing.T) (l Layout, external string) {
	t.Helper()
	top := t.TempDir()
	dir, external := filepath.Join(top, "data"), filepath.Join(top, "ext")
	for _, name := range []string{"data/shop", "ext/shop", "ext/folder", "ext/crm"} {
		if err := os.MkdirAll(filepath.Join(top, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		"ext/shop/there.ibd": "", "ext/rows.MYD": "rows", "ext/crm/t.MYI": "", "data/shop/both.ibd": "",
		"ext/shop/both.ibd":   "",
		"data/shop/there.isl": filepath.Join(external, "shop/there.ibd") + "\n",
		"data/shop/gone.isl":  external + "/shop/gone.ibd",
		"data/shop/both.isl":  external + "/shop/both.ibd", "data/shop/near.isl": "./shop/elsewhere.ibd",
		"data/shop/new.isl": "", "data/shop/other.isl": "/etc/passwd",
	} {
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"shop/rows.MYD": external + "/rows.MYD", "shop/dangling.MYD": external + "/none",
		"shop/dir.MYD":  external + "/folder",
		"shop/null.MYD": "/dev/null", "crm": "../ext/crm",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	l, err := NewLayout(dir, map[string]string{"datadir": "/srv/mysql", "innodb_page_size": "16384"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return l, external
}

func TestLinks(t *testing.T) {
	l, external := linkedDatadir(t)
	s, err := l.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]Link{}
	for _, e := range s.Entries {
		got[e.Path()] = e.Link
	}
	want := map[string]Link{
		"crm/t.MYI":      {},
		"shop/there.ibd": {repo.LinkISL, external + "/shop/there.ibd"},
		"shop/gone.ibd":  {repo.LinkISL, external + "/shop/gone.ibd"},
		"shop/both.ibd":  {repo.LinkISL, external + "/shop/both.ibd"},
		"shop/near.ibd":  {repo.LinkISL, "/srv/mysql/shop/elsewhere.ibd"},
		"shop/rows.MYD":  {repo.LinkSymbolic, external + "/rows.MYD"},
	}
	delete(got, "shop/both.ibd") // once in its place, and once by its link
	delete(want, "shop/both.ibd")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("links (-want +got):\n%s", diff)
	}
	var broken []string
	for _, b := range s.Broken {
		broken = append(broken, b.Text)
	}
	if diff := cmp.Diff([]string{
		"shop/both.isl leads to " + external + "/shop/both.ibd, and both.ibd is there, too",
		"shop/new.isl holds no path of a tablespace", "shop/other.isl holds no path of a tablespace",
	}, broken); diff != "" {
		t.Errorf("broken links (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"shop/dir.MYD"}, s.Strays); diff != "" {
		t.Errorf("strays (-want +got):\n%s", diff)
	}
	if len(s.Unreadable) != 1 || s.Unreadable[0].Name != "shop/null.MYD to /dev/null" ||
		s.Unreadable[0].Why != "a device" {
		t.Errorf("unreadable: %+v", s.Unreadable)
	}
	if to := l.DatabaseOrigin("crm"); to != external+"/crm" && !strings.HasSuffix(to, "/ext/crm") ||
		l.DatabaseOrigin("shop") != "" {
		t.Errorf("crm is in %q, shop in %q", to, l.DatabaseOrigin("shop"))
	}
	if diff := cmp.Diff(map[string]bool{"shop/gone.ibd": true, "shop/near.ibd": true}, l.MissingExternal(s)); diff != "" {
		t.Errorf("missing (-want +got):\n%s", diff)
	}
}

// What no table needs is left out, and what one needs fails a backup.
func TestUnreadableFiles(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "shop"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"t.MYD", "t.MYI", "stray.MYD", "view.frm", "notes.txt"} {
		if err := unix.Mkfifo(filepath.Join(dir, "shop", name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "shop", "t.frm"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := NewLayout(dir, map[string]string{"datadir": dir, "innodb_page_size": "16384"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name          string
		bad           map[string]Problem
		needed, loose string
	}{
		{"as they are", nil, "shop/t.MYD, shop/t.MYI, shop/view.frm (a FIFO)", "shop/stray.MYD (a FIFO)"},
		{"the server cannot read the view either", map[string]Problem{"shop/view.frm": {Text: "bad"}},
			"shop/t.MYD, shop/t.MYI (a FIFO)", "shop/stray.MYD (a FIFO)"},
	} {
		l.BadDefinitions = tt.bad
		if needed, loose := l.SplitUnreadable(s.Unreadable); needed != tt.needed || loose != tt.loose {
			t.Errorf("%s: needed %q, loose %q, want %q, %q", tt.name, needed, loose, tt.needed, tt.loose)
		}
	}
}

// Why a definition cannot be read, where the server lists a table of which none was found.
func TestDefinitionProblem(t *testing.T) {
	dir := t.TempDir()
	shop := filepath.Join(dir, "shop")
	if err := os.Mkdir(shop, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(shop, "fifo.frm"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"gone.frm": "/none", "good.frm": "plain.frm"} {
		if err := os.Symlink(to, filepath.Join(shop, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(shop, "plain.frm"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := Layout{Dir: dir}
	for table, want := range map[string]struct {
		why     string
		special bool
	}{
		"fifo": {"a FIFO", true}, "gone": {"a link to /none, which is not there", false},
		"good": {}, "plain": {}, "none": {},
	} {
		why, special := l.DefinitionProblem(TableName{"shop", table})
		if why != want.why || special != want.special {
			t.Errorf("%s: %q, special %t, want %q, %t", table, why, special, want.why, want.special)
		}
	}
}
