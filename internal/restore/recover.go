package restore

import (
	"context"
	"slices"

	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
	"mbk/internal/ui/meter"
)

// recover has the server make the extracted files consistent. Of a filtered backup the
// server forgets what is left out.
func (s *scratch) recover(ctx context.Context, i mariadbd.Instance, m *repo.Manifest, meter *meter.Meter) (mariadbd.Recovery, error) {
	var r mariadbd.Recovery
	m, err := fsuser.Value(s.as, func() (*repo.Manifest, error) { return s.forget(m) })
	if err != nil {
		return r, err
	}
	i.Partial = m.Filter != nil
	i.EncryptedRedo = len(m.Redo.Crypt) > 0
	meter.Begin(PhaseRecover, 0)
	r, err = i.Recover(ctx, m.LSN.End, len(m.Damaged) > 0, meter.Say)
	if err != nil {
		return r, err
	}
	meter.End()
	if err := s.as.Do(func() error { return s.forgetDataDirs(m) }); err != nil {
		return r, err
	}
	if m.Filter != nil {
		if err := s.as.Do(func() error { return s.removeSurplus(m) }); err != nil {
			return r, err
		}
	}
	o := orphans{instance: i, m: m}
	warnings, err := o.drop(ctx, meter)
	r.Warnings = append(slices.Clone(r.Warnings), warnings...)
	return r, err
}
