package restore

import (
	"errors"
	"os"

	"mbk/internal/sys/fsuser"
)

// dataDir is the data directory in the making.
type dataDir struct {
	path  string
	root  *os.Root
	owner Owner // to be
	// as is with whose rights one works in it: at first whoever made the scratch folder,
	// then its owner.
	as fsuser.User
}

// openDataDir opens an empty one that was made for a target.
func openDataDir(path string, t target) (*dataDir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	return &dataDir{path: path, root: root, owner: t.owner, as: t.writer}, nil
}

// writeText makes a file of a server's, which must not be there yet: the directory
// belongs to the server's user.
func (d *dataDir) writeText(name, text string) error {
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o660)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o660)) // whatever the umask is
	if os.Geteuid() == 0 {
		err = errors.Join(err, f.Chown(d.owner.UID, d.owner.GID))
	}
	return errors.Join(err, f.Close())
}
