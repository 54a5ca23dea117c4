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

	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
	"mbk/internal/ui/meter"
)

// Extracted is what Extract has done.
type Extracted struct {
	ID     string   `json:"id"`
	Dir    string   `json:"dir"`
	Tables []string `json:"tables"` // "db.table", of which files were extracted
	Files  []string `json:"files"`  // below Dir
	Bytes  int64    `json:"bytes"`
	Notes  []string `json:"notes"`
}

// Extract writes files of a backup, as they were copied, below a folder, which
// is made if it is missing. Nothing that is there is overwritten, and after an
// error nothing is left.
//
// A pattern names tables by their SQL names, "shop.orders", or files by their
// path in the data directory, "shop/orders.ibd"; "*" and "?" stand for other
// characters, as in package path. Every pattern must match something.
//
// Errors: *ObjectionsError, *pack.DamageError.
func Extract(ctx context.Context, o Preparation, patterns []string, dir string) (*Extracted, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.WithDefaults()
	chain, err := o.Repository.Chain(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	m := chain.Manifest()
	what := fmt.Sprintf("extract from %s into %s", m.ID, dir)
	all, err := outFiles(m, o.Tool)
	if err != nil {
		return nil, err
	}
	r := &Extracted{ID: m.ID, Dir: dir, Tables: []string{}, Files: []string{}, Notes: []string{}}
	files, objections := r.choose(m, all, patterns)
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(f.path))); !errors.Is(err, fs.ErrNotExist) {
			objections = append(objections,
				Objection{Problem: f.path + " is there already", Hint: "extract into another folder"})
		}
	}
	if err := asError(what, objections); err != nil {
		return nil, err
	}
	if err := r.write(ctx, o, chain, files); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if slices.ContainsFunc(files, func(f *outFile) bool { return f.Class == repo.ClassRedo }) &&
		len(externalSpaces(m)) > 0 {
		r.Notes = append(r.Notes, "the redo log leads a server to the files of tables with DATA DIRECTORY, where they are "+
			"on the source: on that machine use it with mbk restore only")
	}
	return r, nil
}

// choose finds the files that patterns mean.
func (r *Extracted) choose(m *repo.Manifest, all []*outFile, patterns []string) ([]*outFile, []Objection) {
	byNumber := map[uint32]*outFile{}
	for _, f := range all {
		byNumber[f.Number] = f
	}
	chosen := map[*outFile]bool{}
	var objections []Objection
	for _, p := range patterns {
		matched := false
		for _, f := range all {
			if ok, err := path.Match(p, f.path); err == nil && ok {
				matched, chosen[f] = true, true
			}
		}
		for _, t := range m.Tables {
			if !matchesTable(p, t) {
				continue
			}
			matched = true
			r.Tables = append(r.Tables, t.Database+"."+t.Name)
			for _, i := range t.Files {
				if f := byNumber[m.Files[i].Number]; f != nil {
					chosen[f] = true
				}
			}
		}
		if !matched {
			objections = append(objections, Objection{
				Problem: fmt.Sprintf("%q matches no table and no file of the backup", p),
				Hint:    "name tables as database.table, and files by their path in the data directory",
			})
		}
	}
	if len(patterns) == 0 {
		objections = append(objections, Objection{Problem: "no table and no file was named"})
	}
	slices.Sort(r.Tables)
	r.Tables = slices.Compact(r.Tables)
	return slices.DeleteFunc(all, func(f *outFile) bool { return !chosen[f] }), objections
}

// matchesTable reports whether a pattern means a table.
func matchesTable(pattern string, t repo.Table) bool {
	database, name, ok := strings.Cut(pattern, ".")
	if !ok {
		return false
	}
	one, err1 := path.Match(database, t.Database)
	two, err2 := path.Match(name, t.Name)
	return one && two && err1 == nil && err2 == nil || pattern == t.Database+"."+t.Name
}

// write extracts the files, and removes them again if that fails.
func (r *Extracted) write(ctx context.Context, o Preparation, chain *repo.Chain, files []*outFile) (err error) {
	dir, err := extractTo(r.Dir)
	if err != nil {
		return err
	}
	made := false
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		made = true
	}
	root, err := openFolder(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	x := &extraction{chain: chain, root: root, workers: o.Workers, meter: meter.New(o.OnProgress)}
	innodb := false
	for _, f := range files {
		r.Bytes += f.File.Size
		r.Files = append(r.Files, f.path)
		innodb = innodb || f.Class == repo.ClassInnoDB
	}
	slices.Sort(r.Files)
	x.meter.Begin(PhaseExtract, r.Bytes)
	if err := x.run(ctx, files); err != nil {
		return errors.Join(err, x.undo(files), removeIf(made, dir))
	}
	x.meter.End()
	if innodb {
		r.Notes = append(r.Notes, "InnoDB files are as they were read from the running server: they are consistent only "+
			"together with the redo log of the backup")
	}
	return nil
}

// extractTo is the folder to extract into, without symbolic links. It, and those above
// it, need not exist.
func extractTo(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	missing := ""
	for {
		there, err := fsuser.Resolve(dir)
		if link, ok := errors.AsType[*fsuser.ForeignLinkError](err); ok {
			return "", hint.Wrap(err, hint.Text(link.Advice()))
		}
		if err == nil || !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return filepath.Join(there, missing), err
		}
		dir, missing = filepath.Dir(dir), filepath.Join(filepath.Base(dir), missing)
	}
}

// undo removes the files and folders that were made.
func (x *extraction) undo(files []*outFile) error {
	var errs []error
	for _, f := range files {
		if f.created == nil {
			continue
		}
		// In a folder of somebody else's there may be another file by now.
		if now, err := x.root.Lstat(f.path); err != nil || os.SameFile(now, f.created) {
			errs = append(errs, x.root.Remove(f.path))
		}
	}
	for _, dir := range slices.Backward(x.made) {
		errs = append(errs, x.root.Remove(dir))
	}
	return errors.Join(errs...)
}

// removeIf removes a folder that was made.
func removeIf(made bool, dir string) error {
	if !made {
		return nil
	}
	return os.Remove(dir)
}
