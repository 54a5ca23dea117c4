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
	"mbk/internal/sys/fsuser"
)

// manifest describes the backup, once everything of it is stored.
func (a *attempt) manifest(ctx context.Context) (*repo.Manifest, error) {
	m := &repo.Manifest{
		FormatVersion: repo.FormatVersion, ID: a.journal.id, Kind: a.draft.Kind(), Tool: a.opts.Tool,
		Started: a.journal.started, Server: describeServer(a.found.Facts),
		Steps: a.journal.stepTimes(), Stages: a.server.stageTimes(), LockMS: a.journal.window.Milliseconds(),
		Binlog: a.final.position.binlog, Replicas: a.final.position.replicas, Galera: a.final.position.galera,
		Codec: a.opts.Codec.String(), Packs: append(a.copies.packs, a.redo.pack), LeftOut: a.final.leftOut,
		Redo: a.redo.describe(), Aria: repo.Aria{Control: &a.aria.control},
		Changes: repo.Changes{
			Late: a.final.lateCopies(), DDL: a.copies.baseline.ddl(a.final, a.redo.tail.Journal().Spaces()),
		},
	}
	if owner, err := fsuser.OwnerOf(a.found.Layout.Dir); err == nil { // else nobody needs to know
		m.Server.Owner = preflight.OwnerName(owner)
	}
	if p := a.found.Parent; p != nil {
		m.Parent = p.ID
	}
	m.Reuse = a.lineage.reuse(a.found.FullReason, a.copied())
	if a.found.Layout.Selection != nil {
		m.Filter = describeFilter(a.opts.Filter, a.final.leftDatabases)
	}
	found, err := a.list(ctx, m)
	if err != nil {
		return nil, err
	}
	m.TornPages, m.Damaged = found.torn, found.damaged
	m.LSN = repo.LSNs{Checkpoint: m.Redo.Checkpoint.LSN, End: m.Redo.End, MaxPage: found.maxPage}
	if m.LSN.MaxPage > m.LSN.End {
		err := fmt.Errorf("%s has a page with LSN %d, which is after the end of the copied redo at %d: "+
			"it is of another server, or of another time", found.maxFile, m.LSN.MaxPage, m.LSN.End)
		return nil, inconsistent(a.strange(found.maxFile, err))
	}
	if err := reconcileTables(m, a.final, a.found.Layout, a.found.Unlisted); err != nil {
		return nil, inconsistent(err)
	}
	m.Warnings = a.warnings(m, a.noteProblems(m))
	m.BytesRead = a.journal.read.Load() + a.redo.pack.Raw // of pages that had not changed nothing is in the packs
	for _, p := range m.Packs {
		m.BytesStored += p.Size
	}
	m.Packs = append(m.Packs, a.resume.packs(m.Files)...)
	m.Finished = time.Now().UTC()
	return m, nil
}

// strange adds advice to an error about a file that cannot be of this server, or not
// of the present.
func (a *attempt) strange(file string, err error) error {
	ff, d := a.final.files[file], a.copies.foreign.dictionary
	switch {
	case ff == nil:
		return err // the system tablespace or undo
	case d == nil || d.Spaces[ff.entry.DictionaryName()] == 0:
		return hint.Wrap(err, preflight.UnownedHint)
	}
	table := filename.SQL(ff.entry.Dir) + "." + filename.SQL(ff.entry.Table)
	return hint.Wrap(err, hint.Textf(
		"if somebody has exchanged that file, the server cannot open the table: drop it, or leave it out with %s '%s'",
		hint.Option("exclude-table"), table))
}

// WithoutBinlog is the warning of a backup of a server that writes no binary log.
const WithoutBinlog = "the server writes no binary log: a restore ends at the moment of the backup"

// warnings are what a DBA should know of a backup that is whole.
func (a *attempt) warnings(m *repo.Manifest, outdated []datadir.TableName) []string {
	warnings := append([]string{}, a.found.Warnings()...)
	for _, d := range m.Damaged {
		warnings = append(warnings, fmt.Sprintf("%s: page %d is damaged in the source", d.File, d.Page))
	}
	warnings = append(warnings, a.copies.foreign.withoutSpace()...)
	warnings = append(warnings, a.copies.foreign.warnLeftOver()...)
	warnings = append(warnings, a.final.warnUndefined(m)...)
	warnings = append(warnings, a.final.warnUnread(a.found.Warnings())...)
	warnings = append(warnings, warnProblems(m)...)
	if len(outdated) > 0 {
		warnings = append(warnings, preflight.OutdatedText(outdated))
	}
	if m.Binlog == nil {
		warnings = append(warnings, WithoutBinlog)
	}
	return warnings
}

