// Package logfiles finds and opens the files of a server's binary log in a folder.
package logfiles

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mbk/internal/binlog"
	"mbk/internal/datadir/serverfs"
	"mbk/internal/fault"
	"mbk/internal/hint"
)

// Log is a binary log as the files of it in a folder, in their order. The methods read
// with the rights of the server's user. They may be called from several goroutines.
type Log struct {
	Dir   string
	Names []string // as the index has them, the oldest first; some may be missing
	files *serverfs.FS
}

// ErrNone is returned by Open if there is no binary log, or more than one.
var ErrNone = fault.New(fault.Config, "no binary log")

// maxIndex limits the bytes of an index that is read.
const maxIndex = 16 << 20

// flagRelay is the flag of events that a replica has made for its relay log.
const flagRelay = 0x40

// fileName is the form of the names of the files.
var fileName = regexp.MustCompile(`^(.+)\.([0-9]{6,})$`)

// Open finds the files of a binary log. path is their folder, or the index in it, such as
// "/var/lib/mysql/binlog.index". A folder without an index is searched for files with a common
// name. The caller calls Close. The error is ErrNone, or that of the folder.
func Open(path string) (_ *Log, err error) {
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	index := ""
	if !info.IsDir() {
		path, index = filepath.Dir(path), filepath.Base(path)
	}
	// A file of the log tells whose the server is, where the folder does not.
	some, err := filepath.Glob(filepath.Join(escape(path), "*.[0-9][0-9][0-9][0-9][0-9][0-9]*"))
	if err != nil {
		return nil, err
	}
	if len(some) == 0 {
		return nil, none(path)
	}
	user, err := serverfs.UserOf(path, nil, some[0])
	if err != nil {
		return nil, err
	}
	l := &Log{Dir: path}
	if l.files, err = serverfs.New(path, user); err != nil {
		return nil, err
	}
	if l.Names, err = l.find(index); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// none is the error of a folder without a log.
func none(dir string) error {
	return hint.Wrap(fmt.Errorf("%s: %w in this folder", dir, ErrNone),
		"name the folder that SELECT @@log_bin_basename shows, or the index in it")
}

// escape makes a pattern that matches a path alone.
func escape(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// Close gives back what Open has opened.
func (l *Log) Close() error { return l.files.Close() }

// find returns the names of the files.
func (l *Log) find(index string) ([]string, error) {
	if index != "" {
		names, err := l.index(index)
		if err == nil && len(names) == 0 {
			err = fmt.Errorf("%s: %w: it is not the index of one, or names no file", filepath.Join(l.Dir, index), ErrNone)
		}
		return names, err
	}
	list, err := l.files.ReadDir(l.Dir)
	if err != nil {
		return nil, err
	}
	found := map[string][]string{}
	for _, e := range list {
		if !strings.HasSuffix(e.Name(), ".index") {
			continue
		}
		names, err := l.index(e.Name())
		if err != nil {
			return nil, err
		}
		if len(names) > 0 && !l.relay(names) {
			found[e.Name()] = names
		}
	}
	if len(found) == 0 {
		found = l.withoutIndex(list)
	}
	var several []string
	for name, names := range found {
		if len(found) == 1 {
			return names, nil
		}
		several = append(several, name)
	}
	if len(several) == 0 {
		return nil, none(l.Dir)
	}
	slices.Sort(several)
	return nil, hint.Wrap(fmt.Errorf("%s: %w that is the only one: there are %s", l.Dir, ErrNone,
		strings.Join(several, ", ")), "name the index of the right one in place of the folder")
}

// index reads an index, and returns the names in it; none if it is something else.
func (l *Log) index(name string) ([]string, error) {
	b, err := l.files.ReadFile(filepath.Join(l.Dir, name), maxIndex)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.SplitSeq(strings.TrimRight(string(b), "\n"), "\n") {
		base := filepath.Base(line) // the server names them with their folder
		if !fileName.MatchString(base) {
			return nil, nil
		}
		names = append(names, base)
	}
	return names, nil
}

// relay reports whether files are a replica's relay log.
func (l *Log) relay(names []string) bool {
	for _, name := range slices.Backward(names) {
		if h, err := l.begin(name); err == nil {
			return h.Flags&flagRelay != 0
		}
	}
	return false
}

// begin returns the header of the first event of a file.
func (l *Log) begin(name string) (h binlog.Header, err error) {
	file, err := l.files.Open(filepath.Join(l.Dir, name))
	if err != nil {
		return h, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	b := make([]byte, len(binlog.Magic)+binlog.HeaderSize)
	if _, err := io.ReadFull(file, b); err != nil {
		return h, err
	}
	if string(b[:len(binlog.Magic)]) != binlog.Magic {
		return h, binlog.ErrDamaged
	}
	return binlog.ParseHeader(b[len(binlog.Magic):])
}

// withoutIndex finds files by their names and what they begin with.
func (l *Log) withoutIndex(list []fs.DirEntry) map[string][]string {
	found := map[string][]string{}
	for _, e := range list {
		m := fileName.FindStringSubmatch(e.Name())
		if m == nil {
			continue
		}
		if h, err := l.begin(e.Name()); err == nil && h.Flags&flagRelay == 0 {
			found[m[1]] = append(found[m[1]], e.Name())
		}
	}
	for _, names := range found {
		slices.SortFunc(names, func(a, b string) int { // binlog.1000000 comes after binlog.999999
			return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
		})
	}
	return found
}

// Open opens a file of the log. The caller closes it.
func (l *Log) Open(name string) (*os.File, error) { return l.files.Open(filepath.Join(l.Dir, name)) }

// Size returns the bytes of a file of the log.
func (l *Log) Size(name string) (int64, error) {
	info, err := l.files.Stat(filepath.Join(l.Dir, name))
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Start returns the position at the beginning of a file. The error is ErrDamaged, ErrEncrypted,
// or that of the file.
func (l *Log) Start(name string) (p binlog.Position, err error) {
	file, err := l.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	named := func(err error) error {
		if err != nil {
			err = fmt.Errorf("%s: %w", filepath.Join(l.Dir, name), err)
		}
		return err
	}
	r := binlog.NewReader(file, binlog.MaxEvent)
	for {
		event, err := r.Next()
		if err == io.EOF {
			err = &binlog.TornError{Offset: r.End(), Reason: noStart}
		}
		if err != nil {
			return nil, named(err)
		}
		if binlog.Type(event[4]) == binlog.TypeGTIDList {
			if err = r.Format().Check(event); err == nil {
				p, err = r.Format().List(event)
			}
		} else if binlog.Type(event[4]) == binlog.TypeGTID {
			err = &binlog.TornError{Offset: r.Offset(), Reason: noStart}
		}
		if err != nil || p != nil {
			return p, named(err)
		}
	}
}

const noStart = "nothing before its first transaction says with which transactions it begins"
