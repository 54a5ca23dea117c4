package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"mbk/repo"
)

// Files of single tables that lay outside of the source's data directory can be
// restored outside of the new one: where they were, or in other folders. Each is
// extracted into a hidden folder beside the place that it will have, so that it is on
// the right file system, and a symbolic link stands for it in the data directory
// while the server recovers. Then .isl files or links take the place of these, the
// files are renamed into theirs, and last the data directory into its.

// DirMap says where files are restored that lay below a folder on the source.
type DirMap struct {
	From, To string // absolute and clean; "/" to "/" is the place where each file was
}

// ParseDirMap reads "OLD=NEW", two absolute paths.
func ParseDirMap(text string) (DirMap, error) {
	from, to, ok := strings.Cut(text, "=")
	if !ok || !filepath.IsAbs(from) || !filepath.IsAbs(to) {
		return DirMap{}, fmt.Errorf("%q: want OLD=NEW, two absolute paths", text)
	}
	m := DirMap{filepath.Clean(from), filepath.Clean(to)}
	if m.To == "/" || m.From == "/" {
		return DirMap{}, fmt.Errorf("%q: neither can be the root directory", text)
	}
	return m, nil
}

// outsideFile is a file that is restored outside of the data directory.
type outsideFile struct {
	*repo.File
	root string // a folder that is there already
	path string // where the file goes, below root
}

// rel is the path below the root.
func (f outsideFile) rel() string {
	rel, err := filepath.Rel(f.root, f.path)
	if err != nil {
		return filepath.Base(f.path) // cannot be: path was made out of root
	}
	return filepath.ToSlash(rel)
}

// outside finds the files that are restored outside of the data directory.
func outside(m *repo.Manifest, maps []DirMap) []outsideFile {
	var found []outsideFile
	for i := range m.Files {
		f := &m.Files[i]
		if f.Link == "" {
			continue
		}
		best := DirMap{}
		for _, d := range maps {
			if below(f.Origin, d.From) && len(d.From) > len(best.From) {
				best = d
			}
		}
		if best.From == "" {
			continue
		}
		o := outsideFile{File: f, root: best.To, path: filepath.Join(best.To, strings.TrimPrefix(f.Origin, best.From))}
		if o.root == "/" {
			o.root = filepath.Dir(o.path)
			if f.Link == repo.LinkISL {
				o.root = filepath.Dir(o.root) // DATA DIRECTORY; the server makes a folder for the database in it
			}
		}
		found = append(found, o)
	}
	return found
}

// below says whether a path lies in a folder.
func below(name, folder string) bool {
	rel, err := filepath.Rel(folder, name)
	return err == nil && filepath.IsLocal(rel) && rel != "."
}

// checkOutside objects to files outside of the data directory that cannot be put
// where they should.
func (p *Plan) checkOutside(o Options) {
	p.outside = outside(p.manifest, o.DirMaps)
	for _, d := range o.DirMaps {
		if d.From != "/" && !slices.ContainsFunc(p.manifest.Files, func(f repo.File) bool { return f.Link != "" && below(f.Origin, d.From) }) {
			p.object(Objection{
				Problem: fmt.Sprintf("no file of a table of the backup lay below %s", d.From),
				Hint:    "mbk restore --dry-run without --map-dir tells which files lay outside of the data directory",
			})
		}
	}
	if len(p.outside) > 0 && o.Raw {
		p.object(Objection{Problem: "files go outside of the data directory only when they are recovered", Hint: "restore without --no-recover"})
	}
	need := map[string]int64{}
	there, first := 0, ""
	for _, f := range p.outside {
		need[f.root] += room(f.File)
		p.SpaceNeeded -= room(f.File)
		if _, err := os.Lstat(f.path); !errors.Is(err, fs.ErrNotExist) {
			if there++; there == 1 {
				first = f.path
			}
		}
	}
	if there > 0 {
		what := first
		if there > 1 {
			what += fmt.Sprintf(" and %d more files", there-1)
		}
		p.object(Objection{
			Problem: what + ": there already",
			Hint:    "a restore never overwrites anything: move what is there away, or name other folders with --map-dir",
		})
	}
	for _, root := range sortedKeys(need) {
		p.checkRoot(root, need[root])
	}
}

