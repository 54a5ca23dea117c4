package folder_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/repo/store/folder"
)

// A link through /proc/self in the repository of somebody else led root to a folder
// that only root could enter.
func TestLinksToWhatTheProcessHasOpen(t *testing.T) {
	s := newScene(t, attacker, 0o700)
	inner := filepath.Join(s.victim, "deep", "inner")
	if err := errors.Join(os.Chmod(s.victim, 0o700), os.Mkdir(inner, 0o777), os.Chmod(inner, 0o777),
		os.WriteFile(filepath.Join(inner, "x.json"), []byte("precious"), 0o666)); err != nil {
		t.Fatal(err)
	}
	t.Chdir(inner)
	held, err := os.Open(inner)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	err = attacker.Do(func() error {
		return errors.Join(os.Symlink("/proc/self/cwd/x.json", filepath.Join(s.repository, "mbk-repository.json")),
			os.Symlink("/proc/self/cwd", filepath.Join(s.repository, "history")),
			os.Symlink("../../../../proc/thread-self/cwd", filepath.Join(s.repository, "backups")),
			os.WriteFile(filepath.Join(s.own, "y.json"), []byte("own"), 0o600),
			os.Symlink(s.own, filepath.Join(s.repository, "moved")))
	})
	if err != nil {
		t.Fatal(err)
	}
	st, err := folder.Open(s.repository)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mbk-repository.json", "history/x.json", "backups/x.json"} {
		r, err := st.Open(t.Context(), name, 0, -1)
		if err == nil {
			b, _ := io.ReadAll(r)
			t.Errorf("%s is %q", name, b)
			r.Close()
		}
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v, want that it is not permitted", name, err)
		}
	}
	if err := st.Put(t.Context(), "history/new.json",
		func(w io.Writer) error { _, err := w.Write([]byte("x")); return err }); err == nil {
		t.Error("an object was written")
	}
	if found, err := filepath.Glob(filepath.Join(inner, "*")); err != nil || len(found) != 1 {
		t.Errorf("root's folder holds %v, %v", found, err)
	}
	list, err := st.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	moved := false
	for _, o := range list {
		moved = moved || o.Name == "moved/y.json"
		if o.Err == nil && strings.HasSuffix(o.Name, "x.json") {
			t.Errorf("%s is listed", o.Name)
		}
	}
	if !moved {
		t.Errorf("what was moved to another folder is not listed: %v", list)
	}
}
