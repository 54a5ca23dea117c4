// Package transfer copies backups from one repository to another: byte for byte, each
// byte compared with what was stored, chains with all their members, and only what the
// other repository does not have. It also sends them through a pipe, and receives what
// came through one. Neither a server nor a decompression takes part.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/ui/meter"
	"mbk/internal/ui/printable"
)

// Options say what is copied.
type Options struct {
	From   *repo.Repository
	To     *repo.Repository // locked, unless DryRun
	ID     string           // of a backup, or repo.Latest; the backups that it needs are copied, too
	All    bool             // all backups, instead of ID
	DryRun bool             // find out what there is to copy, and change nothing
	// Archive says that the archive of binary logs is copied, too, as far as backups of To need it.
	Archive bool
	since   string // id of a backup of the chain that is not copied, nor are those that it needs

	OnProgress func(meter.Progress)
}

// Phases, in meter.Progress. Both count bytes.
const (
	PhaseCopy    = "transfer"
	PhaseReceive = "receive"
)

// Result is what was copied, or would be.
type Result struct {
	From         string               `json:"from"`
	To           string               `json:"to"`
	DryRun       bool                 `json:"dry_run"`
	Backups      []repo.Imported      `json:"backups"`  // in the order of copying: none before the one that it needs
	LeftOut      []LeftOut            `json:"left_out"` // of all backups
	Archive      repo.ImportedArchive `json:"archive"`
	BytesWritten int64                `json:"bytes_written"`
	MS           int64                `json:"ms"`
}

// LeftOut is a backup that could not be copied, while others were.
type LeftOut struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// LeftOutError is returned by Run, beside the result, if some of all backups cannot be
// copied because they are damaged.
type LeftOutError struct{ LeftOut []LeftOut }

// Error names them.
func (e *LeftOutError) Error() string {
	ids := make([]string, len(e.LeftOut))
	for i := range e.LeftOut {
		ids[i] = e.LeftOut[i].ID
	}
	return printable.Count(len(ids), "backup") + " could not be copied: " + printable.List(ids)
}

// Fault says that they are damaged.
func (e *LeftOutError) Fault() fault.Kind { return fault.Damage }

// Hints says how to learn more.
func (e *LeftOutError) Hints() []hint.Text {
	return []hint.Text{hint.Text(`"mbk verify ` + e.LeftOut[0].ID + `" says what is wrong with it; the others were copied`)}
}

// ErrSame is returned if both repositories are one.
var ErrSame = fault.New(fault.Config, "a repository cannot be copied into itself")

// Run copies backups. If it fails or is cancelled, what it has copied completely stays,
// and the next run goes on from there. With All a backup that is damaged is left out, and
// those that need it: the error is a *LeftOutError, and the result tells the rest.
func Run(ctx context.Context, o Options) (*Result, error) {
	began := time.Now()
	t := &transfer{o: o, meter: meter.New(o.OnProgress), result: &Result{From: o.From.String(), To: o.To.String(),
		DryRun: o.DryRun, Backups: []repo.Imported{}, LeftOut: []LeftOut{}, Archive: noArchive()}}
	if err := t.run(ctx); err != nil {
		return t.result, fmt.Errorf("copy: %w", err)
	}
	t.result.MS = time.Since(began).Milliseconds()
	return t.result, nil
}

// transfer is one run.
type transfer struct {
	o      Options
	meter  *meter.Meter
	result *Result
}

func (t *transfer) run(ctx context.Context) error {
	if t.o.From.String() == t.o.To.String() {
		return fmt.Errorf("%s: %w", t.o.To, ErrSame)
	}
	ids, err := t.choose(ctx)
	if err != nil {
		return err
	}
	if ids, err = t.missing(ctx, ids); err != nil || t.o.DryRun {
		if err == nil {
			err = t.archive(ctx)
		}
		return errors.Join(err, t.leftOut())
	}
	for _, id := range ids {
		done, err := t.o.To.Import(ctx, t.o.From, id, t.meter.Add)
		t.result.BytesWritten += done.Written
		if err != nil {
			if err = t.leave(id, err); err != nil {
				return err
			}
			continue
		}
		t.result.Backups = append(t.result.Backups, done)
	}
	return errors.Join(t.archive(ctx), t.leftOut())
}

