package mariadbd

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/innodb"
	"mbk/internal/sys/fsuser"
)

// With a wrong key the server decrypts a page to nonsense, and without a key it does not
// decrypt it at all. It calls both damage, in the words that it has for a page with wrong
// bytes. So such words about an encrypted tablespace tell nothing: whether the bytes are
// those of the source is known from the checksums of the pages, which need no key.

// MayLackKey reports whether what a line says of damage may come of a key that is wrong or
// missing: it speaks of an encrypted page, or of pages of an encrypted tablespace.
func (i Instance) MayLackKey(line string) bool {
	switch {
	case strings.Contains(line, "Encrypted page") || strings.Contains(line, "key_version="):
		return true
	case !SaysUnreadable(line):
		return false
	}
	return slices.ContainsFunc(filesIn(line), i.encrypted) ||
		slices.ContainsFunc(tablesIn(line), func(t [2]string) bool { return i.EncryptedTable(t[0], t[1]) })
}

// SaysUnreadable recognises what a server says of a page or a tablespace that it cannot
// make sense of. What it says of rows and indexes, it has read.
func SaysUnreadable(text string) bool {
	for _, words := range []string{
		"is corrupted", "looks corrupted", "page corruption on disk or a failed read", "Failed to read page",
		"doesn't exist in engine", "decryption failed",
		"tablespace is corrupted", "corrupted page", "is missing for table", "is not readable",
	} {
		if strings.Contains(text, words) {
			return true
		}
	}
	return false
}

// filesIn returns the files of InnoDB that a line names.
func filesIn(line string) []string {
	return regexp.MustCompile(`[^\s'"\[\]]+\.ibd|\bibdata\d+|\bundo\d+`).FindAllString(line, -1)
}

// tablesIn returns the tables that a line names, with their databases.
func tablesIn(line string) (tables [][2]string) {
	named := regexp.MustCompile("`([^`]+)`\\.`([^`]+)`|'([^'./\\s]+)\\.([^'/\\s]+)'")
	for _, m := range named.FindAllStringSubmatch(line, -1) {
		tables = append(tables, [2]string{m[1] + m[3], m[2] + m[4]})
	}
	return tables
}

// EncryptedTable reports whether a table, or one of its partitions, is in an encrypted
// tablespace.
func (i Instance) EncryptedTable(database, table string) bool {
	folder, stem := filename.Encode(database), filename.Encode(table)
	files, err := fsuser.Value(i.Owner, func() ([]os.DirEntry, error) { return os.ReadDir(filepath.Join(i.Data, folder)) })
	if err != nil {
		return false // it is not known to be
	}
	return slices.ContainsFunc(files, func(f os.DirEntry) bool {
		name, ok := strings.CutSuffix(f.Name(), ".ibd")
		of, _, _ := strings.Cut(strings.ToLower(name), "#p#")
		return ok && of == strings.ToLower(stem) && i.encrypted(filepath.Join(folder, f.Name()))
	})
}

// encrypted reports whether the first page of a file of InnoDB describes encryption.
func (i Instance) encrypted(name string) bool {
	if !filepath.IsAbs(name) {
		name = filepath.Join(i.Data, filepath.FromSlash(name))
	}
	head, err := fsuser.Value(i.Owner, func() ([]byte, error) {
		f, err := openRegular(name, os.O_RDONLY)
		if err != nil {
			return nil, err
		}
		defer f.Close() //nolint:errcheck // only read
		return io.ReadAll(io.LimitReader(f, 64<<10))
	})
	if err != nil {
		return false // it is not known to be
	}
	for size := 4 << 10; size <= 64<<10; size *= 2 {
		if s, err := innodb.ParseSpace(head, size); err == nil {
			return s.Encrypted
		}
	}
	return false
}
