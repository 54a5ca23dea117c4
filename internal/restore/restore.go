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
	"mbk/internal/mariadbd"
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
	o = o.withDefaults()
	r, err := p.carryOut(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("restore %s into %s: %w", p.ID, p.Target, err)
	}
	r.Elapsed.Total = time.Since(started).Milliseconds()
	return r, nil
}

// carryOut restores.
func (p *Plan) carryOut(ctx context.Context, o Options) (_ *Result, err error) {
	m, meter := p.manifest, newMeter(o.OnProgress)
	r := &Result{
		ID: m.ID, Target: p.target.path, KeptOld: p.target.old, Owner: p.target.owner, Raw: o.Raw, Files: p.Files, Bytes: p.Bytes, Binlog: m.Binlog,
		Config: p.Config, ReplicaOfSource: replicaOfSource(m), ReplicaLikeSource: replicaLikeSource(m),
		Notes: p.Notes, Warnings: slices.Clone(p.Warnings),
	}
	if !o.Filter.Empty() {
		// A part of a server is rarely meant to replicate the whole.
		r.ReplicaOfSource, r.ReplicaLikeSource = []string{}, []string{}
	}
	s, err := newScratch(ctx, p.target, m.ID, o.Now())
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, s.clean(o.KeepOnFailure && err != nil))
		if err == nil {
			err = s.handOver()
		}
	}()
	if err := s.openOutside(p.outside); err != nil {
		return nil, err
	}

	// Every byte is checked on the way, so damage shows before anything is placed.
	begin := time.Now()
	if err := s.extractAll(ctx, o, m, p.settings.AriaDir, meter); err != nil {
		return nil, err
	}
	if o.Filter.Empty() { // else only what is needed is read
		if err := checkSpares(ctx, o, m); err != nil {
			return nil, err
		}
	}
	r.Elapsed.Extract = time.Since(begin).Milliseconds()

	if !o.Raw {
		if err := p.makeConsistent(ctx, s, o, r, meter); err != nil {
			return nil, err
		}
	}

	if o.GaleraNode {
		if err := s.as.Do(func() error { return s.writeGrastate(m.Galera) }); err != nil {
			return nil, err
		}
	}
	// The last moment at which a cancelled restore changes nothing.
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	begin = time.Now()
	meter.begin(PhasePlace, 0)
	if err := s.place(firstEntry(m)); err != nil {
		return nil, err
	}
	if w := p.target.relabel(ctx, seLinux); w != "" {
		r.Warnings = append(r.Warnings, w)
	}
	meter.end()
	r.Elapsed.Place = time.Since(begin).Milliseconds()
	return r, nil
}

// makeConsistent has the real server recover the files, and a newer one upgrade them.
func (p *Plan) makeConsistent(ctx context.Context, s *scratch, o Options, r *Result, meter *meter) error {
	begin := time.Now()
	if err := s.own(); err != nil {
		return err
	}
	rec, err := s.recover(ctx, p.engine(s, o), p.manifest, meter)
	if failed, ok := errors.AsType[*mariadbd.RunError](err); ok {
		return hint.Wrap(err, p.advice(failed))
	}
	if err != nil {
		return err
	}
	r.LSN, r.RolledBack = rec.LSN, rec.RolledBack
	r.Warnings = append(r.Warnings, rec.Warnings...)
	r.Elapsed.Recover = time.Since(begin).Milliseconds()
	if p.Upgrade == nil {
		return nil
	}
	begin = time.Now()
	warnings, err := upgrade(ctx, p.upgradeEngine(s, o), p.Upgrade.Tool, p.manifest, meter)
	if failed, ok := errors.AsType[*mariadbd.RunError](err); ok {
		if failed.Damaged() { // of files that were recovered without any
			failed.Cause = mariadbd.CauseUnknown
		}
		return hint.Wrap(err, failed.Advice())
	}
	if err != nil {
		return err
	}
	r.UpgradedTo = p.Upgrade.Mariadbd.Version
	r.Warnings = append(r.Warnings, warnings...)
	r.Elapsed.Upgrade = time.Since(begin).Milliseconds()
	return nil
}

// engine is the server that recovers the files in the scratch folder.
func (p *Plan) engine(s *scratch, o Options) mariadbd.Instance {
	return mariadbd.Instance{
		Program: *p.Mariadbd, Settings: p.settingsFor(*p.Mariadbd), Owner: p.target.owner.user(), Writer: p.target.hand,
		Data: s.data(), Temp: s.tmp(), Log: filepath.Join(s.dir, serverLog),
		Buffer: cmp.Or(o.Memory, mariadbd.BufferSize(int64(p.manifest.LSN.End-p.manifest.LSN.Checkpoint))), Options: o.MariadbdArgs,
	}
}

// clean gives up the scratch folder.
func (s *scratch) clean(keep bool) error {
	err := s.removeOutside(keep)
	if keep {
		return errors.Join(err, s.close())
	}
	return errors.Join(err, s.remove())
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
