package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

const (
	runEntry = 16      // bytes of a run in the list of a chunk of pages
	runZeros = 1 << 63 // in the length of a run: zeros, of which the chunk holds no bytes
	countLen = 4       // bytes of the number of runs

	// leastPages is the least raw bytes of a chunk of pages: one run of zeros.
	leastPages = countLen + runEntry
)

// Run is a run of bytes of a file in a chunk of pages.
type Run struct {
	Start, Size int64
	Zero        bool // zeros, of which the chunk holds no bytes
}

// pages are the raw bytes of a chunk of pages, which parsePages has checked.
type pages struct {
	list []byte // runEntry bytes each
	data []byte // the bytes of the runs one after another
}

// parsePages checks the raw bytes of a chunk of pages of which the first run begins at
// start.
func parsePages(raw []byte, start uint64) (pages, error) {
	if len(raw) < leastPages {
		return pages{}, fmt.Errorf("a chunk of pages of %d bytes", len(raw))
	}
	count := int64(binary.LittleEndian.Uint32(raw))
	if count == 0 || count > int64(len(raw)-countLen)/runEntry {
		return pages{}, fmt.Errorf("%d runs of pages in %d bytes", count, len(raw))
	}
	p := pages{list: raw[countLen : countLen+count*runEntry], data: raw[countLen+count*runEntry:]}
	if first := binary.LittleEndian.Uint64(p.list); first != start {
		return pages{}, fmt.Errorf("a chunk of pages from byte %d on begins with byte %d", start, first)
	}
	at, left := int64(0), int64(len(p.data))
	for i := range int(count) {
		off, size := binary.LittleEndian.Uint64(p.list[i*runEntry:]), binary.LittleEndian.Uint64(p.list[i*runEntry+8:])
		zero := size&runZeros != 0
		size &^= runZeros
		if size == 0 || off > math.MaxInt64 || int64(off) < at || int64(size) > math.MaxInt64-int64(off) {
			return pages{}, fmt.Errorf("a run of %d bytes of pages at %d after byte %d", size, off, at)
		}
		at = int64(off + size)
		if !zero {
			left -= min(int64(size), left+1)
		}
		if left < 0 {
			break
		}
	}
	if left != 0 {
		return pages{}, errors.New("the runs of pages have not as many bytes as their chunk")
	}
	return p, nil
}

// runs calls fn for each run, with its bytes unless it is zeros.
func (p pages) runs(fn func(r Run, b []byte) error) error {
	data := p.data
	for list := p.list; len(list) > 0; list = list[runEntry:] {
		size := binary.LittleEndian.Uint64(list[8:])
		r := Run{
			Start: int64(binary.LittleEndian.Uint64(list)), Size: int64(size &^ runZeros), Zero: size&runZeros != 0,
		}
		var b []byte
		if !r.Zero {
			b, data = data[:r.Size], data[r.Size:]
		}
		if err := fn(r, b); err != nil {
			return err
		}
	}
	return nil
}

// end returns the offset in the file after the last run.
func (p pages) end() int64 {
	last := p.list[len(p.list)-runEntry:]
	return int64(binary.LittleEndian.Uint64(last) + binary.LittleEndian.Uint64(last[8:])&^runZeros)
}

// gatherRuns is the room for the list of runs of a chunk of pages.
const gatherRuns = 64 << 10

// pageGather gathers runs for a chunk of pages.
type pageGather struct {
	buf  []byte // margin and gatherRuns bytes, then those of the runs; nil until it is used
	size int    // bytes of the runs
	list []Run
	end  int64 // after the last run
}

// room returns how many bytes of one more run there is room for.
func (g *pageGather) room() int {
	if (len(g.list)+1)*runEntry+countLen > gatherRuns {
		return 0
	}
	return max(MaxChunk-countLen-runEntry*(len(g.list)+1)-g.size, 0)
}

// add appends a run, which follows all others in the file, of at most room bytes.
func (g *pageGather) add(r Run, b []byte) {
	if g.buf == nil {
		g.buf = make([]byte, margin+gatherRuns+MaxChunk)
	}
	g.size += copy(g.buf[margin+gatherRuns+g.size:], b)
	if n := len(g.list); n > 0 && g.end == r.Start && g.list[n-1].Zero == r.Zero {
		g.list[n-1].Size += r.Size
	} else {
		g.list = append(g.list, r)
	}
	g.end = r.Start + r.Size
}

// take returns what was gathered, if anything: the offset in the file of the first run, and
// where in buf the raw bytes of the chunk lie. It begins the next chunk.
func (g *pageGather) take() (start int64, from, to int) {
	if len(g.list) == 0 {
		return 0, 0, 0
	}
	start = g.list[0].Start
	from, to = margin+gatherRuns-countLen-runEntry*len(g.list), margin+gatherRuns+g.size
	b := binary.LittleEndian.AppendUint32(g.buf[:from], uint32(len(g.list)))
	for _, r := range g.list {
		size := uint64(r.Size)
		if r.Zero {
			size |= runZeros
		}
		b = binary.LittleEndian.AppendUint64(b, uint64(r.Start))
		b = binary.LittleEndian.AppendUint64(b, size)
	}
	g.list, g.size = g.list[:0], 0
	return start, from, to
}
