package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"mbk/copier/pack"
	"mbk/internal/binlog"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
	"mbk/internal/sys/buffer"
)

// archiveLock keeps those who write the archive apart. Backups are made meanwhile.
const archiveLock = "archive"

// ErrArchived is returned by OpenArchive while another process writes the archive.
var ErrArchived = fault.New(fault.Busy, "the binary log is being archived into this repository already")

// Archive is the archive of a repository, as it is written: segments are added at the end of the
// newest timeline, or of a new one. It holds a lock for that. It is used by one goroutine.
type Archive struct {
	r        *Repository
	lock     store.Lock
	timeline *Timeline // the newest; nil: there is none
	last     *Segment  // of that; nil: it has none
}

// OpenArchive takes the lock of the archive and finds its end. If the repository was not
// written yet it is now. The caller calls Close. Errors: ErrArchived; ErrDamaged if the end of the
// archive cannot be read.
func (r *Repository) OpenArchive(ctx context.Context) (*Archive, error) {
	if r.New() || r.Encrypted() { // reads the recipients as they are
		release, err := r.Lock(ctx)
		if _, held := errors.AsType[*store.LockedError](err); held && !r.New() {
			err = r.readRecipients(ctx) // a backup is under way
		} else if err == nil {
			err = release()
		}
		if err != nil {
			return nil, err
		}
	}
	a, err := r.lockArchive(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.findEnd(ctx); err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return a, nil
}

// lockArchive takes the lock of the archive.
func (r *Repository) lockArchive(ctx context.Context) (*Archive, error) {
	lock, err := r.st.Lock(ctx, archiveLock, r.lockOwner())
	if held, ok := errors.AsType[*store.LockedError](err); ok {
		return nil, hint.Wrap(fmt.Errorf("archive into %s: %w, %w", r, ErrArchived, held),
			"one mbk archive follows a server: end the other one, or leave it to that")
	}
	if err != nil {
		return nil, fmt.Errorf("lock the archive in %s: %w", r, err)
	}
	return &Archive{r: r, lock: lock}, nil
}

// Close gives the lock back.
func (a *Archive) Close() error { return a.lock.Release() }

// Lost is closed when the lock is lost; it is nil if it cannot be.
func (a *Archive) Lost() <-chan struct{} { return a.lock.Lost() }

// End returns the newest timeline and its last segment, nil for none. Nobody may change them.
func (a *Archive) End() (*Timeline, *Segment) { return a.timeline, a.last }

// findEnd reads the newest timeline and its last segment.
func (a *Archive) findEnd(ctx context.Context) error {
	if _, err := a.r.st.SweepTemp(ctx, binlogPrefix); err != nil {
		a.r.warn(err)
	}
	all, err := a.r.Timelines(ctx)
	if err != nil || len(all) == 0 {
		return err
	}
	newest := all[len(all)-1]
	if newest.Err != nil {
		return newest.Err
	}
	a.timeline = &newest.Timeline
	if n := len(newest.Segments); n > 0 {
		a.last, err = a.r.Segment(ctx, newest.ID, newest.Segments[n-1].Number)
	}
	return err
}

// Begin begins a new timeline, and sets what it has of its own: id, time, the timeline before.
func (a *Archive) Begin(ctx context.Context, t Timeline) error {
	t.FormatVersion, t.Created = FormatVersion, time.Now().UTC().Truncate(time.Second)
	if a.timeline != nil {
		t.Previous, t.Reached = a.timeline.ID, a.timeline.Start
		if a.last != nil {
			t.Reached = a.last.After
		}
	}
	began := t.Created
	for t.ID = NewTimelineID(began, t.ServerID); a.timeline != nil && t.ID[:len(idTime)] <= a.timeline.ID[:len(idTime)]; {
		began = began.Add(time.Second) // ids sort by time, whatever a clock says
		t.ID = NewTimelineID(began, t.ServerID)
	}
	if err := t.Validate(); err != nil {
		return err
	}
	b, err := seal(t)
	if err != nil {
		return err
	}
	if err := a.put(ctx, timelineFolder(t.ID)+timelineBase, writing(b)); err != nil {
		return fmt.Errorf("begin the timeline %s: %w", t.ID, err)
	}
	a.timeline, a.last = &t, nil
	return nil
}

// put writes an object while the lock is held.
func (a *Archive) put(ctx context.Context, name string, write func(io.Writer) error) error {
	if err := a.lock.Confirm(ctx); err != nil {
		return err
	}
	return a.r.st.Put(ctx, name, func(w io.Writer) error {
		if err := write(w); err != nil {
			return err
		}
		return a.lock.Check() // before the object gets its name
	})
}

// spooled is how many bytes of a stored segment are kept in memory.
const spooled = 32 << 20

// Put adds a segment to the newest timeline: a file of the binary log. s says what is in it, and
// gets what is known by storing it. When Put returns nil the segment is durable.
func (a *Archive) Put(ctx context.Context, s *Segment, raw *buffer.Buffer) error {
	s.FormatVersion, s.Timeline, s.Number, s.Previous = FormatVersion, a.timeline.ID, 1, ""
	before := a.timeline.Start
	if a.last != nil {
		s.Number, s.Previous, before = a.last.Number+1, a.last.Hash, a.last.After
	}
	if s.Before != before {
		return fmt.Errorf("archive: a segment from %s on, after one that ends at %s", placeOf(s.Before), placeOf(before))
	}
	if err := a.followRecipients(ctx); err != nil {
		return err
	}
	s.Written = time.Now().UTC().Truncate(time.Millisecond)
	return a.write(ctx, s, raw)
}

// write stores a segment of which all is known but how it is stored.
func (a *Archive) write(ctx context.Context, s *Segment, raw *buffer.Buffer) error {
	body := buffer.New("", spooled)
	defer body.Reset()
	if err := a.compress(s, raw, body); err != nil {
		return fmt.Errorf("archive segment %d of %s: %w", s.Number, s.Timeline, err)
	}
	head, err := s.encode()
	if err != nil {
		return err
	}
	err = a.put(ctx, s.Name(), func(w io.Writer) error {
		if _, err := w.Write(head); err != nil {
			return err
		}
		_, err := body.WriteTo(w)
		return err
	})
	if err != nil {
		return fmt.Errorf("write %s: %w", s.Name(), err)
	}
	a.last = s
	return nil
}

// followRecipients reads to whom an encrypted repository is encrypted now: an archive is written
// for months.
func (a *Archive) followRecipients(ctx context.Context) error {
	if !a.r.Encrypted() {
		return nil
	}
	a.r.keying.Lock()
	defer a.r.keying.Unlock()
	return a.r.readRecipients(ctx)
}

// compress makes the body of a segment, encrypted in an encrypted repository.
func (a *Archive) compress(s *Segment, raw, body *buffer.Buffer) error {
	h := newHash()
	to := io.MultiWriter(body, h)
	write := func(w io.Writer) error {
		c, err := pack.NewCompressor(w)
		if err != nil {
			return err
		}
		_, err = raw.WriteTo(c)
		return errors.Join(err, c.Close())
	}
	s.Key = ""
	var err error
	if keys := a.r.config.HistoryKeys; a.r.Encrypted() {
		if len(keys) == 0 {
			return fmt.Errorf("%s has no key for the archive: %w", configName, ErrDamaged)
		}
		s.Key = keys[len(keys)-1].Recipient
		_, err = agefile.EncryptStream(s.Key, to, write)
	} else {
		err = write(to)
	}
	s.Raw, s.Bytes, s.BodyBLAKE3 = raw.Len(), body.Len(), hex.EncodeToString(h.Sum(nil))
	return err
}

// PruneArchive removes the segments of the archive that no backup needs: those that were stored
// before the oldest backup began, since a restore reads what was committed after that. Of each
// timeline the oldest go first, and the end of the archive stays. A timeline of which nothing
// is left goes, too. It returns the names of what was removed, or with dryRun would be. The lock of
// the repository must be held, unless dryRun is set.
func (r *Repository) PruneArchive(ctx context.Context, oldest time.Time, dryRun bool) (removed []string, err error) {
	if oldest.IsZero() {
		return nil, nil
	}
	all, err := r.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		names, err := r.prunable(ctx, &all[i], oldest, i == len(all)-1)
		if err != nil {
			return removed, err
		}
		for _, name := range names {
			if !dryRun {
				if err := r.CheckLock(); err != nil {
					return removed, err
				}
				if err := r.st.Delete(ctx, name); err != nil {
					return removed, fmt.Errorf("remove %s: %w", name, err)
				}
			}
			removed = append(removed, name)
		}
	}
	return removed, nil
}

