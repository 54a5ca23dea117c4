package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"mbk/internal/aria"
	"mbk/internal/datadir"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/sys/pause"
)

// ariaLogs copies Aria's control file and logs. The control file is read once,
// right after BACKUP STAGE START: from then on the server purges no log, and
// recovery from that older checkpoint makes up for every change to the tables
// that are copied later.
//
// Logs grow at their end only, but the last page is rewritten until it is full and
// the first when the file is finished. And the server writes them out of several
// buffers at once: a later one may be in the file before an earlier one, whose place
// reads as zeros until then, or as a page of which the end is missing. No page tells
// that, but the server does: when it has flushed its logs, all is in them that was
// there before. So the logs are listed, flushed, and then copied up to the last page of
// the list; the rest is copied under BLOCK_COMMIT.
type ariaLogs struct {
	feed    *feeder
	control aria.Control
	logs    map[uint32]*fileCopy
	copied  map[uint32]int64            // how far each log is copied, after its first page
	whole   map[uint32]bool             // logs of which nothing is left to copy
	flush   func(context.Context) error // has the server write all of its logs

	patience time.Duration // with pages that are being written
	standing time.Duration // that a log which has a successor has to stand still
}

func newAriaLogs(f *feeder, control aria.Control, flush func(context.Context) error) *ariaLogs {
	return &ariaLogs{
		feed: f, control: control, logs: map[uint32]*fileCopy{}, copied: map[uint32]int64{}, whole: map[uint32]bool{},
		flush: flush, patience: logWait, standing: logEndWait,
	}
}

// inBuffers is more than the server has in its buffers of the log, in bytes.
const inBuffers = 10 << 20

// ariaLog is a log file as it was found.
type ariaLog struct {
	n    uint32
	path string
	stat datadir.FileStat
}

// size is that of the log in whole pages.
func (l ariaLog) size() int64 { return l.stat.Size / aria.LogPageSize * aria.LogPageSize }

// advance copies what is stable of the logs since the last call: all but the last page
// of each.
func (a *ariaLogs) advance(ctx context.Context) error {
	logs, err := a.listWritten(ctx)
	if err != nil {
		return err
	}
	for _, l := range logs {
		from, to := max(a.copied[l.n], aria.LogPageSize), l.size()-aria.LogPageSize
		if to <= from {
			continue
		}
		if err := a.waitForPages(ctx, l, max(from, to-inBuffers), to); err != nil {
			return err
		}
		if err := a.copy(ctx, l, from, to, false); err != nil {
			return err
		}
	}
	return nil
}

// listWritten lists the logs and has the server write them: all pages that the list
// speaks of are whole then, except the last.
func (a *ariaLogs) listWritten(ctx context.Context) ([]ariaLog, error) {
	logs, err := a.list()
	if err != nil {
		return nil, err
	}
	return logs, a.flush(ctx)
}

// completeOlder copies all logs but the newest to their end. It is called before the
// stages are given back for a moment, in which the server may remove logs that
// it needs no more; ours, from an older checkpoint, still does.
func (a *ariaLogs) completeOlder(ctx context.Context) error {
	logs, err := a.listWritten(ctx)
	if err != nil || len(logs) == 0 {
		return err
	}
	for _, l := range logs[:len(logs)-1] {
		if err := a.complete(ctx, l, true); err != nil {
			return err
		}
	}
	return nil
}

// finish copies the rest, with no commit going on, and sets the number of the
// last log in the control file. Every table must have been copied.
func (a *ariaLogs) finish(ctx context.Context) error {
	logs, err := a.listWritten(ctx)
	if err != nil {
		return err
	}
	// The server makes the next file before it writes a header into it. There is
	// nothing in it until then.
	if last := len(logs) - 1; last > 0 && logs[last].size() == 0 {
		logs = logs[:last]
	}
	seen := map[uint32]bool{}
	for i, l := range logs {
		seen[l.n] = true
		a.control.LastLog = max(a.control.LastLog, l.n)
		if err := a.complete(ctx, l, i < len(logs)-1); err != nil {
			return err
		}
	}
	for n, fc := range a.logs {
		if !seen[n] && !a.whole[n] {
			return fmt.Errorf("%s vanished before it was copied", fc.entry.Path())
		}
		if a.logs[n+1] == nil && n != a.control.LastLog {
			return fmt.Errorf("%s vanished before it was copied", aria.LogName(n+1))
		}
	}
	return a.wait(ctx)
}

// wait waits until what was asked for of the logs is copied.
func (a *ariaLogs) wait(ctx context.Context) error {
	for _, fc := range a.logs {
		if err := fc.done(ctx); err != nil {
			return err
		}
	}
	return nil
}

