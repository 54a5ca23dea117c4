package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mbk/backup"
	"mbk/copier"
	"mbk/innodb"
	"mbk/internal/hint"
	"mbk/repo"
	"mbk/repo/store"
	"mbk/restore"
	"mbk/stage"
)

// Exit codes. Scripts rely on them; docs/manual.md lists them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2   // bad usage or configuration: the call must be changed
	exitDamage      = 3   // damage found, in the source or in a backup
	exitBusy        = 4   // try again: a lock was not to be had, or redo was overrun
	exitInterrupted = 130 // by a signal
)

// exitCode is the only place that turns an error into an exit code.
func exitCode(ctx context.Context, err error) int {
	var (
		page      *copier.PageError
		damage    *copier.DamageError
		recovery  *restore.RecoveryError
		restoring *restore.BusyError
		unknown   *repo.UnknownError
		objection *restore.ObjectionsError
		finding   *backup.FindingError
		busy      *stage.BusyError
		locked    *store.LockedError
	)
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &page), errors.As(err, &damage), errors.As(err, &recovery) && recovery.Damage, errors.Is(err, repo.ErrDamaged), errors.Is(err, errFindings):
		return exitDamage
	case errors.As(err, &busy), errors.As(err, &locked), errors.As(err, &restoring), errors.Is(err, backup.ErrLockBudget),
		errors.Is(err, innodb.ErrRedoOverwritten), errors.Is(err, innodb.ErrRedoStalled), errors.Is(err, innodb.ErrRedoReplaced):
		return exitBusy
	case isUsage(err), errors.As(err, &objection), errors.As(err, &finding),
		errors.Is(err, repo.ErrNotRepository), errors.Is(err, repo.ErrNewerFormat), errors.As(err, &unknown),
		errors.Is(err, stage.ErrDenied), errors.Is(err, stage.ErrPrivilege), errors.Is(err, stage.ErrNotMariaDB):
		return exitUsage
	}
	return exitFailed
}

// report writes an error and its advice to stderr.
func report(env Env, err error, code int) {
	if err == nil || errors.Is(err, errFindings) {
		return
	}
	if code == exitInterrupted {
		fmt.Fprintln(env.Stderr, "mbk: error: interrupted")
		if errors.Is(err, context.Canceled) {
			return
		}
	}
	for _, one := range separate(err) {
		fmt.Fprintln(env.Stderr, "mbk: error:", strings.ReplaceAll(one.Error(), "\n", "; "))
	}
	for _, advice := range hint.Of(err) {
		fmt.Fprintln(env.Stderr, "mbk: hint:", advice)
	}
	if isUsage(err) {
		fmt.Fprintln(env.Stderr, `mbk: hint: "mbk --help" and "mbk COMMAND --help" list what there is`)
	}
}

// separate takes joined errors apart, so that each gets a line.
func separate(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || strings.Count(err.Error(), "\n") == 0 {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, separate(e)...)
	}
	return all
}
