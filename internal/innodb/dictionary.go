package innodb

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// InnoDB's dictionary lies in the system tablespace. This file knows one thing of
// it: the table SYS_TABLES says of each table whether it was made with DATA
// DIRECTORY. A server from 10.6 on that finds the tablespace of such a table in its
// usual place, and no .isl file, crashes when the table is rebuilt. So code that brings
// tablespaces into the data directory must take that mark away.

// Places in the dictionary. All its tables have ROW_FORMAT=REDUNDANT.
const (
	dictPage      = 7            // the dictionary's header
	dictTables    = offData + 32 // u32: root of the clustered index of SYS_TABLES
	typeIndex     = 17855        // type of an index page
	pageHeap      = offData + 4  // u16: records on the page, with a bit for other row formats
	pageLevel     = offData + 26 // u16: 0 in a leaf
	pageIndexID   = offData + 28 // u64
	pageInfimum   = offData + 63 // where the records begin
	pageSupremum  = offData + 78 // and where they end
	sysTablesID   = 1            // of the clustered index of SYS_TABLES
	recordExtra   = 6            // bytes of a record's header, before its fields
	recordDeleted = 0x20         // in the first of them
	sysTablesLast = 9            // number of the last field of a leaf's record: SPACE
	sysTablesType = 5            // field TYPE
	tableDataDir  = 1 << 6       // in TYPE
	maxDictPages  = 1 << 20      // more than any dictionary has
)

var (
	// ErrDictionary is returned for a dictionary that is not laid out as expected.
	ErrDictionary = errors.New("InnoDB's dictionary cannot be read")
	// ErrEncryptedDictionary is returned for one that cannot be read without keys.
	ErrEncryptedDictionary = errors.New("InnoDB's dictionary is encrypted")
)

// Table is a table in the dictionary, as a running server lists it.
type Table struct {
	ID    uint64
	Name  string  // on disk: "database/table", "database/table#P#p0", "database/FTS_..."
	Space SpaceID // 0 for a table in the system tablespace
}

// Dictionary is the dictionary of a server that was shut down cleanly. It is not
// safe for concurrent use.
type Dictionary struct {
	file  ReadWriterAt
	space Space
	root  PageNo // of SYS_TABLES
	page  []byte
}

// OpenDictionary finds the dictionary in the files of a system tablespace, joined.
// pageSize is innodb_page_size.
func OpenDictionary(system ReadWriterAt, pageSize int) (*Dictionary, error) {
	d := &Dictionary{file: system, page: make([]byte, pageSize)}
	if _, err := system.ReadAt(d.page, 0); err != nil {
		return nil, fmt.Errorf("read the system tablespace: %w", err)
	}
	var err error
	if d.space, err = ParseSpace(d.page, pageSize); err != nil {
		return nil, fmt.Errorf("read the system tablespace: %w", err)
	}
	if err := d.read(dictPage); err != nil {
		return nil, err
	}
	d.root = PageNo(be32(d.page, dictTables))
	return d, nil
}

// read reads a page, which must be whole and clear.
func (d *Dictionary) read(no PageNo) error {
	if _, err := d.file.ReadAt(d.page, int64(no)*int64(len(d.page))); err != nil {
		return fmt.Errorf("read page %d of the system tablespace: %w", no, err)
	}
	if err := d.space.Check(d.page, no); err != nil {
		return fmt.Errorf("read the system tablespace: %w", err)
	}
	encrypted := legacyEncrypted(d.page, no)
	if d.space.Flags.FullCRC32() {
		encrypted = be32(d.page, offKeyVersion) != 0
	}
	if encrypted {
		return fmt.Errorf("page %d of the system tablespace: %w", no, ErrEncryptedDictionary)
	}
	return nil
}

// index reads a page of the clustered index of SYS_TABLES.
func (d *Dictionary) index(no PageNo) (level int, err error) {
	if err := d.read(no); err != nil {
		return 0, err
	}
	kind, id := binary.BigEndian.Uint16(d.page[offType:]), binary.BigEndian.Uint64(d.page[pageIndexID:])
	if kind != typeIndex || id != sysTablesID || d.page[pageHeap]&0x80 != 0 {
		return 0, fmt.Errorf("page %d is none of SYS_TABLES: %w", no, ErrDictionary)
	}
	return int(binary.BigEndian.Uint16(d.page[pageLevel:])), nil
}

