package restore

import (
	"context"
	"fmt"
	"strings"

	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/stage"
)

// findServer looks for a mariadbd that can recover the backup and, for a restore to a
// newer series, for one of that. An error says nothing about the call.
func (p *Plan) findServer(ctx context.Context) error {
	source, err := stage.ParseVersion(p.manifest.Server.Version)
	if err != nil {
		p.addObjection(Objection{Problem: err.Error()})
		return nil
	}
	found, err := mariadbd.Probe(ctx, mariadbd.Search{Programs: p.candidates(), Source: source,
		Named: p.opts.Mariadbd != "", All: p.opts.upgrades()})
	if mariadbd.Lacking(err) {
		return err
	}
	if err != nil {
		p.addObjection(Objection{Problem: err.Error(), Hint: "name the server's program with " + hint.Option("mariadbd") +
			", or leave that option out"})
		return nil
	}
	for i := range found {
		found[i].Program = found[i].WithOptions(p.opts.MariadbdArgs)
	}
	if p.opts.upgrades() {
		if err := p.findUpgrade(ctx, found, source); err != nil {
			return err
		}
	}
	s := recovering(found)
	if s == nil && p.Upgrade != nil && readsRedo(p.Upgrade.found, p.manifest) {
		s = &p.Upgrade.found
	}
	if s == nil {
		p.addObjection(p.noServer(found, source))
		return nil
	}
	p.Mariadbd = &s.Program
	if p.older = s.Fit == mariadbd.OlderRelease; p.older {
		p.warn("%s is %s, an older maintenance release than the source's %s: better use mariadbd %[3]s or a later %[4]s",
			s.Path, mariadbd.Number(s.Release), mariadbd.Number(source), mariadbd.Series(source))
	}
	return nil
}

// recovering chooses the server that recovers: the first that fits, else the newest
// of the series.
func recovering(found []mariadbd.Found) *mariadbd.Found {
	var best *mariadbd.Found
	for i := range found {
		switch s := &found[i]; {
		case s.Fit == mariadbd.Fits:
			return s
		case s.Fit == mariadbd.OlderRelease && (best == nil || s.Release.Patch > best.Release.Patch):
			best = s
		}
	}
	return best
}

// noServer is the objection that nothing here recovers the backup.
func (p *Plan) noServer(found []mariadbd.Found, source stage.Version) Objection {
	objection := Objection{
		Problem: "no mariadbd was found on this machine",
		Hint: hint.Textf("install mariadbd %s or a later %s, or name one with %s",
			mariadbd.Number(source), mariadbd.Series(source), hint.Option("mariadbd")),
	}
	if len(found) == 0 {
		return objection
	}
	var list []string
	newer := false
	for _, s := range found {
		text := fmt.Sprintf("%s is %s", s.Path, s.Version)
		if s.Fit == mariadbd.OlderSeries {
			text += " (MariaDB opens no files of a newer series)"
		}
		newer = newer || s.Fit == mariadbd.NewerSeries
		list = append(list, text)
	}
	objection.Problem = fmt.Sprintf("no mariadbd here recovers files of %s: %s", p.manifest.Server.Version,
		strings.Join(list, ", "))
	switch {
	case newer && p.opts.Target == "": // a verification
	case newer && !p.opts.upgrades():
		objection.Hint += "; or move to the newer series with " + hint.Option("upgrade")
	case newer:
		objection.Problem += fmt.Sprintf("; only a mariadbd of %s applies this redo log", redoSeries(p.manifest, source))
		objection.Hint = hint.Textf("name a mariadbd %s or a later %s with %s for the recovery: an unpacked archive of its "+
			"programs is enough",
			mariadbd.Number(source), mariadbd.Series(source), hint.Option("mariadbd"))
	}
	return objection
}

// candidates lists the programs to try, the best first, each once.
func (p *Plan) candidates() []mariadbd.Program {
	if p.opts.Mariadbd != "" {
		return []mariadbd.Program{{Path: p.opts.Mariadbd}}
	}
	return installed(p.manifest)
}

// installed lists the programs on this machine that may be servers: that of the source
// first, if it is here.
func installed(m *repo.Manifest) []mariadbd.Program {
	return mariadbd.Installed(mariadbd.Suggested(m.Server.Program, m.Server.Variables)...)
}
