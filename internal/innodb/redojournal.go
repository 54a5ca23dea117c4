package innodb

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// Journal is what the redo log says about tablespace files between two LSNs. It is
// safe for concurrent use.
type Journal struct {
	mu       sync.Mutex
	readable bool
	hidden   bool // some operations may be hidden
	spaces   map[SpaceID]*SpaceHistory
	counts   FileCounts
	own      LSN // as CheckpointOnly
}

// FileCounts are the numbers of file operations in a stretch of redo log. They
// are known even where names are encrypted.
type FileCounts struct {
	Creates, Deletes, Renames, Modifies, Checkpoints int
}

// SpaceHistory is what happened to one tablespace's file.
type SpaceHistory struct {
	Space    SpaceID
	Name     string // its last name, as the server writes it: "./db/t.ibd" or an absolute path
	Created  LSN    // start of the mini-transaction that created it; 0: not in this stretch
	Deleted  LSN    // likewise
	Renamed  LSN    // the last time
	Modified LSN    // the last FILE_MODIFY; one follows each checkpoint before which the file changed

	was      string // its name before it was renamed the last time
	External bool   // it has had an absolute path as a name
}

// newJournal returns an empty journal of a log that is readable or not, and whose
// operations are hidden or not.
func newJournal(readable, hidden bool) *Journal {
	return &Journal{readable: readable, hidden: hidden, spaces: make(map[SpaceID]*SpaceHistory)}
}

// MayDelete reports whether the log deletes tablespaces, or hides even that: in
// Format105Enc no operation can be seen, and Counts are all zero.
func (j *Journal) MayDelete() bool { return j.hidden || j.Counts().Deletes > 0 }

// Readable reports whether the log shows which files its records are about. If
// not, only Counts tells anything.
func (j *Journal) Readable() bool { return j.readable }

// Counts returns the number of operations so far.
func (j *Journal) Counts() FileCounts {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts
}

// CheckpointOnly returns the LSN up to which the log, from a checkpoint on, has nothing but
// the checkpoint's own records: the names of the files that were changed since the one
// before. 0 if that is not known, as always in the formats before Format108.
func (j *Journal) CheckpointOnly() LSN {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.own
}

// checkpointOnly notes what CheckpointOnly returns.
func (j *Journal) checkpointOnly(end LSN) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.own = end
}

// Space returns what happened to one tablespace, and whether anything did.
func (j *Journal) Space(id SpaceID) (SpaceHistory, bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if s := j.spaces[id]; s != nil {
		return *s, true
	}
	return SpaceHistory{}, false
}

// ExternalNames returns how many tablespaces have had an absolute path as a name.
func (j *Journal) ExternalNames() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	n := 0
	for _, s := range j.spaces {
		if s.External {
			n++
		}
	}
	return n
}

// Spaces returns all tablespaces that the log names, by their numbers.
func (j *Journal) Spaces() []SpaceHistory {
	j.mu.Lock()
	defer j.mu.Unlock()
	all := make([]SpaceHistory, 0, len(j.spaces))
	for _, s := range j.spaces {
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b SpaceHistory) int { return int(int64(a.Space) - int64(b.Space)) })
	return all
}

// add takes in operations in the order of the log.
func (j *Journal) add(ops []FileOp) {
	if len(ops) == 0 {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, op := range ops {
		j.addOne(op)
	}
}

func (j *Journal) addOne(op FileOp) {
	var at func(*SpaceHistory) *LSN
	name := op.Name
	switch op.Kind {
	case FileCheckpoint:
		j.counts.Checkpoints++
		return
	case FileCreate:
		j.counts.Creates++
		at = func(s *SpaceHistory) *LSN { return &s.Created }
	case FileDelete:
		j.counts.Deletes++
		at = func(s *SpaceHistory) *LSN { return &s.Deleted }
	case FileRename:
		j.counts.Renames++
		at = func(s *SpaceHistory) *LSN { return &s.Renamed }
		name = op.NewName
	case FileModify:
		j.counts.Modifies++
		at = func(s *SpaceHistory) *LSN { return &s.Modified }
	}
	if !j.readable {
		return
	}
	s := j.spaces[op.Space]
	if s == nil {
		s = &SpaceHistory{Space: op.Space}
		j.spaces[op.Space] = s
	}
	*at(s) = op.Start
	if op.Kind == FileRename {
		s.was = op.Name
	}
	// 10.5 logs a rename before it takes the new name on: another session that
	// changes the file just then still notes it under the old one.
	if op.Kind == FileModify && s.Renamed != 0 && name == s.was {
		return
	}
	s.Name = name
	s.External = s.External || isExternal(op.Name) || isExternal(op.NewName)
}

// ProblemKind says why the redo log and a set of files do not fit together.
type ProblemKind uint8

// The kinds of problems.
const (
	// ProblemMissing: the log changes a file that is not in the set, and was there
	// before the log began.
	ProblemMissing ProblemKind = iota + 1
	// ProblemDeleted: the log deletes a tablespace that is in the set. ALTER
	// TABLE ... DISCARD and IMPORT TABLESPACE look like this. A recovery would
	// drop every later change of the table without a word.
	ProblemDeleted
	// ProblemName: a file of the set does not have the name that the log gave it
	// last. A recovery would rename it, or lose it at its second start.
	ProblemName
)

// Problem is one tablespace for which a recovery would fail or lose data.
type Problem struct {
	Kind    ProblemKind
	File    string // its name in the set of files, "" if it is not there
	History SpaceHistory
}

// String describes the problem in one line.
func (p Problem) String() string {
	h := p.History
	switch p.Kind {
	case ProblemMissing:
		return fmt.Sprintf("tablespace %d, %s, is changed by the redo log and is not among the files", h.Space, h.Name)
	case ProblemDeleted:
		return fmt.Sprintf("tablespace %d, %s, is deleted by the redo log at LSN %d and is among the files", h.Space,
			p.File, h.Deleted)
	case ProblemName:
		return fmt.Sprintf("tablespace %d is called %s by the redo log and %s among the files", h.Space, h.Name, p.File)
	}
	return fmt.Sprintf("tablespace %d: problem %d", h.Space, p.Kind)
}

// Reconcile compares what a log says of tablespaces with the files that a recovery would find:
// their names by tablespace number. A name is relative to the data directory
// ("db/t.ibd") or absolute, as the server itself names the file; "" is not
// compared. It returns what would make the recovery fail or lose data, by
// tablespace number. A journal that is not Readable has no spaces: then only its
// Counts can show that nothing was deleted.
func Reconcile(spaces []SpaceHistory, files map[SpaceID]string) []Problem {
	var problems []Problem
	for _, h := range spaces {
		file, present := files[h.Space]
		kind := ProblemKind(0)
		switch {
		case h.Deleted != 0 && present:
			kind = ProblemDeleted
		case h.Deleted != 0:
			// Gone, and a recovery knows it.
		case !present && (h.Created == 0 || h.Renamed != 0):
			kind = ProblemMissing
		case !present:
			// Created in this stretch under its last name. From 10.6 on the log says so
			// before the file is there, and perhaps nothing of its pages yet.
		case file != "" && strings.TrimPrefix(file, "./") != strings.TrimPrefix(h.Name, "./"):
			kind = ProblemName
		}
		if kind != 0 {
			problems = append(problems, Problem{Kind: kind, File: file, History: h})
		}
	}
	return problems
}
