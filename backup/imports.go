package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/stage"
)

// ALTER TABLE ... DISCARD and IMPORT TABLESPACE keep the number of a tablespace,
// write FILE_DELETE into the redo log, and then nothing about what the import does
// to the pages. So no recovery may begin before an import that the backup holds
// the outcome of: it would drop all later changes of that table without a word.
// And a file that waits for its import is not the server's: it may be half there,
// and the import rewrites it in place. This file is about telling both.

// imports tells of tablespaces that were discarded and imported what the redo log does
// not, because it hides which tablespaces it deletes.
type imports struct {
	server *stage.Server
	watch  *stage.Watch
	tail   *innodb.Tailer
	log    *slog.Logger

	tableIDs map[innodb.SpaceID]uint64 // the tables of the tablespaces at knownAt; nil if the log hides nothing
	knownAt  innodb.LSN
	covered  bool // the checkpoint lies after all changes of before that LSN
}

func newImports(o Options, watch *stage.Watch, tail *innodb.Tailer) *imports {
	return &imports{server: o.Server, watch: watch, tail: tail, log: o.Logger}
}

// beforeCheckpoint is called when all tables are open, before the checkpoint is
// read. Where the redo log hides which tablespaces it deletes, the numbers of the
// tables are remembered. The checkpoint is made to lie after that, which costs the server
// the writing of all changed pages, only if it is known that it has to.
func (im *imports) beforeCheckpoint(ctx context.Context, try int) error {
	if im.tail.Header().Readable() {
		return nil
	}
	var err error
	if im.tableIDs, err = im.server.TableIDs(ctx); err != nil {
		return err
	}
	lsns, err := im.watch.LSNs(ctx)
	if err != nil {
		return err
	}
	im.knownAt = lsns.Current
	if try == 1 && !im.tail.Journal().MayDelete() {
		return nil // it matters only if tablespaces were deleted since the last one, which shows soon
	}
	err = im.server.Checkpoint(ctx, im.watch, im.knownAt)
	if !errors.Is(err, stage.ErrPrivilege) && !errors.Is(err, errors.ErrUnsupported) {
		im.covered = err == nil
		return err
	}
	im.log.Debug("no checkpoint could be forced", "reason", err)
	im.covered, err = awaitCheckpoint(ctx, im.watch, im.knownAt)
	if err == nil && !im.covered && im.tail.Journal().MayDelete() {
		err = fmt.Errorf("the encrypted redo log does not tell which tablespaces it deletes, "+
			"and within %s the server made %w", checkpointPatience, ErrNoCheckpoint)
		err = hint.Wrap(err, makeCheckpoints)
	}
	return err
}

// afterCheckpoint is called before the first page is copied, with the redo of the time
// until now being known.
func (im *imports) afterCheckpoint(checkpoint innodb.Checkpoint) error {
	if im.tableIDs == nil || im.covered || checkpoint.Covers(im.knownAt) || !im.tail.Journal().MayDelete() {
		return nil
	}
	err := fmt.Errorf("tablespaces may have been deleted after the last checkpoint, "+
		"and the encrypted redo log does not tell which: %w", ErrReplaced)
	return hint.Wrap(err, "mbk starts over after a newer checkpoint, which it can force if the account has SUPER; "+
		"if that fails, too, try again when no tables are dropped")
}

// inTables is called under BLOCK_DDL, when the redo log has deleted tablespaces, or may
// have. It fails if a tablespace belongs to another table than it did.
func (im *imports) inTables(ctx context.Context) error {
	if im.tableIDs == nil {
		return nil
	}
	now, err := im.server.InnoDBTables(ctx)
	if err != nil {
		return err
	}
	var found replacedError
	for _, t := range now {
		if id, known := im.tableIDs[t.Space]; known && id != t.ID {
			found.add(fmt.Sprintf("tablespace %d, %s, belonged to table %d and belongs to table %d", t.Space, t.Name, id, t.ID),
				tableOfSpace(t.Name))
		}
	}
	return found.orNil()
}

// inPages is called at the end, when all pages were seen. A tablespace that was made,
// discarded and imported all after the checkpoint has no number to be compared, where
// the redo log hides names. Its pages tell.
func (im *imports) inPages(f *finalState) error {
	if im.tableIDs == nil {
		return nil
	}
	var found replacedError
	for path, ff := range f.files {
		if ff.copy.pages == nil || ff.copy.id == nil || !ff.copy.pages.imported.Load() {
			continue
		}
		if _, known := im.tableIDs[*ff.copy.id]; !known {
			found.add(fmt.Sprintf("tablespace %d, %s, was created after the checkpoint and has pages of an import",
				*ff.copy.id, path), ff.entry.Key().SQL())
		}
	}
	return found.orNil()
}
