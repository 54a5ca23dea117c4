package verify

import (
	"cmp"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"mbk/internal/hint"
	"mbk/internal/innodb"
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

	Replay *repo.Replayed `json:"replay,omitempty"` // what became of Options.Until
	Drill  *repo.Drill    `json:"drill,omitempty"`  // what Options.Drill has measured, if the server came up

	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
}

// findings is a Report in the making. Its methods may be called from several goroutines.
type findings struct {
	mu     sync.Mutex
	report *Report
	undone []string  // what could not be checked, and why
	advice hint.Text // what to do about it
}

// newFindings begins a report.
func newFindings(id, depth string, now time.Time) *findings {
	return &findings{report: &Report{
		ID: id, Depth: depth, Started: now.UTC(),
		Proved: []string{}, Findings: []repo.Finding{}, Notes: []string{}, AsOnSource: []repo.TableNote{},
	}}
}

// add adds a finding.
func (f *findings) add(one repo.Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Findings = append(f.report.Findings, one)
}

// wasSo notes that something was wrong with a table on the source already; once for
// each table.
func (f *findings) wasSo(table, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.ContainsFunc(f.report.AsOnSource, func(n repo.TableNote) bool { return n.Table == table }) {
		f.report.AsOnSource = append(f.report.AsOnSource, repo.TableNote{Table: table, Problem: fmt.Sprintf(format, args...)})
	}
}

// leave adds something that could not be checked, with advice.
func (f *findings) leave(advice hint.Text, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.undone = append(f.undone, fmt.Sprintf(format, args...))
	f.advice = cmp.Or(f.advice, advice)
}

// note adds a note.
func (f *findings) note(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Notes = append(f.report.Notes, fmt.Sprintf(format, args...))
}

// prove states what the verification has shown if it has found nothing since there were
// n findings.
func (f *findings) prove(n int, format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.report.Findings) == n {
		f.report.Proved = append(f.report.Proved, fmt.Sprintf(format, args...))
	}
}

// count is the number of findings so far.
func (f *findings) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.report.Findings)
}

// read counts an object of the repository that was found whole.
func (f *findings) read(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.report.Objects++
	f.report.Bytes += bytes
}

// retract takes back the findings that were made since there were n: something has come
// to light that makes them doubtful.
func (f *findings) retract(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, one := range f.report.Findings[n:] {
		f.undone = append(f.undone, strings.TrimPrefix(one.Table+": "+one.Problem, ": "))
	}
	f.report.Findings = f.report.Findings[:n]
}

// verdict weighs what was found. One sign of damage is enough, whatever else could not be
// looked at.
func (f *findings) verdict() repo.Verdict {
	r := f.report
	switch {
	case len(r.Findings) > 0:
		first := r.Findings[0]
		where := strings.Join(strings.Fields(first.Object+" "+first.File+" "+first.Table), " ")
		return repo.Verdict{Outcome: repo.VerdictDamaged,
			Reason: several(len(r.Findings), strings.TrimPrefix(where+": "+first.Problem, ": "))}
	case len(f.undone) > 0:
		return repo.Verdict{Outcome: repo.VerdictUndone, Reason: several(len(f.undone), f.undone[0])}
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

// sorted puts everything in an order that does not depend on who was first.
func (f *findings) sorted() {
	r := f.report
	sort.SliceStable(r.Findings, func(i, j int) bool { return key(r.Findings[i]) < key(r.Findings[j]) })
	slices.SortFunc(r.AsOnSource, func(a, b repo.TableNote) int { return strings.Compare(a.Table, b.Table) })
	slices.Sort(f.undone)
}

// key orders findings.
func key(f repo.Finding) string { return strings.Join([]string{f.Object, f.File, f.Table}, "\x00") }
