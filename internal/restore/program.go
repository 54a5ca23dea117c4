package restore

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mbk/internal/repo"
	"mbk/stage"
)

// Program is a mariadbd on this machine.
type Program struct {
	Path      string   `json:"path"`
	Version   string   `json:"version"`    // "10.11.19-MariaDB-0+deb12u1"
	PluginDir string   `json:"plugin_dir"` // where it looks for plugins
	args      []string // options that it needs to find its own files
}

// fit is how a server stands to the server that wrote the files.
type fit int

// The fits, the best first.
const (
	fits         fit = iota // of the same series, and no older
	olderRelease            // of the same series: recovers nearly always
	newerSeries             // recovers some redo logs, and has the tables upgraded
	olderSeries             // opens nothing
)

// fitOf compares a server's version with that of the source. The format of the redo
// log and of the tables belongs to a release series; a later maintenance release may
// write what an earlier one does not read.
func fitOf(v, source stage.Version) fit {
	switch {
	case v.Major == source.Major && v.Minor == source.Minor && v.Patch >= source.Patch:
		return fits
	case v.Major == source.Major && v.Minor == source.Minor:
		return olderRelease
	case v.AtLeast(source.Major, source.Minor, 0):
		return newerSeries
	}
	return olderSeries
}

// series is the release series of a version, "10.11".
func series(v stage.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// number is a version without what the vendor adds, "10.11.19".
func number(v stage.Version) string { return fmt.Sprintf("%s.%d", series(v), v.Patch) }

// server is a program that was found, and how it fits.
type server struct {
	Program
	version stage.Version
	fit     fit
}

// findServers asks the programs for their versions. One that was named and does not
// answer is an error; others are passed over, unless this process lacks something.
func findServers(ctx context.Context, programs []Program, named bool, source stage.Version) ([]server, error) {
	var found []server
	for _, c := range programs {
		p, err := probe(ctx, c)
		if err == nil {
			var v stage.Version
			if v, err = stage.ParseVersion(p.Version); err == nil {
				found = append(found, server{p, v, fitOf(v, source)})
			}
		}
		if err != nil && (named || lacking(err)) {
			return nil, err
		}
	}
	return found, nil
}

// findServer looks for a mariadbd that can recover the backup and, for a restore to a
// newer series, for one of that. An error says nothing about the call.
func (p *Plan) findServer(ctx context.Context, o Options) error {
	source, err := stage.ParseVersion(p.manifest.Server.Version)
	if err != nil {
		p.object(Objection{Problem: err.Error()})
		return nil
	}
	found, err := findServers(ctx, candidates(o, p.manifest), o.Mariadbd != "", source)
	if lacking(err) {
		return err
	}
	if err != nil {
		p.object(Objection{Problem: err.Error(), Hint: "name the server's program with --mariadbd, or leave that option out"})
		return nil
	}
	if o.upgrades() {
		if err := p.findUpgrade(ctx, o, found, source); err != nil {
			return err
		}
	}
	s := recovering(found)
	if s == nil && p.Upgrade != nil && p.Upgrade.server.readsRedo(p.manifest) {
		s = &p.Upgrade.server
	}
	if s == nil {
		p.object(p.noServer(found, source, o))
		return nil
	}
	p.Mariadbd = &s.Program
	if p.older = s.fit == olderRelease; p.older {
		p.warn("%s is %s, an older maintenance release than the source's %s: better use mariadbd %[3]s or a later %[4]s",
			s.Path, number(s.version), number(source), series(source))
	}
	return nil
}

// lacking reports whether an error is that of a process that has no memory, no room or no
// descriptors left.
func lacking(err error) bool {
	return err != nil && causeOf(err.Error()) == CauseShortage
}

// recovering chooses the server that recovers: the first that fits, else the newest
// of the series.
func recovering(found []server) *server {
	var best *server
	for i := range found {
		switch s := &found[i]; {
		case s.fit == fits:
			return s
		case s.fit == olderRelease && (best == nil || s.version.Patch > best.version.Patch):
			best = s
		}
	}
	return best
}

// noServer is the objection that nothing here recovers the backup.
func (p *Plan) noServer(found []server, source stage.Version, o Options) Objection {
	objection := Objection{
		Problem: "no mariadbd was found on this machine",
		Hint:    fmt.Sprintf("install mariadbd %s or a later %s, or name one with --mariadbd", number(source), series(source)),
	}
	if len(found) == 0 {
		return objection
	}
	var list []string
	newer := false
	for _, s := range found {
		text := fmt.Sprintf("%s is %s", s.Path, s.Version)
		if s.fit == olderSeries {
			text += " (MariaDB opens no files of a newer series)"
		}
		newer = newer || s.fit == newerSeries
		list = append(list, text)
	}
	objection.Problem = fmt.Sprintf("no mariadbd here recovers files of %s: %s", p.manifest.Server.Version, strings.Join(list, ", "))
	switch {
	case newer && o.Target == "": // a verification
	case newer && !o.upgrades():
		objection.Hint += "; or move to the newer series with --upgrade"
	case newer:
		objection.Problem += fmt.Sprintf("; only a mariadbd of %s applies this redo log", redoSeries(p.manifest, source))
		objection.Hint = fmt.Sprintf("name a mariadbd %s or a later %s with --mariadbd for the recovery: an unpacked archive of its programs is enough", number(source), series(source))
	}
	return objection
}

// candidates lists the programs to try, the best first, each once.
func candidates(o Options, m *repo.Manifest) []Program {
	if o.Mariadbd != "" {
		return []Program{{Path: o.Mariadbd}}
	}
	return installed(m)
}

// installed lists the programs on this machine that may be servers.
func installed(m *repo.Manifest) []Program {
	var list []Program
	seen := map[string]bool{}
	add := func(path string, args ...string) {
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 || seen[path] {
			return
		}
		seen[path] = true
		list = append(list, Program{Path: path, args: args})
	}
	if p := m.Server.Program; plausibleProgram(p) {
		add(p, homeArgs(m)...)
	}
	for _, name := range []string{"mariadbd", "mysqld"} {
		if p, err := exec.LookPath(name); err == nil && filepath.IsAbs(p) {
			add(p)
		}
	}
	for _, pattern := range []string{
		"/usr/sbin/m*d", "/usr/libexec/m*d", "/usr/local/sbin/m*d", "/usr/local/bin/m*d",
		"/usr/local/*/bin/m*d", "/opt/*/bin/m*d", "/opt/*/sbin/m*d",
	} {
		paths, _ := filepath.Glob(pattern) // the patterns are well formed
		for _, p := range paths {
			// Root asks each for its version, and so runs it.
			if programName(p) && (os.Geteuid() != 0 || rootsProgram(p)) {
				add(p)
			}
		}
	}
	return list
}

// programName reports whether a file is called as the server's program is.
func programName(path string) bool {
	base := filepath.Base(path)
	return base == "mariadbd" || base == "mysqld"
}

// plausibleProgram reports whether the program that a manifest names may be run: a
// repository must not be able to make root run a file that somebody else could
// have written.
func plausibleProgram(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && programName(path) && trusted(path)
}

// trusted reports whether only root and the current user can have written a file,
// or exchanged it or a folder on the way to it.
func trusted(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for {
		info, err := os.Lstat(path)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
			return false
		}
		if path == "/" {
			return true
		}
		path = filepath.Dir(path)
	}
}

