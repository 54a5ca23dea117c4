// Package verify proves that a backup can be restored, as far as a depth goes: that all
// objects are as they were written (stored), that all pages and the redo log are whole
// (pages), and that the real server recovers it and finds its tables right (boot).
//
// What it says is a report: what was proved, what was found damaged, what was so on the
// source already, and what could not be checked. It repairs nothing.
package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/moment"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/ui/meter"
	"mbk/stage"
)

// Options say which backup is verified and how far. The zero value of every field but
// Repository, ID and Depth is useful.
type Options struct {
	restore.Preparation

	Depth string // repo.DepthStored, DepthPages or DepthBoot
	// Scratch is a folder with room for the whole restored data, for DepthBoot. Empty:
	// /var/tmp or what TMPDIR says.
	Scratch  string
	Extended bool // at DepthBoot: CHECK TABLE EXTENDED
	// Until has the server go on to a moment after the backup, at DepthBoot. Nil: it does not.
	Until *moment.Moment
	// Binlog leads there in the place of the archive, if it is not nil.
	Binlog *moment.Files
	// Drill makes it a drill, at DepthBoot: the restore comes first, as on the day when it is
	// needed, and is measured; the rows are counted.
	Drill bool
	// Compare is the running server with whose rows and position those of a drill are
	// compared. Nil: the rows are compared with those of the previous drill.
	Compare *stage.Server
}

// Phases of a verification, in meter.Progress; at DepthBoot there are those of
// restore.Prepared too.
const (
	PhaseStored = "stored" // objects of the repository are read and hashed
	PhasePages  = "pages"  // chunks are decompressed and pages checked
	PhaseCheck  = "check"  // the scratch server checks tables, which are counted
	PhaseRows   = "rows"   // it counts the rows of tables, which are counted
)

// Validate checks what can be checked without looking at the repository.
func (o Options) Validate() error {
	if err := o.Preparation.Validate(); err != nil {
		return err
	}
	if !slices.Contains([]string{repo.DepthStored, repo.DepthPages, repo.DepthBoot}, o.Depth) {
		return fmt.Errorf("verify: unknown depth %q", o.Depth)
	}
	if o.Until != nil && o.Depth != repo.DepthBoot {
		return fmt.Errorf("verify: a moment after the backup takes depth boot, not %s", o.Depth)
	}
	if o.Binlog != nil && o.Until == nil {
		return errors.New("verify: a binary log, and no moment to which it leads")
	}
	if o.Drill && o.Depth != repo.DepthBoot {
		return fmt.Errorf("verify: a drill takes depth boot, not %s", o.Depth)
	}
	return nil
}

// withDefaults fills in what was left empty.
func (o Options) withDefaults() Options {
	o.Preparation = o.WithDefaults()
	if o.Scratch == "" {
		o.Scratch = restore.ScratchDefault()
	}
	return o
}

// verification is what the depths have in common.
type verification struct {
	*findings

	o        Options
	chain    *repo.Chain      // the backup and what it needs
	files    layered          // of the backup
	broken   *repo.ChainError // why there is no chain: because of another member
	m        *repo.Manifest   // of the backup
	problems repo.Problems    // of the source
	meter    *meter.Meter
	drill    *drill
}

// layered reads files of a backup by their numbers: a *repo.Chain.
type layered interface {
	Layered(number uint32) *repo.Layered
}

// Verify proves that a backup can be restored, as far as Options.Depth goes, and keeps
// the result in the repository's history. Each depth includes those before it; damage
// that one finds ends the verification there. What is wrong with the backup is in the
// report.
//
// The error is for a verification that could not be carried out: an *UndoneError, with
// the report, or why it did not begin.
func Verify(ctx context.Context, o Options) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	id, err := o.Repository.Resolve(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	v := &verification{o: o, meter: meter.New(o.OnProgress), findings: newFindings(id, o.Depth, o.Now())}
	if v.drill, err = newDrill(ctx, o); err != nil {
		return nil, err
	}
	err = v.run(ctx)
	if err != nil && (ctx.Err() != nil || refused(err)) {
		return nil, fmt.Errorf("verify %s: %w", id, err)
	}
	return v.finish(ctx, err)
}

// refused reports whether a verification did not begin: its call must be changed, or
// another one is at work.
func refused(err error) bool {
	_, objections := errors.AsType[*restore.ObjectionsError](err)
	_, busy := errors.AsType[*restore.BusyError](err)
	_, unknown := errors.AsType[*repo.UnknownError](err)
	_, unreachable := errors.AsType[*moment.UnreachableError](err)
	return objections || busy || unknown || unreachable || errors.Is(err, moment.ErrTooLate) || repo.Concealed(err)
}

// depth is one of the depths of a verification.
type depth struct {
	name string
	run  func(context.Context) error
}

