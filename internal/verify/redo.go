package verify

import (
	"context"
	"io"

	"mbk/copier/pack"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

// redo walks the redo log from its first byte to its last.
func (d *pagesDepth) redo(ctx context.Context) error {
	found := d.count()
	f := &d.m.Files[d.m.Redo.File]
	log, err := innodb.NewLogChecker(d.m.Redo.Format, d.m.Redo.Crypt, d.m.Redo.Checkpoint)
	if err != nil {
		d.add(repo.Finding{File: f.Path, Problem: err.Error()})
		return nil
	}
	e := pack.NewReader()
	defer e.Close()
	sink := &logSink{log: log}
	for _, x := range f.Extents {
		err := e.Extent(ctx, d.chain.Backup(), f.Number, x, countedSink{sink, d.meter})
		if err != nil && sink.err != nil {
			d.add(repo.Finding{File: f.Path, Problem: sink.err.Error()})
			return nil
		}
		damage, err := damageOf(err)
		if damage != nil {
			damage.File = f.Path
			d.add(*damage)
			return nil
		}
		if err != nil {
			return err
		}
	}
	if err := log.Finish(d.m.Redo.End); err != nil {
		d.add(repo.Finding{File: f.Path, Problem: err.Error()})
		return nil
	}
	d.report.MTRs = log.MTRs()
	d.prove(found, "the redo log runs from LSN %d to %d without a gap, in %s", d.m.Redo.Checkpoint.LSN, d.m.Redo.End,
		printable.Count(log.MTRs(), "mini-transaction"))
	return nil
}

// logSink feeds the redo log to a checker.
type logSink struct {
	log io.Writer
	err error // of the checker
}

// WriteAt implements pack.Sink.
func (s *logSink) WriteAt(p []byte, _ int64) (int, error) {
	n, err := s.log.Write(p)
	s.err = err
	return n, err
}

// Zero implements pack.Sink.
func (s *logSink) Zero(off, n int64) error {
	zeros := make([]byte, min(n, pack.MaxChunk))
	for n > 0 {
		p := zeros[:min(n, int64(len(zeros)))]
		if _, err := s.WriteAt(p, off); err != nil {
			return err
		}
		off, n = off+int64(len(p)), n-int64(len(p))
	}
	return nil
}
