package innodb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParseLogHeader(t *testing.T) {
	crypt := bytes.Repeat([]byte{7}, logCryptSize)
	tests := []struct {
		name      string
		header    LogHeader
		change    func(b []byte)
		encrypted bool
		readable  bool
		wantErr   error
	}{
		{name: "plain", header: LogHeader{Format: Format108, FirstLSN: 12288, Creator: "MariaDB 11.8.6"},
			readable: true},
		{name: "older encryption", header: LogHeader{Format: Format108, FirstLSN: 1 << 45, Creator: "MariaDB 10.11.3",
			Crypt: crypt}, encrypted: true, readable: true},
		{name: "newer encryption", header: LogHeader{Format: FormatEnc11, FirstLSN: 99999, Creator: "MariaDB 11.8.6",
			Crypt: crypt}, encrypted: true},
		{name: "creator fills its field", header: LogHeader{Format: Format108, FirstLSN: 12288,
			Creator: strings.Repeat("x", 32)}, readable: true},
		{name: "wrong checksum", header: LogHeader{Format: Format108, FirstLSN: 12288},
			change: func(b []byte) { b[20]++ }, wantErr: ErrBadLogHeader},
		{name: "first LSN too small", header: LogHeader{Format: Format108, FirstLSN: 12287}, wantErr: ErrBadLogHeader},
		{name: "first LSN absurd", header: LogHeader{Format: Format108, FirstLSN: 1 << 63}, wantErr: ErrBadLogHeader},
		{name: "bytes that must be zero", header: LogHeader{Format: Format108, FirstLSN: 12288},
			wantErr: ErrBadLogHeader, change: func(b []byte) {
				b[5] = 1
				binary.BigEndian.PutUint32(b[508:], crc32c(b[:508]))
			}},
		{name: "format of 10.5", header: LogHeader{Format: Format105, FirstLSN: 8704, Creator: "MariaDB 10.5.23"},
			readable: true},
		{name: "encrypted format of 10.5", header: LogHeader{Format: Format105Enc, FirstLSN: 8704}, encrypted: true},
		{name: "format of 10.4", header: LogHeader{Format: 104, FirstLSN: 12288}, wantErr: ErrUnknownFormat},
		{name: "all zero", change: func(b []byte) { clear(b) }, wantErr: ErrUnknownFormat},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.header.Append([]byte("x"))[1:]
			if tt.change != nil {
				tt.change(b)
			}
			got, err := ParseLogHeader(b)
			if !errors.Is(err, tt.wantErr) {
				t.Fatalf("error = %v, want %v", err, tt.wantErr)
			}
			if err != nil {
				return
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.header) {
				t.Errorf("header = %v, want %v", got, tt.header)
			}
			if got.Encrypted() != tt.encrypted || got.Readable() != tt.readable {
				t.Errorf("encrypted %v, readable %v, want %v, %v", got.Encrypted(), got.Readable(), tt.encrypted,
					tt.readable)
			}
		})
	}
	if _, err := ParseLogHeader(make([]byte, 511)); !errors.Is(err, ErrBadLogHeader) {
		t.Errorf("short header: error = %v, want ErrBadLogHeader", err)
	}
}

func TestFormatErrorNamesServers(t *testing.T) {
	for format, want := range map[uint32]string{
		103:        "unknown redo log format 0x00000067 (MariaDB 10.2 to 10.4)",
		0x80000067: "unknown redo log format 0x80000067 (MariaDB 10.2 to 10.4)",
		0x12345678: "unknown redo log format 0x12345678",
	} {
		if got := (&FormatError{Format: format}).Error(); got != want {
			t.Errorf("format %#x: %q, want %q", format, got, want)
		}
	}
}

func TestNewestCheckpoint(t *testing.T) {
	block := func(c Checkpoint) []byte { return c.Append(nil) }
	broken := block(Checkpoint{LSN: 90000, End: 90000})
	broken[3] ^= 1
	tests := []struct {
		name          string
		first, second []byte
		want          Checkpoint
		torn          bool
		wantErr       error
	}{
		{name: "first is newer", first: block(Checkpoint{60000, 60100}), second: block(Checkpoint{50000, 50100}),
			want: Checkpoint{60000, 60100}},
		{name: "second is newer", first: block(Checkpoint{50000, 50100}), second: block(Checkpoint{60000, 60100}),
			want: Checkpoint{60000, 60100}},
		{name: "equal: the server takes the second", first: block(Checkpoint{50000, 50100}),
			second: block(Checkpoint{50000, 50700}), want: Checkpoint{50000, 50700}},
		{name: "second was never written", first: block(Checkpoint{50000, 50100}), want: Checkpoint{50000, 50100}},
		{name: "second is being written", first: block(Checkpoint{50000, 50100}), second: broken,
			want: Checkpoint{50000, 50100}, torn: true},
		{name: "newer one is from before the log began", first: block(Checkpoint{20000, 70000}),
			second: block(Checkpoint{50000, 50100}), want: Checkpoint{50000, 50100}},
		{name: "end below start", first: block(Checkpoint{50000, 49999}), wantErr: ErrNoCheckpoint, torn: true},
		{name: "both empty", wantErr: ErrNoCheckpoint},
		{name: "both broken", first: broken, second: broken, wantErr: ErrNoCheckpoint, torn: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := make([]byte, LogDataOffset)
			copy(b[logCheckpoint1:], tt.first)
			copy(b[logCheckpoint2:], tt.second)
			got, torn, err := NewestCheckpoint(b, 40000)
			if got != tt.want || torn != tt.torn || !errors.Is(err, tt.wantErr) {
				t.Errorf("got %v, torn %v, %v; want %v, %v, %v", got, torn, err, tt.want, tt.torn, tt.wantErr)
			}
		})
	}
	if _, _, err := NewestCheckpoint(nil, 0); !errors.Is(err, ErrNoCheckpoint) {
		t.Errorf("no header: error = %v, want ErrNoCheckpoint", err)
	}
}

