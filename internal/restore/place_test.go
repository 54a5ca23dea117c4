package restore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/test/coldbackup"
	"mbk/internal/test/executable"
	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/rights"
)

// dataEntries are what a small data directory holds.
func dataEntries() []string {
	return []string{"aria_log.00000001", "aria_log_control", "ib_logfile0", "ibdata1", "mysql", "shop"}
}

// fakeScratch makes a scratch folder for a target, with a data directory in it
// that is ready to be placed.
func fakeScratch(t *testing.T, tg target) *scratch {
	t.Helper()
	s, err := newScratch(t.Context(), tg, "20261121T201806Z-full", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.close() }) // a second time is an error
	for _, name := range dataEntries() {
		file := filepath.Join(s.data(), name)
		if name == "mysql" || name == "shop" {
			err = errors.Join(os.Mkdir(file, 0o700), os.WriteFile(filepath.Join(file, "t.frm"), nil, 0o600))
		} else {
			err = os.WriteFile(file, []byte(name), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if tg.owner != self() {
		err = filepath.WalkDir(s.data(), func(path string, _ fs.DirEntry, err error) error {
			return errors.Join(err, os.Lchown(path, tg.owner.UID, tg.owner.GID))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// self is whoever runs the test.
func self() Owner { return Owner{UID: os.Geteuid(), GID: os.Getegid()} }

// names lists a folder.
func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range list {
		all = append(all, e.Name())
	}
	return all
}

// A restore that is killed while it moves entries into its target has moved some
// number of them. Whatever the number, the next restore finds an empty target;
// only once all are in place, it is left alone.
func TestKilledWhileMovingIn(t *testing.T) {
	t.Run("with our own rights", func(t *testing.T) { testKilledWhileMovingIn(t, self(), self()) })
	if os.Geteuid() == 0 {
		his := Owner(rights.Attacker)
		t.Run("into root's folder for another owner", func(t *testing.T) { testKilledWhileMovingIn(t, self(), his) })
		t.Run("into the new owner's folder", func(t *testing.T) { testKilledWhileMovingIn(t, his, his) })
	}
}

func testKilledWhileMovingIn(t *testing.T, of, owner Owner) {
	for moved := range len(dataEntries()) + 1 {
		dir := rights.Public(t)
		if err := os.Chown(dir, of.UID, of.GID); err != nil {
			t.Fatal(err)
		}
		tg := target{path: dir, exists: true, inside: true, owner: owner}
		if objections := tg.chooseWriter(); len(objections) > 0 || tg.writer != of.user() {
			t.Fatalf("rights of %v, %+v", tg.writer, objections)
		}
		if err := os.WriteFile(filepath.Join(dir, "lost+found"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s := fakeScratch(t, tg)
		order, err := placeOrder(s.data(), "ibdata1")
		if err != nil {
			t.Fatal(err)
		}
		if err := tg.writer.Do(func() error { return placement{dir: s.dir}.writeDown(order) }); err != nil {
			t.Fatal(err)
		}
		for _, name := range order[:moved] {
			if err := exclusiveRename(filepath.Join(s.data(), name), filepath.Join(dir, name)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.close(); err != nil { // as the kernel does for a dead process
			t.Fatal(err)
		}

		left, err := tg.leftovers()
		if err != nil {
			t.Fatal(err)
		}
		rest := without(names(t, dir), append(left, "lost+found"))
		complete := moved == len(order)
		if want := len(dataEntries()); complete && len(rest) != want || !complete && len(rest) != 0 {
			t.Errorf("%d moved: not taken for leftovers: %q", moved, rest)
		}
		next, err := newScratch(t.Context(), tg, "other", time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if err := next.remove(); err != nil {
			t.Fatal(err)
		}
		want := []string{"lost+found"}
		if complete {
			want = append(dataEntries(), want...)
			slices.Sort(want)
		}
		if got := names(t, dir); !slices.Equal(got, want) {
			t.Errorf("%d moved: the next restore left %q, want %q", moved, got, want)
		}
	}
}

// Something may be put into the target while a restore is at work.
func TestPlaceIntoTakenTarget(t *testing.T) {
	for _, c := range []struct {
		name   string
		inside bool
		exists bool
		taken  string // in the target, or the target itself if empty
	}{
		{"a new target", false, false, ""},
		{"an empty directory", false, true, "file"},
		{"a mount point, an entry of the same name", true, true, "shop"},
		{"a mount point, a redo log", true, true, logName},
	} {
		t.Run(c.name, func(t *testing.T) {
			parent := t.TempDir()
			dir := filepath.Join(parent, "data")
			if c.exists {
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			s := fakeScratch(t, target{path: dir, exists: c.exists, inside: c.inside, owner: self(), mode: 0o700})
			if err := os.MkdirAll(filepath.Join(dir, c.taken), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := s.place("ibdata1"); err == nil {
				t.Fatal("place: no error")
			}
			if err := s.clean(false); err != nil {
				t.Fatal(err)
			}
			coldbackup.WantNothingBut(t, dir, c.taken)
			coldbackup.WantNothingBut(t, parent, "data")
		})
	}
}

func TestPlaceOrder(t *testing.T) {
	s := fakeScratch(t, target{path: filepath.Join(t.TempDir(), "data"), owner: self()})
	order, err := placeOrder(s.data(), "ibdata1")
	if err != nil {
		t.Fatal(err)
	}
	if order[0] != "ibdata1" || order[len(order)-1] != logName || len(order) != len(dataEntries()) {
		t.Errorf("order = %q", order)
	}
	if err := os.Remove(filepath.Join(s.data(), logName)); err != nil {
		t.Fatal(err)
	}
	if _, err := placeOrder(s.data(), "ibdata1"); err == nil {
		t.Error("placeOrder without a redo log: no error")
	}
}

// The order in which entries are moved into a mount point rests on what servers
// do with a part of them: with the system tablespace and without the redo log
// they must refuse to start.
func TestServerRefusesHalfPlaced(t *testing.T) {
	eachSeries(t, func(t *testing.T, series string) {
		s := mariadbtest.New(t, series)
		if err := s.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		order, err := placeOrder(s.Datadir, "ibdata1")
		if err != nil {
			t.Fatal(err)
		}
		bootstrap := func(dir string) error {
			args := []string{"--no-defaults", "--bootstrap", "--datadir=" + dir}
			if os.Geteuid() == 0 {
				args = append(args, "--user=root")
			}
			return exec.Command(s.Dist.Program("mariadbd"), args...).Run()
		}
		for _, n := range []int{1, len(order) - 1} {
			dir := t.TempDir()
			for _, name := range order[:n] {
				if out, err := exec.Command("cp", "-a", filepath.Join(s.Datadir, name), dir).CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if bootstrap(dir) == nil {
				t.Errorf("a server started on %q", order[:n])
			}
		}
		if err := bootstrap(s.Datadir); err != nil {
			t.Errorf("the server does not start on all of it: %v", err)
		}
	})
}

func TestSweepRemovesDeadSiblings(t *testing.T) {
	parent := t.TempDir()
	tg := target{path: filepath.Join(parent, "data"), owner: self()}
	dead := fakeScratch(t, tg)
	if err := dead.close(); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{".data2.mbk-restore-x", "data.mbk-restore-x"} {
		if err := os.Mkdir(filepath.Join(parent, other), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s, err := newScratch(t.Context(), tg, "other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(dead.dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is still there", dead.dir)
	}
	if err := s.remove(); err != nil {
		t.Fatal(err)
	}
	if got := names(t, parent); len(got) != 2 {
		t.Errorf("left are %q, want the two that are of others", got)
	}
}

// What stands in the list of a dead restore is not trusted.
func TestHalfPlacedTakesOnlyEntries(t *testing.T) {
	dir := t.TempDir()
	scratchDir := filepath.Join(dir, ".mbk-restore-x")
	if err := errors.Join(os.Mkdir(scratchDir, 0o700), os.Mkdir(filepath.Join(dir, "shop"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for list, want := range map[string][]string{
		`["shop", "..", ".", "../x", "/etc", "", "none"]`: {"shop"},
		`["shop"`: nil,
		`{}`:      nil,
		``:        nil,
	} {
		if err := os.WriteFile(filepath.Join(scratchDir, placingFile), []byte(list), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := halfPlaced(dir, scratchDir); !slices.Equal(got, want) {
			t.Errorf("halfPlaced with %s = %q, want %q", list, got, want)
		}
	}
}

// The list lies in a folder that may be somebody else's, and what it names is removed.
func FuzzHalfPlaced(f *testing.F) {
	for _, list := range []string{`["shop", "..", ".", "../x", "/etc", "", "none"]`, `["shop"`, `{}`, "", `["shop/../x"]`,
		`["sh\u006fp", null, "shop\u0000"]`} {
		f.Add([]byte(list))
	}
	dir := f.TempDir()
	scratchDir := filepath.Join(dir, ".mbk-restore-x")
	if err := errors.Join(os.Mkdir(scratchDir, 0o700), os.Mkdir(filepath.Join(dir, "shop"), 0o700)); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, list []byte) {
		if err := os.WriteFile(filepath.Join(scratchDir, placingFile), list, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range halfPlaced(dir, scratchDir) {
			if name != "shop" && name != filepath.Base(scratchDir) {
				t.Errorf("%q names %q", list, name)
			}
		}
	})
}

func TestPlainID(t *testing.T) {
	for id, want := range map[string]string{
		"20261121T201806Z-full": "20261121T201806Z-full",
		"../x":                  "___x",
		strings.Repeat("a", 99): strings.Repeat("a", 64),
	} {
		if got := plainID(id); got != want {
			t.Errorf("plainID(%q) = %q, want %q", id, got, want)
		}
	}
}

// folderWith makes a folder that holds one file.
func folderWith(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The data directory that was in the target gets another name; if that fails, both
// are where they were.
func TestExchange(t *testing.T) {
	for _, c := range []struct {
		name  string
		taken bool // the name for the old data directory
	}{{"free", false}, {"taken", true}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			path, old := filepath.Join(dir, "data"), filepath.Join(dir, "data.old")
			folderWith(t, path, "aria_log_control")
			if c.taken {
				folderWith(t, old, "file")
			}
			s := fakeScratch(t, target{path: path, exists: true, old: old, owner: self(), mode: 0o700})
			err := s.place("ibdata1")
			if (err != nil) != c.taken {
				t.Fatalf("place: %v", err)
			}
			wants := map[string][]string{path: dataEntries(), old: {"aria_log_control"}}
			if c.taken {
				wants = map[string][]string{path: {"aria_log_control"}, old: {"file"}, s.data(): dataEntries()}
			}
			for folder, want := range wants {
				slices.Sort(want)
				if got := names(t, folder); !slices.Equal(got, want) {
					t.Errorf("%s holds %q, want %q", folder, got, want)
				}
			}
			if err := s.remove(); err != nil {
				t.Fatal(err)
			}
			if got := names(t, dir); !slices.Equal(got, []string{"data", "data.old"}) {
				t.Errorf("left are %q", got)
			}
		})
	}
}

// A server was started on the old data directory while the new one was made. Its lock
// is that of another process.
func TestExchangeUnderARunningServer(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "data")
	folderWith(t, path, "aria_log_control")
	s := fakeScratch(t, target{path: path, exists: true, old: path + ".old", owner: self(), mode: 0o700})
	cmd := exec.Command(os.Args[0], "-test.run=^TestHelperHoldsLock$")
	cmd.Env = append(os.Environ(), "MBK_TEST_LOCK="+filepath.Join(path, "aria_log_control"))
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.place("ibdata1"); err == nil ||
		!strings.Contains(err.Error(), fmt.Sprintf("a server, pid %d, was started", cmd.Process.Pid)) {
		t.Errorf("place: %v", err)
	}
	if got := names(t, path); !slices.Equal(got, []string{"aria_log_control"}) {
		t.Errorf("the target holds %q", got)
	}
	if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
		t.Fatal(err)
	}
}

// TestHelperHoldsLock is a program of its own: it locks a file as a server does,
// until its input ends.
func TestHelperHoldsLock(t *testing.T) {
	name := os.Getenv("MBK_TEST_LOCK")
	if name == "" {
		t.Skip("only run by another test")
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	fmt.Print("!")
	_, _ = io.ReadAll(os.Stdin) // ends with the other process at the latest
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// The SELinux context of an existing target goes over to the new files. Any system
// keeps such a label for root, whether it looks at it or not.
func TestLabel(t *testing.T) {
	owners := []Owner{self()}
	if os.Geteuid() == 0 {
		owners = append(owners, Owner{UID: rights.Attacker.UID, GID: rights.Attacker.GID})
	}
	for _, owner := range owners {
		t.Run(owner.user().String(), func(t *testing.T) { testLabel(t, owner) })
	}
}

func testLabel(t *testing.T, owner Owner) {
	const context = "system_u:object_r:mysqld_db_t:s0"
	dir := rights.Public(t)
	path, foreign := filepath.Join(dir, "data"), filepath.Join(dir, "foreign")
	folderWith(t, foreign, "file")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Lsetxattr(path, labelName, append([]byte(context), 0), 0); err != nil {
		t.Skipf("cannot set a label: %v", err)
	}
	tg, objections, err := inspectTarget(Options{Target: path, Preparation: Preparation{Owner: &owner}})
	if err != nil || len(objections) > 0 || tg.label != context {
		t.Fatalf("inspectTarget = %+v, %v, %v", tg, objections, err)
	}
	s := fakeScratch(t, tg)
	err = errors.Join(os.Symlink(filepath.Join(foreign, "file"), filepath.Join(s.data(), "link")),
		os.Symlink(foreign, filepath.Join(s.data(), "shop", "link")))
	err = errors.Join(err, filepath.WalkDir(s.data(), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, owner.UID, owner.GID))
	}))
	if err = errors.Join(err, s.place("ibdata1")); err != nil {
		t.Fatal(err)
	}
	labelled := 0
	err = filepath.WalkDir(path, func(path string, _ fs.DirEntry, err error) error {
		if labelled++; labelOf(path) != context {
			t.Errorf("%s has the label %q", path, labelOf(path))
		}
		return err
	})
	if err != nil || labelled <= len(dataEntries())+2 {
		t.Errorf("%d labels, %v", labelled, err)
	}
	if a, b := labelOf(foreign), labelOf(filepath.Join(foreign, "file")); a+b != "" {
		t.Errorf("what links lead to has the labels %q and %q", a, b)
	}
}

// Where SELinux is in force and there was no target, its own program finds the labels.
func TestRelabel(t *testing.T) {
	dir := t.TempDir()
	enabled, called := filepath.Join(dir, "enforce"), filepath.Join(dir, "called")
	tg := target{path: filepath.Join(dir, "data")}
	t.Setenv("PATH", dir)
	if w := tg.relabel(t.Context(), enabled); w != "" {
		t.Errorf("without SELinux: %q", w)
	}
	if err := os.WriteFile(enabled, []byte("1"), 0o600); err != nil {
		t.Fatal(err)
	}
	if w := tg.relabel(t.Context(), enabled); !strings.Contains(w, "restorecon -R") {
		t.Errorf("without restorecon: %q", w)
	}
	for _, c := range []struct{ exit, warning string }{{"0", ""}, {"1", "no such policy"}} {
		script := "#!/bin/sh\necho \"$@\" > " + called + "\necho no such policy\nexit " + c.exit + "\n"
		if err := executable.Write(filepath.Join(dir, "restorecon"), []byte(script)); err != nil {
			t.Fatal(err)
		}
		if w := tg.relabel(t.Context(), enabled); (w == "") != (c.warning == "") || !strings.Contains(w, c.warning) {
			t.Errorf("restorecon exits %s: %q", c.exit, w)
		}
		if got, err := os.ReadFile(called); err != nil || string(got) != "-R "+tg.path+"\n" {
			t.Errorf("restorecon was called with %q, %v", got, err)
		}
	}
}
