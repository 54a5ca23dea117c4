package innodb_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbk/internal/innodb"
	"mbk/internal/test/mariadbtest"
)

// TestSpaceOfServers checks every page of every file that real servers wrote, and
// that a changed byte in them is found: in both formats, with all page sizes, row
// formats, page compression and encryption. With MBK_TEST_ALL set it leaves no
// combination out.
func TestSpaceOfServers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	for i, series := range mariadbtest.Versions() {
		for j, algorithm := range []string{"full_crc32", "crc32"} {
			for k, sizeKiB := range []int{4, 8, 16, 32, 64} {
				// Each page size with each format, but with every version only if asked.
				if os.Getenv("MBK_TEST_ALL") == "" && (i+j+k)%2 != 0 {
					continue
				}
				t.Run(fmt.Sprintf("%s %s %dk", series, algorithm, sizeKiB), func(t *testing.T) {
					t.Parallel()
					testServerFiles(t, series, algorithm, sizeKiB)
				})
			}
		}
	}
}

// startEncrypting starts a server that can encrypt.
func startEncrypting(t *testing.T, series, algorithm string, sizeKiB int, args ...string) *mariadbtest.Server {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("1;770A8A65DA156D24EE2A093277530142\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return mariadbtest.New(t, series, append([]string{
		"--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync",
		"--innodb-checksum-algorithm=" + algorithm, fmt.Sprintf("--innodb-page-size=%dk", sizeKiB),
		"--plugin-load-add=file_key_management", "--file-key-management-filename=" + keys,
	}, args...)...)
}

func testServerFiles(t *testing.T, series, algorithm string, sizeKiB int) {
	srv := startEncrypting(t, series, algorithm, sizeKiB)
	tables := map[string]string{
		"dynamic":        "",
		"compact":        "ROW_FORMAT=COMPACT",
		"compressed":     "PAGE_COMPRESSED=1",
		"enc_dynamic":    "ENCRYPTED=YES",
		"enc_compressed": "ENCRYPTED=YES PAGE_COMPRESSED=1",
	}
	for kib := 1; kib <= sizeKiB && sizeKiB <= 16; kib *= 2 {
		half := kib == sizeKiB/2
		if algorithm == "full_crc32" && !half {
			continue // they have one format under both
		}
		options := fmt.Sprintf("ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=%d", kib)
		tables[fmt.Sprintf("zip_%d", kib)] = options
		if half || os.Getenv("MBK_TEST_ALL") != "" {
			tables[fmt.Sprintf("enc_zip_%d", kib)] = options + " ENCRYPTED=YES"
		}
	}
	load(t, srv, tables)
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := checkDatadir(t, srv.Datadir, sizeKiB<<10, func(name string) bool { return strings.HasPrefix(name, "enc_") })
	for name := range tables {
		kind, _, _ := strings.Cut(strings.TrimPrefix(name, "enc_"), "_")
		if kind == "compact" {
			kind = "dynamic"
		}
		if strings.HasPrefix(name, "enc_") {
			kind += " encrypted"
		}
		if seen[kind] == 0 {
			t.Errorf("no page of kind %q", kind)
		}
	}
}

// load makes tables with the given options and puts rows, long values and freed
// pages into them.
func load(t *testing.T, srv *mariadbtest.Server, tables map[string]string) {
	t.Helper()
	srv.MustExec(t, "CREATE DATABASE d")
	for name, options := range tables {
		srv.MustExec(t,
			"USE d",
			"CREATE TABLE d."+name+" (id INT PRIMARY KEY, a CHAR(32), b LONGTEXT, KEY (a)) ENGINE=InnoDB "+options,
			"INSERT INTO d."+name+" SELECT seq, MD5(seq), NULL FROM seq_1_to_1500",
			"UPDATE d."+name+" SET b = REPEAT(SHA2(id, 512), 20 * SQRT(id)) WHERE id % 25 = 0",
			"DELETE FROM d."+name+" WHERE id BETWEEN 700 AND 1000")
	}
}

// TestSpaceOfEncryptedServer lets the server's own threads encrypt everything, the
// system tablespace and the undo tablespaces too.
func TestSpaceOfEncryptedServer(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	for i, series := range mariadbtest.Versions() {
		algorithm := []string{"full_crc32", "crc32"}[i%2]
		t.Run(series+" "+algorithm, func(t *testing.T) {
			srv := startEncrypting(t, series, algorithm, 16,
				"--innodb-encrypt-tables=ON", "--innodb-encryption-threads=2",
				"--innodb-encryption-rotation-iops=10000")
			load(t, srv, map[string]string{"dynamic": "", "zip": "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4"})
			files := strconv.Itoa(len(spaceFiles(t, srv.Datadir)))
			for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
				done := srv.MustValue(t, "SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION"+
					" WHERE MIN_KEY_VERSION > 0 AND ROTATING_OR_FLUSHING = 0")
				if done == files {
					break
				}
				if time.Now().After(deadline) {
					t.Fatalf("%s of %s tablespaces are encrypted", done, files)
				}
			}
			if err := srv.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			seen := checkDatadir(t, srv.Datadir, 16<<10, func(string) bool { return true })
			if seen["dynamic encrypted"] < 200 || seen["zip encrypted"] == 0 {
				t.Errorf("too few pages are encrypted: %v", seen)
			}
		})
	}
}

