package innodb

import "strconv"

// LSN is a log sequence number: a byte offset in the endless stream of the redo
// log, counted from the creation of the data directory. It only grows.
type LSN uint64

// String returns the LSN in decimal, as the server prints it.
func (l LSN) String() string {
	return strconv.FormatUint(uint64(l), 10)
}

// SpaceID is the number of a tablespace. 0 is the system tablespace.
type SpaceID uint32

// PageNo is the number of a page in its tablespace, from 0.
type PageNo uint32

// LSNs is what a running server reports about its redo log at one moment.
type LSNs struct {
	// Current is the end of the log that has been written to the log buffer.
	Current LSN
	// Flushed is the end of the log that is durable in the log file. Nothing
	// above it may be read from the file.
	Flushed LSN
	// Checkpoint is the newest checkpoint: every change below it is in the data
	// files, and the log space below it may be overwritten.
	Checkpoint LSN
}
