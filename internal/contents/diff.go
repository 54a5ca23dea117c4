package contents

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// What may have become of a table.
const (
	Came      = "came"
	Went      = "went"
	LeftOut   = "left out" // the later backup does not hold it although the server has it
	TakenIn   = "taken in" // the earlier one left it out
	Renamed   = "renamed"
	Redefined = "redefined" // its definition was written again
	Rebuilt   = "rebuilt"   // with the same definition: TRUNCATE TABLE
	Grew      = "grew"
	Shrank    = "shrank"
)

// Difference is what is different between two backups.
type Difference struct {
	From      Side     `json:"from"`
	To        Side     `json:"to"`
	Databases Names    `json:"databases"`
	Tables    []Change `json:"tables"` // by name
	Unchanged int      `json:"unchanged"`
	Counts    Counts   `json:"counts"`
}

// Side is one of the backups.
type Side struct {
	ID      string    `json:"id"`
	Started time.Time `json:"started"`
	Tables  int       `json:"tables"`
	Bytes   int64     `json:"bytes"` // of the files of all tables
}

// Names are the names of databases.
type Names struct {
	Came []string `json:"came"`
	Went []string `json:"went"`
}

// Counts says how many tables have changed in which way. A table may be in several.
type Counts struct {
	Came      int `json:"came"`
	Went      int `json:"went"`
	LeftOut   int `json:"left_out"`
	TakenIn   int `json:"taken_in"`
	Renamed   int `json:"renamed"`
	Redefined int `json:"redefined"`
	Rebuilt   int `json:"rebuilt"`
	Grew      int `json:"grew"`
	Shrank    int `json:"shrank"`
}

// Change is what has become of one table.
type Change struct {
	Database string   `json:"database"` // of the later backup, if it holds the table
	Name     string   `json:"name"`
	Changes  []string `json:"changes"` // one or several of the constants above
	Was      *Before  `json:"was,omitempty"`
	Engine   string   `json:"engine"`               // "" for a view
	WasWith  string   `json:"engine_was,omitempty"` // the engine, if it was another
	Bytes    int64    `json:"bytes"`                // 0 if the later backup does not hold it
	BytesWas int64    `json:"bytes_was"`
	Reason   string   `json:"reason,omitempty"` // why it was left out
}

// Before is the name that a renamed table had.
type Before struct {
	Database string `json:"database"`
	Name     string `json:"name"`
}

// Compare says what is different in the backup to from what was in the backup from.
func Compare(from, to *repo.Manifest) *Difference {
	a, b := sideOf(from), sideOf(to)
	d := &Difference{
		From: a.Side, To: b.Side,
		Databases: Names{Came: b.without(a), Went: a.without(b)}, Tables: []Change{},
	}
	before, taken := matches(a, b)
	for _, name := range b.order {
		now := b.tables[name]
		if change := changeOf(before[now], now, a.leftOut); len(change.Changes) > 0 {
			d.Tables = append(d.Tables, change)
		} else {
			d.Unchanged++
		}
	}
	for _, name := range a.order {
		if was := a.tables[name]; !taken[was] {
			d.Tables = append(d.Tables, goneChange(was, b.leftOut))
		}
	}
	slices.SortStableFunc(d.Tables, func(x, y Change) int {
		return cmp.Or(cmp.Compare(x.Database, y.Database), cmp.Compare(x.Name, y.Name))
	})
	d.count()
	return d
}

// nameOf is the name of a table as a key.
func nameOf(database, name string) Before { return Before{database, name} }

// held is a table in a backup.
type held struct {
	*repo.Table
	bytes      int64
	definition *repo.File // its .frm, nil: none
	space      identity   // its first tablespace; zero if it has none of its own or nothing was in it yet
	file       identity   // its first file; zero if the file system has no birth times
}

// data returns the bytes of the files without the definition.
func (h *held) data() int64 {
	if h.definition == nil {
		return h.bytes
	}
	return h.bytes - h.definition.Size
}

// identity is what a table keeps when it is renamed: the number of a tablespace, or device,
// inode and birth of a file.
type identity struct {
	space      innodb.SpaceID
	dev, inode uint64
	born       int64
}

// side is a backup with its tables.
type side struct {
	Side
	order     []Before // as in the manifest
	tables    map[Before]*held
	leftOut   map[Before]string // why
	databases []string
	notHeld   []string // databases of which the filter of the backup leaves everything out
}

func sideOf(m *repo.Manifest) *side {
	s := &side{Side: Side{ID: m.ID, Started: m.Started, Tables: len(m.Tables)}, tables: map[Before]*held{},
		leftOut: map[Before]string{}}
	for i := range m.Tables {
		t := &m.Tables[i]
		one := heldOf(m, t)
		s.order = append(s.order, nameOf(t.Database, t.Name))
		s.tables[nameOf(t.Database, t.Name)] = one
		s.Bytes += one.bytes
	}
	for _, t := range m.LeftOut {
		s.leftOut[nameOf(t.Database, t.Name)] = t.Reason
	}
	if m.Filter != nil {
		s.notHeld = m.Filter.LeftOut
	}
	for _, d := range m.Directories {
		s.databases = append(s.databases, d.Name)
	}
	return s
}

