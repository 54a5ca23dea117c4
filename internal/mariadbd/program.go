package mariadbd

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"mbk/internal/sys/fsuser"
	"mbk/stage"
)

// Program is a mariadbd on this machine.
type Program struct {
	Path      string   `json:"path"`
	Version   string   `json:"version"`    // "10.11.19-MariaDB-0+deb12u1"
	PluginDir string   `json:"plugin_dir"` // where it looks for plugins
	args      []string // options that it needs to find its own files
}

// Found is a program that has told its version, and how it fits.
type Found struct {
	Program
	Release stage.Version
	Fit     Fit
}

// Search is what Probe is to look for.
type Search struct {
	Programs []Program
	Source   stage.Version // of the server whose files are there
	Named    bool          // the user named the programs: one that does not answer is an error
	All      bool          // ask all, and do not end with the first that fits
}

// Probe asks programs for their versions, one after another, and compares these with that of the
// source. Programs that were not named and do not answer are passed over, unless this process lacks
// something.
func Probe(ctx context.Context, s Search) ([]Found, error) {
	var found []Found
	for _, c := range s.Programs {
		p, err := probe(ctx, c)
		if err == nil {
			var v stage.Version
			if v, err = stage.ParseVersion(p.Version); err == nil {
				found = append(found, Found{p, v, FitOf(v, s.Source)})
			}
		}
		if err != nil && (s.Named || Lacking(err)) {
			return nil, err
		}
		if n := len(found); n > 0 && found[n-1].Fit == Fits && !s.All {
			break
		}
	}
	return found, nil
}

// Installed lists the programs on this machine that may be servers, each once: those
// given first, then those in the usual places.
func Installed(first ...Program) []Program {
	var list []Program
	var seen []fs.FileInfo
	add := func(path string, args ...string) {
		info, err := os.Stat(path)
		same := func(other fs.FileInfo) bool { return os.SameFile(info, other) } // mysqld is a link to mariadbd
		if err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 || slices.ContainsFunc(seen, same) {
			return
		}
		seen = append(seen, info)
		list = append(list, Program{Path: path, args: args})
	}
	for _, p := range first {
		add(p.Path, p.args...)
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

// Suggested is the program that somebody names who is not to be trusted, with the global
// variables of that server: a repository must not be able to make root run a file that
// somebody else could have written. There is none if it may not be run.
func Suggested(path string, variables map[string]string) []Program {
	if !plausible(path) {
		return nil
	}
	return []Program{{Path: path, args: homeArgs(variables)}}
}

// plausible reports whether a path is that of a server's program which may be run.
func plausible(path string) bool {
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

// rootsProgram reports whether a program belongs to root, and all folders above it do.
// Their groups may be allowed to write there, as in /usr/local, and nobody by an access
// list.
func rootsProgram(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for ; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 || info.Mode().Perm()&0o002 != 0 && info.Mode()&os.ModeSticky == 0 {
			return false
		}
		if who, err := fsuser.GroupWriter(path, 0, fsuser.User{}); who != "" || err != nil {
			return false
		}
		if path == "/" {
			return true
		}
	}
}

// homeArgs are the options by which a program finds its messages and plugins, if it is
// not installed where it was built for.
func homeArgs(variables map[string]string) []string {
	var args []string
	for _, name := range []string{"basedir", "plugin_dir"} {
		if dir := variables[name]; filepath.IsAbs(dir) && trusted(filepath.Clean(dir)) {
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
	if p = p.WithOptions(p.args); p.PluginDir != "" {
		return told(ctx, p, "--version") // in a fifth of the time that help takes
	}
	return told(ctx, p, "--verbose", "--help")
}

// told completes a program by its answer to --version, or to --verbose --help, which begins
// like that and has its settings.
func told(ctx context.Context, p Program, args ...string) (Program, error) {
	out, err := ask(ctx, p, args...)
	if err != nil {
		return Program{}, err
	}
	if p.Version = versionIn(string(out)); p.Version == "" {
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return Program{}, fmt.Errorf("ask %s for its version: %.100q is no MariaDB server's answer", p.Path, line)
	}
	if p.PluginDir == "" {
		p.PluginDir = setting(out, "plugin-dir")
	}
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
	cmd.Env = Environment(os.Environ())
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

// Environment is the environment for mariadbd, made new: what a program needs to run
// here, and what the key plugins that it loads read. Nothing else is passed on:
// some of it would change what the program does. Our own variables can hold
// passwords, which whoever runs as the server's user could read.
func Environment(environ []string, options ...string) []string {
	env := []string{}
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		if slices.Contains([]string{"PATH", "HOME", "TZ", "TZDIR", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH",
			"LD_PRELOAD", "MALLOC_CONF"}, name) ||
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

// WithOptions returns the program as it is when it gets options: they may name another
// plugin directory.
func (p Program) WithOptions(options []string) Program {
	for _, o := range options {
		name, dir, ok := strings.Cut(strings.TrimLeft(o, "-"), "=")
		name = strings.TrimPrefix(strings.ReplaceAll(name, "_", "-"), "loose-")
		if ok && name == "plugin-dir" {
			p.PluginDir = dir
		}
	}
	return p
}

// HasPlugin reports whether a library is in the program's plugin directory.
func (p Program) HasPlugin(library string) (bool, error) {
	_, err := os.Stat(filepath.Join(p.PluginDir, library))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
