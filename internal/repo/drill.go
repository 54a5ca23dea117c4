package repo

import (
	"context"
	"slices"
	"time"
)

// Drill is what a restore drill has measured: how long it takes until the server is back,
// and what would be lost. It is a part of the record of a verification at DepthBoot.
type Drill struct {
	RecoveryMS int64   `json:"recovery_ms"` // the sum of Recovery
	Recovery   []Step  `json:"recovery"`    // until the server answers on the recovered files
	Checks     []Step  `json:"checks"`      // what comes after that, and no restore has to wait for
	Point      Reached `json:"point"`
	Rows       *Rows   `json:"rows,omitempty"` // nil: they could not be counted, or are encrypted
}

// Reached is the moment to which a drill has brought the server. What was written after it
// would be lost.
type Reached struct {
	LSN   uint64    `json:"lsn"`            // that the recovery has reached
	GTID  string    `json:"gtid,omitempty"` // "" if the source writes no binary log
	Time  time.Time `json:"time"`           // of the backup, or of the last transaction that was replayed
	AgeMS int64     `json:"age_ms"`         // of that when the drill began
	// Lost is the number of transactions that the running server had committed after that
	// when the drill began; nil if it was not asked.
	Lost *int64 `json:"transactions_lost,omitempty"`
}

// Rows are the rows that a drill has counted, in the tables of users.
type Rows struct {
	Tables int64       `json:"tables"`
	Rows   int64       `json:"rows"`
	Counts []TableRows `json:"counts"` // the largest first, MaxRowCounts at most
	// With is what they were compared with: ComparedServer, the id of the backup of an
	// earlier drill, or "" if there was nothing.
	With        string         `json:"compared_with"`
	Same        int64          `json:"same"`        // tables with as many rows
	Differ      int64          `json:"differ"`      // others
	Differences []RowsInTables `json:"differences"` // of these, the greatest first; 100 at most
}

// TableRows is a table with its rows.
type TableRows struct {
	Table string `json:"table"` // "shop.orders"
	Rows  int64  `json:"rows"`
}

// RowsInTables are the rows of one table in two places; nil where there is no such table.
type RowsInTables struct {
	Table string `json:"table"`
	Here  *int64 `json:"restored"`
	There *int64 `json:"other"`
}

// ComparedServer is Rows.With of a drill that was compared with the running server.
const ComparedServer = "server"

// Limits of what is kept of the rows of a drill.
const (
	MaxRowCounts      = 200
	MaxRowDifferences = 100
)

// public is what everybody may read of a drill in an encrypted repository.
func (d *Drill) public() *Drill {
	if d == nil {
		return nil
	}
	p := *d
	p.Point.GTID, p.Rows = "", nil
	return &p
}

// MaxDrills is how many records Drills looks at.
const MaxDrills = 400

// Drills returns the records of the newest drills, the oldest first. A record of a backup that
// has expired is among them. It reads the newest MaxDrills verifications at depth boot.
func (r *Repository) Drills(ctx context.Context) ([]Verification, error) {
	boots, err := r.bootsBefore(ctx, time.Time{})
	if err != nil {
		return nil, err
	}
	all, err := r.readVerifications(ctx, boots[:min(len(boots), MaxDrills)])
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(v Verification) bool { return v.Drill == nil })
	slices.SortFunc(all, func(a, b Verification) int { return a.Time.Compare(b.Time) })
	return all, nil
}

// bootsBefore returns the names of the verifications at depth boot, the newest first, before a
// time unless that is zero.
func (r *Repository) bootsBefore(ctx context.Context, before time.Time) ([]verificationName, error) {
	list, _, err := r.history(ctx)
	if err != nil {
		return nil, err
	}
	var boots []verificationName
	for _, o := range list {
		v, ok := parseVerification(o.Name)
		if ok && v.depth == DepthBoot && (before.IsZero() || v.time.Before(before)) {
			boots = append(boots, v)
		}
	}
	slices.SortFunc(boots, func(a, b verificationName) int { return b.time.Compare(a.time) })
	return boots, nil
}

// LastDrill returns the record of the newest drill that ended before a time, nil if there was
// none. It reads the verifications at depth boot from the newest on.
func (r *Repository) LastDrill(ctx context.Context, before time.Time) (*Verification, error) {
	boots, err := r.bootsBefore(ctx, before)
	if err != nil {
		return nil, err
	}
	for _, name := range boots {
		v, err := r.readVerification(ctx, name)
		if err != nil {
			return nil, err
		}
		if v != nil && v.Drill != nil {
			return v, nil
		}
	}
	return nil, nil
}
