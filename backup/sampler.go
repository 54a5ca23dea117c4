package backup

import (
	"sync"
	"sync/atomic"
	"time"

	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// sampler measures an attempt while it runs, for its record.
type sampler struct {
	journal *journal
	tail    atomic.Pointer[innodb.Tailer] // nil until the redo log is followed
	ended   chan struct{}                 // closed by stop
	running sync.WaitGroup
	samples repo.Samples // its goroutine's until stop has returned
}

// sampleEvery is the time between two samples at first; it doubles with each halving.
const sampleEvery = 100 * time.Millisecond

// newSampler begins to measure.
func newSampler(j *journal) *sampler {
	s := &sampler{journal: j, ended: make(chan struct{})}
	s.running.Go(s.run)
	return s
}

// follow is called when the redo log is followed.
func (s *sampler) follow(tail *innodb.Tailer) { s.tail.Store(tail) }

func (s *sampler) run() {
	every := sampleEvery
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-s.ended:
			s.samples.Add(s.take())
			return
		case <-tick.C:
		}
		if s.samples.Add(s.take()) {
			every *= 2
			tick.Reset(every)
		}
	}
}

// take measures once.
func (s *sampler) take() repo.Sample {
	one := repo.Sample{
		MS: time.Since(s.journal.started).Milliseconds(), Read: s.journal.read.Load(), Stored: s.journal.stored.Load(),
		Headroom: -1,
	}
	if tail := s.tail.Load(); tail != nil {
		one.Redo, one.Headroom = tail.Progress().Bytes, tail.TakeLowest()
	}
	return one
}

// stop measures a last time and returns all samples. It may be called once.
func (s *sampler) stop() *repo.Samples {
	close(s.ended)
	s.running.Wait()
	return &s.samples
}
