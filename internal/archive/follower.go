package archive

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/zeebo/blake3"

	"mbk/internal/binlog"
	"mbk/internal/repo"
	"mbk/internal/sys/buffer"
	"mbk/stage"
)

// follower is one run. It belongs to one goroutine.
type follower struct {
	o       Options
	archive *repo.Archive
	result  *Result
	alarm   func(t *repo.Timeline) // tells of a gap before a timeline
	alarms  sync.WaitGroup         // that are being told

	next     *repo.Timeline  // that is to begin when the server sends its log; nil: the newest goes on
	position binlog.Position // of what was received whole
	received int64           // transactions
	server   uint32          // id of the server that is connected

	refusals int  // of the server, one after another
	accepted bool // the server has begun to send its log on this connection
	unproven bool // what was received last is no longer there to be compared

	cutter      binlog.Cutter
	description []byte // the format description of the events; nil: none yet
	fresh       bool   // the server was started before these events
	started     uint32 // when it was started, 0 if unknown

	raw      *buffer.Buffer // of the segment to come: a file of the binary log
	mark     int64          // bytes of it before the transaction that is open
	named    string         // the file of the server's log that raw names last
	segment  repo.Segment
	marked   time.Time // when it was noted last that the archive has all there is
	since    time.Time // when its first transaction was received
	before   binlog.Position
	hash     *blake3.Hasher // of the transaction that is open
	last     last
	expected *last // the first transaction that the server is to send, which is there already

	owed    time.Time    // when the first event was received that waits to be acknowledged; zero if none does
	reached binlog.Place // of the last transaction that was received whole
	waiting bool         // semi-sync is on at the server
}

// last is the last transaction that was received whole.
type last struct {
	gtid  binlog.GTID
	had   bool        // its domain had another one before
	prior binlog.GTID // that one
	hash  string
}

// inMemory is how many bytes of the log are kept in memory.
const inMemory = DefaultSize + 1<<20

// newFollower opens the archive and finds out where it ends.
func newFollower(ctx context.Context, o Options) (_ *follower, err error) {
	source, err := o.Server.LogSource(ctx)
	if err != nil {
		return nil, err
	}
	f := newFollowerOf(ctx, o)
	f.result.Warnings = append(f.result.Warnings, source.Gaps...)
	for _, text := range source.Gaps {
		o.Logger.Warn("not all changes can be archived: " + text)
	}
	if f.archive, err = o.Repository.OpenArchive(ctx); err != nil {
		return nil, err
	}
	if err := f.resume(ctx, source); err != nil {
		return nil, errors.Join(err, f.archive.Close())
	}
	return f, nil
}

// newFollowerOf returns a follower that knows nothing of the archive and its source yet. ctx is that of
// the whole run: an alarm outlives the connection on which a gap was found.
func newFollowerOf(ctx context.Context, o Options) *follower {
	f := &follower{o: o, raw: buffer.New("", inMemory), hash: newTransactionHash(),
		result: &Result{Gaps: []string{}, Warnings: []string{}}}
	f.alarm = func(t *repo.Timeline) {
		if o.Gap != nil {
			f.alarms.Go(func() { o.Gap(ctx, t.ID, &GapError{Missing: t.Missing()}) })
		}
	}
	return f
}

// newTransactionHash returns the hash of a transaction's events.
func newTransactionHash() *blake3.Hasher { return blake3.New() }

// sum returns the hash of the transaction that has ended.
func (f *follower) sum() string { return hex.EncodeToString(f.hash.Sum(nil)) }

// resume finds out where the archive ends, and what the server should have there.
func (f *follower) resume(ctx context.Context, source stage.LogSource) error {
	var err error
	if t, _ := f.archive.End(); t == nil {
		if f.position = f.o.From; f.position == nil {
			f.position, err = f.o.Server.OldestLog(ctx)
		}
		f.position = f.position.Clone()
		f.next = &repo.Timeline{Tool: f.o.Tool, ServerID: source.ServerID, Start: f.position.String(),
			Reason: repo.ReasonFirst}
		return err
	}
	return f.resumeAtEnd()
}

