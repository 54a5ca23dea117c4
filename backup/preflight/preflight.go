package preflight

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mbk/internal/datadir"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/stage"
)

// Grades of a finding.
const (
	GradeOK      = "ok"
	GradeWarning = "warning"
	GradeError   = "error"
)

// Finding is the outcome of one check before a backup.
type Finding struct {
	Check string      `json:"check"` // "version", "privileges", ...
	Grade string      `json:"grade"`
	Text  string      `json:"text"`
	Hints []hint.Text `json:"hints,omitempty"`

	transient bool // it may be different in a minute, so a backup does not record it
}

// Report is what is known of the server and the repository before anything
// is locked.
type Report struct {
	Findings []Finding `json:"findings"`

	Facts       stage.Facts
	Layout      datadir.Layout
	first       datadir.Scan
	stats       []datadir.StatResult // of the files of first
	scanned     bool                 // first is complete
	Bytes       int64                // of all files to read
	Descriptors int
	leftOut     []repo.LeftOut
	definitions []definition        // of all tables, nil: not asked for yet
	Unlisted    []datadir.TableName // tables that the server does not list
	Fileless    []repo.LeftOut      // tables of engines that keep no file here

	Parent     *Parent // of the increment that is to be made, nil: a full backup is
	FullReason string  // why, if an increment was wanted
}

// Errors joins the findings that forbid a backup, nil if there are none.
func (r *Report) Errors() error {
	var all []error
	for _, f := range r.Findings {
		if f.Grade != GradeError {
			continue
		}
		all = append(all, &FindingError{Finding: f})
	}
	return errors.Join(all...)
}

// Warnings are the texts of the findings that a backup records.
func (r *Report) Warnings() []string {
	var all []string
	for _, f := range r.Findings {
		if f.Grade == GradeWarning && !f.transient {
			all = append(all, f.Text)
		}
	}
	return all
}

// FindingError is a check that failed before anything was locked.
type FindingError struct{ Finding Finding }

// Error names the check and what it found.
func (e *FindingError) Error() string { return e.Finding.Check + ": " + e.Finding.Text }

// Fault says that something must be changed before a backup can be taken.
func (e *FindingError) Fault() fault.Kind { return fault.Config }

// Hints returns the advice of the check.
func (e *FindingError) Hints() []hint.Text { return e.Finding.Hints }

// Add adds a finding, which a backup records if it is a warning.
func (r *Report) Add(check, grade, text string, hints ...hint.Text) {
	r.Findings = append(r.Findings, Finding{Check: check, Grade: grade, Text: text, Hints: hints})
}

// Check is for "mbk check": it makes all checks that a backup makes (Run), and those that
// a backup makes on what it has copied. It watches the server for a second and changes
// nothing. The error is of the checking itself; what the checks found is in the findings.
func Check(ctx context.Context, o Options) (*Report, error) {
	const sample = time.Second // of the server's writes
	r, err := check(ctx, o, sample)
	if err != nil {
		return r, err // check has closed what it opened
	}
	defer r.Close()
	if !r.scanned {
		return r, nil
	}
	if err := r.checkUnowned(ctx, o); err != nil {
		return nil, err
	}
	return r, r.checkProblems(ctx, o.Server)
}

// Close releases what reading the server's files needed. On a nil Report it does nothing.
func (r *Report) Close() {
	if r != nil {
		r.Layout.Files.Close() //nolint:errcheck // only read
	}
}

// Run makes the checks for the backup that follows, and no others (Check). The caller closes the report, which
// may be nil after an error.
func Run(ctx context.Context, o Options) (*Report, error) { return check(ctx, o, 0) }

// check makes the checks that a backup waits for. What the server writes is watched
// meanwhile, and for at least the given time.
func check(ctx context.Context, o Options, sample time.Duration) (_ *Report, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &Report{}
	defer func() {
		if err != nil {
			r.Close()
		}
	}()
	if r.Facts, err = o.Server.Facts(ctx); err != nil {
		return nil, err
	}
	r.checkServer()
	r.checkPlugins()
	if err := r.checkPrivileges(ctx, o.Server); err != nil {
		return nil, err
	}
	r.checkHistoryTable(ctx, o)
	if err := r.checkDatadir(ctx, o); err != nil {
		return nil, err
	}
	if r.Errors() == nil { // what follows reads the data directory
		err = r.checkFilter(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	if r.Errors() != nil { // what follows needs the filter
		return r, errors.Join(r.checkRepository(ctx, o), r.checkSpool(ctx, o))
	}
	redo, err := r.watchRedo(ctx, o.Server, sample)
	if err != nil {
		return nil, err
	}
	if err := r.scanTables(ctx, o); err != nil {
		return nil, err
	}
	r.checkDescriptors()
	for _, check := range []func(context.Context, Options) error{
		r.checkRepository, r.checkSource, r.checkParent, r.checkSpace, r.checkSpool, r.checkBinlog, r.checkClock,
		r.checkObstacles,
	} {
		if err := check(ctx, o); err != nil {
			return nil, err
		}
	}
	return r, redo(ctx)
}

func on(value string) bool { return value == "ON" || value == "1" }

// note is Add for something that may be different in a minute.
func (r *Report) note(check, grade, text string, hints ...hint.Text) {
	r.Findings = append(r.Findings, Finding{Check: check, Grade: grade, Text: text, Hints: hints, transient: true})
}

// checkPrivileges names what the account lacks.
func (r *Report) checkPrivileges(ctx context.Context, server *stage.Server) error {
	missing, err := server.MissingGrants(ctx)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		r.Add("privileges", GradeOK, "the account may do all that a backup needs")
		return nil
	}
	// GRANT RELOAD, PROCESS ON *.* TO 'backup'@'localhost'
	lacking, account, _ := strings.Cut(strings.TrimPrefix(missing[0], "GRANT "), " ON *.* TO ")
	r.Add("privileges", GradeError, fmt.Sprintf("account %s lacks %s", account, lacking), hint.Plain(missing...)...)
	return nil
}
