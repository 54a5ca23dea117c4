package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// Result is what a restore has done.
type Result struct {
	ID         string     `json:"id"`
	Target     string     `json:"target"`
	KeptOld    string     `json:"kept_old"`      // the data directory that was in the target, "" if there was none
	Owner      Owner      `json:"owner"`         // of the files
	Raw        bool       `json:"raw"`           // recovery is left to the first start
	LSN        innodb.LSN `json:"lsn,omitempty"` // that recovery has reached
	RolledBack bool       `json:"rolled_back"`   // transactions between prepare and commit were rolled back
	// UpgradedTo is the version of the newer series that the files were brought to, ""
	// if they are of the source's.
	UpgradedTo string       `json:"upgraded_to,omitempty"`
	Files      int          `json:"files"`
	Bytes      int64        `json:"bytes"`
	Elapsed    Elapsed      `json:"elapsed"`
	Binlog     *repo.Binlog `json:"binlog,omitempty"` // every transaction up to here is in the data
	Replay     *Replay      `json:"replay,omitempty"` // the moment to which it was brought; Binlog is before that
	Config     []string     `json:"config"`           // lines that the server's configuration needs
	// Statements that make the restored server a replica: of the backup's source,
	// or of the servers whose replica that was.
	ReplicaOfSource   []string    `json:"replica_of_source"`
	ReplicaLikeSource []string    `json:"replica_like_source"`
	Notes             []hint.Text `json:"notes"`
	Warnings          []string    `json:"warnings"` // errors in mariadbd's log that were no reason to fail
}

// Elapsed is how long the phases took, in milliseconds.
type Elapsed struct {
	Extract int64 `json:"extract_ms"`
	Recover int64 `json:"recover_ms"`
	Replay  int64 `json:"replay_ms"`
	Look    int64 `json:"look_ms"`
	Upgrade int64 `json:"upgrade_ms"`
	Place   int64 `json:"place_ms"`
	Total   int64 `json:"total_ms"`
}

// Restore brings a backup back into Options.Target. If it fails, or is killed at
// any instant, the target is as it was before; what a killed restore leaves is
// removed by the next one into the same target.
//
// Errors: *ObjectionsError before anything was written, *BusyError,
// *pack.DamageError and repo.ErrDamaged for damage in the repository,
// *mariadbd.RunError.
func Restore(ctx context.Context, o Options) (*Result, error) {
	started := time.Now()
	p, err := NewPlan(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := p.Err(); err != nil {
		return nil, err
	}
	r, err := p.carryOut(ctx)
	if err != nil {
		return nil, fmt.Errorf("restore %s into %s: %w", p.ID, p.Target, err)
	}
	r.Elapsed.Total = time.Since(started).Milliseconds()
	return r, nil
}

// step is a part of a restore, with the measure of how long it took in milliseconds.
type step struct {
	took *int64 // nil: nobody asks
	do   func(context.Context) error
}

// inOrder takes the steps. None is begun when ctx is done: until the last one, a restore
// that is cancelled changes nothing.
func inOrder(ctx context.Context, steps []step) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		began := time.Now()
		if err := s.do(ctx); err != nil {
			return err
		}
		if s.took != nil {
			*s.took = time.Since(began).Milliseconds()
		}
	}
	return nil
}

