package restore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
)

// recovery is the outcome of a recovery by the server.
type recovery struct {
	lsn        innodb.LSN   // that the recovered files have reached
	rolledBack bool         // transactions that were prepared and not in the binary log
	warnings   []string     // errors in the server's log that were no reason to fail
	asSource   map[int]bool // the problems of the source of which the log speaks
}

// recover makes the extracted files consistent. Of a filtered backup the server
// forgets what is left out.
func (s *scratch) recover(ctx context.Context, e engine, m *repo.Manifest, meter *meter) (recovery, error) {
	m, err := fsuser.Value(s.as, func() (*repo.Manifest, error) { return s.forget(m) })
	if err != nil {
		return recovery{}, err
	}
	e.filtered, e.problems = m.Filter != nil, problemsOf(m)
	e.cryptic = len(m.Redo.Crypt) > 0
	r, err := e.recover(ctx, m, meter)
	if err != nil {
		return r, err
	}
	if err := s.as.Do(func() error { return s.forgetDataDirs(m) }); err != nil {
		return r, err
	}
	if m.Filter != nil {
		if err := s.as.Do(func() error { return s.removeSurplus(m) }); err != nil {
			return r, err
		}
	}
	warnings, err := e.tidy(ctx, m, meter)
	r.warnings = append(r.warnings, warnings...)
	return r, err
}

// recover makes the extracted files consistent by running the real server on
// them until it has applied the redo log and shut down, and checks that it did.
// The bootstrap mode reads statements from its input: at the end of that, which
// is at once, the server shuts down cleanly.
func (e engine) recover(ctx context.Context, m *repo.Manifest, meter *meter) (recovery, error) {
	var r recovery
	meter.begin(PhaseRecover, 0)
	log, err := e.bootstrap(ctx, e.settings.logSize, "", meter)
	if ctx.Err() != nil {
		return r, fmt.Errorf("recovery: %w", ctx.Err())
	}
	if log == nil {
		return r, err
	}
	if log.endOfLog != 0 && innodb.LSN(log.endOfLog) != m.LSN.End {
		return r, e.wrongEnd(log, fmt.Sprintf("it read the redo log up to LSN %d, want %d", log.endOfLog, m.LSN.End))
	}
	if err != nil && log.prepared {
		r.rolledBack = true
		log, err = e.onceMore(ctx, log, "--tc-heuristic-recover=ROLLBACK", meter)
	}
	if err == nil && log.undropped {
		log, err = e.onceMore(ctx, log, "", meter)
	}
	if err != nil {
		if log == nil || ctx.Err() != nil {
			return r, err
		}
		return r, e.failed(log, err)
	}
	if len(log.damage) > 0 && len(m.Damaged) == 0 {
		failed := e.failed(log, errors.New("it found damage"))
		failed.Log = log.damage
		return r, failed
	}
	r.warnings, r.asSource = log.errors, log.asSource
	if r.lsn, err = e.checkLog(m.LSN.End); errors.Is(err, errTooEarly) {
		return r, e.wrongEnd(log, err.Error())
	} else if err != nil {
		return r, e.failed(log, err)
	}
	meter.end()
	return r, nil
}

// failed is the error of a run that did not do what it should. err is how it ended.
func (e engine) failed(log *errorLog, err error) *RecoveryError {
	r := &RecoveryError{Program: e.program.Path, Reason: err.Error(), Log: log.why(), Cause: log.cause(err)}
	if r.Cause == CauseDamage && slices.IndexFunc(log.damage, func(line string) bool { return !e.excused(line) }) < 0 {
		r.Cause = CauseUnknown
		if e.cryptic || slices.ContainsFunc(log.damage, e.mayLackKey) {
			r.Cause = CauseKey
		}
	}
	return r
}

// excused reports whether what sounds like damage may have another cause. All bytes were
// checked when they were extracted. So a file that is in its place and "was not found" is
// one that the server may not open; and what is encrypted, and it cannot make sense of,
// was read with other keys than those of the source.
func (e engine) excused(line string) bool {
	if e.mayLackKey(line) {
		return true
	}
	if e.cryptic && (strings.Contains(line, "Malformed log record") || strings.Contains(line, "Missing FILE_CHECKPOINT")) {
		return true
	}
	_, name, ok := strings.Cut(line, "was not found at ")
	if !ok {
		return false
	}
	name, _, _ = strings.Cut(strings.TrimRight(name, ".'"), " ")
	_, err := os.Lstat(filepath.Join(e.data, filepath.FromSlash(name)))
	return err == nil
}

