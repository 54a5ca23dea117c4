// Package metrics computes the metrics of a repository for Prometheus.
package metrics

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"mbk/internal/job/prom"
	"mbk/internal/job/report"
	"mbk/internal/repo"
)

// Of returns the metrics of a repository. The time of something that has never happened
// is 0, so that an alert on age needs no second rule for missing metrics.
func Of(ctx context.Context, r *repo.Repository, version string) ([]prom.Family, error) {
	backups, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	attempts, err := r.Attempts(ctx)
	if err != nil {
		return nil, err
	}
	proofs, err := r.Proofs(ctx)
	if err != nil {
		return nil, err
	}
	m := &meter{labels: map[string]string{"repository": r.String(), "server": hostOf(attempts)}}
	m.attempts(attempts)
	m.newest(backups)
	m.full(backups)
	m.proofs(proofs)
	m.backups(backups)
	last, err := r.LastDrill(ctx, time.Now())
	if err != nil {
		return nil, err
	}
	m.drill(last)
	if err := m.archive(ctx, r); err != nil {
		return nil, err
	}
	unfinished, err := r.Unfinished(ctx)
	if err != nil {
		return nil, err
	}
	var left int64
	for _, u := range unfinished {
		left += u.Bytes
	}
	m.gauge("mbk_repository_unfinished_bytes",
		"Bytes of interrupted attempts that another can continue on, and of a backup that is under way.", float64(left))
	if space, err := r.Space(ctx); err != nil {
		return nil, err
	} else if space.Known {
		m.gauge("mbk_repository_free_bytes", "Bytes that can still be written where the repository is.", float64(space.Free))
		m.gauge("mbk_repository_size_bytes",
			"Size in bytes of the file system where the repository is.", float64(space.Total))
	}
	m.gauge("mbk_build_info", "The mbk that wrote these metrics; always 1.", 1, "version", version)
	return m.families, nil
}

// hostOf returns the hostname of the server in the newest attempt that has one.
func hostOf(attempts []repo.Attempt) string {
	for _, a := range slices.Backward(attempts) {
		if a.Hostname != "" {
			return a.Hostname
		}
	}
	return ""
}

// meter collects families.
type meter struct {
	labels   map[string]string // of every sample
	families []prom.Family
}

// gauge adds a value. more has the names and values of its labels.
func (m *meter) gauge(name, help string, value float64, more ...string) {
	m.add(prom.Family{Name: name, Help: help}, value, more...)
}

func (m *meter) add(f prom.Family, value float64, more ...string) {
	labels := maps.Clone(m.labels)
	for i := 0; i+1 < len(more); i += 2 {
		labels[more[i]] = more[i+1]
	}
	i := slices.IndexFunc(m.families, func(have prom.Family) bool { return have.Name == f.Name })
	if i < 0 {
		i = len(m.families)
		m.families = append(m.families, f)
	}
	m.families[i].Samples = append(m.families[i].Samples, prom.Sample{Labels: labels, Value: value})
}

// unix converts a time to seconds, 0 for none.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMilli()) / 1000
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// attempts adds the metrics of the history.
func (m *meter) attempts(all []repo.Attempt) {
	count := map[string]int{}
	var success time.Time
	for _, a := range all {
		count[a.Outcome]++
		if a.Outcome == repo.OutcomeOK && a.End().After(success) {
			success = a.End()
		}
	}
	failures := 0
	for _, a := range all {
		if a.Outcome == repo.OutcomeFailed && a.End().After(success) {
			failures++
		}
	}
	m.gauge("mbk_backup_last_success_timestamp_seconds",
		"When the newest successful attempt ended; 0 if there was none.", unix(success))
	newest := repo.NewestAttempt(all)
	if newest != nil {
		m.gauge("mbk_backup_last_attempt_timestamp_seconds", "When the newest attempt ended.", unix(newest.End()))
		m.gauge("mbk_backup_last_attempt_success",
			"Whether the newest attempt made a backup.", truth(newest.Outcome == repo.OutcomeOK))
	}
	m.gauge("mbk_backup_failures_since_success",
		"Attempts that have failed since the newest successful one.", float64(failures))
	for _, outcome := range []string{repo.OutcomeOK, repo.OutcomeFailed, repo.OutcomeUnknown} {
		total := prom.Family{Name: "mbk_backup_attempts_total", Help: "Attempts on record by outcome.", Counter: true}
		m.add(total, float64(count[outcome]), "outcome", outcome)
	}
}

