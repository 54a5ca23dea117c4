package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/repo/store/folder"
	"mbk/internal/sys/fsuser"
	"mbk/internal/test/executable"
)

// asOther makes the test binary do something with a repository as another user:
// "backup 20261120T000000Z-full /repository".
const asOther = "MBK_REPO_TEST_AS_OTHER"

func TestMain(m *testing.M) {
	if words := strings.Fields(os.Getenv(asOther)); len(words) == 3 {
		if err := useRepository(context.Background(), words[0], words[1], words[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// useRepository does what a command does with a repository.
func useRepository(ctx context.Context, command, id, path string) error {
	st, err := folder.Open(path)
	if err != nil {
		return err
	}
	r, err := OpenOrNew(ctx, st, "mbk test")
	if err != nil {
		return err
	}
	var warnings []error
	r.OnWarning(func(text string) { warnings = append(warnings, errors.New(text)) })
	switch command {
	case "list":
		_, listErr := r.List(ctx)
		_, attemptsErr := r.Attempts(ctx)
		_, proofsErr := r.Proofs(ctx)
		err = errors.Join(listErr, attemptsErr, proofsErr, st.Writable(ctx))
	case "verify":
		if _, err = r.Manifest(ctx, Latest); err == nil {
			err = r.PutVerification(ctx, Verification{ID: id, Depth: DepthPages, Time: time.Now(), OK: true})
		}
	case "backup", "expire":
		release, lockErr := r.Lock(ctx)
		if lockErr != nil {
			return lockErr
		}
		defer release()
		if command == "expire" {
			var plan Plan
			if plan, err = r.Expire(ctx, Policy{Last: 1}, ExpireOptions{Now: late}); len(plan.NotRemoved) > 0 {
				err = errors.Join(err, errors.New(strings.Join(plan.NotRemoved, "; ")))
			}
			break
		}
		if _, err = r.Sweep(ctx, SweepOptions{}); err == nil {
			err = backUp(ctx, r, id)
		}
	}
	return errors.Join(append(warnings, err)...)
}

// Whoever of two users, one of them root, does whatever with a repository first, the
// other can go on with it, and everything belongs to its owner. One verification by root once
// stopped all later backups of the service.
func TestRootAndOwnerShareARepository(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	owner := fsuser.User{UID: 64999, GID: 64999}
	dir, err := os.MkdirTemp("/tmp", "mbk-users") // every user can reach it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	binary := filepath.Join(dir, "test")
	if err := errors.Join(err, os.Chmod(dir, 0o755), executable.Write(binary, program)); err != nil {
		t.Fatal(err)
	}
	commands := []string{"backup", "verify", "list", "expire"}
	for _, who := range []int{0b0001, 0b0010, 0b0100, 0b1000, 0b1111} { // a bit says who gives a command
		first := who % len(commands)
		t.Run(fmt.Sprintf("%04b, %s first", who, commands[first]), func(t *testing.T) {
			repository := filepath.Join(dir, fmt.Sprintf("repository-%d", who))
			if err := errors.Join(os.Mkdir(repository, 0o700), os.Chown(repository, owner.UID, owner.GID)); err != nil {
				t.Fatal(err)
			}
			ids := 0
			do := func(asRoot bool, command string) {
				t.Helper()
				if command == "backup" {
					ids++
				}
				id := fmt.Sprintf("202611%02dT000000Z-full", max(ids, 1))
				if asRoot {
					err = useRepository(t.Context(), command, id, repository)
				} else {
					cmd := exec.Command(binary)
					cmd.Env = append(os.Environ(), asOther+"="+strings.Join([]string{command, id, repository}, " "))
					cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 64999, Gid: 64999}}
					var out []byte
					if out, err = cmd.CombinedOutput(); err != nil {
						err = fmt.Errorf("%w: %s", err, out)
					}
				}
				if err != nil {
					t.Errorf("%s, by root: %v: %v", command, asRoot, err)
				}
			}
			do(who&1 != 0, "backup")
			for i := range commands {
				command := commands[(first+i)%len(commands)]
				do(who>>((first+i)%len(commands))&1 != 0, command)
			}
			do(false, "backup")
			do(false, "list")
			err := filepath.WalkDir(repository, func(path string, _ fs.DirEntry, err error) error {
				if got, statErr := fsuser.OwnerOf(path); err == nil && (statErr != nil || got != owner) {
					t.Errorf("%s belongs to %v, %v", path, got, statErr)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// What root has left in another's repository with an earlier mbk is warned of, and
// the owner's backups go on.
func TestWhatRootLeftBehind(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	repository := t.TempDir()
	if err := os.Chown(repository, 64999, 64999); err != nil {
		t.Fatal(err)
	}
	for i, command := range []string{"backup", "backup", "verify", "list"} {
		if err := useRepository(t.Context(), command, fmt.Sprintf("2026112%dT000000Z-full", min(i, 1)),
			repository); err != nil {
			t.Fatal(err)
		}
	}
	records, err := filepath.Glob(filepath.Join(repository, "history", "*.verify-*"))
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	for name, path := range map[string]string{"a record": records[0],
		"a backup": filepath.Join(repository, "backups", "20261120T000000Z-full")} {
		t.Run(name, func(t *testing.T) {
			if err := os.Chown(path, 0, 0); err != nil {
				t.Fatal(err)
			}
			defer os.Chown(path, 64999, 64999)
			err := useRepository(t.Context(), "list", "", repository)
			if err == nil || !strings.Contains(err.Error(), filepath.Base(path)) ||
				!strings.Contains(err.Error(), "permission denied") {
				t.Errorf("list warns of %v", err)
			}
			st, err := folder.Open(repository)
			if err != nil {
				t.Fatal(err)
			}
			r, err := Open(t.Context(), st)
			if err != nil {
				t.Fatal(err)
			}
			release, err := r.Lock(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			list, err := r.List(t.Context())
			if err != nil || len(list) < 2 {
				t.Fatalf("List = %v, %v", list, err)
			}
			for i := range list {
				if list[i].KnownDamaged() || list[i].Denied != (name == "a backup" && i == 0) {
					t.Errorf("%s: %+v", list[i].ID, list[i])
				}
			}
			if _, err := r.Sweep(t.Context(), SweepOptions{}); err != nil {
				t.Errorf("Sweep = %v", err)
			}
			if err := backUp(t.Context(), r, NewID(time.Now(), KindFull)); err != nil {
				t.Errorf("backup: %v", err)
			}
		})
	}
}
