package stage

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mbk/internal/sys/pause"
)

// waiting is the progress of the wait for one stage.
type waiting struct {
	stage    Stage
	begun    time.Time
	tries    int
	pause    time.Duration // before the next try
	blockers []Blocker     // as last seen
}

// Advance raises the backup to stage to, and through those before it, waiting
// for each as StageOptions say. It returns
//
//   - BusyError when a stage was not granted in time or ctx's deadline passed,
//   - ctx's error when ctx was cancelled,
//   - ErrStageLost when the connection is gone,
//   - ErrStageOrder when to is not above the present stage.
//
// In the first two cases no request is pending any more and the stages held
// before are still held, until End; except that a failure in the middle of a
// retreat leaves none.
func (s *Stages) Advance(ctx context.Context, to Stage) error {
	if err := s.Check(); err != nil {
		return err
	}
	if present := s.Stage(); to <= present || to > BlockCommit {
		return fmt.Errorf("%w: BACKUP STAGE %s at stage %s", ErrStageOrder, to, present)
	}
	for st := s.Stage() + 1; st <= to; st++ {
		w := &waiting{stage: st, begun: time.Now(), pause: firstPause}
		if err := s.obtain(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// obtain tries for one stage until it is granted or patience ends.
func (s *Stages) obtain(ctx context.Context, w *waiting) error {
	for {
		err := s.try(ctx, w.stage, w)
		if err == nil {
			s.granted(w)
			if w.stage == Start {
				return s.takeMark(context.WithoutCancel(ctx)) // another backup may have had it until now
			}
			return nil
		}
		if errors.Is(err, ErrStageLost) || !withdrawn(err) && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		if err := s.patient(ctx, w); err != nil {
			return err
		}
		if w.stage == BlockDDL && s.opts.Retreat != nil {
			err = s.retreat(ctx, w)
		} else {
			err = s.rest(ctx, w)
		}
		if err != nil {
			return err
		}
	}
}

// try asks once for stage st.
func (s *Stages) try(ctx context.Context, st Stage, w *waiting) error {
	w.tries++
	text := "BACKUP STAGE " + st.String()
	if st == Flush { // from now on others may wait for us
		if err := s.allow(ctx, st); err != nil {
			return err
		}
	}
	err := s.run(ctx, text, func() { s.look(ctx, text, w) })
	if err != nil && !errors.Is(err, ErrStageLost) {
		return fmt.Errorf("%s: %w", text, err)
	}
	return err
}

// look finds out who is in the way while the request is still pending.
func (s *Stages) look(ctx context.Context, text string, w *waiting) {
	ctx, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	blockers, err := s.helper.blockers(ctx, contest{self: s.id, stage: w.stage})
	if err != nil {
		s.opts.Logger.Debug("cannot tell who is in the way", "statement", text, "error", err)
		return
	}
	w.blockers = blockers
	names := make([]string, len(blockers))
	for i, b := range blockers {
		names[i] = b.String()
	}
	waited := time.Since(w.begun).Round(time.Millisecond)
	s.opts.Logger.Info("waiting", "statement", text, "try", w.tries, "waited", waited, "for", names)
}

// patient returns the error that ends the wait, nil to go on.
func (s *Stages) patient(ctx context.Context, w *waiting) error {
	waited := time.Since(w.begun)
	switch err := ctx.Err(); {
	case errors.Is(err, context.DeadlineExceeded):
		return s.busy(w, err)
	case err != nil:
		return fmt.Errorf("BACKUP STAGE %s: %w", w.stage, err)
	case waited+w.pause >= s.opts.Patience:
		return s.busy(w, nil)
	}
	return nil
}

// busy is the error when the stage was not granted in time.
func (s *Stages) busy(w *waiting, err error) error {
	return &BusyError{Wanted: "BACKUP STAGE " + w.stage.String(), Stage: w.stage, Waited: time.Since(w.begun),
		Tries: w.tries, Blockers: w.blockers, Err: err}
}

// rest lets others pass before the next try, each time twice as long.
func (s *Stages) rest(ctx context.Context, w *waiting) error {
	timer := time.NewTimer(w.pause)
	defer timer.Stop()
	w.pause = min(2*w.pause, longestPause)
	select {
	case <-timer.C:
		return nil
	case <-s.gone:
		return s.Check()
	case <-ctx.Done():
		return s.patient(ctx, w)
	}
}

// retreat gives all stages back, rests, and gets as far as FLUSH again.
func (s *Stages) retreat(ctx context.Context, w *waiting) error {
	if err := s.opts.Retreat(ctx); err != nil {
		return fmt.Errorf("before giving stage FLUSH back: %w", err)
	}
	if err := s.run(context.WithoutCancel(ctx), "BACKUP STAGE END", nil); err != nil {
		return fmt.Errorf("BACKUP STAGE END: %w", err)
	}
	s.mu.Lock()
	s.present, s.restarts = 0, s.restarts+1
	s.times = s.times[:1] // START
	s.mu.Unlock()
	if err := s.rest(ctx, w); err != nil {
		return err
	}
	for st := Start; st <= Flush; st++ {
		again := &waiting{stage: st, begun: w.begun, pause: firstPause}
		if err := s.obtain(ctx, again); err != nil {
			return err
		}
	}
	return nil
}

// granted notes a stage that is held from now on.
func (s *Stages) granted(w *waiting) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now().UTC()
	s.present = w.stage
	if w.stage == BlockDDL {
		s.deadline = now.Add(s.opts.Budget)
	}
	if w.stage != Start || len(s.times) == 0 {
		s.times = append(s.times, StageTime{Stage: w.stage, Granted: now, Wait: now.Sub(w.begun), Tries: w.tries})
	}
	s.opts.Logger.Debug("stage granted", "stage", w.stage.String(), "waited", now.Sub(w.begun), "tries", w.tries)
}

// allow tells the server how long to wait for a sign of life while stage st is asked
// for.
func (s *Stages) allow(ctx context.Context, st Stage) error {
	s.mu.Lock()
	limit := s.idleLimit(st)
	s.mu.Unlock()
	begun := time.Now()
	err := s.run(ctx, waitTimeout(limit), nil)
	if err == nil {
		s.pulse.allow(limit, begun)
	}
	return err
}

// run gives the stage connection one statement and returns when the server has
// answered. When ctx ends first, the statement is withdrawn by KILL QUERY, and
// its answer is returned all the same: it may have been granted in that moment.
// look, if not nil, is called once should the statement take long.
func (s *Stages) run(ctx context.Context, text string, look func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := s.Check(); err != nil {
		return err
	}
	return s.statement(ctx, text, look)
}

// statement is run for a caller who has the turn.
func (s *Stages) statement(ctx context.Context, text string, look func()) error {
	answer := make(chan error, 1)
	go func() { answer <- s.own.exec(s.life, text) }()
	slow, limit := time.NewTimer(lookAfter), time.NewTimer(tryLimit)
	defer slow.Stop()
	defer limit.Stop()
	for {
		select {
		case err := <-answer:
			return s.judge(err)
		case <-slow.C:
			if look != nil {
				look()
			}
		case <-limit.C:
			return s.judge(s.withdraw(answer))
		case <-ctx.Done():
			return s.judge(s.withdraw(answer))
		}
	}
}

// judge notes the loss of the connection if that is what err means.
func (s *Stages) judge(err error) error {
	if err != nil && lost(err) {
		return s.fail(err)
	}
	return err
}

// withdraw ends the running statement from another connection and returns its
// answer. A server that does not even answer that is given up: the connection is
// closed, and with it go the stages.
func (s *Stages) withdraw(answer <-chan error) error {
	for range killTries {
		// Not the caller's context: that may have ended, and the statement must be withdrawn all the same.
		ctx, cancel := context.WithTimeout(context.Background(), killLimit)
		err := s.helper.kill(ctx, "QUERY", s.id)
		cancel()
		if err != nil {
			s.opts.Logger.Debug("cannot withdraw a statement", "error", err)
		}
		select {
		case err := <-answer:
			if err == nil || !lost(err) {
				// The KILL may have come too late and hit nothing; it must not hit
				// the next statement. Errors show again there.
				_ = s.own.exec(s.life, "DO 1")
			}
			return err
		case <-time.After(killPause):
		}
	}
	s.giveUp()
	<-answer
	return errSlow
}

// End ends the stages. It returns nil only if the server has confirmed it on the
// connection that got START, which proves that the stages were held all the time;
// anything else makes the backup void. It does not heed ctx's cancellation, has a
// time limit of its own (60 s), and may be called again: it returns the same. If
// no stage is held it does nothing.
func (s *Stages) End(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
	defer cancel()
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		s.giveUp()
		return s.fail(errSlow)
	}
	s.mu.Lock()
	over, err, held := s.ended, s.lost, s.present != 0
	s.mu.Unlock()
	if over || err != nil {
		return err
	}
	begun := time.Now()
	if held {
		if err := s.end(ctx); err != nil {
			return err
		}
	}
	s.mu.Lock()
	s.ended = true
	if held {
		s.present = End
		now := time.Now().UTC()
		s.times = append(s.times, StageTime{Stage: End, Granted: now, Wait: now.Sub(begun), Tries: 1})
	}
	s.mu.Unlock()
	// The next backup may be waiting for this; closing the connection does it too.
	_ = s.own.exec(s.life, "DO RELEASE_ALL_LOCKS()")
	return nil
}

// end sends END for a caller who has the turn.
func (s *Stages) end(ctx context.Context) error {
	if err := s.same(); err != nil {
		return s.fail(err)
	}
	for try := 1; ; try++ {
		err := s.statement(ctx, "BACKUP STAGE END", nil)
		switch {
		case err == nil:
			return nil
		case number(err) == erBackupNotRunning:
			return s.fail(fmt.Errorf("the server held no stage for it: %w", err))
		case errors.Is(err, ErrStageLost):
			return err
		case !withdrawn(err) || try == endTries || ctx.Err() != nil:
			// Closing the connection is the other way to release the server.
			s.giveUp()
			return s.fail(fmt.Errorf("BACKUP STAGE END: %w", err))
		}
	}
}

// same checks that the connection is still the one that began.
func (s *Stages) same() error {
	ctx, cancel := context.WithTimeout(s.life, endLimit)
	defer cancel()
	answer, err := s.own.values(ctx, "SELECT CONNECTION_ID()")
	if err != nil {
		return err
	}
	if now := answer.at(0); now != strconv.FormatUint(s.id, 10) {
		return fmt.Errorf("the server knows it as connection %s", now)
	}
	return nil
}

// ConfirmReleased is for after ErrStageLost: it returns nil once the server has
// no connection of that id any more, and therefore no stage of ours. It kills the
// connection if it lingers. It may be called after Close.
func (s *Stages) ConfirmReleased(ctx context.Context) error {
	for {
		gone, err := s.server.without(ctx, s.id)
		if gone {
			return nil
		}
		if err == nil {
			err = s.server.control.kill(ctx, "CONNECTION", s.id)
		}
		if err != nil {
			return fmt.Errorf("confirm that connection %d has released its stages: %w", s.id, err)
		}
		if err := pause.For(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("connection %d still holds its stages: %w", s.id, err)
		}
	}
}

// without reports whether the server has no connection id of the time when Connect
// was called.
func (s *Server) without(ctx context.Context, id uint64) (bool, error) {
	now, err := s.startTime(ctx)
	if err != nil {
		return false, err
	}
	if now.Sub(s.started) > 5*time.Second {
		return true, nil // it was restarted and counts connections from 0
	}
	all, err := s.control.rows(ctx, "SELECT 1 FROM information_schema.PROCESSLIST WHERE ID = ?", id)
	return err == nil && len(all) == 0, err
}
