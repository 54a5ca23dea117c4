package cli_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// newIdentity makes an identity and returns its file and its recipient.
func newIdentity(t *testing.T, args ...string) (file, recipient string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "backup.key")
	o := must(t, append([]string{"init", "--new-identity", file}, args...)...)
	return file, strings.TrimSpace(o.stdout)
}

// newEncrypted makes a repository that is encrypted to recipients.
func newEncrypted(t *testing.T, recipients ...string) string {
	t.Helper()
	repository := t.TempDir()
	args := []string{"init", "--repo", repository}
	for _, r := range recipients {
		args = append(args, "--recipient", r)
	}
	must(t, args...)
	return repository
}

// Full backups, one of which is killed and resumed, and an increment, all without an identity;
// then everything that reads them. The last is restored, and is the server.
func TestEncryptedRepository(t *testing.T) {
	ownEncryption(t)
	identity, recipient := newIdentity(t)
	repository := newEncrypted(t, recipient)
	source := newBusyServer(t, newest())
	source.MustExec(t, "CREATE DATABASE zebraledger", "CREATE TABLE zebraledger.quaggainvoices (a INT PRIMARY KEY, "+
		"b VARCHAR(100))", "INSERT INTO zebraledger.quaggainvoices SELECT seq, MD5(seq) FROM mysql.seq_1_to_5000")
	x := &interruptions{source: source, repository: repository, random: rand.New(rand.NewPCG(1, 3))}
	hook := filepath.Join(t.TempDir(), "zebrahook")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\necho quaggainvoices from $(hostname)\n"), 0o700); err != nil {
		t.Fatal(err)
	}

	// Killed, so that all that an attempt leaves is there.
	r := launch(t, command(t, x.args(repository, "--rate-limit", "8MB")...))
	<-x.stored(1, 200*time.Millisecond)
	host, _ := os.Hostname()
	if lock, err := os.ReadFile(lockOf(t, repository)); err != nil ||
		!bytes.Contains(lock, []byte(" pid ")) || bytes.Contains(lock, []byte(host)) {
		t.Errorf("the lock is held by %q, %v", lock, err)
	}
	if err := r.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-r.done
	names := namesOf(source, hook)
	if x.kept(t) == 0 {
		t.Fatal("nothing is kept of the killed backup")
	}
	wantNoName(t, repository, names)

	full := document[measured](t, x.args(repository, "--hook-success", hook)...)
	if full.Resumed == nil || adopted(t, repository, full.ID) == 0 {
		t.Errorf("the backup has resumed %+v", full.Resumed)
	}
	source.MustExec(t, "UPDATE zebraledger.quaggainvoices SET b = 'changed' WHERE a % 50 = 0", "FLUSH TABLES")
	incr := document[measured](t, x.args(repository, "--incremental")...)
	if incr.Kind != repo.KindIncremental {
		t.Errorf("the second backup is %s", incr.Kind)
	}
	// An attempt that fails for a table, and a reason that names one.
	if o := mbk(t, x.args(repository, "--table", "zebraledger.quaggagone")...); o.code == 0 {
		t.Errorf("a backup of a table that does not exist succeeds")
	}
	must(t, "pin", full.ID, "--repo", repository, "--reason", "before zebraledger changes")
	must(t, "expire", "--repo", repository, "--keep-last", "5", "--dry-run")
	if list := must(t, "list", "--repo", repository); !strings.Contains(list.stdout, incr.ID) {
		t.Errorf("mbk list prints %s", list.stdout)
	}
	wantListedWhole(t, repository)
	wantNoName(t, repository, names)

	// Without an identity nobody reads it.
	target := filepath.Join(t.TempDir(), "data")
	for _, args := range [][]string{
		{"verify", "latest", "--repo", repository}, {"show", "latest", "--repo", repository},
		{"restore", "latest", "--repo", repository, "--target", target, "--owner", fmt.Sprint(os.Getuid())},
		{"extract", "latest", "zebraledger.*", "--repo", repository, "--to", target},
		{"consolidate", "latest", "--repo", repository},
	} {
		o := mbk(t, args...)
		if o.code != 2 || !strings.Contains(o.stderr, "no identity was given") || !strings.Contains(o.stderr, "--identity") ||
			!strings.Contains(o.stderr, recipient[:40]) {
			t.Errorf("mbk %q exits %d and says %s", args, o.code, o.stderr)
		}
		if _, err := os.Lstat(target); err == nil {
			t.Errorf("mbk %q has made %s", args, target)
		}
	}

	other, _ := newIdentity(t) // opens nothing, and is not needed
	must(t, "verify", full.ID, "--repo", repository, "--depth", "stored", "--identity", other)
	t.Setenv("MBK_IDENTITY", identity)
	must(t, "verify", full.ID, "--repo", repository, "--depth", "stored")
	must(t, "verify", incr.ID, "--repo", repository, "--depth", "pages")
	if o := must(t, "show", "latest", "--tables", "--repo", repository); !strings.Contains(o.stdout, "quaggainvoices") {
		t.Errorf("mbk show prints %s", o.stdout)
	}
	if o := must(t, "history", full.ID, "--repo", repository); !strings.Contains(o.stdout, "zebrahook") ||
		!strings.Contains(o.stdout, source.Datadir) {
		t.Errorf("mbk history prints %s", o.stdout)
	}
	must(t, "extract", "latest", "zebraledger.*", "--repo", repository, "--to", filepath.Join(target, "files"))
	restored := caughtUp(t, source, repository, incr.taken, profile{})
	wantSame(t, source, restored)
	made := document[struct {
		ID string `json:"id"`
	}](t, "consolidate", "latest", "--repo", repository, "--quiet")
	must(t, "verify", made.ID, "--repo", repository, "--depth", "pages")
	wantNoName(t, repository, names)
}

