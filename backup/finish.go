package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/input/limit"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// finish ends the packs and proves that what was copied is complete.
func (r *attempt) finish(ctx context.Context) error {
	err := r.copies.closeLogTables(ctx, r.final)
	if err != nil {
		return err
	}
	if r.packs, err = r.copier.Close(ctx); err != nil {
		return err
	}
	log, err := r.redo.wait(ctx)
	if err != nil {
		return err
	}
	r.packs = append(r.packs, log)
	r.left = r.final.leaveOut()
	if len(r.left) > 0 && !r.opts.SkipUnsupported {
		t := r.left[0]
		return madeMeanwhile(fmt.Sprintf("%s has engine %s, which cannot be backed up; it was made during the backup", printable.Table(t.Database, t.Name), t.Engine), leaveOutHint())
	}
	r.left = append(r.left, r.leftByFilter()...)
	r.left = append(r.left, r.leftWithoutFiles()...)
	if err := r.addRecreated(); err != nil {
		return err
	}
	if err := r.reconcileSpaces(); err != nil {
		return err
	}
	return r.lookForImportedPages()
}

// madeMeanwhile is the error for a table that a check before the backup would have
// refused.
func madeMeanwhile(text string, advice hint.Text) error {
	return &FindingError{Finding{Check: checkTables, Grade: GradeError, Text: text, Hints: []hint.Text{advice}}}
}

// addRecreated adds empty files for the tablespaces that an ALTER has made and no scan
// showed, because it began under BLOCK_COMMIT: recovery makes them anew.
func (r *attempt) addRecreated() error {
	names, ids := map[string]bool{}, map[innodb.SpaceID]bool{}
	for _, p := range r.final.files {
		if p.entry.IsInnoDB() {
			names[p.entry.SpaceName()] = true
		}
		if p.copy.id != nil {
			ids[*p.copy.id] = true
		}
	}
	for _, s := range r.redo.tail.Journal().Spaces() {
		e := spaceEntry(s)
		if !madeByAlter(s) || names[e.SpaceName()] || ids[s.Space] || r.layout.Selection.Excludes(s.Name, r.final.left) {
			continue
		}
		if !r.copies.recreates() {
			return fmt.Errorf("tablespace %d, %s: %w", s.Space, s.Name, ErrMadeLast)
		}
		h := &fileCopy{entry: e, number: r.copies.nextNumber(), class: repo.ClassInnoDB}
		h.stat = datadir.FileStat{Mode: unix.S_IFREG | 0o660, Modified: time.Now()}
		r.final.files[e.Path()] = &finalFile{entry: e, copy: h}
	}
	return nil
}

// madeByAlter reports whether the redo makes a file such as only an ALTER makes when no
// other DDL goes on. That of a CREATE TABLE may be missing because it could not be made.
func madeByAlter(s innodb.SpaceHistory) bool {
	name := path.Base(s.Name)
	return s.Created != 0 && s.Renamed == 0 && s.Deleted == 0 && (filename.Temporary(name) || filename.FullText(name))
}

// spaceEntry is the file of a tablespace that the redo names.
func spaceEntry(s innodb.SpaceHistory) datadir.Entry {
	dir, name := path.Split(s.Name)
	e := datadir.Entry{Dir: path.Base(dir), Name: name, Table: datadir.TableOf(name)}
	if s.External {
		e.Link = datadir.Link{Kind: repo.LinkISL, To: s.Name}
	}
	return e
}

// reconcileSpaces compares the tablespaces that the redo names with those that
// were copied. What a recovery could not do fails the backup.
func (r *attempt) reconcileSpaces() error {
	journal := r.redo.tail.Journal()
	created := map[string]innodb.SpaceID{} // by the last name in the redo
	for _, s := range journal.Spaces() {
		if s.Deleted == 0 && s.External && !r.layout.Pathless() && r.layout.Selection != nil {
			return madeMeanwhile(s.Name+" was made with DATA DIRECTORY during the backup: "+filteredFar, filterFarHint)
		}
		if s.Deleted == 0 {
			created[strings.TrimPrefix(s.Name, "./")] = s.Space
		}
	}
	files, names := map[innodb.SpaceID]string{}, map[innodb.SpaceID]string{}
	for path, p := range r.final.files {
		if !p.entry.IsInnoDB() {
			continue
		}
		if id, ok := created[p.entry.SpaceName()]; ok && p.copy.id == nil {
			p.copy.id = &id // the redo holds all of the file, its page 0 too
		}
		if p.copy.id == nil {
			continue
		}
		id := *p.copy.id
		if other, twice := files[id]; twice {
			return hint.Wrap(inTwoFiles(id, other, path), twoFilesHint)
		}
		files[id], names[id] = path, p.entry.SpaceName()
	}
	for _, problem := range journal.Reconcile(names) {
		path := files[problem.History.Space]
		temporary := path != "" && filename.Temporary(r.final.files[path].entry.Name)
		fulltext := path != "" && filename.FullText(r.final.files[path].entry.Name)
		switch {
		case problem.Kind == innodb.ProblemMissing && r.layout.Selection.Excludes(problem.History.Name, r.final.left):
		case problem.Kind == innodb.ProblemDeleted && (temporary || fulltext):
			delete(r.final.files, path) // an ALTER gave up after its files were listed
		case problem.Kind == innodb.ProblemDeleted:
			return fmt.Errorf("%s: %w", problem, ErrReplaced)
		default:
			return fmt.Errorf("the copied files and the redo log do not fit together: %s", problem)
		}
	}
	return nil
}

