package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/copier/pack"
	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/repo/store/folder"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/sys/pause"
	"mbk/internal/test/coldbackup"
	"mbk/internal/test/executable"
	"mbk/internal/test/mariadbtest"
)

func TestSmallBackup(t *testing.T) {
	series := mariadbtest.Versions()[0]
	f := coldbackup.Small(t, series)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, f *coldbackup.Fixture, series string)
	}{
		{"into an empty directory", testEmptyTarget},
		{"into a mount point", testMountPoint},
		{"for another owner", testOwner},
		{"damaged objects", testDamage},
		{"odd paths", testOddPaths},
		{"attacked", testAttacked},
		{"outside", testOutside},
		{"objections", testObjections},
		{"failing upgrade", testFailingUpgrade},
		{"failing store", testFailingStore},
		{"missing tablespace", testMissingTablespace},
		{"cancelled", testCancel},
		{"killed", testKilled},
		{"while another restore runs", testBusy},
		{"extract", testExtract},
		{"removed meanwhile", testRemovedMeanwhile},
		{"extract, attacked", testExtractAttacked},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, f, series) })
	}
}

func testEmptyTarget(t *testing.T, f *coldbackup.Fixture, series string) {
	parent := t.TempDir()
	target := filepath.Join(parent, "data")
	if err := os.Mkdir(target, 0o750); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(parent, "link")
	if err := os.Symlink("data", link); err != nil {
		t.Fatal(err)
	}
	r, err := Restore(t.Context(), options(f, link))
	if err != nil {
		t.Fatal(err)
	}
	if r.Target != target {
		t.Errorf("Target = %s, want %s", r.Target, target)
	}
	info, err := os.Stat(target)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o750 {
		t.Errorf("mode = %o, want 750", got)
	}
	coldbackup.WantNothingBut(t, parent, "data", "link")
	coldbackup.WantSmall(t, series, target)
}