func heldOf(m *repo.Manifest, t *repo.Table) *held {
	h := &held{Table: t, bytes: Bytes(m, t)}
	for _, i := range t.Files {
		f := &m.Files[i]
		if strings.HasSuffix(f.Path, ".frm") {
			h.definition = f
			if len(t.Files) > 1 { // else it is all of a view
				continue
			}
		}
		if f.Space != nil && *f.Space != 0 && (h.space.space == 0 || *f.Space < h.space.space) {
			h.space.space = *f.Space
		}
		if h.file == (identity{}) && !f.Born.IsZero() {
			h.file = identity{dev: f.Dev, inode: f.Inode, born: f.Born.UnixNano()}
		}
	}
	return h
}

// without returns the databases that another backup does not have.
func (s *side) without(other *side) []string {
	names := []string{}
	for _, name := range s.databases {
		if !slices.Contains(other.databases, name) && !slices.Contains(other.notHeld, name) {
			names = append(names, name)
		}
	}
	return names
}

// matches finds what each table of b was in a: what has the same identity, else what has the
// same name and became nothing else. taken are those of a that it finds.
func matches(a, b *side) (before map[*held]*held, taken map[*held]bool) {
	before, taken = map[*held]*held{}, map[*held]bool{}
	take := func(now, was *held) {
		before[now], taken[was] = was, true
	}
	byID := map[identity]*held{}
	for _, was := range a.tables {
		byID[was.space], byID[was.file] = was, was
	}
	delete(byID, identity{})
	for _, now := range b.tables {
		was := cmp.Or(byID[now.space], byID[now.file])
		if was != nil && !taken[was] && was.Engine == now.Engine && was.Type == now.Type {
			take(now, was)
		}
	}
	for name, now := range b.tables {
		if was := a.tables[name]; before[now] == nil && was != nil && !taken[was] {
			take(now, was)
		}
	}
	return before, taken
}

// changeOf says what has become of a table; was is nil if it is new.
func changeOf(was, now *held, leftOut map[Before]string) Change {
	c := Change{Database: now.Database, Name: now.Name, Engine: now.Engine, Bytes: now.bytes}
	add := func(what string, is bool) {
		if is {
			c.Changes = append(c.Changes, what)
		}
	}
	if was == nil {
		reason, left := leftOut[nameOf(now.Database, now.Name)]
		c.Reason = reason
		add(TakenIn, left)
		add(Came, !left)
		return c
	}
	c.BytesWas = was.bytes
	if was.Engine != now.Engine {
		c.WasWith = was.Engine
	}
	if was.Database != now.Database || was.Name != now.Name {
		c.Was = &Before{was.Database, was.Name}
		add(Renamed, true)
	}
	redefined := was.Engine != now.Engine || was.Type != now.Type || !sameDefinition(was.definition, now.definition)
	add(Redefined, redefined)
	add(Rebuilt, !redefined && rebuilt(was, now))
	add(Grew, now.data() > was.data())
	add(Shrank, now.data() < was.data())
	return c
}

// rebuilt reports whether a table is in another tablespace. The number of one in which nothing
// has been written yet is not known, but the file is another.
func rebuilt(was, now *held) bool {
	none := identity{}
	if was.space != none && now.space != none {
		return was.space != now.space
	}
	return was.space != now.space && was.file != none && now.file != none && was.file != now.file
}

// goneChange says what has become of a table that is not in the later backup.
func goneChange(was *held, leftOut map[Before]string) Change {
	c := Change{Database: was.Database, Name: was.Name, Engine: was.Engine, BytesWas: was.bytes, Changes: []string{Went}}
	if reason, left := leftOut[nameOf(was.Database, was.Name)]; left {
		c.Reason, c.Changes = reason, []string{LeftOut}
	}
	return c
}

// sameDefinition compares two .frm files. The server writes another one for each definition,
// and a RENAME TABLE moves it.
func sameDefinition(a, b *repo.File) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Size == b.Size && a.Modified.Equal(b.Modified)
}

func (d *Difference) count() {
	of := map[string]*int{
		Came: &d.Counts.Came, Went: &d.Counts.Went, LeftOut: &d.Counts.LeftOut, TakenIn: &d.Counts.TakenIn,
		Renamed: &d.Counts.Renamed, Redefined: &d.Counts.Redefined, Rebuilt: &d.Counts.Rebuilt,
		Grew: &d.Counts.Grew, Shrank: &d.Counts.Shrank,
	}
	for _, c := range d.Tables {
		for _, what := range c.Changes {
			*of[what]++
		}
	}
}
