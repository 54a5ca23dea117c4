package folder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/pieces"
	"mbk/internal/sys/disk"
)

// Every step of a Put fails in turn. The object must be whole or as before, no
// temporary file may stay, and the next Put must work.
func TestPutFailsAtEveryStep(t *testing.T) {
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT} {
		for _, before := range []string{"", "before"} {
			t.Run(fmt.Sprintf("%v, object from before %q", cause, before), func(t *testing.T) {
				var steps []string
				for n := 0; ; n++ {
					step, done := failPutAt(t, n, cause, before)
					if done {
						break
					}
					steps = append(steps, step)
				}
				want := "mkdir,sync parent,mkdir,sync parent,create,write,write,sync,close,rename,sync folder"
				if before != "" {
					want = "create,write,write,sync,close,rename,sync folder"
				}
				if got := strings.Join(steps, ","); got != want {
					t.Errorf("steps of a Put: %s, want %s", got, want)
				}
			})
		}
	}
}

// failPutAt lets step n of a Put fail and returns its name, or done if the Put
// has no such step.
func failPutAt(t *testing.T, n int, cause error, before string) (failed string, done bool) {
	t.Helper()
	f, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const name = "backups/b1/x.pack"
	if before != "" {
		if err := store.PutBytes(t.Context(), f, name, []byte(before)); err != nil {
			t.Fatal(err)
		}
	}
	left := n
	f.fault = func(step string) error {
		left--
		if left == -1 {
			failed = step
			return cause
		}
		return nil
	}
	after := strings.Repeat("after", pieces.Size/5+1) // a piece, which is written beside us, and a rest
	err = f.Put(t.Context(), name, func(w io.Writer) error {
		_, err := w.Write([]byte(after[:2]))
		_, err2 := w.Write([]byte(after[2:]))
		return errors.Join(err, err2)
	})
	f.fault = nil
	if failed == "" {
		if err != nil {
			t.Fatalf("Put without a fault: %v", err)
		}
		return "", true
	}
	if !errors.Is(err, cause) {
		t.Errorf("%s failed: Put = %v, want %v", failed, err, cause)
	}
	var full *store.NoSpaceError
	if errors.As(err, &full) != (cause != syscall.EIO) {
		t.Errorf("%s failed with %v: Put = %T %v", failed, cause, err, err)
	}
	var written *store.WriteError // tells it from a source that cannot be read
	if errors.As(err, &written) != (cause == syscall.EIO) {
		t.Errorf("%s failed with %v: Put = %T %v", failed, cause, err, err)
	}
	want := before
	if failed == "sync folder" {
		want = after // in place, but not known to survive a crash
	}
	b, err := store.ReadAll(t.Context(), f, name, 2*pieces.Size)
	if string(b) != want || (err == nil) != (want != "") {
		t.Errorf("%s failed: object reads %.9q, %v; want %.9q", failed, b, err, want)
	}
	if temps, _ := filepath.Glob(filepath.Join(f.root, "*/*/.put-*")); len(temps) > 0 {
		t.Errorf("%s failed: left %q", failed, temps)
	}
	if err := store.PutBytes(t.Context(), f, name, []byte("again")); err != nil {
		t.Errorf("%s failed: next Put: %v", failed, err)
	}
	return failed, false
}

// A callback that overlooks a failed write must not get its half object.
func TestPutWriteErrorOverlooked(t *testing.T) {
	f, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f.fault = func(step string) error {
		if step == "write" {
			return syscall.EIO
		}
		return nil
	}
	err = f.Put(t.Context(), "x", func(w io.Writer) error {
		_, _ = w.Write([]byte("x")) // this is the mistake
		return nil
	})
	if !errors.Is(err, syscall.EIO) {
		t.Errorf("Put = %v, want EIO", err)
	}
}