// run goes from depth to depth.
func (v *verification) run(ctx context.Context) error {
	var err error
	v.chain, err = v.o.Repository.Chain(ctx, v.report.ID)
	if v.o.Depth == repo.DepthStored && repo.Concealed(err) {
		v.note("the manifest is encrypted, and was not read: no identity was given that opens it")
		v.chain, err = v.o.Repository.StoredChain(ctx, v.report.ID)
	}
	if errors.Is(err, repo.ErrDamaged) {
		of := v.report.ID
		if broken, ok := errors.AsType[*repo.ChainError](err); ok {
			v.broken, of = broken, broken.Parent
		}
		v.add(repo.Finding{Object: repo.Folder(of), Problem: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	v.m, v.files = v.chain.Manifest(), v.chain
	v.problems = v.m.Problems()
	boot := &bootDepth{verification: v}
	if v.o.Depth == repo.DepthBoot { // before all is read, which may take hours
		if boot.plan, err = v.plan(ctx); err != nil {
			return err
		}
	}
	depths := []depth{
		// The bytes that are stored: whatever is wrong with them is wrong with the rest.
		{repo.DepthStored, (&storedDepth{v}).run},
		// What they mean, without a server: every page, and the redo log from end to end.
		{repo.DepthPages, (&pagesDepth{v}).run},
		// What the real server makes of it.
		{repo.DepthBoot, boot.run},
	}
	depths = depths[:1+slices.IndexFunc(depths, func(d depth) bool { return d.name == v.o.Depth })]
	if v.o.Drill { // what was read before is in memory, and makes a restore faster than it will be
		depths = []depth{depths[2], depths[0], depths[1]}
	}
	for _, d := range depths {
		if err := d.run(ctx); err != nil {
			return err
		}
		if v.count() > 0 {
			break
		}
	}
	for _, p := range v.m.Damaged {
		v.add(repo.Finding{File: p.File, Problem: fmt.Sprintf("page %d was damaged on the source", p.Page)})
	}
	if label, err := v.chain.Backup().Label(); err == nil && label.Damaged > len(v.m.Damaged) { // no manifest was read
		v.add(repo.Finding{Problem: fmt.Sprintf("%d pages were damaged on the source", label.Damaged)})
	}
	return nil
}

// plan plans the restore of the depth boot.
func (v *verification) plan(ctx context.Context) (*restore.Plan, error) {
	o := restore.Options{Preparation: v.o.Preparation, Until: v.o.Until, Binlog: v.o.Binlog}
	p, err := restore.PlanUntil(ctx, o, v.chain, v.o.Scratch, "verify")
	if err == nil || v.o.Until == nil || fault.Of(err) != fault.Damage {
		return p, err
	}
	// It was met in the log, while the way to the moment was looked for: the backup is another matter.
	v.report.Replay = &repo.Replayed{Moment: v.o.Until.String(),
		Verdict: repo.Verdict{Outcome: repo.VerdictDamaged, Reason: err.Error()}}
	if v.o.Binlog != nil {
		v.report.Replay.Files = v.o.Binlog.Dir()
	}
	return restore.PlanIn(ctx, v.o.Preparation, v.chain, v.o.Scratch, "verify")
}

// finish completes the report and keeps it. failed is why the verification ended early.
func (v *verification) finish(ctx context.Context, failed error) (*Report, error) {
	r := v.report
	r.Finished = v.o.Now().UTC()
	v.sorted()
	if failed != nil {
		v.undone = slices.Insert(v.undone, 0, failed.Error())
	}
	r.Verdict = v.verdict()
	r.OK = r.Proves()
	if r.CarriedOut() {
		for _, what := range v.undone { // damage was found before, or elsewhere
			r.Notes = append(r.Notes, "not looked at: "+what)
		}
		failed = nil
	} else {
		if failed == nil {
			failed = hint.Wrap(errors.New(r.Reason), v.advice)
		}
		failed = &UndoneError{fmt.Errorf("verify %s: %w", r.ID, failed)}
	}
	err := v.o.Repository.PutVerification(ctx, repo.Verification{
		ID: r.ID, Depth: r.Depth, Started: r.Started, Time: r.Finished, Tool: v.o.Tool, Server: r.Server,
		OK: r.OK, Verdict: r.Verdict,
		Objects: r.Objects, Bytes: r.Bytes, Pages: r.Pages, Tables: r.Tables,
		FindingCount: len(r.Findings), Findings: r.Findings, AsOnSource: r.AsOnSource,
		Replay: r.Replay, Drill: r.Drill,
	})
	err = errors.Join(err, v.recordMembers(ctx))
	if failed != nil && err != nil {
		err = &UndoneError{err}
	}
	return r, errors.Join(failed, err)
}

// damageOf makes a finding of an error that was met when an object was read, if it tells
// of damage, else it returns the error. An object that is missing is damage, but not if
// the whole backup was removed meanwhile. That the disk or the network of the repository
// gives an input/output error is none: the bytes may be whole, and it is only now that
// they cannot be reached; if they are lost, the next verification meets it too.
func damageOf(err error) (*repo.Finding, error) {
	if gap, ok := errors.AsType[*repo.GapError](err); ok {
		return &repo.Finding{File: gap.File, Problem: gap.Problem()}, nil
	}
	damage, ok := errors.AsType[*pack.DamageError](err)
	switch {
	case !ok:
		return nil, err
	case damage.Missing:
		return &repo.Finding{Object: damage.Object, Problem: "it is missing"}, nil
	}
	return &repo.Finding{Object: damage.Object, Problem: fmt.Sprintf("at byte %d: %s", damage.Offset, damage.Reason)}, nil
}
