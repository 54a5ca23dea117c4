package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mbk/internal/job"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/ui"
	"mbk/internal/verify"
)

// several reports whether an option chooses the backups to verify.
func (o *verifyOptions) several() bool { return o.chooses() != "" }

// chooses is the option that chooses the backups, "" if an id does.
func (o *verifyOptions) chooses() string {
	switch {
	case o.all:
		return "all"
	case o.sample > 0:
		return "sample"
	}
	return ""
}

// verifiedDocument is what "verify --json" prints of several backups.
type verifiedDocument struct {
	Verified []*verify.Report `json:"verified"`
	Undone   []undone         `json:"undone"` // could not be carried out, without a report
}

// undone is a verification that could not be carried out.
type undone struct {
	ID    string `json:"id"`
	Error string `json:"error"`
}

// verifySeveral verifies the chosen backups one after another, whatever becomes of them. It
// returns errFindings if one is damaged, and else what kept others from being verified.
func verifySeveral(
	ctx context.Context, o *verifyOptions, p *program, owner *restore.Owner, notifications *job.Notifications,
) error {
	ids, err := o.chosen(ctx)
	if err != nil {
		return err
	}
	d, damaged, failed := verifiedDocument{Verified: []*verify.Report{}, Undone: []undone{}}, 0, error(nil)
	for _, id := range ids {
		one := *o
		one.id = id
		report, err := verifyOne(ctx, &one, p, owner, notifications)
		if isUsage(err) || ctx.Err() != nil {
			return err
		}
		found := errors.Is(err, errFindings)
		if found {
			damaged++
		}
		if report != nil {
			d.Verified = append(d.Verified, report)
		}
		if report != nil && !p.ui.JSON && (err != nil || !p.ui.Silent) {
			if err := printReport(p.ui.Stdout, report); err != nil {
				return err
			}
		}
		if err != nil && !found {
			err = fmt.Errorf("verification of %s: %w", id, err)
			d.Undone = append(d.Undone, undone{id, ui.OneLine(err.Error())})
			p.warnOf(err)
			failed = cmp.Or(failed, err)
		}
	}
	if p.ui.JSON {
		err = p.ui.Document(d)
	} else if !p.ui.Silent || damaged > 0 || failed != nil {
		_, err = fmt.Fprintf(p.ui.Stdout, "%s verified at depth %s: %d whole, %d DAMAGED, %d not carried out\n",
			ui.Count(len(ids), "backup"), o.depth, len(ids)-damaged-len(d.Undone), damaged, len(d.Undone))
	}
	if damaged > 0 {
		return errors.Join(errFindings, err)
	}
	return errors.Join(failed, err)
}

// chosen returns the ids of the backups to verify, first those that have gone longest without
// a verification of that depth.
func (o *verifyOptions) chosen(ctx context.Context) ([]string, error) {
	r, err := o.open(ctx)
	if err != nil {
		return nil, err
	}
	list, err := r.ListLabels(ctx)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, &repo.UnknownError{Where: r.String(), What: "backup"}
	}
	slices.SortStableFunc(list, func(a, b repo.Summary) int {
		return cmp.Or(o.lastVerified(&a).Compare(o.lastVerified(&b)), cmp.Compare(b.ID, a.ID))
	})
	if o.sample > 0 {
		list = list[:min(o.sample, len(list))]
	}
	var ids []string
	for i := range list {
		ids = append(ids, list[i].ID)
	}
	return ids, nil
}

// lastVerified is when a backup was verified at the depth or a greater one, zero if never.
func (o *verifyOptions) lastVerified(b *repo.Summary) time.Time {
	depths := []string{repo.DepthStored, repo.DepthPages, repo.DepthBoot}
	if v := b.Verified; v != nil && slices.Index(depths, v.Depth) >= slices.Index(depths, o.depth) {
		return v.Time
	}
	return time.Time{}
}
