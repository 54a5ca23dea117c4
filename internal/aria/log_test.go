package aria

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// logHeader is the start of aria_log.00000001 of a new 10.11 server.
const logHeader = "fefe0b014d415249414c4f477950ddd1d160060010270000ff8a010000000000ff1f01000000000000000000ffffffff"

func TestParseLogHeader(t *testing.T) {
	b := mustHex(t, logHeader)
	want := LogHeader{
		Created: time.UnixMicro(0x660d1d1dd5079).UTC(), AriaVersion: 10000, ServerVersion: 101119, File: 1,
	}
	got, err := ParseLogHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseLogHeader (-want +got):\n%s", diff)
	}
	b[34], b[37], b[40] = 7, 7, 0x20
	want.File, want.MaxLSN = 7, LSN{7, 0x20}
	got, err = ParseLogHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("a finished file (-want +got):\n%s", diff)
	}
}

func TestParseLogHeaderDamaged(t *testing.T) {
	whole := mustHex(t, logHeader)
	for name, change := range map[string]func([]byte) []byte{
		"cut short":         func(b []byte) []byte { return b[:logHeaderLen-1] },
		"empty":             func([]byte) []byte { return nil },
		"another magic":     func(b []byte) []byte { b[11]++; return b },
		"another page size": func(b []byte) []byte { b[33]++; return b },
	} {
		if _, err := ParseLogHeader(change(append([]byte(nil), whole...))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error = %v, want ErrFormat", name, err)
		}
	}
}

func TestLogName(t *testing.T) {
	for n, name := range map[uint32]string{
		1: "aria_log.00000001", 23: "aria_log.00000023", MaxLog: "aria_log.16777215",
	} {
		if got := LogName(n); got != name {
			t.Errorf("LogName(%d) = %s, want %s", n, got, name)
		}
		if got, ok := ParseLogName(name); got != n || !ok {
			t.Errorf("ParseLogName(%s) = %d, %t, want %d", name, got, ok, n)
		}
	}
	for _, name := range []string{
		"", "aria_log_control", "aria_log.", "aria_log.1", "aria_log.00000000", "aria_log.000000001",
		"aria_log.+0000001",
		"aria_log.0000000x", "aria_log.99999999", "maria_log.00000001", "aria_log.00000001.bak",
	} {
		if n, ok := ParseLogName(name); ok {
			t.Errorf("ParseLogName(%q) = %d, want none", name, n)
		}
	}
}

func TestCheckLogPage(t *testing.T) {
	page := make([]byte, LogPageSize)
	binary.LittleEndian.PutUint32(page, 5|9<<24) // page 5 of file 9
	if err := CheckLogPage(page, 9, 5); err != nil {
		t.Errorf("in its place: %v", err)
	}
	for name, err := range map[string]error{
		"wrong page":   CheckLogPage(page, 9, 6),
		"wrong file":   CheckLogPage(page, 8, 5),
		"cut short":    CheckLogPage(page[:LogPageSize-1], 9, 5),
		"not written":  CheckLogPage(make([]byte, LogPageSize), 9, 5),
		"unknown flag": CheckLogPage(append([]byte{5, 0, 0, 9, 0, 0, 8}, page[7:]...), 9, 5),
	} {
		if !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error = %v, want ErrFormat", name, err)
		}
	}
}

func FuzzParseLogHeader(f *testing.F) {
	f.Add(mustHex(f, logHeader))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseLogHeader(b)
		if err != nil && !errors.Is(err, ErrFormat) {
			t.Fatalf("error %v is not ErrFormat", err)
		}
		if err == nil && h.File > MaxLog {
			t.Fatalf("file number %d", h.File)
		}
	})
}
