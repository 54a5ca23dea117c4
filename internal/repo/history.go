package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"mbk/internal/repo/store"
)

// Outcomes of an attempt.
const (
	OutcomeOK      = "ok"
	OutcomeFailed  = "failed"
	OutcomeUnknown = "unknown" // its record cannot be read
)

// Depths of a verification, each of which includes those before.
const (
	DepthStored = "stored" // all objects are whole
	DepthPages  = "pages"  // every page in them is, and the redo is complete
	DepthBoot   = "boot"   // a server ran on the restored files
)

const (
	maxRecord   = 4 << 20 // bytes of an object of the history
	maxFindings = 100     // kept of a verification
	readers     = 32      // small objects read at a time; each may take as long as a network does
	verifyTime  = "20060102T150405.000Z"
)

// Attempt is one try to take a backup, as the history keeps it. Of a failed
// attempt what was not reached is zero.
type Attempt struct {
	FormatVersion int       `json:"format_version"`
	ID            string    `json:"id"`
	Kind          string    `json:"kind"`
	Parent        string    `json:"parent"`
	Tool          string    `json:"tool"`
	Started       time.Time `json:"started"`
	Finished      time.Time `json:"finished"`
	Outcome       string    `json:"outcome"`         // OutcomeOK, OutcomeFailed
	Label         string    `json:"label,omitempty"` // Label.Hash of the backup, which stands for all of it
	// Encrypted says that only those can read the rest who have an identity: it is left out.
	Encrypted bool     `json:"encrypted,omitempty"`
	Error     string   `json:"error,omitempty"`
	Hints     []string `json:"hints,omitempty"`

	Hostname      string `json:"hostname"`
	ServerVersion string `json:"server_version"`
	ServerID      uint32 `json:"server_id"`
	Datadir       string `json:"datadir"`
	DataUUID      string `json:"data_uuid"` // of Aria's control file: made with the data directory, and copied with it

	Steps  []Step  `json:"steps"` // the last is the one in which a failed attempt was
	Stages []Stage `json:"stages"`
	LockMS int64   `json:"lock_window_ms"`
	LSN    LSNs    `json:"lsn"`
	Binlog *Binlog `json:"binlog,omitempty"`

	Codec string `json:"codec"`
	Volume
	RedoMeasures
	Changes
	Reuse
	// Resumable is what the next backup can go on with. Nil: nothing.
	Resumable *Resumable `json:"resumable,omitempty"`
	// Samples are nil in a list of attempts, and if there are none.
	Samples *Samples `json:"samples,omitempty"`

	Size      int64       `json:"size"` // bytes of the files that a restore creates
	Databases int         `json:"databases"`
	Tables    int         `json:"tables"`
	Files     int         `json:"files"`
	Largest   []TableSize `json:"largest"`  // the ten largest tables
	LeftOut   int         `json:"left_out"` // tables
	Filter    *Filter     `json:"filter,omitempty"`
	Damaged   int         `json:"damaged"` // pages that were damaged in the source

	WarningCount int      `json:"warning_count"`
	Warnings     []string `json:"warnings"` // the first 100

	// Out of the record of what ran around it, see Around.
	Hooks         []Hook         `json:"hooks,omitempty"`
	Copies        []Copy         `json:"copies,omitempty"`
	Notifications []Notification `json:"notifications,omitempty"`
}

// TableSize is a table and the bytes of its files.
type TableSize struct {
	Database string `json:"database"`
	Name     string `json:"name"`
	Engine   string `json:"engine"`
	Bytes    int64  `json:"bytes"`
}

// Bounds of what a record holds of long lists.
const (
	maxLargest  = 10
	maxWarnings = 100
)

// AttemptOf returns what the history says of a whole backup.
func AttemptOf(m *Manifest) Attempt {
	a := Attempt{
		FormatVersion: FormatVersion, ID: m.ID, Kind: m.Kind, Parent: m.Parent, Tool: m.Tool,
		Started: m.Started, Finished: m.Finished, Outcome: OutcomeOK,
		Hostname: m.Server.Hostname, ServerVersion: m.Server.Version, ServerID: m.Server.ServerID, Datadir: m.Server.Datadir,
		Steps: m.Steps, Stages: m.Stages, LockMS: m.LockMS, LSN: m.LSN, Binlog: m.Binlog,
		Codec: m.Codec, Volume: m.Volume, RedoMeasures: m.Redo.measures(), Changes: m.Changes, Reuse: m.Reuse,
		Size: m.size(), Databases: len(m.Directories), Tables: len(m.Tables), Files: len(m.Files), Largest: m.largest(),
		LeftOut: len(m.LeftOut), Filter: m.Filter, Damaged: len(m.Damaged),
	}
	if m.Aria.Control != nil {
		a.DataUUID = m.Aria.Control.UUID.String()
	}
	a.Warn(m.Warnings...)
	return a
}

