package innodb_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"mbk/internal/innodb"
	"mbk/internal/test/mariadbtest"
)

// TestForgetDataDirs brings tables with DATA DIRECTORY into the data directory of
// real servers, whose dictionary has several levels, and has them rebuilt: a server
// that still believes that they lie elsewhere crashes.
func TestForgetDataDirs(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	for i, version := range mariadbtest.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			external := t.TempDir()
			algorithm := []string{"full_crc32", "crc32"}[i%2]
			srv := mariadbtest.New(t, version, "--innodb-page-size=4k", "--innodb-checksum-algorithm="+algorithm,
				"--skip-log-bin")
			srv.MustExec(t, "CREATE DATABASE d")
			var make []string
			const tables = 60
			for i := range tables {
				make = append(make, fmt.Sprintf("CREATE TABLE d.t%d (a INT) DATA DIRECTORY='%s'", i, external),
					fmt.Sprintf("CREATE TABLE d.near%d (a INT)", i))
			}
			srv.MustExec(t, append(make, "INSERT INTO d.t7 VALUES (7)")...)
			if err := srv.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i := range tables {
				name := fmt.Sprintf("t%d", i)
				if i < tables-1 { // the last stays where it is
					err := os.Rename(filepath.Join(external, "d", name+".ibd"), filepath.Join(srv.Datadir, "d", name+".ibd"))
					if err = errors.Join(err, os.Remove(filepath.Join(srv.Datadir, "d", name+".isl"))); err != nil {
						t.Fatal(err)
					}
				}
			}
			last := fmt.Sprintf("d/t%d", tables-1)
			for _, want := range []int{tables - 1, 0} {
				if got := forget(t, srv.Datadir, 4096, last); got != want {
					t.Errorf("%d tables were changed, want %d", got, want)
				}
			}
			if err := srv.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			for i := range tables {
				srv.MustExec(t, fmt.Sprintf("ALTER TABLE d.t%d FORCE", i))
			}
			if got := srv.MustValue(t, "SELECT SUM(a) FROM d.t7"); got != "7" {
				t.Errorf("the sum is %s, want 7", got)
			}
			if _, err := os.Stat(filepath.Join(external, last+".ibd")); err != nil {
				t.Error(err)
			}
		})
	}
}

// forget takes the mark of DATA DIRECTORY away from all tables but one.
func forget(t *testing.T, datadir string, pageSize int, keep string) int {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(datadir, "ibdata1"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // of a test
	d, err := innodb.OpenDictionary(f, pageSize)
	if err != nil {
		t.Fatal(err)
	}
	n, err := d.ForgetDataDirs(func(table string) bool { return table == keep })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// memory is a file in memory that does not grow.
type memory []byte

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, errors.New("read outside")
	}
	return copy(p, m[off:]), nil
}

func (m memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 || off+int64(len(p)) > int64(len(m)) {
		return 0, errors.New("write outside")
	}
	return copy(m[off:], p), nil
}

// FuzzDictionary makes pages of SYS_TABLES out of anything. Nothing may panic, and
// nothing outside the page be written.
func FuzzDictionary(f *testing.F) {
	const size = 4096
	f.Add([]byte{}, uint16(120), byte(0))
	f.Add(make([]byte, 300), uint16(130), byte(1))
	f.Fuzz(func(t *testing.T, body []byte, first uint16, level byte) {
		file := make(memory, 9*size)
		page := func(no int) []byte {
			p := file[no*size : (no+1)*size]
			binary.BigEndian.PutUint32(p[4:], uint32(no))
			return p
		}
		seal := func(p []byte) {
			binary.BigEndian.PutUint32(p[size-4:], crc32.Checksum(p[:size-4], crc32.MakeTable(crc32.Castagnoli)))
		}
		zero, seven, root := page(0), page(7), page(8)
		binary.BigEndian.PutUint32(zero[54:], 0x13) // full_crc32, pages of 4 KiB
		zero[25] = 8
		binary.BigEndian.PutUint32(seven[70:], 8)
		copy(root[120:size-8], body)
		binary.BigEndian.PutUint16(root[24:], 17855)
		root[65], root[73] = level, 1
		binary.BigEndian.PutUint32(root[12:], 1<<32-1)
		binary.BigEndian.PutUint16(root[99:], first)
		for _, p := range [][]byte{zero, seven, root} {
			seal(p)
		}
		d, err := innodb.OpenDictionary(file, size)
		if err != nil {
			t.Fatal(err)
		}
		before := append(memory{}, file...)
		n, err := d.ForgetDataDirs(func(string) bool { return false })
		if err == nil && n > 0 && string(before[:8*size]) != string(file[:8*size]) {
			t.Error("another page was changed")
		}
	})
}
