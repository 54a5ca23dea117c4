package backup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"mbk/aria"
	"mbk/copier"
	"mbk/repo"
)

// ariaLogs copies Aria's control file and logs. The control file is read once,
// right after BACKUP STAGE START: from then on the server purges no log, and
// recovery from that older checkpoint makes up for every change to the tables
// that are copied later. Logs grow at their end only, but the last page is
// rewritten until it is full and the first when the file is finished: so all
// between is copied early and these two under BLOCK_COMMIT.
type ariaLogs struct {
	copies  *copies
	control aria.Control
	logs    map[uint32]*held
	copied  map[uint32]int64 // how far each log is copied, behind its first page
	whole   map[uint32]bool  // logs of which nothing is left to copy
}

// readAriaControl reads the control file. The server rewrites it in one piece;
// a torn read shows in its checksum and is repeated.
func readAriaControl(dir string) (aria.Control, error) {
	const tries = 5
	var failed error
	for range tries {
		b, err := os.ReadFile(filepath.Join(dir, aria.ControlFile))
		if err != nil {
			return aria.Control{}, fmt.Errorf("read Aria's control file: %w", err)
		}
		control, err := aria.ParseControl(b)
		if err == nil {
			return control, nil
		}
		failed = err
	}
	return aria.Control{}, fmt.Errorf("read %s: %w", filepath.Join(dir, aria.ControlFile), failed)
}

func newAriaLogs(c *copies, control aria.Control) *ariaLogs {
	return &ariaLogs{copies: c, control: control, logs: map[uint32]*held{}, copied: map[uint32]int64{}, whole: map[uint32]bool{}}
}

// advance copies what is settled of the logs since the last call.
func (a *ariaLogs) advance(ctx context.Context) error {
	return a.each(func(n uint32, path string, size int64) error {
		from := max(a.copied[n], aria.LogPageSize)
		to := size/aria.LogPageSize*aria.LogPageSize - aria.LogPageSize
		return a.copy(ctx, n, path, from, to)
	})
}

// keep copies all logs but the newest to their end. It is called before the
// stages are given back for a moment, in which the server may remove logs that
// it needs no more; ours, from an older checkpoint, still does.
func (a *ariaLogs) keep(ctx context.Context) error {
	var newest uint32
	if err := a.each(func(n uint32, _ string, _ int64) error {
		newest = max(newest, n)
		return nil
	}); err != nil {
		return err
	}
	return a.each(func(n uint32, path string, size int64) error {
		if n == newest {
			return nil
		}
		return a.complete(ctx, n, path, size)
	})
}

// finish copies the rest, with no commit going on, and sets the number of the
// last log in the control file. Every table must have been copied.
func (a *ariaLogs) finish(ctx context.Context) error {
	seen := map[uint32]bool{}
	if err := a.each(func(n uint32, path string, size int64) error {
		seen[n] = true
		a.control.LastLog = max(a.control.LastLog, n)
		return a.complete(ctx, n, path, size)
	}); err != nil {
		return err
	}
	for n, h := range a.logs {
		if !seen[n] && !a.whole[n] {
			return fmt.Errorf("%s vanished before it was copied", h.entry.path())
		}
		if a.logs[n+1] == nil && n != a.control.LastLog {
			return fmt.Errorf("%s vanished before it was copied", aria.LogName(n+1))
		}
	}
	return a.wait(ctx)
}

// wait waits until what was asked for of the logs is copied.
func (a *ariaLogs) wait(ctx context.Context) error {
	for _, h := range a.logs {
		if err := h.done(ctx); err != nil {
			return err
		}
	}
	return nil
}

// complete copies what is left of a log.
func (a *ariaLogs) complete(ctx context.Context, n uint32, path string, size int64) error {
	if a.whole[n] {
		return nil
	}
	if size < aria.LogPageSize {
		return fmt.Errorf("%s has %d bytes, less than its header", path, size)
	}
	if err := a.copy(ctx, n, path, max(a.copied[n], aria.LogPageSize), size); err != nil {
		return err
	}
	a.whole[n] = true
	return a.copy(ctx, n, path, 0, aria.LogPageSize)
}

// each calls f for all logs there are.
func (a *ariaLogs) each(f func(n uint32, path string, size int64) error) error {
	dir := a.copies.layout.aria
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list Aria's logs: %w", err)
	}
	for _, e := range list {
		n, ok := aria.ParseLogName(e.Name())
		if !ok {
			continue
		}
		path := filepath.Join(dir, e.Name())
		s, err := statPath(path)
		if err != nil {
			return fmt.Errorf("read Aria's logs: %w", err)
		}
		if err := f(n, path, s.size); err != nil {
			return err
		}
	}
	return nil
}

// copy copies the bytes [from, to) of a log.
func (a *ariaLogs) copy(ctx context.Context, n uint32, path string, from, to int64) error {
	if to <= from {
		return nil
	}
	h, known := a.logs[n]
	if !known {
		s, err := statPath(path)
		if err != nil {
			return fmt.Errorf("read Aria's logs: %w", err)
		}
		e, origin := a.copies.layout.entry(path)
		h = a.copies.number(e, repo.ClassLog, s)
		h.origin = origin
		a.logs[n] = h
	}
	if err := a.copies.copyRange(ctx, h, path, from, to); err != nil {
		return err
	}
	if from > 0 {
		a.copied[n] = to
	}
	h.size = max(h.size, to)
	return nil
}

// nextNumber is the number of another file in the chunks of this backup.
func (c *copies) nextNumber() uint32 {
	c.next++
	return c.next
}

// number makes a record for a file that is copied by ranges.
func (c *copies) number(e entry, class string, s fileStat) *held {
	return &held{entry: e, number: c.nextNumber(), class: class, stat: s}
}

// copyRange copies bytes [from, to) of a file as a further part of h.
func (c *copies) copyRange(ctx context.Context, h *held, path string, from, to int64) error {
	if err := c.descriptors.Acquire(ctx, 1); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		c.descriptors.Release(1)
		return err
	}
	g := grabbed{entry: h.entry, file: f}
	pending, err := c.copier.Add(ctx, copier.Source{
		Number: h.number, Name: h.entry.path(), File: f, Start: from, Size: to - from,
		Done: func() { c.release(g) },
	})
	if err != nil {
		c.release(g)
		return err
	}
	h.pending = append(h.pending, pending)
	return nil
}
