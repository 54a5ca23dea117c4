package binlog

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
)

// RowEvents makes events of a transaction with rows, without checksums.
func RowEvents(packed bool) []byte {
	var f Format
	types := []byte{columnLong, columnVarchar, columnDecimal, columnString, columnBlob}
	metadata := []byte{100, 0, 10, 2, columnString, 40, 2}
	table := append([]byte{5, 0, 0, 0, 0, 0, 0, 0, 1, 'd', 0, 1, 't', 0, byte(len(types))}, types...)
	table = append(append(table, byte(len(metadata))), metadata...)
	table = append(table, 0xff)
	rows := []byte{5, 0, 0, 0, 0, 0, 0, 0, byte(len(types)), 0x1f}
	data := []byte{0, 1, 0, 0, 0, 1, 'x', 0, 0, 0, 0, 5, 1, 'y', 1, 0, 'z', 0x1e, 1, 0, 0, 0}
	kind := typeWriteRows1
	if packed {
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		_, _ = w.Write(data)
		_ = w.Close()
		kind, data = typeWriteRowsCompress1, append([]byte{0x81, byte(len(data))}, b.Bytes()...)
	}
	query := queryBody("INSERT INTO d.t VALUES (1)")
	format := formatEvent(false, 1)
	binary.LittleEndian.PutUint32(format[13:], 0)
	f.Seal(format)
	return bytes.Join([][]byte{format, f.event(TypeGTID, gtidEventBody(0, 5, 0)), f.event(TypeAnnotate, []byte("text")),
		f.event(TypeTableMap, table), f.event(kind, append(rows, data...)), f.event(TypeQuery, query),
		f.event(TypeXID, make([]byte, 8))}, nil)
}
