package binlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
)

// formatEvent makes a format description as 10.11 writes it.
func formatEvent(checksum bool, created uint32) []byte {
	b := make([]byte, formatLengths+int(TypeEncryption)+formatTail)
	binary.LittleEndian.PutUint32(b, 1700000000)
	b[4] = byte(TypeFormat)
	b[5] = 1
	binary.LittleEndian.PutUint32(b[9:], uint32(len(b)))
	binary.LittleEndian.PutUint16(b[formatVersion:], 4)
	copy(b[formatServer:], "10.11.19-MariaDB-log")
	binary.LittleEndian.PutUint32(b[formatCreated:], created)
	b[formatHeader] = HeaderSize
	if checksum {
		b[len(b)-formatTail] = 1
	}
	Format{}.Seal(b)
	return b
}

// event makes an event of a kind.
func (f Format) event(kind Type, body []byte) []byte {
	b := f.artificial(kind, 7, body)
	binary.LittleEndian.PutUint32(b, 1700000001)
	binary.LittleEndian.PutUint16(b[17:], 0)
	f.Seal(b)
	return b
}

func gtidEventBody(domain uint32, sequence uint64, flags byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, sequence)
	b = binary.LittleEndian.AppendUint32(b, domain)
	return append(b, flags, 0, 0, 0, 0, 0, 0)
}

func queryBody(text string) []byte {
	b := make([]byte, queryHeader)
	b[8], b[11] = 4, 3 // "shop", three bytes of status
	b = append(b, 0, 1, 2)
	b = append(b, "shop\x00"...)
	return append(b, text...)
}

func TestCutterFindsTransactions(t *testing.T) {
	type event struct {
		kind Type
		body []byte
	}
	gtid := event{TypeGTID, gtidEventBody(0, 5, 0x4)}
	alone := event{TypeGTID, gtidEventBody(0, 5, flagStandalone|flagDDL)}
	query := func(text string) event { return event{TypeQuery, queryBody(text)} }
	rows := event{24, []byte("rows")}
	for name, c := range map[string]struct {
		events  []event
		want    string // a letter for each event: -, O, I, C; ! for an open one that was dropped
		damaged bool
	}{
		"rows and XID": {events: []event{gtid, {TypeAnnotate, nil}, {TypeTableMap, nil}, rows, {TypeXID, nil}},
			want: "OIIIC"},
		"MyISAM": {events: []event{gtid, {TypeTableMap, nil}, rows, query("COMMIT")}, want: "OIIC"},
		"savepoint": {events: []event{gtid, query("SAVEPOINT `a`"), query("ROLLBACK TO `a`"), query("ROLLBACK")},
			want: "OIIC"},
		"DDL": {events: []event{alone, query("DROP TABLE t")}, want: "OC"},
		"statement": {events: []event{alone, {TypeIntvar, nil}, {TypeRand, nil}, {TypeUserVar, nil}, query("INSERT")},
			want: "OIIIC"},
		"compressed DDL": {events: []event{alone, {TypeQueryCompress, queryBody("xx")}, alone, query("x")},
			want: "OCOC"},
		"XA": {events: []event{gtid, query("XA START X'61'"), rows, query("XA END X'61'"), {TypeXAPrepare, nil}},
			want: "OIIIC"},
		"XA commit": {events: []event{gtid, query("XA COMMIT X'61',X'',1")}, want: "OC"},
		"around": {events: []event{{TypeGTIDList, []byte{0, 0, 0, 0}}, {TypeCheckpoint, nil}, gtid, {TypeXID, nil},
			{TypeRotate, []byte("12345678a")}}, want: "--OC-"},
		"crash of the server": {events: []event{gtid, rows, {TypeStop, nil}, gtid}, want: "OI!O"},
		"no end":              {events: []event{gtid, rows, gtid, {TypeXID, nil}}, want: "OI!OC"},
		"without a GTID":      {events: []event{query("COMMIT")}, damaged: true},
	} {
		for _, checksum := range []bool{false, true} {
			var k Cutter
			if _, _, err := k.Next(formatEvent(checksum, 0)); err != nil {
				t.Fatal(err)
			}
			got := ""
			var err error
			for _, e := range c.events {
				var part Part
				var dropped bool
				if part, dropped, err = k.Next(k.Format.event(e.kind, e.body)); err != nil {
					break
				}
				if dropped {
					got += "!"
				}
				if !dropped || part != Outside {
					got += string("-OIC"[part])
				}
			}
			if got != c.want || errors.Is(err, ErrDamaged) != c.damaged || (err != nil) != c.damaged {
				t.Errorf("%s, checksums %v: %q, %v; want %q", name, checksum, got, err, c.want)
			}
		}
	}
}

