package restore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/sys/disk"
	"mbk/internal/sys/fsuser"
	"mbk/internal/ui/printable"
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

// OutsideFile is a file of a plan that is restored outside of the data directory.
type OutsideFile struct {
	Path string `json:"path"` // in the data directory, where a link or an .isl file stands for it
	To   string `json:"to"`   // where it goes
}

// mayLieOutside reports whether a server keeps such files outside of its data directory,
// under such a name: data and index files of tables. A backup can come from anybody, so
// that is all that goes where it says.
func mayLieOutside(f *repo.File) bool {
	extensions := []string{".MYD", ".MYI", ".MAD", ".MAI", ".ARZ", ".ibd"}
	if f.Link == repo.LinkISL {
		extensions = []string{".ibd"}
	}
	return slices.Contains(extensions, path.Ext(f.Path)) && path.Base(f.Origin) == path.Base(f.Path)
}

// outside finds the files that are restored outside of the data directory, and those
// that stay in it although a map is about them.
func outside(m *repo.Manifest, maps []DirMap) (found []outsideFile, stay []*repo.File) {
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
		if !mayLieOutside(f) {
			stay = append(stay, f)
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
	return found, stay
}

// below reports whether a path lies in a folder.
func below(name, folder string) bool {
	rel, err := filepath.Rel(folder, name)
	return err == nil && filepath.IsLocal(rel) && rel != "."
}

// checkOutside objects to files outside of the data directory that cannot be put
// where they should.
func (p *Plan) checkOutside() {
	var stay []*repo.File
	p.outside, stay = outside(p.manifest, p.opts.DirMaps)
	for _, f := range p.outside {
		p.Outside = append(p.Outside, OutsideFile{Path: f.File.Path, To: f.path})
	}
	for _, f := range stay {
		p.note("%s, which was a link to %s, goes into the data directory: only data and index files of tables, under their own names, are restored elsewhere", f.Path, f.Origin)
	}
	for _, d := range p.opts.DirMaps {
		if d.From != "/" && !slices.ContainsFunc(p.manifest.Files, func(f repo.File) bool { return f.Link != "" && below(f.Origin, d.From) }) {
			p.object(Objection{
				Problem: fmt.Sprintf("no file of a table of the backup lay below %s", d.From),
				Hint:    "mbk restore " + hint.Option("dry-run") + " without " + hint.Option("map-dir") + " tells which files lay outside of the data directory",
			})
		}
	}
	if len(p.outside) > 0 && p.opts.Raw {
		p.object(Objection{Problem: "files go outside of the data directory only when they are recovered", Hint: "restore without " + hint.Option("no-recover")})
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
			what += " and " + printable.Count(there-1, "more file")
		}
		p.object(Objection{
			Problem: what + ": there already",
			Hint:    "a restore never overwrites anything: move what is there away, or name other folders with " + hint.Option("map-dir"),
		})
	}
	for _, root := range sortedKeys(need) {
		p.checkRoot(root, need[root])
	}
	p.checkWays()
}

// checkWays objects to folders through which somebody else could lead files that root
// places outside of the data directory: all must belong to root or to the new owner.
func (p *Plan) checkWays() {
	if os.Geteuid() != 0 {
		return
	}
	seen := map[string]bool{}
	for _, f := range p.outside {
		for dir := filepath.Dir(f.path); !seen[dir]; dir = filepath.Dir(dir) {
			seen[dir] = true
			info, err := os.Lstat(dir)
			if errors.Is(err, fs.ErrNotExist) && dir != f.root {
				continue // it will be made
			}
			if problem := p.target.owner.distrusts(dir, info); err == nil && problem != "" {
				p.object(Objection{
					Problem: fmt.Sprintf("files go outside of the data directory by way of %s, which %s", dir, problem),
					Hint:    "name another folder with " + hint.Option("map-dir") + ": it, and all above it, must be no links, and belong to root or to the user who is to own the files",
				})
			}
		}
	}
}

