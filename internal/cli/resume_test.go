package cli_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// mbk is killed at random moments of full backups and of increments, and the next one
// continues. What it ends with is a backup like any other.
func TestResume(t *testing.T) {
	onlyIn(t, leaseOfTheDead, inFolder, inEncrypted)
	t.Parallel()
	resumedOften(t, newest(), 3, 1)
}

// After any other death than that by SIGKILL the next backup continues, too.
func TestResumeAfterOtherDeaths(t *testing.T) {
	onlyIn(t, leaseOfTheDead, inFolder, inEncrypted)
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(otherDeaths(t, newest()))
}

func otherDeaths(t *testing.T, version string) string {
	source := newBusyServer(t, version)
	var told []string
	for _, death := range []struct {
		name string
		code int
		by   func(t *testing.T, r *run, repository string)
	}{
		{"SIGTERM", 130, func(t *testing.T, r *run, _ string) {
			if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}},
		{"the server is killed", 1, func(t *testing.T, _ *run, _ string) {
			if err := source.Kill(); err != nil {
				t.Fatal(err)
			}
		}},
		{"the repository goes away", 1, func(t *testing.T, r *run, repository string) {
			if err := os.Rename(repository, repository+".away"); err != nil {
				t.Fatal(err)
			}
			r.wait(t, time.Minute)
			if err := os.Rename(repository+".away", repository); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		x := &interruptions{source: source, repository: filepath.Join(t.TempDir(), "repository")}
		if err := os.Mkdir(x.repository, 0o700); err != nil {
			t.Fatal(err)
		}
		r := launch(t, command(t, x.args(x.repository, "--rate-limit", "4MB")...))
		<-x.stored(1, 100*time.Millisecond)
		death.by(t, r, x.repository)
		if o := r.wait(t, time.Minute); o.code != death.code {
			t.Errorf("%s: exit code %d, want %d: %s", death.name, o.code, death.code, o.stderr)
		}
		if err := source.Restart(t.Context()); death.name == "the server is killed" && err != nil {
			t.Fatal(err)
		}
		kept := x.kept(t)
		b := document[measured](t, x.args(x.repository)...)
		if b.Resumed == nil || kept == 0 {
			t.Errorf("%s: %d bytes are kept, and of these the next backup has %+v", death.name, kept, b.Resumed)
		}
		must(t, "verify", "latest", "--repo", x.repository, "--depth", "pages", "--quiet")
		wantNothingLeft(t, x.repository, 1)
		told = append(told, fmt.Sprintf("%s: %.1f MiB are kept, and %.1f MiB stored beside them", death.name,
			mebibytes(kept), mebibytes(dataStored(t, x.repository, b.ID))))
	}
	return strings.Join(told, "\n")
}

// interruptions is a series of backups of which most are killed.
type interruptions struct {
	source     *mariadbtest.Server
	repository string
	random     *rand.Rand
	kills      int // so far
	told       []string
}

// resumedOften kills mbk at so many moments, half of them of full backups, restores what
// the last one has made and compares that with the source.
func resumedOften(t *testing.T, version string, moments int, seed uint64) string {
	source := mariadbtest.New(t, version)
	fill := mariadbtest.Fill{InnoDBMiB: 24, MyISAMMiB: 2, AriaMiB: 2}
	if err := mariadbtest.Populate(t.Context(), source, fill); err != nil {
		t.Fatal(err)
	}
	// What was filled in is older than the checkpoint of the first backup.
	if err := errors.Join(source.Stop(t.Context()), source.Restart(t.Context())); err != nil {
		t.Fatal(err)
	}
	load, err := mariadbtest.Write(t.Context(), source, mariadbtest.WriteOptions{Pause: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	x := &interruptions{source: source, repository: t.TempDir(), random: rand.New(rand.NewPCG(seed, 3))}
	for x.kills < (moments+1)/2 {
		x.killed(t, x.args(x.repository))
	}
	x.finished(t, x.args(x.repository))
	source.MustExec(t, "UPDATE mbk_load.idle_innodb SET z = REPEAT('changed', 60) WHERE id % 7 = 0")
	for x.kills < moments {
		x.killed(t, x.args(x.repository, "--incremental"))
	}
	b := x.finished(t, x.args(x.repository, "--incremental"))
	if b.Kind != repo.KindIncremental {
		t.Errorf("the last backup is %s", b.Kind)
	}
	if _, err := load.Stop(); err != nil {
		t.Fatal(err)
	}
	must(t, "verify", "latest", "--repo", x.repository, "--depth", "pages", "--quiet")
	restored := caughtUp(t, source, x.repository, b.taken, profile{})
	wantSame(t, source, restored)
	wantInvariants(t, restored)
	return strings.Join(x.told, "\n")
}

// measured is more of what "backup --json" prints.
type measured struct {
	taken
	Kind        string        `json:"kind"`
	BytesStored int64         `json:"bytes_stored"`
	Resumed     *repo.Resumed `json:"resumed"`
}

// args are those of a backup that takes some seconds.
func (x *interruptions) args(repository string, more ...string) []string {
	return append([]string{"backup", "--repo", repository, "--socket", x.source.Socket, "--user", "root", "--quiet",
		"--nice", "0", "--pack-size", "1MiB"}, more...)
}

// killed begins a backup and kills it at a random moment.
func (x *interruptions) killed(t *testing.T, args []string) {
	t.Helper()
	before := x.kept(t)
	cmd := command(t, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	packs, after := x.random.IntN(25), time.Duration(x.random.IntN(300))*time.Millisecond
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-x.stored(packs, after):
		_ = cmd.Process.Kill() // it may have ended by itself
		err = <-ended
	}
	var exit *exec.ExitError
	switch {
	case err == nil:
		x.tell(t, fmt.Sprintf("ended before %d packs were stored", packs))
	case errors.As(err, &exit) && !exit.Exited():
		x.kills++
		x.tell(t, fmt.Sprintf("killed %s after %d packs: %.1f MiB are kept, %.1f MiB before", after, packs,
			mebibytes(x.kept(t)), mebibytes(before)))
	default:
		t.Fatalf("backup: %v", err)
	}
	wantListedWhole(t, x.repository)
}

// stored returns a channel that is closed some time after so many packs more are durable.
func (x *interruptions) stored(packs int, after time.Duration) <-chan struct{} {
	count := func() int {
		found, _ := filepath.Glob(filepath.Join(x.repository, "backups", "*", "data-*.pack"))
		return len(found)
	}
	done, before := make(chan struct{}), count()
	go func() {
		defer close(done)
		for deadline := time.Now().Add(20 * time.Second); count() < before+packs; time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				return // the machine is busy, and this moment as good as any other
			}
		}
		time.Sleep(after)
	}()
	return done
}

// tell says what has happened, at once: the test may take long.
func (x *interruptions) tell(t *testing.T, text string) {
	t.Log(text)
	x.told = append(x.told, text)
}

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// kept is how many bytes the packs have that the next backup continues on.
func (x *interruptions) kept(t *testing.T) (bytes int64) {
	t.Helper()
	for _, a := range interrupted(t, x.repository) {
		for _, p := range a.Progress {
			bytes += p.Pack.Size
		}
	}
	return bytes
}

// dataStored is how many bytes the packs have that a backup has stored itself, without its
// redo.
func dataStored(t *testing.T, repository, id string) (bytes int64) {
	t.Helper()
	for _, p := range manifestOf(t, repository, id).Packs {
		if strings.HasPrefix(p.Name, "data-") {
			bytes += p.Size
		}
	}
	return bytes
}

// adoptedBytes is how many bytes the packs of a backup have that interrupted attempts have
// stored.
func adoptedBytes(t *testing.T, repository, id string) (bytes int64) {
	t.Helper()
	for _, p := range manifestOf(t, repository, id).Packs {
		if strings.Contains(p.Name, "/") {
			bytes += p.Size
		}
	}
	return bytes
}

// finished lets a backup end, and checks that it has not stored again what was stored.
func (x *interruptions) finished(t *testing.T, args []string) measured {
	t.Helper()
	kept := x.kept(t)
	b := document[measured](t, args...)
	stored, adopted := dataStored(t, x.repository, b.ID), adoptedBytes(t, x.repository, b.ID)
	x.tell(t, fmt.Sprintf("%s: %.1f MiB were kept; it has %.1f MiB of them and has stored %.1f MiB", b.ID, mebibytes(kept),
		mebibytes(adopted), mebibytes(stored)))
	if (kept > 0) != (b.Resumed != nil) {
		t.Errorf("%d bytes are kept, and of these the backup has %+v", kept, b.Resumed)
	}
	if adopted < kept*8/10 {
		t.Errorf("of %d bytes that are kept the backup has %d", kept, adopted)
	}
	for _, f := range manifestOf(t, x.repository, b.ID).Files {
		// Somebody may have changed every page of a piece, as the test itself has for an increment.
		if !strings.Contains(f.Path, "idle") || b.Kind == repo.KindIncremental {
			continue
		}
		for _, own := range f.Extents {
			if zeros := own.Length < own.Size/100; own.Partial || zeros { // they are stored each time
				continue
			}
			for _, pass := range f.Earlier {
				for _, e := range pass.Extents {
					if own.Start < e.Start+e.Size && e.Start < own.Start+own.Size {
						t.Errorf("%s: %d bytes at %d were stored again in %s, %d bytes", f.Path, e.Size, e.Start, own.Pack,
							own.Length)
					}
				}
			}
		}
	}
	if left := interrupted(t, x.repository); len(left) > 0 {
		t.Errorf("after the backup %s is still to be continued on", left[0].ID)
	}
	wantListedWhole(t, x.repository)
	return b
}

// interrupted are the attempts on which the next backup could continue.
func interrupted(t *testing.T, repository string) []repo.Interrupted {
	t.Helper()
	if _, err := os.Stat(filepath.Join(repository, "mbk-repository.json")); err != nil {
		return nil // the first one has not come that far
	}
	all, err := opened(t, repository).Interrupted(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// wantNothingLeft checks that there are so many backups, and no object but theirs.
func wantNothingLeft(t *testing.T, repository string, backups int) {
	t.Helper()
	r := opened(t, repository)
	list, err := r.List(t.Context())
	if err != nil || len(list) != backups {
		t.Errorf("%d backups are listed, %v; want %d", len(list), err, backups)
	}
	named := map[string]bool{}
	for _, s := range list {
		l, err := r.Label(t.Context(), s.ID)
		if err != nil {
			t.Fatal(err)
		}
		names := []string{"label.json"}
		for _, k := range l.Keys {
			names = append(names, k.Name)
		}
		for _, o := range l.Objects {
			names = append(names, o.Name)
		}
		for _, name := range names {
			if !strings.Contains(name, "/") {
				name = s.ID + "/" + name
			}
			named[name] = true
		}
	}
	for _, name := range files(t, filepath.Join(repository, "backups")) {
		if !named[name] {
			t.Errorf("%s belongs to no backup", name)
		}
	}
}

// wantListedWhole checks that all objects of all listed backups are there.
func wantListedWhole(t *testing.T, repository string) {
	t.Helper()
	labels, err := filepath.Glob(filepath.Join(repository, "backups", "*", "label.json"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(labels)
	for _, name := range labels {
		must(t, "verify", filepath.Base(filepath.Dir(name)), "--repo", repository, "--depth", "stored", "--quiet")
	}
}
