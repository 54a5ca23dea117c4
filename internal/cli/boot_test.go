package cli_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// Once the machine has been started again, every file is read, since a kernel that crashes
// loses times. Pages are still compared with those of the parent.
func TestIncrementAfterABoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount another boot_id")
	}
	t.Parallel()
	c := &chained{t: t, server: mariadbtest.New(t, newest()), repository: t.TempDir()}
	c.server.MustExec(t, statements(filled("idle", 2, ""), filled("busy", 2, ""))...)
	c.rest()
	full := c.backup()
	c.server.MustExec(t, "UPDATE d.busy SET n = 7 WHERE id < 10")
	first := c.afterABoot()
	if first.Parent != full.ID || first.Unchanged.Files != 0 || first.Pages.Changed > first.Pages.Examined/2 {
		t.Errorf("after a boot: %+v", first)
	}
	c.want(first.ID, "d/idle.ibd", asPages)
	c.restored(first.ID)
}

// afterABoot takes an increment with another id of the kernel's run than there is.
func (c *chained) afterABoot() (b increments) {
	c.t.Helper()
	boot := filepath.Join(c.t.TempDir(), "boot_id")
	if err := os.WriteFile(boot, []byte("5e1a4b6a-07cf-4b4e-9b3a-2f2f7a3a6c11\n"), 0o644); err != nil {
		c.t.Fatal(err)
	}
	cmd := command(c.t, "backup", "--repo", c.repository, "--socket", c.server.Socket, "--user", "root", "--quiet",
		"--incremental", "--json")
	cmd.Args = append([]string{"unshare", "--mount", "sh", "-c",
		`mount --bind "$0" /proc/sys/kernel/random/boot_id && exec "$@"`, boot, cmd.Path}, cmd.Args[1:]...)
	path, err := exec.LookPath("unshare")
	if err != nil {
		c.t.Fatal(err)
	}
	cmd.Path = path
	out, err := cmd.Output()
	if err == nil {
		err = json.Unmarshal(out, &b)
	}
	if err != nil {
		c.t.Fatalf("%v: %s", err, out)
	}
	return b
}
