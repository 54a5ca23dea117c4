package coldbackup

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/test/rights"
)

// PublicServer is a server that every user can run, and the options that it needs.
func (f *Fixture) PublicServer(t *testing.T) (program string, args []string) {
	t.Helper()
	program = f.Dist.Program("mariadbd")
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		t.Fatal(err)
	}
	err = rights.Attacker.Do(func() error {
		_, err := os.Stat(real)
		return err
	})
	if err == nil {
		return program, nil
	}
	from, to := filepath.Join(filepath.Dir(filepath.Dir(real)), "root", "usr"), rights.Public(t)
	for _, dir := range []string{"sbin", "lib", "share"} {
		if out, err := exec.Command("cp", "-a", filepath.Join(from, dir), to).CombinedOutput(); err != nil {
			t.Fatalf("copy the server: %v: %s", err, out)
		}
	}
	libraries, err := filepath.Glob(filepath.Join(to, "lib", "*-linux-gnu*"))
	if err != nil || len(libraries) == 0 {
		t.Fatalf("no libraries in %s, %v", to, err)
	}
	t.Setenv("LD_LIBRARY_PATH", strings.Join(libraries, ":"))
	return filepath.Join(to, "sbin", "mariadbd"), []string{"--basedir=" + to}
}