// newest adds the metrics of the newest backup.
func (m *meter) newest(all []repo.Summary) {
	if len(all) == 0 {
		return
	}
	b := all[len(all)-1]
	m.gauge("mbk_backup_incremental", "Whether the newest backup is an increment.", truth(b.Kind != repo.KindFull))
	for _, g := range []struct {
		name, help string
		value      float64
	}{
		{"duration_seconds", "How long the newest backup took.", report.Duration(&b.Attempt).Seconds()},
		{"read_bytes", "Bytes that the newest backup read from the server's files.", float64(b.BytesRead)},
		{"size_bytes", "Bytes of the files that a restore of the newest backup creates.", float64(b.Size)},
		{"stored_bytes", "Bytes that the newest backup takes in the repository.", float64(b.BytesStored)},
		{"needs_backups", "Backups that a restore of the newest backup needs, itself included.", float64(len(b.Needs.IDs))},
		{"needs_bytes", "Bytes that these take in the repository.", float64(b.Needs.BytesStored)},
		{"redo_bytes", "Bytes of redo log in the newest backup.", float64(b.RedoBytes)},
		{"lock_window_seconds", "How long the newest backup blocked DDL.", float64(b.LockMS) / 1000},
		{"redo_headroom_low_bytes", "Bytes of redo that the server could still write at the worst moment " +
			"before it had overwritten what was not copied.", float64(b.LowestHeadroom)},
		{"redo_capacity_bytes", "Size in bytes of the server's redo log.", float64(b.RedoCapacity)},
		{"torn_pages", "Pages that the newest backup had to read again.", float64(b.TornPages)},
		{"damaged_pages", "Pages in the newest backup that were damaged in the source.", float64(b.Damaged)},
		{"tables", "Tables, views and sequences in the newest backup.", float64(b.Tables)},
		{"left_out_tables", "Tables that the newest backup does not hold.", float64(b.LeftOut)},
		{"warnings", "Warnings of the newest backup.", float64(b.WarningCount)},
	} {
		m.gauge("mbk_backup_"+g.name, g.help, g.value)
	}
	var failed int
	for _, c := range b.Copies {
		if c.Error != "" {
			failed++
		}
	}
	m.gauge("mbk_backup_copies", "Repositories to which the newest backup was copied after it was made.",
		float64(len(b.Copies)-failed))
	m.gauge("mbk_backup_copies_failed", "Repositories to which it should have been copied then, and was not.",
		float64(failed))
}

// full adds the metrics of the newest full backup.
func (m *meter) full(all []repo.Summary) {
	var newest repo.Summary
	for _, b := range all {
		if b.Kind == repo.KindFull && !b.KnownDamaged() {
			newest = b
		}
	}
	m.gauge("mbk_backup_full_last_timestamp_seconds",
		"When the newest good full backup ended; 0 if there is none.", unix(newest.Finished))
	m.gauge("mbk_backup_full_stored_bytes",
		"Bytes that the newest good full backup takes in the repository; 0 if there is none.", float64(newest.BytesStored))
}

// proofs adds the metrics of verifications by depth, the deepest first, because it
// includes the others.
func (m *meter) proofs(all map[string]repo.Proof) {
	var success time.Time
	for _, depth := range []string{repo.DepthBoot, repo.DepthPages, repo.DepthStored} {
		p := all[depth]
		if p.Success != nil && p.Success.Time.After(success) {
			success = p.Success.Time
		}
		m.gauge("mbk_verify_last_success_timestamp_seconds",
			"When a verification at this depth or a deeper one last found a backup whole; 0 if none ever did.",
			unix(success), "depth", depth)
		if p.Newest != nil {
			m.gauge("mbk_verify_last_timestamp_seconds",
				"When the newest verification at this depth ended.", unix(p.Newest.Time), "depth", depth)
			m.gauge("mbk_verify_last_success",
				"Whether the newest verification at this depth found the backup whole.", truth(p.Newest.OK), "depth", depth)
		}
		if p.Attempt != nil {
			m.gauge("mbk_verify_last_carried_out",
				"Whether the newest verification at this depth could be carried out; "+
					"one that could not is no part of the other metrics.",
				truth(p.Attempt.CarriedOut()), "depth", depth)
		}
	}
}

