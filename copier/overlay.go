package copier

import (
	"fmt"
	"io"
	"math"
	"math/bits"
	"sync/atomic"

	"mbk/copier/pack"
	"mbk/internal/fault"
)

// ErrInsidePage is returned by a sink of an Overlay for bytes that begin or end inside a
// page that no layer before has passed on. A file of several layers is stored in whole
// pages, so its packs are not what they were.
var ErrInsidePage = fault.New(fault.Damage, "bytes of a part of a page")

// Overlay puts the layers of one file over each other, the newest first: each unit of
// the file is passed on once, by the first sink that gets it. Layers come one after
// another; the extents of one layer may be read by several goroutines. It takes one bit of
// memory for each unit.
type Overlay struct {
	size, unit int64
	held       []atomic.Uint64 // a bit for each unit, the lowest of each word first
}

// NewOverlay returns the Overlay of a file of size bytes, in units of the bytes of its
// pages. The last unit may be shorter.
func NewOverlay(size int64, unit int) *Overlay {
	o := &Overlay{size: max(size, 0), unit: int64(max(unit, 1))}
	o.held = make([]atomic.Uint64, (o.units()+63)/64)
	return o
}

// units returns the number of units of the file.
func (o *Overlay) units() int64 { return o.unitsTo(o.size) }

// unitsTo returns how many units begin before an offset in the file.
func (o *Overlay) unitsTo(off int64) int64 {
	n := off / o.unit
	if off%o.unit > 0 {
		n++
	}
	return n
}

// Sink returns a pack.Chooser that passes on to a sink what no sink of the Overlay has
// passed on before, in runs of units. Bytes beyond the end of the file are dropped: it
// was longer when they were stored. Of a unit of which only a part comes, nothing is
// passed on; that is ErrInsidePage unless the unit was passed on before.
//
// Any number of sinks may be used at once. After an error of one, what the Overlay holds
// is not known.
func (o *Overlay) Sink(to pack.Sink) pack.Sink { return &overlaySink{over: o, to: to} }

// Holds reports whether all bytes of a range were passed on, as far as they lie in the
// file.
func (o *Overlay) Holds(start, size int64) bool {
	at, end := o.unitsOf(start, size)
	for at < end {
		word, mask := o.word(at, end)
		if word.Load()&mask != mask {
			return false
		}
		at += 64 - at%64
	}
	return true
}

// Held returns how many bytes of a range were passed on, or lie beyond the end of the file.
// A unit of which the range has only a part counts with that part.
func (o *Overlay) Held(start, size int64) int64 {
	held := size - max(min(start+size, o.size)-start, 0)
	at, end := o.unitsOf(start, size)
	for at < end {
		word, mask := o.word(at, end)
		base := at - at%64
		for set := word.Load() & mask; set != 0; set &= set - 1 {
			from := (base + int64(bits.TrailingZeros64(set))) * o.unit
			held += min(from+o.unit, start+size, o.size) - max(from, start)
		}
		at = base + 64
	}
	return held
}

// Missing returns the first range that no sink has passed on. ok is false if there is none.
func (o *Overlay) Missing() (start, size int64, ok bool) {
	units := o.units()
	first := o.next(0, false)
	if first >= units {
		return 0, 0, false
	}
	start = first * o.unit
	return start, min(o.next(first, true)*o.unit, o.size) - start, true
}

// next returns the first unit from one on that is held, or is not; the number of units if
// there is none.
func (o *Overlay) next(from int64, held bool) int64 {
	units := o.units()
	for at := from; at < units; at += 64 - at%64 {
		word, mask := o.word(at, units)
		set := word.Load()
		if !held {
			set = ^set
		}
		if set &= mask; set != 0 {
			return at - at%64 + int64(bits.TrailingZeros64(set))
		}
	}
	return units
}

// unitsOf returns the units [first, end) that a range touches, as far as it lies in the
// file.
func (o *Overlay) unitsOf(start, size int64) (first, end int64) {
	if start < 0 || size <= 0 || start >= o.size {
		return 0, 0
	}
	if size > o.size-start {
		size = o.size - start
	}
	return start / o.unit, o.unitsTo(start + size)
}

// word returns the word that a unit's bit is in, and the bits in it of the units [at, end).
func (o *Overlay) word(at, end int64) (word *atomic.Uint64, mask uint64) {
	base := at - at%64
	mask = ^uint64(0) << (at - base)
	if n := end - base; n < 64 {
		mask &= 1<<n - 1
	}
	return &o.held[base/64], mask
}

// claim marks the units of a range as passed on, and calls pass for each run of bytes
// that was not before.
func (o *Overlay) claim(off, n int64, pass func(from, to int64) error) error {
	if off < 0 || n < 0 || n > math.MaxInt64-off {
		return fmt.Errorf("%w: %d bytes at %d", ErrInsidePage, n, off)
	}
	end := min(off+n, o.size)
	if off >= end {
		return nil
	}
	first, last := o.unitsTo(off), end/o.unit
	if end == o.size {
		last = o.units()
	}
	if first*o.unit > off && !o.Holds(off, 1) || last*o.unit < end && !o.Holds(end-1, 1) {
		return fmt.Errorf("%w: %d bytes at %d, of pages of %d bytes", ErrInsidePage, n, off, o.unit)
	}
	from, to := int64(0), int64(0) // a run of units that is not passed on yet
	flush := func() error {
		if from == to {
			return nil
		}
		return pass(from*o.unit, min(to*o.unit, o.size))
	}
	for at := first; at < last; at += 64 - at%64 {
		word, mask := o.word(at, last)
		base := at - at%64
		for fresh := mask &^ word.Or(mask); fresh != 0; {
			begin := bits.TrailingZeros64(fresh)
			count := bits.TrailingZeros64(^(fresh >> begin))
			fresh &^= (1<<count - 1) << begin
			if base+int64(begin) != to {
				if err := flush(); err != nil {
					return err
				}
				from = base + int64(begin)
			}
			to = base + int64(begin+count)
		}
	}
	return flush()
}

// overlaySink is a sink of an Overlay.
type overlaySink struct {
	over *Overlay
	to   pack.Sink
}

// Wants reports whether any byte of a range is to be passed on.
func (s *overlaySink) Wants(off, n int64) bool { return !s.over.Holds(off, n) }

// WriteAt implements pack.Sink.
func (s *overlaySink) WriteAt(b []byte, off int64) (int, error) {
	err := s.over.claim(off, int64(len(b)), func(from, to int64) error {
		part := b[from-off : to-off]
		n, err := s.to.WriteAt(part, from)
		if err == nil && n < len(part) {
			err = io.ErrShortWrite
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// Zero implements pack.Sink.
func (s *overlaySink) Zero(off, n int64) error {
	return s.over.claim(off, n, func(from, to int64) error { return s.to.Zero(from, to-from) })
}