// An increment of a filtered backup needs no identity: that the filter is the same is told by
// the files that it keeps.
func TestEncryptedFilteredIncrement(t *testing.T) {
	t.Parallel()
	ownEncryption(t)
	identity, recipient := newIdentity(t)
	repository := newEncrypted(t, recipient)
	source := mariadbtest.New(t, newest())
	for _, db := range []string{"zebraledger", "quagga"} {
		source.MustExec(t, "CREATE DATABASE "+db, "CREATE TABLE "+db+".t (a INT PRIMARY KEY)",
			"INSERT INTO "+db+".t VALUES (1)", "CREATE VIEW "+db+".v AS SELECT * FROM "+db+".t",
			"CREATE TABLE "+db+".m (a INT) ENGINE=MyISAM")
	}
	backUp := func(want string, args ...string) {
		t.Helper()
		made := document[struct {
			Kind       string `json:"kind"`
			FullReason string `json:"full_reason"`
		}](t, backupArgs(source, repository, append(args, "--incremental")...)...)
		if made.Kind != want {
			t.Errorf("with %q the backup is %s, want %s: %s", args, made.Kind, want, made.FullReason)
		}
	}
	backUp(repo.KindFull, "--database", "zebraledger")
	backUp(repo.KindIncremental, "--database", "zebraledger")
	source.MustExec(t, "CREATE TABLE zebraledger.later (a INT)", "CREATE TABLE quagga.later (a INT)",
		"ALTER TABLE zebraledger.t ADD b INT, FORCE", "DROP VIEW zebraledger.v")
	backUp(repo.KindIncremental, "--database", "zebraledger")
	backUp(repo.KindFull, "--database", "quagga")
	backUp(repo.KindFull)
	backUp(repo.KindIncremental, "--database", "quagga")
	backUp(repo.KindFull, "--table", "zebraledger.t")
	backUp(repo.KindIncremental)
	wantNoName(t, repository, namesOf(source))
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet", "--identity", identity)
}

