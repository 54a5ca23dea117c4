package innodb

import (
	"encoding/binary"
	"fmt"
)

// Up to 10.5 the dictionary has the paths of all tablespaces, too, in SYS_DATAFILES,
// and a server opens the files there. Only a recovery corrects such a path, for a
// tablespace that it has found elsewhere because the log has named it. So code that
// brings tablespaces into the data directory must have the log name all of them,
// before it says anything else. This file puts such records before the first one of a
// log of blocks; its checkpoint moves to there.

// SpaceName is a tablespace and the name of its file, "./db/t.ibd".
type SpaceName struct {
	Space SpaceID
	Name  string
}

// names returns the mini-transactions that name files, and where they begin so that
// they end at the checkpoint.
func (r RestoredLog) names() (start LSN, mtrs [][]byte, err error) {
	if len(r.Names) == 0 || !hasBlocks(r.Format) {
		return r.Checkpoint.LSN, nil, nil
	}
	size := 0
	for _, n := range r.Names {
		mtr := append(fileRecord(FileModify, n.Space, n.Name), 0)
		mtrs = append(mtrs, mtr)
		size += len(mtr)
	}
	trailer := blockTrailer(r.Format)
	room := blockPayload - trailer
	// Counted from the beginning of the checkpoint's block.
	before := size - (int(r.Checkpoint.LSN%blockSize) - blockHeader)
	blocks := max(0, (before+room-1)/room)
	if LSN((blocks+1)*blockSize) > blockStart(r.Checkpoint.LSN) {
		return 0, nil, fmt.Errorf("no room for the names of %d files before LSN %d", len(r.Names), r.Checkpoint.LSN)
	}
	return blockStart(r.Checkpoint.LSN) - LSN(blocks*blockSize) + blockHeader + LSN(blocks*room-before), mtrs, nil
}

// nameBlocks returns the blocks from the one that recovery begins in to that of the
// checkpoint, as far as they hold names.
func (r RestoredLog) nameBlocks() (start LSN, blocks []byte, err error) {
	start, mtrs, err := r.names()
	if err != nil || len(mtrs) == 0 {
		return start, nil, err
	}
	first, trailer := blockStart(start), blockTrailer(r.Format)
	blocks = make([]byte, blockStart(r.Checkpoint.LSN)+blockSize-first)
	for at := 0; at < len(blocks); at += blockSize {
		binary.BigEndian.PutUint32(blocks[at:], blockNumber(first+LSN(at)))
		binary.BigEndian.PutUint16(blocks[at+4:], blockSize)
	}
	at := start
	for _, mtr := range append(mtrs, nil) { // the last stands for what is at the checkpoint
		if block := blocks[blockStart(at)-first:]; firstGroup(block) == 0 {
			binary.BigEndian.PutUint16(block[6:], uint16(at%blockSize))
		}
		for _, c := range mtr {
			blocks[at-first] = c
			at = blockAdvance(at, 1, trailer)
		}
	}
	for at := 0; at < len(blocks); at += blockSize {
		sealNames(blocks[at : at+blockSize])
	}
	return start, blocks, nil
}

// sealNames makes the checksum of a block.
func sealNames(block []byte) {
	binary.BigEndian.PutUint32(block[blockSize-4:], crc32c(block[:blockSize-4]))
}

// Finish completes a log whose header, from Header, and data are in f: no tablespace
// is called by an absolute path any more (local is as of LocalizeNames), and the records
// that Header has added lead to the data. The log must be Readable. It ends at end.
func (r RestoredLog) Finish(f ReadWriterAt, end LSN, local func(space SpaceID, external string) bool) error {
	head, err := r.Header()
	if err != nil {
		return err
	}
	offset := int64(len(head))
	h := LogHeader{Format: r.Format, Crypt: r.Crypt}
	if _, err := LocalizeNames(f, offset, h, r.Checkpoint, end, local); err != nil {
		return err
	}
	start, blocks, err := r.nameBlocks()
	if err != nil || len(blocks) == 0 {
		return err
	}
	move := func(records []byte) error {
		moveCheckpoint(records, r.Checkpoint.LSN, start)
		return nil
	}
	if _, err := editLog(f, offset, h, r.Checkpoint, end, r.ofCheckpoint, move); err != nil {
		return err
	}
	block := make([]byte, blockSize)
	if _, err := f.ReadAt(block, offset); err != nil {
		return fmt.Errorf("read redo log: %w", err)
	}
	names := blocks[len(blocks)-blockSize:]
	copy(block[6:8], names[6:8])
	copy(block[blockHeader:r.Checkpoint.LSN%blockSize], names[blockHeader:])
	sealNames(block)
	if _, err := f.WriteAt(block, offset); err != nil {
		return fmt.Errorf("write redo log: %w", err)
	}
	return nil
}

// ofCheckpoint reports whether a record is of the checkpoint.
func (r RestoredLog) ofCheckpoint(op FileOp) bool {
	return op.complete && op.Checkpoint == r.Checkpoint.LSN
}

// moveCheckpoint changes the FILE_CHECKPOINT records of a checkpoint among records.
func moveCheckpoint(b []byte, from, to LSN) {
	for len(b) > 0 && b[0]&sameBit != 0 {
		size, _ := recordSize(b)
		if FileOpKind(b[0]&kindBits) == FileCheckpoint && size == checkpointRecord {
			if lsn := b[size-8 : size]; LSN(binary.BigEndian.Uint64(lsn)) == from {
				binary.BigEndian.PutUint64(lsn, uint64(to))
			}
		}
		b = b[size:]
	}
}