// noArchive is what is said of the archive if it is not copied.
func noArchive() repo.ImportedArchive { return repo.ImportedArchive{Missing: []string{}} }

// archive copies the archive. What is missing in it is an alarm, and what is there is kept.
func (t *transfer) archive(ctx context.Context) (err error) {
	if !t.o.Archive {
		return nil
	}
	if !t.o.DryRun {
		plan, err := t.o.To.ImportArchive(ctx, t.o.From, true, nil)
		if err != nil || plan.Segments == 0 {
			return err
		}
		if err := t.o.To.WantSpace(ctx, "the archive", plan.Bytes); err != nil {
			return err
		}
		t.meter.Begin(PhaseCopy, plan.Bytes)
	}
	t.result.Archive, err = t.o.To.ImportArchive(ctx, t.o.From, t.o.DryRun, t.meter.Add)
	if !t.o.DryRun {
		t.result.BytesWritten += t.result.Archive.Bytes
	}
	return err
}

// choose returns the ids of the backups to copy, those that others need before these.
func (t *transfer) choose(ctx context.Context) ([]string, error) {
	if !t.o.All {
		id, err := t.o.From.Resolve(ctx, t.o.ID)
		if err != nil {
			return nil, err
		}
		chain, err := t.o.From.StoredChain(ctx, id)
		if err != nil {
			return nil, err
		}
		ids := slices.Clone(chain.IDs())
		slices.Reverse(ids)
		return since(ids, t.o.since)
	}
	list, err := t.o.From.List(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for i := range list { // a parent is older
		switch s := &list[i]; {
		case s.Problem != "":
			t.result.LeftOut = append(t.result.LeftOut, LeftOut{ID: s.ID, Reason: s.Problem})
		case s.Broken != "":
			t.result.LeftOut = append(t.result.LeftOut, LeftOut{ID: s.ID, Reason: s.Broken})
		default:
			ids = append(ids, s.ID)
		}
	}
	return ids, nil
}

// missing returns those of some backups that are to be copied, and makes sure that there
// is room for them. In a dry run these are the result.
func (t *transfer) missing(ctx context.Context, ids []string) ([]string, error) {
	var missing []string
	var total int64
	for _, id := range ids {
		there, err := t.o.To.Holds(ctx, t.o.From, id)
		if err != nil {
			if err = t.leave(id, err); err != nil {
				return nil, err
			}
			continue
		}
		if there.Present || t.o.DryRun {
			t.result.Backups = append(t.result.Backups, there)
		}
		if !there.Present {
			missing, total = append(missing, id), total+there.Bytes
		}
	}
	t.meter.Begin(PhaseCopy, total)
	return missing, t.o.To.WantSpace(ctx, "the copy", total)
}

// leave leaves a backup out because of an error, if there are others to go on with;
// otherwise it returns the error.
func (t *transfer) leave(id string, err error) error {
	damaged := fault.Of(err) == fault.Damage || t.needsLeftOut(err)
	if removed := errors.Is(err, repo.ErrRemoved); !t.o.All || !damaged && !removed {
		return err
	}
	t.result.LeftOut = append(t.result.LeftOut, LeftOut{ID: id, Reason: err.Error()})
	return nil
}

// needsLeftOut reports whether an error is that a parent is missing, which was left out.
func (t *transfer) needsLeftOut(err error) bool {
	return len(t.result.LeftOut) > 0 && errors.Is(err, fs.ErrNotExist)
}

// leftOut returns an error if a backup was left out.
func (t *transfer) leftOut() error {
	if len(t.result.LeftOut) == 0 {
		return nil
	}
	return &LeftOutError{t.result.LeftOut}
}
