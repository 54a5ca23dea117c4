// Package optfile reads option files (my.cnf) as MariaDB's own client programs
// do: the same files in the same order, with the same syntax, includes and
// groups, so that a password which works for "mariadb" works here. It gives the
// settings as they are written and does not know which of them exist or what
// they mean.
//
// It differs from them in three ways, each to the reader's benefit: a last line
// without an end may be an !include (they cut off its last letter), a file that
// is there but cannot be read is reported (they say nothing), and a folder as
// --defaults-file is an error (they take it for an empty file).
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
	// lineBytes is the room that MariaDB has for a line, its end included. What
	// is longer goes on as a line of its own.
	lineBytes = 4094
	// includeDepth is how deep files may include each other.
	includeDepth = 10
	// maxFileBytes and maxFiles bound what is read when a file is none of
	// options, or when folders include themselves.
	maxFileBytes = 16 << 20
	maxFiles     = 1000
)

// Options says which files and groups to read. The zero value reads the usual
// files and no groups.
type Options struct {
	// File is --defaults-file: if set, no other file is read but what it includes.
	File string
	// Extra is --defaults-extra-file, read after the global files.
	Extra string
	// Global names further global files, which are read after MariaDB's own.
	Global []string
	// Suffix is --defaults-group-suffix: of each group, also the one of that
	// name with Suffix is read. If empty, MARIADB_GROUP_SUFFIX and
	// MYSQL_GROUP_SUFFIX in the environment are asked.
	Suffix string
	// NoDefaults is --no-defaults: nothing is read.
	NoDefaults bool
	// Groups names the groups whose settings are wanted, such as "client".
	// Their order means nothing, nor does the case of letters.
	Groups []string
	// Warn, if set, is called with each complaint that does not make reading
	// fail: one line, lower case, that names a file.
	Warn func(message string)
	// Opened, if set, is called with each file before it is read, by the name that its
	// settings have in Setting.File.
	Opened func(path string, f *os.File)
	// Getenv looks up the environment. Nil is os.Getenv.
	Getenv func(name string) string

	etc []string // the folders of the global files, of tests; else globalFolders
}

// Setting is one line of an option file.
type Setting struct {
	// Name is the name of the option with "-" for each "_" and without "loose-".
	// A prefix such as "skip-" or "disable-" is still there.
	Name string
	// Value has quotes and escapes resolved. It may be a secret.
	Value string
	// HasValue tells "name=" from "name".
	HasValue bool
	// Loose says that the name began with "loose-": it is no error if there is
	// no such option.
	Loose bool
	// Group is the one of Options.Groups that it stands in, without the suffix.
	Group string
	// File and Line say where it stands; lines count from 1.
	File string
	Line int
}

// Read returns the settings of the wanted groups in the order in which they were
// read, so that of two of the same name the last one counts. A global file that
// is missing is no error, nor is an included one, but File and Extra must be
// there. Files that everyone may write to are not read. Errors name the file
// and the line. In included files they are only warnings, and the rest of that
// file is left out.
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
	r := reader{warn: o.Warn, opened: o.Opened, home: o.Getenv("HOME"), groups: groupSet(o)}
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

// globalFiles lists the files before --defaults-extra-file, MariaDB's own first. A folder named twice
// has its place where it is named last.
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

// groupSet maps the folded names of all groups that are wanted to those in
// o.Groups.
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

// firstSet returns the first of some variables that is not empty.
func firstSet(getenv func(string) string, names ...string) string {
	for _, name := range names {
		if value := getenv(name); value != "" {
			return value
		}
	}
	return ""
}

// reader collects the settings of one call of Read.
type reader struct {
	warn     func(string)
	opened   func(string, *os.File)
	home     string
	groups   map[string]string // of groupSet
	settings []Setting
	files    int // opened so far
}

// required reads a file that must be there.
func (r *reader) required(path string) error {
	path = r.expand(path)
	f, err := r.open(path)
	if err != nil {
		return fmt.Errorf("read option file %s: %w", path, cause(err))
	}
	return r.read(f, path, 0)
}

// optional reads a file unless it is missing or unreadable.
func (r *reader) optional(path string) error {
	f, err := r.open(path)
	if err != nil {
		r.skipped(path, err)
		return nil
	}
	return r.read(f, path, 0)
}

// included reads a file, depth includes away from the first. What is wrong in
// there does not keep the file that includes it from being read.
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

// skipped warns of a file that cannot be opened but is there.
func (r *reader) skipped(path string, err error) {
	if !errors.Is(err, fs.ErrNotExist) {
		r.warn(fmt.Sprintf("option file %s is ignored: %v", path, cause(err)))
	}
}

// open opens a file for reading. It returns nil, after a warning, for a file
// that anyone may have written. Of files that are neither regular nor inherited it
// returns an error.
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

// read reads an open file, or none if f is nil, and closes it.
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
		inGroup bool   // some group has begun
		wanted  string // and this is its name, if its settings are to be kept
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
			inGroup, wanted = true, r.groups[fold(s.name)]
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

// include obeys a directive in line number of the file at path.
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

// expand resolves "~/" and "~user/" at the beginning of a path, as the shell
// does not in --defaults-file=~/my.cnf.
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
			return path // opening it will say that there is no such file
		}
		home = u.HomeDir
	}
	if home == "" {
		return path
	}
	return filepath.Join(home, rest)
}

// cause takes the path off an error, whose message names it already.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}
