package innodb

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
)

// Formats of the redo log of MariaDB 10.8 and later, as its header names them.
// Both are one file, ib_logfile0, that holds mini-transactions byte after byte.
const (
	// Format108 is the format of MariaDB 10.8 and later. The same number with
	// encryption data in the header is the older encrypted form, which leaves
	// the records of file operations readable.
	Format108 uint32 = 0x50687973
	// FormatEnc11 is the newer encrypted form (2025): without the key only the
	// framing of the records can be read.
	FormatEnc11 uint32 = 0xf09f979d
)

// Layout of ib_logfile0.
const (
	// LogDataOffset is where the ring of mini-transactions begins; before it are
	// the header and two checkpoint blocks. In older formats it begins earlier:
	// see DataOffset.
	LogDataOffset = 12288
	// FirstLSN is the smallest LSN there is.
	FirstLSN LSN = 12288

	logHeaderSize    = 512
	logCheckpoint1   = 4096
	logCheckpoint2   = 8192
	checkpointSize   = 64
	logCreatorOffset = 16
	logCryptOffset   = 48
	logCryptSize     = 28 // key id, key version, message, nonce
	minLogFile       = LogDataOffset + 16
	maxLSN           = 1 << 62 // a greater LSN in a file is damage
)

var (
	// ErrUnknownFormat is returned for a redo log of a format that this package
	// does not read. errors.As finds a *FormatError.
	ErrUnknownFormat = errors.New("unknown redo log format")
	// ErrBadLogHeader is returned for a header or checkpoint block whose
	// checksum or contents are wrong.
	ErrBadLogHeader = errors.New("damaged redo log header")
	// ErrNoCheckpoint is returned when neither checkpoint block is valid.
	ErrNoCheckpoint = errors.New("no valid checkpoint in the redo log")
	// ErrHiddenNames is returned where names of files are needed of a log that is
	// encrypted with them.
	ErrHiddenNames = errors.New("the redo log hides the names of files")
)

// FormatError is a redo log of a format that this package does not read.
type FormatError struct {
	Format uint32
}

// Error names the format and, if it is known, the servers that write it.
func (e *FormatError) Error() string {
	const encrypted = 0x80000000
	by := ""
	switch e.Format &^ encrypted {
	case 1, 103, 104:
		by = " (MariaDB 10.2 to 10.4)"
	case 0:
		by = " (before MariaDB 10.2, or not a redo log)"
	}
	return fmt.Sprintf("%v %#08x%s", ErrUnknownFormat, e.Format, by)
}

// Unwrap returns ErrUnknownFormat.
func (e *FormatError) Unwrap() error { return ErrUnknownFormat }

// LogHeader is the header of ib_logfile0.
type LogHeader struct {
	Format   uint32
	FirstLSN LSN    // the LSN of the byte at LogDataOffset; of no meaning in Format105
	Creator  string // "MariaDB 11.8.6", at most 32 bytes
	// Crypt are the parameters of the encryption: bytes 48..75 of the header, or,
	// with Format105Enc, bytes 32..55 of a checkpoint block, which only a Tailer
	// fills in. nil in a log that is not encrypted.
	Crypt []byte
}

// Encrypted reports whether the log is encrypted.
func (h LogHeader) Encrypted() bool {
	return h.Format == FormatEnc11 || h.Format == Format105Enc || len(h.Crypt) > 0
}

// Readable reports whether records of file operations can be read without a key.
func (h LogHeader) Readable() bool { return h.Format != FormatEnc11 && h.Format != Format105Enc }

// sameLog reports whether mini-transactions of a log with header o can follow
// those of one with header h: only size, start and creator may differ. A server
// that writes blocks never replaces its log while it runs.
func (h LogHeader) sameLog(o LogHeader) bool {
	return !hasBlocks(h.Format) && h.Format == o.Format && bytes.Equal(h.Crypt, o.Crypt)
}

