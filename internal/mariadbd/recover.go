package mariadbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mbk/internal/innodb"
	"mbk/internal/sys/fsuser"
)

// Recovery is the outcome of a recovery.
type Recovery struct {
	LSN        innodb.LSN // that the files have reached
	RolledBack bool       // transactions that were prepared and not in the binary log
	Warnings   []string   // errors in the server's log that were no reason to fail
	Known      []string   // the known tables of which the log speaks
}

// Progress hears what the server says of its progress; total is 0 where it does not say
// how far it is.
type Progress func(text string, done, total int64)

// Recover makes copied files consistent by running the server on them until it has
// applied the redo log up to end and shut down, and checks that it did. The bootstrap
// mode reads statements from its input: at the end of that, which is at once, the
// server shuts down cleanly. Pages that were copied damaged are no reason to fail. An
// error is a *RunError, or that of ctx.
func (i Instance) Recover(ctx context.Context, end innodb.LSN, damaged bool, progress Progress) (Recovery, error) {
	var r Recovery
	log, err := i.bootstrap(ctx, i.Settings.LogSize, "", progress)
	if ctx.Err() != nil {
		return r, fmt.Errorf("recovery: %w", ctx.Err())
	}
	if log == nil {
		return r, err
	}
	if log.endOfLog != 0 && innodb.LSN(log.endOfLog) != end {
		return r, i.wrongEnd(log, fmt.Sprintf("it read the redo log up to LSN %d, want %d", log.endOfLog, end))
	}
	if err != nil && log.prepared {
		r.RolledBack = true
		log, err = i.onceMore(ctx, log, "--tc-heuristic-recover=ROLLBACK", progress)
	}
	if err == nil && log.undropped {
		log, err = i.onceMore(ctx, log, "", progress)
	}
	if err != nil {
		if log == nil || ctx.Err() != nil {
			return r, err
		}
		return r, i.failed(log, err)
	}
	if len(log.damage) > 0 && !damaged {
		failed := i.failed(log, errors.New("it found damage"))
		failed.Log = log.damage
		return r, failed
	}
	r.Warnings, r.Known = log.errors, slices.Sorted(maps.Keys(log.met))
	if r.LSN, err = i.CheckLog(end); errors.Is(err, errTooEarly) {
		return r, i.wrongEnd(log, err.Error())
	} else if err != nil {
		return r, i.failed(log, err)
	}
	return r, nil
}

// failed is the error of a run that did not do what it should. err is how it ended.
func (i Instance) failed(log *errorLog, err error) *RunError {
	r := &RunError{Program: i.Program.Path, Reason: err.Error(), Log: log.why(), Cause: log.cause(err)}
	if _, hangs := errors.AsType[*stillError](err); hangs {
		r.Cause = CauseHang
		return r
	}
	if r.Cause == CauseDamage && slices.IndexFunc(log.damage, func(line string) bool { return !i.excused(line) }) < 0 {
		r.Cause = CauseUnknown
		if i.EncryptedRedo || slices.ContainsFunc(log.damage, i.MayLackKey) {
			r.Cause = CauseKey
		}
	}
	return r
}

// excused reports whether what sounds like damage may have another cause. All bytes were
// checked before. So a file that is in its place and "was not found" is one that the
// server may not open; and encrypted data that it cannot read was read with keys other
// than those of the source.
func (i Instance) excused(line string) bool {
	if i.MayLackKey(line) {
		return true
	}
	unread := strings.Contains(line, "Malformed log record") || strings.Contains(line, "Missing FILE_CHECKPOINT")
	if i.EncryptedRedo && unread {
		return true
	}
	_, name, ok := strings.Cut(line, "was not found at ")
	if !ok {
		return false
	}
	name, _, _ = strings.Cut(strings.TrimRight(name, ".'"), " ")
	_, err := os.Lstat(filepath.Join(i.Data, filepath.FromSlash(name)))
	return err == nil
}

// wrongEnd is the error of a run that did not reach the end of the redo log.
func (i Instance) wrongEnd(log *errorLog, reason string) error {
	r := i.failed(log, errors.New(reason))
	if r.Cause == CauseUnknown {
		r.Cause = CauseDamage
	}
	return r
}