// homeArgs are the options by which the source's program finds its messages and
// plugins, if it is not installed where it was built for.
func homeArgs(m *repo.Manifest) []string {
	var args []string
	for _, name := range []string{"basedir", "plugin_dir"} {
		if dir := m.Server.Variables[name]; filepath.IsAbs(dir) && trusted(filepath.Clean(dir)) {
			args = append(args, "--"+strings.ReplaceAll(name, "_", "-")+"="+dir)
		}
	}
	return args
}

// probe asks a program for its version and its plugin directory.
func probe(ctx context.Context, p Program) (Program, error) {
	path, err := filepath.Abs(p.Path)
	if err != nil {
		return Program{}, fmt.Errorf("ask %s for its version: %w", p.Path, err)
	}
	p.Path = path
	out, err := ask(ctx, p, "--verbose", "--help") // begins like the answer to --version
	if err != nil {
		return Program{}, err
	}
	if p.Version = versionIn(string(out)); p.Version == "" {
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return Program{}, fmt.Errorf("ask %s for its version: %.100q is no MariaDB server's answer", p.Path, line)
	}
	p.PluginDir = setting(out, "plugin-dir")
	return p, nil
}

// versionIn finds the version at the beginning of mariadbd's help, "" if that is
// not the output of one: "mariadbd  Ver 10.11.19-MariaDB for Linux on x86_64".
func versionIn(out string) string {
	_, rest, ok := strings.Cut(out, " Ver ")
	text, _, _ := strings.Cut(rest, " ")
	text = strings.TrimSpace(text)
	if _, err := stage.ParseVersion(text); !ok || err != nil || !strings.Contains(out, "MariaDB") {
		return ""
	}
	return text
}

// ask runs the program with options that make it print something and end.
func ask(ctx context.Context, p Program, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	// A data directory that cannot be: it must not look into a live one.
	all := slices.Concat([]string{"--no-defaults"}, p.args, []string{"--datadir=/dev/null/none"}, args)
	cmd := exec.CommandContext(ctx, p.Path, all...)
	cmd.Env = programEnv(os.Environ())
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("ask %s for its version: %w%s", p.Path, err, lastLine(stderr.Bytes()))
	}
	return out, nil
}

// lastLine is the end of a program's messages, for an error, or "".
func lastLine(b []byte) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return fmt.Sprintf(" (%.200s)", last)
	}
	return ""
}

// setting finds the value of a variable in the table at the end of the output
// of --verbose --help, "" if it is not there.
func setting(help []byte, name string) string {
	sc := bufio.NewScanner(bytes.NewReader(help))
	for sc.Scan() {
		key, value, ok := strings.Cut(sc.Text(), " ")
		if ok && key == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// programEnv is the environment for mariadbd, made new: what a program needs to run
// here, and what the key plugins that it loads read. Everything else is none of its
// business, and some would change what it does. Our own variables can hold
// passwords, which whoever runs as the server's user could read.
func programEnv(environ []string, options ...string) []string {
	env := []string{}
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains([]string{"PATH", "HOME", "TZ", "TZDIR", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_CONF"}, name) ||
			keyVariable(name, options) {
			env = append(env, kv)
		}
	}
	return env
}

// keyVariable reports whether a variable is for a key plugin that the options load: where
// its keys are, and how to get at them.
func keyVariable(name string, options []string) bool {
	for library, prefix := range map[string]string{"hashicorp_key_management": "VAULT_", "aws_key_management": "AWS_"} {
		loaded := slices.ContainsFunc(options, func(o string) bool { return strings.Contains(o, library) })
		if loaded && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// hasPlugin reports whether a library is in the program's plugin directory.
func (p Program) hasPlugin(library string) (bool, error) {
	_, err := os.Stat(filepath.Join(p.PluginDir, library))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
