package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/ui/meter"
	"mbk/stage"
)

// A restore can move to a newer release series. A server of the source's series
// recovers the files, unless the newer one can read the redo log; then a server of the
// newer series starts on them, which nobody else can reach, and its mariadb-upgrade
// brings system tables, and tables that need it, into the newer form. Only after that
// is the result placed.

// Upgrade says how files come to a newer release series.
type Upgrade struct {
	Mariadbd mariadbd.Program `json:"mariadbd"`
	Tool     string           `json:"tool"` // path of its mariadb-upgrade

	found mariadbd.Found
}

// upgrades reports whether the result is for a newer series.
func (o Options) upgrades() bool { return o.Upgrade || o.UpgradeWith != "" }

// readsRedo reports whether a server of a newer series applies the redo log of a backup:
// one that has the same form, which changed with 10.8, and is not encrypted.
func readsRedo(s mariadbd.Found, m *repo.Manifest) bool {
	return s.Fit == mariadbd.NewerSeries && !(innodb.LogHeader{Format: m.Redo.Format, Crypt: m.Redo.Crypt}).Encrypted() &&
		s.Release.AtLeast(10, 8, 0) == (m.Redo.Format == innodb.Format108)
}

// redoSeries names the series whose servers apply the redo log of a backup.
func redoSeries(m *repo.Manifest, source stage.Version) string {
	switch {
	case (innodb.LogHeader{Format: m.Redo.Format, Crypt: m.Redo.Crypt}).Encrypted():
		return mariadbd.Series(source) + " (it is encrypted)"
	case m.Redo.Format == innodb.Format108:
		return "10.8 or later"
	}
	return "10.5 to 10.7"
}

// findUpgrade looks for a server of a newer series and its mariadb-upgrade. The
// servers that were found for the recovery may have one already.
func (p *Plan) findUpgrade(ctx context.Context, found []mariadbd.Found, source stage.Version) error {
	var err error
	switch {
	case p.opts.UpgradeWith != "":
		found, err = mariadbd.Probe(ctx, mariadbd.Search{Programs: []mariadbd.Program{{Path: p.opts.UpgradeWith}},
			Source: source, Named: true})
	case p.opts.Mariadbd != "" && !slices.ContainsFunc(found, isNewer):
		found, err = mariadbd.Probe(ctx, mariadbd.Search{Programs: installed(p.manifest), Source: source, All: true})
	}
	if mariadbd.Lacking(err) {
		return err
	}
	if err != nil {
		p.addObjection(Objection{Problem: err.Error(), Hint: "name a mariadbd of a newer series with " +
			hint.Option("upgrade-with")})
		return nil
	}
	i := slices.IndexFunc(found, isNewer)
	if i < 0 {
		p.addObjection(noUpgrade(found, source))
		return nil
	}
	p.Upgrade = &Upgrade{Mariadbd: found[i].Program, found: found[i]}
	if p.Upgrade.Tool, err = found[i].UpgradeTool(ctx, p.target.owner.user()); err != nil {
		p.addObjection(Objection{
			Problem: err.Error(),
			Hint: hint.Text("install the client programs of " + mariadbd.Series(found[i].Release) +
				", of which mariadb-upgrade is one"),
		})
	}
	return nil
}

// isNewer reports whether a server is of a newer series than the source.
func isNewer(s mariadbd.Found) bool { return s.Fit == mariadbd.NewerSeries }

// noUpgrade is the objection that there is no server of a newer series.
func noUpgrade(found []mariadbd.Found, source stage.Version) Objection {
	o := Objection{
		Problem: "no mariadbd of a newer series than " + mariadbd.Series(source) + " was found",
		Hint:    "name one with " + hint.Option("upgrade-with"),
	}
	var list []string
	for _, s := range found {
		text := fmt.Sprintf("%s is %s", s.Path, s.Version)
		if s.Fit == mariadbd.OlderSeries {
			text += " (MariaDB opens no files of a newer series: there is no way back but a dump)"
		}
		list = append(list, text)
	}
	if len(list) > 0 {
		o.Problem += ": " + strings.Join(list, ", ")
	}
	if slices.ContainsFunc(found, func(s mariadbd.Found) bool { return s.Fit == mariadbd.Fits }) {
		o.Hint += "; a later release of the same series needs no " + hint.Option("upgrade")
	}
	return o
}

