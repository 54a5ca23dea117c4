package logfiles_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/binlog"
	"mbk/internal/binlog/logfiles"
	"mbk/internal/test/mariadbtest"
)

// The files of a server's log are found by their index or without it, beside a relay log, and
// read to their end, whatever is cut off.
func TestFiles(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, "10.5", "10.11", "11.8") {
		s := mariadbtest.New(t, version)
		s.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT)", "FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (1)",
			"CHANGE MASTER TO master_host='127.0.0.1', master_port=1", "FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (2)")
		if err := s.Kill(); err != nil {
			t.Fatal(err)
		}
		index := filepath.Join(s.Datadir, "binlog.index")
		for _, path := range []string{s.Datadir, index, "no index"} {
			if path == "no index" {
				if err := os.Remove(index); err != nil {
					t.Fatal(err)
				}
				path = s.Datadir
			}
			f, err := logfiles.Open(path)
			if err != nil || len(f.Names) != 3 {
				t.Fatalf("%s: %+v, %v", path, f, err)
			}
			if got := readFiles(t, f); got != 4 {
				t.Errorf("%s: %d transactions, want 4", path, got)
			}
			at, err := f.Start(f.Names[2])
			if err != nil || at.String() != "0-1-3" {
				t.Errorf("%s starts at %s, %v", f.Names[2], at, err)
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
		if _, err := logfiles.Open(t.TempDir()); !errors.Is(err, logfiles.ErrNone) {
			t.Errorf("an empty folder: %v", err)
		}
	}
}

// readFiles counts the transactions in all files. Every cut of the last file is noticed, unless
// it is between two events.
func readFiles(t *testing.T, f *logfiles.Log) (transactions int) {
	t.Helper()
	for i, name := range f.Names {
		file, err := f.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(file)
		if err := errors.Join(err, file.Close()); err != nil {
			t.Fatal(err)
		}
		r := binlog.NewReader(bytes.NewReader(b), int64(len(b)))
		ends, n := readEvents(t, r)
		transactions += n
		if last := i == len(f.Names)-1; r.InUse() != last {
			t.Errorf("%s in use: %v", name, r.InUse())
		}
		for cut := range b {
			r := binlog.NewReader(bytes.NewReader(b[:cut]), int64(len(b)))
			var err error
			for err == nil {
				_, err = r.Next()
			}
			torn, ok := errors.AsType[*binlog.TornError](err)
			if whole := ends[int64(cut)]; whole != (err == io.EOF) || ok == whole || ok && torn.Offset != r.End() {
				t.Fatalf("%s cut at byte %d: %v, a whole event: %v", name, cut, err, whole)
			}
		}
	}
	return transactions
}

// readEvents returns at which bytes events end, and how many transactions there are.
func readEvents(t *testing.T, r *binlog.Reader) (ends map[int64]bool, transactions int) {
	t.Helper()
	ends = map[int64]bool{}
	var c binlog.Cutter
	for {
		e, err := r.Next()
		if err == io.EOF {
			return ends, transactions
		}
		if err != nil {
			t.Fatal(err)
		}
		part, _, err := c.Next(e)
		if err != nil {
			t.Fatal(err)
		}
		if part == binlog.Closing {
			transactions++
		}
		ends[r.End()] = true
	}
}

// Of an encrypted file it is said what to do.
func TestEncryptedFile(t *testing.T) {
	t.Parallel()
	keys, err := mariadbtest.EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	s := mariadbtest.New(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0], append(keys, "--encrypt-binlog=ON")...)
	f, err := logfiles.Open(s.Datadir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // of a test
	if _, err := f.Start(f.Names[0]); !errors.Is(err, binlog.ErrEncrypted) || !strings.Contains(err.Error(), f.Names[0]) {
		t.Errorf("Start = %v", err)
	}
}

// Two logs in one folder, and an index that is none.
func TestFilesOfSeveralLogs(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("a.index", "./a.000001\n/var/log/a.000002\n")
	put("a.000001", "")
	put("other.index", "not names of files\n")
	f, err := logfiles.Open(dir)
	if err != nil || strings.Join(f.Names, " ") != "a.000001 a.000002" {
		t.Fatalf("%+v, %v", f, err)
	}
	put("b.index", "b.000001\n")
	if _, err := logfiles.Open(dir); !errors.Is(err, logfiles.ErrNone) || !strings.Contains(err.Error(), "b.index") {
		t.Errorf("two logs: %v", err)
	}
	if f, err := logfiles.Open(filepath.Join(dir, "b.index")); err != nil || f.Names[0] != "b.000001" {
		t.Errorf("one by its index: %+v, %v", f, err)
	}
	if _, err := logfiles.Open(filepath.Join(dir, "other.index")); !errors.Is(err, logfiles.ErrNone) {
		t.Errorf("no index: %v", err)
	}
}
