package backup

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"mbk/internal/aria"
	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// supported reports whether a table of an engine is whole when the files of the
// data directory are restored. The rows of FEDERATED tables live elsewhere and
// those of MEMORY and BLACKHOLE nowhere; their definitions are all there is.
func supported(engine string) bool {
	switch engineName(engine) {
	case "InnoDB", "Aria", "MyISAM", "MRG_MyISAM", "CSV", "ARCHIVE", "MEMORY", "BLACKHOLE", "FEDERATED":
		return true
	}
	return false
}

// engineName is the name of an engine as the server writes it. Old definitions have
// others, which the server compares without case.
func engineName(name string) string {
	for _, known := range [...]string{"InnoDB", "Aria", "MyISAM", "MRG_MyISAM", "CSV", "ARCHIVE", "MEMORY", "BLACKHOLE", "FEDERATED", "partition"} {
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
		return []string{arzExt}
	}
	return nil
}

// outsideReason is why a table of an unsupported engine is left out.
const outsideReason = "its engine keeps rows outside of what a copy of its files holds"

// unsupportedTables lists the tables of a scan that cannot be backed up. Broken
// definitions are named by the backup itself; here they are passed over.
func unsupportedTables(l layout, s scan) []repo.LeftOut {
	var mu sync.Mutex
	found := map[int][]repo.LeftOut{} // by the first entry of a part
	inParts(len(s.entries), func(from, to int) {
		var part []repo.LeftOut
		_ = l.as(func(l layout) error { // what fails is seen again
			part = unsupportedIn(l, s.entries[from:to])
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

// unsupportedIn is unsupportedTables for some entries.
func unsupportedIn(l layout, entries []entry) []repo.LeftOut {
	var found []repo.LeftOut
	buf := make([]byte, 16<<10) // more than most definitions have
	for _, e := range entries {
		if !e.frm() {
			continue
		}
		b, err := l.readFile(l.file(e), buf)
		if err != nil {
			continue
		}
		if d, err := parseDefinition(b); err == nil && d.kind != kindView && !supported(d.engine) {
			found = append(found, leftOut(e, d))
		}
	}
	return found
}

func leftOut(e entry, d definition) repo.LeftOut {
	return repo.LeftOut{
		Database: filename.SQL(e.dir), Name: filename.SQL(e.table), Engine: d.engine,
		Reason: outsideReason,
	}
}
