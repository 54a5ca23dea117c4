package aria

import (
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// LogPageSize is the size in bytes of a page of the log. A log file is a whole
// number of pages, of which the first holds the header only.
const LogPageSize = 8192

// logPrefix starts the name of every log file.
const logPrefix = "aria_log."

// LogName returns the name of log file n, "aria_log.00000001".
func LogName(n uint32) string {
	return fmt.Sprintf("%s%08d", logPrefix, n)
}

// ParseLogName returns the number in the name of a log file. It is false for
// any other name, the control file's included.
func ParseLogName(name string) (uint32, bool) {
	digits, ok := strings.CutPrefix(name, logPrefix)
	if !ok || len(digits) != 8 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 || n > MaxLog || LogName(uint32(n)) != name {
		return 0, false
	}
	return uint32(n), true
}

// LogHeader is the header of a log file.
type LogHeader struct {
	Created       time.Time // UTC
	AriaVersion   uint32    // of the log's format, 10000 in all servers so far
	ServerVersion uint32    // 101119 for 10.11.19
	ServerID      uint32
	File          uint32 // number of this file
	MaxLSN        LSN    // of the newest record that begins in this file; none while the server still writes to it
}

const (
	logMagic     = "\xfe\xfe\x0b\x01MARIALOG"
	logHeaderLen = 44
	logFlags     = 7 // bits that a page's flags can have
)

// ParseLogHeader reads the first page of a log file, or the start of it. The
// error wraps ErrFormat.
func ParseLogHeader(b []byte) (LogHeader, error) {
	if len(b) < logHeaderLen {
		return LogHeader{}, fmt.Errorf("aria log header: %d bytes, want %d: %w", len(b), logHeaderLen, ErrFormat)
	}
	if string(b[:len(logMagic)]) != logMagic {
		return LogHeader{}, fmt.Errorf("aria log header: starts with %x: %w", b[:len(logMagic)], ErrFormat)
	}
	if size := int(binary.LittleEndian.Uint16(b[32:])) + 1; size != LogPageSize {
		return LogHeader{}, fmt.Errorf("aria log header: page size %d, want %d: %w", size, LogPageSize, ErrFormat)
	}
	return LogHeader{
		Created:       time.UnixMicro(int64(binary.LittleEndian.Uint64(b[12:]))).UTC(),
		AriaVersion:   binary.LittleEndian.Uint32(b[20:]),
		ServerVersion: binary.LittleEndian.Uint32(b[24:]),
		ServerID:      binary.LittleEndian.Uint32(b[28:]),
		File:          uint32(b[34]) | uint32(b[35])<<8 | uint32(b[36])<<16,
		MaxLSN:        littleLSN(b[37:]),
	}, nil
}

// CheckLogPage checks that page no of log file file stands in its place; page 0 is
// the header. The server writes no checksums into its log, so damage inside a page
// does not show. The error wraps ErrFormat.
func CheckLogPage(page []byte, file, no uint32) error {
	if len(page) != LogPageSize {
		return fmt.Errorf("aria log %d page %d: %d bytes, want %d: %w", file, no, len(page), LogPageSize, ErrFormat)
	}
	if no == 0 {
		header, err := ParseLogHeader(page)
		if err == nil && header.File != file {
			err = fmt.Errorf("aria log %d: the header is that of log %d: %w", file, header.File, ErrFormat)
		}
		return err
	}
	gotNo := uint32(page[0]) | uint32(page[1])<<8 | uint32(page[2])<<16
	gotFile := uint32(page[3]) | uint32(page[4])<<8 | uint32(page[5])<<16
	switch {
	case gotNo == 0 && gotFile == 0 && isZero(page):
		return fmt.Errorf("aria log %d page %d: all zeros: %w", file, no, ErrFormat)
	case gotNo != no || gotFile != file || page[6]&^logFlags != 0:
		return fmt.Errorf("aria log %d page %d: marked as log %d page %d with flags %#x: %w", file, no, gotFile, gotNo,
			page[6], ErrFormat)
	}
	return nil
}
