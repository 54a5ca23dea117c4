package backup

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"mbk/internal/datadir/filename"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// fileOf describes one copied file under its final path.
func fileOf(ctx context.Context, path string, h *fileCopy) (repo.File, outcome, error) {
	f := repo.File{
		Number: h.number, Path: path, Origin: h.origin, Class: h.class, Size: h.size, Sparse: h.stat.Sparse(),
		Mode: h.stat.Mode & 0o7777, Modified: h.stat.Modified.UTC(),
		Dev: h.stat.ID.Dev, Inode: h.stat.ID.Inode, First: uint32(h.first),
	}
	if h.stat.ID.Born != 0 {
		f.Born = time.Unix(0, h.stat.ID.Born).UTC()
	}
	if h.space != nil {
		f.Space, f.Flags, f.PageSize = h.id, uint32(h.space.Flags), h.space.PageSize
	}
	out := outcome{maxFile: path}
	if h.pages != nil {
		out.maxPage = innodb.LSN(h.pages.max.Load())
	}
	for _, p := range h.pending {
		r, err := p.Wait(ctx)
		if err != nil {
			return repo.File{}, outcome{}, err
		}
		f.Extents = append(f.Extents, r.Extents...)
		out.torn += r.TornPages
		for _, page := range r.Damaged {
			out.damaged = append(out.damaged, repo.DamagedPage{File: path, Page: page})
		}
	}
	sort.Slice(f.Extents, func(i, j int) bool { return f.Extents[i].Start < f.Extents[j].Start })
	return f, out, nil
}

// outcome is what the copying of files has found.
type outcome struct {
	torn    int64
	maxPage innodb.LSN
	maxFile string // that has it
	damaged []repo.DamagedPage
}

func (o *outcome) add(more outcome) {
	o.torn += more.torn
	if more.maxPage > o.maxPage {
		o.maxPage, o.maxFile = more.maxPage, more.maxFile
	}
	o.damaged = append(o.damaged, more.damaged...)
}

// list puts all files of a backup into the manifest, in the order of their
// paths, and the tables that they make up.
func (r *attempt) list(ctx context.Context, m *repo.Manifest) (outcome, error) {
	var found outcome
	add := func(path string, h *fileCopy) error {
		f, out, err := fileOf(ctx, path, h)
		if err != nil {
			return err
		}
		found.add(out)
		m.Files = append(m.Files, f)
		return nil
	}
	for _, h := range r.system {
		if err := add(h.entry.Path(), h); err != nil {
			return outcome{}, err
		}
	}
	for _, h := range r.aria.logs {
		if err := add(h.entry.Path(), h); err != nil {
			return outcome{}, err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(r.final.files)) { // most of what is sorted below
		p := r.final.files[path]
		if err := add(path, p.copy); err != nil {
			return outcome{}, err
		}
		if to := p.entry.Link; to.Kind != "" {
			last := &m.Files[len(m.Files)-1]
			last.Link, last.Origin = to.Kind, filepath.Clean(to.To)
		}
	}
	redo := r.redo.file()
	if filepath.Dir(r.layout.Redo) != r.layout.Dir {
		redo.Origin = r.layout.Redo // it is restored into the data directory itself
	}
	m.Files = append(m.Files, redo)
	slices.SortFunc(m.Files, func(a, b repo.File) int { return strings.Compare(a.Path, b.Path) })
	index := make(map[string]int, len(m.Files))
	for i, f := range m.Files {
		index[f.Path] = i
		if f.Class == repo.ClassRedo {
			m.Redo.File = i
		}
	}
	m.Tables = r.final.tables(index)
	for _, dir := range r.final.databases {
		mode := uint32(0o700)
		if s, err := r.layout.Stat(r.layout.Dir + "/" + dir); err == nil {
			mode = s.Mode & 0o7777
		}
		m.Directories = append(m.Directories, repo.Directory{Path: dir, Name: filename.SQL(dir), Mode: mode, Origin: r.layout.DatabaseOrigin(dir)})
	}
	return found, nil
}