// The file behind a Put is not what was written: somebody else wrote to it.
func TestPutLengthCheck(t *testing.T) {
	f, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var file *os.File
	f.fault = func(step string) error {
		if step == "sync" {
			return file.Truncate(3)
		}
		return nil
	}
	err = f.Put(t.Context(), "x", func(w io.Writer) error {
		file = w.(*objectWriter).file
		_, err := w.Write([]byte("12345"))
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "file has 3 bytes after writing 5") {
		t.Errorf("Put = %v, want a complaint about the length", err)
	}
}

// A sweeper that meets a temporary file between its creation and its lock takes
// it away; the Put must notice and begin again.
func TestClaimSweptFile(t *testing.T) {
	dir := t.TempDir()
	create := func() *os.File {
		file, err := os.Create(filepath.Join(dir, tempPrefix+"0.x"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		return file
	}
	folder, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	t.Run("already removed", func(t *testing.T) {
		file := create()
		if dead, err := abandoned(folder, filepath.Base(file.Name()), time.Now()); !dead || err != nil {
			t.Fatalf("abandoned = %v, %v, want true", dead, err)
		}
		if ours, err := claim(file); ours || err != nil {
			t.Errorf("claim = %v, %v, want false", ours, err)
		}
	})
	t.Run("about to be removed", func(t *testing.T) {
		file := create()
		sweeper, err := os.Open(file.Name())
		if err != nil {
			t.Fatal(err)
		}
		defer sweeper.Close()
		if err := flock(sweeper); err != nil {
			t.Fatal(err)
		}
		if ours, err := claim(file); ours || err != nil {
			t.Errorf("claim = %v, %v, want false", ours, err)
		}
	})
	t.Run("claimed first", func(t *testing.T) {
		file := create()
		if ours, err := claim(file); !ours || err != nil {
			t.Fatalf("claim = %v, %v, want true", ours, err)
		}
		if dead, err := abandoned(folder, filepath.Base(file.Name()), time.Time{}); dead || err != nil {
			t.Errorf("abandoned = %v, %v, want false", dead, err)
		}
	})
}

// Another process expires the last other object of the folder while we write.
func TestPutFolderRemovedByAnotherProcess(t *testing.T) {
	f, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := store.PutBytes(t.Context(), f, "a/b/c", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(f.root, "a")); err != nil {
		t.Fatal(err)
	}
	if err := store.PutBytes(t.Context(), f, "a/b/c", nil); err != nil {
		t.Errorf("Put: %v", err)
	}
}

// pastCache reports whether the last write to a file went past the page cache.
func pastCache(file *os.File) bool {
	flags, err := unix.FcntlInt(file.Fd(), unix.F_GETFL, 0)
	return err == nil && flags&unix.O_DIRECT != 0
}

// Objects of all lengths around the pieces, past the page cache or through it.
func TestPutPieces(t *testing.T) {
	ways := map[string]func(w *objectWriter){
		"direct": func(w *objectWriter) {},
		"cached": func(w *objectWriter) { w.out.Cached = true },
		// The kernel refuses such a write where it cares.
		"direct, not at a block": func(w *objectWriter) {
			at := make([]byte, pieces.Size+1)[1:]
			w.Writer = pieces.NewWriter(t.Context(), func(p []byte) error { return w.store(at[:copy(at, p)]) })
		},
	}
	for way, prepare := range ways {
		for _, size := range []int{0, 1, pieces.Size - 1, pieces.Size, pieces.Size + 1, 3*pieces.Size + 4096} {
			t.Run(fmt.Sprintf("%s, %d bytes", way, size), func(t *testing.T) {
				f, err := Open(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				want := make([]byte, size)
				for i := range want {
					want[i] = byte(i >> 9 * 7)
				}
				var direct, local bool
				err = f.Put(t.Context(), "x", func(w io.Writer) error {
					prepare(w.(*objectWriter))
					for rest := want; len(rest) > 0; {
						n, err := w.Write(rest[:min(len(rest), 1<<20-3)])
						if err != nil {
							return err
						}
						rest = rest[n:]
					}
					direct = w.(*objectWriter).Wait() == nil && pastCache(w.(*objectWriter).file)
					local = disk.IsLocal(w.(*objectWriter).file)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if got, err := store.ReadAll(t.Context(), f, "x", int64(size)); err != nil || !bytes.Equal(got, want) {
					t.Errorf("ReadAll = %d bytes, %v, and not what was written", len(got), err)
				}
				if direct != (local && way == "direct" && size >= pieces.Size) {
					t.Errorf("written past the page cache: %v", direct)
				}
			})
		}
	}
}

// BenchmarkPut writes packs of 256 MiB as the copier does, past the page cache or
// through it. ms-cpu is what it costs the processors.
func BenchmarkPut(b *testing.B) {
	part := bytes.Repeat([]byte("incompressible? "), 512<<10/16)
	const parts = 512
	for _, cached := range []bool{false, true} {
		b.Run(fmt.Sprintf("cached=%v", cached), func(b *testing.B) {
			f, err := Open(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(parts * int64(len(part)))
			before := cpuTime(b)
			for b.Loop() {
				err := f.Put(b.Context(), "x", func(w io.Writer) error {
					w.(*objectWriter).out.Cached = cached
					for range parts {
						if _, err := w.Write(part); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(b.N), "ms-cpu/op")
		})
	}
}

// cpuTime is what this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
