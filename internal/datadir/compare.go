package datadir

import (
	"path"
	"slices"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/ui/printable"
)

// Listing is what the server lists: all databases and tables that have files.
type Listing struct {
	Databases []string
	Tables    []TableName
}

// Reconciler compares what the server lists with what is on the disk.
type Reconciler struct {
	Folds     bool     // with lower_case_table_names the server lists names in lower case, of some releases
	Unnamable []string // paths on disk
}

// Reconciler makes the reconciler for a scan.
func (l Layout) Reconciler(s Scan) Reconciler {
	return Reconciler{Folds: l.FoldsNames(), Unnamable: s.Unnamable}
}

// key is by what a table is compared.
func (r Reconciler) key(q TableName) TableName {
	if r.Folds {
		return TableName{strings.ToLower(q.Database), strings.ToLower(q.Name)}
	}
	return q
}

// passed reports whether the server lists a file that was left out because of its name.
// The server writes "?" for what is not UTF-8.
func (r Reconciler) passed(q TableName) bool {
	return slices.ContainsFunc(r.Unnamable, func(name string) bool {
		dir, file := path.Split(name)
		if dir == "" {
			return legible(filename.SQL(name)) == legible(q.Database)
		}
		return path.Ext(file) == ".frm" && legible(filename.SQL(path.Clean(dir))) == legible(q.Database) &&
			legible(filename.SQL(strings.TrimSuffix(file, ".frm"))) == legible(q.Name)
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

// Difference is how the data directory and the server's lists differ.
type Difference struct {
	Missing   []TableName // tables that the server lists and we have not
	Surplus   []TableName // tables that we have and the server does not list
	Databases []string    // that the server lists and we have not, quoted
}

// Empty reports whether there is no difference.
func (d Difference) Empty() bool { return len(d.Missing)+len(d.Surplus)+len(d.Databases) == 0 }

// Intersect keeps what is in both.
func (d Difference) Intersect(other Difference) Difference {
	return Difference{
		inBoth(d.Missing, other.Missing), inBoth(d.Surplus, other.Surplus), inBoth(d.Databases, other.Databases),
	}
}

func inBoth[T comparable](a, b []T) []T {
	there := make(map[T]bool, len(b))
	for _, v := range b {
		there[v] = true
	}
	return slices.DeleteFunc(a, func(v T) bool { return !there[v] })
}

// Tables compares our tables with those that the server lists.
func (r Reconciler) Tables(ours, server []TableName) (d Difference) {
	byKey := make(map[TableName]TableName, len(ours))
	for _, q := range ours {
		byKey[r.key(q)] = q
	}
	listed := make(map[TableName]bool, len(server))
	for _, q := range server {
		key := r.key(q)
		listed[key] = true
		if _, known := byKey[key]; !known && !r.passed(q) {
			d.Missing = append(d.Missing, q)
		}
	}
	for key, q := range byKey {
		if !listed[key] {
			d.Surplus = append(d.Surplus, q)
		}
	}
	slices.SortFunc(d.Surplus, func(a, b TableName) int { return strings.Compare(a.String(), b.String()) })
	return d
}

// Databases are those that the server lists and that are not among ours, by their
// names on disk, although their directories hold files of a database.
func (r Reconciler) Databases(l Layout, ours []string, server []string) []string {
	known := make(map[string]bool, len(ours))
	for _, name := range ours {
		known[r.key(TableName{Database: name}).Database] = true
	}
	var found []string
	for _, name := range server {
		q := TableName{Database: name}
		if !known[r.key(q).Database] && !r.passed(q) && l.holdsTables(filename.Encode(name)) {
			found = append(found, printable.Name(name))
		}
	}
	return found
}
