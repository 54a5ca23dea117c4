package datadir

import (
	"errors"
	"fmt"
	"io"

	"mbk/internal/innodb"
)

// ReadSpace reads page 0 of an open tablespace. It may be caught in the middle
// of being written; the copier's own reads are repeated, so this one is too. The page
// is read into page, which is as long as one.
func ReadSpace(f io.ReaderAt, name string, page []byte) (innodb.Space, error) {
	const tries = 10
	var failed error
	for range tries {
		n, err := f.ReadAt(page, 0)
		if err != nil && !errors.Is(err, io.EOF) {
			return innodb.Space{}, fmt.Errorf("read page 0 of %s: %w", name, err)
		}
		if n == 0 {
			return innodb.Space{}, innodb.ErrNoSpace
		}
		space, err := innodb.ParseSpace(page[:n], len(page))
		if err == nil || errors.Is(err, innodb.ErrNoSpace) {
			return space, err
		}
		failed = fmt.Errorf("read page 0 of %s: %w", name, err)
	}
	return innodb.Space{}, failed
}

// readSpaceID is the number of the tablespace in a file, 0 if it has none that can be
// read.
func readSpaceID(l Layout, e Entry, page []byte) (innodb.SpaceID, error) {
	f, err := l.Files.Open(l.File(e))
	if err != nil {
		return 0, err
	}
	defer f.Close() //nolint:errcheck // only read
	space, err := ReadSpace(f, e.Path(), page)
	if err != nil {
		return 0, nil //nolint:nilerr // damaged, empty or no tablespace at all
	}
	return space.ID, nil
}
