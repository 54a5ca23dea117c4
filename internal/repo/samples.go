package repo

import "slices"

// Samples are what an attempt measured of itself while it ran, in lists of equal length: how
// the bytes grew, and how much room the server's redo log had left.
type Samples struct {
	MS     []int64 `json:"ms"`     // since the attempt began
	Read   []int64 `json:"read"`   // bytes of files so far
	Stored []int64 `json:"stored"` // bytes for them so far
	Redo   []int64 `json:"redo"`   // bytes of the redo log copied so far
	// Headroom is the lowest since the sample before, in bytes; -1: the log was not followed.
	Headroom []int64 `json:"headroom"`
}

// Sample is one of them.
type Sample struct{ MS, Read, Stored, Redo, Headroom int64 }

// maxSamples bounds what is kept. A record of the history has to stay small.
const maxSamples = 64

// Add adds a sample. If there are too many by then, it makes one of each two, and reports
// that: the next ones are to be as far apart as these.
func (s *Samples) Add(one Sample) (halved bool) {
	s.add(one)
	if len(s.MS) < maxSamples {
		return false
	}
	all := s.All()
	*s = Samples{}
	for pair := range slices.Chunk(all, 2) {
		second := pair[len(pair)-1]
		second.Headroom = lowest(pair[0].Headroom, second.Headroom)
		s.add(second)
	}
	return true
}

func (s *Samples) add(one Sample) {
	s.MS, s.Read, s.Stored = append(s.MS, one.MS), append(s.Read, one.Read), append(s.Stored, one.Stored)
	s.Redo, s.Headroom = append(s.Redo, one.Redo), append(s.Headroom, one.Headroom)
}

// lowest is the smaller head-room, of those that are known.
func lowest(a, b int64) int64 {
	if a < 0 {
		return b
	}
	if b < 0 {
		return a
	}
	return min(a, b)
}

// All returns the samples in order; nil if there are none. A record may be hostile: what is
// not in all lists, or not after the sample before, is left out.
func (s *Samples) All() []Sample {
	if s == nil {
		return nil
	}
	var all []Sample
	n := min(len(s.MS), len(s.Read), len(s.Stored), len(s.Redo), len(s.Headroom), maxSamples)
	for i := range n {
		one := Sample{s.MS[i], s.Read[i], s.Stored[i], s.Redo[i], s.Headroom[i]}
		before := Sample{}
		if len(all) > 0 {
			before = all[len(all)-1]
		}
		if one.MS < before.MS || one.Read < before.Read || one.Stored < before.Stored || one.Redo < before.Redo {
			continue
		}
		all = append(all, one)
	}
	return all
}
