package repo

import (
	"slices"
	"strings"
)

// Problems are the tables of a backup with which something was wrong on the source
// already.
type Problems []Table

// Problems finds them. A manifest that was written before there was a field for it has
// none.
func (m *Manifest) Problems() Problems {
	return slices.DeleteFunc(slices.Clone(m.Tables), func(t Table) bool { return t.Problem == "" })
}

// Of returns what the manifest says of a table, "" if nothing.
func (p Problems) Of(database, name string) string {
	for i := range p {
		if strings.EqualFold(p[i].Database, database) && strings.EqualFold(p[i].Name, name) {
			return p[i].Problem
		}
	}
	return ""
}
