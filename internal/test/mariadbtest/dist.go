// Package mariadbtest runs real MariaDB servers for tests and for the demo: it
// fetches their programs, starts and stops throw-away instances, puts load and
// DDL on them, and compares what two of them hold. It knows nothing of backups;
// the tests of other packages make a backup of one server, start a second one
// on the restored files, replay the binary log and ask Diff for differences.
//
// Most tests begin with New. Programs without a *testing.T use Get and Start.
// Servers and template data directories are kept for later runs in the folder
// that MBK_TEST_SERVERS names, else in mbk-test below the user's cache folder. Root's is
// /var/cache: other users run servers from there too, and cannot enter root's home.
// MBK_TEST_VERSIONS says which series to test. Tests with much load run several
// times faster with TMPDIR on a tmpfs.
package mariadbtest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
)

//go:embed get-mariadb
var getMariaDB []byte

// SystemSeries asks Get for the server which the system's package manager
// installed.
const SystemSeries = "system"

// ErrNoServer is returned by Get for SystemSeries when the machine has no
// MariaDB server installed.
var ErrNoServer = errors.New("no mariadbd installed")

// Dist is one installed release of MariaDB. The zero Dist is not usable.
type Dist struct {
	// Series is what Get was asked for: "10.11", "11.8" or SystemSeries.
	Series string
	// Version is the release that mariadbd reports: "10.11.19".
	Version string

	folders []string // where Program looks
}

// versionsVariable is the environment variable with the versions to test.
const versionsVariable = "MBK_TEST_VERSIONS"

// Versions names the series that tests run against: those in the environment
// variable MBK_TEST_VERSIONS, separated by spaces or commas, or 10.11 and 11.8.
func Versions() []string {
	set := strings.FieldsFunc(os.Getenv(versionsVariable), func(r rune) bool {
		return r == ' ' || r == ','
	})
	if len(set) > 0 {
		return set
	}
	return []string{"10.11", "11.8"}
}

// Get returns the server of a series ("10.5", "10.6", "10.11", "11.4", "11.8", "sid" or
// SystemSeries), or an old release of one ("10.6.7", "10.11.7", "11.4.5"). One that is
// not on the machine yet is fetched from the archive of Debian or, 10.6, 11.4 and the old
// ones, Ubuntu, which takes a minute; later processes only look, and
// later calls of one know it. It is safe for concurrent use, by several processes too.
func Get(ctx context.Context, series string) (Dist, error) {
	if series == SystemSeries {
		return systemDist(ctx)
	}
	if d, ok := known.Load(series); ok {
		return d.(Dist), nil
	}
	d, err := fetched(ctx, series)
	if err == nil {
		known.Store(series, d)
	}
	return d, err
}

// known are the servers that this process has asked for: a Dist by its series.
var known sync.Map

// fetched runs the script that fetches a server if it is not there.
func fetched(ctx context.Context, series string) (Dist, error) {
	cache, err := CacheFolder()
	if err != nil {
		return Dist{}, err
	}
	// The script compares its own checksum with that of the script which made
	// the folder, so it must run from a file with exactly the embedded bytes.
	script := filepath.Join(cache, "get-mariadb")
	if err := writeScript(script); err != nil {
		return Dist{}, err
	}
	folder := filepath.Join(cache, "mariadb-"+series)
	out, err := exec.CommandContext(ctx, "bash", script, series, folder).CombinedOutput()
	if err != nil {
		return Dist{}, fmt.Errorf("get MariaDB %s: %w:\n%s", series, err, out)
	}
	return newDist(ctx, series, filepath.Join(folder, "bin"))
}

// Program returns the path of one of the server's programs, such as mariadbd,
// mariadb, mariadb-binlog or mariadb-backup. A program which is not there is
// answered with its bare name, so that running it gives a clear error.
func (d Dist) Program(name string) string {
	for _, folder := range d.folders {
		path := filepath.Join(folder, name)
		if st, err := os.Stat(path); err == nil && !st.IsDir() {
			return path
		}
	}
	return name
}

func systemDist(ctx context.Context) (Dist, error) {
	folders := []string{"/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/usr/libexec"}
	for _, folder := range folders {
		if _, err := os.Stat(filepath.Join(folder, "mariadbd")); err == nil {
			return newDist(ctx, SystemSeries, folders...)
		}
	}
	return Dist{}, fmt.Errorf("look for a server in %s: %w", strings.Join(folders, ", "), ErrNoServer)
}

func newDist(ctx context.Context, series string, folders ...string) (Dist, error) {
	d := Dist{Series: series, folders: folders}
	out, err := exec.CommandContext(ctx, d.Program("mariadbd"), "--no-defaults", "--version").Output()
	if err != nil {
		return Dist{}, fmt.Errorf("ask %s for its version: %w", d.Program("mariadbd"), err)
	}
	found := regexp.MustCompile(`Ver (\d+\.\d+\.\d+)`).FindSubmatch(out)
	if found == nil {
		return Dist{}, fmt.Errorf("ask %s for its version: unknown answer %q", d.Program("mariadbd"), out)
	}
	d.Version = string(found[1])
	return d, nil
}

// CacheFolder returns the folder that holds programs of servers and template data
// directories for all test processes of this user.
func CacheFolder() (string, error) {
	folder := os.Getenv("MBK_TEST_SERVERS")
	if folder == "" && os.Geteuid() == 0 {
		folder = "/var/cache/mbk-test"
	}
	if folder == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a folder for test servers (set MBK_TEST_SERVERS): %w", err)
		}
		folder = filepath.Join(user, "mbk-test")
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("make the folder for test servers: %w", err)
	}
	return folder, nil
}

// writeScript puts the embedded script at path unless it is there already.
// The rename lets other processes go on running the old file.
func writeScript(path string) error {
	if old, err := os.ReadFile(path); err == nil && string(old) == string(getMariaDB) {
		return nil
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".get-mariadb-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	_, err = temp.Write(getMariaDB)
	err = errors.Join(err, temp.Chmod(0o755), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(temp.Name()))
	}
	return nil
}

// lastLines returns the last n lines of a program's output, for an error.
func lastLines(out []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
