package optfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// write makes a file below dir, with the folders on the way to it.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// environment is a Getenv without the environment of the test.
func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for _, pair := range pairs {
			if value, found := strings.CutPrefix(pair, name+"="); found {
				return value
			}
		}
		return ""
	}
}

// words renders settings as "name" or "name=value".
func words(settings []Setting) []string {
	all := []string{}
	for _, s := range settings {
		if s.HasValue {
			all = append(all, s.Name+"="+s.Value)
		} else {
			all = append(all, s.Name)
		}
	}
	return all
}

func TestRead(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string
	}{
		{"values and none", "[client]\nuser=root\nskip-ssl\npassword=\n", []string{"user=root", "skip-ssl", "password="}},
		{"spaces around all parts", " [client ] x\n\t user \t=  a b \t\r\n", []string{"user=a b"}},
		{"other groups are left out", "[mysqld]\na=1\n[client]\nb=1\n[clients]\nc=1\n", []string{"b=1"}},
		{"groups in any case", "[CLIENT]\na=1\n", []string{"a=1"}},
		{"a group may come again", "[client]\na=1\n[x]\n[client]\na=2\n", []string{"a=1", "a=2"}},
		{"underscores and loose", "[client]\nssl_ca=a_b\nloose-ssl_key=k\nloose_x\n",
			[]string{"ssl-ca=a_b", "ssl-key=k", "x"}},
		{"prefixes for the caller", "[client]\nskip_ssl\ndisable-a\nenable-b\n",
			[]string{"skip-ssl", "disable-a", "enable-b"}},
		{"names keep their case", "[client]\nUser=x\n", []string{"User=x"}},
		{"comments", "# a=1\n; b=1\n[client] # x\n\n#c\nd=1 # one\ne # none\nf=1;2\n", []string{"d=1", "e", "f=1;2"}},
		{"comment sign in quotes", "[client]\na='x#y'\nb=\"x#y\"#z\nc=x'#'y#z\nd='x\\'#y'\n",
			[]string{"a=x#y", "b=x#y", "c=x'#'y", "d=x'#y"}},
		{"quotes only around the whole", "[client]\na='x'y\nb=\"x'\nc='\nd=''\ne='a\"\n",
			[]string{"a='x'y", "b=\"x'", "c='", "d=", "e='a\""}},
		{"escapes", `[client]` + "\n" + `a=\n\t\r\b\s\"\'\\\x` + "\n" + `b=c:\dir\` + "\n",
			[]string{"a=\n\t\r\b \"'\\\\x", `b=c:\dir\`}},
		{"equal sign in the value", "[client]\na=b=c\n", []string{"a=b=c"}},
		{"end of file in a line", "[client]\na=1", []string{"a=1"}},
		{"after a NUL nothing counts", "[client]\na=1\x00b\n\x00b=1\nc\n", []string{"a=1", "c"}},
		{"a letter whose last byte is a space in latin1", "[client]\na=voil\u00e0\nb='voil\u00e0'\n",
			[]string{"a=voil\xc3", "b=voil\u00e0"}},
		{"unknown directive", "[client]\n!other x\n!includes x\na=1\n", []string{"a=1"}},
		{"long line goes on as another", "[client]\na=" + strings.Repeat("x", lineBytes-2) + "b=1\nc\n",
			[]string{"a=" + strings.Repeat("x", lineBytes-2), "b=1", "c"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, t.TempDir(), "my.cnf", tt.text)
			got, err := Read(Options{File: path, Groups: []string{"client"}, Getenv: environment()})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, words(got)); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadSaysWhere(t *testing.T) {
	dir := t.TempDir()
	inner := write(t, dir, "inner.cnf", "\n[client]\nb\n")
	outer := write(t, dir, "outer.cnf", "[client]\na="+strings.Repeat("x", lineBytes)+"\n!include "+inner+"\nc=1")
	got, err := Read(Options{File: outer, Groups: []string{"client"}, Getenv: environment()})
	if err != nil {
		t.Fatal(err)
	}
	var where []Setting
	for _, s := range got {
		where = append(where, Setting{Name: s.Name, HasValue: s.HasValue, File: s.File, Line: s.Line})
	}
	want := []Setting{
		{Name: "a", HasValue: true, File: outer, Line: 2},
		{Name: "xx", File: outer, Line: 2},
		{Name: "b", File: inner, Line: 3},
		{Name: "c", HasValue: true, File: outer, Line: 4},
	}
	if diff := cmp.Diff(want, where, cmp.AllowUnexported(Setting{})); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestReadSaysWhichGroup(t *testing.T) {
	path := write(t, t.TempDir(), "my.cnf", "[Mbk]\na\n[mbk-backup1]\nloose_b\n[mbk-backup2]\nc\n[mbk1]\nd\n")
	got, err := Read(Options{File: path, Groups: []string{"mbk", "mbk-backup"}, Suffix: "1", Getenv: environment()})
	if err != nil {
		t.Fatal(err)
	}
	want := []Setting{
		{Name: "a", Group: "mbk", File: path, Line: 2},
		{Name: "b", Loose: true, Group: "mbk-backup", File: path, Line: 4},
		{Name: "d", Group: "mbk", File: path, Line: 8},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

func TestReadOrderOfFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"etc/my.cnf", "etc/mysql/my.cnf", "server/my.cnf", "old/my.cnf", "extra.cnf",
		"home/.my.cnf", "own.cnf", "only.cnf"} {
		write(t, dir, name, "[client]\nfile="+name+"\n[client.two]\nsuffix="+name+"\n")
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	home := "HOME=" + in("home")
	tests := []struct {
		name string
		o    Options
		env  []string
		want []string
	}{
		{"global and home", Options{}, []string{home},
			[]string{"file=etc/my.cnf", "file=etc/mysql/my.cnf", "file=home/.my.cnf"}},
		{"without a home", Options{}, nil, []string{"file=etc/my.cnf", "file=etc/mysql/my.cnf"}},
		{"extra file before home", Options{Extra: in("extra.cnf")}, []string{home},
			[]string{"file=etc/my.cnf", "file=etc/mysql/my.cnf", "file=extra.cnf", "file=home/.my.cnf"}},
		{"a further global file", Options{Global: []string{in("own.cnf"), in("missing.cnf")}, Extra: in("extra.cnf")}, nil,
			[]string{"file=etc/my.cnf", "file=etc/mysql/my.cnf", "file=own.cnf", "file=extra.cnf"}},
		{"MARIADB_HOME rules MYSQL_HOME", Options{}, []string{"MARIADB_HOME=" + in("server"), "MYSQL_HOME=" + in("old")},
			[]string{"file=etc/my.cnf", "file=etc/mysql/my.cnf", "file=server/my.cnf"}},
		{"MYSQL_HOME alone", Options{}, []string{"MYSQL_HOME=" + in("old")},
			[]string{"file=etc/my.cnf", "file=etc/mysql/my.cnf", "file=old/my.cnf"}},
		{"a global folder as MYSQL_HOME is read once, later", Options{}, []string{"MYSQL_HOME=" + in("etc") + "/"},
			[]string{"file=etc/mysql/my.cnf", "file=etc/my.cnf"}},
		{"one file only", Options{File: in("only.cnf"), Extra: in("missing.cnf")}, []string{home}, []string{"file=only.cnf"}},
		{"one file in the home", Options{File: "~/../only.cnf"}, []string{home}, []string{"file=only.cnf"}},
		{"none", Options{NoDefaults: true, File: in("only.cnf")}, []string{home}, []string{}},
		{"suffix", Options{File: in("only.cnf"), Suffix: ".two"}, []string{"MARIADB_GROUP_SUFFIX=.one"},
			[]string{"file=only.cnf", "suffix=only.cnf"}},
		{"suffix of the environment", Options{File: in("only.cnf")},
			[]string{"MARIADB_GROUP_SUFFIX=.TWO", "MYSQL_GROUP_SUFFIX=.one"}, []string{"file=only.cnf", "suffix=only.cnf"}},
		{"old suffix of the environment", Options{File: in("only.cnf")}, []string{"MYSQL_GROUP_SUFFIX=.two"},
			[]string{"file=only.cnf", "suffix=only.cnf"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.o
			o.etc, o.Groups, o.Getenv = []string{in("etc"), in("etc/mysql")}, []string{"client"}, environment(tt.env...)
			got, err := Read(o)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, words(got)); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
}

// tree makes the files that includes are tried with.
func tree(t *testing.T) string {
	dir := t.TempDir()
	write(t, dir, "d/b.cnf", "[client]\nb=1\n[other]\n")
	write(t, dir, "d/a.x.cnf", "[client]\na=1\n")
	write(t, dir, "d/.cnf", "[client]\nhidden=1\n")
	write(t, dir, "d/no.cfg", "[client]\nwrong=1\n")
	write(t, dir, "d/bad.cnf", "[client]\nbefore=1\n[oops\nafter=1\n")
	write(t, dir, "d/folder.cnf/x.cnf", "[client]\nwrong=1\n")
	write(t, dir, "self.cnf", "[client]\nself=1\n!include "+dir+"/self.cnf\n")
	write(t, dir, "loop/self.cnf", "[client]\n!includedir "+dir+"/loop\n")
	write(t, dir, "loop/other.cnf", "[client]\n!includedir "+dir+"/loop\n")
	write(t, dir, "home.cnf", "[client]\nhome=1\n")
	if err := os.Chmod(write(t, dir, "open.cnf", "[client]\nopen=1\n"), 0o646); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestIncludes(t *testing.T) {
	dir := tree(t)
	tests := []struct {
		name, text string
		want       []string
		warnings   []string // a part of each
	}{
		{"a file", "!include DIR/home.cnf\n", []string{"home=1"}, nil},
		{"a file of the home folder", "! include \t ~/home.cnf \r\n", []string{"home=1"}, nil},
		{"the including group goes on", "[client]\na=1\n!include DIR/home.cnf\nb=1\n", []string{"a=1", "home=1", "b=1"}, nil},
		{"the included group does not", "[x]\n!include DIR/home.cnf\nb=1\n", []string{"home=1"}, nil},
		{"at the very end of the file", "!include DIR/home.cnf", []string{"home=1"}, nil},
		{"a missing file", "[client]\n!include DIR/missing.cnf\na=1\n", []string{"a=1"}, nil},
		{"a folder, sorted, a bad file in it", "!includedir DIR/d\n[client]\nz=1\n",
			[]string{"hidden=1", "a=1", "b=1", "before=1", "z=1"},
			[]string{"bad.cnf, line 3: group without its ]; the rest of that file is ignored"}},
		{"a folder as a file", "!include DIR/d\n", []string{}, []string{"DIR/d is ignored: is a directory"}},
		{"a file that everyone may write to", "!include DIR/open.cnf\n", []string{},
			[]string{"open.cnf is ignored: everyone may write to it"}},
		{"a file that includes itself", "!include DIR/self.cnf\n", slices.Repeat([]string{"self=1"}, includeDepth),
			[]string{"self.cnf, line 3: "}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := write(t, t.TempDir(), "my.cnf", strings.ReplaceAll(tt.text, "DIR", dir))
			var warnings []string
			got, err := Read(Options{
				File: path, Groups: []string{"client"}, Getenv: environment("HOME=" + dir),
				Warn: func(m string) { warnings = append(warnings, m) },
			})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, words(got)); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
			if len(warnings) != len(tt.warnings) {
				t.Fatalf("warnings = %q, want %d", warnings, len(tt.warnings))
			}
			for i, part := range tt.warnings {
				if part = strings.ReplaceAll(part, "DIR", dir); !strings.Contains(warnings[i], part) {
					t.Errorf("warning %q, want one with %q", warnings[i], part)
				}
			}
		})
	}
	t.Run("folders that include themselves come to an end", func(t *testing.T) {
		path := write(t, t.TempDir(), "my.cnf", "!includedir "+dir+"/loop\n[client]\na=1\n")
		got, err := Read(Options{File: path, Groups: []string{"client"}, Getenv: environment()})
		if err != nil || len(got) != 1 {
			t.Errorf("Read = %v, %v, want one setting", got, err)
		}
	})
}

func TestReadErrors(t *testing.T) {
	dir := tree(t)
	file := func(text string) Options {
		return Options{File: write(t, t.TempDir(), "my.cnf", strings.ReplaceAll(text, "DIR", dir))}
	}
	tests := []struct {
		name string
		o    Options
		want string
	}{
		{"missing file", Options{File: dir + "/missing.cnf"}, "read option file DIR/missing.cnf: no such file or directory"},
		{"missing extra file", Options{Extra: dir + "/missing.cnf"},
			"read option file DIR/missing.cnf: no such file or directory"},
		{"folder as the file", Options{File: dir}, "read option file DIR: is a directory"},
		{"option without a group", file("# x\npassword=secret\n"), "my.cnf, line 2: option before the first [group]"},
		{"group without end", file("[client]\n\n[secret\n"), "my.cnf, line 3: group without its ]"},
		{"byte order mark", file("\ufeff[client]\n"), "my.cnf, line 1: option before the first [group]"},
		{"include of nothing", file("[client]\n!include\n"), "my.cnf, line 2: !include of nothing"},
		{"includedir of nothing", file("!includedir  \n"), "my.cnf, line 1: !includedir of nothing"},
		{"include of a missing folder", file("[a]\n!includedir DIR/missing\n"),
			"my.cnf, line 2: include folder DIR/missing: no such file or directory"},
		{"endless file", Options{File: "/dev/zero"}, "read option file /dev/zero: is a device"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.o.Groups, tt.o.Getenv, tt.o.etc = []string{"client"}, environment(), []string{dir}
			got, err := Read(tt.o)
			if err == nil {
				t.Fatalf("Read = %q, want an error", words(got))
			}
			if want := strings.ReplaceAll(tt.want, "DIR", dir); !strings.HasSuffix(err.Error(), want) ||
				strings.Contains(err.Error(), "secret") {
				t.Errorf("error %q, want one that ends in %q", err, want)
			}
		})
	}
}

func TestWorldWritableFile(t *testing.T) {
	dir := tree(t)
	var warnings []string
	got, err := Read(Options{
		File: dir + "/open.cnf", Groups: []string{"client"}, Getenv: environment(),
		Warn: func(m string) { warnings = append(warnings, m) },
	})
	if err != nil || len(got) != 0 {
		t.Errorf("Read = %v, %v, want nothing", got, err)
	}
	if want := []string{"option file " + dir + "/open.cnf is ignored: everyone may write to it"}; !slices.Equal(warnings,
		want) {
		t.Errorf("warnings = %q, want %q", warnings, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, line := range []string{"", "[client]\n", "[", "a=1", "a", " a = 'x#y' # z", `a="\n\s\\"`, "!include x\n",
		"!includedir", "!", "=v", "a=\xa0", "\x00", "a='\\'#"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		s, err := parse(line)
		if err != nil {
			return
		}
		if n := len(s.name) + len(s.value); n > len(line) {
			t.Errorf("%d bytes out of %d", n, len(line))
		}
		if (s.kind == include || s.kind == includeFolder) && s.name == "" {
			t.Error("include without a name")
		}
		if strings.IndexByte(s.name+s.value, 0) >= 0 {
			t.Error("NUL in a name or a value")
		}
	})
}

// FuzzQuoted writes any value the safe way and expects to read it back.
func FuzzQuoted(f *testing.F) {
	for _, value := range []string{"", "a", " a ", "#", "'", `"`, `\`, `\\n`, "\n", "a\u00e0", "=", "];!"} {
		f.Add(value)
	}
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	f.Fuzz(func(t *testing.T, value string) {
		if strings.IndexByte(value, 0) >= 0 {
			return
		}
		s, err := parse([]byte(`name = "` + escape.Replace(value) + `" # comment`))
		if err != nil || s.kind != option || s.name != "name" || s.value != value {
			t.Errorf("parse = %+v, %v, want the value %q", s, err, value)
		}
	})
}