// size is how many bytes the files have that a restore creates.
func (m *Manifest) size() (bytes int64) {
	for i := range m.Files {
		bytes += m.Files[i].Size
	}
	return bytes
}

// Warn adds warnings to the record, as far as there is room.
func (a *Attempt) Warn(texts ...string) {
	a.WarningCount += len(texts)
	a.Warnings = slices.Concat(a.Warnings, texts[:min(len(texts), max(maxWarnings-len(a.Warnings), 0))])
}

// End is when the attempt ended, or of one that died without a word when it
// began.
func (a *Attempt) End() time.Time {
	if a.Finished.IsZero() {
		return a.Started
	}
	return a.Finished
}

// largest returns the largest tables, by the sizes of their files.
func (m *Manifest) largest() []TableSize {
	all := make([]TableSize, 0, len(m.Tables))
	for _, t := range m.Tables {
		size := TableSize{Database: t.Database, Name: t.Name, Engine: t.Engine}
		for _, i := range t.Files {
			size.Bytes += m.Files[i].Size
		}
		if t.Engine != "" {
			all = append(all, size)
		}
	}
	slices.SortStableFunc(all, func(a, b TableSize) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return slices.Clone(all[:min(len(all), maxLargest)])
}

// attemptName returns the name of the object that holds an attempt.
func attemptName(id string) string { return historyPrefix + id + ".json" }

// parseAttempt reads the name of an object of the history.
func parseAttempt(name string) (id string, ok bool) {
	id, ok = strings.CutSuffix(strings.TrimPrefix(name, historyPrefix), ".json")
	_, _, err := ParseID(id)
	return id, ok && err == nil
}

// PutAttempt adds an attempt to the history, after Commit or Discard. It needs no
// lock.
func (r *Repository) PutAttempt(ctx context.Context, a Attempt) error {
	if _, _, err := ParseID(a.ID); err != nil {
		return fmt.Errorf("record the attempt: %w", err)
	}
	if r.sent && a.Outcome != OutcomeOK {
		return nil
	}
	a.FormatVersion = FormatVersion
	a.Hooks, a.Copies, a.Notifications = nil, nil, nil // PutAround keeps these
	if err := r.putRecord(ctx, attemptName(a.ID), a); err != nil {
		return fmt.Errorf("record attempt %s in the history: %w", a.ID, err)
	}
	return nil
}

// attempt returns the record of one attempt. The error is fs.ErrNotExist if
// there is none.
func (r *Repository) attempt(ctx context.Context, id string) (Attempt, error) {
	var a Attempt
	err := readRecord(ctx, r, attemptName(id), &a)
	if err == nil && a.ID != id {
		err = fmt.Errorf("it is of %q: %w", a.ID, ErrDamaged)
	}
	if err != nil {
		if lost(err) {
			r.warnLost(attemptName(id), err)
		}
		return Attempt{}, fmt.Errorf("history of %s: %w", id, err)
	}
	return a, nil
}

// Attempts returns the whole history, oldest first. A record that cannot be read
// does not hide the others: its backup is described by the manifest, and without
// one its outcome is OutcomeUnknown and its error says why.
func (r *Repository) Attempts(ctx context.Context) ([]Attempt, error) {
	return r.AttemptsBeside(ctx, nil)
}

// AttemptsBeside is Attempts without those of some backups, whose records were read before.
func (r *Repository) AttemptsBeside(ctx context.Context, backups []Summary) ([]Attempt, error) {
	list, ids, err := r.history(ctx)
	if err != nil {
		return nil, err
	}
	known := map[string]bool{}
	for i := range backups {
		known[backups[i].ID] = true
	}
	ids = slices.DeleteFunc(ids, func(id string) bool { return known[id] })
	attempts := make([]Attempt, len(ids))
	err = each(ctx, len(ids), func(ctx context.Context, i int) (err error) {
		attempts[i], err = r.readAttempt(ctx, list, ids[i])
		attempts[i].Samples = nil
		return err
	})
	if err != nil {
		return nil, err
	}
	return attempts, nil
}

// listHistory lists the objects of the history. If that cannot be looked into, it has
// none as far as is known: no backup depends on it.
func (r *Repository) listHistory(ctx context.Context, prefix string) ([]store.Object, error) {
	list, err := r.st.List(ctx, historyPrefix+prefix)
	if err != nil && !lost(err) {
		return nil, fmt.Errorf("list the history of %s: %w", r, err)
	}
	if err != nil {
		r.warn(fmt.Errorf("the history is passed over: %w", err))
		return nil, nil
	}
	return slices.DeleteFunc(list, func(o store.Object) bool {
		if o.Err != nil {
			r.warn(fmt.Errorf("passed over: %w", o.Err))
		}
		return o.Err != nil
	}), nil
}

// warnLost warns of a record of the history that is there and cannot be read.
func (r *Repository) warnLost(name string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		r.warn(fmt.Errorf("record %s cannot be read and is passed over: %w", name, err))
	}
}

