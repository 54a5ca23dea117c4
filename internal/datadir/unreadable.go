package datadir

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"mbk/internal/datadir/serverfs"
	"mbk/internal/ui/printable"
)

// In the place of a file there may be something that mbk does not read: a FIFO, a device, a
// socket, or a link to a file that the server's user may not read. If a table needs the
// file, no backup can hold that table. Otherwise the server does not need it, and the
// backup leaves it out.

// Unreadable is a file that a backup should hold and cannot have.
type Unreadable struct {
	Entry Entry
	Name  string // "shop/z.MYD", and where it leads
	Why   string // "a FIFO", "permission denied"
}

// ErrDenied is why a file in its place cannot be read.
var ErrDenied = errors.New("permission denied")

// special reports whether something is neither a file, nor a directory, nor a link.
func special(e fs.DirEntry) bool {
	return e.Type()&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice|fs.ModeCharDevice|fs.ModeIrregular) != 0
}

// unreadKind describes something special in an entry's place.
func unreadKind(e Entry, d fs.DirEntry) Unreadable {
	mode := uint32(unix.S_IFCHR)
	switch {
	case d.Type()&fs.ModeNamedPipe != 0:
		mode = unix.S_IFIFO
	case d.Type()&fs.ModeSocket != 0:
		mode = unix.S_IFSOCK
	}
	return Unreadable{e, e.Path(), "a " + serverfs.Kind(mode)}
}

// reach returns why an external file cannot be read, "" if it can be. A missing one gives
// fs.ErrNotExist.
func (l Layout) reach(e Entry) (why string, err error) {
	file := l.File(e)
	s, err := l.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err == nil && !s.Regular() {
		return "a " + serverfs.Kind(s.Mode), nil
	}
	if err == nil {
		err = l.Files.Readable(file)
	}
	if err != nil {
		return reason(err), nil
	}
	return "", nil
}

// reason is an error without the path, which the caller names.
func reason(err error) string {
	if kind, ok := errors.AsType[*serverfs.KindError](err); ok {
		return "a " + kind.Kind
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err.Error()
	}
	return err.Error()
}

// Needed reports whether a table or database needs a file.
func (l Layout) Needed(e Entry) bool {
	if !e.Known() || e.Table == "" {
		return e.Known()
	}
	_, err := l.Files.Statx(filepath.Join(l.Dir, e.Dir, e.Table+".frm"), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE)
	return err == nil
}

// SplitUnreadable describes the files that a table needs and those that no table needs,
// each "" if there are none.
func (l Layout) SplitUnreadable(all []Unreadable) (needed, loose string) {
	var two [2][]Unreadable
	for _, u := range all {
		if l.BadDefinitions[u.Entry.Path()] != (Problem{}) {
			continue // a problem that the source has
		}
		if l.Needed(u.Entry) {
			two[0] = append(two[0], u)
		} else {
			two[1] = append(two[1], u)
		}
	}
	return listUnread(two[0]), listUnread(two[1])
}

// listUnread lists what cannot be read, grouped by reason.
func listUnread(all []Unreadable) string {
	const most = 20 // of each reason
	var reasons []string
	names := map[string][]string{}
	for _, u := range all {
		if names[u.Why] == nil {
			reasons = append(reasons, u.Why)
		}
		names[u.Why] = append(names[u.Why], u.Name)
	}
	for i, why := range reasons {
		reasons[i] = printable.ListUpTo(most, names[why]) + " (" + why + ")"
	}
	return strings.Join(reasons, "; ")
}

// IsKindError reports whether an error is about a FIFO, a device or the like.
func IsKindError(err error) bool {
	_, ok := errors.AsType[*serverfs.KindError](err)
	return ok
}

// DefinitionProblem returns why the definition of a table cannot be read, "" if it can be
// or does not exist. special reports that it is a FIFO, a device or the like.
func (l Layout) DefinitionProblem(q TableName) (why string, special bool) {
	frm := DefinitionOf(q)
	file := l.File(frm)
	if _, err := l.Files.Statx(file, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE); err != nil {
		return "", false
	}
	if s, err := l.Stat(file); err == nil {
		special = !s.Regular() && !s.directory()
	}
	why, err := l.reach(frm)
	if errors.Is(err, fs.ErrNotExist) {
		to, err := l.Files.Readlink(file)
		if err != nil {
			return "", false
		}
		why = "a link to " + printable.Text(to) + ", which is not there"
	}
	return why, special
}
