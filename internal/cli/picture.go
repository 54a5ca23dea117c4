package cli

import (
	"context"
	"strings"
	"time"

	"mbk/internal/moment"
	"mbk/internal/picture"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

// pictureOf collects what the pictures of a repository show of these attempts.
func pictureOf(ctx context.Context, r *repo.Repository, attempts []historyAttempt, u *ui.UI) (*picture.History, error) {
	h := &picture.History{Repository: r.String(), Made: time.Now(), Tool: tool()}
	list, err := r.ListLabels(ctx)
	if err != nil {
		return nil, err
	}
	backups := map[string]*repo.Summary{}
	for i := range list {
		backups[list[i].ID] = &list[i]
	}
	for _, a := range attempts {
		one := picture.Attempt{Attempt: a.Attempt, Kept: a.Kept}
		if b := backups[a.ID]; b != nil {
			one.Verified, one.Damaged, one.Pinned = b.Verified, b.KnownDamaged(), b.Pin != nil
		}
		h.Attempts = append(h.Attempts, one)
	}
	drills, err := r.Drills(ctx)
	if err != nil {
		return nil, err
	}
	for i := range drills {
		v := &drills[i]
		h.Drills = append(h.Drills, picture.Drill{Time: v.Time, OK: v.OK,
			Recovery: time.Duration(v.Drill.RecoveryMS) * time.Millisecond,
			Age:      time.Duration(v.Drill.Point.AgeMS) * time.Millisecond})
	}
	if err := addReach(ctx, r, h, u); err != nil {
		return nil, err
	}
	space, err := r.Space(ctx)
	if err != nil {
		return nil, err
	}
	if space.Known {
		h.Space = &picture.Space{Free: space.Free, Total: space.Total}
	}
	return h, nil
}

// addReach adds what the archive of binary logs reaches. In an encrypted repository only an
// identity tells that.
func addReach(ctx context.Context, r *repo.Repository, h *picture.History, u *ui.UI) error {
	timelines, err := r.Timelines(ctx)
	if err != nil || len(timelines) == 0 {
		return err
	}
	for i := range timelines {
		h.Archive += timelines[i].Bytes
	}
	backups, _, err := moment.Backups(ctx, r)
	var points *moment.Points
	if err == nil {
		points, err = moment.Reachable(ctx, r, backups)
	}
	if repo.Concealed(err) {
		u.Note("what the archive reaches is encrypted: it can be drawn with an identity")
		return nil
	}
	if err != nil {
		return err
	}
	for _, s := range points.Spans {
		until := s.Last
		if until.Before(s.Finished) {
			until = s.Finished
		}
		h.Spans = append(h.Spans, picture.Span{Backup: s.Backup, From: s.Finished, Until: until})
	}
	for _, g := range points.Gaps {
		h.Gaps = append(h.Gaps, picture.Gap{Missing: g.Missing, From: g.From, Until: g.To})
	}
	return nil
}

// showsUnicode reports whether the locale shows more than ASCII.
func showsUnicode(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := getenv(name); locale != "" {
			return strings.Contains(strings.ReplaceAll(strings.ToLower(locale), "-", ""), "utf8")
		}
	}
	return false
}
