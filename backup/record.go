package backup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mbk/internal/hint"
	"mbk/internal/input/limit"
	"mbk/internal/repo"
	"mbk/internal/sys/signals"
	"mbk/stage"
)

// putAttempt puts the record of an attempt into the history, the server's first, because
// the record says if that failed, and tells Options.Attempted.
func putAttempt(ctx context.Context, o Options, a repo.Attempt) error {
	if err := putRow(ctx, o, a); err != nil {
		text := fmt.Sprintf("no row was written: %v", err)
		if hints := hint.Attached(err); len(hints) > 0 {
			text += " (" + hint.Join(hints, "; ").String() + ")"
		}
		o.Logger.Warn(text)
		a.Warn(text)
	}
	err := o.Repository.PutAttempt(ctx, a)
	o.Attempted(a)
	return err
}

// rowTime bounds how long the row in the server's table may take.
const rowTime = 20 * time.Second

// putRow writes the attempt into the table of the server that is to have it.
func putRow(ctx context.Context, o Options, a repo.Attempt) error {
	if o.Server == nil || o.HistoryTable.IsZero() {
		return nil
	}
	row := stage.HistoryRow{
		RepositoryID: o.Repository.Config().ID, ID: a.ID, Repository: o.Repository.String(),
		Kind: a.Kind, Parent: a.Parent, Label: a.Label, FullReason: a.FullReason, Chain: a.Chain,
		Tool: a.Tool, ServerVersion: a.ServerVersion, Hostname: a.Hostname,
		Started: a.Started, Finished: a.Finished, Outcome: a.Outcome, Error: a.Error, Hints: strings.Join(a.Hints, "\n"),
		LockMS: a.LockMS, Checkpoint: uint64(a.LSN.Checkpoint), End: uint64(a.LSN.End),
		BytesRead: a.BytesRead, BytesStored: a.BytesStored,
		RedoBytes: a.RedoBytes, RedoCapacity: a.RedoCapacity, LowestHeadroom: a.LowestHeadroom,
		Tables: a.Tables, Files: a.Files, LeftOut: a.LeftOut, DamagedPages: a.Damaged, DDL: a.DDL.Total(),
		Warnings: a.WarningCount,
	}
	if b := a.Binlog; b != nil {
		row.BinlogFile, row.BinlogPosition, row.GTID = b.File, b.Position, b.GTID
	}
	if a.Unchanged != nil {
		row.BytesUnchanged = a.Unchanged.Bytes
	}
	if a.Resumed != nil {
		row.BytesResumed = a.Resumed.Bytes
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rowTime)
	defer cancel()
	return limit.Explain(o.Server.PutHistory(ctx, o.HistoryTable, row), rowTime)
}

// recordTime bounds how long the record of an attempt may take that never began.
const recordTime = 10 * time.Second

// NotBegun puts an attempt into the history that failed before it could begin,
// because no server answered, say, unless Options.Unrecorded says that it is none. Only
// Repository, Tool, Logger and Attempted of the options need be set. That it cannot be
// recorded is logged only, since cause is what the user must know.
func NotBegun(ctx context.Context, o Options, started time.Time, cause error) {
	o.fillCallbacks()
	if !o.Unrecorded(cause) {
		notBegun(ctx, o, newFailure(o, "", started, cause))
	}
}

func notBegun(ctx context.Context, o Options, a repo.Attempt) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTime)
	defer cancel()
	a.ID = repo.NewID(a.Started, repo.KindFailed)
	if o.Repository.New() {
		o.Attempted(a) // there is no history yet, and a failure does not begin one
		return
	}
	id, err := o.Repository.FreshID(ctx, a.Started, repo.KindFailed)
	if err == nil {
		a.ID = id
		err = putAttempt(ctx, o, a)
	}
	if err != nil {
		o.Logger.Warn("the failed attempt is not in the history", "reason", limit.Explain(err, recordTime))
	}
}

// newFailure is the record of an attempt that failed.
func newFailure(o Options, id string, started time.Time, cause error) repo.Attempt {
	a := repo.Attempt{
		FormatVersion: repo.FormatVersion, ID: id, Kind: repo.KindFailed, Tool: o.Tool, Codec: o.Codec.String(),
		Started: started.UTC(), Finished: time.Now().UTC(), Outcome: repo.OutcomeFailed,
		Error: cause.Error(), Hints: hint.Strings(hint.WithKernel(cause)),
	}
	_, signalled := errors.AsType[signals.Received](cause) // which says enough
	if errors.Is(cause, context.Canceled) && !signalled {
		a.Error = "interrupted: " + a.Error
	}
	return a
}

// describe adds what is known of the server.
func describe(a *repo.Attempt, f stage.Facts) {
	a.Hostname, a.ServerVersion, a.ServerID, a.Datadir = f.Hostname, f.Version.Text, f.ServerID, f.Datadir
}
