package repo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
	"mbk/internal/ui/printable"
)

const (
	binlogPrefix = "binlog/"
	timelineBase = "timeline.json"
	maxTimeline  = 4 << 20 // bytes
)

// Reasons why a timeline begins.
const (
	ReasonFirst    = "first"    // there was none before
	ReasonPurged   = "purged"   // the server no longer had what follows the one before
	ReasonDiverged = "diverged" // the server's log did not contain where the one before ends
	ReasonIncident = "incident" // the server wrote that changes are missing in its log
	ReasonLost     = "lost"     // the files of a dead server were not all there, or not whole
)

// Timeline is one history of a server, as its binary log tells it without a gap. A new one
// begins where the log that is followed does not go on where the last one ends.
type Timeline struct {
	FormatVersion int       `json:"format_version"`
	ID            string    `json:"id"` // "20261130T170000Z-1": when it began, and the server's id
	Created       time.Time `json:"created"`
	Tool          string    `json:"tool"` // "mbk 0.1.0"
	ServerID      uint32    `json:"server_id"`
	Start         string    `json:"start"`  // GTIDs of the last transactions before it, one of each domain
	Reason        string    `json:"reason"` // why it began: ReasonFirst, ReasonPurged, ...
	// Previous is the id of the timeline before, and Reached where that ends; "" if it is the first.
	Previous string `json:"previous,omitempty"`
	Reached  string `json:"reached,omitempty"`
}

// Gap reports whether something may be missing between the timeline before and this one.
func (t *Timeline) Gap() bool { return t.Reason != ReasonFirst }

// Missing says, in a sentence, what lies between the timeline before and this one; "" if that is
// nothing.
func (t *Timeline) Missing() string {
	switch t.Reason {
	case ReasonPurged:
		return fmt.Sprintf("the server had purged its binary log: what was committed after %s up to %s is missing",
			placeOf(t.Reached), placeOf(t.Start))
	case ReasonDiverged:
		return fmt.Sprintf("the server's binary log does not contain %s, with which the timeline %s ends: "+
			"it is of another history, which begins after %s", placeOf(t.Reached), t.Previous, placeOf(t.Start))
	case ReasonLost:
		return fmt.Sprintf("the files of the server's log are not whole: what was committed after %s up to %s is missing",
			placeOf(t.Reached), placeOf(t.Start))
	case ReasonIncident:
		return fmt.Sprintf("the server wrote that changes after %s are missing in its binary log", placeOf(t.Start))
	}
	return ""
}

// placeOf formats a position.
func placeOf(position string) string {
	if position == "" {
		return "the beginning of the log"
	}
	return "GTID " + position
}

// timelineFolder returns what the names of all objects of a timeline begin with.
func timelineFolder(id string) string { return binlogPrefix + id + "/" }

// NewTimelineID returns the id of a timeline that begins at t. Ids sort by time.
func NewTimelineID(t time.Time, server uint32) string {
	return t.UTC().Format(idTime) + "-" + strconv.FormatUint(uint64(server), 10)
}

// checkTimelineID returns an error unless id is that of a timeline.
func checkTimelineID(id string) error {
	stamp, server, _ := strings.Cut(id, "-")
	began, err := time.Parse(idTime, stamp)
	n, err2 := strconv.ParseUint(server, 10, 32)
	if err != nil || err2 != nil || NewTimelineID(began, uint32(n)) != id {
		return fmt.Errorf("%.100q is not the id of a timeline", id)
	}
	return nil
}

