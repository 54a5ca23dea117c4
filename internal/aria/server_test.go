package aria_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/aria"
	"mbk/internal/test/mariadbtest"
)

// schema makes tables of every kind that Aria has, with enough rows for
// several blocks of rows and keys, blobs that fill blocks of their own, and
// rows that were changed and deleted.
var schema = []string{
	"CREATE DATABASE t",
	"USE t",
	"CREATE TABLE seed ENGINE=Aria SELECT seq AS n, MD5(seq) AS a, REPEAT(MD5(seq), seq % 40) AS b FROM seq_1_to_800",
	"CREATE TABLE safe (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(64), b MEDIUMTEXT, p POINT NOT NULL, KEY (a), KEY " +
		"(b(100)), KEY (a, b(20)), FULLTEXT (b), SPATIAL KEY (p)) ENGINE=Aria TRANSACTIONAL=1 ROW_FORMAT=PAGE " +
		"PAGE_CHECKSUM=1",
	"CREATE TABLE plain LIKE safe",
	"ALTER TABLE plain TRANSACTIONAL=0",
	"CREATE TABLE nosum LIKE safe",
	"ALTER TABLE nosum PAGE_CHECKSUM=0, TRANSACTIONAL=1",
	"CREATE TABLE plain_nosum LIKE safe",
	"ALTER TABLE plain_nosum PAGE_CHECKSUM=0, TRANSACTIONAL=0",
	"CREATE TABLE dynamic (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(64), b MEDIUMTEXT, p POINT NOT NULL, KEY (a), " +
		"FULLTEXT (b)) ENGINE=Aria TRANSACTIONAL=0 ROW_FORMAT=DYNAMIC PAGE_CHECKSUM=1",
	"CREATE TABLE dynamic_nosum LIKE dynamic",
	"ALTER TABLE dynamic_nosum PAGE_CHECKSUM=0",
	"CREATE TABLE fixed (id INT AUTO_INCREMENT PRIMARY KEY, a CHAR(64), b CHAR(100), p INT, KEY (a), KEY (b)) " +
		"ENGINE=Aria TRANSACTIONAL=0 ROW_FORMAT=FIXED",
	"CREATE TABLE parted (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(64), b MEDIUMTEXT, p INT) ENGINE=Aria PARTITION " +
		"BY HASH (id) PARTITIONS 2",
	"CREATE TABLE blobs (id INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB) ENGINE=Aria",
	"CREATE TABLE manykeys (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(64)" + manyKeys() + ") ENGINE=Aria",
	"CREATE TABLE empty (id INT PRIMARY KEY) ENGINE=Aria",
	"CREATE SEQUENCE numbers ENGINE=Aria",
	"INSERT INTO blobs (b) SELECT REPEAT(a, 2000 + n * 100) FROM seed LIMIT 60",
	"INSERT INTO manykeys (a) SELECT a FROM seed",
	"INSERT INTO fixed (a, b, p) SELECT a, LEFT(b, 100), n FROM seed",
	"INSERT INTO parted (a, b, p) SELECT a, b, n FROM seed",
	"UPDATE blobs SET b = CONCAT(b, b) WHERE id % 7 = 0",
	"DELETE FROM blobs WHERE id % 3 = 0",
}

// filled are the tables of schema with the columns a, b and p.
var filled = []string{"safe", "plain", "nosum", "plain_nosum", "dynamic", "dynamic_nosum"}

func manyKeys() string {
	var b strings.Builder
	for i := range 60 {
		fmt.Fprintf(&b, ", KEY (a(%d))", i+1)
	}
	return b.String()
}

// Every block of every table of a live and of a stopped server must check as
// whole, and a changed byte anywhere in what is covered must not.
func TestBlocksOfRealServers(t *testing.T) {
	for _, series := range append([]string{"10.5"}, mariadbtest.Versions()...) {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			srv := mariadbtest.New(t, series, "--aria-pagecache-buffer-size=1M", "--aria-checkpoint-interval=1")
			srv.MustExec(t, schema...)
			for _, name := range filled {
				srv.MustExec(t,
					fmt.Sprintf("INSERT INTO t.%s (a, b, p) SELECT a, b, POINT(n, n * 7 %% 100) FROM t.seed", name),
					fmt.Sprintf("UPDATE t.%s SET b = CONCAT(b, b) WHERE id %% 7 = 0", name),
					fmt.Sprintf("DELETE FROM t.%s WHERE id %% 3 = 0", name))
			}
			srv.MustExec(t, "FLUSH TABLES")
			wantChangesMarked(t, srv)
			wantDamageMarked(t, srv)

			stop, ended := make(chan struct{}), make(chan error, 1)
			go func() { ended <- write(srv, stop) }()
			for range 3 {
				checkAll(t, srv.Datadir, true)
			}
			close(stop)
			if err := <-ended; err != nil {
				t.Errorf("writer: %v", err)
			}
			if err := srv.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			seen := checkAll(t, srv.Datadir, false)
			for _, kind := range []string{"safe", "plain", "no checksum", "dynamic", "fixed"} {
				if seen[kind] == 0 {
					t.Errorf("no block of a table of kind %q was checked", kind)
				}
			}
			checkLogs(t, srv.Datadir)
		})
	}
}