// adopted counts the objects of a backup that lie in folders of interrupted attempts.
func adopted(t *testing.T, repository, id string) (n int) {
	t.Helper()
	l, err := opened(t, repository).Label(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range l.Objects {
		if strings.Contains(o.Name, "/") {
			n++
		}
	}
	if n > 0 && len(l.Keys) < 2 {
		t.Errorf("the label of %s names the keys %+v", id, l.Keys)
	}
	return n
}

// namesOf are what nobody may learn of a source.
func namesOf(source *mariadbtest.Server, more ...string) []string {
	host, _ := os.Hostname()
	return append([]string{"zebraledger", "quagga", `"` + host + `"`, " at " + host, source.Datadir, source.Socket},
		more...)
}

// namesIn returns where a repository names one of these: in an object as it is, or in the
// document that it is a frame of.
func namesIn(t *testing.T, repository string, names []string) (where []string) {
	t.Helper()
	for _, name := range files(t, repository) {
		b, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		if doc, err := pack.OpenDocument(b); err == nil {
			text, err := io.ReadAll(doc)
			if err != nil {
				t.Fatal(err)
			}
			_ = doc.Close()
			b = slices.Concat(b, text)
		}
		for _, word := range names {
			if bytes.Contains(b, []byte(word)) {
				where = append(where, name+" has "+word)
			}
		}
	}
	return where
}

// lockOf returns the file that says who works on a repository.
func lockOf(t *testing.T, repository string) string {
	t.Helper()
	if !isRemote(kindFor(t)) {
		return filepath.Join(repository, ".lock-repository")
	}
	leases, err := filepath.Glob(filepath.Join(repository, ".locks", "*"))
	if err != nil || len(leases) == 0 {
		t.Fatalf("leases: %q, %v", leases, err)
	}
	return leases[len(leases)-1]
}

func wantNoName(t *testing.T, repository string, names []string) {
	t.Helper()
	for _, text := range namesIn(t, repository, names) {
		t.Error(text)
	}
}

// What TestEncryptedRepository looks for is there if a repository is not encrypted.
func TestNamesAreFoundInTheClear(t *testing.T) {
	t.Parallel()
	ownEncryption(t)
	source := newBusyServer(t, newest())
	source.MustExec(t, "CREATE DATABASE zebraledger", "CREATE TABLE zebraledger.quaggainvoices (a INT PRIMARY KEY)")
	x := &interruptions{source: source, repository: t.TempDir()}
	b := document[measured](t, x.args(x.repository)...)
	must(t, "pin", b.ID, "--repo", x.repository)
	where := strings.Join(namesIn(t, x.repository, namesOf(source)), "\n")
	for _, name := range append(namesOf(source), "manifest.json.zst has", "history/") {
		if !strings.Contains(where, name) {
			t.Errorf("%s is not found in\n%s", name, where)
		}
	}
}

// To whom a repository is encrypted, seen from outside.
func TestRecipientsCommand(t *testing.T) {
	t.Parallel()
	ownEncryption(t)
	first, one := newIdentity(t)
	second, two := newIdentity(t)
	repository := newEncrypted(t, one)
	source := newBusyServer(t, newest())
	x := &interruptions{source: source, repository: repository}
	b := document[measured](t, x.args(repository)...)
	reads := func(identity string) bool {
		return mbk(t, "show", b.ID, "--repo", repository, "--identity", identity).code == 0
	}
	if o := must(t, "recipients", "--repo", repository); strings.TrimSpace(o.stdout) != one {
		t.Errorf("mbk recipients prints %q", o.stdout)
	}
	o := must(t, "recipients", "--repo", repository, "--add", two)
	if !strings.Contains(o.stderr, "1 backup are encrypted to the recipients from before") || !reads(first) ||
		reads(second) {
		t.Errorf("after --add without an identity: %s", o.stderr)
	}
	type changed struct {
		Recipients []string `json:"recipients"`
		Rewrapped  []string `json:"rewrapped"`
		Left       []string `json:"left"`
	}
	args := []string{"recipients", "--repo", repository}
	if d := document[changed](t, append(args, "--rewrap", "--identity", first)...); len(d.Rewrapped) != 1 ||
		len(d.Left) != 0 || len(d.Recipients) != 2 || !reads(first) || !reads(second) {
		t.Errorf("after --rewrap: %+v", d)
	}
	if d := document[changed](t, append(args, "--remove", one[:30], "--dry-run")...); len(d.Recipients) != 1 ||
		!strings.HasPrefix(must(t, args...).stdout, one) {
		t.Errorf("after --dry-run: %+v", d)
	}
	if d := document[changed](t, append(args, "--remove", one[:30], "--identity", second)...); len(d.Rewrapped) != 1 ||
		d.Recipients[0] != two || reads(first) || !reads(second) {
		t.Errorf("after --remove: %+v", d)
	}
	wantListedWhole(t, repository)
	plain := t.TempDir()
	must(t, "init", "--repo", plain)
	_, classic := newIdentity(t, "--classic")
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--add", classic}, "post-quantum"}, {[]string{"--remove", two}, "last recipient"},
		{[]string{"--remove", one}, "no recipient begins with"}, {[]string{"--rewrap"}, "--identity"},
		{[]string{"--add", "bob"}, "bob"}, {[]string{"--repo", plain, "--add", one}, "not encrypted"},
		{[]string{"--rewrap", "--identity", "/nowhere"}, "/nowhere"},
	} {
		if o := mbk(t, append(args, c.args...)...); o.code != 2 || !strings.Contains(o.stderr, c.says) {
			t.Errorf("mbk recipients %q exits %d: %s; want it to say %q", c.args, o.code, o.stderr, c.says)
		}
	}
}

