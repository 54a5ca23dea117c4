package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/pkg/sftp"
)

// lockObjects are the objects of locks. They are small, and need not survive a crash of the
// server: its holder notices that they are gone.
type lockObjects struct {
	root string
	link *link
}

func (l *lockObjects) path(name string) string { return path.Join(l.root, name) }

// Create makes a file exclusively, and then writes it.
func (l *lockObjects) Create(ctx context.Context, name string, content []byte) error {
	c, err := l.link.get(ctx)
	if err != nil {
		return err
	}
	return do(ctx, c, lockLimit, func(client *sftp.Client) error {
		file, err := client.OpenFile(l.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if isGone(err) {
			folder := path.Dir(l.path(name))
			if err = client.Mkdir(folder); err == nil {
				_ = client.Chmod(folder, 0o700) // where the server refuses, it decides
			}
			// Another one may have made it: the second try tells.
			file, err = client.OpenFile(l.path(name), os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		}
		if err != nil {
			// The protocol has no code for a file that exists.
			if _, there := client.Lstat(l.path(name)); there == nil {
				return fmt.Errorf("%w: %w", fs.ErrExist, err)
			}
			return err
		}
		_, err = file.Write(content)
		return errors.Join(err, file.Close())
	})
}

// Write writes over a file that is there: in one request, so that no reader sees half of it.
func (l *lockObjects) Write(ctx context.Context, name string, content []byte) error {
	_, err := again(ctx, l.link, func(c *session) (struct{}, error) {
		return struct{}{}, do(ctx, c, lockLimit, func(client *sftp.Client) error {
			file, err := client.OpenFile(l.path(name), os.O_WRONLY)
			if err != nil {
				return err
			}
			_, err = file.WriteAt(content, 0)
			return errors.Join(err, file.Close())
		})
	})
	return err
}

// Read reads a file.
func (l *lockObjects) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	return again(ctx, l.link, func(c *session) ([]byte, error) {
		return ask(ctx, c, lockLimit, func(client *sftp.Client) ([]byte, error) {
			file, err := client.Open(l.path(name))
			if err != nil {
				return nil, err
			}
			content := make([]byte, limit)
			n, err := file.ReadAt(content, 0)
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return content[:max(0, n)], errors.Join(err, file.Close())
		})
	})
}

// List reads the folder of the locks.
func (l *lockObjects) List(ctx context.Context, prefix string) ([]string, error) {
	folder := path.Dir(prefix)
	entries, err := again(ctx, l.link, func(c *session) ([]fs.FileInfo, error) {
		return readDir(ctx, c, l.path(folder))
	})
	if isGone(err) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if name := path.Join(folder, e.Name()); strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names, err
}

// Delete removes a file.
func (l *lockObjects) Delete(ctx context.Context, name string) error {
	_, err := again(ctx, l.link, func(c *session) (struct{}, error) {
		return struct{}{}, do(ctx, c, lockLimit, func(client *sftp.Client) error { return client.Remove(l.path(name)) })
	})
	if isGone(err) {
		return nil
	}
	return err
}
