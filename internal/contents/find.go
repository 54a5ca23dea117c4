// Package contents says what backups hold: which of them has a table, and what is different
// between two. It reads manifests only.
package contents

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"syscall"
	"time"

	"mbk/internal/datadir/filter"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// Found is what a search for tables has found.
type Found struct {
	Repository string     `json:"repository"`
	Searched   int        `json:"searched"` // backups whose manifests were read
	Unread     []Unread   `json:"unread"`   // backups whose manifests cannot be read, oldest first
	Tables     []Findings `json:"tables"`   // by name
}

// Unread is a backup about which nothing can be said.
type Unread struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

// Findings are the backups that hold a table, and those that leave it out.
type Findings struct {
	Database string    `json:"database"`
	Name     string    `json:"name"`
	Held     []Holding `json:"held"`     // oldest first
	Since    time.Time `json:"since"`    // the start of the first backup that holds it
	Until    time.Time `json:"until"`    // and of the last
	Last     bool      `json:"last"`     // the newest backup that was read holds it
	LeftOut  []Unread  `json:"left_out"` // backups that do not hold it although the server had it
	Restore  string    `json:"restore"`  // the command that gets it back, "" if all these backups are damaged
}

// Holding is a table in one backup.
type Holding struct {
	ID       string             `json:"id"`
	Started  time.Time          `json:"started"`
	Engine   string             `json:"engine"` // "" for a view
	Type     string             `json:"type"`   // as repo.Table.Type
	Bytes    int64              `json:"bytes"`  // of its files
	LSN      innodb.LSN         `json:"lsn"`    // at which the backup ends
	Problem  string             `json:"problem,omitempty"`
	Verified *repo.Verification `json:"verified"` // how the backup stands, nil: never verified
	Damaged  bool               `json:"damaged"`  // the backup is known to be damaged

	summary *repo.Summary
}

// Summary is the backup in the list of the repository.
func (h *Holding) Summary() *repo.Summary { return h.summary }

// Find looks into all backups of a repository for tables that match one of the patterns of
// package filter, without regard to case. unmatched are the patterns that match nothing, each
// as a *filter.UnmatchedError. restore writes the command that gets a table back from a backup;
// it is asked for the newest that is not damaged. What needs an identity and has none is an error.
func Find(
	ctx context.Context, r *repo.Repository, patterns []string, restore func(id string, table filter.Name) string,
) (found *Found, unmatched []error, err error) {
	wanted, err := filter.ParseTables(patterns)
	if err != nil {
		return nil, nil, err
	}
	list, err := r.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	s := search{wanted: wanted, byName: map[filter.Name]*Findings{}, all: map[filter.Name]bool{}}
	found = &Found{Repository: r.String(), Unread: []Unread{}, Tables: []Findings{}}
	for i := range list {
		m, err := r.Manifest(ctx, list[i].ID)
		switch {
		case err == nil:
			found.Searched++
			s.newest = m.ID
			s.look(m, &list[i])
		case errors.Is(err, repo.ErrRemoved): // meanwhile
		case passable(err):
			found.Unread = append(found.Unread, Unread{list[i].ID, err.Error()})
		default:
			return nil, nil, err
		}
	}
	for _, one := range s.byName {
		found.Tables = append(found.Tables, s.finish(one, restore))
	}
	slices.SortFunc(found.Tables, func(a, b Findings) int {
		return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Name, b.Name))
	})
	return found, wanted.Unmatched(s.names()), nil
}

// passable reports whether an error is about one backup only.
func passable(err error) bool {
	return errors.Is(err, repo.ErrDamaged) || errors.Is(err, repo.ErrNewerFormat) || errors.Is(err, syscall.EIO) ||
		errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission)
}

// search is a search that goes on.
type search struct {
	wanted filter.Tables
	byName map[filter.Name]*Findings
	all    map[filter.Name]bool // every table that any backup holds or leaves out
	newest string               // id of the newest backup that was read
}

// look takes what one backup holds.
func (s *search) look(m *repo.Manifest, of *repo.Summary) {
	for i := range m.Tables {
		t := &m.Tables[i]
		if one := s.of(t.Database, t.Name); one != nil {
			one.Held = append(one.Held, Holding{
				ID: m.ID, Started: m.Started, Engine: t.Engine, Type: t.Type, Bytes: Bytes(m, t), LSN: m.LSN.End,
				Problem: t.Problem, Verified: of.Verified, Damaged: of.KnownDamaged(), summary: of,
			})
		}
	}
	for _, t := range m.LeftOut {
		if one := s.of(t.Database, t.Name); one != nil {
			one.LeftOut = append(one.LeftOut, Unread{m.ID, t.Reason})
		}
	}
}

// of returns what is known of a table, nil if it is not looked for.
func (s *search) of(database, table string) *Findings {
	name := filter.Name{Database: database, Table: table}
	s.all[name] = true
	if !s.wanted.Match(database, table) {
		return nil
	}
	if s.byName[name] == nil {
		s.byName[name] = &Findings{Database: database, Name: table, Held: []Holding{}, LeftOut: []Unread{}}
	}
	return s.byName[name]
}

func (s *search) names() []filter.Name {
	names := make([]filter.Name, 0, len(s.all))
	for name := range s.all {
		names = append(names, name)
	}
	return names
}

// finish says since when and until when a table is held, and how to get it back.
func (s *search) finish(f *Findings, restore func(id string, table filter.Name) string) Findings {
	if len(f.Held) == 0 {
		return *f
	}
	last := f.Held[len(f.Held)-1]
	f.Since, f.Until, f.Last = f.Held[0].Started, last.Started, last.ID == s.newest
	for _, h := range slices.Backward(f.Held) {
		if !h.Damaged {
			f.Restore = restore(h.ID, filter.Name{Database: f.Database, Table: f.Name})
			break
		}
	}
	return *f
}

// Bytes returns the size of the files of a table in a backup.
func Bytes(m *repo.Manifest, t *repo.Table) (bytes int64) {
	for _, i := range t.Files {
		bytes += m.Files[i].Size
	}
	return bytes
}