// Mistakes of those who make repositories and identities.
func TestInitRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, recipient := newIdentity(t)
	_, classic := newIdentity(t, "--classic")
	in := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bad := in("bad.pub", "# ours\n"+recipient+"\nnobody\n", 0o644)
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the new identity has mode %v, %v", info.Mode(), err)
	}
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	full, made := t.TempDir(), newEncrypted(t, recipient)
	if err := os.WriteFile(filepath.Join(full, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	empty := func() string { return t.TempDir() }
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--new-identity", file}, "exists"}, {[]string{"--new-identity", "/nowhere/key"}, "/nowhere/key"},
		{[]string{"--new-identity", filepath.Join(dir, "x"), "--recipient", recipient}, "and no repository"},
		{[]string{"--repo", full}, "not empty"}, {[]string{"--repo", made, "--recipient", classic}, "not empty"},
		{[]string{"--repo", empty(), "--recipient", recipient, "--recipient", classic}, "post-quantum"},
		{[]string{"--repo", empty(), "--recipients-file", bad}, "line 3"},
		{[]string{"--repo", empty(), "--recipients-file", filepath.Join(dir, "none")}, "none"},
		{[]string{"--repo", empty(), "--recipient", "age1nothere1qqqsyqcyqqr8m2n"}, "recipient"},
		{[]string{"--repo", empty(), "--classic"}, "--new-identity"}, {nil, "no repository is named"},
	} {
		if o := mbk(t, append([]string{"init"}, c.args...)...); o.code != 2 || !strings.Contains(o.stderr, c.says) {
			t.Errorf("mbk init %q exits %d: %s; want it to say %q", c.args, o.code, o.stderr, c.says)
		}
	}
	if after, err := os.ReadFile(file); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the identity was changed: %v", err)
	}
	// Identities that cannot be used.
	open := in("open.key", string(before), 0o644)
	for _, c := range []struct{ file, says string }{
		{open, "chmod 600"}, {in("bad.key", "nothing\n", 0o600), "line 1"}, {filepath.Join(dir, "none.key"), "none.key"},
	} {
		if o := mbk(t, "show", "latest", "--repo", made, "--identity", c.file); o.code != 2 ||
			!strings.Contains(o.stderr, c.says) {
			t.Errorf("with %s: exit code %d: %s; want it to say %q", c.file, o.code, o.stderr, c.says)
		}
	}
}

// identityText is what an identity of age looks like.
var identityText = regexp.MustCompile(`AGE-SECRET-KEY-(PQ-)?1[0-9A-Z]{20,}`)

// identitiesIn returns all identities in the files of folders.
func identitiesIn(t *testing.T, folders ...string) (all []string) {
	t.Helper()
	for _, folder := range folders {
		for _, name := range files(t, folder) {
			b, err := os.ReadFile(filepath.Join(folder, name))
			if errors.Is(err, fs.ErrNotExist) { // the server has removed it
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, identityText.FindAllString(string(b), -1)...)
		}
	}
	return all
}

