package mariadbtest

import (
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// New starts a server of a series ("10.11") on a new data directory and kills it
// when the test ends. The files go with the test's temporary folder. A test
// that has failed logs the end of the server's error log. The server calls no
// fsync, which for small tests is most of the time; only a crash of the machine would
// show the difference. The argument --debug-no-sync=0 turns that off. Nor does it speak TLS:
// from 11.4 on it makes itself a key for that, which takes longer than all else; --ssl turns
// it on.
func New(t testing.TB, series string, args ...string) *Server {
	t.Helper()
	return Open(t, series, "", args...)
}

// Open is like New on files that are there already, such as a restored backup.
// They stay when the test ends.
func Open(t testing.TB, series, datadir string, args ...string) *Server {
	t.Helper()
	args = append([]string{"--debug-no-sync", "--skip-ssl"}, args...)
	return start(t, Options{Dist: get(t, series), Dir: t.TempDir(), Datadir: datadir, Args: args})
}

// Listen is like Open, or New with an empty datadir, and the server also listens
// on a port of 127.0.0.1, as one that is replicated must.
func Listen(t testing.TB, series, datadir string, args ...string) *Server {
	t.Helper()
	args = append([]string{"--debug-no-sync"}, args...)
	return start(t, Options{Dist: get(t, series), Dir: t.TempDir(), Datadir: datadir, Args: args, Network: true})
}

// Rare skips a test of a rare case unless MBK_TEST_VERSIONS is set, as "make rare" does. Most of them
// are profiles of the soak, too.
func Rare(t testing.TB) {
	t.Helper()
	if os.Getenv(versionsVariable) == "" {
		t.Skip("a rare case: make rare runs it, which sets " + versionsVariable)
	}
}

// Some returns the versions, out of several, that a test is to run on, or other ways to run
// it: all if MBK_TEST_VERSIONS is set, else one. Which one depends on the test's name, so that
// among many tests each version has its turn.
func Some[T any](t testing.TB, all ...T) []T {
	if os.Getenv(versionsVariable) != "" || len(all) == 0 {
		return all
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(t.Name())) // never fails
	n := int(h.Sum32() % uint32(len(all)))
	return all[n : n+1]
}

// MustExec runs statements as root and fails the test at the first error.
func (s *Server) MustExec(t testing.TB, statements ...string) {
	t.Helper()
	if err := s.Exec(t.Context(), statements...); err != nil {
		t.Fatal(err)
	}
}

// MustValue returns the first column of the first row of a query and fails the
// test if there is none.
func (s *Server) MustValue(t testing.TB, query string, args ...any) string {
	t.Helper()
	v, err := s.Value(t.Context(), query, args...)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// MustEqual fails the test if two servers at rest do not hold the same, and
// shows some of the rows that make the difference.
func MustEqual(t testing.TB, got, want *Server) {
	t.Helper()
	w, err := TakeSnapshot(t.Context(), want)
	if err != nil {
		t.Fatal(err)
	}
	g, err := TakeSnapshot(t.Context(), got)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range Diff(g, w) {
		t.Error(line)
		table, found := strings.CutPrefix(line, "rows ")
		if !found {
			continue
		}
		table, _, _ = strings.Cut(table, ": ")
		rows, err := DiffRows(t.Context(), got, want, table, 5)
		if err != nil {
			t.Error(err)
		}
		for _, row := range rows {
			t.Logf("%s: %q", table, row)
		}
	}
}

func get(t testing.TB, series string) Dist {
	t.Helper()
	d, err := Get(t.Context(), series)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the error log of %s:\n%s", s.Dist.Version, s.logTail(40))
		}
		if err := s.Close(); err != nil {
			t.Errorf("end test server: %v", err)
		}
	})
	return s
}

// NewIn is like New in a folder of the caller's, such as one on another file system,
// and with a server that does call fsync.
func NewIn(t testing.TB, dir, series string, args ...string) *Server {
	t.Helper()
	return start(t, Options{Dist: get(t, series), Dir: dir, Args: args})
}

// CopyLog copies the files of the server's binary log, which has the name binlog, and its index
// to a folder, but for those without.
func (s *Server) CopyLog(t testing.TB, without ...string) string {
	t.Helper()
	dir := t.TempDir()
	paths, err := filepath.Glob(filepath.Join(s.Datadir, "binlog.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err == nil && !slices.Contains(without, filepath.Base(path)) {
			err = os.WriteFile(filepath.Join(dir, filepath.Base(path)), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
