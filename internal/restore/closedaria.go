package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"golang.org/x/sys/unix"

	"mbk/internal/aria"
	"mbk/internal/repo"
)

// closeAria marks the recovered tables of Aria as closed. Recovery closes only tables that the
// log names after its checkpoint. One that was filled in bulk and has been idle since is open in
// its header and not among them: the server would report it as crashed when it is first used
// and check it, or with aria_recover_options=OFF not open it (10.5, 10.11 and 11.8).
func closeAria(data string, m *repo.Manifest) error {
	for i := range m.Files {
		f := &m.Files[i]
		if f.Class != repo.ClassAria || path.Ext(f.Path) != aria.IndexExt {
			continue
		}
		// Recovery may have renamed or dropped it.
		if err := closeTable(filepath.Join(data, f.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("mark %s as closed: %w", f.Path, err)
		}
	}
	return nil
}

// closeTable marks one table. It follows the link to a file outside of the data directory.
func closeTable(name string) (err error) {
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return aria.MarkClosed(f)
}