// ForgetDataDirs takes the mark of DATA DIRECTORY away from all tables but those
// that keep names, as "db/table" in the encoding of file names. It returns how many
// had it. Only whole pages are written, with new checksums.
func (d *Dictionary) ForgetDataDirs(keep func(table string) bool) (changed int, err error) {
	no, err := d.firstLeaf()
	for pages := 0; err == nil && no != noPage; pages++ {
		var level, n int
		if level, err = d.index(no); err != nil {
			break
		}
		if level != 0 || pages > maxDictPages {
			return changed, fmt.Errorf("page %d of SYS_TABLES is out of order: %w", no, ErrDictionary)
		}
		n, err = d.forget(keep)
		if err == nil && n > 0 {
			d.stamp()
			_, err = d.file.WriteAt(d.page, int64(no)*int64(len(d.page)))
		}
		changed += n
		no = PageNo(be32(d.page, offNext))
	}
	if err != nil {
		return changed, fmt.Errorf("forget DATA DIRECTORY: %w", err)
	}
	return changed, nil
}

const (
	offNext = 12        // page header: the next page on the same level
	noPage  = 1<<32 - 1 // if there is none
)

// firstLeaf is the page with the first tables.
func (d *Dictionary) firstLeaf() (PageNo, error) {
	no, above := d.root, 1<<16
	for {
		level, err := d.index(no)
		switch {
		case err != nil:
			return 0, err
		case level >= above:
			return 0, fmt.Errorf("page %d of SYS_TABLES is out of order: %w", no, ErrDictionary)
		case level == 0:
			return no, nil
		}
		above = level
		fields, err := d.fields(d.following(pageInfimum))
		if err != nil {
			return 0, err
		}
		child := fields[len(fields)-1]
		if len(child) != 4 {
			return 0, fmt.Errorf("page %d of SYS_TABLES: no number of a page: %w", no, ErrDictionary)
		}
		no = PageNo(binary.BigEndian.Uint32(child))
	}
}

// following is where the record after the one at a place is.
func (d *Dictionary) following(at int) int { return int(binary.BigEndian.Uint16(d.page[at-2:])) }

// fields are the fields of the record at a place of the page.
func (d *Dictionary) fields(at int) ([][]byte, error) {
	bad := fmt.Errorf("record at byte %d of a page of SYS_TABLES: %w", at, ErrDictionary)
	end := len(d.page) - trailerSize
	if at <= pageSupremum || at >= end {
		return nil, bad
	}
	n := int(binary.BigEndian.Uint16(d.page[at-4:])&0x7fe) >> 1
	short := d.page[at-3]&1 != 0
	width := 2
	if short {
		width = 1
	}
	if n == 0 || at-recordExtra-n*width <= pageSupremum {
		return nil, bad
	}
	fields := make([][]byte, n)
	from := 0
	for i := range fields {
		var to int
		if short {
			to = int(d.page[at-recordExtra-1-i] & 0x7f)
		} else {
			to = int(binary.BigEndian.Uint16(d.page[at-recordExtra-2-2*i:]) & 0x3fff)
		}
		if to < from || at+to > end {
			return nil, bad
		}
		fields[i], from = d.page[at+from:at+to], to
	}
	return fields, nil
}

// forget takes the mark away from the tables on the page.
func (d *Dictionary) forget(keep func(string) bool) (changed int, err error) {
	at := d.following(pageInfimum)
	for range len(d.page) / (recordExtra + sysTablesLast) {
		if at == pageSupremum {
			return changed, nil
		}
		fields, err := d.fields(at)
		if err != nil {
			return changed, err
		}
		if len(fields) != sysTablesLast+1 || len(fields[sysTablesType]) != 4 || len(fields[sysTablesLast]) != 4 {
			return changed, fmt.Errorf("record with %d fields in SYS_TABLES: %w", len(fields), ErrDictionary)
		}
		flags := fields[sysTablesType]
		deleted := d.page[at-recordExtra]&recordDeleted != 0
		if flags[3]&tableDataDir != 0 && !deleted && !keep(string(fields[0])) {
			flags[3] &^= tableDataDir
			changed++
		}
		at = d.following(at)
	}
	return changed, fmt.Errorf("a page of SYS_TABLES has no end: %w", ErrDictionary)
}

// stamp recomputes the page checksum in the form that the page uses.
func (d *Dictionary) stamp() {
	page := d.page
	end := len(page) - trailerSize
	switch {
	case d.space.Flags.FullCRC32():
		binary.BigEndian.PutUint32(page[len(page)-4:], crc32c(page[:len(page)-4]))
	case be32(page, offChecksum) == noChecksum:
	case be32(page, offChecksum) == be32(page, end): // CRC-32C has it in both places
		sum := crc32c(page[offPageNo:offLegacyKey]) ^ crc32c(page[offData:end])
		binary.BigEndian.PutUint32(page, sum)
		binary.BigEndian.PutUint32(page[end:], sum)
	default:
		binary.BigEndian.PutUint32(page, foldPage(page))
	}
}
