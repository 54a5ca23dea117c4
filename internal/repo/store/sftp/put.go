package sftp

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/pkg/sftp"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/pieces"
)

const (
	tempPrefix = ".put-"

	// syncEvery is after how many bytes an object is made durable. A server that wrote a
	// gigabyte in one fsync would answer nothing else meanwhile.
	syncEvery = 128 << 20

	// tempTries bounds how often a Put starts over because another process removed the
	// empty folder under its hands.
	tempTries = 10

	// dropTime bounds what is done to remove a temporary file.
	dropTime = 10 * time.Second
)

// temp is a temporary file that is to become an object.
type temp struct {
	session *session // its only one: it fails with it
	name    string   // of the object
	temp    string   // its own, in the same folder
	file    *sftp.File
}

// Put writes an object under a temporary name in the folder in which it will lie, checks
// its length, makes it durable, gives it its name, and makes that durable. Where the server
// has no posix-rename, a name that exists cannot be replaced in one step: it is removed
// first.
func (s *Store) Put(ctx context.Context, name string, write func(w io.Writer) error) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	t, err := again(ctx, s.link, func(c *session) (*temp, error) { return s.createTemp(ctx, c, name) })
	if err != nil {
		return err
	}
	defer s.forgetTemp(t)
	w := newWriter(ctx, s, t)
	err = write(w)
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return errors.Join(err, w.Wait(), s.dropTemp(ctx, t))
	}
	if err := s.rename(ctx, t); err != nil {
		return errors.Join(s.explain(ctx, t.session, "write "+name, err), s.dropTemp(ctx, t))
	}
	if err := s.syncFolder(ctx, t.session, path.Dir(name)); err != nil {
		return s.explain(ctx, t.session, "write "+name, err)
	}
	return nil
}

// createTemp makes a temporary file for an object, and its folder.
func (s *Store) createTemp(ctx context.Context, c *session, name string) (*temp, error) {
	t := &temp{session: c, name: name, temp: path.Join(path.Dir(name), tempPrefix+random()+"."+path.Base(name))}
	s.rememberTemp(t)
	var err error
	for range tempTries {
		if err = s.makeFolder(ctx, c, path.Dir(name)); err == nil {
			t.file, err = ask(ctx, c, dataLimit, func(client *sftp.Client) (*sftp.File, error) {
				return client.OpenFile(s.path(t.temp), os.O_WRONLY|os.O_CREATE|os.O_EXCL)
			})
		}
		if err == nil {
			// Before anything is in it. Where the server refuses, its folder has to do.
			err = askFile(ctx, c, t.file, func(f *sftp.File) error { _ = f.Chmod(0o600); return nil })
		}
		if !isGone(err) {
			break
		}
		c.know(path.Dir(name), false) // removed a moment ago
	}
	if err != nil {
		s.forgetTemp(t)
		return nil, s.explain(ctx, c, "write "+name, err)
	}
	return t, nil
}

// askFile is do for a request about an open file.
func askFile(ctx context.Context, c *session, file *sftp.File, request func(*sftp.File) error) error {
	return do(ctx, c, dataLimit, func(*sftp.Client) error { return request(file) })
}

// makeFolder makes a folder, and those above it, durably.
func (s *Store) makeFolder(ctx context.Context, c *session, folder string) error {
	if folder == "." || c.isKnown(folder) {
		return nil
	}
	if err := s.makeFolder(ctx, c, path.Dir(folder)); err != nil {
		return err
	}
	info, err := lstat(ctx, c, s.path(folder))
	if isGone(err) {
		err = do(ctx, c, dataLimit, func(client *sftp.Client) error {
			err := client.Mkdir(s.path(folder))
			if err == nil {
				_ = client.Chmod(s.path(folder), 0o700) // where the server refuses, it decides
			}
			return err
		})
		if err == nil {
			err = s.syncFolder(ctx, c, path.Dir(folder))
		}
		if err == nil || !isGone(err) && !isLost(err) { // another one may have made it meanwhile
			var statErr error
			if info, statErr = lstat(ctx, c, s.path(folder)); statErr == nil {
				err = nil
			} else if err == nil {
				err = statErr
			}
		}
	}
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return throughLink(folder, info.Mode())
	}
	c.know(folder, true)
	return nil
}