// Validate checks that a timeline hangs together.
func (t *Timeline) Validate() error {
	if err := checkFormat(t.FormatVersion); err != nil {
		return err
	}
	_, err1 := binlog.ParsePosition(t.Start)
	_, err2 := binlog.ParsePosition(t.Reached)
	if err := errors.Join(checkTimelineID(t.ID), err1, err2); err != nil {
		return fmt.Errorf("timeline: %w", err)
	}
	if (t.Previous == "") != (t.Reason == ReasonFirst) {
		return fmt.Errorf("timeline %s: reason %.50q after the timeline %.100q", t.ID, t.Reason, t.Previous)
	}
	if t.Previous != "" {
		if err := checkTimelineID(t.Previous); err != nil || t.Previous >= t.ID {
			return fmt.Errorf("timeline %s: after the timeline %.100q", t.ID, t.Previous)
		}
	}
	if !slices.Contains([]string{ReasonFirst, ReasonPurged, ReasonDiverged, ReasonIncident, ReasonLost}, t.Reason) {
		return fmt.Errorf("timeline %s: unknown reason %.50q", t.ID, t.Reason)
	}
	if t.Created.IsZero() || len(t.Tool) > 200 || printable.Text(t.Tool) != t.Tool {
		return fmt.Errorf("timeline %s: created %s by %.200q", t.ID, t.Created, t.Tool)
	}
	return nil
}

// StoredTimeline is a timeline with what a listing says of its segments.
type StoredTimeline struct {
	Timeline
	Segments []StoredSegment // in their order; the first ones may have expired
	Marked   bool            // there is an object that Archive.Mark has written
	Bytes    int64           // of all segments
	Err      error           // why the timeline cannot be read; nil if it can
}

// StoredSegment is what a listing says of a segment.
type StoredSegment struct {
	Number uint64
	Bytes  int64

	// Of a log that is not in a repository, but in a server's own files: the name of the file that it is, and the
	// position at its beginning. "" and nil if only the head of the segment says that.
	File   string
	Before binlog.Position
}

// Timelines lists the timelines in a repository, the oldest first. One that is damaged is in the
// list, with its Err. The error is that of a store that cannot list them.
func (r *Repository) Timelines(ctx context.Context) ([]StoredTimeline, error) {
	list, err := r.st.List(ctx, binlogPrefix)
	if err != nil {
		return nil, fmt.Errorf("list the archive in %s: %w", r, err)
	}
	var all []StoredTimeline
	for _, o := range list {
		if o.Err != nil {
			return nil, fmt.Errorf("list the archive in %s: %w", r, o.Err)
		}
		id, base, _ := strings.Cut(strings.TrimPrefix(o.Name, binlogPrefix), "/")
		if checkTimelineID(id) != nil {
			continue
		}
		if len(all) == 0 || all[len(all)-1].ID != id {
			all = append(all, StoredTimeline{Timeline: Timeline{ID: id}})
		}
		t := &all[len(all)-1]
		if number, ok := segmentNumber(base); ok {
			t.Segments = append(t.Segments, StoredSegment{Number: number, Bytes: o.Size})
			t.Bytes += o.Size
		}
		t.Marked = t.Marked || base == currentBase
	}
	// Ids sort by time, but those of one second by the digits of the server's id.
	for i := range all {
		t, err := r.timeline(ctx, all[i].ID)
		switch {
		case err == nil:
			all[i].Timeline = *t
		case lost(err) || errors.Is(err, ErrNewerFormat):
			all[i].Err = err
		default:
			return nil, err
		}
	}
	return all, nil
}

// timeline reads a timeline. Errors: ErrDamaged, also if it is missing, and ErrNewerFormat.
func (r *Repository) timeline(ctx context.Context, id string) (*Timeline, error) {
	name := timelineFolder(id) + timelineBase
	b, err := store.ReadAll(ctx, r.st, name, maxTimeline)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing: %w", name, ErrDamaged)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s in %s: %w", name, r, err)
	}
	var t Timeline
	if err = decodeSealed(b, &t); err == nil {
		if err = t.Validate(); err == nil && t.ID != id {
			err = fmt.Errorf("it is that of %s", t.ID)
		}
		if err != nil && !errors.Is(err, ErrNewerFormat) {
			err = fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, hint.Wrap(err, "bring it back from a copy of the repository"))
	}
	return &t, nil
}

// decodeSealed reads a document that seal has written. Errors: ErrDamaged, ErrNewerFormat.
func decodeSealed(b []byte, v any) error {
	sealed, err := checkSeal(b)
	if err == nil {
		err = decodeJSON(b, v) // the version first
	}
	if err != nil {
		return err
	}
	if err := checkKeys(b); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if !sealed {
		return fmt.Errorf("it has no checksum: %w", ErrDamaged)
	}
	return nil
}