// complete copies what is left of a log. ended says that there is a later one.
func (a *ariaLogs) complete(ctx context.Context, l ariaLog, ended bool) error {
	if a.whole[l.n] {
		return nil
	}
	if ended {
		var err error
		if l, err = a.waitForEnd(ctx, l); err != nil {
			return err
		}
	}
	if l.size() == 0 {
		return fmt.Errorf("%s has %d bytes, less than its header", l.path, l.stat.Size)
	}
	from := max(a.copied[l.n], aria.LogPageSize)
	if err := a.waitForPages(ctx, l, from, l.size()); err != nil {
		return err
	}
	if err := a.copy(ctx, l, from, l.size(), true); err != nil {
		return err
	}
	a.whole[l.n] = true
	return a.copy(ctx, l, 0, aria.LogPageSize, true)
}

// Bounds of the waits for what the server is writing into a log.
const (
	logPause   = 2 * time.Millisecond
	logEndWait = 100 * time.Millisecond
	logWait    = 5 * time.Second
)

// waitForEnd waits until a log that has a successor has all its pages: the first of
// the next may be written before the last of this one are.
func (a *ariaLogs) waitForEnd(ctx context.Context, l ariaLog) (ariaLog, error) {
	full, _ := strconv.ParseInt(a.feed.layout.Vars["aria_log_file_size"], 10, 64) // 0: not known
	for since := time.Now(); !l.stat.Quiescent() && (full == 0 || l.size() != full) && time.Since(since) < a.standing; {
		if err := pause.For(ctx, logPause); err != nil {
			return l, err
		}
		now, err := a.feed.layout.Stat(l.path)
		if err != nil {
			return l, fmt.Errorf("read Aria's logs: %w", err)
		}
		if now.Size != l.stat.Size {
			since = time.Now()
		}
		l.stat = now
	}
	return l, nil
}

// waitForPages waits until all pages in the bytes [from, to) of a log are in their
// places. Those that are not are being written just now.
func (a *ariaLogs) waitForPages(ctx context.Context, l ariaLog, from, to int64) error {
	for begun := time.Now(); ; {
		own, err := a.ownUpTo(l, from, to)
		if err != nil || own == to {
			return err
		}
		if time.Since(begun) > a.patience {
			return hint.Wrap(fmt.Errorf("%s: page %d is not written, or damaged: no server could recover from a copy",
				l.path, own/aria.LogPageSize), "try again; if it stays so, look for damage on the disk")
		}
		from = own
		if err := pause.For(ctx, logPause); err != nil {
			return err
		}
	}
}

// ownUpTo returns where in the bytes [from, to) of a log the first page begins that is
// not in its place, or to.
func (a *ariaLogs) ownUpTo(l ariaLog, from, to int64) (int64, error) {
	pages := a.pages(l.n, false)
	if from >= to || pages.lax {
		return to, nil
	}
	f, err := a.feed.layout.Files.Open(l.path)
	if err != nil {
		return 0, fmt.Errorf("read Aria's logs: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	b := make([]byte, min(to-from, 1<<20))
	for at := from; at < to; {
		b = b[:min(to-at, int64(len(b)))]
		n, err := f.ReadAt(b, at)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, fmt.Errorf("read Aria's logs: %w", err)
		}
		for page := range slices.Chunk(b[:n], aria.LogPageSize) {
			if pages.Check(page, uint32(at/aria.LogPageSize)) != nil {
				return at, nil
			}
			at += aria.LogPageSize
		}
		if n == 0 {
			return at, nil
		}
	}
	return to, nil
}

// list lists the logs by their numbers.
func (a *ariaLogs) list() ([]ariaLog, error) {
	dir := a.feed.layout.Aria
	list, err := a.feed.layout.Files.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list Aria's logs: %w", err)
	}
	var logs []ariaLog
	for _, e := range list {
		n, ok := aria.ParseLogName(e.Name())
		if !ok {
			continue
		}
		l := ariaLog{n: n, path: filepath.Join(dir, e.Name())}
		l.stat, err = a.feed.layout.Stat(l.path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed just now; finish knows whether that may be
		}
		if err != nil {
			return nil, fmt.Errorf("read Aria's logs: %w", err)
		}
		logs = append(logs, l)
	}
	slices.SortFunc(logs, func(l, m ariaLog) int { return cmp.Compare(l.n, m.n) })
	return logs, nil
}

// copy copies the bytes [from, to) of a log. twice says that the server may be writing
// them.
func (a *ariaLogs) copy(ctx context.Context, l ariaLog, from, to int64, twice bool) error {
	if to <= from {
		return nil
	}
	fc, known := a.logs[l.n]
	if !known {
		e, origin := a.feed.layout.EntryOf(l.path)
		fc = a.feed.number(e, repo.ClassLog, l.stat)
		fc.origin = origin
		a.logs[l.n] = fc
	}
	if err := a.feed.copyRange(ctx, fc, l.path, from, to, a.pages(l.n, twice)); err != nil {
		return err
	}
	if from > 0 {
		a.copied[l.n] = to
	}
	fc.size = max(fc.size, to)
	return nil
}

// pages are the pages of log n.
func (a *ariaLogs) pages(n uint32, twice bool) logPages {
	return logPages{file: n, lax: n < a.control.Checkpoint.File, twice: twice}
}
