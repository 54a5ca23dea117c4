package innodb

import (
	"errors"
	"fmt"
)

// maxBlockMTR bounds the records of one mini-transaction in a log of blocks. The
// server does not bound them when it writes; its recovery takes in 2 MiB at once.
const maxBlockMTR = 2 << 20

// blockParser walks over the blocks of a log of MariaDB 10.5 to 10.7 and the
// mini-transactions inside them. It is not safe for concurrent use.
type blockParser struct {
	finds
	trailer int
	payload []byte
}

// newBlockParser returns a parser of the log with this header.
func newBlockParser(h LogHeader) *blockParser {
	return &blockParser{
		finds:   finds{readable: h.Readable(), hidden: !h.Readable()},
		trailer: blockTrailer(h.Format),
	}
}

// unit implements logParser.
func (p *blockParser) unit() LSN { return blockSize }

// most implements logParser.
func (p *blockParser) most() int {
	return (maxBlockMTR/(blockPayload-p.trailer) + 3) * blockSize
}

// seal implements logParser: the block with end in it is kept, cut off there if
// its length can be written.
func (p *blockParser) seal(b []byte, end LSN) int {
	if !p.hidden {
		sealBlock(b[:blockSize], end, p.trailer)
	}
	return blockSize
}

// walk implements logParser. A mini-transaction counts when the block that its
// end lies in is there: one that fills a block ends in the next. In an encrypted
// log no end can be seen, and everything up to stop counts.
func (p *blockParser) walk(b []byte, start, stop LSN) (end LSN, err error) {
	p.reset()
	p.payload = p.payload[:0]
	first, whole := blockStart(start), len(b)/blockSize
	limit := first + LSN(whole*blockSize)
	begin := int(start % blockSize) // of what is new in a block
	for i := range whole {
		lsn, block := first+LSN(i*blockSize), b[i*blockSize:(i+1)*blockSize]
		if err := checkBlock(block, lsn); err != nil {
			return start, err
		}
		if p.hidden {
			continue
		}
		used, err := blockUse(block, lsn, p.trailer)
		if err != nil {
			return start, err
		}
		if used < begin || used < blockSize && i < whole-1 {
			return start, &MTRError{lsn, fmt.Sprintf("block with only %d bytes in use", used)}
		}
		p.payload = append(p.payload, block[begin:min(used, blockSize-p.trailer)]...)
		begin = blockHeader
	}
	if p.hidden {
		return max(start, min(stop, limit)), nil
	}
	return p.groups(start, stop, limit)
}

// groups walks over the mini-transactions in p.payload, which begins at start.
// The blocks that are there end at limit.
func (p *blockParser) groups(start, stop, limit LSN) (end LSN, err error) {
	end = start
	for n := 0; end < stop || p.announces(end); {
		rest := p.payload[n:]
		marker, state := frame(rest, maxBlockMTR)
		if state == frameEmpty {
			state = frameWhole // the server ends FILE_RENAME twice
		}
		if state == frameShort {
			return end, nil
		}
		if state != frameWhole {
			return start, &MTRError{end, frameReason(state, marker, maxBlockMTR)}
		}
		if rest[marker] != 0 {
			return start, &MTRError{end, fmt.Sprintf("impossible record after %d bytes", marker)}
		}
		next := blockAdvance(end, marker+1, p.trailer)
		if next >= limit {
			return end, nil
		}
		if end == p.anchor {
			p.anchored = true
		}
		if rest[0]&sameBit != 0 {
			if err := p.fileRecords(rest[:marker], end, next); err != nil {
				return start, err
			}
		}
		p.mtrs++
		n += marker + 1
		end = next
	}
	return end, nil
}

// lapped reports whether an error says that the server has written newer blocks
// over those that were looked for.
func lapped(err error) bool {
	var e *blockNumberError
	return errors.As(err, &e) && e.newer
}
