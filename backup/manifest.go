package backup

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"mbk/backup/preflight"
	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/datadir/filter"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// manifest describes the backup, once everything of it is stored.
func (r *attempt) manifest(ctx context.Context) (*repo.Manifest, error) {
	m := &repo.Manifest{
		FormatVersion: repo.FormatVersion, ID: r.journal.id, Kind: r.draft().Kind(), Tool: r.opts.Tool,
		Started: r.journal.started, Server: describeServer(r.found.Facts),
		Steps: r.journal.stepTimes(), Stages: r.server.stageTimes(), LockMS: r.journal.window.Milliseconds(),
		Binlog: r.final.position.binlog, Replicas: r.final.position.replicas, Galera: r.final.position.galera,
		Codec: r.opts.Codec.String(), Packs: append(r.copies.packs, r.redo.pack), LeftOut: r.final.leftOut,
		Redo: r.redo.describe(), Aria: repo.Aria{Control: &r.aria.control},
		Changes: repo.Changes{
			Late: r.final.lateCopies(), DDL: r.copies.baseline.ddl(r.final, r.redo.tail.Journal().Spaces()),
		},
	}
	if r.found.Layout.Selection != nil {
		m.Filter = describeFilter(r.opts.Filter, r.final.leftDatabases)
	}
	found, err := r.list(ctx, m)
	if err != nil {
		return nil, err
	}
	m.TornPages, m.Damaged = found.torn, found.damaged
	m.LSN = repo.LSNs{Checkpoint: m.Redo.Checkpoint.LSN, End: m.Redo.End, MaxPage: found.maxPage}
	if m.LSN.MaxPage > m.LSN.End {
		err := fmt.Errorf("%s has a page with LSN %d, which is after the end of the copied redo at %d: "+
			"it is of another server, or of another time", found.maxFile, m.LSN.MaxPage, m.LSN.End)
		return nil, r.strange(found.maxFile, err)
	}
	if err := reconcileTables(m, r.final, r.found.Layout, r.found.Unlisted); err != nil {
		return nil, err
	}
	m.Warnings = r.warnings(m, r.noteProblems(m))
	for _, p := range m.Packs {
		m.BytesRead += p.Raw
		m.BytesStored += p.Size
	}
	m.Finished = time.Now().UTC()
	return m, nil
}

// strange adds advice to an error about a file that cannot be of this server, or not
// of the present.
func (r *attempt) strange(file string, err error) error {
	p, d := r.final.files[file], r.copies.foreign.dictionary
	switch {
	case p == nil:
		return err // the system tablespace or undo
	case d == nil || d.Spaces[p.entry.DictionaryName()] == 0:
		return hint.Wrap(err, preflight.UnownedHint)
	}
	table := filename.SQL(p.entry.Dir) + "." + filename.SQL(p.entry.Table)
	return hint.Wrap(err, hint.Textf(
		"if somebody has exchanged that file, the server cannot open the table: drop it, or leave it out with %s '%s'",
		hint.Option("exclude-table"), table))
}

// warnings are what a DBA should know of a backup that is whole.
func (r *attempt) warnings(m *repo.Manifest, outdated []datadir.TableName) []string {
	warnings := append([]string{}, r.found.Warnings()...)
	for _, d := range m.Damaged {
		warnings = append(warnings, fmt.Sprintf("%s: page %d is damaged in the source", d.File, d.Page))
	}
	warnings = append(warnings, r.copies.foreign.withoutSpace()...)
	warnings = append(warnings, r.copies.foreign.warnLeftOver()...)
	warnings = append(warnings, r.final.warnUndefined(m)...)
	warnings = append(warnings, r.final.warnUnread(r.found.Warnings())...)
	warnings = append(warnings, warnProblems(m)...)
	if len(outdated) > 0 {
		warnings = append(warnings, preflight.OutdatedText(outdated))
	}
	if m.Binlog == nil {
		warnings = append(warnings, "the server writes no binary log: a restore ends at the moment of the backup")
	}
	return warnings
}

// noteProblems writes what is wrong with tables on the source into the manifest. It
// returns the tables that need an upgrade.
func (r *attempt) noteProblems(m *repo.Manifest) []datadir.TableName {
	j := datadir.Judge{Layout: r.found.Layout, Discarded: r.copies.foreign.discarded, Started: r.opts.Server.Started()}
	if r.final.bare {
		j.Dictionary = r.copies.foreign.dictionary
	}
	parts := datadir.TablesOf(func(yield func(datadir.Entry, datadir.FileFacts) bool) {
		for _, files := range []map[string]*finalFile{r.final.files, r.copies.foreign.misplaced} {
			for _, p := range files {
				if !yield(p.entry, p.facts()) {
					return
				}
			}
		}
	})
	all := j.Problems(parts)
	for i := range m.Tables {
		if t := &m.Tables[i]; t.Problem == "" {
			t.Problem = all[datadir.TableName{Database: t.Database, Name: t.Name}.Key()].Text
		}
	}
	return datadir.Outdated(parts, r.found.Facts.Version)
}

// describeFilter is the filter in the manifest, nil without one.
func describeFilter(s filter.Spec, leftOut []string) *repo.Filter {
	return &repo.Filter{
		Databases: s.Databases, ExcludeDatabases: s.ExcludeDatabases, Tables: s.Tables, ExcludeTables: s.ExcludeTables,
		LeftOut: leftOut,
	}
}

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
	for _, h := range r.copies.system {
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
	m.Files = append(m.Files, r.redo.file())
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
		if s, err := r.found.Layout.Stat(r.found.Layout.Dir + "/" + dir); err == nil {
			mode = s.Mode & 0o7777
		}
		m.Directories = append(m.Directories, repo.Directory{
			Path: dir, Name: filename.SQL(dir), Mode: mode, Origin: r.found.Layout.DatabaseOrigin(dir),
		})
	}
	return found, nil
}
