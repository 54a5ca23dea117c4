package cli_test

import (
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"mbk/internal/repo"
	"mbk/internal/repo/agefile"
	"mbk/internal/test/s3test"
	"mbk/internal/test/sshtest"
)

// kindVariable names the environment variable with the kind of all repositories of these
// tests. Without it they are folders, except where a test calls anyKind.
const kindVariable = "MBK_TEST_REPOSITORY"

// The kinds of repositories. Whatever the kind is, a test names its repository by a folder,
// and finds its objects there as files: the store is a server in front of that folder.
const (
	inFolder        = "folder"
	inEncrypted     = "encrypted"
	inS3            = "s3"
	inSFTP          = "sftp"
	inS3Encrypted   = "s3-encrypted"
	inSFTPEncrypted = "sftp-encrypted"
)

func kinds() []string {
	return []string{inFolder, inEncrypted, inS3, inSFTP, inS3Encrypted, inSFTPEncrypted}
}

// kindOfTests has the kinds of the tests that have chosen one, by their names.
var kindOfTests sync.Map

// kindFor returns the kind of the repositories of a test.
func kindFor(t testing.TB) string {
	t.Helper()
	for name := t.Name(); name != ""; name = name[:max(0, strings.LastIndexByte(name, '/'))] {
		if kind, ok := kindOfTests.Load(name); ok {
			return kind.(string)
		}
	}
	kind := cmp.Or(os.Getenv(kindVariable), inFolder)
	if !slices.Contains(kinds(), kind) {
		t.Fatalf("%s is %q, want one of %q", kindVariable, kind, kinds())
	}
	return kind
}

// useKind chooses the kind of the repositories of a test and its subtests.
func useKind(t testing.TB, kind string) {
	kindOfTests.Store(t.Name(), kind)
	t.Cleanup(func() { kindOfTests.Delete(t.Name()) })
}

// anyKind is for tests that are of use with each kind. Which one it is depends on the name,
// unless kindVariable says it.
func anyKind(t testing.TB) {
	t.Helper()
	if os.Getenv(kindVariable) != "" {
		return
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.Name())) // never fails
	useKind(t, kinds()[h.Sum32()%uint32(len(kinds()))])
	t.Logf("kind of repository: %s", kindFor(t))
}

// ownEncryption is for tests that encrypt their repositories themselves: of an encrypted kind
// they take the other half only.
func ownEncryption(t testing.TB) {
	t.Helper()
	switch kindFor(t) {
	case inEncrypted:
		useKind(t, inFolder)
	case inS3Encrypted:
		useKind(t, inS3)
	case inSFTPEncrypted:
		useKind(t, inSFTP)
	}
}

// leaseOfTheDead is why tests that kill mbk again and again need the lock of a folder.
const leaseOfTheDead = "the next mbk waits for two minutes before it takes the lock of one that was killed"

// onlyIn skips a test that is of no use with other kinds, for the reason that is given.
func onlyIn(t testing.TB, reason string, these ...string) {
	t.Helper()
	if kind := kindFor(t); !slices.Contains(these, kind) {
		t.Skipf("not with kind %s: %s", kind, reason)
	}
}

func isEncrypted(kind string) bool { return strings.HasSuffix(kind, inEncrypted) }
func isRemote(kind string) bool    { return kind != inFolder && kind != inEncrypted }

// shared is what all tests of this process use.
type shared struct {
	dir       string
	s3        *s3test.Server
	ssh       *sshtest.Server
	identity  string // file
	recipient string
}

// endShared ends what startShared has started.
var endShared = func() {}

// startShared returns it, with the servers running.
var startShared = sync.OnceValues(func() (*shared, error) {
	dir, err := os.MkdirTemp("", "mbk-test-shared-")
	if err != nil {
		return nil, err
	}
	x := &shared{dir: dir, identity: filepath.Join(dir, "identity")}
	endShared = func() {
		if x.s3 != nil {
			x.s3.Kill()
		}
		if x.ssh != nil {
			x.ssh.Stop()
		}
		_ = os.RemoveAll(dir) // a temporary folder
	}
	text, recipient, err := agefile.Identity(false)
	if err != nil {
		return nil, err
	}
	x.recipient = recipient
	if err := os.WriteFile(x.identity, text, 0o600); err != nil {
		return nil, err
	}
	if err := errors.Join(os.Mkdir(dir+"/s3", 0o700), os.Mkdir(dir+"/ssh", 0o700)); err != nil {
		return nil, err
	}
	if x.s3, err = s3test.Run(context.Background(), dir+"/s3"); err != nil {
		return nil, err
	}
	x.ssh, err = sshtest.Run(dir + "/ssh")
	return x, err
})

