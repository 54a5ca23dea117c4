package datadir

import (
	"errors"

	"mbk/internal/innodb"
)

// InspectFile is Inspect for a file that has not been opened.
func (l Layout) InspectFile(e Entry) (FileFacts, error) {
	f, err := l.Files.Open(l.File(e))
	if err != nil {
		return FileFacts{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	s, err := StatFile(f)
	if err != nil {
		return FileFacts{}, err
	}
	found := FileFacts{Entry: e, Size: s.Size, Modified: s.Modified.Time()}
	if e.IsInnoDB() {
		size, err := l.PageSize()
		if err != nil {
			return FileFacts{}, err
		}
		space, err := ReadSpace(f, e.Path(), make([]byte, size))
		if err == nil {
			found.Space = space.ID
		}
		found.Blank = errors.Is(err, innodb.ErrNoSpace)
	}
	found.Facts, err = Inspect(e, f, s.Size)
	return found, err
}

// ReadFile reads a file, into buf if it is smaller than buf.
func (l Layout) ReadFile(path string, buf []byte) ([]byte, error) {
	f, err := l.Files.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	n, err := f.Read(buf)
	if err != nil || n < len(buf) {
		return buf[:n], err
	}
	return l.Files.ReadFile(path, MaxDefinition)
}

// MaxDefinition is more than any definition of a table or view has, in bytes.
const MaxDefinition = 64 << 20