// backups adds the metrics of all backups.
func (m *meter) backups(all []repo.Summary) {
	bytes, number := map[string]int64{}, map[string]int{}
	damaged, pinned := 0, 0
	for _, b := range all {
		bytes[b.Kind] += b.BytesStored
		number[b.Kind]++
		if b.Problem != "" || b.Broken != "" || b.KnownDamaged() {
			damaged++
		}
		if b.Pin != nil {
			pinned++
		}
	}
	for _, kind := range []string{repo.KindFull, repo.KindIncremental} {
		m.gauge("mbk_repository_backups", "Backups in the repository by kind.", float64(number[kind]), "kind", kind)
		m.gauge("mbk_repository_stored_bytes", "Bytes that all backups of a kind take in the repository.",
			float64(bytes[kind]), "kind", kind)
	}
	m.gauge("mbk_repository_damaged_backups",
		"Backups in the repository that are known to be damaged, that need a damaged or missing one, "+
			"or that this user cannot read.", float64(damaged))
	m.gauge("mbk_repository_pinned_backups", "Backups in the repository that are pinned.", float64(pinned))
}

// drill adds the metrics of the newest drill; nil if there was none.
func (m *meter) drill(last *repo.Verification) {
	var ended time.Time
	if last != nil {
		ended = last.Time
	}
	m.gauge("mbk_drill_last_timestamp_seconds",
		"When the newest drill ended in which the server came up; 0 if there was none.", unix(ended))
	if last == nil {
		return
	}
	m.gauge("mbk_drill_last_success", "Whether it found the backup whole.", truth(last.OK))
	m.gauge("mbk_drill_recovery_seconds", "How long the restore took until the server answered.",
		float64(last.Drill.RecoveryMS)/1000)
	m.gauge("mbk_drill_point_age_seconds", "Age of the moment to which that led, when the drill began.",
		float64(last.Drill.Point.AgeMS)/1000)
	if lost := last.Drill.Point.Lost; lost != nil {
		m.gauge("mbk_drill_transactions_lost",
			"Transactions that the running server had committed after that moment.", float64(*lost))
	}
}

// archive adds the metrics of the archive of binary logs, if there is one. One whose end cannot
// be read is a gap.
func (m *meter) archive(ctx context.Context, r *repo.Repository) error {
	a, err := r.ArchiveState(ctx)
	damaged := errors.Is(err, repo.ErrDamaged)
	switch {
	case damaged:
		a = &repo.ArchiveState{}
	case err != nil:
		return err
	case a.Timeline == "" && !a.Running:
		return nil
	}
	m.gauge("mbk_archive_running", "Whether the binary log is being archived now.", truth(a.Running))
	m.gauge("mbk_archive_last_stored_timestamp_seconds",
		"When the newest segment of the archive of binary logs was stored; 0 if there is none.", unix(a.LastStored))
	m.gauge("mbk_archive_current_timestamp_seconds", "When the archive of binary logs had all that the server had, "+
		"or stored something of it; 0 if it never did.", unix(a.Current))
	m.gauge("mbk_archive_last_event_timestamp_seconds",
		"Time of the newest transaction in the archive of binary logs; 0 if there is none.", unix(a.LastEvent))
	m.gauge("mbk_archive_gap", "Whether something may be missing before the newest timeline of the archive and no "+
		"backup was taken since, or the end of the archive is damaged.", truth(a.Gap != "" || damaged))
	m.gauge("mbk_archive_segments", "Segments of the archive of binary logs.", float64(a.Segments))
	m.gauge("mbk_archive_stored_bytes", "Bytes that these take in the repository.", float64(a.Bytes))
	return nil
}
