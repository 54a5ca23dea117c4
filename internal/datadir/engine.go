package datadir

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"mbk/internal/aria"
	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// SupportedEngine reports whether a table of an engine is whole when the files of the
// data directory are restored. The rows of FEDERATED tables live elsewhere and
// those of MEMORY and BLACKHOLE nowhere; their definitions are all there is.
func SupportedEngine(engine string) bool {
	switch engineName(engine) {
	case "InnoDB", "Aria", "MyISAM", "MRG_MyISAM", "CSV", "ARCHIVE", "MEMORY", "BLACKHOLE", "FEDERATED":
		return true
	}
	return false
}

// engineName returns the name of an engine as the server writes it. Old definitions have
// it in another case, which the server ignores.
func engineName(name string) string {
	for _, known := range [...]string{"InnoDB", "Aria", "MyISAM", "MRG_MyISAM", "CSV", "ARCHIVE", "MEMORY", "BLACKHOLE",
		"FEDERATED", "partition"} {
		if strings.EqualFold(known, name) {
			return known
		}
	}
	return name
}

// dataFiles are the extensions of the files that an engine keeps of each table or
// partition, that of the index before that of the data.
func dataFiles(engine string) []string {
	switch engine {
	case "InnoDB":
		return []string{".ibd"}
	case "MyISAM":
		return []string{".MYI", ".MYD"}
	case "Aria":
		return []string{aria.IndexExt, aria.DataExt}
	case "MRG_MyISAM":
		return []string{".MRG"}
	case "CSV":
		return []string{".CSM", ".CSV"}
	case "ARCHIVE":
		return []string{ARZExt}
	}
	return nil
}

// OutsideReason is why a table of an unsupported engine is left out.
const OutsideReason = "its engine keeps rows outside of what a copy of its files holds"

// UnsupportedTables lists the tables of a scan that cannot be backed up. Broken definitions
// are skipped, because the backup reports them.
func UnsupportedTables(l Layout, s Scan) []repo.LeftOut {
	var mu sync.Mutex
	found := map[int][]repo.LeftOut{} // by the first entry of a part
	inParts(len(s.Entries), func(from, to int) {
		var part []repo.LeftOut
		_ = l.Do(func(l Layout) error { // what fails is seen again
			part = unsupportedIn(l, s.Entries[from:to])
			return nil
		})
		mu.Lock()
		defer mu.Unlock()
		found[from] = part
	})
	var all []repo.LeftOut
	for _, from := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[from]...)
	}
	return all
}

// unsupportedIn is UnsupportedTables for some entries.
func unsupportedIn(l Layout, entries []Entry) []repo.LeftOut {
	var found []repo.LeftOut
	buf := make([]byte, 16<<10) // more than most definitions have
	for _, e := range entries {
		if !e.IsDefinition() {
			continue
		}
		b, err := l.ReadFile(l.File(e), buf)
		if err != nil {
			continue
		}
		if d, err := parseDefinition(b); err == nil && d.Kind != KindView && !SupportedEngine(d.Engine) {
			found = append(found, UnsupportedTable(e, d))
		}
	}
	return found
}

// UnsupportedTable is the record of one such table.
func UnsupportedTable(e Entry, d Definition) repo.LeftOut {
	return repo.LeftOut{
		Database: filename.SQL(e.Dir), Name: filename.SQL(e.Table), Engine: d.Engine,
		Reason: OutsideReason,
	}
}
