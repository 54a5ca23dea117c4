package cli_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mbk/internal/repo/repotest"
	"mbk/internal/repo/store/folder"
	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/s3test"
	"mbk/internal/test/sshtest"
)

// bridge is the first argument with which this program is what ssh is to an SFTP client.
const bridge = "sftp-bridge"

// Whatever request of a command fails in a bucket or on an SSH server, every backup that is
// listed is whole, and the next backup succeeds.
func TestCommandsFailAnywhere(t *testing.T) {
	t.Parallel()
	x := newStoreFaults(t, newest())
	for _, kind := range mariadbtest.Some(t, inS3, inSFTP) {
		t.Run(kind, func(t *testing.T) { t.Log(x.everywhere(t, kind, 1, 0)) })
	}
}

// storeFaults lets requests of commands fail.
type storeFaults struct {
	source *mariadbtest.Server
	base   string // a folder with a repository: two chains, and an attempt to continue on
	pinned string // a backup in it
}

// newStoreFaults makes the repository that each command begins with.
func newStoreFaults(t *testing.T, version string) *storeFaults {
	srv := mariadbtest.New(t, version)
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.i (a INT PRIMARY KEY, b BLOB)",
		"CREATE TABLE d.m (a INT PRIMARY KEY, b BLOB) ENGINE=MyISAM",
		"INSERT INTO d.i SELECT seq, "+noise(16)+" FROM mysql.seq_1_to_4000",
		"INSERT INTO d.m SELECT * FROM d.i WHERE a < 1000")
	x := &storeFaults{source: srv, base: t.TempDir()}
	useKind(t, inFolder)
	for _, more := range [][]string{nil, {"--incremental"}, nil, {"--incremental"}} {
		x.pinned = document[taken](t, x.backup(x.base, more...)...).ID
		srv.MustExec(t, "UPDATE d.i SET b = 'changed' WHERE a % 97 = 0")
	}
	r := launch(t, command(t, x.backup(x.base, "--rate-limit", "2MB")...))
	until(t, "wait for an object of the attempt", func() bool {
		packs, err := filepath.Glob(x.base + "/backups/*/progress*")
		return err == nil && len(packs) > 0
	})
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.done
	return x
}

// backup returns the arguments of a backup in packs of the smallest size.
func (x *storeFaults) backup(repository string, more ...string) []string {
	return backupArgs(x.source, repository, append([]string{"--pack-size", "1MiB"}, more...)...)
}

// faulty is a way to a store on which one request fails.
type faulty struct {
	faults []string
	// breakAt lets request n fail, or none if n is negative, and begins to count.
	breakAt func(fault, n int)
	// count returns how many requests there were since breakAt, and whether one failed.
	count func() (int, bool)
	// run returns a run of mbk. A folder of a repository stands in its arguments as such.
	run func(t *testing.T, args ...string) outcome
}

// newFaulty makes the way to a store of a kind.
func newFaulty(t *testing.T, kind string) *faulty {
	useKind(t, kind)
	if kind == inSFTP {
		return faultySFTP(t)
	}
	x := theShared(t)
	p := s3test.NewProxy(t, x.s3)
	faults := []s3test.Fault{
		s3test.Forbidden, s3test.LoseAnswer, s3test.InternalError, s3test.CutAnswer, s3test.CutRequest, s3test.ErrorIn200,
	}
	f := &faulty{run: func(t *testing.T, args ...string) outcome {
		return inPatiently(t, "MBK_S3_ENDPOINT="+p.Endpoint, args)
	}}
	for _, fault := range faults {
		f.faults = append(f.faults, string(fault))
	}
	var seen atomic.Int32
	f.breakAt = func(fault, n int) {
		seen.Store(0)
		p.Break(faults[fault], 1, func(*http.Request) bool { return int(seen.Add(1)) == n+1 })
	}
	f.count = func() (int, bool) { return int(seen.Load()), p.Hits() > 0 }
	return f
}

func faultySFTP(t *testing.T) *faulty {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := sshtest.NewProxy(t)
	faults := []sshtest.Fault{sshtest.Refuse, sshtest.LoseAnswer, sshtest.Cut}
	f := &faulty{
		breakAt: func(fault, n int) { p.Break(faults[fault], n) }, count: p.Requests,
		run: func(t *testing.T, args ...string) outcome {
			return inPatiently(t, "MBK_SFTP_COMMAND="+self+" "+bridge+" "+p.Socket, args)
		},
	}
	for _, fault := range faults {
		f.faults = append(f.faults, string(fault))
	}
	return f
}

