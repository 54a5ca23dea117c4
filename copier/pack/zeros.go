package pack

import (
	"bytes"
	"encoding/binary"
)

// MinZeros is the shortest run of zero bytes that becomes a chunk of zeros.
const MinZeros = 64 << 10

// zeroBlock is the unit in bytes in which runs of zeros are found: the block size of
// file systems, so that a hole can be restored as one.
const zeroBlock = 4 << 10

// ZeroRun returns how many zeros b begins with, in whole blocks; a shorter block at the
// end counts as well.
func ZeroRun(b []byte) int {
	at := 0
	for at < len(b) {
		end := min(at+zeroBlock, len(b))
		if !isZero(b[at:end]) {
			break
		}
		at = end
	}
	return at
}

// DataRun returns where the first run of at least least zeros begins in b, or len(b). The
// first from bytes are not looked at.
func DataRun(b []byte, from, least int) int {
	for at := from; at < len(b); {
		zero := ZeroRun(b[at:])
		if zero >= least {
			return at
		}
		at = min(at+zero+zeroBlock, len(b))
	}
	return len(b)
}

// isZero reports whether all bytes are zero.
func isZero(b []byte) bool {
	if len(b) >= 8 && binary.LittleEndian.Uint64(b) != 0 {
		return false // the usual case, without the calls
	}
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}
