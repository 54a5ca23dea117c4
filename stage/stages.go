package stage

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mbk/internal/hint"
)

// Stage is a stage of a backup. The zero value means none.
type Stage int

// The stages in their order.
const (
	Start Stage = iota + 1
	Flush
	BlockDDL
	BlockCommit
	End
)

// String returns the stage as BACKUP STAGE takes it.
func (s Stage) String() string {
	switch s {
	case Start:
		return "START"
	case Flush:
		return "FLUSH"
	case BlockDDL:
		return "BLOCK_DDL"
	case BlockCommit:
		return "BLOCK_COMMIT"
	case End:
		return "END"
	}
	return "none"
}

// StageOptions say how long stages are waited for. The zero value will do.
type StageOptions struct {
	// Slice bounds one try for a stage: while a request is pending, other
	// sessions wait behind it. Whole seconds, rounded up, as the server counts;
	// 0 means 1 s.
	Slice time.Duration

	// Patience bounds all tries for one stage together; 0 means 60 s. A context's
	// deadline bounds them too.
	Patience time.Duration

	// Budget is how long BLOCK_DDL and BLOCK_COMMIT may be held together; 0 means
	// 60 s. Who takes the stages keeps it; here it is for the case that this process
	// cannot: while others may wait for the stages, the server itself ends the
	// connection, and with it the stages, when it hears nothing from us for what is
	// left of the budget and two seconds, or for a minute if that is less. At START,
	// for which nobody waits, it waits for ten minutes.
	Budget time.Duration

	// Retreat, if set, lets Advance give FLUSH back between tries for BLOCK_DDL.
	// The server blocks new writes to MyISAM and other non-transactional tables
	// from FLUSH on, pending request or not; the only way to let them pass is END
	// and then START, FLUSH, BLOCK_DDL again on the same connection. Retreat is
	// called before that END, with FLUSH still held; an error ends Advance.
	// Between END and START the server may purge Aria's logs and forgets ddl.log.
	// Without Retreat only the pending request is withdrawn.
	Retreat func(context.Context) error

	// Logger gets waits and who causes them (Info) and every statement (Debug);
	// nil logs nothing.
	Logger *slog.Logger
}

// Validate reports options that cannot be meant.
func (o StageOptions) Validate() error {
	if o.Slice < 0 || o.Patience < 0 || o.Budget < 0 {
		return fmt.Errorf("wait for stages: slice %s, patience %s, budget %s: negative", o.Slice, o.Patience, o.Budget)
	}
	return nil
}

const (
	defaultSlice    = time.Second
	defaultPatience = time.Minute
	defaultBudget   = time.Minute
	keepAlive       = time.Second      // between signs of life
	endLimit        = 60 * time.Second // for END
	firstPause      = 500 * time.Millisecond
	longestPause    = 5 * time.Second
	tryLimit        = 5 * time.Minute        // for one statement, should the server hang in it
	lookAfter       = 300 * time.Millisecond // a statement that runs for so long waits for somebody
	lookLimit       = 2 * time.Second        // to find out for whom
	killTries       = 3
	killLimit       = 2 * time.Second
	killPause       = 500 * time.Millisecond
	endTries        = 5
)

// mark is the user lock by which the stage connections of this program find each
// other on a server.
const mark = "mbk backup"

// StageTime is one stage as it was held.
type StageTime struct {
	Stage   Stage
	Granted time.Time     // UTC
	Wait    time.Duration // from the first try until granted
	Held    time.Duration // until the next stage was granted; so far, if it is the last
	Tries   int
}

// Stages is the connection that holds the backup stages. One goroutine calls
// Advance; End, Close, Lost, Check and Times may be called from any. Statements
// run to their end whatever becomes of a context, because the driver closes a
// connection whose statement is cancelled, and with it the stages.
type Stages struct {
	server *Server
	opts   StageOptions
	own    *session // the stage connection
	helper *session // for KILL and for finding blockers: must not be waited for
	id     uint64   // CONNECTION_ID() of own

	life    context.Context // of every statement; cancelled only to give the connection up
	giveUp  context.CancelFunc
	pulse   *pulse        // whether we stood still
	stop    chan struct{} // closed to stop the keep-alive
	stopped chan struct{} // closed when it has stopped
	turn    chan struct{} // holds a token while a statement runs

	mu       sync.Mutex // guards what follows
	present  Stage
	times    []StageTime
	restarts int
	ended    bool
	deadline time.Time     // of the budget; zero before BLOCK_DDL
	lost     error         // not nil once the connection is gone
	gone     chan struct{} // closed then
}

