// Package optfile reads option files (my.cnf) as MariaDB's own client programs do: the
// same files in the same order, with the same syntax, includes and groups, so that a
// password that works for "mariadb" works here. It returns the settings as written and
// does not know which of them exist or what they mean.
//
// It differs from them in three ways, for the benefit of the user: a last line without
// a line break may be an !include (they cut off its last letter), a file that exists but
// cannot be read is reported (they say nothing), and a folder as --defaults-file is an
// error (they take it for an empty file).
package optfile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"

	"mbk/internal/input/inputfile"
)

const (
	// lineBytes is the size of MariaDB's buffer for a line with its line break. The
	// rest of a longer line counts as another line.
	lineBytes = 4094
	// includeDepth is how deep files may include each other.
	includeDepth = 10
	// maxFileBytes and maxFiles limit what is read if a file is not an option file,
	// or if folders include themselves.
	maxFileBytes = 16 << 20
	maxFiles     = 1000
)

// Options choose the files and groups to read. The zero value reads the usual files and
// no groups.
type Options struct {
	// File is --defaults-file: if set, only it and what it includes are read.
	File string
	// Extra is --defaults-extra-file, read after the global files.
	Extra string
	// Global names further global files, which are read after MariaDB's own.
	Global []string
	// Suffix is --defaults-group-suffix: of each group, also the one of that
	// name with Suffix is read. If empty, MARIADB_GROUP_SUFFIX and
	// MYSQL_GROUP_SUFFIX in the environment count.
	Suffix string
	// NoDefaults is --no-defaults: nothing is read.
	NoDefaults bool
	// Groups names the groups whose settings are wanted, such as "client".
	// Neither their order nor the case of letters matters.
	Groups []string
	// Match, if set, reports whether a group is wanted that Groups does not name. Of its
	// settings Group is the name as written, and Suffix does not count.
	Match func(group string) bool
	// Warn, if set, is called with each problem that is not an error: one line, lower
	// case, with the name of the file.
	Warn func(message string)
	// Opened, if set, is called with each file before it is read, by the name that its
	// settings have in Setting.File.
	Opened func(path string, f *os.File)
	// Getenv looks up the environment. Nil is os.Getenv.
	Getenv func(name string) string

	etc []string // the folders of the global files, for tests; nil: globalFolders
}

// Setting is one line of an option file.
type Setting struct {
	// Name is the name of the option with "-" for each "_" and without "loose-".
	// A prefix such as "skip-" or "disable-" is still there.
	Name string
	// Value has quotes and escapes resolved. It may be a secret.
	Value string
	// HasValue distinguishes "name=" from "name".
	HasValue bool
	// Loose reports that the name began with "loose-": an unknown option is no error
	// then.
	Loose bool
	// Group is the one of Options.Groups that it stands in, without the suffix, or one
	// that Options.Match wants.
	Group string
	// File and Line are where it is written; lines count from 1.
	File string
	Line int
}

// Read returns the settings of the wanted groups in the order in which they were read,
// so that the last of two equal names wins. Global and included files may be missing,
// but File and Extra must exist. Files that everyone may write to are skipped. Errors
// name the file and the line. In an included file an error is only a warning, and the
// rest of that file is skipped.
func Read(o Options) ([]Setting, error) {
	if o.NoDefaults {
		return nil, nil
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Warn == nil {
		o.Warn = func(string) {}
	}
	if o.Opened == nil {
		o.Opened = func(string, *os.File) {}
	}
	if o.etc == nil {
		o.etc = globalFolders()
	}
	r := reader{warn: o.Warn, opened: o.Opened, home: o.Getenv("HOME"), groups: groupSet(o), match: o.Match}
	if o.File != "" {
		if err := r.required(o.File); err != nil {
			return nil, err
		}
		return r.settings, nil
	}
	for _, path := range globalFiles(o) {
		if err := r.optional(path); err != nil {
			return nil, err
		}
	}
	if o.Extra != "" {
		if err := r.required(o.Extra); err != nil {
			return nil, err
		}
	}
	if r.home != "" {
		if err := r.optional(filepath.Join(r.home, ".my.cnf")); err != nil {
			return nil, err
		}
	}
	return r.settings, nil
}

// globalFolders are those of the builds of Debian and of MariaDB themselves.
func globalFolders() []string { return []string{"/etc", "/etc/mysql"} }

// globalFiles lists the files that are read before --defaults-extra-file, MariaDB's own
// first. If a folder is listed twice, the last place counts.
func globalFiles(o Options) []string {
	folders := slices.Clone(o.etc)
	if home := firstSet(o.Getenv, "MARIADB_HOME", "MYSQL_HOME"); home != "" {
		home = filepath.Clean(home)
		folders = slices.DeleteFunc(folders, func(f string) bool { return f == home })
		folders = append(folders, home)
	}
	for i, folder := range folders {
		folders[i] = filepath.Join(folder, "my.cnf")
	}
	return append(folders, o.Global...)
}

// groupSet maps the folded names of all wanted groups to their names in o.Groups.
func groupSet(o Options) map[string]string {
	suffix := o.Suffix
	if suffix == "" {
		suffix = firstSet(o.Getenv, "MARIADB_GROUP_SUFFIX", "MYSQL_GROUP_SUFFIX")
	}
	set := map[string]string{}
	for _, group := range o.Groups {
		set[fold(group)] = group
		set[fold(group+suffix)] = group
	}
	return set
}

// firstSet returns the first variable that is not empty.
func firstSet(getenv func(string) string, names ...string) string {
	for _, name := range names {
		if value := getenv(name); value != "" {
			return value
		}
	}
	return ""
}

// reader collects settings during one call of Read.
type reader struct {
	warn     func(string)
	opened   func(string, *os.File)
	home     string
	groups   map[string]string // of groupSet
	match    func(string) bool // may be nil
	settings []Setting
	files    int // opened so far
}

// required reads a file that must exist.
func (r *reader) required(path string) error {
	path = r.expand(path)
	f, err := r.open(path)
	if err != nil {
		return fmt.Errorf("read option file %s: %w", path, cause(err))
	}
	return r.read(f, path, 0)
}

// optional reads a file if it exists and can be read.
func (r *reader) optional(path string) error {
	f, err := r.open(path)
	if err != nil {
		r.skipped(path, err)
		return nil
	}
	return r.read(f, path, 0)
}

// included reads an included file at this depth. Errors in it do not stop the file that
// includes it.
func (r *reader) included(path string, depth int) {
	f, err := r.open(path)
	if err != nil {
		r.skipped(path, err)
		return
	}
	if err := r.read(f, path, depth); err != nil {
		r.warn(err.Error() + "; the rest of that file is ignored")
	}
}

// skipped warns about a file that exists but cannot be opened.
func (r *reader) skipped(path string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		r.warn(fmt.Sprintf("option file %s is ignored: %v", path, cause(err)))
	}
}