// resumeAtEnd goes on where the archive ends, which has a timeline.
func (f *follower) resumeAtEnd() error {
	t, s := f.archive.End()
	var err error
	if s == nil {
		f.position, err = binlog.ParsePosition(t.Start)
		f.server = t.ServerID
		return err
	}
	f.server, f.started = s.ServerID, s.ServerStarted
	if f.position, err = binlog.ParsePosition(s.After); err != nil {
		return err
	}
	earlier, err := binlog.ParsePosition(s.BeforeLast)
	if err != nil {
		return err
	}
	for domain, g := range f.position {
		if prior, had := earlier[domain]; prior != g {
			f.last = last{g, had, prior, s.LastBLAKE3}
		}
	}
	return nil
}

// earlier returns the position before the last transaction.
func (f *follower) earlier() binlog.Position {
	p := f.position.Clone()
	delete(p, f.last.gtid.Domain)
	if f.last.had {
		p.Add(f.last.prior)
	}
	return p
}

// connection follows the log on one connection. The error is io.EOF at the end of the log.
func (f *follower) connection(ctx context.Context) error {
	f.drop()
	f.cutter = binlog.Cutter{}
	source, err := f.o.Server.LogSource(ctx)
	if err != nil {
		return err
	}
	if source.ServerID != f.server || f.o.SemiSync {
		// A segment is of one server; and a server takes what is before the position for acknowledged.
		if err := f.flush(ctx); err != nil {
			return err
		}
	}
	if err := f.checkSemiSync(ctx); err != nil {
		return err
	}
	from := f.position
	f.expected, f.accepted, f.owed = nil, false, time.Time{}
	// A server that was reset, or brought back from a backup, can have given the number to
	// another transaction. So it is asked for the last one again. (On another server of the same
	// history that is the same, but does not look the same.)
	if f.last.hash != "" && source.ServerID == f.server && !f.unproven {
		from, f.expected = f.earlier(), &f.last
	}
	f.server = source.ServerID
	d, err := f.o.Server.Dump(ctx, stage.DumpOptions{
		From: from, Once: f.o.Once, Heartbeat: min(max(f.o.Every/3, time.Second), 10*time.Second),
		SemiSync: f.o.SemiSync})
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		event, err := d.Next(ctx, from)
		if err == nil {
			err = f.event(ctx, event)
		}
		if err == nil && f.o.SemiSync {
			err = f.acknowledge(ctx, d)
		}
		if err != nil {
			return err
		}
	}
}

// errOther is the error of a server that has another transaction under the GTID of one in the
// archive.
var errOther = errors.New("the server's history is another one")

// again reports whether the server refused to send what follows, and is to be asked again, and
// whether a new timeline has to begin before that.
func (f *follower) again(err error) (again, begin bool) {
	if errors.Is(err, errOther) {
		return true, true
	}
	refusal, ok := errors.AsType[*stage.HistoryError](err)
	if !ok {
		return false, false
	}
	if f.expected != nil {
		// The transaction that is known may be in a file that was purged, while all that
		// follows is there. If the one before it was never there, it is another history.
		f.unproven = refusal.Purged
		return true, !refusal.Purged
	}
	// A purge or a reset while the log is read says nothing of what a new connection gets.
	f.refusals++
	return true, !f.accepted || f.refusals > 1
}

// newTimeline stores what there is of the old one, and has a new one begin where the server's
// log begins.
func (f *follower) newTimeline(ctx context.Context, why error) error {
	refusal, _ := errors.AsType[*stage.HistoryError](why)
	if f.next != nil && f.next.Reason == repo.ReasonFirst && f.o.From != nil {
		return why
	}
	if err := f.flush(ctx); err != nil {
		return err
	}
	oldest, err := f.o.Server.OldestLog(ctx)
	if err != nil {
		return err
	}
	t := &repo.Timeline{Tool: f.o.Tool, ServerID: f.server, Start: oldest.String(), Reason: repo.ReasonDiverged}
	if refusal != nil && refusal.Purged {
		t.Reason = repo.ReasonPurged
	}
	if f.next != nil { // not even begun
		t.Reason = f.next.Reason
	}
	f.next, f.position, f.last, f.started, f.unproven, f.refusals = t, oldest, last{}, 0, false, 0
	f.description = nil
	return nil
}

