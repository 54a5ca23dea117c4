package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/pkg/sftp"

	"mbk/internal/repo/store"
)

// readAhead is how many bytes are asked for at a time.
const readAhead = 1 << 20

// Open opens a part of an object.
func (s *Store) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("open %s: negative offset %d", name, offset)
	}
	r := &reader{ctx: ctx, store: s, name: name, start: offset, at: offset}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	r.end = max(r.info.Size(), offset)
	if n >= 0 && n < r.end-offset {
		r.end = offset + n
	}
	return r, nil
}

// checkFolders makes sure that the folders that lead to an object are folders. Those that
// were once are not looked at again, unless fresh is set.
func (s *Store) checkFolders(ctx context.Context, c *session, folder string, fresh bool) error {
	if folder == "." || folder == "" || !fresh && c.isKnown(folder) {
		return nil
	}
	if err := s.checkFolders(ctx, c, path.Dir(folder), fresh); err != nil {
		return err
	}
	info, err := lstat(ctx, c, s.path(folder))
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %w", throughLink(folder, info.Mode()), fs.ErrNotExist)
	}
	c.know(folder, true)
	return nil
}

func lstat(ctx context.Context, c *session, path string) (fs.FileInfo, error) {
	return ask(ctx, c, dataLimit, func(client *sftp.Client) (fs.FileInfo, error) { return client.Lstat(path) })
}

// isKnown reports whether a folder was there.
func (s *session) isKnown(folder string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.known[folder]
}

// know notes that a folder is there, or that it and those below it may not be.
func (s *session) know(folder string, there bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if there {
		s.known[folder] = true
		return
	}
	for name := range s.known {
		if name == folder || strings.HasPrefix(name, folder+"/") {
			delete(s.known, name)
		}
	}
}

// reader reads a part of an object, and heeds a context. If the connection is lost it goes
// on with another one, as long as the object is the same.
type reader struct {
	ctx     context.Context
	store   *Store
	name    string
	session *session
	file    *sftp.File
	info    fs.FileInfo // as it was when it was opened first

	start, at, end int64 // offsets in the object: of the part, of what comes next, of the end of the part

	piece []byte // read and not passed on
	err   error
}

// open opens the file of the object.
func (r *reader) open() error {
	_, err := again(r.ctx, r.store.link, func(c *session) (struct{}, error) {
		if err := r.store.checkFolders(r.ctx, c, path.Dir(r.name), false); err != nil {
			return struct{}{}, err
		}
		// A link would lead elsewhere, and a pipe would make the server wait.
		info, err := lstat(r.ctx, c, r.store.path(r.name))
		if err == nil && !info.Mode().IsRegular() {
			err = fmt.Errorf("is no file: %w", fs.ErrNotExist)
		}
		if err == nil && r.info != nil && (info.Size() != r.info.Size() || !info.ModTime().Equal(r.info.ModTime())) {
			err = errors.New("it was replaced while it was read")
		}
		if err != nil {
			return struct{}{}, err
		}
		r.session, r.info = c, info
		r.file, err = ask(r.ctx, c, dataLimit, func(client *sftp.Client) (*sftp.File, error) {
			return client.Open(r.store.path(r.name))
		})
		return struct{}{}, err
	})
	return err
}

// Read passes on what was read ahead, and reads more if there is nothing left of it.
func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.err == nil && len(r.piece) == 0 {
		r.err = r.fill()
	}
	if len(r.piece) == 0 {
		return 0, r.err
	}
	n := copy(p, r.piece)
	r.piece = r.piece[n:]
	return n, nil
}

// fill reads the next piece.
func (r *reader) fill() error {
	if r.at >= r.end {
		return io.EOF
	}
	for n := 1; ; n++ {
		piece, err := r.ask(min(readAhead, r.end-r.at))
		if isLost(err) && n < reconnects {
			if err = r.open(); err == nil {
				continue
			}
		}
		if len(piece) > 0 {
			r.piece, r.at, err = piece, r.at+int64(len(piece)), nil
		}
		if err != nil && !errors.Is(err, io.EOF) && r.ctx.Err() == nil {
			err = fmt.Errorf("read %s: %w", r.name, err)
		}
		return err
	}
}

// ask reads up to size bytes.
func (r *reader) ask(size int64) ([]byte, error) {
	file, at := r.file, r.at
	return ask(r.ctx, r.session, dataLimit, func(*sftp.Client) ([]byte, error) {
		buffer := make([]byte, size)
		n, err := file.ReadAt(buffer, at)
		return buffer[:max(0, n)], err
	})
}

// Seek implements io.Seeker, from the beginning of the part and from where the reader is. Of
// a part up to the end of the object, the end is not known.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	to := r.start + offset
	switch whence {
	case io.SeekStart:
	case io.SeekCurrent:
		to = r.at - int64(len(r.piece)) + offset
	default:
		return 0, errors.ErrUnsupported
	}
	if to < r.start {
		return 0, fs.ErrInvalid
	}
	if left := r.at - to; left >= 0 && left <= int64(len(r.piece)) {
		r.piece = r.piece[int64(len(r.piece))-left:]
	} else {
		r.piece, r.at = nil, to
	}
	if errors.Is(r.err, io.EOF) {
		r.err = nil
	}
	return to - r.start, nil
}

// Close gives the handle back. It does not wait for the answer of a server that is slow.
func (r *reader) Close() error {
	file := r.file
	go func() { _ = file.Close() }() // nothing was written; it ends with the connection at the latest
	return nil
}