// carryOut restores.
func (p *Plan) carryOut(ctx context.Context) (*Result, error) {
	b, err := p.Prepare(ctx)
	if err != nil {
		return nil, err
	}
	// The log was written by a server of the source's series: it is replayed before any upgrade.
	if b, err = p.GoOn(ctx, b); err != nil {
		return nil, err
	}
	r := p.result(b)
	err = inOrder(ctx, []step{
		// Who looks sees what the source was, by a server of its series.
		{&r.Elapsed.Look, func(ctx context.Context) error { return b.look(ctx) }},
		// A newer server starts only on files that are consistent.
		{&r.Elapsed.Upgrade, func(ctx context.Context) error { return b.upgrade(ctx, r) }},
		// The state of a cluster is part of the data directory, and is placed with it.
		{nil, func(context.Context) error { return b.joinCluster() }},
		// Nothing is in the target before all of it is consistent and durable.
		{&r.Elapsed.Place, func(ctx context.Context) error { return b.place(ctx, r) }},
	})
	if err = errors.Join(err, b.Close(p.opts.KeepOnFailure && err != nil)); err != nil {
		return nil, err
	}
	// Whoever has a folder can exchange what is in there, the scratch folder too: so
	// this comes after its end.
	if err := p.target.handOver(); err != nil {
		return nil, err
	}
	return r, nil
}

// result is what is known of a restore when the backup was prepared.
func (p *Plan) result(b *Prepared) *Result {
	m := p.manifest
	r := &Result{
		ID: m.ID, Target: p.target.path, KeptOld: p.target.old, Owner: p.target.owner, Raw: p.Raw,
		LSN: b.LSN, RolledBack: b.RolledBack, Files: p.Files, Bytes: p.Bytes, Elapsed: b.elapsed, Binlog: m.Binlog,
		Config: p.Config, ReplicaOfSource: replicaOfSource(m), ReplicaLikeSource: replicaLikeSource(m),
		Notes: append(slices.Clone(p.Notes), b.Notes...), Warnings: append(slices.Clone(p.Warnings), b.Warnings...),
		Replay: p.Replay,
	}
	if !p.opts.Filter.Empty() {
		// A part of a server is rarely meant to replicate the whole.
		r.ReplicaOfSource, r.ReplicaLikeSource = []string{}, []string{}
	}
	return r
}

// firstEntry is the entry of the data directory in which the system tablespace
// begins.
func firstEntry(m *repo.Manifest) string {
	for _, f := range systemFiles(m) {
		first, _, _ := strings.Cut(f.Path, "/")
		return first
	}
	return filepath.Base(logName)
}

// replicaOfSource are the statements that make the restored server a replica of
// the backup's source.
func replicaOfSource(m *repo.Manifest) []string {
	b := m.Binlog
	if b == nil {
		return []string{}
	}
	port := cmp.Or(m.Server.Port, 3306) // 0: the source has no network
	master := fmt.Sprintf("CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%d, ", quote(m.Server.Hostname), port)
	if b.GTID == "" {
		return []string{master + fmt.Sprintf("MASTER_LOG_FILE=%s, MASTER_LOG_POS=%d;", quote(b.File), b.Position)}
	}
	return []string{"SET GLOBAL gtid_slave_pos=" + quote(b.GTID) + ";", master + "MASTER_USE_GTID=slave_pos;"}
}

// replicaLikeSource are the statements that make the restored server a replica of
// the servers whose replica the source was.
func replicaLikeSource(m *repo.Manifest) []string {
	statements := []string{}
	for _, s := range m.Replicas {
		name := ""
		if s.Connection != "" {
			name = quote(s.Connection) + " "
		}
		master := fmt.Sprintf("CHANGE MASTER %sTO MASTER_HOST=%s, MASTER_PORT=%d, ", name, quote(s.Host), s.Port)
		usesGTID := s.UsingGTID != "" && !strings.EqualFold(s.UsingGTID, "no")
		if usesGTID || s.File == "" && s.GTID != "" {
			// The position is in mysql.gtid_slave_pos, which was restored.
			master += "MASTER_USE_GTID=slave_pos;"
		} else {
			master += fmt.Sprintf("MASTER_LOG_FILE=%s, MASTER_LOG_POS=%d;", quote(s.File), s.Position)
		}
		statements = append(statements, master)
	}
	return statements
}

// quote writes a string as SQL does.
func quote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`, "\n", `\n`, "\r", `\r`, "\x00", `\0`).Replace(s) + "'"
}