// checkUpgrade objects to an upgrade that cannot work, or could touch what is not the
// target's.
func (p *Plan) checkUpgrade() {
	if p.Upgrade == nil {
		return
	}
	isMysql := func(d repo.Directory) bool { return d.Name == "mysql" }
	if p.manifest.Filter != nil && !slices.ContainsFunc(p.manifest.Directories, isMysql) {
		p.addObjection(Objection{
			Problem: "the database mysql is left out, and mariadb-upgrade does not work without it",
			Hint:    "choose a filter that keeps mysql, or restore without " + hint.Option("upgrade"),
		})
	}
	if len(externalSpaces(p.manifest))+len(p.outside) > 0 {
		p.addObjection(Objection{
			Problem: "the backup holds tables made with DATA DIRECTORY, which an upgrade may rebuild outside of the target",
			Hint: "restore without " + hint.Option("upgrade") +
				", with a server of the source's series, and upgrade the restored server",
		})
	}
}

// upgradeInstance is the server of the newer series on the files in the scratch folder.
func (p *Plan) upgradeInstance(s *scratch) mariadbd.Instance {
	i := p.instance(s)
	i.Program = p.Upgrade.Mariadbd
	i.Settings = p.settingsFor(i.Program)
	i.Partial, i.Known = p.manifest.Filter != nil, nil
	return i
}

// settingsFor are the settings for a program.
func (p *Plan) settingsFor(program mariadbd.Program) mariadbd.Settings {
	v, err := stage.ParseVersion(program.Version)
	if err != nil { // it was chosen by its version
		return p.settings
	}
	return p.settings.ForServer(v)
}

// upgrade starts the server on recovered files, runs mariadb-upgrade, and starts it
// once more, to see that it does and which tables are not as it wants them. These are
// warnings: the source lived with them, or their engine is missing.
func upgrade(ctx context.Context, i mariadbd.Instance, tool string, m *repo.Manifest,
	meter *meter.Meter) (warnings []string, err error) {
	meter.Begin(PhaseUpgrade, 0)
	defer meter.End()
	version := i.Program.Version
	// Symbolic links would lead out of the scratch folder.
	options := append([]string{"--skip-symbolic-links", "--max-statement-time=0"}, enginePlugins(m, i.Program)...)
	if err := i.Upgrade(ctx, tool, func(line string) { meter.Say(line, 0, 0) }, options...); err != nil {
		return nil, fmt.Errorf("upgrade to %s: %w", version, err)
	}
	s, err := i.Serve(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("start %s after the upgrade: %w", version, err)
	}
	defer s.Close()
	if warnings, err = notUpgraded(ctx, s.SQL, m); err != nil {
		return nil, fmt.Errorf("check the upgrade to %s: %w", version, s.Blame(err))
	}
	if err := s.Stop(ctx); err != nil {
		return nil, err
	}
	if _, err := i.CheckLog(m.LSN.End); err != nil {
		return nil, fmt.Errorf("check the upgrade to %s: %w", version, err)
	}
	return warnings, nil
}

// notUpgraded lists the tables of the backup that the server does not know any more,
// or that CHECK TABLE ... FOR UPGRADE is not content with.
func notUpgraded(ctx context.Context, server *stage.Server, m *repo.Manifest) ([]string, error) {
	tables, err := server.Tables(ctx)
	if err != nil {
		return nil, err
	}
	c, err := server.Checker(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	kept, before := selection(m), m.Problems()
	known := map[string]bool{}
	var warnings []string
	for _, t := range tables {
		name := t.Database + "." + t.Name
		known[name] = true
		if !kept(t.Database, t.Name) || !t.Checkable() || before.Of(t.Database, t.Name) != "" {
			continue
		}
		messages, err := c.CheckForUpgrade(ctx, t.Database, t.Name)
		if err != nil {
			return nil, err
		}
		if text := complaint(messages); text != "" {
			warnings = append(warnings, fmt.Sprintf("mariadb-upgrade did not bring %s to the newer series: %s", name, text))
		}
	}
	for _, t := range m.Tables {
		if name := t.Database + "." + t.Name; !known[name] && !systemDatabase(t.Database) {
			warnings = append(warnings, fmt.Sprintf("after the upgrade the server does not know %s", name))
		}
	}
	return warnings, nil
}

// systemDatabase reports whether a database is the server's own: an upgrade may drop
// tables of it.
func systemDatabase(name string) bool { return name == "mysql" || name == "sys" }

// complaint is what CHECK TABLE says of a table that is not as it should be, "" of
// one that is.
func complaint(messages []stage.CheckMessage) string {
	var said []string
	content := true
	for _, m := range messages {
		if m.Type == "status" && (m.Text == "OK" || m.Text == "Table is already up to date") {
			continue
		}
		content = content && strings.EqualFold(m.Type, "note")
		said = append(said, m.Text)
	}
	if content {
		return ""
	}
	return strings.Join(said, "; ")
}