// rename gives a temporary file its name.
func (s *Store) rename(ctx context.Context, t *temp) error {
	from, to := s.path(t.temp), s.path(t.name)
	return do(ctx, t.session, dataLimit, func(client *sftp.Client) error {
		if t.session.posixRename {
			return client.PosixRename(from, to)
		}
		err := client.Rename(from, to)
		if err == nil {
			return nil
		}
		if _, there := client.Lstat(to); there != nil {
			return err
		}
		if err := client.Remove(to); err != nil {
			return err
		}
		return client.Rename(from, to)
	})
}

// syncFolder makes the entries of a folder durable, where the server can. OpenSSH opens a
// folder as it does a file; others may not.
func (s *Store) syncFolder(ctx context.Context, c *session, folder string) error {
	if !c.fsync {
		return nil
	}
	return do(ctx, c, dataLimit, func(client *sftp.Client) error {
		dir, err := client.Open(s.path(folder))
		if err != nil {
			return nil
		}
		err = dir.Sync()
		_ = dir.Close() // nothing was written by it
		return err
	})
}

// dropTemp removes a temporary file that does not become an object, and the folders that
// are empty without it.
func (s *Store) dropTemp(ctx context.Context, t *temp) error {
	if t.session.lost() != nil {
		return nil // a sweep removes it
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), dropTime)
	defer cancel()
	err := do(ctx, t.session, dropTime, func(client *sftp.Client) error {
		_ = t.file.Close() // nobody reads what was written
		return client.Remove(s.path(t.temp))
	})
	if err == nil {
		s.removeEmpty(ctx, t.session, path.Dir(t.name))
	}
	if isGone(err) || isLost(err) {
		return nil
	}
	return err
}

// rememberTemp keeps the sweeps of this process from a temporary file.
func (s *Store) rememberTemp(t *temp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.temps[t.temp] = true
}

func (s *Store) forgetTemp(t *temp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.temps, t.temp)
}

// random returns 16 hex digits.
func random() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// writer is what the callback of Put writes to.
type writer struct {
	*pieces.Writer
	ctx    context.Context
	store  *Store
	temp   *temp
	stored int64 // bytes that the server has
	synced int64 // of these, durable
}

func newWriter(ctx context.Context, s *Store, t *temp) *writer {
	w := &writer{ctx: ctx, store: s, temp: t}
	w.Writer = pieces.NewWriter(ctx, w.storePiece)
	return w
}

// storePiece writes b at the end of the file.
func (w *writer) storePiece(b []byte) error {
	t := w.temp
	n, err := ask(w.ctx, t.session, dataLimit, func(*sftp.Client) (int, error) { return t.file.WriteAt(b, w.stored) })
	if err == nil && n != len(b) {
		err = io.ErrShortWrite
	}
	w.stored += int64(n)
	if err == nil && t.session.fsync && w.stored-w.synced >= syncEvery {
		err = askFile(w.ctx, t.session, t.file, (*sftp.File).Sync)
		w.synced = w.stored
	}
	return w.store.explain(w.ctx, t.session, "write "+t.name, err)
}

// finish writes what is left, makes it durable and checks that all is there.
func (w *writer) finish() error {
	if err := w.Flush(); err != nil {
		return err
	}
	t := w.temp
	info, err := ask(w.ctx, t.session, dataLimit, func(*sftp.Client) (fs.FileInfo, error) {
		if t.session.fsync {
			if err := t.file.Sync(); err != nil {
				return nil, err
			}
		}
		return t.file.Stat()
	})
	if err == nil {
		err = askFile(w.ctx, t.session, t.file, (*sftp.File).Close)
	}
	if err != nil {
		return w.store.explain(w.ctx, t.session, "write "+t.name, err)
	}
	if info.Size() != w.Written() {
		return fmt.Errorf("write %s: the file has %d bytes after writing %d", t.name, info.Size(), w.Written())
	}
	return w.ctx.Err()
}
