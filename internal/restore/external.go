package restore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"golang.org/x/sys/unix"

	"mbk/internal/datadir"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/stage"
)

// This file is about the files that lay outside of the source's data directory,
// because of DATA DIRECTORY or a symbolic link. They are restored to their places
// below the data directory, and nothing of the backup may lead a server to where
// they were: on the source's own machine these are files in use.
//
// What could lead it there: the names in the redo log, which localNames replaces; the
// .isl files and symbolic links, which are not laid down; and up to 10.5 the dictionary,
// which the server itself corrects when the log names all such tablespaces. When it has
// recovered, forgetDataDirs makes the dictionary say that the tables are as others.

// externalSpaces are the tablespaces to which an .isl file led.
func externalSpaces(m *repo.Manifest) []*repo.File {
	var spaces []*repo.File
	for i := range m.Files {
		if f := &m.Files[i]; f.Link == repo.LinkISL {
			spaces = append(spaces, f)
		}
	}
	return spaces
}

// checkExternal objects to a restore where a recovery would touch files that are there
// already.
func (p *Plan) checkExternal() {
	m := p.manifest
	if p.Raw && len(externalSpaces(m)) > 0 {
		p.addObjection(Objection{
			Problem: "the backup holds tables made with DATA DIRECTORY, which are brought into the data directory: the " +
				"dictionary must be changed for that when the redo log was applied",
			Hint: "restore without " + hint.Option("no-recover"),
		})
	}
	if (innodb.LogHeader{Format: m.Redo.Format}).Readable() {
		return
	}
	for _, f := range externalSpaces(m) {
		if _, err := os.Lstat(f.Origin); errors.Is(err, fs.ErrNotExist) {
			continue
		}
		p.addObjection(Objection{
			Problem: fmt.Sprintf("%s lay at %s on the source, and there is such a file here: the encrypted redo log leads a "+
				"server to it, which would change it", f.Path, f.Origin),
			Hint: "restore on a machine, or in a container, where the folders of the source's DATA DIRECTORY do not exist",
		})
		return // the others are like it
	}
}

// checkFilteredExternal objects to a filter with tables of DATA DIRECTORY where the
// dictionary has their paths: it would lead the server to the files of those that are
// left out, and have it drop them. full is the backup without the filter of the
// restore.
func (p *Plan) checkFilteredExternal(full *repo.Manifest) {
	if p.manifest.Filter == nil || len(externalSpaces(full)) == 0 || pathless(full) {
		return
	}
	p.addObjection(Objection{
		Problem: "the backup holds tables made with DATA DIRECTORY, and the dictionary of a server before 10.6 has their " +
			"paths: with a filter it would lead a server to the files of the source",
		Hint: "restore everything, and drop what is not wanted then",
	})
}

// pathless is datadir.Pathless for the server that a backup is of. Without
// a version no server is found that could recover the backup.
func pathless(m *repo.Manifest) bool {
	v, err := stage.ParseVersion(m.Server.Version)
	return err != nil || datadir.Pathless(v)
}

// describeExternal notes what becomes of files outside of the data directory.
func (p *Plan) describeExternal() {
	m := p.manifest
	outside := map[uint32]bool{}
	for _, f := range p.outside {
		outside[f.Number] = true
	}
	count := map[string]int{}
	for _, f := range m.Files {
		if f.Link != "" && !outside[f.Number] {
			count[f.Link]++
		}
	}
	if n := len(p.outside); n > 0 {
		p.note("%d files are restored outside of the data directory, the first to %s", n, p.outside[0].path)
	}
	if n := count[repo.LinkISL]; n > 0 {
		p.note("%d tablespaces that lay elsewhere (DATA DIRECTORY) are restored into the data directory", n)
	}
	if n := count[repo.LinkSymbolic]; n > 0 {
		p.note("%d files that were symbolic links are restored as plain files", n)
	}
	for _, d := range m.Directories {
		if d.Origin != "" {
			p.note("database %s was a symbolic link to %s; it is restored as a plain directory", d.Name, d.Origin)
		}
	}
}

// external is an extracted backup of which files lay outside of the source's data
// directory.
type external struct {
	data    *dataDir
	outside *outside
	m       *repo.Manifest
}

