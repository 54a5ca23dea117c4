package repo

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
	"mbk/internal/ui/printable"
)

// Latest stands for the id of the newest backup that is not known to be damaged.
const Latest = "latest"

// idTime is the time in an id.
const idTime = "20060102T150405Z"

// NewID returns the id of a backup of a kind that was started at t: ids sort by
// time.
func NewID(t time.Time, kind string) string {
	return t.UTC().Format(idTime) + "-" + kind
}

// Folder returns the name of the folder of a backup's objects.
func Folder(id string) string { return backupsPrefix + id }

// labelName returns the name of a backup's label.
func labelName(id string) string { return Folder(id) + "/" + labelBase }

// manifestName returns the name of a backup's manifest.
func manifestName(id string) string { return Folder(id) + "/" + manifestBase }

// ParseID takes an id apart.
func ParseID(id string) (started time.Time, kind string, err error) {
	stamp, kind, _ := strings.Cut(id, "-")
	started, err = time.Parse(idTime, stamp)
	// Formatting again refuses what time.Parse tolerates, as fractions of a second.
	if err != nil || !plainKind(kind) || NewID(started, kind) != id {
		return time.Time{}, "", fmt.Errorf("%q is not the id of a backup", id)
	}
	return started, kind, nil
}

func plainKind(kind string) bool {
	return len(kind) >= 2 && len(kind) <= 20 &&
		!slices.ContainsFunc([]byte(kind), func(c byte) bool { return c < 'a' || c > 'z' })
}

// FreshID returns NewID of the first second from t on in which nothing on record was started,
// so that ids sort by time whatever their kinds are.
func (r *Repository) FreshID(ctx context.Context, t time.Time, kind string) (string, error) {
	for ; ; t = t.Add(time.Second) {
		second := NewID(t, "")
		data, err := r.st.List(ctx, Folder(second))
		if err != nil {
			return "", fmt.Errorf("find a free id: %w", err)
		}
		past, err := r.st.List(ctx, historyPrefix+second)
		if err != nil {
			return "", fmt.Errorf("find a free id: %w", err)
		}
		if len(data)+len(past) == 0 {
			return NewID(t, kind), nil
		}
	}
}

// UnknownError is returned when no backup or attempt, or more than one, goes by an
// id.
type UnknownError struct {
	Where   string   // the repository
	What    string   // what was looked for: "backup" or "attempt"
	ID      string   // as asked for
	Matches []string // the ids that it abbreviates, if there are several
	Have    []string // all ids, newest first
	Failed  string   // the error of the failed attempt that has this id, if there is one
}

// Error lists what there is.
func (e *UnknownError) Error() string {
	switch {
	case e.Failed != "":
		return fmt.Sprintf("no backup %q in %s: that attempt failed: %s", e.ID, e.Where, e.Failed)
	case len(e.Matches) > 0:
		return fmt.Sprintf("%q stands for %d %ss in %s: %s", e.ID, len(e.Matches), e.What, e.Where, printable.List(e.Matches))
	case len(e.Have) == 0:
		return fmt.Sprintf("no %s in %s", e.What, e.Where)
	}
	return fmt.Sprintf("no %s %q in %s; there are %s", e.What, e.ID, e.Where, printable.List(e.Have))
}

// Fault says that another name is to be given.
func (e *UnknownError) Fault() fault.Kind { return fault.Config }

// Hints says where the names are to be found.
func (e *UnknownError) Hints() []hint.Text {
	switch {
	case len(e.Matches) > 1:
		return []hint.Text{`give more of the id, or its time, such as 12:29, or "latest"`}
	case len(e.Have) == 0:
		return []hint.Text{"check " + hint.Option("repo") + `; "mbk backup" makes the first backup`}
	case e.What == "attempt":
		return []hint.Text{`"mbk history" names all attempts; "latest" is the newest`}
	}
	return []hint.Text{`"mbk list" names all backups; "latest" is the newest`}
}