// wrongEnd is the error of a run that did not come to the end of the redo log.
func (e engine) wrongEnd(log *errorLog, reason string) error {
	r := e.failed(log, errors.New(reason))
	if r.Cause == CauseUnknown {
		r.Cause = CauseDamage
	}
	return r
}

// bootstrap runs the server once. The log is nil if it could not be started.
func (e engine) bootstrap(ctx context.Context, logSize int64, option string, meter *meter) (*errorLog, error) {
	args := append(e.common(logSize), "--bootstrap")
	if option != "" {
		args = append(args, option)
	}
	log, err := e.newLog(func(line string) { tellRecovery(meter, line) })
	if err != nil {
		return nil, err
	}
	defer log.close()
	p, err := start(e.command(args), log)
	if err != nil {
		return nil, err
	}
	err = p.wait(ctx)
	return log, err
}

// onceMore runs the server again, twice, for one of two reasons.
//
// Transactions that were prepared, but not yet committed, when the backup ended,
// stand in its way. Their events lie behind the recorded binlog position, so rolling
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
func (e engine) onceMore(ctx context.Context, before *errorLog, option string, meter *meter) (*errorLog, error) {
	log, err := before, error(nil)
	for _, run := range []struct {
		size   int64
		option string
	}{{e.settings.logSize + logSizeStep, option}, {e.settings.logSize, ""}} {
		if err := e.markLog(); err != nil {
			return nil, err
		}
		last := log
		log, err = e.bootstrap(ctx, run.size, run.option, meter)
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
func (e engine) openLog(flag int) (*os.File, error) {
	return fsuser.Value(e.owner.user(), func() (*os.File, error) { return openRegular(filepath.Join(e.data, logName), flag) })
}

// logHead reads the part of the redo log before its data.
func (e engine) logHead() ([]byte, innodb.LogHeader, error) {
	f, err := e.openLog(os.O_RDONLY)
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
func (e engine) markLog() error {
	_, h, err := e.logHead()
	if err != nil {
		return fmt.Errorf("recovery: %w", err)
	}
	h.Creator = backupCreator
	f, err := e.openLog(os.O_WRONLY)
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

// checkLog looks at the redo log that the server left: it must be one of its
// own, with a checkpoint that lies at or behind the end of the backup.
func (e engine) checkLog(end innodb.LSN) (innodb.LSN, error) {
	head, h, err := e.logHead()
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

// errTooEarly begins the error of a redo log whose checkpoint lies before the end of the
// backup.
var errTooEarly = errors.New("it ended at LSN")

// tellRecovery passes on what the server says of its progress:
// "InnoDB: To recover: LSN 4711/4812; 13 pages".
func tellRecovery(meter *meter, line string) {
	var done, total int64
	if _, text, ok := strings.Cut(line, "To recover: LSN "); ok {
		from, rest, _ := strings.Cut(text, "/")
		done, _ = strconv.ParseInt(from, 10, 64) // 0 if the message has changed
		total, _ = strconv.ParseInt(digits(rest), 10, 64)
	}
	meter.say(message(line), done, total)
}

// bufferSize chooses the size of the buffer pool for a recovery: enough for the
// pages that the redo log changes, within what the machine can spare.
func bufferSize(redo int64) int64 {
	const least, most = 128 << 20, 1 << 30
	size := min(max(2*redo, least), most)
	if free := freeMemory(); free > 0 {
		size = min(size, max(free/2, 64<<20))
	}
	return size &^ (1<<20 - 1)
}

// freeMemory is what the machine can spare, in bytes, 0 if it is not known.
func freeMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close() //nolint:errcheck // only read
	var free int64
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if fields := strings.Fields(sc.Text()); len(fields) >= 2 && fields[0] == "MemAvailable:" {
			kb, _ := strconv.ParseInt(fields[1], 10, 64) // 0 means not known
			free = kb << 10
		}
	}
	// A container may have less than the machine.
	if limit, ok := readNumber("/sys/fs/cgroup/memory.max"); ok {
		used, _ := readNumber("/sys/fs/cgroup/memory.current")
		free = min(free, max(limit-used, 1))
	}
	return free
}

// readNumber reads a file that holds one number.
func readNumber(path string) (int64, bool) {
	n, err := strconv.ParseInt(readSmall(path), 10, 64)
	return n, err == nil
}
