// Package sftp keeps objects as files of a folder on another machine, which is reached by
// SFTP: the file transfer that comes with every SSH server. Nothing has to be installed
// there.
//
// A store makes two connections when it needs them: one for objects, and one for locks,
// which must not have to wait behind gigabytes. A connection that was lost is made again
// for what can be repeated: reads, listings, deletions, and objects of which nothing was
// written yet. An object that is half-written fails with its connection.
//
// What the store does, the SSH server does with the rights of the user who logs in. Names
// never lead out of the folder: they are plain (store.CheckName), and no symbolic link in it
// is followed, as far as SFTP lets a client see. The folder itself may be one.
package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pkg/sftp"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/lease"
)

// Options say where a store is, and how to get there.
type Options struct {
	Target Target

	// Key is the file of a private key. If it is "" the keys of the SSH agent and those in
	// ~/.ssh are tried.
	Key string

	// KnownHosts is the file with the host keys that are trusted. If it is "" these are
	// ~/.ssh/known_hosts and /etc/ssh/ssh_known_hosts.
	KnownHosts string

	// Command is a program, with its arguments, that leads to an SFTP server by its standard
	// input and output. A program alone gets the arguments of OpenSSH's ssh for the target.
	// If it is set, Key and KnownHosts are not used.
	Command []string

	// Only tests have others than the defaults.
	lease   lease.Times   // of locks
	silence time.Duration // how long nothing may come from a server that is asked all the time
}

// Store is a folder on an SFTP server.
type Store struct {
	store.Removable
	target Target
	root   string
	link   *link // for objects
	store.Locker

	mu    sync.Mutex
	temps map[string]bool // names of temporary files that are being written
}

var _ store.Store = (*Store)(nil)

// Open connects and opens the folder, which must exist. The error is fs.ErrNotExist if it
// does not and syscall.ENOTDIR if the path is something else. Errors of fault.Config are
// those for which the call, a key or a host key has to be changed: ErrKey, ErrHostKey.
func Open(ctx context.Context, o Options) (*Store, error) {
	dial, err := o.dialer()
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Target, err)
	}
	s := &Store{
		target: o.Target, root: o.Target.Path, link: newLink(o.Target.Host, dial), temps: map[string]bool{},
	}
	s.Locker = lease.New(&lockObjects{root: s.root, link: newLink(o.Target.Host, dial)}, o.lease)
	info, err := again(ctx, s.link, func(c *session) (fs.FileInfo, error) {
		return ask(ctx, c, dataLimit, func(c *sftp.Client) (fs.FileInfo, error) { return c.Stat(s.root) })
	})
	if err == nil && !info.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", o.Target, err)
	}
	return s, nil
}

// String returns the URL.
func (s *Store) String() string { return s.target.String() }

// Dir returns "": the store does not live in a local folder.
func (s *Store) Dir() string { return "" }

// path returns where an object lies.
func (s *Store) path(name string) string { return path.Join(s.root, name) }

// Capabilities are those of a folder behind a network.
func (s *Store) Capabilities(ctx context.Context) (store.Capabilities, error) {
	space, err := s.Space(ctx)
	if err != nil {
		return store.Capabilities{}, err
	}
	return store.Capabilities{Lock: store.LockLease, FreeSpace: space.Known}, nil
}

// statvfs asks the file system of the server. It returns nil if the server cannot tell.
func (s *Store) statvfs(ctx context.Context) (*sftp.StatVFS, error) {
	return again(ctx, s.link, func(c *session) (*sftp.StatVFS, error) { return c.space(ctx, s.root) })
}

func (s *session) space(ctx context.Context, root string) (*sftp.StatVFS, error) {
	if !s.statvfs {
		return nil, ctx.Err()
	}
	return ask(ctx, s, dataLimit, func(c *sftp.Client) (*sftp.StatVFS, error) { return c.StatVFS(root) })
}

// Space asks the file system of the server, by an extension that OpenSSH has.
func (s *Store) Space(ctx context.Context) (store.Space, error) {
	v, err := s.statvfs(ctx)
	if err != nil {
		return store.Space{}, fmt.Errorf("space of %s: %w", s, err)
	}
	return spaceOf(v), nil
}

// spaceOf reads the answer of a server, which can be anything.
func spaceOf(v *sftp.StatVFS) store.Space {
	if v == nil || v.Frsize == 0 || max(v.Blocks, v.Bavail) > math.MaxInt64/v.Frsize || v.Bavail > v.Blocks {
		return store.Space{}
	}
	return store.Space{Free: int64(v.Bavail * v.Frsize), Total: int64(v.Blocks * v.Frsize), Known: true}
}

// readOnly is the flag of a file system that is mounted so.
const readOnly = 1

