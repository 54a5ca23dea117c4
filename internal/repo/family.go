package repo

import (
	"cmp"
	"fmt"
	"slices"
)

// Place is the place of a backup in its chain.
type Place struct {
	Needs Needs `json:"needs"`
	// Broken says why the backup cannot be restored although nothing is known against its
	// own objects: what it needs is missing or damaged.
	Broken string `json:"broken,omitempty"`
	Pin    *Pin   `json:"pin"` // nil: not pinned

	ParentUnknown bool `json:"-"` // it has a parent, and it cannot be read which
	BrokenUnread  bool `json:"-"` // Broken only says that what it needs cannot be read here
}

// Needs is what a restore of a backup needs.
type Needs struct {
	// IDs are those of the backups of its chain, from the full one on, itself included. If
	// the chain is broken they begin with what is there.
	IDs         []string `json:"ids"`
	BytesStored int64    `json:"bytes_stored"` // of all of them
}

// family is the backups of a list by their parents.
type family struct {
	all  []*Summary // newest first
	byID map[string]*Summary
}

func newFamily(backups []Summary) *family {
	copies := slices.Clone(backups)
	return familyOf(copies)
}

// familyOf returns the family of backups that it may change.
func familyOf(backups []Summary) *family {
	f := &family{byID: make(map[string]*Summary, len(backups))}
	for i := range backups {
		f.all = append(f.all, &backups[i])
		f.byID[backups[i].ID] = &backups[i]
	}
	slices.SortStableFunc(f.all, func(a, b *Summary) int { return cmp.Compare(b.ID, a.ID) })
	return f
}

// chain returns a backup and those that it needs, itself first, as far as they are
// there, and why this is not a whole chain of good backups, "" if it is. What is wrong
// with the backup itself is no part of that.
func (f *family) chain(s *Summary) (members []*Summary, broken string) {
	members = []*Summary{s}
	for s.Parent != "" {
		parent := f.byID[s.Parent]
		switch {
		case parent == nil:
			return members, cmp.Or(broken, fmt.Sprintf("backup %s, which it needs, is missing", s.Parent))
		case len(members) == len(f.all): // each of them is in it
			return members, cmp.Or(broken, fmt.Sprintf("backup %s, which it needs, needs it, too", s.ID))
		case broken != "":
		case parent.ownDamage() != "":
			broken = fmt.Sprintf("backup %s, which it needs, is damaged: %s", parent.ID, parent.ownDamage())
		case parent.Problem != "":
			broken = fmt.Sprintf("backup %s, which it needs, is not readable: %s", parent.ID, parent.Problem)
		}
		members = append(members, parent)
		s = parent
	}
	return members, broken
}

// whole reports whether a backup and all that it needs can be read, as far as is known.
func (f *family) whole(s *Summary) bool {
	_, broken := f.chain(s)
	return broken == "" && s.Problem == "" && s.ownDamage() == ""
}

// order compares backups for their removal: chain by chain, and a backup before those
// that it needs. Clocks step back, so ids do not tell.
func (f *family) order(a, b *Summary) int {
	if a.ParentUnknown != b.ParentUnknown { // it may need any other
		return cmp.Compare(truth(b.ParentUnknown), truth(a.ParentUnknown))
	}
	chainA, _ := f.chain(a)
	chainB, _ := f.chain(b)
	return cmp.Or(cmp.Compare(chainB[len(chainB)-1].ID, chainA[len(chainA)-1].ID),
		cmp.Compare(len(chainB), len(chainA)), cmp.Compare(b.ID, a.ID))
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// dependents returns a backup and those that need it, or may need it, in the order of
// removal.
func (f *family) dependents(id string) []*Summary {
	var found []*Summary
	for _, s := range f.all {
		members, _ := f.chain(s)
		if s.ParentUnknown || slices.ContainsFunc(members, func(m *Summary) bool { return m.ID == id }) {
			found = append(found, s)
		}
	}
	slices.SortStableFunc(found, f.order)
	return found
}

// Connect finds the places of all backups of a repository in their chains. Pins stay.
func Connect(backups []Summary) {
	f := familyOf(backups)
	for _, s := range f.all {
		members, broken := f.chain(s)
		s.Needs, s.Broken = Needs{IDs: []string{}}, broken
		for _, m := range slices.Backward(members) {
			s.Needs.IDs = append(s.Needs.IDs, m.ID)
			s.Needs.BytesStored += m.BytesStored
		}
		s.BrokenUnread = broken != "" && members[len(members)-1].Parent == "" &&
			!slices.ContainsFunc(members[1:], func(m *Summary) bool { return m.ownDamage() != "" })
	}
}

// NeededBy returns the ids of the backups of a list that need one of them, oldest first.
func NeededBy(backups []Summary, id string) []string {
	ids := []string{}
	for i := range backups {
		s := &backups[i]
		if s.ID != id && slices.Contains(s.Needs.IDs, id) {
			ids = append(ids, s.ID)
		}
	}
	slices.Sort(ids)
	return ids
}
