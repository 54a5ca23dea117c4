package cli_test

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"mbk/internal/innodb"
)

// cryptMagic begins what the first page of a tablespace says of its encryption
// (storage/innobase/fil/fil0crypt.cc).
var cryptMagic = []byte{'s', 0x0e, 0x0c, 'R', 'E', 't'}

// wantKeysOfPages checks that in a backup the first page of each tablespace says how encrypted
// pages of it are read. It returns the number of tablespaces with such pages, and of those whose
// first page says that the encryption is off again.
func wantKeysOfPages(t *testing.T, repository, id string) (encrypted, off int) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "extracted")
	must(t, "extract", id, "*.*", "ibdata1", "--repo", repository, "--to", to, "--quiet")
	err := filepath.WalkDir(to, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".ibd" && e.Name() != "ibdata1" {
			return err
		}
		b, err := os.ReadFile(path)
		const size = 16 << 10
		if err != nil || len(b) < size {
			return err // it is made by the redo
		}
		space, err := innodb.ParseSpace(b[:size], size)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			return nil
		}
		for at := size; at+size <= len(b); at += size {
			if !space.Flags.FullCRC32() || binary.BigEndian.Uint32(b[at:]) == 0 {
				continue
			}
			encrypted++
			_, says, ok := bytes.Cut(b[:size], cryptMagic)
			if !ok {
				t.Errorf("%s: page %d is encrypted, and the first page does not say how", path, at/size)
			} else if says[0] == 0 {
				off++
			}
			break
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return encrypted, off
}