// readAttempt returns a listed attempt with what ran around it.
func (r *Repository) readAttempt(ctx context.Context, history []store.Object, id string) (Attempt, error) {
	a, err := r.describe(ctx, id)
	if err != nil {
		return Attempt{}, err
	}
	return a, r.addAround(ctx, history, &a)
}

// each calls do for 0 to n-1, several at a time, until one fails.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(readers)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}

// Verification is the record of a verification, whatever it came to.
type Verification struct {
	FormatVersion int       `json:"format_version"`
	ID            string    `json:"id"`    // of the backup
	Depth         string    `json:"depth"` // DepthStored, DepthPages, DepthBoot
	Started       time.Time `json:"started"`
	Time          time.Time `json:"finished"`
	Tool          string    `json:"tool"`
	Server        string    `json:"server,omitempty"` // version that ran, with DepthBoot
	OK            bool      `json:"ok"`               // Proves
	// Encrypted says that only those can read what was found who have an identity.
	Encrypted bool `json:"encrypted,omitempty"`

	Verdict

	Objects int64 `json:"objects"` // read and found whole
	Bytes   int64 `json:"bytes"`
	Pages   int64 `json:"pages"`  // with DepthPages
	Tables  int64 `json:"tables"` // with DepthBoot

	FindingCount int       `json:"finding_count"`
	Findings     []Finding `json:"findings"` // the first 100

	AsOnSource []TableNote `json:"as_on_source,omitempty"` // the first 100 tables

	Replay *Replayed `json:"replay,omitempty"` // nil: the binary log was not replayed
	Drill  *Drill    `json:"drill,omitempty"`  // nil: it was no drill, or the server did not come up
}

// Replayed is what a verification found about the binary log after a backup: that of the archive, or
// the files of a server. It says nothing of the backup itself.
type Replayed struct {
	Verdict
	Moment   string    `json:"moment"`               // to which the server went on, as it was named
	Timeline string    `json:"timeline"`             // of the archive, or the first of the server's files
	Files    string    `json:"binlog_dir,omitempty"` // the folder of these; "": it was the archive
	To       string    `json:"to"`                   // GTIDs at the moment
	Last     time.Time `json:"last_time,omitzero"`   // when the last transaction was committed; zero if there is none
}

// Finding is one thing that a verification found wrong.
type Finding struct {
	Object  string `json:"object,omitempty"` // in the repository
	File    string `json:"file,omitempty"`   // in the data directory
	Table   string `json:"table,omitempty"`
	Problem string `json:"problem"`
}

// TableNote is a table with which something was wrong on the source already.
type TableNote struct {
	Table   string `json:"table"` // "shop.orders"
	Problem string `json:"problem"`
}

// depthRank orders depths; an unknown one is 0.
func depthRank(depth string) int {
	return 1 + slices.Index([]string{DepthStored, DepthPages, DepthBoot}, depth)
}

// PutVerification adds a verification to the history. It needs no lock.
func (r *Repository) PutVerification(ctx context.Context, v Verification) error {
	if _, _, err := ParseID(v.ID); err != nil {
		return fmt.Errorf("record the verification: %w", err)
	}
	if depthRank(v.Depth) == 0 {
		return fmt.Errorf("record the verification of %s: unknown depth %q", v.ID, v.Depth)
	}
	v.FormatVersion = FormatVersion
	v.resolve()
	v.FindingCount = max(v.FindingCount, len(v.Findings))
	v.Findings = slices.Clone(v.Findings[:min(len(v.Findings), maxFindings)])
	v.AsOnSource = slices.Clone(v.AsOnSource[:min(len(v.AsOnSource), maxFindings)])
	if err := r.putRecord(ctx, verificationName{v.ID, v.Depth, v.Time, !v.CarriedOut()}.name(), v); err != nil {
		return fmt.Errorf("record the verification of %s: %w", v.ID, err)
	}
	return nil
}

// verificationName is what the name of a verification's object says.
type verificationName struct {
	id     string
	depth  string
	time   time.Time
	undone bool // it could not be carried out
}

// Infixes of the names. What could not be carried out has a name of its own, so that it
// hides nothing from those who look for the newest verification.
const (
	verifiedInfix = ".verify-"
	undoneInfix   = ".tried-"
)

