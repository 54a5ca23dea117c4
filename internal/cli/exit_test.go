package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"mbk/backup"
	"mbk/backup/preflight"
	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/innodb"
	"mbk/internal/job"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/restore"
	"mbk/internal/sys/interrupt"
	"mbk/internal/ui"
	"mbk/internal/verify"
	"mbk/stage"
)

// Scripts rely on these. Errors arrive wrapped, or joined with those of cleaning
// up.
func TestExitCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("disk full"), 1},
		{stage.ErrUnreachable, 1},
		{stage.ErrStageLost, 1},
		{usagef("no such option"), 2},
		{&configError{errors.New("no such folder")}, 2},
		{&configError{fmt.Errorf("repository: %w", fs.ErrPermission)}, 2},
		{&repo.UnknownError{What: "backup"}, 2},
		{repo.ErrNotRepository, 2},
		{&preflight.FindingError{}, 2},
		{stage.ErrDenied, 2},
		{stage.ErrPrivilege, 2},
		{stage.ErrTLS, 2},
		{stage.ErrNotMariaDB, 2},
		{preflight.ErrOtherServer, 2},
		{repo.ErrNewerFormat, 2},
		{&restore.ObjectionsError{}, 2},
		{&copier.PageError{}, 3},
		{&pack.DamageError{}, 3},
		{&innodb.TailError{Kind: innodb.ErrRedoDamaged}, 3},
		{repo.ErrDamaged, 3},
		{errFindings, 3},
		{syscall.EIO, 3}, // of the source, or of an object that is read
		{&fs.PathError{Op: "read", Path: "ibdata1", Err: syscall.EIO}, 3},
		{&copier.PageError{Err: syscall.EIO}, 3},
		{&copier.PageError{Err: copier.ErrUnstable}, 3},
		{&store.WriteError{Err: syscall.EIO}, 1},
		{&store.NoSpaceError{Err: syscall.ENOSPC}, 1},
		{errors.Join(&store.WriteError{Err: syscall.EIO}, syscall.EIO), 3},
		{&verify.UndoneError{Err: syscall.EIO}, 1},
		{&verify.UndoneError{Err: &mariadbd.RunError{Cause: mariadbd.CauseShortage}}, 1},
		{&verify.UndoneError{Err: &mariadbd.RunError{Cause: mariadbd.CauseOption}}, 2},
		{&verify.UndoneError{Err: &mariadbd.RunError{Cause: mariadbd.CauseDamage}}, 1},
		{&verify.UndoneError{Err: &restore.ObjectionsError{}}, 1},
		{&verify.UndoneError{Err: &store.LockedError{}}, 1},
		{&verify.UndoneError{Err: fmt.Errorf("backup x: %w", repo.ErrRemoved)}, 4},
		{&mariadbd.RunError{Cause: mariadbd.CauseDamage}, 3},
		{&mariadbd.RunError{Cause: mariadbd.CauseKey}, 1},
		{&mariadbd.RunError{Cause: mariadbd.CauseOption}, 2},
		{&mariadbd.RunError{}, 1},
		{&repo.FutureError{}, 2},
		{repo.ErrRemoved, 4},
		{&innodb.TailError{Kind: innodb.ErrRedoOverwritten}, 4},
		{&innodb.TailError{Kind: innodb.ErrRedoStalled}, 4},
		{&innodb.TailError{Kind: innodb.ErrRedoReplaced}, 4},
		{&innodb.TailError{Kind: innodb.ErrRedoOverwritten, Cause: errors.New("more")}, 4},
		{&innodb.TailError{Kind: innodb.ErrRedoDamaged, Cause: syscall.EIO}, 3},
		{innodb.ErrNoCheckpoint, 1},
		{&stage.BusyError{}, 4},
		{&store.LockedError{}, 4},
		{&restore.BusyError{}, 4},
		{backup.ErrLockBudget, 4},
		{stage.ErrNotReady, 4},
		{stage.ErrAccountLimit, 4},
		{stage.ErrNoInnoDB, 2},
		{fmt.Errorf("%w: %w", stage.ErrStageLost, stage.ErrStoodStill), 4},
		{fmt.Errorf("%w: %w", stage.ErrLockLost, stage.ErrStoodStill), 4},
		{stage.ErrLockLost, 1},
		{stage.ErrStageOrder, 1},
		{stage.ErrOtherServer, 1},
		{backup.ErrMadeLast, 4},
		{backup.ErrReplaced, 4},
		{backup.ErrNoCheckpoint, 4},
		{&ui.OutputError{Cause: syscall.EPIPE}, 1},
		{&ui.OutputError{Cause: syscall.EIO}, 1},
		{fmt.Errorf("%w: %w", interrupt.ErrHangs, errors.New("more")), 1},
		// Of several the gravest counts: damage, then what another try may mend.
		{errors.Join(&stage.BusyError{}, &pack.DamageError{}), 3},
		{errors.Join(&preflight.FindingError{}, &stage.BusyError{}), 4},
		{errors.Join(&copier.PageError{}, &ui.OutputError{Cause: syscall.EPIPE}), 1},
		{&backup.BoundError{}, 4},
		{&job.CopyError{Err: errors.New("disk full")}, 5},
		{&job.CopyError{Err: &store.LockedError{}}, 5},
		{&job.CopyError{Err: &pack.DamageError{}}, 3},
		{&preflight.SpaceError{}, 1},
		{&staleError{}, 1},
		{stage.ErrTooManyConnections, 4},
	} {
		wrapped := c.err
		if wrapped != nil {
			wrapped = errors.Join(fmt.Errorf("backup: %w", c.err), errors.New("remove the rest: disk full"))
		}
		if got := exitCode(t.Context(), wrapped); got != c.want {
			t.Errorf("exit code of %v = %d, want %d", c.err, got, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := exitCode(ctx, stage.ErrStageLost); got != 130 {
		t.Errorf("exit code after a signal = %d, want 130", got)
	}
}