func TestRing(t *testing.T) {
	r := Ring{First: 20000, Capacity: 8192}
	tests := []struct {
		lsn    LSN
		offset int64
		bit    byte
		lapEnd LSN
	}{
		{20000, 12288, 1, 28192},
		{28191, 20479, 1, 28192},
		{28192, 12288, 0, 36384},
		{36383, 20479, 0, 36384},
		{36384, 12288, 1, 44576},
	}
	for _, tt := range tests {
		if o, b, e := r.Offset(tt.lsn), r.Bit(tt.lsn), r.lapEnd(tt.lsn); o != tt.offset || b != tt.bit ||
			e != tt.lapEnd {
			t.Errorf("LSN %d: offset %d, bit %d, lap to %d; want %d, %d, %d", tt.lsn, o, b, e, tt.offset, tt.bit,
				tt.lapEnd)
		}
	}
}

func TestRestoredLogHeader(t *testing.T) {
	crypt := bytes.Repeat([]byte{3}, logCryptSize)
	r := RestoredLog{Format: Format108, Crypt: crypt, Checkpoint: Checkpoint{LSN: 70000, End: 70200},
		Version: "mbk 0.1.0"}
	b, err := r.Header()
	if err != nil {
		t.Fatal(err)
	}
	if len(b) != LogDataOffset {
		t.Fatalf("%d bytes, want %d", len(b), LogDataOffset)
	}
	h, err := ParseLogHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if h.FirstLSN != 70000 || h.Creator != "Backup mbk 0.1.0" || !bytes.Equal(h.Crypt, crypt) {
		t.Errorf("header = %+v", h)
	}
	c, torn, err := NewestCheckpoint(b, h.FirstLSN)
	if c != r.Checkpoint || torn || err != nil {
		t.Errorf("checkpoint = %v, %v, %v; want %v", c, torn, err, r.Checkpoint)
	}
	if !PageIsZero(b[logHeaderSize:logCheckpoint1]) || !PageIsZero(b[logCheckpoint1+checkpointSize:]) {
		t.Error("bytes between the blocks are not zero")
	}

	for name, bad := range map[string]RestoredLog{
		"unknown format":              {Format: 1, Checkpoint: r.Checkpoint},
		"checkpoint ends too early":   {Format: Format108, Checkpoint: Checkpoint{LSN: 70000, End: 60000}},
		"no checkpoint":               {Format: Format108},
		"half of the crypt data":      {Format: Format108, Checkpoint: r.Checkpoint, Crypt: crypt[:9]},
		"newer format without crypt":  {Format: FormatEnc11, Checkpoint: r.Checkpoint},
		"checkpoint ends in infinity": {Format: Format108, Checkpoint: Checkpoint{LSN: 70000, End: 1 << 63}},
	} {
		if _, err := bad.Header(); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	r.Version = strings.Repeat("9", 100)
	if b, err = r.Header(); err != nil || b[logCryptOffset-1] != 0 {
		t.Errorf("long version: last byte of the creator is %d, %v", b[logCryptOffset-1], err)
	}
}

func TestRestoredLogSize(t *testing.T) {
	for _, redo := range []int64{0, 1, 4096, 5 << 20, 3 << 30} {
		for _, configured := range []int64{0, 96 << 20, RestoredLogSize(redo, 0)} {
			size := RestoredLogSize(redo, configured)
			if size%4096 != 0 || size < LogDataOffset+redo+16<<20 || size == configured || size > redo+17<<20 {
				t.Errorf("redo %d, configured %d: size %d", redo, configured, size)
			}
		}
	}
}

func FuzzParseLogHeader(f *testing.F) {
	f.Add(LogHeader{Format: Format108, FirstLSN: 12288, Creator: "MariaDB 11.8.6"}.Append(nil))
	f.Add(LogHeader{Format: FormatEnc11, FirstLSN: 12288, Crypt: bytes.Repeat([]byte{1}, logCryptSize)}.Append(nil))
	f.Add(make([]byte, logHeaderSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= logHeaderSize {
			binary.BigEndian.PutUint32(b[508:], crc32c(b[:508]))
		}
		h, err := ParseLogHeader(b)
		if err != nil {
			return
		}
		again, err := ParseLogHeader(h.Append(nil))
		if err != nil || fmt.Sprint(again) != fmt.Sprint(h) {
			t.Errorf("%v became %v, %v", h, again, err)
		}
	})
}

func FuzzNewestCheckpoint(f *testing.F) {
	f.Add(uint64(50000), uint64(50100), uint64(60000), uint64(60100), uint64(40000))
	f.Add(uint64(0), uint64(0), uint64(1)<<63, uint64(1), uint64(12288))
	f.Fuzz(func(t *testing.T, a, aEnd, b, bEnd, first uint64) {
		header := make([]byte, LogDataOffset)
		Checkpoint{LSN(a), LSN(aEnd)}.Append(header[logCheckpoint1:logCheckpoint1])
		Checkpoint{LSN(b), LSN(bEnd)}.Append(header[logCheckpoint2:logCheckpoint2])
		c, _, err := NewestCheckpoint(header, LSN(first))
		if err != nil {
			return
		}
		if c.LSN < LSN(first) || c.End < c.LSN {
			t.Errorf("checkpoint %v in a log from %d", c, first)
		}
		if again, err := ParseCheckpoint(c.Append(nil)); err != nil || again != c {
			t.Errorf("%v became %v, %v", c, again, err)
		}
	})
}