// Resolve returns the id of the backup that is meant: an id, the beginning of just one, the
// time of just one, or Latest for the newest that no verification has found damaged, or of
// damaged ones only the newest; Latest and "~1" is the one before that. The error is an
// *UnknownError if there is none.
func (r *Repository) Resolve(ctx context.Context, idOrLatest string) (string, error) {
	if before, ok := beforeLatest(idOrLatest); ok {
		good, damaged, err := r.latest(ctx)
		if err != nil {
			return "", err
		}
		if all := append(good, damaged...); before < len(all) {
			return all[before], nil
		}
	}
	have, err := r.IDs(ctx)
	if err != nil {
		return "", err
	}
	slices.Reverse(have)
	unknown := &UnknownError{Where: r.String(), What: "backup", ID: idOrLatest, Have: have}
	id, err := choose(have, unknown)
	if err == nil {
		return id, nil
	}
	if _, _, err := ParseID(idOrLatest); err == nil {
		if a, err := r.attempt(ctx, idOrLatest); err == nil && a.Outcome != OutcomeOK {
			unknown.Failed = cmp.Or(a.Error, a.Outcome)
		}
	}
	return "", unknown
}

// beforeLatest parses Latest, and Latest~N for the N-th one before it.
func beforeLatest(id string) (n int, ok bool) {
	rest, found := strings.CutPrefix(id, Latest)
	if !found || rest == "" {
		return 0, found
	}
	digits, found := strings.CutPrefix(rest, "~")
	n, err := strconv.Atoi(digits)
	return n, found && err == nil && n >= 0
}

// timeOfDay finds a time without a day: 1229 or 122900 as ids have it, in UTC, and 12:29 as
// lists have it, in local time.
var timeOfDay = regexp.MustCompile(`^T?([0-2][0-9][0-5][0-9](?:[0-5][0-9])?)Z?$|^([0-2][0-9]:[0-5][0-9])$`)

// atTime reports whether an id is of a backup that was started at a time without a day.
func atTime(id, text string) bool {
	m := timeOfDay.FindStringSubmatch(text)
	started, _, err := ParseID(id)
	switch {
	case m == nil || err != nil:
		return false
	case m[2] != "":
		return started.Local().Format("15:04") == m[2]
	}
	return strings.HasPrefix(started.Format("150405"), m[1])
}

// choose returns the one id that unknown.ID is, or begins, or the time of which it is; else
// it completes the error and returns that.
func choose(have []string, unknown *UnknownError) (string, error) {
	if slices.Contains(have, unknown.ID) {
		return unknown.ID, nil
	}
	for _, id := range have {
		if unknown.ID != "" && strings.HasPrefix(id, unknown.ID) {
			unknown.Matches = append(unknown.Matches, id)
		}
	}
	if len(unknown.Matches) == 0 {
		for _, id := range have {
			if atTime(id, unknown.ID) {
				unknown.Matches = append(unknown.Matches, id)
			}
		}
	}
	if len(unknown.Matches) == 1 {
		return unknown.Matches[0], nil
	}
	return "", unknown
}

// IDs returns the ids of all backups, oldest first. What lies in a folder that cannot
// be looked into counts as one.
func (r *Repository) IDs(ctx context.Context) ([]string, error) {
	folders, err := r.folders(ctx)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, f := range folders {
		if f.whole || f.err != nil {
			ids = append(ids, f.id)
		}
	}
	return ids, nil
}

// stored is what lies under one id.
type stored struct {
	id      string
	whole   bool // has a label
	objects []store.Object
	err     error // why it cannot be looked into, nil if it can
}

// folders returns what lies under backups/, oldest first. What has not the name
// of a backup is not ours and left out.
func (r *Repository) folders(ctx context.Context) ([]stored, error) {
	list, err := r.st.List(ctx, backupsPrefix)
	if err != nil {
		return nil, fmt.Errorf("list backups of %s: %w", r, err)
	}
	byID := map[string]*stored{}
	for _, o := range list {
		id, base, ok := strings.Cut(strings.TrimPrefix(o.Name, backupsPrefix), "/")
		if _, _, err := ParseID(id); err != nil || !ok && o.Err == nil {
			continue
		}
		f := byID[id]
		if f == nil {
			f = &stored{id: id}
			byID[id] = f
		}
		if o.Err != nil && !ok {
			f.err = o.Err
			continue
		}
		f.objects = append(f.objects, o)
		f.whole = f.whole || base == labelBase
	}
	folders := make([]stored, 0, len(byID))
	for _, f := range byID {
		folders = append(folders, *f)
	}
	slices.SortFunc(folders, func(a, b stored) int { return cmp.Compare(a.id, b.id) })
	return folders, nil
}