// inPatiently runs mbk with a variable. It may have to wait for a lock that nobody gave back.
func inPatiently(t *testing.T, variable string, args []string) outcome {
	t.Helper()
	cmd := command(t, args...)
	cmd.Env = append(cmd.Env, variable)
	return launch(t, cmd).wait(t, 5*time.Minute)
}

// commands are the commands that change a repository.
func (x *storeFaults) commands(repository string) map[string][]string {
	at := []string{"--repo", repository, "--quiet"}
	return map[string][]string{
		"backup":      x.backup(repository),
		"increment":   x.backup(repository, "--incremental", "--no-resume"),
		"consolidate": slices.Concat([]string{"consolidate", "latest"}, at),
		"expire":      slices.Concat([]string{"expire", "--keep-last", "1"}, at),
		"pin":         slices.Concat([]string{"pin", x.pinned}, at),
		"copy":        {"copy", "--all", "--repo", x.base, "--to", repository, "--quiet"},
	}
}

// everywhere lets about so many requests of each command fail. Which ones, and in which way,
// is another matter in each round.
func (x *storeFaults) everywhere(t *testing.T, kind string, most, round int) string {
	f := newFaulty(t, kind)
	var told []string
	for i, name := range slices.Sorted(maps.Keys(x.commands(""))) {
		repository := x.prepare(t, name)
		f.breakAt(0, -1)
		if o := f.run(t, x.commands(repository)[name]...); o.code != 0 {
			t.Fatalf("%s without a fault exits %d: %s", name, o.code, o.stderr)
		}
		all, _ := f.count()
		step, hits := max(1, all/most), 0
		for n := (step/2 + 7*round) % step; n < all; n += step {
			if x.failsAt(t, f, name, n, (i+n/step+round)%len(f.faults)) {
				hits++
			}
		}
		if hits == 0 {
			t.Errorf("%s: no request failed", name)
		}
		told = append(told, fmt.Sprintf("%s: %d of %d requests failed", name, hits, all))
	}
	return kind + ": " + strings.Join(told, ", ")
}

// prepare makes the repository that a command is to change.
func (x *storeFaults) prepare(t *testing.T, name string) string {
	t.Helper()
	repository := filepath.Join(t.TempDir(), "repository")
	if name == "copy" {
		if err := os.Mkdir(repository, 0o700); err != nil {
			t.Fatal(err)
		}
		return repository
	}
	linkAll(t, x.base, repository)
	return repository
}

// failsAt lets request n of a command fail, and reports whether the command got as far.
func (x *storeFaults) failsAt(t *testing.T, f *faulty, name string, n, fault int) bool {
	t.Helper()
	what := fmt.Sprintf("%s, request %d: %s", name, n, f.faults[fault])
	repository := x.prepare(t, name)
	args := x.commands(repository)[name]
	f.breakAt(fault, n)
	o := f.run(t, args...)
	_, hit := f.count()
	told := o.code == 1 || o.code == 2 && f.faults[fault] == string(s3test.Forbidden)
	if o.code != 0 && (!hit || !told || !strings.Contains(o.stderr, "mbk: error: ")) {
		t.Errorf("%s: exit code %d: %s", what, o.code, o.stderr)
	}
	st, err := folder.Open(repository)
	if err != nil {
		t.Fatal(err)
	}
	f.breakAt(fault, -1)
	if listed := repotest.WantListedWhole(t, st); len(listed) > 0 {
		target := filepath.Join(t.TempDir(), "restored")
		if o := f.run(t, append(restoreArgs("latest", repository, target), "--no-recover")...); o.code != 0 {
			t.Errorf("%s: and then the restore exits %d: %s", what, o.code, o.stderr)
		}
		_ = os.RemoveAll(target)
	}
	wantFree(t, x.source)
	if name != "copy" {
		args = x.backup(repository)
	}
	began := time.Now()
	if o := f.run(t, args...); o.code != 0 {
		t.Errorf("%s: and then mbk %s exits %d: %s", what, args[0], o.code, o.stderr)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Logf("%s: and then mbk %s took %s", what, args[0], took.Round(time.Second))
	}
	repotest.WantListedWhole(t, st)
	if left := interrupted(t, repository); name != "copy" && len(left) > 0 {
		t.Errorf("%s: after the next backup %s is left", what, left[0].ID)
	}
	_ = os.RemoveAll(repository)
	return hit
}
