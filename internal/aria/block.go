package aria

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Values in place of a block's checksum that say that it has none. The
// checksum of a block is never one of them.
const (
	noChecksum       = 0xffffffff // in a block of rows or keys
	noChecksumBitmap = 0xfffffffe // in a block of the bitmap
)

// checksumLen is the size of the checksum at the end of each block, in bytes.
const checksumLen = 4

// BlockError is a block that is not as the server wrote it.
type BlockError struct {
	Block     uint32 // number in its file, from 0
	Reason    string // what is wrong, when it is not the checksum
	Want, Got uint32 // the stored checksum and that of the bytes
}

// Error implements error.
func (e *BlockError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("aria block %d: %s", e.Block, e.Reason)
	}
	return fmt.Sprintf("aria block %d: checksum is %08x, want %08x", e.Block, e.Got, e.Want)
}

// CheckData checks block no of the table's data file. It returns nil when the
// block is whole, all zeros, or has no checksum that could be checked (see
// Verifiable), else a *BlockError. The data file of a table that is not stored
// in blocks has nothing to check.
func (ix Index) CheckData(block []byte, no uint32) error {
	if ix.Data != DataBlocks {
		return nil
	}
	if len(block) != ix.BlockSize {
		return &BlockError{Block: no, Reason: fmt.Sprintf("%d bytes, want %d", len(block), ix.BlockSize)}
	}
	if ix.bitmap(no) {
		return checkBlock(block, no, len(block)-checksumLen, noChecksumBitmap)
	}
	if ix.Encrypted {
		return nil
	}
	return checkBlock(block, no, len(block)-checksumLen, noChecksum)
}

// CheckIndex checks block no of the table's index file, as CheckData does for
// the data file. The blocks of the header have no checksum.
func (ix Index) CheckIndex(block []byte, no uint32) error {
	if len(block) != ix.BlockSize {
		return &BlockError{Block: no, Reason: fmt.Sprintf("%d bytes, want %d", len(block), ix.BlockSize)}
	}
	if ix.header(no) || ix.Encrypted {
		return nil
	}
	used := int(binary.BigEndian.Uint16(block[ix.keyHeader()-2:]))
	if used > len(block)-checksumLen {
		return &BlockError{Block: no, Reason: fmt.Sprintf("%d bytes used of %d", used, len(block))}
	}
	return checkBlock(block, no, used, noChecksum)
}

// Verifiable reports whether CheckData (data true) or CheckIndex (data false)
// can find damage in block no. Where they cannot, only a second equal read
// shows that the server was not writing the block during the first.
func (ix Index) Verifiable(block []byte, no uint32, data bool) bool {
	if len(block) != ix.BlockSize {
		return true // refused
	}
	switch {
	case data && ix.Data != DataBlocks:
		return false
	case data && ix.bitmap(no):
	case ix.Encrypted, !data && ix.header(no):
		return false
	}
	return binary.LittleEndian.Uint32(block[len(block)-checksumLen:]) < noChecksumBitmap
}

// bitmap reports whether block no of the data file is one of the bitmap, which
// the server never encrypts. Six bytes of it describe 16 blocks.
func (ix Index) bitmap(no uint32) bool {
	described := uint32((ix.BlockSize - checksumLen) / 6 * 16)
	return no%(described+1) == 0
}

// header reports whether block no of the index file belongs to the header.
func (ix Index) header(no uint32) bool {
	return int64(no) < ix.HeaderLen/int64(ix.BlockSize)
}

// keyHeader is the length in bytes of the header of a block of keys. Its last
// two bytes say how much of the block is used.
func (ix Index) keyHeader() int {
	const fixed = 1 + 1 + 2 // number of the key, flags, bytes used
	if ix.Transactional {
		return lsnSize + 6 + fixed // 6: number of a transaction
	}
	return fixed
}

// checkBlock compares the checksum at the end of block with that of its first
// n bytes. The number of the block is the initial value, so a block that
// stands in the wrong place is found too.
func checkBlock(block []byte, no uint32, n int, none uint32) error {
	want := binary.LittleEndian.Uint32(block[len(block)-checksumLen:])
	if want == none {
		return nil
	}
	if want >= noChecksumBitmap {
		return &BlockError{Block: no, Reason: fmt.Sprintf("%08x in place of a checksum", want)}
	}
	got := min(crc32.Update(no, crc32.IEEETable, block[:n]), noChecksumBitmap-1)
	if got == want || want == 0 && isZero(block) {
		return nil
	}
	return &BlockError{Block: no, Want: want, Got: got}
}

// isZero reports whether all bytes are zero.
func isZero(b []byte) bool {
	for len(b) >= 8 {
		if binary.NativeEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
