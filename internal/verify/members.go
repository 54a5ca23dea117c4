package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"mbk/internal/repo"
)

// recordMembers records what the verification of a backup has shown of the others that it
// needs: damage in an object of one speaks against that one, and so against every backup
// that needs it. If the objects of one are all as they were written, and that is not what
// its own record says, that is recorded too.
func (v *verification) recordMembers(ctx context.Context) error {
	if v.chain == nil {
		return v.recordUnreadable(ctx)
	}
	found := map[string][]repo.Finding{}
	for _, f := range v.report.Findings {
		owner := v.chain.Owner(f.Object)
		found[owner] = append(found[owner], f)
	}
	var failed []error
	for _, m := range v.chain.Members()[1:] {
		findings := found[m.ID]
		if len(findings) > 0 {
			reason := several(len(findings), findings[0].Object+": "+findings[0].Problem)
			depth := repo.DepthStored
			if slices.ContainsFunc(findings, func(f repo.Finding) bool { return f.File != "" }) {
				depth = v.report.Depth
			}
			failed = append(failed, v.recordMember(ctx, m.ID, depth, findings,
				repo.Verdict{Outcome: repo.VerdictDamaged, Reason: reason}))
			continue
		}
		if len(v.report.Findings) > 0 || !v.report.CarriedOut() {
			continue
		}
		// Of this one all objects were read.
		standing, err := v.o.Repository.Standing(ctx, m.ID)
		if err == nil && standing != nil && !standing.OK && standing.Depth == repo.DepthStored {
			err = v.recordMember(ctx, m.ID, repo.DepthStored, nil, repo.Verdict{Outcome: repo.VerdictProven})
		}
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// recordUnreadable records that the manifest of another member cannot be read.
func (v *verification) recordUnreadable(ctx context.Context) error {
	if v.broken == nil || v.broken.Err == nil { // it is missing, or not the one that is needed
		return nil
	}
	return v.recordMember(ctx, v.broken.Parent, repo.DepthStored, v.report.Findings, v.report.Verdict)
}

// recordMember records a verdict on another member.
func (v *verification) recordMember(
	ctx context.Context, id, depth string, findings []repo.Finding, verdict repo.Verdict,
) error {
	r := v.report
	if findings == nil {
		findings = []repo.Finding{}
	}
	err := v.o.Repository.PutVerification(ctx, repo.Verification{
		ID: id, Depth: depth, Started: r.Started, Time: r.Finished, Tool: v.o.Tool,
		OK: verdict.Proves(), Verdict: verdict, FindingCount: len(findings), Findings: findings,
		AsOnSource: []repo.TableNote{},
	})
	if err != nil {
		err = fmt.Errorf("record what was found of backup %s, which %s needs: %w", id, r.ID, err)
	}
	return err
}