// checkRoot objects to a folder that cannot take files of so many bytes.
func (p *Plan) checkRoot(root string, need int64) {
	info, err := os.Stat(root)
	switch {
	case err != nil:
		p.object(Objection{Problem: fmt.Sprintf("folder for files outside of the data directory: %v", err), Hint: "make that folder, or mount what belongs there"})
		return
	case !info.IsDir():
		p.object(Objection{Problem: root + " is not a directory"})
		return
	case unix.Access(root, unix.W_OK|unix.X_OK) != nil:
		p.object(Objection{Problem: "cannot write in " + root, Hint: "run mbk as root, or as the user who owns that folder"})
		return
	}
	if p.target.path != "" && (root == p.target.path || below(root, p.target.path)) {
		p.object(Objection{Problem: fmt.Sprintf("%s lies in the target", root), Hint: "without --map-dir and --original-dirs the files are restored into the data directory"})
	}
	p.object(p.target.owner.reaches(root)...)
	free, err := freeSpace(root)
	if err != nil {
		p.object(Objection{Problem: err.Error()})
	} else if free < need {
		p.object(Objection{
			Problem: fmt.Sprintf("%s has %s free, and the files that go there need about %s", root, humanize.IBytes(uint64(free)), humanize.IBytes(uint64(need))),
			Hint:    "make room, or name another folder with --map-dir",
		})
	}
}

// sortedKeys are the keys of m in their order.
func sortedKeys(m map[string]int64) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// outsideScratch is the hidden folder in which files are built that go outside of the
// data directory, on their file system. Like scratch it is locked.
type outsideScratch struct {
	dir   string
	lock  *os.File
	root  *os.Root // of the files
	files []outsideFile
}

// outsideFiles is the folder in it that holds the files. It belongs to the server's user, who
// may not exchange it.
const outsideFiles = "files"

// openOutside makes the scratch folders for files outside of the data directory, and
// removes those that dead restores into the same target have left.
func (s *scratch) openOutside(files []outsideFile) error {
	byRoot := map[string]*outsideScratch{}
	for _, f := range files {
		o := byRoot[f.root]
		if o == nil {
			var err error
			if o, err = s.newOutside(f.root); err != nil {
				return err
			}
			byRoot[f.root] = o
		}
		o.files = append(o.files, f)
	}
	return nil
}

// newOutside makes one scratch folder.
func (s *scratch) newOutside(root string) (_ *outsideScratch, err error) {
	dir := filepath.Join(root, filepath.Base(s.dir))
	if filepath.Base(s.dir)[0] != '.' {
		dir = filepath.Join(root, "."+filepath.Base(s.dir))
	}
	if f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0); err == nil {
		busy := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if busy == nil {
			busy = removeTree(dir)
		} else if errors.Is(busy, unix.EWOULDBLOCK) {
			busy = &BusyError{Target: s.target.path}
		}
		if err := errors.Join(busy, f.Close()); err != nil {
			return nil, err
		}
	}
	o := &outsideScratch{dir: dir}
	if err := os.Mkdir(dir, 0o711); err != nil {
		return nil, fmt.Errorf("make scratch folder: %w", err)
	}
	s.outside = append(s.outside, o) // from here on it is removed with the others
	if o.lock, err = os.Open(dir); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(o.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, err
	}
	inner := filepath.Join(dir, outsideFiles)
	if err := os.Mkdir(inner, 0o700); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(inner, s.target.owner.UID, s.target.owner.GID); err != nil {
			return nil, err
		}
	}
	o.root, err = os.OpenRoot(inner)
	return o, err
}

// goesOutside says whether a file is restored outside of the data directory.
func (s *scratch) goesOutside(number uint32) bool {
	for _, o := range s.outside {
		if slices.ContainsFunc(o.files, func(f outsideFile) bool { return f.Number == number }) {
			return true
		}
	}
	return false
}

