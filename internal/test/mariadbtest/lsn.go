package mariadbtest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"mbk/internal/innodb"
)

// SetLSN gives the data directory of a server that was shut down cleanly a new
// redo log that begins at lsn, so that a server on it works with log sequence
// numbers that it would reach only after years.
func SetLSN(datadir string, lsn innodb.LSN) error {
	path := filepath.Join(datadir, "ib_logfile0")
	old, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("set LSN: %w", err)
	}
	header, err := innodb.ParseLogHeader(old)
	if err != nil {
		return fmt.Errorf("set LSN: %w", err)
	}
	log, err := innodb.RestoredLog{
		Format: header.Format, Crypt: header.Crypt, Checkpoint: innodb.Checkpoint{LSN: lsn, End: lsn}, Version: "test",
	}.Header()
	if err != nil {
		return fmt.Errorf("set LSN: %w", err)
	}
	// The one record of an empty log: FILE_CHECKPOINT.
	record := binary.BigEndian.AppendUint64([]byte{0xfa, 0, 0}, uint64(lsn))
	log = append(append(log, record...), 1)
	log = binary.BigEndian.AppendUint32(log, crc32.Checksum(record, crc32.MakeTable(crc32.Castagnoli)))
	log = append(log, make([]byte, len(old)-len(log))...)
	if err := os.WriteFile(path, log, 0o660); err != nil {
		return fmt.Errorf("set LSN: %w", err)
	}
	return nil
}
