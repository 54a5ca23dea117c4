package innodb

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// This file is about the redo log of MariaDB 10.5 to 10.7. Its mini-transactions
// are wrapped into blocks:
//
//	0    number of the block: its LSN / 512 + 1, 30 bits; the top bit is of no interest
//	4    bytes in use, with this header: 512 in a block that is full
//	6    where the first mini-transaction that begins here does so; 0: none does
//	8    number of a checkpoint, of no interest
//	12   payload
//	508  CRC-32C of all before it
//
// An LSN counts the bytes of headers and trailers, too. In an encrypted log all
// from byte 4 on is encrypted, and the payload ends 4 bytes earlier, at a key
// version.

const (
	// Format105 is the format of MariaDB 10.5 to 10.7.
	Format105 uint32 = 0x50485953
	// Format105Enc is its encrypted form: without the key only the numbers and the
	// checksums of the blocks can be read.
	Format105Enc = Format105 | 1<<31
)

// Layout of ib_logfile0.
const (
	blockSize      = 512
	blockHeader    = 12
	blockPayload   = blockSize - blockHeader
	blockDataStart = 2048 // where the ring of blocks begins
	blockPoint1    = 512
	blockPoint2    = 1536
	blockSubformat = 2
	minBlockFile   = blockDataStart + 8*blockSize

	pointLSN    = 8
	pointOffset = 16 // where in the file the checkpoint's LSN lies
	pointBuffer = 24
	pointCrypt  = 32 // key version, nonce, message
	pointEnd    = 496
	// blockCryptSize is the length of the parameters of the encryption.
	blockCryptSize = 24
)

// hasBlocks reports whether a format is that of 10.5 to 10.7.
func hasBlocks(format uint32) bool { return format == Format105 || format == Format105Enc }

// DataOffset returns where in an ib_logfile0 of a format the mini-transactions
// begin.
func DataOffset(format uint32) int64 {
	if hasBlocks(format) {
		return blockDataStart
	}
	return LogDataOffset
}

// StoredRedo returns the stretch of a log that a backup holds so that recovery
// can go from c to end: exactly that, or, where the log has blocks, all of the
// blocks in which the two lie. The last of them ends at end: what the server
// wrote after it is cut off. (In Format105Enc nobody can do that without the key.
// There recovery may go a little beyond end, as far as that block.)
func StoredRedo(format uint32, c Checkpoint, end LSN) (from, to LSN) {
	if !hasBlocks(format) {
		return c.LSN, end
	}
	return blockStart(c.LSN), blockStart(end) + blockSize
}

// blockStart returns the LSN of the block in which l lies.
func blockStart(l LSN) LSN { return l &^ (blockSize - 1) }

// blockNumber returns the number of the block in which l lies.
func blockNumber(l LSN) uint32 { return uint32(l/blockSize)&blockNumberBits + 1 }

const blockNumberBits = 1<<30 - 1

// blockTrailer returns how many bytes end each block.
func blockTrailer(format uint32) int {
	if format == Format105Enc {
		return 8
	}
	return 4
}

// inPayload reports whether a mini-transaction can begin or end at l.
func inPayload(l LSN, trailer int) bool {
	at := l % blockSize
	return at >= blockHeader && at < LSN(blockSize-trailer)
}

// blockAdvance returns the LSN of the byte that has n bytes of payload between
// itself and l.
func blockAdvance(l LSN, n, trailer int) LSN {
	room := blockPayload - trailer
	at := int(l%blockSize) - blockHeader + n
	return blockStart(l) + LSN(at/room)*blockSize + blockHeader + LSN(at%room)
}

// checkBlock checks number and checksum of the block that should be the one at
// lsn. b has blockSize bytes.
func checkBlock(b []byte, lsn LSN) error {
	want := binary.BigEndian.Uint32(b[blockSize-4:])
	if got := crc32c(b[:blockSize-4]); got != want {
		return &MTRError{lsn, fmt.Sprintf("checksum of the block %#08x instead of %#08x", got, want)}
	}
	no, number := binary.BigEndian.Uint32(b)&^(1<<31), blockNumber(lsn)
	if no != number {
		// The numbers go round, too.
		ahead := (no - number) & blockNumberBits
		return &blockNumberError{MTRError{lsn, fmt.Sprintf("block %d instead of %d", no, number)}, ahead < 1<<29}
	}
	return nil
}

// blockUse returns how many bytes of block b, the one at lsn, are in use.
func blockUse(b []byte, lsn LSN, trailer int) (used int, err error) {
	used = int(binary.BigEndian.Uint16(b[4:]))
	if used != blockSize && (used < blockHeader || used > blockSize-trailer) {
		return 0, &MTRError{lsn, fmt.Sprintf("block with %d bytes in use", used)}
	}
	if first := firstGroup(b); first != 0 && (first < blockHeader || first > used) {
		return 0, &MTRError{lsn, fmt.Sprintf("block with the first mini-transaction at %d, %d bytes in use", first,
			used)}
	}
	return used, nil
}

// firstGroup returns where in a block the first mini-transaction begins, 0 if
// none does.
func firstGroup(b []byte) int { return int(binary.BigEndian.Uint16(b[6:])) }

// blockNumberError is a whole block of another place in the log.
type blockNumberError struct {
	MTRError
	newer bool // it was written over the one that should be here
}

// Unwrap returns the *MTRError.
func (e *blockNumberError) Unwrap() error { return &e.MTRError }

// sealBlock cuts off what block b, a valid one, holds at end and after it.
func sealBlock(b []byte, end LSN, trailer int) {
	used := int(end % blockSize)
	binary.BigEndian.PutUint16(b[4:], uint16(used))
	if firstGroup(b) > used {
		binary.BigEndian.PutUint16(b[6:], 0)
	}
	clear(b[used : blockSize-trailer])
	binary.BigEndian.PutUint32(b[blockSize-4:], crc32c(b[:blockSize-4]))
}