// Begin opens the connection for the stages and a second one to watch over it.
// No stage is held yet: the first step is Advance(ctx, Start). The caller calls
// Close, on every path.
func (s *Server) Begin(ctx context.Context, opts StageOptions) (*Stages, error) {
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	if opts.Slice == 0 {
		opts.Slice = defaultSlice
	}
	if opts.Patience == 0 {
		opts.Patience = defaultPatience
	}
	if opts.Budget == 0 {
		opts.Budget = defaultBudget
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	helper, err := open(ctx, s.cfg, watchLimit, true)
	if err != nil {
		return nil, fmt.Errorf("open the helper of the stage connection: %w", err)
	}
	own, err := open(ctx, s.cfg, 0, false)
	if err != nil {
		helper.close()
		return nil, fmt.Errorf("open the stage connection: %w", err)
	}
	st := &Stages{server: s, opts: opts, own: own, helper: helper, id: own.link.id,
		stop: make(chan struct{}), stopped: make(chan struct{}), turn: make(chan struct{}, 1), gone: make(chan struct{})}
	// The stages outlive a cancelled backup until END is sent, and so do the signs of life. Close gives up.
	st.life, st.giveUp = context.WithCancel(context.Background())
	st.pulse = newPulse()
	go st.keepAlive()
	if err := st.prepare(ctx); err != nil {
		_ = st.Close() // nothing is held yet; the error of prepare says it all
		return nil, fmt.Errorf("prepare the stage connection: %w", err)
	}
	return st, nil
}

// prepare sets the time limit of a try and that of our silence, and marks the
// connection.
func (s *Stages) prepare(ctx context.Context) error {
	seconds := (s.opts.Slice + time.Second - 1) / time.Second
	if err := s.run(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout=%d", seconds), nil); err != nil {
		return err
	}
	if err := s.allow(ctx, Start); err != nil {
		return err
	}
	return s.takeMark(ctx)
}

// takeMark takes the user lock if it is free. A cluster may refuse user locks;
// then other backups cannot name this one, that is all.
func (s *Stages) takeMark(ctx context.Context) error {
	err := s.run(ctx, "DO GET_LOCK('"+mark+"', 0)", nil)
	if number(err) != 0 && !lost(err) {
		return nil
	}
	return err
}

// ID returns the connection's id on the server.
func (s *Stages) ID() uint64 { return s.id }

// Stage returns the stage that is held, 0 before START, End after END.
func (s *Stages) Stage() Stage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.present
}

// Lost returns a channel that is closed as soon as the connection is known to be
// gone; Check then says why. Loss is noticed within about two seconds.
func (s *Stages) Lost() <-chan struct{} { return s.gone }

// Check returns ErrStageLost if the connection is gone and ErrStageOrder after
// END, else nil.
func (s *Stages) Check() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lost != nil {
		return s.lost
	}
	if s.ended {
		return fmt.Errorf("%w: the stages have ended", ErrStageOrder)
	}
	return nil
}

// Restarts returns how often the stages were given back and restarted by a
// retreat.
func (s *Stages) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

// Times returns the stages granted so far, in order, each once: after a retreat
// START is the first one and FLUSH the last one; the time between is part of the
// wait for BLOCK_DDL. END is listed when it has succeeded.
func (s *Stages) Times() []StageTime {
	s.mu.Lock()
	defer s.mu.Unlock()
	times := make([]StageTime, len(s.times))
	copy(times, s.times)
	for i := range times {
		switch {
		case times[i].Stage == End:
		case i+1 < len(times):
			times[i].Held = times[i+1].Granted.Sub(times[i].Granted)
		default:
			times[i].Held = time.Since(times[i].Granted)
		}
	}
	return times
}

// Close ends the stages if that has not been done and closes the connections. It
// may be called again. It returns what End returned.
func (s *Stages) Close() error {
	err := s.End(context.Background()) // also after a cancel; End has limits of its own
	s.mu.Lock()
	select {
	case <-s.stop:
	default:
		close(s.stop)
	}
	s.mu.Unlock()
	s.giveUp() // a sign of life may hang on a stopped server
	<-s.stopped
	s.pulse.end()
	s.own.close()
	s.helper.close()
	return err
}

// fail notes that the connection is gone and returns ErrStageLost, unless the
// stages have ended. The first cause counts.
func (s *Stages) fail(why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return nil // END has succeeded: what comes after does not matter
	}
	if s.lost == nil {
		why = s.pulse.explain(why)
		s.lost = fmt.Errorf("%w: connection %d, stage %s: %w", ErrStageLost, s.id, s.present, cause(why))
		s.lost = hint.Wrap(s.lost, whatLost(why))
		close(s.gone)
	}
	return s.lost
}
