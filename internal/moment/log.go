package moment

import (
	"context"

	"mbk/internal/binlog"
	"mbk/internal/repo"
)

// Log is where a binary log is, cut into segments: the archive of a repository, or the files of a
// server. Its methods are those of *repo.Repository, and have the same errors.
type Log interface {
	// Timelines lists the histories without a gap, the oldest first.
	Timelines(ctx context.Context) ([]repo.StoredTimeline, error)
	// Segment reads the head of a segment.
	Segment(ctx context.Context, timeline string, number uint64) (*repo.Segment, error)
	// ScanSegment reads the events of one.
	ScanSegment(ctx context.Context, s *repo.Segment,
		each func(event []byte, part binlog.Part, c *binlog.Cutter) error) error
}