// bootstrap runs the server once. The log is nil if it could not be started.
func (i Instance) bootstrap(ctx context.Context, logSize int64, option string, progress Progress) (*errorLog, error) {
	args := append(i.common(logSize), "--bootstrap", "--innodb-log-buffer-size=2M") // it writes little
	if option != "" {
		args = append(args, option)
	}
	log, err := i.newLog(func(line string) { tellRecovery(progress, line) })
	if err != nil {
		return nil, err
	}
	defer log.close()
	p, err := start(i.command(args), log)
	if err != nil {
		return nil, err
	}
	err = p.waitAtWork(ctx, p.stillLimit)
	return log, err
}

// onceMore runs the server again, twice, for one of two reasons.
//
// Transactions that were prepared, but not yet committed, when the backup ended,
// stand in its way. Their events come after the recorded binlog position, so rolling
// back is right, and an option says so. A server with a log of its own for two-phase
// commit ends after that and wants to be started once more.
//
// Or it could not drop what an unfinished ALTER TABLE left behind, because another
// transaction that it had yet to roll back held a lock. By now that is done.
//
// The first run has built a fresh redo log, which does not say any more that the
// files come from a backup; with that the server would not drop anything. So the log
// is marked again, and each run is given another log size, so that it replaces the
// marked log.
func (i Instance) onceMore(ctx context.Context, before *errorLog, option string, progress Progress) (*errorLog, error) {
	log, err := before, error(nil)
	for _, run := range []struct {
		size   int64
		option string
	}{{i.Settings.LogSize + logSizeStep, option}, {i.Settings.LogSize, ""}} {
		if err := i.markLog(); err != nil {
			return nil, err
		}
		last := log
		log, err = i.bootstrap(ctx, run.size, run.option, progress)
		if log == nil {
			return nil, err
		}
		log.continues(last)
		if ctx.Err() != nil || log.prepared || err != nil && option == "" {
			return log, err
		}
	}
	return log, err
}

// logSizeStep is the smallest change of innodb_log_file_size that every server
// takes for one.
const logSizeStep = 64 << 10

// openLog opens the redo log, with the rights of whoever owns the data directory.
func (i Instance) openLog(flag int) (*os.File, error) {
	return fsuser.Value(i.Owner, func() (*os.File, error) { return openRegular(filepath.Join(i.Data, logName), flag) })
}

// logHead reads the part of the redo log before its data.
func (i Instance) logHead() ([]byte, innodb.LogHeader, error) {
	f, err := i.openLog(os.O_RDONLY)
	if err != nil {
		return nil, innodb.LogHeader{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	head := make([]byte, innodb.LogDataOffset)
	if _, err := io.ReadFull(f, head); err != nil {
		return nil, innodb.LogHeader{}, fmt.Errorf("read %s: %w", logName, err)
	}
	h, err := innodb.ParseLogHeader(head)
	return head, h, err
}

// markLog makes the creator of the redo log one that stands for a backup.
func (i Instance) markLog() error {
	_, h, err := i.logHead()
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	h.Creator = backupCreator
	f, err := i.openLog(os.O_WRONLY)
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	_, err = f.WriteAt(h.Append(nil), 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	return nil
}

// backupCreator begins the creator in the header of a restored redo log.
const backupCreator = "Backup "

// CheckLog looks at the redo log that the server left: it must be one of its own, with a
// checkpoint at or after end. It returns the checkpoint.
func (i Instance) CheckLog(end innodb.LSN) (innodb.LSN, error) {
	head, h, err := i.logHead()
	if err != nil {
		return 0, err
	}
	if strings.HasPrefix(h.Creator, backupCreator) {
		return 0, errors.New("it left the redo log of the backup in place")
	}
	c, _, err := innodb.NewestCheckpoint(head, h.FirstLSN)
	if err != nil {
		return 0, err
	}
	if c.LSN < end {
		return c.LSN, fmt.Errorf("%w %d, want at least %d", errTooEarly, c.LSN, end)
	}
	return c.LSN, nil
}

// errTooEarly begins the error of a redo log whose checkpoint lies before the wanted end.
var errTooEarly = errors.New("it ended at LSN")

// tellRecovery passes on what the server says of its progress:
// "InnoDB: To recover: LSN 4711/4812; 13 pages".
func tellRecovery(progress Progress, line string) {
	var done, total int64
	if _, text, ok := strings.Cut(line, "To recover: LSN "); ok {
		from, rest, _ := strings.Cut(text, "/")
		done, _ = strconv.ParseInt(from, 10, 64) // 0 if the message has changed
		total, _ = strconv.ParseInt(digits(rest), 10, 64)
	}
	progress(message(line), done, total)
}

// logName is the redo log.
const logName = "ib_logfile0"