func (v verificationName) name() string {
	infix := verifiedInfix
	if v.undone {
		infix = undoneInfix
	}
	return historyPrefix + v.id + infix + v.time.UTC().Format(verifyTime) + "-" + v.depth + ".json"
}

// parseVerification reads the name of an object of the history.
func parseVerification(name string) (v verificationName, ok bool) {
	base, found := strings.CutSuffix(strings.TrimPrefix(name, historyPrefix), ".json")
	id, rest, found2 := strings.Cut(base, verifiedInfix)
	if !found2 {
		id, rest, v.undone = strings.Cut(base, undoneInfix)
	}
	stamp, depth, found3 := strings.Cut(rest, "-")
	t, err := time.Parse(verifyTime, stamp)
	if _, _, idErr := ParseID(id); !found || !found2 && !v.undone || !found3 || err != nil || idErr != nil ||
		depthRank(depth) == 0 {
		return verificationName{}, false
	}
	return verificationName{id, depth, t, v.undone}, true
}

// readVerification reads a record. A damaged one counts as a failure: it may have
// been one. One that others may be able to read says nothing here, and is nil; so does
// one of a verification that could not be carried out.
func (r *Repository) readVerification(ctx context.Context, v verificationName) (*Verification, error) {
	var record Verification
	err := readRecord(ctx, r, v.name(), &record)
	if err == nil && (record.ID != v.id || record.Depth != v.depth) {
		err = fmt.Errorf("it is of %q at depth %q: %w", record.ID, record.Depth, ErrDamaged)
	}
	if err == nil && record.CarriedOut() == v.undone {
		err = fmt.Errorf("it says %q: %w", record.Outcome, ErrDamaged)
	}
	if err != nil && !lost(err) {
		return nil, fmt.Errorf("verification of %s: %w", v.id, err)
	}
	if err != nil {
		r.warnLost(v.name(), err)
		if v.undone || errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrNewerFormat) {
			return nil, nil
		}
		problem := fmt.Sprintf("the record of this verification cannot be read: %v", err)
		record = Verification{ID: v.id, Depth: v.depth, Time: v.time, Verdict: Verdict{VerdictDamaged, problem},
			FindingCount: 1, Findings: []Finding{{Object: v.name(), Problem: problem}}}
	}
	record.resolve()
	return &record, nil
}

// Verifications returns all verifications of one backup, oldest first.
func (r *Repository) Verifications(ctx context.Context, id string) ([]Verification, error) {
	list, err := r.listHistory(ctx, id+".")
	if err != nil {
		return nil, err
	}
	var found []verificationName
	for _, o := range list {
		if v, ok := parseVerification(o.Name); ok && v.id == id {
			found = append(found, v)
		}
	}
	return r.readVerifications(ctx, found)
}

func (r *Repository) readVerifications(ctx context.Context, found []verificationName) ([]Verification, error) {
	read := make([]*Verification, len(found))
	err := each(ctx, len(found), func(ctx context.Context, i int) (err error) {
		read[i], err = r.readVerification(ctx, found[i])
		return err
	})
	if err != nil {
		return nil, err
	}
	records := make([]Verification, 0, len(read))
	for _, v := range read {
		if v != nil {
			records = append(records, *v)
		}
	}
	slices.SortStableFunc(records, func(a, b Verification) int { return a.Time.Compare(b.Time) })
	return records, nil
}

// Standing returns the verification that says how a backup stands, or nil if
// there was none: the newest that found damage which no success of the same or a
// greater depth has answered since, else the newest of the deepest successes. One that
// could not be carried out says nothing.
func Standing(verifications []Verification) *Verification {
	verifications = carriedOut(verifications)
	var failure, success *Verification
	for i := range verifications {
		switch v := &verifications[i]; {
		case v.OK:
			if success == nil || cmp.Or(depthRank(v.Depth)-depthRank(success.Depth), v.Time.Compare(success.Time)) > 0 {
				success = v
			}
		case answered(*v, verifications):
		case failure == nil || v.Time.After(failure.Time):
			failure = v
		}
	}
	if failure != nil {
		return failure
	}
	return success
}

// answered reports whether a later success covers all that a failed verification
// looked at.
func answered(failed Verification, all []Verification) bool {
	return slices.ContainsFunc(all, func(v Verification) bool {
		return v.OK && v.Time.After(failed.Time) && depthRank(v.Depth) >= depthRank(failed.Depth)
	})
}

// lost reports whether an object cannot be read, while others can, as opposed to a
// store that does not answer: it is not there or not what mbk wrote, somebody else's,
// or the disk has a bad spot.
func lost(err error) bool {
	for _, target := range []error{fs.ErrNotExist, fs.ErrPermission, ErrDamaged, ErrNewerFormat, store.ErrTooLarge,
		syscall.EIO} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
