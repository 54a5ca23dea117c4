package backup

import (
	"context"
	"log/slog"
	"time"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/sys/pause"
	"mbk/stage"
)

// position is what BLOCK_COMMIT pins.
type position struct {
	binlog   *repo.Binlog
	replicas []repo.Source
	galera   *repo.Galera

	at         *stage.Binlog // as binlog
	unfinished []string      // statements that the stage may have kept from being committed
}

// commitWait bounds the wait for statements that write the binary log.
const commitWait = 2 * time.Second

// waitForCommits waits until what has committed is in the binary log.
func waitForCommits(ctx context.Context, server *stage.Server, log *slog.Logger) error {
	for since := time.Now(); ; {
		n, err := server.Committing(ctx)
		if err != nil || n == 0 {
			return err
		}
		if time.Since(since) > commitWait {
			log.Warn("statements take long to write the binary log; the position may be before them", "statements", n)
			return nil
		}
		if err := pause.For(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// readPosition reads how far the binary log, replication and the cluster are.
func readPosition(ctx context.Context, server *stage.Server, logBin bool, log *slog.Logger) (p position, err error) {
	if logBin {
		if err := waitForCommits(ctx, server, log); err != nil {
			return position{}, err
		}
	}
	binlog, err := server.Binlog(ctx)
	if err != nil {
		return position{}, err
	}
	if binlog != nil {
		p.binlog = &repo.Binlog{File: binlog.File, Position: binlog.Position, GTID: binlog.GTID, State: binlog.State}
		p.at = binlog
		if p.unfinished, err = server.Unfinished(ctx); err != nil {
			return position{}, err
		}
	}
	replicas, err := server.Replicas(ctx)
	if err != nil {
		return position{}, err
	}
	for _, s := range replicas {
		p.replicas = append(p.replicas, repo.Source{
			Connection: s.Connection, Host: s.Host, Port: s.Port, File: s.File, Position: s.Position,
			GTID: s.GTID, UsingGTID: s.UsingGTID,
		})
	}
	galera, err := server.Galera(ctx)
	if err != nil {
		return position{}, err
	}
	if galera != nil {
		p.galera = &repo.Galera{UUID: galera.UUID, SeqNo: galera.SeqNo}
	}
	return p, nil
}

// errHalfDone is the cause of an attempt that must be followed by another one, because a
// statement about accounts was in the binary log and not committed at the position.
var errHalfDone = fault.New(fault.Busy,
	"a statement about accounts was in the binary log, and not committed yet, when the backup fixed its moment")

// checkHalfDone looks for such a statement. It is called when no lock is held any more.
func (a *attempt) checkHalfDone(ctx context.Context) error {
	p := &a.final.position
	found, err := a.opts.Server.HalfDone(ctx, a.logged, p.at, p.unfinished)
	if err == nil && found {
		err = hint.Wrap(errHalfDone, "try again when no accounts or privileges are being changed")
	}
	return err
}