// manifest describes the backup, once everything of it is stored.
func (r *attempt) manifest(ctx context.Context) (*repo.Manifest, error) {
	m := &repo.Manifest{
		FormatVersion: repo.FormatVersion, ID: r.id, Kind: repo.KindFull, Tool: r.opts.Tool,
		Started: r.started, Server: r.source(), Steps: r.stepTimes(), Stages: r.stageTimes(), LockMS: r.window.Milliseconds(),
		Binlog: r.state.binlog, Replicas: r.state.replicas, Galera: r.state.galera,
		Codec: r.opts.Codec.String(), Packs: r.packs, LeftOut: r.left,
		Filter: r.describeFilter(), Redo: r.redo.describe(), Aria: repo.Aria{Control: &r.aria.control},
		Late: r.final.lateCopies(), DDL: r.first.ddl(r.final, r.redo.tail.Journal().Spaces()),
	}
	found, err := r.list(ctx, m)
	if err != nil {
		return nil, err
	}
	m.TornPages, m.Damaged = found.torn, found.damaged
	m.LSN = repo.LSNs{Checkpoint: m.Redo.Checkpoint.LSN, End: m.Redo.End, MaxPage: found.maxPage}
	if m.LSN.MaxPage > m.LSN.End {
		err := fmt.Errorf("%s has a page with LSN %d, which is after the end of the copied redo at %d: it is of another server, or of another time", found.maxFile, m.LSN.MaxPage, m.LSN.End)
		return nil, r.strange(found.maxFile, err)
	}
	if err := r.reconcile(m); err != nil {
		return nil, err
	}
	r.noteProblems(m)
	m.Warnings = r.warnings(m)
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
	p, d := r.final.files[file], r.copies.dictionary
	switch {
	case p == nil:
		return err // the system tablespace or undo
	case d == nil || d.Spaces[p.entry.DictionaryName()] == 0:
		return hint.Wrap(err, leftOverHint)
	}
	table := filename.SQL(p.entry.Dir) + "." + filename.SQL(p.entry.Table)
	return hint.Wrap(err, hint.Textf(
		"if somebody has exchanged that file, the server cannot open the table: drop it, or leave it out with %s '%s'",
		hint.Option("exclude-table"), table))
}

// warnings are what a DBA should know of a backup that is whole.
func (r *attempt) warnings(m *repo.Manifest) []string {
	warnings := append([]string{}, r.found.warnings()...)
	for _, d := range m.Damaged {
		warnings = append(warnings, fmt.Sprintf("%s: page %d is damaged in the source", d.File, d.Page))
	}
	warnings = append(warnings, r.copies.withoutSpace()...)
	warnings = append(warnings, r.copies.warnLeftOver()...)
	warnings = append(warnings, r.final.warnUndefined(m)...)
	warnings = append(warnings, r.warnUnread()...)
	warnings = append(warnings, warnProblems(m)...)
	if len(r.outdated) > 0 {
		warnings = append(warnings, outdatedText(r.outdated))
	}
	if m.Binlog == nil {
		warnings = append(warnings, "the server writes no binary log: a restore ends at the moment of the backup")
	}
	return warnings
}

// Bounds of what is done after a backup has failed: cleaning up the repository,
// and making sure that a server which has lost us holds nothing any more.
const (
	endTime     = 30 * time.Second
	confirmTime = 20 * time.Second
)

// close gives the server free, ends what still runs, and rolls a failed attempt
// back. The history gets its entry in every case.
func (r *attempt) close(ctx context.Context, m *repo.Manifest, err error) error {
	ctx = context.WithoutCancel(ctx)
	errs := []error{err}
	r.guard.stop()
	if r.stages != nil {
		errs = append(errs, r.release(ctx, err))
	}
	r.raise() // it may take a moment
	if r.locker != nil {
		r.locker.Close()
	}
	if r.redo != nil {
		errs = append(errs, r.redo.close())
	}
	r.forward.Wait()
	r.tailed.Load().leaveCache()
	if r.watch != nil {
		r.watch.Close()
	}
	if err != nil && r.copier != nil {
		r.copier.Abort(err)
	}
	// A server that does not answer has no share in this time.
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if err != nil && !r.opts.KeepFailed {
		errs = append(errs, limit.Explain(r.opts.Repository.Discard(ctx, r.id), endTime))
	}
	errs = append(errs, limit.Explain(r.record(ctx, m, err), endTime))
	return errors.Join(errs...)
}

// release gives up the stages. Of a lost connection it makes sure that the server
// has given them up too.
func (r *attempt) release(ctx context.Context, failed error) error {
	err := r.stages.Close()
	if !errors.Is(err, stage.ErrStageLost) {
		return err
	}
	if errors.Is(failed, stage.ErrStageLost) || errors.Is(failed, stage.ErrUnreachable) {
		err = nil // said already
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	confirmed := r.stages.ConfirmReleased(ctx)
	if errors.Is(confirmed, unix.ECONNREFUSED) || errors.Is(confirmed, fs.ErrNotExist) {
		confirmed = nil // a server that has ended, and removed its socket perhaps, holds nothing
	}
	return errors.Join(err, limit.Explain(confirmed, confirmTime))
}