// noteProblems writes what is wrong with tables on the source into the manifest. It
// returns the tables that need an upgrade.
func (a *attempt) noteProblems(m *repo.Manifest) []datadir.TableName {
	j := datadir.Judge{Layout: a.found.Layout, Discarded: a.copies.foreign.discarded, Started: a.opts.Server.Started()}
	if a.final.bare {
		j.Dictionary = a.copies.foreign.dictionary
	}
	parts := datadir.TablesOf(func(yield func(datadir.Entry, datadir.FileFacts) bool) {
		for _, files := range []map[string]*finalFile{a.final.files, a.copies.foreign.misplaced} {
			for _, ff := range files {
				if !yield(ff.entry, ff.facts()) {
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
	return datadir.Outdated(parts, a.found.Facts.Version)
}

// describeFilter is the filter in the manifest, nil without one.
func describeFilter(s filter.Spec, leftOut []string) *repo.Filter {
	return &repo.Filter{
		Databases: s.Databases, ExcludeDatabases: s.ExcludeDatabases, Tables: s.Tables, ExcludeTables: s.ExcludeTables,
		LeftOut: leftOut,
	}
}

// fileOf describes one copied file under its final path.
func fileOf(ctx context.Context, path string, fc *fileCopy) (repo.File, outcome, error) {
	f := repo.File{
		Number: fc.number, Path: path, Origin: fc.origin, Class: fc.class, Size: fc.size, Sparse: fc.stat.Sparse(),
		Mode: fc.stat.Mode & 0o7777, Modified: fc.stat.Modified.Time(),
		Dev: fc.stat.ID.Dev, Inode: fc.stat.ID.Inode, First: uint32(fc.first),
		Base: fc.below().base, Earlier: fc.below().earlier,
	}
	if fc.stat.ID.Born != 0 {
		f.Born = time.Unix(0, fc.stat.ID.Born).UTC()
	}
	if fc.space != nil {
		f.Space, f.Flags, f.PageSize = fc.id, uint32(fc.space.Flags), fc.space.PageSize
	}
	out := outcome{maxFile: path}
	if fc.pages != nil {
		out.maxPage = innodb.LSN(fc.pages.max.Load())
	}
	for _, p := range fc.pending {
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

// copied are the copies of all files but the redo log.
func (a *attempt) copied() []*fileCopy {
	all := slices.Clone(a.copies.system)
	all = slices.AppendSeq(all, maps.Values(a.aria.logs))
	for _, ff := range a.final.files {
		all = append(all, ff.copy)
	}
	return all
}

// lineageOf returns the numbers that the next increment needs of the backup.
func (a *attempt) lineageOf(m *repo.Manifest) *repo.Lineage {
	return a.lineage.lineage(m, a.found.Facts.Version, len(a.copies.page), a.copied(), a.arrived())
}

// list puts all files of a backup into the manifest, in the order of their
// paths, and the tables that they make up.
func (a *attempt) list(ctx context.Context, m *repo.Manifest) (outcome, error) {
	var found outcome
	add := func(path string, fc *fileCopy) error {
		f, out, err := fileOf(ctx, path, fc)
		if err != nil {
			return err
		}
		found.add(out)
		m.Files = append(m.Files, f)
		return nil
	}
	m.Files = make([]repo.File, 0, len(a.copies.system)+len(a.aria.logs)+len(a.final.files)+1)
	for _, fc := range a.copies.system {
		if err := add(fc.entry.Path(), fc); err != nil {
			return outcome{}, err
		}
	}
	for _, fc := range a.aria.logs {
		if err := add(fc.entry.Path(), fc); err != nil {
			return outcome{}, err
		}
	}
	for _, path := range slices.Sorted(maps.Keys(a.final.files)) { // most of what is sorted below
		ff := a.final.files[path]
		if err := add(path, ff.copy); err != nil {
			return outcome{}, err
		}
		if to := ff.entry.Link; to.Kind != "" {
			last := &m.Files[len(m.Files)-1]
			last.Link, last.Origin = to.Kind, filepath.Clean(to.To)
		}
	}
	m.Files = append(m.Files, a.redo.file())
	slices.SortFunc(m.Files, func(a, b repo.File) int { return strings.Compare(a.Path, b.Path) })
	index := make(map[string]int, len(m.Files))
	for i, f := range m.Files {
		index[f.Path] = i
		if f.Class == repo.ClassRedo {
			m.Redo.File = i
		}
	}
	m.Tables = a.final.tables(index)
	for _, dir := range a.final.databases {
		mode := uint32(0o700)
		if s, err := a.found.Layout.Stat(a.found.Layout.Dir + "/" + dir); err == nil {
			mode = s.Mode & 0o7777
		}
		m.Directories = append(m.Directories, repo.Directory{
			Path: dir, Name: filename.SQL(dir), Mode: mode, Origin: a.found.Layout.DatabaseOrigin(dir),
		})
	}
	return found, nil
}
