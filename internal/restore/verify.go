package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"mbk/copier/pack"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
)

// Report is what a verification has proved, or found.
type Report struct {
	ID    string `json:"id"`
	Depth string `json:"depth"` // repo.DepthStored, DepthPages or DepthBoot
	OK    bool   `json:"ok"`    // it proves the backup
	repo.Verdict
	Proved   []string       `json:"proved"`
	Findings []repo.Finding `json:"findings"`
	Notes    []string       `json:"notes"` // remarkable, but no damage

	AsOnSource []repo.TableNote `json:"as_on_source"` // tables with which something was wrong on the source already

	Objects int64      `json:"objects"` // of the repository, read and found whole
	Bytes   int64      `json:"bytes"`   // of them
	Pages   int64      `json:"pages"`   // with checksums, checked; from DepthPages on
	MTRs    int64      `json:"mtrs"`    // mini-transactions of the redo log; from DepthPages on
	Tables  int64      `json:"tables"`  // checked by the server; with DepthBoot
	Server  string     `json:"server,omitempty"`
	LSN     innodb.LSN `json:"lsn,omitempty"` // that recovery has reached; with DepthBoot

	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
}

// verification is a Report in the making. Its methods may be called from several
// goroutines.
type verification struct {
	o     Options
	m     *repo.Manifest
	meter *meter
	plan  *Plan // of the restore at depth boot, nil at others

	problems problems // of the source, as the manifest knows them

	mu     sync.Mutex
	report *Report
	undone []string          // what could not be looked at, and why
	advice hint.Text         // what to do about it
	engine mariadbd.Instance // the server of depth boot
}

// find adds a finding.
func (v *verification) find(f repo.Finding) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Findings = append(v.report.Findings, f)
}

// source notes that something was wrong with a table on the source already; once for
// each table.
func (v *verification) source(table, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !slices.ContainsFunc(v.report.AsOnSource, func(n repo.TableNote) bool { return n.Table == table }) {
		v.report.AsOnSource = append(v.report.AsOnSource, repo.TableNote{Table: table, Problem: fmt.Sprintf(format, args...)})
	}
}

// leave adds something that could not be looked at, with advice.
func (v *verification) leave(advice hint.Text, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.undone = append(v.undone, fmt.Sprintf(format, args...))
	v.advice = cmp.Or(v.advice, advice)
}

// note adds a note.
func (v *verification) note(format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.report.Notes = append(v.report.Notes, fmt.Sprintf(format, args...))
}

// prove states what the verification has shown if it has found nothing new.
func (v *verification) prove(found int, format string, args ...any) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.report.Findings) == found {
		v.report.Proved = append(v.report.Proved, fmt.Sprintf(format, args...))
	}
}

// found is the number of findings so far.
func (v *verification) found() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.report.Findings)
}

// Verify proves that a backup can be restored, as far as the depth goes, and
// keeps the result in the repository's history. Each depth includes those before
// it; damage that one finds ends the verification there. The error is for a
// verification that could not be carried out; what is wrong with the backup is
// in the report.
func Verify(ctx context.Context, o Options, depth string) (*Report, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if !slices.Contains([]string{repo.DepthStored, repo.DepthPages, repo.DepthBoot}, depth) {
		return nil, fmt.Errorf("verify: unknown depth %q", depth)
	}
	o = o.withDefaults()
	id, err := o.Repository.Resolve(ctx, o.ID)
	if err != nil {
		return nil, err
	}
	v := &verification{o: o, meter: newMeter(o.OnProgress), report: &Report{
		ID: id, Depth: depth, Started: o.Now().UTC(),
		Proved: []string{}, Findings: []repo.Finding{}, Notes: []string{}, AsOnSource: []repo.TableNote{},
	}}
	err = v.run(ctx, depth)
	if err != nil && (ctx.Err() != nil || refused(err)) {
		return nil, fmt.Errorf("verify %s: %w", id, err)
	}
	return v.finish(ctx, err)
}

// refused reports whether a verification did not begin: its call must be changed, or
// another one is at work.
func refused(err error) bool {
	_, objections := errors.AsType[*ObjectionsError](err)
	_, busy := errors.AsType[*BusyError](err)
	_, unknown := errors.AsType[*repo.UnknownError](err)
	return objections || busy || unknown
}

// run goes from depth to depth.
func (v *verification) run(ctx context.Context, depth string) error {
	var err error
	v.m, err = v.o.Repository.Manifest(ctx, v.report.ID)
	if errors.Is(err, repo.ErrDamaged) {
		v.find(repo.Finding{Object: repo.Folder(v.report.ID), Problem: err.Error()})
		return nil
	}
	if err != nil {
		return err
	}
	v.problems = problemsOf(v.m)
	if depth == repo.DepthBoot { // before all is read, which may take hours
		if v.plan, err = v.bootPlan(ctx); err != nil {
			return err
		}
	}
	steps := []func(context.Context) error{v.stored, v.pages, v.boot}
	for i, d := range []string{repo.DepthStored, repo.DepthPages, repo.DepthBoot} {
		if err := steps[i](ctx); err != nil {
			return err
		}
		if d == depth || v.found() > 0 {
			break
		}
	}
	for _, p := range v.m.Damaged {
		v.find(repo.Finding{File: p.File, Problem: fmt.Sprintf("page %d was damaged on the source", p.Page)})
	}
	return nil
}

