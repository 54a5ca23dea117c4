package restore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/innodb"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/sys/pause"
	"mbk/internal/test/coldbackup"
	"mbk/internal/test/executable"
	"mbk/stage"
)

// fakeServer makes a program that says that it is a server of a version, and beside it
// one that says that it is the mariadb-upgrade of another, "" for none.
func fakeServer(t *testing.T, version, tool string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"mariadbd":        "#!/bin/sh\necho 'mariadbd  Ver " + version + "-MariaDB for Linux on x86_64'\n",
		"mariadb-upgrade": "#!/bin/sh\necho 'mariadb-upgrade  Ver 2.1 Distrib " + tool + "-MariaDB, for linux'\nexit 1\n",
	} {
		if name == "mariadb-upgrade" && tool == "" {
			continue
		}
		if err := executable.Write(filepath.Join(dir, name), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "mariadbd")
}

// Which servers recover and upgrade which backups.
func TestPlanOfVersions(t *testing.T) {
	old := fakeServer(t, "10.6.22", "10.6.22")
	same := fakeServer(t, "10.11.19", "10.11.19")
	newer := fakeServer(t, "11.8.9", "11.8.9")
	format105 := func(m *repo.Manifest) { m.Redo.Format = innodb.Format105 }
	encrypted := func(m *repo.Manifest) { m.Redo.Crypt = make([]byte, 28) }
	filtered := func(m *repo.Manifest) { m.Filter = &repo.Filter{} }
	external := func(m *repo.Manifest) { m.Files[4].Class, m.Files[4].Link = repo.ClassInnoDB, repo.LinkISL }
	for _, c := range []struct {
		name           string
		source         string
		recover, other string // programs; other: --upgrade-with
		change         func(*repo.Manifest)
		by, then       string // of the plan; "" if there is an objection
		says           []string
	}{
		{"the same release", "10.11.19", same, "", nil, same, "", nil},
		{"a later one", "10.11.18", same, "", nil, same, "", nil},
		{"an earlier one", "10.11.20", same, "", nil, same, "",
			[]string{"older maintenance release than the source's 10.11.20", "use mariadbd 10.11.20 or a later 10.11"}},
		{"a newer series", "10.11.19", newer, "", nil, "", "",
			[]string{"no mariadbd here recovers files of 10.11.19", "is 11.8.9", "--upgrade"}},
		{"an older series", "10.11.19", old, "", nil, "", "",
			[]string{"opens no files of a newer series", "install mariadbd 10.11.19"}},
		{"an upgrade", "10.11.19", same, newer, nil, same, newer, nil},
		{"an upgrade from an earlier release", "10.11.20", same, newer, nil, same, newer,
			[]string{"older maintenance release"}},
		{"an upgrade by the newer server alone", "10.11.19", newer, newer, nil, newer, newer, nil},
		{"alone, from the old redo log", "10.6.22", newer, newer, format105, "", newer,
			[]string{"only a mariadbd of 10.5 to 10.7 applies", "name a mariadbd 10.6.22 or a later 10.6 with --mariadbd"}},
		{"alone, over two series of the old redo log", "10.5.23", old, old, format105, old, old, nil},
		{"alone, from an encrypted redo log", "10.11.19", newer, newer, encrypted, "", newer, []string{"it is encrypted"}},
		{"an upgrade to the same series", "10.11.18", same, same, nil, same, "",
			[]string{"no mariadbd of a newer series than 10.11", "needs no --upgrade"}},
		{"a downgrade", "10.11.19", same, old, nil, same, "",
			[]string{"no mariadbd of a newer series", "no way back but a dump"}},
		{"no mariadb-upgrade", "10.11.19", same, fakeServer(t, "11.8.9", ""), nil, same, "any",
			[]string{"there is no mariadb-upgrade beside", "client programs of 11.8"}},
		{"another mariadb-upgrade", "10.11.19", same, fakeServer(t, "11.8.9", "11.4.7"), nil, same, "any",
			[]string{"is not of 11.8"}},
		{"an upgrade with DATA DIRECTORY", "10.11.19", same, newer, external, same, newer,
			[]string{"made with DATA DIRECTORY"}},
		{"an upgrade without the database mysql", "10.11.19", same, newer, filtered, same, newer,
			[]string{"the database mysql is left out"}},
		{"not a server", "10.11.19", same, "/bin/echo", nil, same, "",
			[]string{"no MariaDB server's answer", "--upgrade-with"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := systemManifest()
			m.Kind, m.Server.Version, m.Redo.Format = repo.KindFull, c.source+"-MariaDB", innodb.Format108
			if c.change != nil {
				c.change(m)
			}
			o := Options{Target: "/t", UpgradeWith: c.other, Preparation: Preparation{Mariadbd: c.recover}}
			p := newPlan(o, m)
			if err := p.findServer(t.Context()); err != nil {
				t.Fatal(err)
			}
			p.checkUpgrade()
			by, then, said := "", "", strings.Join(p.Warnings, "\n")
			if p.Mariadbd != nil {
				by = p.Mariadbd.Path
			}
			if p.Upgrade != nil {
				then = p.Upgrade.Mariadbd.Path
			}
			if by != c.by || then != c.then && (c.then != "any" || then == "") {
				t.Errorf("recovery by %q, upgrade by %q, want %q, %q", by, then, c.by, c.then)
			}
			for _, x := range p.Objections {
				said += "\n" + x.Problem + "\n" + x.Hint.String()
			}
			for _, want := range c.says {
				if !strings.Contains(said, want) {
					t.Errorf("the plan does not say %q:%s", want, said)
				}
			}
			if len(c.says) == 0 && said != "" {
				t.Errorf("the plan says:%s", said)
			}
		})
	}
}

