package repo

import (
	"cmp"
	"slices"
	"time"
)

// What a backup measures of itself is in four records, which the manifest, the history
// and the documents of the program embed: each measure has its name and its meaning here
// alone. They are several because their fields keep their places in the JSON.

// Volume is how much there was to copy.
type Volume struct {
	BytesRead   int64 `json:"bytes_read"`
	BytesStored int64 `json:"bytes_stored"`
}

// Changes are what the server did while it was copied, and what that cost.
type Changes struct {
	TornPages int64 `json:"torn_pages"` // pages that were whole only at a second read
	Late      Late  `json:"copied_locked"`
	DDL       DDL   `json:"ddl"`
}

// Reuse is what a backup has of earlier ones, and did not read or store again.
type Reuse struct {
	Chain      int    `json:"chain"`                 // increments since the full backup, this one included
	FullReason string `json:"full_reason,omitempty"` // why it is a full backup, where an increment was asked for
	// Unchanged is what was not read, since it is as in the parent. Nil of a full backup.
	Unchanged *Amount `json:"unchanged,omitempty"`
	// Pages are those of the files that were read for changes. Nil of a full backup.
	Pages *PageCounts `json:"pages,omitempty"`
	// Resumed is what was taken over of interrupted attempts. Nil: nothing.
	Resumed *Resumed `json:"resumed,omitempty"`
	// ConsolidatedFrom are the ids of the chain that this backup was made of, newest first.
	ConsolidatedFrom []string `json:"consolidated_from,omitempty"`
}

// Amount is a number of files and their bytes.
type Amount struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// PageCounts are pages of tablespaces.
type PageCounts struct {
	Examined int64 `json:"examined"`
	Changed  int64 `json:"changed"` // and stored
}

// Resumed is what a backup has taken over of interrupted attempts.
type Resumed struct {
	IDs []string `json:"ids"` // of the attempts, newest first
	Amount
}

// amount is how much that is, nil of nothing.
func (r *Resumed) amount() *Amount {
	if r == nil {
		return nil
	}
	return &r.Amount
}

// Resumable is what is kept of a failed attempt.
type Resumable struct {
	Bytes int64     `json:"bytes"` // of files that are stored
	Until time.Time `json:"until"`
}

// RedoMeasures are about the redo log, in bytes.
type RedoMeasures struct {
	RedoBytes      int64 `json:"redo_bytes"`    // from the checkpoint to the end
	RedoCapacity   int64 `json:"redo_capacity"` // as Redo.Capacity
	LowestHeadroom int64 `json:"headroom_low"`  // as Redo.LowestHeadroom
}

// measures returns what the history keeps of the log.
func (r *Redo) measures() RedoMeasures {
	return RedoMeasures{
		RedoBytes: int64(r.End - min(r.End, r.Checkpoint.LSN)), RedoCapacity: r.Capacity, LowestHeadroom: r.LowestHeadroom,
	}
}

// Late is what had to be copied, or copied again, while the server was locked.
type Late struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
}

// DDL is what happened to tables and databases during a backup, as far as their
// files and the redo show it.
type DDL struct {
	Created   int `json:"created"`
	Dropped   int `json:"dropped"`
	Renamed   int `json:"renamed"`
	Rebuilt   int `json:"rebuilt"`   // their rows are in new files: ALTER, OPTIMIZE, TRUNCATE
	Altered   int `json:"altered"`   // the definition only
	Transient int `json:"transient"` // InnoDB tables made and dropped within the backup

	Events []DDLEvent `json:"events"` // the first 100, in the order of their names
}

// Kinds of a DDLEvent.
const (
	DDLCreated   = "created"
	DDLDropped   = "dropped"
	DDLRenamed   = "renamed"
	DDLRebuilt   = "rebuilt"
	DDLAltered   = "altered"
	DDLTransient = "transient"
)

// DDLEvent is one table or database to which something happened.
type DDLEvent struct {
	Kind     string `json:"kind"` // DDLCreated ...
	Database string `json:"database"`
	Name     string `json:"name"`           // "" for a database
	From     string `json:"from,omitempty"` // of a renamed table: "database.name" before
}

// maxEvents bounds DDL.Events.
const maxEvents = 100

// NewDDL counts events, and keeps the first of them.
func NewDDL(events []DDLEvent) DDL {
	events = slices.Clone(events)
	slices.SortFunc(events, func(a, b DDLEvent) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	d := DDL{Events: events[:min(len(events), maxEvents)]}
	counts := map[string]*int{
		DDLCreated: &d.Created, DDLDropped: &d.Dropped, DDLRenamed: &d.Renamed,
		DDLRebuilt: &d.Rebuilt, DDLAltered: &d.Altered, DDLTransient: &d.Transient,
	}
	for _, e := range events {
		if n := counts[e.Kind]; n != nil {
			*n++
		}
	}
	return d
}

// Total is how many events there were.
func (d DDL) Total() int {
	return d.Created + d.Dropped + d.Renamed + d.Rebuilt + d.Altered + d.Transient
}
