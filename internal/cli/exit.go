package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"

	"mbk/backup"
	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/restore"
	"mbk/internal/ui"
	"mbk/internal/verify"
	"mbk/stage"
)

// errFindings is the error of a command whose output has said already what was
// found damaged.
var errFindings = errors.New("damage was found")

// Exit codes. Scripts rely on them; docs/manual/exit-codes.md lists them.
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
		damage    *pack.DamageError
		recovery  *mariadbd.RunError
		undone    *verify.UndoneError
		restoring *restore.BusyError
		unknown   *repo.UnknownError
		config    *configError
		objection *restore.ObjectionsError
		finding   *backup.FindingError
		busy      *stage.BusyError
		locked    *store.LockedError
		bound     *backup.BoundError
		future    *repo.FutureError
		output    *ui.OutputError
	)
	switch {
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		return exitInterrupted
	case errors.As(err, &output): // whatever is wrong with the other end of a pipe
		return exitFailed
	case errors.As(err, &undone) && undone.Usage(), errors.As(err, &recovery) && recovery.Cause == mariadbd.CauseOption:
		return exitUsage
	case errors.As(err, &undone) && !errors.Is(err, repo.ErrRemoved): // whatever is below: it says nothing about the backup
		return exitFailed
	case errors.As(err, &page), errors.As(err, &damage), errors.As(err, &recovery) && recovery.Damaged(), errors.Is(err, repo.ErrDamaged),
		errors.Is(err, innodb.ErrRedoDamaged), unreadable(err), errors.Is(err, errFindings):
		return exitDamage
	case errors.As(err, &busy), errors.As(err, &locked), errors.Is(err, stage.ErrTooManyConnections), errors.Is(err, stage.ErrAccountLimit), errors.Is(err, stage.ErrNotReady), errors.As(err, &restoring), errors.As(err, &bound), errors.Is(err, backup.ErrLockBudget), errors.Is(err, stage.ErrStoodStill), errors.Is(err, backup.ErrReplaced), errors.Is(err, backup.ErrMadeLast), errors.Is(err, backup.ErrNoCheckpoint), errors.Is(err, repo.ErrRemoved),
		errors.Is(err, innodb.ErrRedoOverwritten), errors.Is(err, innodb.ErrRedoStalled), errors.Is(err, innodb.ErrRedoReplaced):
		return exitBusy
	case isUsage(err), errors.As(err, &config), errors.As(err, &objection), errors.As(err, &finding),
		errors.Is(err, backup.ErrOtherServer), errors.Is(err, repo.ErrNotRepository), errors.Is(err, repo.ErrNewerFormat), errors.As(err, &unknown), errors.As(err, &future),
		errors.Is(err, stage.ErrDenied), errors.Is(err, stage.ErrPrivilege), errors.Is(err, stage.ErrTLS), errors.Is(err, stage.ErrNotMariaDB), errors.Is(err, stage.ErrNoInnoDB):
		return exitUsage
	}
	return exitFailed
}

// report writes an error and its advice to stderr.
func (p *program) report(err error, code int) {
	if err == nil || errors.Is(err, errFindings) || p.unread(err) {
		return
	}
	if code == exitInterrupted {
		p.ui.Error("interrupted")
		if errors.Is(err, context.Canceled) {
			return
		}
	}
	for _, one := range separate(err) {
		p.ui.Error(one.Error())
	}
	for _, step := range p.advice(err) {
		p.ui.Hint(step)
	}
}

// advice is what a person can do about an error.
func (p *program) advice(err error) []string {
	return append(hint.Strings(hint.Of(err)), p.nextSteps(err)...)
}