// prunable returns the names of the objects of a timeline that nobody needs, in the order in
// which they go.
func (r *Repository) prunable(ctx context.Context, t *StoredTimeline, oldest time.Time, newest bool) ([]string, error) {
	if t.Err != nil {
		return nil, nil // what it is worth is not known
	}
	n, whole, err := r.expired(ctx, t, oldest, newest)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range t.Segments[:n] {
		names = append(names, segmentName(t.ID, s.Number))
	}
	if whole && t.Marked {
		names = append(names, timelineFolder(t.ID)+currentBase)
	}
	if whole {
		names = append(names, timelineFolder(t.ID)+timelineBase)
	}
	return names, nil
}

// expired returns how many of the first segments of a timeline nobody needs, and whether that is so
// of the timeline itself.
func (r *Repository) expired(ctx context.Context, t *StoredTimeline, oldest time.Time, newest bool) (
	n int, whole bool, err error,
) {
	// Segments are stored in their order: the first one that is needed is found by halves.
	var failed error
	n, _ = slices.BinarySearchFunc(t.Segments, oldest, func(s StoredSegment, oldest time.Time) int {
		head, err := r.Segment(ctx, t.ID, s.Number)
		if err != nil {
			failed = err
			return 1
		}
		if head.Written.Before(oldest) {
			return -1
		}
		return 1
	})
	if failed != nil && !lost(failed) {
		return 0, false, failed
	}
	if newest {
		n = min(n, len(t.Segments)-1)
	}
	return max(n, 0), !newest && n == len(t.Segments) && failed == nil && t.Created.Before(oldest), nil
}

// EndOf returns the position at which a timeline ends. Errors are those of Segment.
func (r *Repository) EndOf(ctx context.Context, t *StoredTimeline) (binlog.Position, *Segment, error) {
	if len(t.Segments) == 0 {
		p, err := binlog.ParsePosition(t.Start)
		return p, nil, err
	}
	s, err := r.Segment(ctx, t.ID, t.Segments[len(t.Segments)-1].Number)
	if err != nil {
		return nil, nil, err
	}
	p, err := binlog.ParsePosition(s.After)
	return p, s, err
}
