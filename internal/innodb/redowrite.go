package innodb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// This file writes redo: only the few records with which a restore tells the
// server that tablespaces are gone.

// AppendDeletes continues a restored log, whose last mini-transaction ends at end,
// by one FILE_DELETE for each tablespace, with its name in the log
// ("./db/t.ibd", or an absolute path). A recovery reads all names before it changes
// any page, so it then drops every record of these tablespaces and does not miss
// their files.
//
// tail are the bytes of the log before end that have to be written again: none, or,
// in a log of blocks, the block that end lies in. The result belongs in the place
// of tail; last is where the log ends then. A log that is not Readable takes no
// such record: the error is ErrHiddenNames.
func (r RestoredLog) AppendDeletes(tail []byte, end LSN, gone []DeletedSpace) (b []byte, last LSN, err error) {
	h := LogHeader{Format: r.Format, Crypt: r.Crypt}
	if !h.Readable() {
		return nil, 0, ErrHiddenNames
	}
	if want := r.TailSize(); len(tail) != want {
		return nil, 0, fmt.Errorf("continue the redo log at LSN %d: %d bytes before that instead of %d", end, len(tail),
			want)
	}
	if len(tail) > 0 {
		if err := checkBlock(tail, blockStart(end)); err != nil {
			return nil, 0, err
		}
	}
	b = bytes.Clone(tail)
	var nonce []byte
	if h.Encrypted() {
		nonce = make([]byte, nonceSize) // of records that are in clear
	}
	w := blockWriter{blocks: b, end: end}
	for _, d := range gone {
		if d.Space == 0 || !isIBD([]byte(d.Name)) {
			return nil, 0, fmt.Errorf("continue the redo log: tablespace %d cannot be called %q", d.Space, d.Name)
		}
		records := fileRecord(FileDelete, d.Space, d.Name)
		if hasBlocks(r.Format) {
			w.append(records)
			continue
		}
		b = append(b, sealMTR(records, 1, nonce)...)
	}
	if !hasBlocks(r.Format) {
		return b, end + LSN(len(b)), nil
	}
	return w.seal(), w.end, nil
}

// DeletedSpace is a tablespace that AppendDeletes deletes.
type DeletedSpace struct {
	Space SpaceID
	Name  string
}

// TailSize is how many bytes before its end AppendDeletes has to know of a log.
func (r RestoredLog) TailSize() int {
	if hasBlocks(r.Format) {
		return blockSize
	}
	return 0
}

// blockWriter continues a log of blocks.
type blockWriter struct {
	blocks []byte // the last one is not full
	end    LSN
}

// append adds one mini-transaction.
func (w *blockWriter) append(records []byte) {
	const most = blockSize - 4
	w.begins()
	for rest := append(bytes.Clone(records), 0); len(rest) > 0; {
		b := w.blocks[len(w.blocks)-blockSize:]
		used := int(binary.BigEndian.Uint16(b[4:]))
		n := copy(b[used:most], rest)
		rest, used = rest[n:], used+n
		binary.BigEndian.PutUint16(b[4:], uint16(used))
		w.end = blockStart(w.end) + LSN(used)
		if used == most {
			binary.BigEndian.PutUint16(b[4:], blockSize)
			w.next()
		}
	}
	w.begins()
}

// begins notes in the last block that the next mini-transaction begins there, if
// none has begun in it before.
func (w *blockWriter) begins() {
	if b := w.blocks[len(w.blocks)-blockSize:]; firstGroup(b) == 0 {
		copy(b[6:8], b[4:6])
	}
}

// next begins another block.
func (w *blockWriter) next() {
	start := blockStart(w.end) + blockSize
	b := make([]byte, blockSize)
	binary.BigEndian.PutUint32(b, blockNumber(start))
	binary.BigEndian.PutUint16(b[4:], blockHeader)
	w.blocks = append(w.blocks, b...)
	w.end = start + blockHeader
}

// seal makes the checksums.
func (w *blockWriter) seal() []byte {
	for b := w.blocks; len(b) > 0; b = b[blockSize:] {
		binary.BigEndian.PutUint32(b[blockSize-4:], crc32c(b[:blockSize-4]))
	}
	return w.blocks
}

// appendVarint encodes a number as the redo log does.
func appendVarint(b []byte, v uint32) []byte {
	switch {
	case v < minVarint2:
		return append(b, byte(v))
	case v < minVarint3:
		v -= minVarint2
		return append(b, 0x80|byte(v>>8), byte(v))
	case v < minVarint4:
		v -= minVarint3
		return append(b, 0xc0|byte(v>>16), byte(v>>8), byte(v))
	case v < minVarint5:
		v -= minVarint4
		return append(b, 0xe0|byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	return binary.BigEndian.AppendUint32(append(b, 0xf0), v-minVarint5)
}

// record builds a record of a type (the first byte without its length) and a
// body.
func record(kind byte, body []byte) []byte {
	if len(body) > 0 && len(body) < 16 {
		return append([]byte{kind | byte(len(body))}, body...)
	}
	// The record has v+16 bytes, with its type and the bytes of v.
	for n := 1; ; n++ {
		v := uint32(1 + n + len(body) - 16)
		if b := appendVarint([]byte{kind}, v); len(b) == 1+n {
			return append(b, body...)
		}
	}
}

// fileRecord builds the record of a file operation.
func fileRecord(kind FileOpKind, space SpaceID, names ...string) []byte {
	body := append(appendVarint(nil, uint32(space)), 0)
	for i, name := range names {
		if i > 0 {
			body = append(body, 0)
		}
		body = append(body, name...)
	}
	return record(byte(kind), body)
}

// sealMTR frames records as a mini-transaction; nonce is nil or has 8 bytes.
func sealMTR(records []byte, bit byte, nonce []byte) []byte {
	sum := crc32c(records)
	sum = crc32.Update(sum, crc32.MakeTable(crc32.Castagnoli), nonce)
	b := append(bytes.Clone(records), bit)
	b = append(b, nonce...)
	return binary.BigEndian.AppendUint32(b, sum)
}