// blockPoint is a checkpoint block of a log of blocks.
type blockPoint struct {
	Checkpoint
	number uint64
	offset int64  // where in the file Checkpoint.LSN lies
	crypt  []byte // parameters of the encryption
}

// parseBlockPoint reads a checkpoint block, 512 bytes. The error is
// ErrBadLogHeader, also while the server is writing the block.
func parseBlockPoint(b []byte, format uint32) (blockPoint, error) {
	want := binary.BigEndian.Uint32(b[blockSize-4:])
	if got := crc32c(b[:blockSize-4]); got != want {
		return blockPoint{}, fmt.Errorf("%w: checkpoint checksum %#08x instead of %#08x", ErrBadLogHeader, got, want)
	}
	p := blockPoint{
		Checkpoint: Checkpoint{LSN: LSN(binary.BigEndian.Uint64(b[pointLSN:])),
			End: LSN(binary.BigEndian.Uint64(b[pointEnd:]))},
		number: binary.BigEndian.Uint64(b),
		offset: int64(binary.BigEndian.Uint64(b[pointOffset:])),
	}
	if p.End == 0 { // of the first checkpoints after a crash: its records follow somewhere after it
		p.End = p.LSN
	}
	switch {
	case p.checkBlocks(format) != nil:
		return blockPoint{}, p.checkBlocks(format)
	case p.offset < blockDataStart || p.offset%blockSize != int64(p.LSN%blockSize) ||
		LSN(p.offset-blockDataStart) > p.LSN:
		return blockPoint{}, fmt.Errorf("%w: checkpoint at LSN %d, %d bytes into the file", ErrBadLogHeader, p.LSN,
			p.offset)
	}
	if format == Format105Enc {
		p.crypt = bytes.Clone(b[pointCrypt : pointCrypt+blockCryptSize])
	}
	return p, nil
}

// checkBlocks reports LSNs that no checkpoint in a log of blocks can have.
func (c Checkpoint) checkBlocks(format uint32) error {
	trailer := blockTrailer(format)
	if c.End < c.LSN || c.End > maxLSN || !inPayload(c.LSN, trailer) || !inPayload(c.End, trailer) {
		return fmt.Errorf("%w: checkpoint at LSN %d ends at %d", ErrBadLogHeader, c.LSN, c.End)
	}
	return nil
}

// append adds the 512 bytes of the checkpoint block to b.
func (p blockPoint) append(b []byte) []byte {
	const bufferSize = 16 << 20 // not used by anybody
	start := len(b)
	b = append(b, make([]byte, blockSize)...)
	block := b[start:]
	binary.BigEndian.PutUint64(block, p.number)
	binary.BigEndian.PutUint64(block[pointLSN:], uint64(p.LSN))
	binary.BigEndian.PutUint64(block[pointOffset:], uint64(p.offset))
	binary.BigEndian.PutUint64(block[pointBuffer:], bufferSize)
	copy(block[pointCrypt:pointCrypt+blockCryptSize], p.crypt)
	binary.BigEndian.PutUint64(block[pointEnd:], uint64(p.End))
	binary.BigEndian.PutUint32(block[blockSize-4:], crc32c(block[:blockSize-4]))
	return b
}

// newestBlockPoint picks the newest valid checkpoint from the first
// blockDataStart bytes of a log, as the server does. torn is as of
// NewestCheckpoint.
func newestBlockPoint(header []byte, format uint32) (p blockPoint, torn bool, err error) {
	found := false
	for _, offset := range []int{blockPoint1, blockPoint2} {
		block := header[offset : offset+blockSize]
		got, err := parseBlockPoint(block, format)
		switch {
		case err != nil:
			torn = torn || !PageIsZero(block)
		case !found || got.number >= p.number:
			p, found = got, true
		}
	}
	if !found {
		return blockPoint{}, torn, ErrNoCheckpoint
	}
	return p, torn, nil
}

// ring returns where the blocks of a file with this checkpoint and a size lie.
func (p blockPoint) ring(size int64) Ring {
	return Ring{
		First:    p.LSN - LSN(p.offset-blockDataStart),
		Capacity: (size - blockDataStart) &^ (blockSize - 1),
		Data:     blockDataStart,
	}
}

// blockHead returns the blockDataStart bytes before the data of a restored log of
// blocks.
func (r RestoredLog) blockHead() ([]byte, error) {
	if err := r.Checkpoint.checkBlocks(r.Format); err != nil {
		return nil, err
	}
	if crypt := len(r.Crypt); (r.Format == Format105Enc) != (crypt == blockCryptSize) || crypt != 0 &&
		crypt != blockCryptSize {
		return nil, fmt.Errorf("%w: %d bytes of encryption parameters", ErrBadLogHeader, crypt)
	}
	start, names, err := r.nameBlocks()
	if err != nil {
		return nil, err
	}
	c := r.Checkpoint
	if len(names) > 0 {
		c = Checkpoint{LSN: start, End: start} // recovery must read the names first
		names = names[:len(names)-blockSize]   // Finish writes into the block of the checkpoint
	}
	b := make([]byte, blockDataStart)
	LogHeader{Format: r.Format, FirstLSN: blockStart(start), Creator: r.creator()}.Append(b[:0])
	p := blockPoint{
		Checkpoint: c, number: 1, crypt: r.Crypt,
		offset: blockDataStart + int64(start%blockSize),
	}
	p.append(b[blockPoint1:blockPoint1])
	return append(b, names...), nil
}
