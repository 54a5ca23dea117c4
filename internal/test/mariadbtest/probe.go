package mariadbtest

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Stall tells how long the clients of one kind had to wait.
type Stall struct {
	Longest time.Duration
	At      time.Time // when the longest began
	Mean    time.Duration
	Count   int64 // how many statements were measured
	Slow    int64 // how many took more than 100 ms
}

// Stalls are what a Probe has measured.
type Stalls struct {
	Commit Stall // INSERT of one row into InnoDB, with its commit
	DDL    Stall // CREATE TABLE, then DROP TABLE, each measured alone
	MyISAM Stall // INSERT of one row
}

// Probe measures how long other clients of a server have to wait, in three
// sessions that do little.
type Probe struct {
	load *Load

	mu     sync.Mutex
	stalls Stalls
	sum    [3]time.Duration
}

// StartProbe starts the sessions of a probe. They rest between two statements
// (0: 2 ms; ten times that after DDL), so that a stall shorter than the rest may
// go unseen. The caller calls Stop.
func StartProbe(ctx context.Context, s *Server, rest time.Duration) (*Probe, error) {
	if rest == 0 {
		rest = 2 * time.Millisecond
	}
	name := func(t string) string { return quote(probeDB, t) }
	err := s.Exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quote(probeDB),
		"CREATE TABLE IF NOT EXISTS "+name("commits")+" (at TIMESTAMP(6) NOT NULL) ENGINE=InnoDB",
		"CREATE TABLE IF NOT EXISTS "+name("inserts")+" (at TIMESTAMP(6) NOT NULL) ENGINE=MyISAM")
	if err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	l, halted, running := newLoad(ctx, s, "probe")
	p := &Probe{load: l}
	once := func(kind int, rest time.Duration, queries ...string) {
		l.run(halted, running, uint64(kind), rest, func(*session) unit {
			return func(x *session) error { return p.measure(x, kind, queries) }
		})
	}
	once(0, rest, "INSERT INTO "+name("commits")+" VALUES (NOW(6))")
	once(1, 10*rest, "CREATE TABLE "+name("ddl")+" (a INT) ENGINE=InnoDB", "DROP TABLE "+name("ddl"))
	once(2, rest, "INSERT INTO "+name("inserts")+" VALUES (NOW(6))")
	return p, nil
}

// measure runs statements and enters the time that each took.
func (p *Probe) measure(x *session, kind int, queries []string) error {
	for _, q := range queries {
		begin := time.Now()
		if err := x.exec(q); err != nil {
			return err
		}
		took := time.Since(begin)
		p.mu.Lock()
		s := []*Stall{&p.stalls.Commit, &p.stalls.DDL, &p.stalls.MyISAM}[kind]
		s.Count++
		p.sum[kind] += took
		s.Mean = p.sum[kind] / time.Duration(s.Count)
		if took > 100*time.Millisecond {
			s.Slow++
		}
		if took > s.Longest {
			s.Longest, s.At = took, begin
		}
		p.mu.Unlock()
	}
	return nil
}

// Stalls returns what has been measured so far. It may be called at any time.
func (p *Probe) Stalls() Stalls {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stalls
}

// Stop ends the sessions and returns what they measured. A statement that still
// waits counts until its end, or until Load.Stop would give it up.
func (p *Probe) Stop() (Stalls, error) {
	_, err := p.load.Stop()
	return p.Stalls(), err
}
