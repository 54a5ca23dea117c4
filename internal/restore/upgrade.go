package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/stage"
)

// A restore can move to a newer release series. A server of the source's series
// recovers the files, unless the newer one can read the redo log; then a server of the
// newer series starts on them, which nobody else can reach, and its mariadb-upgrade
// brings system tables, and tables that need it, into the newer form. Only after that
// is the result placed.

// Upgrade says how files come to a newer release series.
type Upgrade struct {
	Mariadbd Program `json:"mariadbd"`
	Tool     string  `json:"tool"` // path of its mariadb-upgrade

	server server
}

// upgrades reports whether the result is for a newer series.
func (o Options) upgrades() bool { return o.Upgrade || o.UpgradeWith != "" }

// readsRedo reports whether a server of a newer series applies the redo log of a backup:
// one that has the same form, which changed with 10.8, and is not encrypted.
func (s server) readsRedo(m *repo.Manifest) bool {
	return s.fit == newerSeries && !(innodb.LogHeader{Format: m.Redo.Format, Crypt: m.Redo.Crypt}).Encrypted() &&
		s.version.AtLeast(10, 8, 0) == (m.Redo.Format == innodb.Format108)
}

// redoSeries names the series whose servers apply the redo log of a backup.
func redoSeries(m *repo.Manifest, source stage.Version) string {
	switch {
	case (innodb.LogHeader{Format: m.Redo.Format, Crypt: m.Redo.Crypt}).Encrypted():
		return series(source) + " (it is encrypted)"
	case m.Redo.Format == innodb.Format108:
		return "10.8 or later"
	}
	return "10.5 to 10.7"
}

// findUpgrade looks for a server of a newer series and its mariadb-upgrade. The
// servers that were found for the recovery may have one already.
func (p *Plan) findUpgrade(ctx context.Context, o Options, found []server, source stage.Version) error {
	var err error
	switch {
	case o.UpgradeWith != "":
		found, err = findServers(ctx, []Program{{Path: o.UpgradeWith}}, true, source)
	case o.Mariadbd != "" && !slices.ContainsFunc(found, isNewer):
		found, err = findServers(ctx, installed(p.manifest), false, source)
	}
	if lacking(err) {
		return err
	}
	if err != nil {
		p.object(Objection{Problem: err.Error(), Hint: "name a mariadbd of a newer series with --upgrade-with"})
		return nil
	}
	i := slices.IndexFunc(found, isNewer)
	if i < 0 {
		p.object(noUpgrade(found, source))
		return nil
	}
	p.Upgrade = &Upgrade{Mariadbd: found[i].Program, server: found[i]}
	if p.Upgrade.Tool, err = findTool(ctx, found[i], p.target.owner); err != nil {
		p.object(Objection{
			Problem: err.Error(),
			Hint:    "install the client programs of " + series(found[i].version) + ", of which mariadb-upgrade is one",
		})
	}
	return nil
}

// isNewer reports whether a server is of a newer series than the source.
func isNewer(s server) bool { return s.fit == newerSeries }

// noUpgrade is the objection that there is no server of a newer series.
func noUpgrade(found []server, source stage.Version) Objection {
	o := Objection{
		Problem: "no mariadbd of a newer series than " + series(source) + " was found",
		Hint:    "name one with --upgrade-with",
	}
	var list []string
	for _, s := range found {
		text := fmt.Sprintf("%s is %s", s.Path, s.Version)
		if s.fit == olderSeries {
			text += " (MariaDB opens no files of a newer series: there is no way back but a dump)"
		}
		list = append(list, text)
	}
	if len(list) > 0 {
		o.Problem += ": " + strings.Join(list, ", ")
	}
	if slices.ContainsFunc(found, func(s server) bool { return s.fit == fits }) {
		o.Hint += "; a later release of the same series needs no --upgrade"
	}
	return o
}

// findTool finds the mariadb-upgrade of a server: beside it, or in the bin folder
// beside its folder. The owner of the files runs it.
func findTool(ctx context.Context, s server, owner Owner) (string, error) {
	paths := []string{s.Path}
	if real, err := filepath.EvalSymlinks(s.Path); err == nil && real != s.Path {
		paths = append(paths, real)
	}
	var other string
	for _, p := range paths {
		for _, dir := range []string{filepath.Dir(p), filepath.Join(filepath.Dir(filepath.Dir(p)), "bin")} {
			for _, name := range []string{"mariadb-upgrade", "mysql_upgrade"} {
				path := filepath.Join(dir, name)
				if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
					continue
				}
				version, err := toolVersion(ctx, path, owner)
				if err == nil && series(version) == series(s.version) {
					return path, nil
				}
				other = fmt.Sprintf("%s is not of %s", path, series(s.version))
				if err != nil {
					other = err.Error()
				}
			}
		}
	}
	if other == "" {
		other = fmt.Sprintf("there is no mariadb-upgrade beside %s", s.Path)
	}
	return "", fmt.Errorf("find mariadb-upgrade: %s", other)
}