// extractOutside extracts the files that go outside of the data directory, and makes
// links to them in it.
func (s *scratch) extractOutside(ctx context.Context, x extraction) error {
	for _, o := range s.outside {
		var files []*outFile
		for _, f := range o.files {
			files = append(files, &outFile{File: f.File, path: f.rel(), size: f.Size})
		}
		y := extraction{st: x.st, folder: x.folder, root: o.root, owner: x.owner, workers: x.workers, meter: x.meter}
		if err := y.run(ctx, files); err != nil {
			return err
		}
		for _, f := range o.files {
			if err := x.makeFolder(path.Dir(f.File.Path)); err != nil {
				return err
			}
			if err := s.root.Symlink(filepath.Join(o.dir, outsideFiles, filepath.FromSlash(f.rel())), f.File.Path); err != nil {
				return fmt.Errorf("extract %s: %w", f.File.Path, err)
			}
		}
	}
	return nil
}

// keepsDataDir says whether a table of InnoDB stays outside of the data directory.
func (s *scratch) keepsDataDir(table string) bool {
	for _, o := range s.outside {
		for _, f := range o.files {
			if f.Link == repo.LinkISL && f.File.Path == table+".ibd" {
				return true
			}
		}
	}
	return false
}

// linkOutside replaces the links of the recovery by those that the server shall
// follow. A file that recovery has dropped is not put anywhere.
func (s *scratch) linkOutside() error {
	for _, o := range s.outside {
		kept := o.files[:0]
		for _, f := range o.files {
			err := s.root.Remove(f.File.Path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil && f.Link == repo.LinkISL {
				err = s.writeText(strings.TrimSuffix(f.File.Path, ".ibd")+".isl", f.path)
			} else if err == nil {
				err = s.root.Symlink(f.path, f.File.Path)
			}
			if err != nil {
				return fmt.Errorf("link %s to %s: %w", f.File.Path, f.path, err)
			}
			kept = append(kept, f)
		}
		o.files = kept
	}
	return nil
}

// writeText makes a file of a server's, which must not be there yet: the directory
// belongs to the server's user.
func (s *scratch) writeText(name, text string) error {
	f, err := s.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o660)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Chmod(0o660)) // whatever the umask is
	if os.Geteuid() == 0 {
		err = errors.Join(err, f.Chown(s.target.owner.UID, s.target.owner.GID))
	}
	return errors.Join(err, f.Close())
}

// moveOutside puts the files where they belong, durably, and returns a function that
// undoes that.
func (s *scratch) moveOutside() (undo func() error, err error) {
	type move struct{ from, to string }
	var moved []move
	undo = func() error {
		var errs []error
		for _, m := range slices.Backward(moved) {
			errs = append(errs, exclusiveRename(m.to, m.from))
		}
		return errors.Join(errs...)
	}
	for _, o := range s.outside {
		if err := unix.Syncfs(int(o.lock.Fd())); err != nil {
			return undo, fmt.Errorf("sync the file system of %s: %w", o.dir, err)
		}
		for _, f := range o.files {
			if err := s.makeOutsideFolder(f.root, filepath.Dir(f.path)); err != nil {
				return undo, err
			}
			from := filepath.Join(o.dir, outsideFiles, filepath.FromSlash(f.rel()))
			if err := exclusiveRename(from, f.path); err != nil {
				return undo, err
			}
			moved = append(moved, move{from, f.path})
		}
		if err := unix.Syncfs(int(o.lock.Fd())); err != nil {
			return undo, fmt.Errorf("sync the file system of %s: %w", o.dir, err)
		}
	}
	return undo, nil
}

// makeOutsideFolder makes a folder below root, and those above it, as far as they are
// missing.
func (s *scratch) makeOutsideFolder(root, dir string) error {
	if dir == root {
		return nil
	}
	if err := s.makeOutsideFolder(root, filepath.Dir(dir)); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && os.Geteuid() == 0 {
		err = os.Lchown(dir, s.target.owner.UID, s.target.owner.GID)
	}
	return err
}

// removeOutside removes the scratch folders, or leaves them for a look.
func (s *scratch) removeOutside(keep bool) error {
	var errs []error
	for _, o := range s.outside {
		if !keep {
			errs = append(errs, removeTree(o.dir))
		}
		if o.root != nil {
			errs = append(errs, o.root.Close())
		}
		if o.lock != nil {
			errs = append(errs, o.lock.Close())
		}
	}
	s.outside = nil
	return errors.Join(errs...)
}
