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

// closeAria marks the recovered tables of Aria as closed. The header of an idle table may
// have been read while the table was open, and the server may have closed it before the
// backup ended, which is not in Aria's log. Recovery closes only tables that the log names
// after its checkpoint. The server would report any other table as crashed when it is
// first opened and check it, or with aria_recover_options=OFF not open it.
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
