package repo

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/sys/buffer"
)

// ImportedArchive says what ImportArchive did, or would do.
type ImportedArchive struct {
	Segments int   `json:"segments"` // of the archive, that were not there
	Bytes    int64 `json:"bytes"`    // of these, as the other repository stores them
	// Missing says where segments are missing between those that are there and the new ones: they have
	// expired in the other repository before they were copied.
	Missing []string `json:"missing"`
}

// ErrOtherArchive is returned by ImportArchive if this repository has another archive than that of
// the other one.
var ErrOtherArchive = fault.New(fault.Config, "it is not that of the archive to be copied")

// importingArchive is an archive that is being copied.
type importingArchive struct {
	from   *Repository
	to     *Archive // whose lock is nil in a dry run
	dryRun bool
	count  func(int64)
	done   ImportedArchive
}

// ImportArchive makes the archive of binary logs of another repository one of this one: the
// segments that backups of this repository need, and that are not there. Each is compared with
// its head and with the one before it. They are copied byte for byte, with the keys to them sealed to the
// recipients of this repository, which takes an identity if these differ. If this repository is
// encrypted and the other one is not, they are encrypted on the way. The lock of
// this repository must be held, unless dryRun is set.
//
// Errors: ErrArchived, ErrOtherArchive, ErrWouldExpose, damage of the other repository.
func (r *Repository) ImportArchive(
	ctx context.Context, from *Repository, dryRun bool, onBytes func(int64),
) (ImportedArchive, error) {
	x := &importingArchive{from: from, to: &Archive{r: r}, dryRun: dryRun, count: onBytes,
		done: ImportedArchive{Missing: []string{}}}
	all, err := from.Timelines(ctx)
	if err == nil && len(all) > 0 {
		err = x.run(ctx, all)
	}
	if err != nil {
		err = fmt.Errorf("copy the archive from %s to %s: %w", from, r, err)
	}
	return x.done, err
}