// A FIFO in the place of an option file made every command wait forever. What the
// caller's shell has opened may be one.
func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo.cnf")
	file := filepath.Join(dir, "a.cnf")
	if err := errors.Join(unix.Mkfifo(fifo, 0o600),
		os.WriteFile(file, []byte("[mbk]\nx=1\n!include "+fifo+"\n!includedir "+dir+"\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	settings, err := Read(Options{File: file, Groups: []string{"mbk"}, Warn: func(m string) {
		warnings = append(warnings, m)
	}})
	if err != nil || len(settings) == 0 || !slices.Contains(warnings, "option file "+fifo+" is ignored: is a FIFO") {
		t.Errorf("got %v, %v, warnings %q", settings, err, warnings)
	}
	for _, o := range []Options{{File: fifo}, {Extra: fifo}} {
		if _, err := Read(o); err == nil || err.Error() != "read option file "+fifo+": is a FIFO" {
			t.Errorf("%+v: %v", o, err)
		}
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = w.WriteString("[mbk]\nx=1\n")
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	settings, err = Read(Options{File: fmt.Sprintf("/dev/fd/%d", r.Fd()), Groups: []string{"mbk"}})
	if err != nil || len(settings) != 1 {
		t.Errorf("inherited: %v, %v", settings, err)
	}
}