// toolVersion asks a client program for its version: "Ver 2.1 Distrib
// 11.8.9-MariaDB, for ...", in other releases "from 11.8.9-MariaDB".
func toolVersion(ctx context.Context, path string, owner Owner) (stage.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--no-defaults", "--version")
	cmd.Env = programEnv(os.Environ())
	cmd.Dir, cmd.SysProcAttr = "/", owner.credential()
	cmd.WaitDelay = time.Second
	out, err := cmd.Output() // some releases answer, and end with 1
	text := regexp.MustCompile(`\d+\.\d+\.\d+-MariaDB`).FindString(string(out))
	if text == "" {
		return stage.Version{}, fmt.Errorf("ask %s for its version: %w", path, cmp.Or(err, errors.New("it does not tell")))
	}
	return stage.ParseVersion(text)
}

// checkUpgrade objects to an upgrade that cannot work, or could touch what is not the
// target's.
func (p *Plan) checkUpgrade() {
	if p.Upgrade == nil {
		return
	}
	isMysql := func(d repo.Directory) bool { return d.Name == "mysql" }
	if p.manifest.Filter != nil && !slices.ContainsFunc(p.manifest.Directories, isMysql) {
		p.object(Objection{
			Problem: "the database mysql is left out, and mariadb-upgrade does not work without it",
			Hint:    "choose a filter that keeps mysql, or restore without --upgrade",
		})
	}
	if len(farSpaces(p.manifest))+len(p.outside) > 0 {
		p.object(Objection{
			Problem: "the backup holds tables made with DATA DIRECTORY, which an upgrade may build anew outside of the target",
			Hint:    "restore without --upgrade, with a server of the source's series, and upgrade the restored server",
		})
	}
}

// upgradeEngine is the server of the newer series on the files in the scratch folder.
func (p *Plan) upgradeEngine(s *scratch, o Options) engine {
	e := p.engine(s, o)
	e.program = p.Upgrade.Mariadbd
	e.settings = p.settingsFor(e.program)
	e.filtered = p.manifest.Filter != nil
	return e
}

// settingsFor are the settings for a program.
func (p *Plan) settingsFor(program Program) settings {
	v, err := stage.ParseVersion(program.Version)
	if err != nil { // it was chosen by its version
		return p.settings
	}
	return p.settings.forServer(v)
}

// upgrade starts the server on recovered files, runs mariadb-upgrade, and starts it
// once more, to see that it does and which tables are not as it wants them. These are
// warnings: the source lived with them, or their engine is missing.
func (e engine) upgrade(ctx context.Context, tool string, m *repo.Manifest, meter *meter) (warnings []string, err error) {
	meter.begin(PhaseUpgrade, 0)
	defer meter.end()
	// Symbolic links would lead out of the scratch folder.
	options := append([]string{"--skip-symbolic-links", "--max-statement-time=0"}, enginePlugins(m, e.program)...)
	if err := e.upgradeTables(ctx, tool, meter, options); err != nil {
		return nil, fmt.Errorf("upgrade to %s: %w", e.program.Version, err)
	}
	s, err := e.serve(ctx, options...)
	if err != nil {
		return nil, fmt.Errorf("start %s after the upgrade: %w", e.program.Version, err)
	}
	defer s.close()
	if warnings, err = s.notUpgraded(ctx, m); err != nil {
		return nil, fmt.Errorf("check the upgrade to %s: %w", e.program.Version, s.blame(err))
	}
	if err := s.stop(ctx); err != nil {
		return nil, err
	}
	if _, err := e.checkLog(m.LSN.End); err != nil {
		return nil, fmt.Errorf("check the upgrade to %s: %w", e.program.Version, err)
	}
	return warnings, nil
}

// upgradeTables runs mariadb-upgrade on a server of its own.
func (e engine) upgradeTables(ctx context.Context, tool string, meter *meter, options []string) error {
	s, err := e.serve(ctx, options...)
	if err != nil {
		return err
	}
	defer s.close()
	// Option files of the user's must not decide which server it talks to. It keeps what
	// it has done in a file of the data directory, which may say that of this release
	// already; so it is forced.
	cmd := e.run(tool, "--no-defaults", "--user=root", "--protocol=socket", "--socket="+s.socket, "--tmpdir="+e.beside(), "--force", "--verbose")
	log, err := e.newLog(func(line string) { meter.say(line, 0, 0) })
	if err != nil {
		return err
	}
	defer log.close()
	p, err := start(cmd, log)
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.blame(fmt.Errorf("%s: %w: %s", tool, err, strings.Join(log.last, " | ")))
	}
	return s.stop(ctx)
}

// notUpgraded lists the tables of the backup that the server does not know any more,
// or that CHECK TABLE ... FOR UPGRADE is not content with.
func (s *served) notUpgraded(ctx context.Context, m *repo.Manifest) ([]string, error) {
	tables, err := s.server.Tables(ctx)
	if err != nil {
		return nil, err
	}
	c, err := s.server.Checker(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	kept, before := keeps(m), problemsOf(m)
	known := map[string]bool{}
	var warnings []string
	for _, t := range tables {
		name := t.Database + "." + t.Name
		known[name] = true
		if !kept(t.Database, t.Name) || !checkable(t) || before.of(t.Database, t.Name) != "" {
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