// A verification cannot upgrade, and does not advise it.
func TestVerifyAdvisesNoUpgrade(t *testing.T) {
	m := systemManifest()
	m.Kind, m.Redo.Format = repo.KindFull, innodb.Format108
	o := Options{Preparation: Preparation{Mariadbd: fakeServer(t, "11.8.9", "11.8.9")}}
	p := newPlan(o, m)
	if err := p.findServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(p.Objections) != 1 || strings.Contains(p.Objections[0].Hint.String(), "--upgrade") ||
		!strings.Contains(p.Objections[0].Hint.String(), "10.11.19") {
		t.Errorf("objections %+v", p.Objections)
	}
}

// What fails in the middle of an upgrade leaves nothing.
func testFailingUpgrade(t *testing.T, f *coldbackup.Fixture, _ string) {
	g := f.CopyManifest(t)
	g.Manifest.Server.Version = "10.10.1-MariaDB" // this server is one of a newer series
	g.Commit(t)
	for _, c := range []struct{ name, does, want string }{
		{"mariadb-upgrade fails", "echo 'it went wrong'; exit 1", "it went wrong"},
		{"mariadb-upgrade is interrupted", "sleep 60 & echo $! $$ >%s; wait", context.Canceled.Error()},
		{"mariadb-upgrade ends the server", `kill $(cat ../tmp/pid); sleep 0.5; exit 1`, "exit status 1"},
		{"the server does not start any more", "rm ibdata1", "after the upgrade"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, parent := t.TempDir(), t.TempDir()
			pids := filepath.Join(dir, "pids")
			does := strings.ReplaceAll(c.does, "%s", pids)
			version := f.Manifest.Server.Version
			version, _, _ = strings.Cut(version, "-")
			for name, text := range map[string]string{
				"mariadbd": "#!/bin/sh\nexec " + f.Dist.Program("mariadbd") + ` "$@"` + "\n",
				"mysql_upgrade": "#!/bin/sh\ncase \"$2\" in\n--version) echo Ver 2.1 Distrib " + version + "-MariaDB, ;;\n*) " +
					does + " ;;\nesac\n",
			} {
				if err := executable.Write(filepath.Join(dir, name), []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			o := options(g, filepath.Join(parent, "data"))
			o.UpgradeWith = filepath.Join(dir, "mariadbd")
			o.Mariadbd = o.UpgradeWith
			go func() {
				for pause.For(ctx, 10*time.Millisecond) == nil {
					if strings.Contains(readSmall(pids), " ") {
						cancel()
					}
				}
			}()
			_, err := Restore(ctx, o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Restore = %v, want %q", err, c.want)
			}
			coldbackup.WantNothingBut(t, parent)
			for _, pid := range strings.Fields(readSmall(pids)) {
				wantGone(t, pid)
			}
		})
	}
}

// wantGone waits for the end of a process.
func wantGone(t *testing.T, pid string) {
	t.Helper()
	for range 100 {
		if _, err := os.Stat("/proc/" + pid); errors.Is(err, os.ErrNotExist) ||
			strings.Contains(readSmall("/proc/"+pid+"/stat"), ") Z ") {
			return
		}
		if err := pause.For(t.Context(), 20*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	t.Errorf("process %s is still there", pid)
}

// A server that could not be asked is not one that does not fit.
func TestFindServersWithoutMeans(t *testing.T) {
	script := func(text string) string {
		path := filepath.Join(t.TempDir(), "mariadbd")
		if err := executable.Write(path, []byte("#!/bin/sh\n"+text+"\n")); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := fakeServer(t, "10.11.19", "")
	for _, tt := range []struct {
		name, path   string
		named, fails bool
	}{
		{"no files left", script("echo 'sh: pipe: Too many open files' >&2; exit 1"), false, true},
		{"no memory left", script("echo 'Cannot allocate memory' >&2; exit 1"), false, true},
		{"no threads left", script("echo 'Resource temporarily unavailable' >&2; exit 1"), true, true},
		{"broken", script("exit 1"), false, false},
		{"broken, and named", script("exit 1"), true, true},
		{"good", good, true, false},
	} {
		m := systemManifest()
		found, err := mariadbd.Probe(t.Context(), mariadbd.Search{Programs: []mariadbd.Program{{Path: tt.path}, {Path: good}},
			Named: tt.named, Source: stage.Version{Major: 10, Minor: 11, Patch: 18}})
		if (err != nil) != tt.fails || err == nil && len(found) == 0 {
			t.Errorf("%s: %v, %v, want an error: %v", tt.name, found, err, tt.fails)
		}
		m.Kind, m.Server.Version = repo.KindFull, "10.11.18-MariaDB"
		p := newPlan(Options{Preparation: Preparation{Mariadbd: tt.path}}, m)
		err = p.findServer(t.Context())
		if want := tt.fails && !strings.HasPrefix(tt.name, "broken"); (err != nil) != want || want && len(p.Objections) > 0 {
			t.Errorf("%s, named: %v, %v, want an error: %v", tt.name, err, p.Objections, want)
		}
	}
	for err, want := range map[error]bool{
		&os.PathError{Op: "pipe2", Path: "/x", Err: syscall.EMFILE}: true, &os.PathError{Op: "fork/exec", Path: "/x",
			Err: syscall.EAGAIN}: true,
		&os.PathError{Op: "fork/exec", Path: "/x", Err: syscall.ENOENT}: false, nil: false,
	} {
		if mariadbd.Lacking(err) != want {
			t.Errorf("%v: want %v", err, want)
		}
	}
}
