package backup

import (
	"path"
	"slices"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/ui/printable"
)

// listing is what the server lists: all databases and tables that have files.
type listing struct {
	databases []string
	tables    []qualified
}

// reconciler compares what the server lists with what was found on the disk.
type reconciler struct {
	folds     bool     // with lower_case_table_names the server lists names in lower case, of some releases
	unnamable []string // paths on disk
}

func (l layout) reconciler(s scan) reconciler {
	return reconciler{folds: l.folds(), unnamable: s.unnamable}
}

// key is by what a table is compared.
func (r reconciler) key(q qualified) qualified {
	if r.folds {
		return qualified{strings.ToLower(q.database), strings.ToLower(q.name)}
	}
	return q
}

// passed reports whether the server lists a file that was passed over because of its
// name. It writes "?" for what is not UTF-8.
func (r reconciler) passed(q qualified) bool {
	return slices.ContainsFunc(r.unnamable, func(name string) bool {
		dir, file := path.Split(name)
		if dir == "" {
			return legible(filename.SQL(name)) == legible(q.database)
		}
		return path.Ext(file) == ".frm" && legible(filename.SQL(path.Clean(dir))) == legible(q.database) &&
			legible(filename.SQL(strings.TrimSuffix(file, ".frm"))) == legible(q.name)
	})
}

// legible is what can be compared of a name that is not text.
func legible(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == '?' {
			return -1
		}
		return r
	}, name)
}

// difference is by how much the data directory and the server's lists differ.
type difference struct {
	missing   []qualified // tables that the server lists and we have not
	surplus   []qualified // tables that we have and the server does not list
	databases []string    // that the server lists and we have not, quoted
}

func (d difference) empty() bool { return len(d.missing)+len(d.surplus)+len(d.databases) == 0 }

// and keeps what is in both.
func (d difference) and(other difference) difference {
	return difference{inBoth(d.missing, other.missing), inBoth(d.surplus, other.surplus), inBoth(d.databases, other.databases)}
}

func inBoth[T comparable](a, b []T) []T {
	there := make(map[T]bool, len(b))
	for _, v := range b {
		there[v] = true
	}
	return slices.DeleteFunc(a, func(v T) bool { return !there[v] })
}

// tables compares our tables with those that the server lists.
func (r reconciler) tables(ours, server []qualified) (d difference) {
	byKey := make(map[qualified]qualified, len(ours))
	for _, q := range ours {
		byKey[r.key(q)] = q
	}
	listed := make(map[qualified]bool, len(server))
	for _, q := range server {
		key := r.key(q)
		listed[key] = true
		if _, known := byKey[key]; !known && !r.passed(q) {
			d.missing = append(d.missing, q)
		}
	}
	for key, q := range byKey {
		if !listed[key] {
			d.surplus = append(d.surplus, q)
		}
	}
	slices.SortFunc(d.surplus, func(a, b qualified) int { return strings.Compare(a.String(), b.String()) })
	return d
}

// databases are those that the server lists and that are not among ours, by their
// names on disk, although their directories hold files of a database.
func (r reconciler) databases(l layout, ours []string, server []string) []string {
	known := make(map[string]bool, len(ours))
	for _, name := range ours {
		known[r.key(qualified{database: name}).database] = true
	}
	var found []string
	for _, name := range server {
		q := qualified{database: name}
		if !known[r.key(q).database] && !r.passed(q) && l.holdsTables(filename.Encode(name)) {
			found = append(found, printable.Name(name))
		}
	}
	return found
}