// distrusts tells why a folder is none through which files of the owner may be led, ""
// if it is one.
func (o Owner) distrusts(dir string, info os.FileInfo) string {
	if info == nil {
		return ""
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	perm, sticky := info.Mode().Perm(), info.Mode()&os.ModeSticky != 0
	switch {
	case info.Mode()&os.ModeSymlink != 0:
		return "is a symbolic link"
	case !info.IsDir() || !ok:
		return "is not a directory"
	case st.Uid != 0 && int(st.Uid) != o.UID:
		return fmt.Sprintf("belongs to user %d", st.Uid)
	case perm&0o002 != 0 && !sticky:
		return "everybody can change"
	case perm&0o020 == 0 || sticky:
		return ""
	}
	who, err := fsuser.GroupWriter(dir, int(st.Gid), o.user())
	switch {
	case err != nil:
		return fmt.Sprintf("others may be able to change (%v)", err)
	case who != "":
		return who + " can change"
	}
	return ""
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
	case os.Geteuid() == 0 && !p.target.owner.mayWrite(root):
		p.object(Objection{
			Problem: fmt.Sprintf("user %d, who is to own the files, may not write in %s", p.target.owner.UID, root),
			Hint:    "give that folder to the user who runs the server (chown), or name another one with " + hint.Option("map-dir"),
		})
		return
	case unix.Access(root, unix.W_OK|unix.X_OK) != nil:
		p.object(Objection{Problem: "cannot write in " + root, Hint: "run mbk as root, or as the user who owns that folder"})
		return
	}
	if p.target.path != "" && (root == p.target.path || below(root, p.target.path)) {
		p.object(Objection{
			Problem: fmt.Sprintf("%s lies in the target", root),
			Hint:    "without " + hint.Option("map-dir") + " and " + hint.Option("original-dirs") + " the files are restored into the data directory",
		})
	}
	p.object(p.target.owner.reaches(root)...)
	space, err := disk.SpaceOf(root)
	if err != nil {
		p.object(Objection{Problem: err.Error()})
	} else if space.Free < need {
		p.object(Objection{
			Problem: fmt.Sprintf("%s has %s free, and the files that go there need about %s", root,
				humanize.IBytes(uint64(space.Free)), humanize.IBytes(uint64(need))),
			Hint: "make room, or name another folder with " + hint.Option("map-dir"),
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

// outsideFiles is the folder in it that holds the files.
const outsideFiles = "files"

// outsidePrefix is what the names of such folders begin with.
func (t target) outsidePrefix() string {
	if t.inside {
		return ".mbk-outside-"
	}
	return "." + filepath.Base(t.path) + ".mbk-outside-"
}

// openOutside makes the scratch folders for files outside of the data directory, and
// removes those that dead restores into the same target have left. Where the files go
// is said by the backup: all of it is done with the rights of their owner.
func (s *scratch) openOutside(files []outsideFile) error {
	byRoot := map[string]*outsideScratch{}
	for _, f := range files {
		o := byRoot[f.root]
		if o == nil {
			var err error
			if o, err = fsuser.Value(s.target.owner.user(), func() (*outsideScratch, error) { return s.newOutside(f.root) }); err != nil {
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
	left, err := leftoversIn(root, s.target.outsidePrefix(), s.target.owner.user())
	if err != nil {
		return nil, err
	}
	for _, l := range left {
		release, err := lockLeftover(filepath.Join(root, l.name))
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &BusyError{Target: s.target.path}
		}
		if err != nil {
			return nil, err
		}
		err = removeTree(filepath.Join(root, l.name))
		release()
		if err != nil {
			return nil, err
		}
	}
	o := &outsideScratch{dir: filepath.Join(root, s.target.outsidePrefix()+strings.ToLower(rand.Text()[:8]))}
	if err := os.Mkdir(o.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make scratch folder: %w", err)
	}
	s.outside = append(s.outside, o) // from here on it is removed with the others
	if o.lock, err = os.Open(o.dir); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(o.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, err
	}
	inner := filepath.Join(o.dir, outsideFiles)
	if err := os.Mkdir(inner, 0o700); err != nil {
		return nil, err
	}
	o.root, err = os.OpenRoot(inner)
	return o, err
}

// goesOutside reports whether a file is restored outside of the data directory.
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
		y := extraction{st: x.st, folder: x.folder, root: o.root, as: s.target.owner.user(), owner: x.owner, workers: x.workers, meter: x.meter}
		if err := y.run(ctx, files); err != nil {
			return err
		}
		if err := x.as.Do(func() error { return s.linkIn(o, x) }); err != nil {
			return err
		}
	}
	return nil
}

// linkIn makes links in the data directory to files that go outside.
func (s *scratch) linkIn(o *outsideScratch, x extraction) error {
	for _, f := range o.files {
		if err := x.makeFolder(path.Dir(f.File.Path)); err != nil {
			return err
		}
		if err := s.root.Symlink(filepath.Join(o.dir, outsideFiles, filepath.FromSlash(f.rel())), f.File.Path); err != nil {
			return fmt.Errorf("extract %s: %w", f.File.Path, err)
		}
	}
	return nil
}

// keepsDataDir reports whether a table of InnoDB stays outside of the data directory.
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
	owner := s.target.owner.user()
	undo = func() error {
		var errs []error
		for _, m := range slices.Backward(moved) {
			errs = append(errs, owner.Do(func() error { return exclusiveRename(m.to, m.from) }))
		}
		return errors.Join(errs...)
	}
	for _, o := range s.outside {
		if err := unix.Syncfs(int(o.lock.Fd())); err != nil {
			return undo, fmt.Errorf("sync the file system of %s: %w", o.dir, err)
		}
		for _, f := range o.files {
			from := filepath.Join(o.dir, outsideFiles, filepath.FromSlash(f.rel()))
			err := owner.Do(func() error {
				if err := makeOutsideFolder(f.root, filepath.Dir(f.path)); err != nil {
					return err
				}
				return exclusiveRename(from, f.path)
			})
			if err != nil {
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
func makeOutsideFolder(root, dir string) error {
	if dir == root {
		return nil
	}
	if err := makeOutsideFolder(root, filepath.Dir(dir)); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		var info os.FileInfo
		if info, err = os.Lstat(dir); err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a directory", dir)
		}
	}
	return err
}

// removeOutside removes the scratch folders, or leaves them for a look.
func (s *scratch) removeOutside(keep bool) error {
	var errs []error
	for _, o := range s.outside {
		if !keep {
			errs = append(errs, s.target.owner.user().Do(func() error { return removeTree(o.dir) }))
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
