package stage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mbk/internal/innodb"
)

// Obstacles names the connections that would keep a backup waiting if it began
// now: those that have been in the way of START or BLOCK_DDL for at least the
// given time, and another backup by mbk however long that runs. Without the
// plugin metadata_lock_info they are guesses.
func (s *Server) Obstacles(ctx context.Context, least time.Duration) ([]Blocker, error) {
	var found []Blocker
	for _, wanted := range []Stage{Start, BlockDDL} {
		all, err := s.control.blockers(ctx, contest{stage: wanted})
		if err != nil {
			return nil, err
		}
		for _, b := range all {
			known := slices.ContainsFunc(found, func(f Blocker) bool { return f.ID == b.ID })
			if !known && (b.Time >= least || b.Reason == anotherBackup) {
				found = append(found, b)
			}
		}
	}
	return found, nil
}

// Clock returns the server's time, in UTC.
func (s *Server) Clock(ctx context.Context) (time.Time, error) {
	now, err := s.control.values(ctx, "SELECT UTC_TIMESTAMP(6)")
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's clock: %w", err)
	}
	t, err := time.ParseInLocation("2006-01-02 15:04:05.000000", now.at(0), time.UTC)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's clock: %w", err)
	}
	return t, nil
}

// LSNs returns the present state of the redo log.
func (s *Server) LSNs(ctx context.Context) (innodb.LSNs, error) {
	l, err := s.control.lsns(ctx)
	if err != nil {
		return innodb.LSNs{}, fmt.Errorf("read the redo log's position: %w", err)
	}
	return l, nil
}