// nextSteps advises on errors of the packages that know nothing of commands.
func (p *program) nextSteps(err error) []string {
	var output *ui.OutputError
	if errors.As(err, &output) {
		return nil
	}
	var (
		unknown *repo.UnknownError
		locked  *store.LockedError
		full    *store.NoSpaceError
		busy    *stage.BusyError
		page    *copier.PageError
		damage  *pack.DamageError
		steps   []string
	)
	if errors.As(err, &unknown) {
		steps = append(steps, whatThereIs(unknown))
	}
	if errors.Is(err, fs.ErrPermission) && len(hint.Of(err)) == 0 {
		steps = append(steps, "run mbk as root, or as the user whom that belongs to")
	}
	if errors.Is(err, syscall.EMFILE) {
		steps = append(steps, "let mbk open more files at once: ulimit -n 65536, or LimitNOFILE= of the service")
	}
	if errors.As(err, &locked) {
		steps = append(steps, "wait until that mbk has ended; its lock ends with it, however it ends")
	}
	if errors.As(err, &full) {
		steps = append(steps, `remove old backups with "mbk expire", or make room otherwise; what this run wrote is removed`)
	}
	switch {
	case errors.Is(err, stage.ErrStoodStill):
		steps = append(steps, "see what stopped mbk: a signal (Ctrl-Z), a container or guest that was frozen, or a machine without memory; then start the backup again")
	case errors.Is(err, stage.ErrStageLost), errors.Is(err, stage.ErrLockLost):
		steps = append(steps, "the server's error log may tell who ended the connection; start the backup again when that is settled")
	}
	if errors.As(err, &page) {
		steps = append(steps, "CHECK TABLE tells what the server makes of it; mend the table, out of an older backup perhaps, or record the damage and go on: --allow-damaged-pages")
	}
	if errors.Is(err, innodb.ErrRedoDamaged) {
		steps = append(steps, "a server that crashes now may not come up again: dump what matters, look at its disk, and keep the older backups")
	}
	if step := stepOnEIO(err); step != "" {
		steps = append(steps, step)
	}
	if errors.As(err, &damage) || errors.Is(err, repo.ErrDamaged) && len(hint.Of(err)) == 0 {
		steps = append(steps, `"mbk verify" names all damage of a backup, "mbk list" the other backups`)
	}
	if errors.As(err, &busy) && len(busy.Blockers) > 0 {
		steps = append(steps, "let that connection end what it does, or wait longer: --lock-wait")
	}
	if errors.Is(err, backup.ErrLockBudget) {
		steps = append(steps, "nothing is locked any more: try again at a quieter time, or allow more with --lock-budget")
	}
	blamed := err.Error()
	if isUsage(err) {
		blamed += " " + hint.Join(hint.Of(err), " ").String()
	}
	if p.command != nil {
		steps = append(steps, p.command.options.WhereSet(blamed)...)
	}
	if isUsage(err) {
		step := `"mbk --help" lists the commands`
		if p.called != nil {
			step = fmt.Sprintf("\"mbk %s --help\" lists the options", p.called.name)
		}
		steps = append(steps, step)
	}
	return steps
}

// warnOf tells an error as a warning, with its advice.
func (p *program) warnOf(err error) {
	p.ui.Warn(err.Error())
	for _, step := range p.advice(err) {
		p.ui.Hint(step)
	}
}

// unread reports whether err is only that the reader of a list has seen enough of it, as
// head has.
func (p *program) unread(err error) bool {
	var output *ui.OutputError
	return errors.As(err, &output) && errors.Is(err, syscall.EPIPE) && p.command != nil && !p.command.changes
}

// unreadable reports whether a disk failed to give what is on it, as opposed to one that
// could not be written to.
func unreadable(err error) bool {
	if _, ok := err.(*store.WriteError); ok {
		return false
	}
	switch err := err.(type) {
	case interface{ Unwrap() []error }:
		return slices.ContainsFunc(err.Unwrap(), unreadable)
	case interface{ Unwrap() error }:
		return unreadable(err.Unwrap())
	}
	return err == syscall.EIO
}

// stepOnEIO advises on a disk that fails, "" if none does.
func stepOnEIO(err error) string {
	switch {
	case unreadable(err):
		return "a disk fails, and the kernel's log names it: save what can be read before you try anything else"
	case errors.Is(err, syscall.EIO):
		return "the repository could not be written to, and the kernel's log says why: look at its disk, or at the network to it; nothing is known to be wrong with the backups in it"
	}
	return ""
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

// whatThereIs advises on a name that stands for no backup, or for several.
func whatThereIs(unknown *repo.UnknownError) string {
	switch {
	case len(unknown.Matches) > 1:
		return `give more of the id, or "latest"`
	case len(unknown.Have) == 0:
		return `check --repo; "mbk backup" makes the first backup`
	case unknown.What == "attempt":
		return `"mbk history" names all attempts; "latest" is the newest`
	default:
		return `"mbk list" names all backups; "latest" is the newest`
	}
}