// open opens a file. It returns nil, after a warning, for a file that everyone may write
// to, and an error for a file that is neither regular nor inherited.
func (r *reader) open(path string) (*os.File, error) {
	if r.files++; r.files > maxFiles {
		return nil, fmt.Errorf("more than %d option files", maxFiles)
	}
	f, err := inputfile.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if info.Mode().IsRegular() && info.Mode().Perm()&0o002 != 0 {
		r.warn(fmt.Sprintf("option file %s is ignored: everyone may write to it", path))
		return nil, f.Close()
	}
	r.opened(path, f)
	return f, nil
}

// read reads an open file and closes it. f may be nil.
func (r *reader) read(f *os.File, path string, depth int) error {
	if f == nil {
		return nil
	}
	line, err := r.lines(f, path, depth)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read option file %s, line %d: %w", path, line, cause(err))
	}
	return nil
}

// lines reads all lines of src and returns the number of the last one read.
func (r *reader) lines(src io.Reader, path string, depth int) (number int, err error) {
	lines := bufio.NewReaderSize(src, lineBytes)
	var (
		total   int
		inGroup bool   // a group has begun
		wanted  string // its name, if its settings are wanted
		whole   = true
	)
	for {
		text, end := lines.ReadSlice('\n')
		if len(text) > 0 && whole {
			number++
		}
		whole = end == nil
		if total += len(text); total > maxFileBytes {
			return number, fmt.Errorf("file is larger than %d bytes", maxFileBytes)
		}
		s, err := parse(text)
		if err != nil {
			return number, err
		}
		switch s.kind {
		case group:
			inGroup, wanted = true, r.wanted(s.name)
		case option:
			if !inGroup {
				return number, errors.New("option before the first [group]")
			}
			if wanted != "" {
				name, loose := normal(s.name)
				r.settings = append(r.settings, Setting{
					Name: name, Value: s.value, HasValue: s.hasValue, Loose: loose, Group: wanted, File: path, Line: number,
				})
			}
		case include, includeFolder:
			if err := r.include(s, path, number, depth); err != nil {
				return number, err
			}
		}
		switch {
		case end == io.EOF:
			return number, nil
		case end != nil && end != bufio.ErrBufferFull:
			return number, end
		}
	}
}

// wanted returns the name that the settings of a group get, "" if they are not wanted.
func (r *reader) wanted(group string) string {
	if name := r.groups[fold(group)]; name != "" || r.match == nil || !r.match(group) {
		return name
	}
	return group
}

// include carries out a directive in line number of the file at path.
func (r *reader) include(s statement, path string, number, depth int) error {
	if depth >= includeDepth {
		r.warn(fmt.Sprintf("option file %s, line %d: %s is not included: files include each other more than %d deep",
			path, number, s.name, includeDepth))
		return nil
	}
	if s.kind == include {
		r.included(r.expand(s.name), depth+1)
		return nil
	}
	entries, err := os.ReadDir(s.name) // sorted by name
	if err != nil {
		return fmt.Errorf("include folder %s: %w", s.name, cause(err))
	}
	for _, entry := range entries {
		if strings.HasSuffix(entry.Name(), ".cnf") && !entry.IsDir() {
			r.included(filepath.Join(s.name, entry.Name()), depth+1)
		}
	}
	return nil
}

// expand resolves "~/" and "~user/" at the beginning of a path. In --defaults-file=~/my.cnf
// the shell does not.
func (r *reader) expand(path string) string {
	first, rest, found := strings.Cut(path, "/")
	name, tilde := strings.CutPrefix(first, "~")
	if !found || !tilde {
		return path
	}
	home := r.home
	if name != "" {
		u, err := user.Lookup(name)
		if err != nil {
			return path // open reports that it does not exist
		}
		home = u.HomeDir
	}
	if home == "" {
		return path
	}
	return filepath.Join(home, rest)
}

// cause removes the path from an error that is quoted with it.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
