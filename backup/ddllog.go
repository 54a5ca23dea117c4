package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// ddlLog reads <datadir>/ddl.log, to which the server appends one line for
// every DDL that ends between BACKUP STAGE START and BLOCK_DDL, changes that
// the Aria log does not hold among them. Fields are separated by tabs, names are
// as on disk: time, query, engine, partitioned, database, table, id; and for a
// rename or an alter the same again for the new table, from the engine on
// (MariaDB's sql/backup.cc, backup_log_ddl). 10.5 has no such file.
type ddlLog struct {
	path    string
	size    int64 // bytes read so far, whole lines only
	touched map[ddlTable]int64
}

// ddlTable is a table by its names on disk.
type ddlTable struct{ database, table string }

func newDDLLog(datadir string) *ddlLog {
	return &ddlLog{path: filepath.Join(datadir, "ddl.log"), touched: map[ddlTable]int64{}}
}

// read takes in what came since the last call.
func (d *ddlLog) read() error {
	f, err := os.Open(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the server's DDL log: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read the server's DDL log: %w", err)
	}
	if info.Size() <= d.size {
		return nil
	}
	b := make([]byte, info.Size()-d.size)
	n, err := f.ReadAt(b, d.size)
	if err != nil && n < len(b) {
		return fmt.Errorf("read the server's DDL log: %w", err)
	}
	for {
		line, rest, whole := bytes.Cut(b, []byte{'\n'})
		if !whole {
			return nil
		}
		d.size += int64(len(line)) + 1
		d.take(line)
		b = rest
	}
}

// take notes the tables that a line names.
func (d *ddlLog) take(line []byte) {
	fields := bytes.Split(line, []byte{'\t'})
	for at := 4; at+1 < len(fields); at += 5 {
		if len(fields[at]) > 0 && len(fields[at+1]) > 0 {
			d.touched[ddlTable{string(fields[at]), string(fields[at+1])}] = d.size
		}
	}
}

// touchedSince says whether a DDL on a table ended after the log had that size.
func (d *ddlLog) touchedSince(database, table string, size int64) bool {
	return d.touched[ddlTable{database, table}] > size
}