// A flipped bit in an event with a checksum never passes.
func TestChecksumSeesEveryBit(t *testing.T) {
	description := formatEvent(true, 9)
	f, err := ParseFormat(description)
	if err != nil || f.Created != 9 || !f.Checksum || f.Server != "10.11.19-MariaDB-log" {
		t.Fatalf("ParseFormat = %+v, %v", f, err)
	}
	for _, whole := range [][]byte{description, f.event(TypeQuery, queryBody("INSERT"))} {
		for i := range len(whole) * 8 {
			b := bytes.Clone(whole)
			b[i/8] ^= 1 << (i % 8)
			var k Cutter
			k.Format = f
			if Type(b[4]) == TypeFormat {
				if i == 17*8 || i >= 8*(len(b)-formatTail) && i < 8*(len(b)-checksumSize) {
					continue // the server flips the first; the second says whether there is a checksum
				}
			}
			if _, _, err := k.Next(b); !errors.Is(err, ErrDamaged) {
				t.Fatalf("bit %d of byte %d of type %d: %v", i%8, i/8, whole[4], err)
			}
		}
	}
}

func TestDescription(t *testing.T) {
	b := formatEvent(true, 9)
	b[17] = flagInUse
	f, err := ParseFormat(b)
	if err != nil {
		t.Fatal("in use:", err)
	}
	for _, started := range []bool{true, false} {
		c := f.Description(b, started)
		g, err := ParseFormat(c)
		if err != nil || (g.Created != 0) != started || c[17] != 0 {
			t.Errorf("started %v: %+v, flags %d, %v", started, g, c[17], err)
		}
		if !Same(b, c) || Same(b, formatEvent(false, 9)) {
			t.Errorf("started %v: Same is wrong", started)
		}
	}
}

func TestPositions(t *testing.T) {
	p, err := ParsePosition("5-2-7, 0-1-23")
	if err != nil || p.String() != "0-1-23,5-2-7" {
		t.Fatalf("ParsePosition = %s, %v", p, err)
	}
	s, err := ParseState("0-2-40,0-1-23,5-2-7")
	if err != nil || !s.Equal(p) {
		t.Errorf("ParseState = %s, %v", s, err)
	}
	for _, bad := range []string{"0-1", "0-1-2-3", "0-1-x", "-0-1-2", "0-1-2,", "0-1-2,0-3-4", "4294967296-1-1",
		"0-1-18446744073709551616", "0- 1-2", strings.Repeat("0-1-1,", MaxDomains) + "0-1-1"} {
		if p, err := ParsePosition(bad); !errors.Is(err, ErrGTID) {
			t.Errorf("ParsePosition(%.40s) = %s, %v", bad, p, err)
		}
	}
	for _, c := range []struct {
		at, q string
		want  bool
	}{{"0-1-5", "0-1-5", true}, {"0-1-5", "0-9-4", true}, {"0-1-5", "0-1-6", false}, {"0-1-5", "1-1-1", false},
		{"", "", true}} {
		at, err1 := ParsePosition(c.at)
		q, err2 := ParsePosition(c.q)
		if got := at.Reached(q); got != c.want || errors.Join(err1, err2) != nil {
			t.Errorf("%s reached %s = %v", c.at, c.q, got)
		}
	}
	f, err := ParseFormat(formatEvent(true, 0))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := f.List(f.Reached(1, p)); err != nil || !got.Equal(p) {
		t.Errorf("List(Reached) = %s, %v", got, err)
	}
}

func FuzzCutter(f *testing.F) {
	k := Format{Checksum: true}
	f.Add(bytes.Join([][]byte{formatEvent(true, 1), k.event(TypeGTID, gtidEventBody(1, 2, 0)), k.event(TypeXID, nil),
		k.event(TypeGTIDList, make([]byte, 20)), k.event(TypeQuery, queryBody("COMMIT"))}, nil))
	f.Add(formatEvent(false, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c Cutter
		for len(b) >= HeaderSize {
			h, err := ParseHeader(b)
			if err != nil || int(h.Size) > len(b) {
				h.Size = uint32(len(b))
			}
			e := b[:h.Size]
			b = b[h.Size:]
			part, _, err := c.Next(e)
			if err != nil {
				continue
			}
			_, open := c.Begun()
			if open != (part == Opening || part == Inside) && part != Outside {
				t.Errorf("part %d, open %v", part, open)
			}
			_, _ = c.Format.List(e)
			_, _ = c.Format.Begin(e)
			c.Format.Content(e)
			if h.Type == TypeFormat {
				if _, err := ParseFormat(c.Format.Description(e, false)); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

func FuzzPosition(f *testing.F) {
	f.Add("0-1-23,5-2-7")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePosition(s)
		if err != nil {
			return
		}
		if q, err := ParsePosition(p.String()); err != nil || !q.Equal(p) {
			t.Errorf("%q became %q", s, p)
		}
	})
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(Magic))
	f.Add(append([]byte(Magic), formatEvent(true, 1)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b), int64(len(b)))
		total := int64(len(Magic))
		for {
			e, err := r.Next()
			if err != nil {
				if err == io.EOF && total != int64(len(b)) {
					t.Errorf("%d bytes of %d were read", total, len(b))
				}
				return
			}
			if total += int64(len(e)); total != r.End() {
				t.Errorf("an event ends at %d, the reader is at %d", total, r.End())
			}
		}
	})
}