// event takes one event.
func (f *follower) event(ctx context.Context, e []byte) error {
	part, dropped, err := f.cutter.Next(e)
	if err != nil {
		return err
	}
	if dropped {
		f.o.Logger.Warn("the server did not finish a transaction: it was ended while it wrote its log")
		f.drop()
	}
	switch {
	case binlog.Type(e[4]) == binlog.TypeFormat:
		return f.format(ctx, e)
	case binlog.Type(e[4]) == binlog.TypeIncident:
		return f.incident(ctx)
	case binlog.Type(e[4]) == binlog.TypeHeartbeat:
		if err := f.perhapsFlush(ctx); err != nil {
			return err
		}
		f.perhapsMark(ctx)
		return nil
	case part == binlog.Outside:
		return f.perhapsFlush(ctx)
	case part == binlog.Opening:
		if err := f.open(ctx); err != nil {
			return err
		}
	}
	f.add(e)
	if f.expected == nil {
		if _, err := f.raw.Write(e); err != nil {
			return err
		}
	}
	if part == binlog.Closing {
		f.reached = f.cutter.Place()
		return f.close(ctx)
	}
	return nil
}

// add adds an event to the hash of its transaction. Annotations do not count: a server sends them
// to whom it is asked for them only.
func (f *follower) add(e []byte) {
	if binlog.Type(e[4]) != binlog.TypeAnnotate {
		head, body := f.cutter.Format.Content(e)
		_, _ = f.hash.Write(head) // never fails
		_, _ = f.hash.Write(body)
	}
}

// format takes a format description: the server accepts the position, and has begun another file.
func (f *follower) format(ctx context.Context, e []byte) error {
	if f.next != nil {
		if err := f.archive.Begin(ctx, *f.next); err != nil {
			return err
		}
		t, _ := f.archive.End()
		f.next = nil
		f.o.Logger.Info("a timeline begins", "timeline", t.ID, "after", t.Start)
		if t.Gap() {
			f.gap(t)
		}
	}
	f.accepted = true
	created := f.cutter.Format.Created
	start := created != 0 && created != f.started
	if f.description != nil && !start && binlog.Same(f.description, e) {
		return nil
	}
	if err := f.flush(ctx); err != nil {
		return err
	}
	f.description, f.fresh = append([]byte(nil), e...), f.fresh || start
	if start {
		f.started = created
	}
	return nil
}

// incident begins a timeline because the server says that its log is not complete.
func (f *follower) incident(ctx context.Context) error {
	t, s := f.archive.End()
	if t.Reason == repo.ReasonIncident && s == nil && f.segment.Transactions == 0 {
		return nil // it is known
	}
	if err := f.flush(ctx); err != nil {
		return err
	}
	f.last = last{}
	next := repo.Timeline{Tool: f.o.Tool, ServerID: f.server, Start: f.position.String(), Reason: repo.ReasonIncident}
	if err := f.archive.Begin(ctx, next); err != nil {
		return err
	}
	t, _ = f.archive.End()
	f.gap(t)
	return nil
}

// gap tells of a gap before a timeline that has begun now.
func (f *follower) gap(t *repo.Timeline) {
	f.result.Gaps = append(f.result.Gaps, t.Missing())
	f.o.Logger.Error("a gap in the archive: " + t.Missing())
	f.alarm(t)
}

// open begins a transaction.
func (f *follower) open(ctx context.Context) error {
	f.hash.Reset()
	if f.expected != nil {
		return nil
	}
	// In a segment places go forward. They go back if the server was made anew.
	if f.segment.Transactions > 0 && f.place().Compare(f.segment.LastLog) < 0 {
		if err := f.flush(ctx); err != nil {
			return err
		}
	}
	if f.raw.Len() == 0 {
		if _, err := f.raw.Write([]byte(binlog.Magic)); err != nil {
			return err
		}
		if _, err := f.raw.Write(f.cutter.Format.Description(f.description, f.fresh)); err != nil {
			return err
		}
		f.named = ""
	}
	if file := f.cutter.Place().File; file != f.named { // which the server says once
		if _, err := f.raw.Write(f.cutter.Format.Rotate(f.server, file)); err != nil {
			return err
		}
		f.named = file
	}
	f.mark = f.raw.Len()
	return nil
}