// write changes the filled tables until stop is closed.
func write(srv *mariadbtest.Server, stop <-chan struct{}) error {
	for i := 0; ; i++ {
		select {
		case <-stop:
			return nil
		default:
		}
		name := "t." + filled[i%len(filled)]
		for _, q := range []string{
			fmt.Sprintf("INSERT INTO %s (a, b, p) SELECT a, REPEAT(b, 3), POINT(n, n) FROM t.seed WHERE n %% 23 = %d",
				name, i%23),
			fmt.Sprintf("UPDATE %s SET a = MD5(id + %d) WHERE id %% 11 = %d", name, i, i%11),
			fmt.Sprintf("DELETE FROM %s WHERE id %% 37 = %d", name, i%37),
		} {
			if _, err := srv.DB().Exec(q); err != nil {
				return fmt.Errorf("%s: %w", q, err)
			}
		}
	}
}

// checkAll checks every block of every Aria table below dir. While the server
// lives, a block that is not whole is read again. It returns how many blocks
// it saw whole by the kind of table.
func checkAll(t *testing.T, dir string, live bool) map[string]int {
	t.Helper()
	seen := map[string]int{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if live && errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			return err
		}
		if filepath.Ext(path) != aria.IndexExt || strings.HasPrefix(d.Name(), "#sql") {
			return nil
		}
		head := make([]byte, aria.MaxIndexHeader)
		keys, rows := open(t, path), open(t, strings.TrimSuffix(path, aria.IndexExt)+aria.DataExt)
		n, err := keys.ReadAt(head, 0)
		if err != nil && err != io.EOF {
			return err
		}
		ix, err := aria.ParseIndex(head[:n])
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		kind := kindOf(ix)
		seen[kind] += checkFile(t, ix, keys, false, live) + checkFile(t, ix, rows, true, live)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func kindOf(ix aria.Index) string {
	switch {
	case ix.OnlineSafe():
		return "safe"
	case ix.Data == aria.DataDynamic:
		return "dynamic"
	case ix.Data == aria.DataFixed:
		return "fixed"
	case !ix.Checksums:
		return "no checksum"
	}
	return "plain"
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func checkFile(t *testing.T, ix aria.Index, f *os.File, data, live bool) (whole int) {
	t.Helper()
	check := ix.CheckIndex
	if data {
		if check = ix.CheckData; ix.Data != aria.DataBlocks {
			return 0
		}
	}
	block := make([]byte, ix.BlockSize)
	for no := uint32(0); ; no++ {
		var err error
		for try := 0; ; try++ {
			var n int
			n, err = f.ReadAt(block, int64(no)*int64(ix.BlockSize))
			if n == 0 && err == io.EOF {
				return whole
			}
			if err = check(block[:n], no); err == nil || !live || try == 50 {
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		if err != nil {
			t.Errorf("%s (%s): %v", f.Name(), kindOf(ix), err)
			return whole
		}
		whole++
		verifiable := ix.Verifiable(block, no, data)
		header := !data && int64(no)*int64(ix.BlockSize) < ix.HeaderLen
		empty := data && no == 0 // the first bitmap gets a checksum with the first row
		if bytes.Count(block, []byte{0}) == len(block) {
			empty = true // grown over, and not written yet
		}
		if !empty && verifiable != (ix.Checksums && !header) {
			t.Errorf("%s block %d: Verifiable = %t", f.Name(), no, verifiable)
		}
		if verifiable && !live {
			covered := ix.BlockSize - 4
			if !data {
				covered = 4 // the shortest header of a block of keys
			}
			wantDamageFound(t, f.Name(), check, block, no, covered)
		}
	}
}

// wantDamageFound changes one of the first covered bytes of a whole block, and
// the place of the block, each of which must be found.
func wantDamageFound(t *testing.T, name string, check func([]byte, uint32) error, block []byte, no uint32,
	covered int) {
	t.Helper()
	at, bit := rand.IntN(covered), rand.IntN(8)
	block[at] ^= 1 << bit
	if check(block, no) == nil {
		t.Errorf("%s block %d: bit %d of byte %d flipped and not found", name, no, bit, at)
	}
	block[at] ^= 1 << bit
	if zeros := strings.Trim(string(block), "\x00") == ""; !zeros && check(block, no+1) == nil {
		t.Errorf("%s block %d: passes as block %d", name, no, no+1)
	}
}

// checkLogs checks the control file and the logs of a stopped server.
func checkLogs(t *testing.T, dir string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, aria.ControlFile))
	if err != nil {
		t.Fatal(err)
	}
	control, err := aria.ParseControl(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := control.Append(nil); string(got) != string(b) {
		t.Errorf("control file made again: %x, want %x", got, b)
	}
	if err := control.Validate(); err != nil {
		t.Error(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, aria.LogName(control.LastLog)))
	if err != nil {
		t.Fatal(err)
	}
	header, err := aria.ParseLogHeader(log)
	if err != nil {
		t.Fatal(err)
	}
	if header.File != control.LastLog {
		t.Errorf("log file %d says it is %d", control.LastLog, header.File)
	}
	for no := 1; no < len(log)/aria.LogPageSize; no++ {
		if err := aria.CheckLogPage(log[no*aria.LogPageSize:(no+1)*aria.LogPageSize], header.File,
			uint32(no)); err != nil {
			t.Error(err)
		}
	}
}