// ParseLogHeader reads the header from the first 512 bytes of ib_logfile0. A log
// of another format is a *FormatError.
func ParseLogHeader(b []byte) (LogHeader, error) {
	if len(b) < logHeaderSize {
		return LogHeader{}, fmt.Errorf("%w: %d bytes instead of %d", ErrBadLogHeader, len(b), logHeaderSize)
	}
	h := LogHeader{
		Format:   binary.BigEndian.Uint32(b),
		FirstLSN: LSN(binary.BigEndian.Uint64(b[8:])),
	}
	blocks := hasBlocks(h.Format)
	if h.Format != Format108 && h.Format != FormatEnc11 && !blocks {
		return LogHeader{}, &FormatError{Format: h.Format}
	}
	want := binary.BigEndian.Uint32(b[logHeaderSize-4:])
	if got := crc32c(b[:logHeaderSize-4]); got != want {
		return LogHeader{}, fmt.Errorf("%w: checksum %#08x instead of %#08x", ErrBadLogHeader, got, want)
	}
	if !blocks && (binary.BigEndian.Uint32(b[4:]) != 0 || h.FirstLSN < FirstLSN) || h.FirstLSN > maxLSN {
		return LogHeader{}, fmt.Errorf("%w: first LSN %d", ErrBadLogHeader, h.FirstLSN)
	}
	creator := b[logCreatorOffset:logCryptOffset]
	if i := bytes.IndexByte(creator, 0); i >= 0 {
		creator = creator[:i]
	}
	h.Creator = string(creator)
	crypt := b[logCryptOffset : logCryptOffset+logCryptSize]
	if blocks {
		return h, nil
	}
	if binary.BigEndian.Uint32(crypt) != 0 || h.Format == FormatEnc11 {
		h.Crypt = bytes.Clone(crypt)
	}
	return h, nil
}

// Append adds the 512 bytes of the header to b.
func (h LogHeader) Append(b []byte) []byte {
	start, subformat, crypt := len(b), uint32(0), h.Crypt
	if hasBlocks(h.Format) {
		subformat, crypt = blockSubformat, nil
	}
	b = binary.BigEndian.AppendUint32(b, h.Format)
	b = binary.BigEndian.AppendUint32(b, subformat)
	b = binary.BigEndian.AppendUint64(b, uint64(h.FirstLSN))
	b = append(b, make([]byte, logHeaderSize-16)...)
	copy(b[start+logCreatorOffset:start+logCryptOffset], h.Creator)
	copy(b[start+logCryptOffset:start+logCryptOffset+logCryptSize], crypt)
	sum := crc32c(b[start : start+logHeaderSize-4])
	binary.BigEndian.PutUint32(b[start+logHeaderSize-4:], sum)
	return b
}

// Checkpoint is where a recovery begins.
type Checkpoint struct {
	// LSN: every change below it is in the data files.
	LSN LSN `json:"lsn"`
	// End is where the mini-transactions begin that name the changed files and
	// end with a FILE_CHECKPOINT record of LSN. Recovery reads them first.
	End LSN `json:"end"`
}

// ParseCheckpoint reads one checkpoint block, 64 bytes. The error is
// ErrBadLogHeader, also while the server is writing the block.
func ParseCheckpoint(b []byte) (Checkpoint, error) {
	if len(b) < checkpointSize {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint of %d bytes", ErrBadLogHeader, len(b))
	}
	want := binary.BigEndian.Uint32(b[60:])
	if got := crc32c(b[:60]); got != want {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint checksum %#08x instead of %#08x", ErrBadLogHeader, got, want)
	}
	c := Checkpoint{
		LSN: LSN(binary.BigEndian.Uint64(b)),
		End: LSN(binary.BigEndian.Uint64(b[8:])),
	}
	if c.LSN < FirstLSN || c.End < c.LSN || c.End > maxLSN || !PageIsZero(b[16:60]) {
		return Checkpoint{}, fmt.Errorf("%w: checkpoint at LSN %d ends at %d", ErrBadLogHeader, c.LSN, c.End)
	}
	return c, nil
}

// Covers reports whether a recovery from c finds everything below lsn in the data
// files, so that nothing but the checkpoint's own records is left to read there.
func (c Checkpoint) Covers(lsn LSN) bool {
	const own = checkpointRecord + 1 + 20 // FILE_CHECKPOINT, and the frame of a block
	return lsn <= c.LSN || c.End == c.LSN && lsn <= c.LSN+own
}

// Append adds the 64 bytes of the checkpoint block to b.
func (c Checkpoint) Append(b []byte) []byte {
	start := len(b)
	b = binary.BigEndian.AppendUint64(b, uint64(c.LSN))
	b = binary.BigEndian.AppendUint64(b, uint64(c.End))
	b = append(b, make([]byte, 44)...)
	return binary.BigEndian.AppendUint32(b, crc32c(b[start:]))
}