// Writable knows only whether the file system is mounted read-only.
func (s *Store) Writable(ctx context.Context) error {
	v, err := s.statvfs(ctx)
	if err != nil {
		return fmt.Errorf("look at %s: %w", s, err)
	}
	if v != nil && v.Flag&readOnly != 0 {
		return fmt.Errorf("%s is not writable: %w", s, syscall.EROFS)
	}
	return nil
}

// readDir reads a folder.
func readDir(ctx context.Context, c *session, dir string) ([]fs.FileInfo, error) {
	entries, err := ask(ctx, c, dataLimit, func(client *sftp.Client) ([]fs.FileInfo, error) {
		return client.ReadDirContext(ctx, dir)
	})
	if err != nil {
		return nil, err
	}
	plain := entries[:0]
	for _, e := range entries {
		// A server can send anything, such as "../x".
		if name := e.Name(); name != "" && name != "." && name != ".." && !strings.ContainsAny(name, "/\x00") {
			plain = append(plain, e)
		}
	}
	return plain, nil
}

// foreign reports whether an entry of a folder belongs to the system or to a lock.
func foreign(folder, entry string) bool {
	if folder == "" && entry == "lost+found" {
		return true
	}
	return strings.HasPrefix(entry, ".") && !strings.HasPrefix(entry, tempPrefix)
}

// Empty reports whether the folder holds nothing but what belongs to the system, and
// locks.
func (s *Store) Empty(ctx context.Context) (bool, error) {
	entries, err := again(ctx, s.link, func(c *session) ([]fs.FileInfo, error) { return readDir(ctx, c, s.root) })
	if err != nil {
		return false, fmt.Errorf("list %s: %w", s, err)
	}
	for _, e := range entries {
		if !foreign("", e.Name()) && !strings.HasPrefix(e.Name(), tempPrefix) {
			return false, nil
		}
	}
	return true, nil
}

// Exposed names what others than the owner of the folder can exchange in it.
func (s *Store) Exposed(ctx context.Context) ([]string, error) {
	found, err := again(ctx, s.link, func(c *session) ([]string, error) {
		root, err := ask(ctx, c, dataLimit, func(client *sftp.Client) (fs.FileInfo, error) { return client.Stat(s.root) })
		if err != nil {
			return nil, err
		}
		found := exposed(s.target.String(), root, root)
		entries, err := readDir(ctx, c, s.root)
		for _, e := range entries {
			if e.IsDir() && !foreign("", e.Name()) {
				found = append(found, exposed(s.target.String()+"/"+e.Name(), e, root)...)
			}
		}
		return found, err
	})
	if err != nil {
		return nil, fmt.Errorf("look at %s: %w", s, err)
	}
	return found, nil
}

// exposed says what is wrong with the rights of a folder in a repository.
func exposed(name string, folder, root fs.FileInfo) []string {
	attributes, ok := folder.Sys().(*sftp.FileStat)
	owner, known := root.Sys().(*sftp.FileStat)
	mode := folder.Mode().Perm()
	switch {
	case mode&0o002 != 0:
		return []string{fmt.Sprintf("folder %s can be written to by every user there (mode %04o)", name, mode)}
	case mode&0o020 != 0 && ok:
		return []string{fmt.Sprintf("folder %s can be written to by group %d there (mode %04o)", name, attributes.GID, mode)}
	case ok && known && attributes.UID != owner.UID && attributes.UID != 0:
		return []string{fmt.Sprintf("folder %s belongs to another user there, %d, than the repository, %d", name,
			attributes.UID, owner.UID)}
	}
	return nil
}

// little is so few free bytes that a write that failed for no reason that the server gives
// failed for want of room.
const little = 1 << 20

// explain gives an error of writing its operation, and what a person needs to know. The
// protocol has no code for a full disk.
func (s *Store) explain(ctx context.Context, c *session, op string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrPermission):
		return hint.Wrap(fmt.Errorf("%s: %s is not writable: %w", op, s, err),
			"give the folder, and all that is in it, to the user who logs in there")
	case isLost(err) || ctx.Err() != nil:
		return fmt.Errorf("%s: %w", op, err)
	}
	if v, spaceErr := c.space(ctx, s.root); spaceErr == nil {
		if space := spaceOf(v); space.Known && space.Free < little {
			full := &store.NoSpaceError{Where: s.String(), Space: space, Err: syscall.ENOSPC}
			return fmt.Errorf("%s: %w", op, full)
		}
	}
	return hint.Wrap(fmt.Errorf("%s: %w", op, &store.WriteError{Err: err}),
		"the server gives no reason: look at its disk and at quotas there, and at the log of its sshd")
}

// isGone reports whether an error says that something is not there.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// throughLink is the error for a name that leads through something else than a folder.
func throughLink(folder string, mode fs.FileMode) error {
	if mode&fs.ModeSymlink != 0 {
		return fmt.Errorf("%s %w", folder, store.ErrThroughLink)
	}
	return fault.New(fault.Config, folder+" is not a folder")
}