// mountHere mounts a new file system on a folder.
func mountHere(t *testing.T, dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting takes root")
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=400m"); err != nil {
		t.Skipf("no mounts here: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

func testMountPoint(t *testing.T, f *coldbackup.Fixture, series string) {
	target := filepath.Join(t.TempDir(), "data")
	if err := errors.Join(os.Mkdir(target, 0o755)); err != nil {
		t.Fatal(err)
	}
	mountHere(t, target)
	if err := os.Mkdir(filepath.Join(target, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(t.Context(), options(f, target)); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(target, ".*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
	coldbackup.WantSmall(t, series, target)
}

func testOwner(t *testing.T, f *coldbackup.Fixture, series string) {
	if os.Geteuid() != 0 {
		t.Skip("giving files away takes root")
	}
	parent, err := os.MkdirTemp("", "mbk-owner-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(parent); err != nil {
			t.Error(err)
		}
	})
	o := options(f, filepath.Join(parent, "data"))
	o.Owner = &Owner{UID: 65534, GID: 65534}
	_, err = Restore(t.Context(), o)
	if _, ok := errors.AsType[*ObjectionsError](err); !ok {
		t.Errorf("Restore below a folder of root's = %v, want an objection", err)
	}
	if err := os.Chmod(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	if o.Mariadbd, err = filepath.EvalSymlinks(o.Mariadbd); err != nil {
		t.Fatal(err)
	}
	if objections := o.Owner.reaches(filepath.Dir(o.Mariadbd)); len(objections) > 0 {
		t.Skipf("test servers are out of reach: %v", objections)
	}
	if _, err := Restore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(o.Target, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok && (st.Uid != 65534 || st.Gid != 65534) {
			t.Errorf("%s belongs to %d:%d, want 65534:65534", path, st.Uid, st.Gid)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func testDamage(t *testing.T, f *coldbackup.Fixture, _ string) {
	for _, p := range f.Manifest.Packs {
		for _, offset := range []int64{0, 20, p.Size / 2, p.Size - 1} {
			t.Run(fmt.Sprintf("byte %d of %s", offset, p.Name), func(t *testing.T) {
				object := repo.Folder(f.Manifest.ID) + "/" + p.Name
				defer f.Flip(t, object, offset)()
				parent := t.TempDir()
				o := options(f, filepath.Join(parent, "data"))
				o.AllowDamaged = true // the last turn has found some
				_, err := Restore(t.Context(), o)
				if d, ok := errors.AsType[*pack.DamageError](err); !ok || d.Object != object {
					t.Errorf("Restore = %v, want damage in %s", err, object)
				}
				coldbackup.WantNothingBut(t, parent)
			})
		}
	}
}

func testFailingStore(t *testing.T, f *coldbackup.Fixture, _ string) {
	folder, err := folder.Open(f.Folder)
	if err != nil {
		t.Fatal(err)
	}
	// Hundreds of points are alike: extents that are read one after another.
	for n := 0; ; n += 1 + n/4 {
		st := storetest.FailAt(folder, n)
		parent := t.TempDir()
		o := options(f, filepath.Join(parent, "data"))
		o.Raw = true
		o.Repository, err = repo.Open(t.Context(), st)
		if err == nil {
			_, err = Restore(t.Context(), o)
		}
		if !st.Fired() {
			if err != nil {
				t.Errorf("point %d: %v", n, err)
			}
			break
		}
		if !errors.Is(err, storetest.ErrInjected) {
			t.Errorf("point %d: Restore = %v, want %v", n, err, storetest.ErrInjected)
		}
		coldbackup.WantNothingBut(t, parent)
	}
}

// An expiry removes the backup while somebody works on it. That is no damage, and
// leaves no record of any.
func testRemovedMeanwhile(t *testing.T, f *coldbackup.Fixture, _ string) {
	for name, do := range map[string]func(o Options) error{
		"restore": func(o Options) error { _, err := Restore(t.Context(), o); return err },
		"extract, a table": func(o Options) error {
			_, err := Extract(t.Context(), o.Preparation, []string{"shop.orders"}, o.Target)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := f.CopyManifest(t)
			release, err := g.Repository.Lock(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			o := options(g, filepath.Join(t.TempDir(), "target"))
			o.OnProgress = func(Progress) {
				if err := g.Repository.Discard(t.Context(), g.Manifest.ID); err != nil {
					t.Error(err)
				}
			}
			if err := do(o); !errors.Is(err, repo.ErrRemoved) {
				t.Errorf("%v, want %v", err, repo.ErrRemoved)
			}
			if v, err := g.Repository.Standing(t.Context(), g.Manifest.ID); err != nil || v != nil && !v.OK {
				t.Errorf("it stands as %+v, %v", v, err)
			}
		})
	}
}

func testObjections(t *testing.T, f *coldbackup.Fixture, _ string) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(t.TempDir(), "mariadbd")
	if err := executable.Write(script, []byte("#!/bin/sh\necho 'mariadbd  Ver 10.5.1-MariaDB for Linux'\n")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(o *Options, m *repo.Manifest)
		want   []string
	}{
		{"target is not empty", func(o *Options, _ *repo.Manifest) { o.Target = full },
			[]string{"is not empty: it holds file"}},
		{"target is a file", func(o *Options, _ *repo.Manifest) { o.Target = filepath.Join(full, "file") },
			[]string{"is not a directory"}},
		{"target has no parent", func(o *Options, _ *repo.Manifest) { o.Target = "/no/such/place" },
			[]string{"no such file"}},
		{"target is the root", func(o *Options, _ *repo.Manifest) { o.Target = "/" }, []string{"root directory"}},
		{"wrong server and full target", func(o *Options, _ *repo.Manifest) { o.Target, o.Mariadbd = full, script },
			[]string{"is not empty", "is 10.5.1-MariaDB"}},
		{"no such server", func(o *Options, _ *repo.Manifest) { o.Mariadbd = "/no/mariadbd" }, []string{"no such file"}},
		{"not a server", func(o *Options, _ *repo.Manifest) { o.Mariadbd = "/bin/echo" },
			[]string{"no MariaDB server's answer"}},
		{"missing plugin", func(_ *Options, m *repo.Manifest) {
			m.Server.Plugins = []repo.Plugin{{Name: "provider_zz", Type: "DATA COMPRESSION", Library: "provider_zz.so"}}
		}, []string{"plugin provider_zz is missing"}},
		{"missing keys", func(_ *Options, m *repo.Manifest) {
			m.Server.Plugins = []repo.Plugin{{Name: "file_key_management", Type: "ENCRYPTION",
				Library: "file_key_management.so"}}
			m.Server.Variables["file_key_management_filename"] = "/no/keys"
		}, []string{"the source's encryption keys are in /no/keys"}},
		{"plugin with a path", func(_ *Options, m *repo.Manifest) {
			m.Server.Plugins = []repo.Plugin{{Name: "x", Type: "ENCRYPTION", Library: "../../tmp/x.so"}}
		}, []string{"not a plain name"}},
		{"variable that is an option", func(_ *Options, m *repo.Manifest) {
			m.Server.Variables["innodb_page_size"] = "16384 --init-file=/tmp/x"
		}, []string{"variable innodb_page_size"}},
		{"too little space", func(_ *Options, m *repo.Manifest) {
			m.Server.Variables["innodb_log_file_size"] = fmt.Sprint(int64(1) << 40)
		},
			[]string{"free, and the restore needs"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := f.CopyManifest(t)
			o := options(g, filepath.Join(t.TempDir(), "data"))
			c.change(&o, g.Manifest)
			g.Commit(t)
			_, err := Restore(t.Context(), o)
			e, ok := errors.AsType[*ObjectionsError](err)
			if !ok {
				t.Fatalf("Restore = %v, want objections", err)
			}
			for _, want := range c.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("Restore = %v, want %q", err, want)
				}
			}
			if len(e.Hints()) != len(hint.Attached(err)) {
				t.Errorf("hints %q, want %q", hint.Attached(err), e.Hints())
			}
			if _, err := os.Lstat(filepath.Join(filepath.Dir(o.Target), "data")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the target is there")
			}
		})
	}
}

func testMissingTablespace(t *testing.T, f *coldbackup.Fixture, _ string) {
	g := f.CopyManifest(t)
	g.DropFile(t, "mysql/innodb_table_stats.ibd")
	parent := t.TempDir()
	_, err := Restore(t.Context(), options(g, filepath.Join(parent, "data")))
	if e, ok := errors.AsType[*mariadbd.RunError](err); !ok || len(e.Log) == 0 || len(hint.Attached(err)) == 0 {
		t.Errorf("Restore = %v, want a mariadbd.RunError with a hint", err)
	}
	coldbackup.WantNothingBut(t, parent)

	// The log of the server stays if that is wanted, until the next restore.
	o := options(g, filepath.Join(parent, "data"))
	o.KeepOnFailure = true
	if _, err := Restore(t.Context(), o); err == nil {
		t.Error("Restore: no error")
	}
	kept, err := filepath.Glob(filepath.Join(parent, ".data.mbk-restore-*", serverLog))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %q, %v", kept, err)
	}
	if b, err := os.ReadFile(kept[0]); err != nil || !strings.Contains(string(b), "[ERROR]") {
		t.Errorf("%s: %.300q, %v", serverLog, b, err)
	}
	if _, err := Restore(t.Context(), options(f, o.Target)); err != nil {
		t.Error(err)
	}
	coldbackup.WantNothingBut(t, parent, "data")
}

func testCancel(t *testing.T, f *coldbackup.Fixture, _ string) {
	for _, phase := range []string{PhaseExtract, PhaseRecover} {
		t.Run(phase, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			parent := t.TempDir()
			o := options(f, filepath.Join(parent, "data"))
			o.OnProgress = func(p Progress) {
				if p.Phase == phase {
					cancel()
				}
			}
			if _, err := Restore(ctx, o); !errors.Is(err, context.Canceled) {
				t.Errorf("Restore = %v, want it cancelled", err)
			}
			coldbackup.WantNothingBut(t, parent)
		})
	}
}

// childTarget is the environment variable that makes the test program restore
// the newest backup of the repository childRepository, and end.
const (
	childTarget     = "MBK_TEST_RESTORE_TARGET"
	childRepository = "MBK_TEST_RESTORE_REPOSITORY"
	childMariadbd   = "MBK_TEST_RESTORE_MARIADBD"
)

func TestMain(m *testing.M) {
	target := os.Getenv(childTarget)
	if target == "" {
		os.Exit(m.Run())
	}
	if err := restoreChild(target); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func restoreChild(target string) error {
	st, err := folder.Open(os.Getenv(childRepository))
	if err != nil {
		return err
	}
	r, err := repo.Open(context.Background(), st)
	if err != nil {
		return err
	}
	owner := self()
	_, err = Restore(context.Background(), Options{Target: target, Preparation: Preparation{
		Repository: r, ID: repo.Latest, Owner: &owner, Mariadbd: os.Getenv(childMariadbd),
	}})
	return err
}

// child starts a restore in another process.
func child(t *testing.T, f *coldbackup.Fixture, target string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childTarget+"="+target, childRepository+"="+f.Folder,
		childMariadbd+"="+f.Dist.Program("mariadbd"))
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func testKilled(t *testing.T, f *coldbackup.Fixture, series string) {
	parent := t.TempDir()
	target := filepath.Join(parent, "data")
	for delay := 30 * time.Millisecond; delay < 10*time.Second; delay = delay * 7 / 3 {
		cmd := child(t, f, target)
		if err := pause.For(t.Context(), delay); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Process.Kill() // it may have ended
		killed := cmd.Wait() != nil
		if _, err := os.Lstat(target); err == nil {
			coldbackup.WantSmall(t, series, target)
			if err := os.RemoveAll(target); err != nil {
				t.Fatal(err)
			}
		}
		if !killed {
			break
		}
	}
	if _, err := Restore(t.Context(), options(f, target)); err != nil {
		t.Fatal(err)
	}
	coldbackup.WantNothingBut(t, parent, "data")
	coldbackup.WantSmall(t, series, target)
}

func testBusy(t *testing.T, f *coldbackup.Fixture, _ string) {
	parent := t.TempDir()
	o := options(f, filepath.Join(parent, "data"))
	p, err := NewPlan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := newScratch(t.Context(), p.target, "other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	_, err = Restore(t.Context(), o)
	if b, ok := errors.AsType[*BusyError](err); !ok || !strings.Contains(b.Owner, fmt.Sprint(os.Getpid())) {
		t.Errorf("Restore = %v, want BusyError with pid %d", err, os.Getpid())
	}
	if err := s.remove(); err != nil {
		t.Fatal(err)
	}
	coldbackup.WantNothingBut(t, parent)
}

func testExtract(t *testing.T, f *coldbackup.Fixture, _ string) {
	dir := filepath.Join(t.TempDir(), "out")
	r, err := Extract(t.Context(), options(f, "").Preparation, []string{"shop.orders", "shop.p*", "mysql/proc.*"}, dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"mysql/proc.MAD", "mysql/proc.MAI", "mysql/proc.frm", "shop/orders.frm", "shop/orders.ibd",
		"shop/parts#P#p0.ibd", "shop/parts#P#p1.ibd", "shop/parts.frm", "shop/parts.par"}
	if !slices.Equal(r.Files, want) {
		t.Errorf("Files = %q, want %q", r.Files, want)
	}
	for _, name := range want {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
	if _, err := Extract(t.Context(), options(f, "").Preparation, []string{"shop.orders"}, dir); err == nil ||
		!strings.Contains(err.Error(), "is there already") {
		t.Errorf("Extract over files = %v", err)
	}
	if _, err := Extract(t.Context(), options(f, "").Preparation, []string{"shop.none"}, dir); err == nil ||
		!strings.Contains(err.Error(), `"shop.none" matches no table`) {
		t.Errorf("Extract of nothing = %v", err)
	}
	// Damage leaves nothing behind.
	undo := f.Flip(t, repo.Folder(f.Manifest.ID)+"/"+f.Manifest.Packs[0].Name, f.Manifest.Packs[0].Size/2)
	defer undo()
	empty := filepath.Join(t.TempDir(), "out")
	if _, err := Extract(t.Context(), options(f, "").Preparation, []string{"*/*", "*"}, empty); err == nil {
		t.Error("Extract of a damaged backup: no error")
	}
	if _, err := os.Lstat(empty); !errors.Is(err, fs.ErrNotExist) {
		t.Error("Extract of a damaged backup left its folder")
	}
}

// A backup was restored into a folder with a colon in its path: the server took the
// path for a list.
func testOddPaths(t *testing.T, f *coldbackup.Fixture, series string) {
	parent := filepath.Join(t.TempDir(), coldbackup.OddName)
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	o := options(f, filepath.Join(parent, "data:"+coldbackup.OddName))
	if _, err := Restore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	coldbackup.WantSmall(t, series, o.Target)
}
