package repo

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ArchiveState says how far the archive of a repository goes.
type ArchiveState struct {
	Timeline   string    `json:"timeline"`   // the newest one, "" if there is no archive
	Began      time.Time `json:"began"`      // when that began
	Position   string    `json:"position"`   // the GTIDs up to which all is archived
	LastEvent  time.Time `json:"last_event"` // time of the last transaction, zero if there is none
	LastStored time.Time `json:"last_stored"`
	// Current is when it had all that the server had, or took something of it: zero if neither is known.
	Current   time.Time `json:"current"`
	Running   bool      `json:"running"` // somebody archives now
	Holder    string    `json:"holder"`  // who that is, as far as it is known
	Timelines int       `json:"timelines"`
	Segments  int       `json:"segments"` // of all timelines
	Bytes     int64     `json:"bytes"`    // of these, as they are stored
	// Gap says what may be missing before the newest timeline; "" if nothing is, or if a backup was
	// taken since: that needs nothing of what was before.
	Gap string `json:"gap"`
}

// ArchiveState looks how far the archive goes. The error is ErrDamaged if its end cannot be read.
func (r *Repository) ArchiveState(ctx context.Context) (*ArchiveState, error) {
	s := &ArchiveState{}
	var err error
	if s.Holder, err = r.st.Holder(ctx, archiveLock); err != nil {
		return nil, fmt.Errorf("repository %s: %w", r, err)
	}
	s.Running = s.Holder != ""
	all, err := r.Timelines(ctx)
	if err != nil || len(all) == 0 {
		return s, err
	}
	for i := range all {
		s.Segments += len(all[i].Segments)
		s.Bytes += all[i].Bytes
	}
	newest := &all[len(all)-1]
	s.Timelines = len(all)
	if newest.Err != nil {
		return nil, newest.Err
	}
	at, last, err := r.EndOf(ctx, newest)
	if err != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	s.Timeline, s.Began, s.Position = newest.ID, newest.Created, at.String()
	if last != nil {
		s.LastEvent, s.LastStored = last.Last, last.Written
	}
	if s.Current, err = r.marked(ctx, newest); err != nil {
		return nil, err
	}
	if s.Current.Before(s.LastStored) {
		s.Current = s.LastStored
	}
	ids, err := r.IDs(ctx)
	if err != nil {
		return nil, err
	}
	if n := len(ids); n == 0 || ids[n-1] < NewID(newest.Created, "") {
		s.Gap = newest.Missing()
	}
	return s, nil
}