// place is where the transaction that began last begins in the server's files.
func (f *follower) place() repo.LogPlace {
	p := f.cutter.Place()
	number, _ := binlog.FileNumber(p.File) // 0: the server has not named it
	return repo.LogPlace{File: number, Offset: p.Begin}
}

// drop forgets the transaction that is open.
func (f *follower) drop() {
	if f.segment.Transactions == 0 {
		f.raw.Reset()
	} else {
		f.raw.Truncate(f.mark)
	}
}

// close ends a transaction.
func (f *follower) close(ctx context.Context) error {
	begin, _ := f.cutter.Begun()
	hash := f.sum()
	if f.expected != nil {
		return f.compare(begin.GTID, hash)
	}
	f.refusals, f.unproven = 0, false
	s, when := &f.segment, time.Unix(int64(begin.Time), 0).UTC()
	if s.Transactions == 0 {
		f.since, f.before, s.First, s.Last = time.Now(), f.position.Clone(), when, when
	}
	s.Transactions++
	if s.Transactions == 1 {
		s.FirstLog = f.place()
	}
	s.LastLog = repo.LogPlace{File: f.place().File, Offset: f.cutter.Place().End}
	if s.First.After(when) { // a long statement has the time at which it began
		s.First = when
	}
	if s.Last.Before(when) {
		s.Last = when
	}
	prior, had := f.position[begin.GTID.Domain]
	f.last = last{begin.GTID, had, prior, hash}
	f.position.Add(begin.GTID)
	f.received++
	f.mark = f.raw.Len()
	if f.raw.Len() >= f.o.Size {
		return f.flush(ctx)
	}
	return f.perhapsFlush(ctx)
}

// compare looks whether the server has the transaction that was received last.
func (f *follower) compare(gtid binlog.GTID, hash string) error {
	if gtid != f.expected.gtid || hash != f.expected.hash {
		return fmt.Errorf("%w: it has another transaction as %s than the archive", errOther, f.expected.gtid)
	}
	f.expected, f.refusals = nil, 0
	return nil
}

// perhapsFlush stores a segment whose time has come, unless a transaction is open.
func (f *follower) perhapsFlush(ctx context.Context) error {
	if f.segment.Transactions == 0 || time.Since(f.since) < f.o.Every {
		return nil
	}
	if _, open := f.cutter.Begun(); open {
		return nil
	}
	return f.flush(ctx)
}

// markEvery is how often the archive of a server that writes nothing is marked.
const markEvery = 5 * time.Minute

// perhapsMark notes now and then that the archive has all that the server has, which has just said
// that nothing follows. If that cannot be noted, an alert will say that the archive is behind.
func (f *follower) perhapsMark(ctx context.Context) {
	_, open := f.cutter.Begun()
	if open || f.segment.Transactions > 0 || f.expected != nil || f.next != nil || time.Since(f.marked) < markEvery {
		return
	}
	if err := f.archive.Mark(ctx); err != nil {
		f.o.Logger.Warn(err.Error())
		return
	}
	f.marked = time.Now()
}

// flush stores the transactions that were received whole as a segment.
func (f *follower) flush(ctx context.Context) error {
	f.drop()
	if f.segment.Transactions == 0 {
		return nil
	}
	s := f.segment
	s.Before, s.BeforeLast, s.After = f.before.String(), f.earlier().String(), f.position.String()
	s.ServerID, s.ServerStarted, s.LastBLAKE3 = f.server, f.started, f.last.hash
	if err := f.store(ctx, &s); err != nil {
		return err
	}
	f.result.Segments++
	f.result.Transactions += s.Transactions
	f.result.Bytes += s.Bytes
	f.o.Logger.Debug("segment stored", "segment", s.Name(), "transactions", s.Transactions, "to", s.After)
	f.segment, f.fresh = repo.Segment{}, false
	f.raw.Reset()
	return nil
}

// store writes a segment, again and again if the repository cannot be written: the server keeps
// its log meanwhile.
func (f *follower) store(ctx context.Context, s *repo.Segment) error {
	for wait := firstWait; ; wait = min(2*wait, longWait) {
		err := f.archive.Put(ctx, s, f.raw)
		if err == nil || f.o.Once || ctx.Err() != nil || final(err) {
			return err
		}
		f.o.Logger.Warn("the archive waits for the repository", "error", err, "wait", wait.String())
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
