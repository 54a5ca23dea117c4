package innodb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

var (
	// ErrRedoOverwritten is returned by Tailer when the server reused log space
	// that had not been copied.
	ErrRedoOverwritten = fault.New(fault.Busy, "redo log overwritten before it was copied")
	// ErrRedoReplaced is returned by Tailer when another log file took the place
	// of the one that was followed and does not continue it.
	ErrRedoReplaced = fault.New(fault.Busy, "redo log replaced")
	// ErrRedoDamaged is returned by Tailer when the log, at an LSN that the
	// server has written, holds no valid mini-transaction, and re-reading does
	// not help. It wraps the reason.
	ErrRedoDamaged = fault.New(fault.Damage, "redo log damaged")
	// ErrRedoStalled is returned by Tailer.CatchUp and Tailer.Finish when the
	// server does not make its log durable up to the LSN that is waited for.
	ErrRedoStalled = fault.New(fault.Busy, "redo log stalled")
)

// TailError carries the facts of a failure to follow a redo log.
type TailError struct {
	Kind     error // ErrRedoOverwritten, ErrRedoReplaced, ErrRedoDamaged or ErrRedoStalled
	Path     string
	Copied   LSN   // everything below it was copied
	Target   LSN   // ErrRedoStalled: the LSN that was waited for
	Capacity int64 // bytes of the log's ring
	LSNs     LSNs  // of the server, as last polled
	Cause    error // more about it, or nil
}

// Error returns what happened, and the numbers.
func (e *TailError) Error() string {
	s := fmt.Sprintf("%v: %s: copied to LSN %d, the server wrote %d and flushed %d, its checkpoint is %d, the log "+
		"holds %d bytes",
		e.Kind, e.Path, e.Copied, e.LSNs.Current, e.LSNs.Flushed, e.LSNs.Checkpoint, e.Capacity)
	if e.Target != 0 {
		s += fmt.Sprintf(", waited for LSN %d", e.Target)
	}
	if e.Cause != nil {
		s += ": " + e.Cause.Error()
	}
	return s
}

// Unwrap returns Kind and Cause.
func (e *TailError) Unwrap() []error {
	if e.Cause == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Cause}
}

// Hints says what can be done about a damaged log.
func (e *TailError) Hints() []hint.Text {
	if e.Kind != ErrRedoDamaged {
		return nil
	}
	return []hint.Text{
		"a server that crashes now may not come up again: dump what matters, look at its disk, and keep the older backups",
	}
}

// Status tells a Tailer how far the server has come.
type Status interface {
	// LSNs returns the server's LSNs of this moment, never remembered ones. It
	// must bound its own waiting. The Tailer calls it from one goroutine at a time.
	LSNs(ctx context.Context) (LSNs, error)
}

// Sink takes what a Tailer copies, in order and without a gap: the bytes of the
// LSNs [start, end), sequence bits set to 1. All of them together are those of
// StoredRedo. log is valid during the call only. A Sink must be quick, since the log is a ring: it must
// not wait for compression or a network.
type Sink func(log []byte, start, end LSN) error

// TailOptions tune a Tailer. The zero value is good.
type TailOptions struct {
	// Interval is the longest pause between two looks at the log. They become
	// shorter while the log fills quickly. 0 is 50 ms.
	Interval time.Duration
	// Patience bounds the wait for what should come at once: that the server
	// flushes its log, and that a place which cannot be read becomes readable. 0
	// is 5 s. With innodb_flush_log_at_trx_commit=0 it must be longer than
	// innodb_flush_log_at_timeout.
	Patience time.Duration
	// ChunkSize is the most that is read at once, in bytes. 0 is 2 MiB.
	ChunkSize int
	// Files opens the log files. nil: they are opened as any file is.
	Files Files
	// Logger reports resizes and re-reads. nil: no messages.
	Logger *slog.Logger
}

// Validate reports values that make no sense.
func (o TailOptions) Validate() error {
	if o.Interval < 0 || o.Patience < 0 || o.ChunkSize < 0 {
		return fmt.Errorf("follow redo log: negative option: interval %v, patience %v, chunk size %d",
			o.Interval, o.Patience, o.ChunkSize)
	}
	return nil
}

// Files is how a Tailer gets at the log files of the server.
type Files interface {
	// Open opens a regular file to read it.
	Open(path string) (*os.File, error)
	// Stat follows links. What it returns is for os.SameFile.
	Stat(path string) (os.FileInfo, error)
}

// plainFiles opens files with the rights of the process.
type plainFiles struct{}

