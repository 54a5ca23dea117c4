package datadir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Definition is what a backup must know of a table from its .frm file. The
// server's own list is not asked for it: information_schema opens every table
// and waits for the DDL that a backup blocks.
type Definition struct {
	Kind        string // as in information_schema.TABLES.TABLE_TYPE
	Engine      string // the engine of the data, "" for a view
	Partitioned bool
}

// Values of definition.kind.
const (
	KindTable    = "BASE TABLE"
	KindView     = "VIEW"
	kindSequence = "SEQUENCE"
	kindVersions = "SYSTEM VERSIONED"
)

// Places in a .frm file of a table (MariaDB's sql/unireg.cc writes them, and
// sql/table.cc reads them). Integers are little-endian.
const (
	frmHeaderSize     = 64
	frmLegacyEngine   = 3  // u8, see legacyEngine
	frmExtra2Size     = 4  // u16, bytes of the section that begins at frmHeaderSize
	frmKeysOffset     = 6  // u16, where the key section begins
	frmKeysSize       = 14 // u16; 0xffff: a u32 at frmKeysSize32
	frmRecordSize     = 16 // u16
	frmChoices        = 39 // u8, bits 4 and 5: 2 for a sequence
	frmKeysSize32     = 47 // u32
	frmExtraSize      = 55 // u32, bytes of the section after the default record
	frmPartitionedBy  = 61 // u8, legacy engine of the partitions
	frmSequenceChoice = 2
	extra2Versioned   = 4 // EXTRA2_PERIOD_FOR_SYSTEM_TIME
)

// errNotFrm is returned for a file that is not a .frm file that we understand.
var errNotFrm = errors.New("not a table definition")

// legacyEngine names the engines that have a number of their own.
func legacyEngine(number byte) string {
	switch number {
	case 6:
		return "MEMORY"
	case 9:
		return "MyISAM"
	case 10:
		return "MRG_MyISAM"
	case 12:
		return "InnoDB"
	case 15:
		return "EXAMPLE"
	case 16:
		return "ARCHIVE"
	case 17:
		return "CSV"
	case 18:
		return "FEDERATED"
	case 19:
		return "BLACKHOLE"
	case 20:
		return "partition"
	case 42:
		return "Aria"
	}
	return ""
}

// isView reports whether a .frm file is that of a view, which is text: "key=value"
// lines.
func isView(b []byte) bool { return bytes.HasPrefix(b, []byte("TYPE=VIEW\n")) }

// twoNames are two names in a row of a view's query, which has the database
// before each table. A table and its column look alike.
var twoNames = regexp.MustCompile("`((?:[^`]|``)+)`\\.`((?:[^`]|``)+)`")

// ViewTables returns what may be the tables that a view reads, none if the .frm
// file is not that of a view.
func ViewTables(b []byte) []TableName {
	_, query, ok := bytes.Cut(b, []byte("\nquery="))
	if !isView(b) || !ok {
		return nil
	}
	query, _, _ = bytes.Cut(query, []byte("\n"))
	var all []TableName
	for _, m := range twoNames.FindAllSubmatch(query, -1) {
		q := TableName{strings.ReplaceAll(string(m[1]), "``", "`"), strings.ReplaceAll(string(m[2]), "``", "`")}
		if !slices.Contains(all, q) {
			all = append(all, q)
		}
	}
	return all
}

// parseDefinition reads a whole .frm file.
func parseDefinition(b []byte) (Definition, error) {
	if isView(b) {
		return Definition{Kind: KindView}, nil
	}
	if len(b) < frmHeaderSize || b[0] != 0xfe || b[1] != 1 {
		return Definition{}, errNotFrm
	}
	d := Definition{Kind: KindTable, Engine: legacyEngine(b[frmLegacyEngine])}
	if named := namedEngine(b); named != "" {
		d.Engine = engineName(named)
	}
	if d.Engine == "partition" {
		d.Partitioned = true
		if d.Engine = legacyEngine(b[frmPartitionedBy]); d.Engine == "" {
			d.Engine = "partition"
		}
	}
	if d.Engine == "" {
		return Definition{}, fmt.Errorf("engine number %d without a name: %w", b[frmLegacyEngine], errNotFrm)
	}
	switch {
	case b[frmChoices]>>4&3 == frmSequenceChoice:
		d.Kind = kindSequence
	case hasExtra2(b, extra2Versioned):
		d.Kind = kindVersions
	}
	return d, nil
}

// namedEngine returns the engine's name from the section after the default
// record: a connect string and then the name, each after its u16 length.
func namedEngine(b []byte) string {
	u16 := func(at int) int { return int(binary.LittleEndian.Uint16(b[at:])) }
	u32 := func(at int) int64 { return int64(binary.LittleEndian.Uint32(b[at:])) }
	keys := int64(u16(frmKeysSize))
	if keys == 0xffff {
		keys = u32(frmKeysSize32)
	}
	at := int64(u16(frmKeysOffset)) + keys + int64(u16(frmRecordSize))
	end := at + u32(frmExtraSize)
	if end > int64(len(b)) {
		return ""
	}
	var text []byte
	for range 2 {
		if at+2 > end {
			return ""
		}
		length := int64(u16(int(at)))
		if at+2+length > end {
			return ""
		}
		text = b[at+2 : at+2+length]
		at += 2 + length
	}
	return string(text)
}

// hasExtra2 looks for a field in the section after the header: type u8,
// length u8 (0: a u16 follows) and the value, again and again.
func hasExtra2(b []byte, kind byte) bool {
	size := int(binary.LittleEndian.Uint16(b[frmExtra2Size:]))
	if size == 0 || frmHeaderSize+size > len(b) || b[frmHeaderSize] == '/' {
		return false
	}
	rest := b[frmHeaderSize : frmHeaderSize+size]
	for len(rest) >= 3 {
		found, length, skip := rest[0], int(rest[1]), 2
		if length == 0 && len(rest) >= 4 {
			length, skip = int(binary.LittleEndian.Uint16(rest[2:])), 4
		}
		if found == kind {
			return true
		}
		if skip+length > len(rest) {
			return false
		}
		rest = rest[skip+length:]
	}
	return false
}