// With all that the machine holds that makes the backups, neither a finished backup nor a
// record can be read: not with what is on its disk, while a backup runs or after one, and not
// with what a running one shows of itself.
func TestBackupHostCompromised(t *testing.T) {
	t.Parallel()
	ownEncryption(t)
	identity, recipient := newIdentity(t)
	if len(identitiesIn(t, filepath.Dir(identity))) != 1 {
		t.Fatal("the search does not find the identity where it is")
	}
	repository, home := newEncrypted(t, recipient), t.TempDir()
	source := newBusyServer(t, newest())
	x := &interruptions{source: source, repository: repository}
	backup := func(more ...string) *run {
		cmd := command(t, x.args(repository, more...)...)
		cmd.Env = append(cmd.Env, "HOME="+home, "TMPDIR="+home)
		return launch(t, cmd)
	}
	held := []string{repository, home, source.Datadir}
	old := document[measured](t, x.args(repository)...)
	running := backup("--rate-limit", "1MB")
	<-x.stored(2, 0)
	for _, name := range []string{"environ", "cmdline"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", running.cmd.Process.Pid, name))
		if err != nil || identityText.Match(b) {
			t.Errorf("%s of a running backup: an identity, or %v", name, err)
		}
	}
	if found := identitiesIn(t, held...); len(found) > 0 {
		t.Errorf("while a backup runs there are %d identities on the disk", len(found))
	}
	if err := running.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-running.done
	if o := backup().wait(t, 3*time.Minute); o.code != 0 { // a lease must count as dead first
		t.Fatalf("the next backup exits %d: %s", o.code, o.stderr)
	}
	if found := identitiesIn(t, held...); len(found) > 0 {
		t.Errorf("after the backups there are %d identities on the disk", len(found))
	}
	// An attacker can make identities, and name the files that he has.
	his, _ := newIdentity(t)
	for _, file := range append([]string{his}, filesOf(t, repository)...) {
		if o := mbk(t, "show", old.ID, "--repo", repository, "--identity", file); o.code == 0 {
			t.Errorf("%s opens the backup", file)
		}
	}
	must(t, "show", old.ID, "--repo", repository, "--identity", identity)
}

// filesOf are the small files of a folder.
func filesOf(t *testing.T, folder string) (paths []string) {
	t.Helper()
	for _, name := range files(t, folder) {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Size() < 1<<20 {
			paths = append(paths, path)
		}
	}
	return paths
}

// What format.md says about reading without mbk is what a shell makes of it, with age as its
// makers build it.
func TestReadEncryptedWithoutMbk(t *testing.T) {
	t.Parallel()
	ownEncryption(t)
	for _, program := range []string{"jq", "zstd", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("no %s here", program)
		}
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", bin, "filippo.io/age/cmd/age")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build age: %v\n%s", err, out)
	}
	identity, recipient := newIdentity(t)
	repository := newEncrypted(t, recipient)
	x := &interruptions{source: newBusyServer(t, newest()), repository: repository}
	b := document[measured](t, x.args(repository)...)

	text, err := os.ReadFile("../../docs/format.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Encryption\n")
	section, _, _ = strings.Cut(section, "\n## ")
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(section, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d recipes", len(blocks))
	}
	work := t.TempDir()
	key, err := os.ReadFile(identity)
	if err != nil {
		t.Fatal(err)
	}
	var printed string
	for _, block := range blocks {
		script := strings.NewReplacer("/backup/db1", repository, "20261122T000658Z-full", b.ID, "/restore", work,
			"my-identity.txt", filepath.Join(work, "my-identity.txt"), "this-backup.txt", filepath.Join(work, "this-backup.txt"),
			"history.txt", filepath.Join(work, "history.txt")).Replace(block[1])
		if err := os.WriteFile(filepath.Join(work, "my-identity.txt"), key, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("bash", "-euo", "pipefail", "-c", script)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s\n%s", err, script, out)
		}
		printed += string(out)
	}
	if !strings.Contains(printed, "MariaDB") || !strings.HasSuffix(printed, "null\n") {
		t.Errorf("the recipes print %s", printed)
	}
	if out, err := exec.Command("zstd", "-t", filepath.Join(work, "data-0001.pack")).CombinedOutput(); err != nil {
		t.Errorf("zstd -t of the decrypted pack: %v %s", err, out)
	}
}