func (x *importingArchive) run(ctx context.Context, all []StoredTimeline) error {
	r := x.to.r
	if err := r.WouldTake(x.from); err != nil {
		return err
	}
	oldest, err := r.oldestBackup(ctx)
	if err != nil {
		return err
	}
	if !x.dryRun {
		if x.to, err = r.lockArchive(ctx); err != nil {
			return err
		}
		defer x.to.Close() //nolint:errcheck // it ends with the process
		if err := x.keys(ctx); err != nil {
			return err
		}
	}
	there, err := r.Timelines(ctx)
	if err != nil && !(r.New() && x.dryRun) {
		return err
	}
	for i := range all {
		first, whole, err := x.from.expired(ctx, &all[i], oldest, i == len(all)-1)
		if err == nil {
			err = all[i].Err
		}
		if err == nil && !whole {
			err = x.timeline(ctx, &all[i], all[i].Segments[first:], there)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// oldestBackup returns when the oldest backup began, zero if there is none.
func (r *Repository) oldestBackup(ctx context.Context) (oldest time.Time, err error) {
	if r.New() {
		return oldest, nil
	}
	ids, err := r.IDs(ctx)
	if err != nil || len(ids) == 0 {
		return oldest, err
	}
	return time.Parse(idTime, ids[0][:len(idTime)])
}

// keys adds the keys to the segments of the other repository.
func (x *importingArchive) keys(ctx context.Context) error {
	r, from := x.to.r, x.from
	if !from.Encrypted() {
		return nil
	}
	to, err := r.recipients()
	if err != nil {
		return err
	}
	var keys []HistoryKey
	for _, k := range from.config.HistoryKeys {
		known := slices.ContainsFunc(r.config.HistoryKeys, func(own HistoryKey) bool { return own.Recipient == k.Recipient })
		if known {
			continue
		}
		if !sameTexts(from.config.Recipients, r.config.Recipients) {
			key, err := from.archiveKey(ctx, k.Recipient)
			if err == nil {
				k.Sealed, err = key.Seal(to)
			}
			if err != nil {
				return err
			}
		}
		keys = append(keys, k)
	}
	return r.addHistoryKeys(ctx, keys)
}

// timeline copies a timeline, and those of some segments of it that are not there.
func (x *importingArchive) timeline(
	ctx context.Context, t *StoredTimeline, segments []StoredSegment, there []StoredTimeline,
) error {
	r := x.to.r
	i := slices.IndexFunc(there, func(own StoredTimeline) bool { return own.ID == t.ID })
	x.to.timeline, x.to.last = &t.Timeline, nil
	if i >= 0 {
		if err := x.same(ctx, t, &there[i]); err != nil {
			return err
		}
		if n := len(there[i].Segments); n > 0 {
			last := there[i].Segments[n-1].Number
			segments = slices.DeleteFunc(slices.Clone(segments), func(s StoredSegment) bool { return s.Number <= last })
		}
	} else if !x.dryRun {
		b, err := seal(t.Timeline)
		if err == nil {
			err = x.to.put(ctx, timelineFolder(t.ID)+timelineBase, writing(b))
		}
		if err != nil {
			return err
		}
	}
	if last := x.to.last; last != nil && len(segments) > 0 && segments[0].Number != last.Number+1 {
		x.done.Missing = append(x.done.Missing, fmt.Sprintf("segments %d to %d of the timeline %s had expired in %s: "+
			"no restore in %s leads from before them to after them", last.Number+1, segments[0].Number-1, t.ID, x.from, r))
	}
	for _, s := range segments {
		x.done.Segments++
		x.done.Bytes += s.Bytes
		if x.dryRun {
			continue
		}
		if err := x.segment(ctx, t.ID, s.Number); err != nil {
			return err
		}
	}
	return nil
}

// same compares a timeline with the one of this id that is there, and its last segment.
func (x *importingArchive) same(ctx context.Context, t, own *StoredTimeline) error {
	other := func(name string) error {
		return hint.Wrap(fmt.Errorf("%s in %s: %w", name, x.to.r, ErrOtherArchive),
			"copy into a repository that has only copies of this one")
	}
	if own.Err != nil {
		return own.Err
	}
	if own.Start != t.Start || own.Reason != t.Reason || !own.Created.Equal(t.Created) {
		return other(timelineFolder(t.ID) + timelineBase)
	}
	if len(own.Segments) == 0 {
		return nil
	}
	number := own.Segments[len(own.Segments)-1].Number
	last, err := x.to.r.Segment(ctx, t.ID, number)
	if err != nil {
		return err
	}
	x.to.last = last
	original, err := x.from.Segment(ctx, t.ID, number)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(t.Segments) > 0 && t.Segments[0].Number > number:
		return nil // it has expired there
	case errors.Is(err, fs.ErrNotExist):
		return other(last.Name()) // it goes further than what it is to be a copy of
	case err != nil:
		return err
	}
	if original.After != last.After || original.LastBLAKE3 != last.LastBLAKE3 || original.Raw != last.Raw {
		return other(last.Name())
	}
	return nil
}

// segment copies a segment.
func (x *importingArchive) segment(ctx context.Context, timeline string, number uint64) error {
	s, err := x.from.Segment(ctx, timeline, number)
	if errors.Is(err, fs.ErrNotExist) {
		return MissingSegment(timeline, number)
	}
	if err != nil {
		return err
	}
	last := x.to.last
	if last != nil && last.Number+1 == number && s.Before != last.After {
		return hint.Wrap(fmt.Errorf("segment %s does not follow %s: %w", s.Name(), last.Name(), ErrDamaged), damagedSegment)
	}
	if x.to.r.Encrypted() && s.Key == "" {
		err = x.encrypted(ctx, s)
	} else {
		if last != nil && last.Number+1 == number && last.Key == s.Key {
			err = s.Follows(last)
		}
		if err == nil {
			err = x.asItIs(ctx, s)
		}
	}
	return err
}

// asItIs copies a segment byte for byte. It does not come to be if it is not what its head says.
func (x *importingArchive) asItIs(ctx context.Context, s *Segment) error {
	err := x.to.put(ctx, s.Name(), func(w io.Writer) (err error) {
		in, err := x.from.st.Open(ctx, s.Name(), 0, -1)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, in.Close()) }()
		head := make([]byte, s.size)
		if _, err := io.ReadFull(in, head); err != nil {
			return err
		}
		if again, err := decodeHead(head, len(head)); err != nil || again.Hash != s.Hash {
			return &pack.DamageError{Object: s.Name(), Reason: "its head has changed while it was read"}
		}
		if _, err := w.Write(head); err != nil {
			return err
		}
		h := newHash()
		n, err := io.Copy(io.MultiWriter(w, h, writerFunc(x.counted)), io.LimitReader(in, s.Bytes+1))
		if err != nil {
			return err
		}
		if n != s.Bytes || hex.EncodeToString(h.Sum(nil)) != s.BodyBLAKE3 {
			return &pack.DamageError{Object: s.Name(), Reason: "it is not what its head says"}
		}
		return nil
	})
	if err == nil {
		x.to.last = s
	}
	return err
}

func (x *importingArchive) counted(p []byte) (int, error) {
	if x.count != nil {
		x.count(int64(len(p)))
	}
	return len(p), nil
}

// encrypted copies a segment that is not encrypted, and encrypts it. The chain of the copies is
// another one than that of the originals.
func (x *importingArchive) encrypted(ctx context.Context, s *Segment) error {
	body, err := x.from.OpenSegment(ctx, s)
	if err != nil {
		return err
	}
	raw := buffer.New("", spooled)
	defer raw.Reset()
	_, err = io.Copy(raw, body)
	if err := errors.Join(err, body.Close()); err != nil {
		return err
	}
	own := *s
	if last := x.to.last; last != nil && last.Number+1 == s.Number {
		own.Previous = last.Hash
	}
	if err := x.to.write(ctx, &own, raw); err != nil {
		return err
	}
	if x.count != nil {
		x.count(s.Bytes)
	}
	return nil
}
