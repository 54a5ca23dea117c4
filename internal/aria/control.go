package aria

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// ControlFile is the name of the control file, in Aria's log directory.
const ControlFile = "aria_log_control"

// MaxControlSize is the size in bytes of the largest control file that a
// server reads.
const MaxControlSize = 512

// MaxLog is the greatest number that a log file can have.
const MaxLog = 1<<24 - 1

// Control is the control file of Aria: from where its recovery starts, and
// which log file is the last. A parsed Control appends the same bytes again,
// parts of newer servers included. Change LastLog to make a server read the
// log files up to that number; Append recomputes the checksum.
type Control struct {
	Version    uint8  `json:"version"`
	UUID       UUID   `json:"uuid"`
	BlockSize  uint16 `json:"block_size"` // bytes, of tables
	Checkpoint LSN    `json:"checkpoint"` // newest checkpoint record; none before the first
	LastLog    uint32 `json:"last_log"`   // number of the newest log file, 0 for none
	MaxTrid    uint64 `json:"max_trid"`   // greatest transaction number when it was last shut down, 48 bits
	Failures   uint8  `json:"failures"`   // recoveries in a row that failed

	MoreFixed []byte `json:"more_fixed,omitempty"` // fields of newer servers, after BlockSize
	MoreState []byte `json:"more_state,omitempty"` // and after Failures
}

// Sizes and offsets in the control file. It has a fixed part that ends with
// its checksum, and a state that begins with one.
const (
	controlMagic   = "\xfe\xfe\x0c"
	controlVersion = 1

	controlFixed = 30 // bytes of the known fixed part, checksum included
	controlState = 22 // bytes of the known state, checksum included
	// A server of before May 2008 wrote the state up to LastLog only. No such
	// server has BACKUP STAGE, so a shorter state is damage.
	controlMin = controlFixed + controlState
)

// ParseControl reads a whole control file. The error wraps ErrFormat when the
// bytes are damaged, too short, too long or of a newer version.
func ParseControl(b []byte) (Control, error) {
	if len(b) < controlMin || len(b) > MaxControlSize {
		return Control{}, fmt.Errorf("aria control file: %d bytes, want %d to %d: %w", len(b), controlMin,
			MaxControlSize, ErrFormat)
	}
	if string(b[:3]) != controlMagic {
		return Control{}, fmt.Errorf("aria control file: starts with %x, want %x: %w", b[:3], controlMagic, ErrFormat)
	}
	if b[3] != controlVersion {
		return Control{}, fmt.Errorf("aria control file: version %d, want %d: %w", b[3], controlVersion, ErrFormat)
	}
	fixed := int(binary.LittleEndian.Uint16(b[20:]))
	state := int(binary.LittleEndian.Uint16(b[22:]))
	if fixed < controlFixed || state < controlState || fixed+state != len(b) {
		return Control{}, fmt.Errorf("aria control file: parts of %d and %d bytes in %d: %w", fixed, state, len(b),
			ErrFormat)
	}
	if got, want := crc32.ChecksumIEEE(b[:fixed-4]), binary.LittleEndian.Uint32(b[fixed-4:]); got != want {
		return Control{}, fmt.Errorf("aria control file: checksum of the fixed part is %08x, want %08x: %w", got, want,
			ErrFormat)
	}
	s := b[fixed:]
	if got, want := crc32.ChecksumIEEE(s[4:]), binary.LittleEndian.Uint32(s); got != want {
		return Control{}, fmt.Errorf("aria control file: checksum of the state is %08x, want %08x: %w", got, want,
			ErrFormat)
	}
	c := Control{
		Version:    b[3],
		UUID:       UUID(b[4:20]),
		BlockSize:  binary.LittleEndian.Uint16(b[24:]),
		Checkpoint: littleLSN(s[4:]),
		LastLog:    binary.LittleEndian.Uint32(s[11:]),
		MaxTrid:    uint64(binary.LittleEndian.Uint32(s[15:])) | uint64(binary.LittleEndian.Uint16(s[19:]))<<32,
		Failures:   s[21],
	}
	if fixed > controlFixed {
		c.MoreFixed = append([]byte(nil), b[26:fixed-4]...)
	}
	if state > controlState {
		c.MoreState = append([]byte(nil), s[controlState:]...)
	}
	return c, nil
}

// Validate checks a Control that was not parsed but read from a manifest, say:
// every field must fit into the file that Append makes of it. The error wraps
// ErrFormat.
func (c Control) Validate() error {
	size := controlMin + len(c.MoreFixed) + len(c.MoreState)
	switch {
	case c.Version != controlVersion:
		return fmt.Errorf("aria control: version %d, want %d: %w", c.Version, controlVersion, ErrFormat)
	case size > MaxControlSize:
		return fmt.Errorf("aria control: %d bytes, want at most %d: %w", size, MaxControlSize, ErrFormat)
	case c.Checkpoint.File > MaxLog || c.LastLog > MaxLog || c.LastLog < c.Checkpoint.File:
		return fmt.Errorf("aria control: checkpoint at %s, last log file %d: %w", c.Checkpoint, c.LastLog, ErrFormat)
	case c.MaxTrid >= 1<<48:
		return fmt.Errorf("aria control: transaction number %d has more than 48 bits: %w", c.MaxTrid, ErrFormat)
	}
	return nil
}

// Append appends the control file, checksums included, to b. What does not
// pass Validate is cut to size.
func (c Control) Append(b []byte) []byte {
	start := len(b)
	b = append(b, controlMagic...)
	b = append(b, c.Version)
	b = append(b, c.UUID[:]...)
	b = binary.LittleEndian.AppendUint16(b, uint16(controlFixed+len(c.MoreFixed)))
	b = binary.LittleEndian.AppendUint16(b, uint16(controlState+len(c.MoreState)))
	b = binary.LittleEndian.AppendUint16(b, c.BlockSize)
	b = append(b, c.MoreFixed...)
	b = binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b[start:]))

	state := len(b)
	b = append(b, 0, 0, 0, 0) // the checksum, below
	b = appendLittleLSN(b, c.Checkpoint)
	b = binary.LittleEndian.AppendUint32(b, c.LastLog)
	b = binary.LittleEndian.AppendUint32(b, uint32(c.MaxTrid))
	b = binary.LittleEndian.AppendUint16(b, uint16(c.MaxTrid>>32))
	b = append(b, c.Failures)
	b = append(b, c.MoreState...)
	binary.LittleEndian.PutUint32(b[state:], crc32.ChecksumIEEE(b[state+4:]))
	return b
}
