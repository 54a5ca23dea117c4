package mariadbtest

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// shapes reports whether a server option decides how a data directory is made.
// Start gives those among its Args to mariadb-install-db too.
func shapes(arg string) bool {
	name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
	switch strings.ReplaceAll(name, "_", "-") {
	case "aria-block-size", "innodb-checksum-algorithm", "innodb-data-file-path",
		"innodb-file-per-table", "innodb-log-file-size", "innodb-page-size",
		"innodb-undo-tablespaces", "lower-case-table-names":
		return true
	}
	return false
}

// places reports whether a server option puts a part of the data elsewhere.
func places(arg string) bool {
	name, value, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
	switch strings.ReplaceAll(name, "_", "-") {
	case "innodb-data-home-dir", "innodb-undo-directory", "innodb-log-group-home-dir", "aria-log-dir-path":
		return true
	case "innodb-data-file-path":
		return strings.Contains(value, "/")
	}
	return false
}

// newDatadir makes a fresh data directory at path, which must not exist. The
// first one of each shape is made with mariadb-install-db and kept; the others
// are copies of it. One whose parts lie elsewhere is always created again.
func newDatadir(ctx context.Context, d Dist, args []string, path string) error {
	var shape []string
	single := false
	for _, arg := range args {
		if places(arg) {
			single = true
		}
		if places(arg) || shapes(arg) {
			shape = append(shape, arg)
		}
	}
	if single {
		return installDB(ctx, d, shape, path)
	}
	template, err := templateDatadir(ctx, d, shape)
	if err != nil {
		return err
	}
	// Most of a new data directory is zeros; a sparse copy takes a tenth of the time.
	out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", "--sparse=always", template, path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy template data directory: %w: %s", err, lastLines(out, 3))
	}
	return nil
}

// installDB makes a data directory with the server's own tool. It needs nothing of
// the machine that a small one lacks: --force does without a host name that can be
// looked up, and the system's limits of asynchronous I/O are left to the servers.
func installDB(ctx context.Context, d Dist, shape []string, path string) error {
	args := []string{"--no-defaults", "--datadir=" + path, "--auth-root-authentication-method=normal", "--skip-test-db",
		"--force", "--innodb-use-native-aio=OFF"}
	args = append(append(args, userArgs()...), shape...)
	// A server that starts removes all temporary tables in its tmpdir, those of others too.
	tmp, err := os.MkdirTemp("", "mbk-install-")
	if err != nil {
		return fmt.Errorf("make data directory: %w", err)
	}
	defer os.RemoveAll(tmp)
	cmd := exec.CommandContext(ctx, d.Program("mariadb-install-db"), args...)
	cmd.Env = append(os.Environ(), "TMPDIR="+tmp)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("make data directory: %s: %w\n%s%s", d.Program("mariadb-install-db"), err, out, logsIn(path))
	}
	return nil
}

// logsIn returns the error logs in a data directory. What the tool prints ends with
// general advice, and the server may have written the cause elsewhere.
func logsIn(datadir string) string {
	var text strings.Builder
	paths, _ := filepath.Glob(filepath.Join(datadir, "*.err")) // the pattern is well formed
	for _, path := range paths {
		log, err := os.ReadFile(path)
		fmt.Fprintf(&text, "\n%s (%v):\n%s", path, err, log)
	}
	return text.String()
}

// templateDatadir returns the cached data directory of this shape. A lock on a
// file lets only one process make it; it appears by a rename, whole.
func templateDatadir(ctx context.Context, d Dist, shape []string) (_ string, err error) {
	cache, err := CacheFolder()
	if err != nil {
		return "", err
	}
	key := sha256.Sum256(fmt.Appendf(nil, "%s %d %q", d.Program("mariadbd"), os.Geteuid(), shape))
	path := filepath.Join(cache, fmt.Sprintf("template-%s-%x", d.Version, key[:6]))
	if exists(path) {
		return path, nil
	}
	release, err := lockFile(path + ".lock")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, release()) }()
	if exists(path) {
		return path, nil
	}
	temp := path + ".new"
	if err := os.RemoveAll(temp); err != nil {
		return "", fmt.Errorf("make template data directory: %w", err)
	}
	if err := installDB(ctx, d, shape, temp); err != nil {
		return "", err
	}
	if err := os.Rename(temp, path); err != nil {
		return "", fmt.Errorf("make template data directory: %w", err)
	}
	return path, nil
}

// userArgs are the options that mariadbd needs to run as root.
func userArgs() []string {
	if os.Geteuid() == 0 {
		return []string{"--user=root"}
	}
	return nil
}

// lockFile waits for an exclusive lock on the file at path. The kernel frees it
// when the process ends.
func lockFile(path string) (release func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	return f.Close, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