// finish completes the report and keeps it. failed is why the verification ended early.
func (v *verification) finish(ctx context.Context, failed error) (*Report, error) {
	r := v.report
	r.Finished = v.o.Now().UTC()
	sort.SliceStable(r.Findings, func(i, j int) bool { return key(r.Findings[i]) < key(r.Findings[j]) })
	slices.SortFunc(r.AsOnSource, func(a, b repo.TableNote) int { return strings.Compare(a.Table, b.Table) })
	slices.Sort(v.undone)
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
		ID: r.ID, Depth: r.Depth, Started: r.Started, Time: r.Finished, Tool: v.o.Tool, Server: r.Server, OK: r.OK, Verdict: r.Verdict,
		Objects: r.Objects, Bytes: r.Bytes, Pages: r.Pages, Tables: r.Tables,
		FindingCount: len(r.Findings), Findings: r.Findings, AsOnSource: r.AsOnSource,
	})
	return r, errors.Join(failed, err)
}

// verdict weighs what was found. One sign of damage is enough, whatever else could not be
// looked at.
func (v *verification) verdict() repo.Verdict {
	r := v.report
	switch {
	case len(r.Findings) > 0:
		f := r.Findings[0]
		where := strings.Join(strings.Fields(f.Object+" "+f.File+" "+f.Table), " ")
		return repo.Verdict{Outcome: repo.VerdictDamaged, Reason: several(len(r.Findings), strings.TrimPrefix(where+": "+f.Problem, ": "))}
	case len(v.undone) > 0:
		return repo.Verdict{Outcome: repo.VerdictUndone, Reason: several(len(v.undone), v.undone[0])}
	case len(r.AsOnSource) > 0:
		n := r.AsOnSource[0]
		return repo.Verdict{Outcome: repo.VerdictAsOnSource, Reason: several(len(r.AsOnSource), n.Table+": "+n.Problem)}
	}
	return repo.Verdict{Outcome: repo.VerdictProven}
}

// several is the first of n reasons, with the number of the others.
func several(n int, first string) string {
	if n == 1 {
		return first
	}
	return fmt.Sprintf("%s, and %d more", first, n-1)
}

// numberOf is "1 file" or "2 files".
func numberOf[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// key orders findings.
func key(f repo.Finding) string { return strings.Join([]string{f.Object, f.File, f.Table}, "\x00") }

// stored reads every object of the backup and compares it with its hash. (The
// manifest carries its own, and has been read.)
func (v *verification) stored(ctx context.Context) error {
	found := v.found()
	folder := repo.Folder(v.m.ID)
	var total int64
	for _, p := range v.m.Packs {
		total += p.Size
	}
	v.meter.begin(PhaseStored, total)
	group, reading := errgroup.WithContext(ctx)
	group.SetLimit(v.o.Workers)
	st := counted{v.o.Repository.Store(), v.meter}
	for _, p := range v.m.Packs {
		group.Go(func() error {
			err := pack.CheckHash(reading, st, folder, p)
			if f, err := v.finding(reading, folder+"/"+p.Name, err); f != nil {
				v.find(*f)
				return nil
			} else if err != nil {
				return err
			}
			v.mu.Lock()
			defer v.mu.Unlock()
			v.report.Objects++
			v.report.Bytes += p.Size
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	v.meter.end()
	if err := v.strangers(ctx, folder); err != nil {
		return err
	}
	v.report.Objects++ // the manifest
	v.prove(found, "the manifest and all %d packs are as they were written", len(v.m.Packs))
	return nil
}

// finding makes a finding of an error that was met when an object was read, if it tells
// of damage, else it returns the error. An object that is missing is damage, but not if
// the whole backup was removed meanwhile. That the disk or the network of the repository
// gives an input/output error is none: the bytes may be whole, and it is only now that
// they cannot be reached; if they are lost, the next verification meets it too.
func (v *verification) finding(ctx context.Context, object string, err error) (*repo.Finding, error) {
	damage, ok := errors.AsType[*pack.DamageError](err)
	if errors.Is(err, fs.ErrNotExist) || ok && damage.Missing {
		if err := v.o.Repository.StillThere(ctx, v.m.ID); err != nil {
			return nil, err
		}
		return &repo.Finding{Object: object, Problem: "it is missing"}, nil
	}
	if ok {
		return &repo.Finding{Object: damage.Object, Problem: fmt.Sprintf("at byte %d: %s", damage.Offset, damage.Reason)}, nil
	}
	return nil, err
}

// strangers notes objects in the backup's folder that the manifest does not name.
func (v *verification) strangers(ctx context.Context, folder string) error {
	list, err := v.o.Repository.Store().List(ctx, folder+"/")
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, p := range v.m.Packs {
		known[folder+"/"+p.Name] = true
	}
	for _, o := range list {
		if !known[o.Name] && !strings.HasPrefix(o.Name, folder+"/manifest") {
			v.note("%s is not part of the backup", o.Name)
		}
	}
	return nil
}

// counted is a store whose reads are counted by a meter.
type counted struct {
	pack.Opener
	meter *meter
}

// Open implements pack.Opener.
func (c counted) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	r, err := c.Opener.Open(ctx, name, offset, n)
	if err != nil {
		return nil, err
	}
	return countedReader{r, c.meter}, nil
}

// countedReader is what counted opens.
type countedReader struct {
	io.ReadCloser
	meter *meter
}

// Read implements io.Reader.
func (r countedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	r.meter.add(int64(n))
	return n, err
}
