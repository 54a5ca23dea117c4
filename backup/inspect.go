package backup

import (
	"errors"

	"mbk/internal/innodb"
)

// inspectFile is inspect for a file that has not been opened.
func (l layout) inspectFile(e entry) (fileFacts, error) {
	f, err := l.files.Open(l.file(e))
	if err != nil {
		return fileFacts{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	s, err := statFile(f)
	if err != nil {
		return fileFacts{}, err
	}
	found := fileFacts{entry: e, size: s.size, modified: s.modified}
	if e.innodb() {
		size, err := l.pageSize()
		if err != nil {
			return fileFacts{}, err
		}
		space, err := readSpace(f, e.path(), make([]byte, size))
		if err == nil {
			found.space = space.ID
		}
		found.blank = errors.Is(err, innodb.ErrNoSpace)
	}
	found.facts, err = inspect(e, f, s.size)
	return found, err
}

// readFile reads a file, into buf if it is smaller than that.
func (l layout) readFile(path string, buf []byte) ([]byte, error) {
	f, err := l.files.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	n, err := f.Read(buf)
	if err != nil || n < len(buf) {
		return buf[:n], err
	}
	return l.files.ReadFile(path, largestFrm)
}

// largestFrm is more than any definition of a table or view has, in bytes.
const largestFrm = 64 << 20