func (plainFiles) Open(path string) (*os.File, error)    { return os.Open(path) }
func (plainFiles) Stat(path string) (os.FileInfo, error) { return os.Stat(path) }

// TailProgress is how far a Tailer has come.
type TailProgress struct {
	Copied  LSN   // everything from the checkpoint to here is copied
	LSNs    LSNs  // of the server, as last polled
	Bytes   int64 // copied
	MTRs    int64 // mini-transactions copied
	Resizes int   // how often the server changed to another log file
	Rereads int   // how often a place had to be read again
	// Headroom is how many bytes the server could still write before it
	// overwrites what is not copied; at 0 copying fails. LowestHeadroom is the
	// smallest that was seen.
	Headroom, LowestHeadroom int64
}

// Tailer copies the redo log of a running server from its newest checkpoint on,
// while the server writes it.
//
// The live end of the log cannot be trusted: after the last mini-transaction
// lie older ones, which parse and whose checksums are right. A Tailer therefore
// takes nothing above a flushed LSN that it polled before it read, and after each
// read it asks the server again whether it could have overwritten what was read.
// What it hands to the sink is contiguous, or Run fails.
//
// A log of blocks (Format105) is handed on in whole blocks. The one that the
// server is filling counts as copied, and is read again when there is more in it;
// the sink gets it when it is full, or, cut off at the end, from Finish. A block
// has its number and a checksum, so that the whole block can be taken in which the
// flushed LSN lies.
//
// Use it in this order: OpenTailer; Checkpoint when the files to be copied are
// open and none is read yet; Run in a goroutine; CatchUp as often as needed;
// Finish; then Run returns. CatchUp, Finish, Progress, TakeLowest and Journal may
// be called from any goroutine.
type Tailer struct {
	path    string
	status  Status
	sink    Sink
	options TailOptions
	log     *slog.Logger

	// The rest up to mu belongs to Run.
	file    *logFile
	pins    *logPins
	next    *logFile // has taken file's place; used from nextAt on
	nextAt  LSN
	nextMax LSN // file was written to no further than here
	walk    *mtrWalk
	buf     []byte
	have    int       // bytes in buf, from walk.pos() on
	last    LSNs      // as polled last
	polled  time.Time // when
	pace    float64   // bytes a second that the server writes
	failing time.Time // since when the place walk.end cannot be read; zero if it can
	sealed  bool      // the sink has all that Finish asked for

	mu       sync.Mutex
	progress TailProgress
	lowest   int64 // head-room since TakeLowest
	journal  *Journal
	header   LogHeader
	ring     Ring
	waits    []LSN         // what CatchUp and Finish wait for at present
	final    LSN           // Run ends here; 0: not asked for yet
	written  LSN           // see Written
	running  bool          // Run was called
	ended    bool          // Run has returned, with err
	err      error         //
	trouble  error         // why a place could not be read, the last time
	advanced chan struct{} // closed and renewed when progress or ended changes
	wake     chan struct{} // holds one value when Run should look at once
}

const (
	// writeBlock is the largest block that a server with Format108 rewrites until
	// it is full.
	writeBlock = 4096
	// ringSlack is kept from what could be overwritten: the server writes whole
	// blocks, and the LSN it reports may be that much too small.
	ringSlack = 64 << 10

	defaultInterval = 50 * time.Millisecond
	defaultPatience = 5 * time.Second
	defaultChunk    = 2 << 20
	shortInterval   = 2 * time.Millisecond
	rereadInterval  = 10 * time.Millisecond
)

