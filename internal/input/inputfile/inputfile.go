// Package inputfile opens files that the user names as input: options, passwords, lists
// of names, certificates. It neither blocks on a FIFO nor opens a device.
package inputfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"mbk/internal/datadir/serverfs"
)

// inherited reports whether a path names a descriptor inherited from the caller, as for
// the shell's <(...).
func inherited(path string) bool {
	return path == "/dev/stdin" || strings.HasPrefix(path, "/dev/fd/") || strings.HasPrefix(path, "/proc/self/fd/")
}

// Open opens a regular file or an inherited descriptor, such as the shell's <(...).
// Errors are of type *fs.PathError.
func Open(path string) (*os.File, error) {
	if inherited(path) {
		return os.Open(path)
	}
	var files *serverfs.FS // with the rights of this process
	f, err := files.Open(path)
	if kind, ok := errors.AsType[*serverfs.KindError](err); ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fmt.Errorf("is a %s", kind.Kind)}
	}
	return f, err
}

// maxBytes limits what Read reads.
const maxBytes = 16 << 20

// Read opens and reads a whole file.
func Read(path string) (text []byte, err error) {
	f, err := Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	text, err = io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err == nil && len(text) > maxBytes {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("file is larger than %d bytes", maxBytes)}
	}
	return text, err
}