// checkDatadir checks all files of InnoDB in a data directory, of which those must
// be encrypted that encrypted names, and counts pages by kind.
func checkDatadir(t *testing.T, datadir string, logical int, encrypted func(name string) bool) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for _, path := range spaceFiles(t, datadir) {
		checkFile(t, path, logical, encrypted(filepath.Base(path)), seen)
	}
	t.Logf("pages: %v", seen)
	return seen
}

// spaceFiles lists the files of all tablespaces but the temporary one.
func spaceFiles(t *testing.T, datadir string) []string {
	t.Helper()
	var files []string
	for _, pattern := range []string{"*/*.ibd", "ibdata*", "undo*"} {
		found, err := filepath.Glob(filepath.Join(datadir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	return files
}

// checkFile checks all pages of a file and counts them by kind.
func checkFile(t *testing.T, path string, logical int, encrypted bool, seen map[string]int) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Base(path)
	s, err := innodb.ParseSpace(b, logical)
	if err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if s.Encrypted != encrypted {
		t.Errorf("%s: Encrypted = %v, want %v", name, s.Encrypted, encrypted)
	}
	// The server rounds the length of a file down to 4 KiB.
	if int(s.Size)*s.PageSize&^4095 > len(b) {
		t.Errorf("%s: %d pages of %d in %d bytes", name, s.Size, s.PageSize, len(b))
	}
	skip := func(int) bool { return false }
	if s.ID == 0 {
		first, second, extent, ok := innodb.Doublewrite(b[5*logical:6*logical], logical)
		if !ok {
			t.Errorf("%s: no doublewrite area", name)
		}
		skip = func(no int) bool {
			return no >= int(first) && no < int(first)+extent || no >= int(second) && no < int(second)+extent
		}
	}
	r := rand.New(rand.NewPCG(1, 2))
	for no := range len(b) / s.PageSize {
		if skip(no) {
			continue
		}
		page := b[no*s.PageSize:][:s.PageSize]
		if err := s.Check(page, innodb.PageNo(no)); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		kind := kindOf(s, page, no)
		seen[kind]++
		if kind != "zero" && s.Verifiable(page) && (seen[kind] < 20 || no%300 == 0) {
			changeBytes(t, r, s, page, no, kind)
		}
		if s.Verifiable(page) != !(kind == "compressed" || kind == "compressed encrypted") && !s.Flags.FullCRC32() {
			t.Errorf("%s: page %d of kind %q: Verifiable = %v", name, no, kind, s.Verifiable(page))
		}
	}
}

// kindOf names how a page is stored.
func kindOf(s innodb.Space, page []byte, no int) string {
	kind, keyAt := "dynamic", 26
	typ := binary.BigEndian.Uint16(page[24:])
	switch {
	case innodb.PageIsZero(page):
		return "zero"
	case s.Flags.FullCRC32():
		keyAt = 0
		if typ>>15 != 0 {
			kind = "compressed"
		}
	case s.Flags.ZipSize() != 0:
		kind = "zip"
	case typ == 34354:
		return "compressed"
	case typ == 37401:
		return "compressed encrypted"
	}
	if no != 0 && binary.BigEndian.Uint32(page[keyAt:]) != 0 {
		kind += " encrypted"
	}
	return kind
}

// changeBytes changes bytes all over a page, one at a time; each must be found that
// the form of the page covers.
func changeBytes(t *testing.T, r *rand.Rand, s innodb.Space, page []byte, no int, kind string) {
	t.Helper()
	for n := range 160 {
		i := n // the header first, then the end, then anywhere
		if n >= 64 {
			i = len(page) - 1 - (n - 64)
		}
		if n >= 96 {
			i = r.IntN(len(page))
		}
		old := page[i]
		page[i] ^= byte(1 + r.IntN(255))
		err := s.Check(page, innodb.PageNo(no))
		page[i] = old
		var damaged *innodb.PageError
		if covered(s, page, kind, i) && !errors.As(err, &damaged) {
			t.Errorf("tablespace %d page %d (%s): byte %d changed: %v", s.ID, no, kind, i, err)
			return
		}
	}
}

// covered reports whether the checksum or another test covers byte i of a page.
func covered(s innodb.Space, page []byte, kind string, i int) bool {
	encrypted := strings.HasSuffix(kind, "encrypted")
	if s.Flags.FullCRC32() {
		return !strings.HasPrefix(kind, "compressed") || i < int(binary.BigEndian.Uint16(page[24:])&0x7fff)<<8
	}
	zip := s.Flags.ZipSize() != 0
	switch {
	case zip && i >= 16 && i < 24, encrypted && i < 4, i >= 26 && i < 30:
		return false
	case !encrypted && i >= 30 && i < 34, encrypted && !zip && i >= len(page)-8:
		return false
	case s.ID == 0 && i >= 34 && i < 38 && !zip:
		return false
	}
	return true
}