// OpenTailer opens the redo log at path, normally ib_logfile0 in the server's
// innodb_log_group_home_dir, and reads its header. The caller closes the Tailer.
func OpenTailer(path string, status Status, sink Sink, o TailOptions) (*Tailer, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.Patience == 0 {
		o.Patience = defaultPatience
	}
	if o.ChunkSize == 0 {
		o.ChunkSize = defaultChunk
	}
	if o.Files == nil {
		o.Files = plainFiles{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	t := &Tailer{
		path: path, status: status, sink: sink, options: o, log: o.Logger,
		advanced: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	t.pins = pinLogs(o.Files, path, t.resume)
	file, err := openLog(o.Files, path)
	if err != nil {
		return nil, errors.Join(err, t.pins.close())
	}
	t.use(file)
	p := newLogParser(file.header, file.ring)
	t.buf = make([]byte, p.most()+o.ChunkSize)
	t.journal = newJournal(p.found().readable, p.found().hidden)
	return t, nil
}

// use makes file the one that is read.
func (t *Tailer) use(file *logFile) {
	t.file = file
	t.mu.Lock()
	defer t.mu.Unlock()
	t.header, t.ring = file.header, file.ring
}

// Header returns the log's header. A resize changes its FirstLSN only.
func (t *Tailer) Header() LogHeader {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.header
}

// Ring returns where the log's bytes lie at present.
func (t *Tailer) Ring() Ring {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ring
}

// Checkpoint reads the newest checkpoint, from which Run will copy. It must be
// called before Run.
func (t *Tailer) Checkpoint(ctx context.Context) (Checkpoint, error) {
	if t.started() {
		return Checkpoint{}, errors.New("read checkpoint: the redo log is already being copied")
	}
	for {
		if err := ctx.Err(); err != nil {
			return Checkpoint{}, fmt.Errorf("read checkpoint: %w", err)
		}
		c, err := t.file.checkpoint()
		if err != nil {
			return Checkpoint{}, err
		}
		same, err := t.file.current()
		if err != nil {
			return Checkpoint{}, err
		}
		if same {
			t.begin(c)
			return c, nil
		}
		// Resized since it was opened. Nothing is copied yet: take the new one.
		file, err := openLog(t.options.Files, t.path)
		if err != nil {
			return Checkpoint{}, err
		}
		old := t.file
		t.use(file)
		if err := old.close(); err != nil {
			return Checkpoint{}, err
		}
	}
}

// begin sets the checkpoint from which the log is copied.
func (t *Tailer) begin(c Checkpoint) {
	t.walk = newWalk(newLogParser(t.file.header, t.file.ring), c)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.journal = t.walk.journal
	t.progress = TailProgress{Copied: c.LSN, Headroom: t.ring.Capacity, LowestHeadroom: t.ring.Capacity}
	t.lowest = t.ring.Capacity
}

// Run copies the log until Finish has its LSN, or an error, or ctx ends. It may be
// called once. It calls the sink and the Status from its own goroutine.
func (t *Tailer) Run(ctx context.Context) (err error) {
	if t.walk == nil {
		return errors.New("follow redo log: no checkpoint was read")
	}
	if !t.start() {
		return errors.New("follow redo log: Run was called twice")
	}
	defer func() { t.end(err) }()
	lsns, err := t.poll(ctx)
	for err == nil {
		var more bool
		more, lsns, err = t.step(ctx, lsns)
		if err != nil || t.complete() {
			break
		}
		if more {
			continue
		}
		if err = t.pause(ctx); err == nil {
			lsns, err = t.poll(ctx)
		}
	}
	return err
}

// CatchUp waits until everything below lsn is copied. It is for an LSN that
// the server has reached; Run must be going on. If nothing moves for
// TailOptions.Patience, the error is ErrRedoStalled, and the copying goes on.
func (t *Tailer) CatchUp(ctx context.Context, lsn LSN) error {
	_, err := t.await(ctx, lsn, false)
	return err
}

// Written tells that the log file holds everything below lsn although the server
// may not report it as flushed: the caller has had it written, by FLUSH ENGINE
// LOGS with innodb_flush_log_at_trx_commit=2, after the server had reached lsn.
// With that setting a Finish without it waits for the next flush, about a second.
func (t *Tailer) Written(lsn LSN) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.written = max(t.written, lsn)
}

// Finish copies up to the first end of a mini-transaction at or above lsn, ends
// the copying and returns that end. A mini-transaction that announces the next,
// because it only names files, is not the last. What was copied above lsn before
// Finish was called stays. (In an encrypted log of blocks no end can be seen: it is
// lsn itself.) lsn is normally the server's current LSN, taken while commits
// are blocked. The copy also goes on until it holds the FILE_CHECKPOINT record of
// its checkpoint.
func (t *Tailer) Finish(ctx context.Context, lsn LSN) (LSN, error) {
	return t.await(ctx, lsn, true)
}

// Progress returns how far the copying has come.
func (t *Tailer) Progress() TailProgress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.progress
}

// Journal returns what the copied log says about files. It grows until Run ends.
func (t *Tailer) Journal() *Journal {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.journal
}

// Close closes the log. It is an error while Run is going on.
func (t *Tailer) Close() error {
	t.mu.Lock()
	busy := t.running && !t.ended
	t.mu.Unlock()
	if busy {
		return errors.New("close redo log: it is being copied")
	}
	err := t.pins.close()
	for _, file := range []*logFile{t.file, t.next} {
		if file != nil {
			err = errors.Join(err, file.close())
		}
	}
	t.file, t.next = nil, nil
	return err
}