// NewestCheckpoint picks the newest valid checkpoint from the first
// LogDataOffset bytes of a log whose first LSN is first, as the server does. The
// log may have any format that ParseLogHeader knows.
// torn reports that the other block is neither valid nor empty: the server may
// be writing a newer checkpoint at this moment. Without a valid block the error
// is ErrNoCheckpoint.
func NewestCheckpoint(header []byte, first LSN) (c Checkpoint, torn bool, err error) {
	if len(header) < LogDataOffset {
		return Checkpoint{}, false, fmt.Errorf("%w: header of %d bytes", ErrNoCheckpoint, len(header))
	}
	if format := binary.BigEndian.Uint32(header); hasBlocks(format) {
		p, torn, err := newestBlockPoint(header, format)
		return p.Checkpoint, torn, err
	}
	found := false
	for _, offset := range []int{logCheckpoint1, logCheckpoint2} {
		block := header[offset : offset+checkpointSize]
		got, err := ParseCheckpoint(block)
		switch {
		case err != nil:
			torn = torn || !PageIsZero(block)
		case got.LSN < first:
			// Written before the log began here; it does not describe this file.
		case !found || got.LSN >= c.LSN:
			c, found = got, true
		}
	}
	if !found {
		return Checkpoint{}, torn, ErrNoCheckpoint
	}
	return c, torn, nil
}

// Ring is the mapping of LSNs to places in a log file. The zero Ring is not
// usable.
type Ring struct {
	First    LSN   // the LSN of the ring's first byte on the first lap
	Capacity int64 // bytes of the ring
	Data     int64 // where in the file the ring begins; 0: at LogDataOffset
}

// Offset returns where in the file the byte of an LSN >= First lies.
func (r Ring) Offset(l LSN) int64 {
	return cmp.Or(r.Data, LogDataOffset) + int64(uint64(l-r.First)%uint64(r.Capacity))
}

// Bit returns the sequence bit of an LSN >= First: 1 on the first lap and every
// second one from there, else 0. A log of blocks has no such bits.
func (r Ring) Bit(l LSN) byte {
	return 1 ^ byte(uint64(l-r.First)/uint64(r.Capacity)&1)
}

// lapEnd returns the first LSN of the lap after that of l.
func (r Ring) lapEnd(l LSN) LSN {
	n := uint64(l-r.First) % uint64(r.Capacity)
	return l + LSN(uint64(r.Capacity)-n)
}

// RestoredLog describes the ib_logfile0 that a restore lays down: its data are
// the bytes of StoredRedo with every sequence bit set to 1, from DataOffset on,
// and zeros after them.
type RestoredLog struct {
	Format     uint32
	Crypt      []byte // as in LogHeader
	Checkpoint Checkpoint
	Version    string // the creator becomes "Backup <Version>"
	// Names are files that a server of up to 10.7 shall know before it reads the
	// data. They take up LSNs before the checkpoint. Finish must be called then.
	Names []SpaceName
}

// creator is the name in the header.
func (r RestoredLog) creator() string {
	name := "Backup " + r.Version
	if most := logCryptOffset - logCreatorOffset - 1; len(name) > most {
		name = name[:most] // keep a NUL after it
	}
	return name
}

// Header returns the bytes before the data: DataOffset, and blocks for Names. A server that starts on
// such a log drops the tables which an unfinished ALTER TABLE left behind,
// because of the creator's name.
func (r RestoredLog) Header() ([]byte, error) {
	h := LogHeader{Format: r.Format, FirstLSN: r.Checkpoint.LSN, Creator: r.creator(), Crypt: r.Crypt}
	switch {
	case hasBlocks(r.Format):
		return r.blockHead()
	case r.Format != Format108 && r.Format != FormatEnc11:
		return nil, &FormatError{Format: r.Format}
	case len(r.Crypt) != 0 && len(r.Crypt) != logCryptSize:
		return nil, fmt.Errorf("%w: %d bytes of encryption parameters", ErrBadLogHeader, len(r.Crypt))
	case r.Format == FormatEnc11 && len(r.Crypt) == 0:
		return nil, fmt.Errorf("%w: no encryption parameters", ErrBadLogHeader)
	case r.Checkpoint.LSN < FirstLSN || r.Checkpoint.End < r.Checkpoint.LSN || r.Checkpoint.End > maxLSN:
		return nil, fmt.Errorf("%w: checkpoint at LSN %d ends at %d", ErrBadLogHeader, r.Checkpoint.LSN,
			r.Checkpoint.End)
	}
	b := make([]byte, LogDataOffset)
	h.Append(b[:0])
	r.Checkpoint.Append(b[logCheckpoint1:logCheckpoint1])
	return b, nil
}

// RestoredLogSize returns the size of a restored ib_logfile0 that holds redo
// bytes of data. It leaves room after them, and it is never
// configured, the innodb_log_file_size of the server that recovers (0: not
// known): a server that finds another size builds a fresh log after recovery.
func RestoredLogSize(redo, configured int64) int64 {
	const (
		block = 4096
		slack = 16 << 20
	)
	size := (LogDataOffset + redo + slack + block - 1) / block * block
	if size == configured {
		size += block
	}
	return size
}
