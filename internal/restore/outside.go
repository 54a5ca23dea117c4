package restore

import (
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

// filesOutside finds the files that are restored outside of the data directory, and those
// that stay in it although a map is about them.
func filesOutside(m *repo.Manifest, maps []DirMap) (found []outsideFile, stay []*repo.File) {
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
	p.outside, stay = filesOutside(p.manifest, p.opts.DirMaps)
	for _, f := range p.outside {
		p.Outside = append(p.Outside, OutsideFile{Path: f.File.Path, To: f.path})
	}
	for _, f := range stay {
		p.note("%s, which was a link to %s, goes into the data directory: only data and index files of tables, under their "+
			"own names, are restored elsewhere", f.Path, f.Origin)
	}
	for _, d := range p.opts.DirMaps {
		if d.From != "/" && !slices.ContainsFunc(p.manifest.Files,
			func(f repo.File) bool { return f.Link != "" && below(f.Origin, d.From) }) {
			p.addObjection(Objection{
				Problem: fmt.Sprintf("no file of a table of the backup lay below %s", d.From),
				Hint: "mbk restore " + hint.Option("dry-run") + " without " + hint.Option("map-dir") +
					" tells which files lay outside of the data directory",
			})
		}
	}
	if len(p.outside) > 0 && p.opts.Raw {
		p.addObjection(Objection{Problem: "files go outside of the data directory only when they are recovered",
			Hint: "restore without " + hint.Option("no-recover")})
	}
	need := map[string]int64{}
	there, first := 0, ""
	for _, f := range p.outside {
		need[f.root] += p.room(f.File)
		p.SpaceNeeded -= p.room(f.File)
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
		p.addObjection(Objection{
			Problem: what + ": there already",
			Hint: "a restore never overwrites anything: move what is there away, or name other folders with " +
				hint.Option("map-dir"),
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
				p.addObjection(Objection{
					Problem: fmt.Sprintf("files go outside of the data directory by way of %s, which %s", dir, problem),
					Hint: "name another folder with " + hint.Option("map-dir") +
						": it, and all above it, must be no links, and belong to root or to the user who is to own the files",
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
		p.addObjection(Objection{Problem: fmt.Sprintf("folder for files outside of the data directory: %v", err),
			Hint: "make that folder, or mount what belongs there"})
		return
	case !info.IsDir():
		p.addObjection(Objection{Problem: root + " is not a directory"})
		return
	case os.Geteuid() == 0 && !p.target.owner.mayWrite(root):
		p.addObjection(Objection{
			Problem: fmt.Sprintf("user %d, who is to own the files, may not write in %s", p.target.owner.UID, root),
			Hint: "give that folder to the user who runs the server (chown), or name another one with " +
				hint.Option("map-dir"),
		})
		return
	case unix.Access(root, unix.W_OK|unix.X_OK) != nil:
		p.addObjection(Objection{Problem: "cannot write in " + root,
			Hint: "run mbk as root, or as the user who owns that folder"})
		return
	}
	if p.target.path != "" && (root == p.target.path || below(root, p.target.path)) {
		p.addObjection(Objection{
			Problem: fmt.Sprintf("%s lies in the target", root),
			Hint: "without " + hint.Option("map-dir") + " and " + hint.Option("original-dirs") +
				" the files are restored into the data directory",
		})
	}
	p.addObjection(p.target.owner.reaches(root)...)
	space, err := disk.SpaceOf(root)
	if err != nil {
		p.addObjection(Objection{Problem: err.Error()})
	} else if space.Free < need {
		p.addObjection(Objection{
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