// localNames takes the absolute paths out of the redo log.
func (e external) localNames(tool string) (err error) {
	m := e.m
	if e.bringsIn() {
		// That this cannot be done afterwards should show now.
		err := withDictionary(e.data.path, m, func(*innodb.Dictionary) error { return nil })
		if errors.Is(err, innodb.ErrEncryptedDictionary) {
			return asError("bring tables of DATA DIRECTORY into the data directory", []Objection{{
				Problem: err.Error(), Hint: "keep such tables outside, with " + hint.Option("map-dir") + " or " +
					hint.Option("original-dirs"),
			}})
		}
	}
	log := restoredLog(m, tool)
	if m.Redo.ExternalNames == 0 && len(log.Names) == 0 {
		return nil
	}
	f, err := e.data.root.OpenFile(logName, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	ids, origins := map[innodb.SpaceID]bool{}, map[string]bool{}
	for _, f := range externalSpaces(m) {
		if f.Space != nil {
			ids[*f.Space] = true
		} else { // its first page was not written yet
			origins[f.Origin] = true
		}
	}
	isExternal := func(space innodb.SpaceID, name string) bool {
		return len(log.Names) == 0 && (ids[space] || origins[path.Clean(name)])
	}
	if err := log.Finish(f, m.Redo.End, isExternal); err != nil {
		return fmt.Errorf("prepare %s: %w", logName, err)
	}
	return nil
}

// restoredLog is the redo log that is laid down. That of a server whose dictionary
// has paths begins with the names of all tablespaces that lay elsewhere.
func restoredLog(m *repo.Manifest, tool string) innodb.RestoredLog {
	r := innodb.RestoredLog{Format: m.Redo.Format, Crypt: m.Redo.Crypt, Checkpoint: m.Redo.Checkpoint, Version: tool}
	if pathless(m) || !(innodb.LogHeader{Format: r.Format}).Readable() {
		return r
	}
	for _, f := range externalSpaces(m) {
		if f.Space != nil {
			r.Names = append(r.Names, innodb.SpaceName{Space: *f.Space, Name: "./" + f.Path})
		}
	}
	return r
}

// forgetDataDirs makes the dictionary of the recovered data directory say of no
// table that it was made with DATA DIRECTORY, but of those that stay outside.
func (e external) forgetDataDirs() error {
	if !e.bringsIn() {
		return nil
	}
	return withDictionary(e.data.path, e.m, func(d *innodb.Dictionary) error {
		_, err := d.ForgetDataDirs(e.outside.keepsDataDir)
		return err
	})
}

// bringsIn reports whether tablespaces are brought into the data directory.
func (e external) bringsIn() bool {
	return slices.ContainsFunc(externalSpaces(e.m), func(f *repo.File) bool { return !e.outside.holds(f.Number) })
}

// withDictionary opens the dictionary of a data directory.
func withDictionary(data string, m *repo.Manifest, do func(*innodb.Dictionary) error) (err error) {
	root, err := os.OpenRoot(data)
	if err != nil {
		return err
	}
	var system systemSpace
	defer func() { err = errors.Join(err, system.close(), root.Close()) }()
	for _, f := range systemFiles(m) {
		file, err := root.OpenFile(f.Path, os.O_RDWR|unix.O_NOFOLLOW, 0)
		if err != nil {
			return err
		}
		system = append(system, part{file, int64(f.First) * int64(f.PageSize)})
	}
	d, err := innodb.OpenDictionary(system, systemFiles(m)[0].PageSize)
	if err == nil {
		err = do(d)
	}
	return err
}

// systemSpace are the files of the system tablespace, as one.
type systemSpace []part

// part is one of them.
type part struct {
	*os.File
	start int64
}

// at returns the file in which an offset lies.
func (s systemSpace) at(off int64) part {
	i := len(s) - 1
	for i > 0 && s[i].start > off {
		i--
	}
	return s[i]
}

// ReadAt implements io.ReaderAt for single pages.
func (s systemSpace) ReadAt(b []byte, off int64) (int, error) {
	p := s.at(off)
	return p.File.ReadAt(b, off-p.start)
}

// WriteAt implements io.WriterAt for single pages.
func (s systemSpace) WriteAt(b []byte, off int64) (int, error) {
	p := s.at(off)
	return p.File.WriteAt(b, off-p.start)
}

// close closes the files.
func (s systemSpace) close() error {
	var errs []error
	for _, p := range s {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}