func theShared(t testing.TB) *shared {
	t.Helper()
	x, err := startShared()
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// url returns how a repository of a kind in a folder is named.
func (x *shared) url(t testing.TB, kind, folder string) string {
	t.Helper()
	switch kind {
	case inS3, inS3Encrypted:
		bucket, err := x.s3.Link(folder)
		if err != nil {
			t.Fatal(err)
		}
		return "s3://" + bucket
	case inSFTP, inSFTPEncrypted:
		return x.ssh.URL(folder)
	}
	return folder
}

// nameOf returns how mbk names the repository in a folder.
func nameOf(t testing.TB, folder string) string {
	t.Helper()
	if kind := kindFor(t); isRemote(kind) {
		return theShared(t).url(t, kind, folder)
	}
	return folder
}

// variables are the options of repositories of a kind.
func (x *shared) variables(kind string) (all []string) {
	if isEncrypted(kind) {
		all = append(all, "MBK_IDENTITY="+x.identity)
	}
	switch kind {
	case inS3, inS3Encrypted:
		all = append(all, "MBK_S3_ENDPOINT="+x.s3.Endpoint(), "MBK_S3_ALLOW_HTTP=on", "MBK_S3_PART_SIZE=5MiB",
			"MBK_S3_CREDENTIALS_FILE="+x.s3.CredentialsFile)
	case inSFTP, inSFTPEncrypted:
		all = append(all, "MBK_SSH_KEY="+x.ssh.Key, "MBK_SSH_KNOWN_HOSTS="+x.ssh.KnownHosts)
	}
	return all
}

// inKind returns the arguments of a run of mbk for repositories of the test's kind, and the
// variables that they need.
func inKind(t testing.TB, args []string) (changed, variables []string) {
	t.Helper()
	kind := kindFor(t)
	if kind == inFolder {
		return args, nil
	}
	changed = slices.Clone(args)
	for i, arg := range args {
		name, value, joined := strings.Cut(arg, "=")
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		isRepo := name == "--repo" || name == "--to" && slices.Contains(args, "copy")
		if info, err := os.Stat(value); !isRepo || err != nil || !info.IsDir() || !filepath.IsAbs(value) {
			continue // as the test wants it
		}
		x := theShared(t)
		url := x.url(t, kind, value)
		variables = x.variables(kind)
		takes := slices.Contains(args, "backup") && !slices.Contains(args, "config") && !slices.Contains(args, "--dry-run")
		if isEncrypted(kind) && name == "--repo" && takes {
			x.encryptFirst(t, value, url, variables)
		}
		if joined {
			changed[i] = name + "=" + url
		} else {
			changed[i+1] = url
		}
	}
	return changed, variables
}

// encryptFirst makes an encrypted repository where there is none and nothing else.
func (x *shared) encryptFirst(t testing.TB, folder, url string, variables []string) {
	t.Helper()
	if entries, err := os.ReadDir(folder); err != nil || len(entries) > 0 {
		return // as the test wants it
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "init", "--no-defaults", "--repo", url, "--recipient", x.recipient)
	cmd.Env = append(append(os.Environ(), asMbk+"=1", "MBK_REPO=", "HOME="+x.dir), variables...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Logf("mbk init: %v: %s", err, out)
	}
}

// withIdentity lets a repository be read by a test whose repositories may be encrypted.
func withIdentity(t *testing.T, r *repo.Repository) *repo.Repository {
	t.Helper()
	if !isEncrypted(kindFor(t)) {
		return r
	}
	file := theShared(t).identity
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	with := &agefile.Identities{}
	if err := with.Add(file, text, nil, agefile.Terminal{}); err != nil {
		t.Fatal(err)
	}
	r.UseIdentities(with)
	return r
}
