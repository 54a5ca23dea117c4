package aria

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// controls are the control files of new data directories.
var controls = []struct {
	series, hex string
	want        Control
}{
	{
		"10.5", "fefe0c01d751876ee60311f1995702fc000000011e0016000020b67f11df1e91e6d40100006d570000010000000d000000000000",
		Control{Version: 1, UUID: mustUUID("d751876ee60311f1995702fc00000001"), BlockSize: 8192,
			Checkpoint: LSN{1, 0x576d}, LastLog: 1, MaxTrid: 13},
	},
	{
		"10.11", "fefe0c014624a652e60411f19d2d02fc000000011e0016000020de32cc981ee91969010000674c060001000000e3000000000000",
		Control{Version: 1, UUID: mustUUID("4624a652e60411f19d2d02fc00000001"), BlockSize: 8192,
			Checkpoint: LSN{1, 0x64c67}, LastLog: 1, MaxTrid: 227},
	},
	{
		"11.8", "fefe0c013699f130e60511f1a6c802fc000000011e0016000020722418ce85f00958010000744a0600010000001b010000000000",
		Control{Version: 1, UUID: mustUUID("3699f130e60511f1a6c802fc00000001"), BlockSize: 8192,
			Checkpoint: LSN{1, 0x64a74}, LastLog: 1, MaxTrid: 283},
	},
}

func mustUUID(s string) (u UUID) {
	if err := u.UnmarshalText([]byte(s)); err != nil {
		panic(err)
	}
	return u
}

func mustHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseControl(t *testing.T) {
	for _, tt := range controls {
		t.Run(tt.series, func(t *testing.T) {
			b := mustHex(t, tt.hex)
			got, err := ParseControl(b)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("ParseControl (-want +got):\n%s", diff)
			}
			if err := got.Validate(); err != nil {
				t.Errorf("Validate = %v", err)
			}
			if again := got.Append(nil); !bytes.Equal(again, b) {
				t.Errorf("Append = %x, want %x", again, b)
			}
		})
	}
}

func TestParseControlDamaged(t *testing.T) {
	whole := mustHex(t, controls[1].hex)
	for i := range whole {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[i] ^= 1 << bit
			if _, err := ParseControl(b); !errors.Is(err, ErrFormat) {
				t.Errorf("bit %d of byte %d flipped: error = %v, want ErrFormat", bit, i, err)
			}
		}
		if _, err := ParseControl(whole[:i]); !errors.Is(err, ErrFormat) {
			t.Errorf("cut to %d bytes: error = %v, want ErrFormat", i, err)
		}
	}
	for name, b := range map[string][]byte{
		"a byte too long": append(bytes.Clone(whole), 0),
		"much too long":   make([]byte, MaxControlSize+1),
		"zeros":           make([]byte, len(whole)),
		"newer version":   Control{Version: 2}.Append(nil),
	} {
		if _, err := ParseControl(b); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error = %v, want ErrFormat", name, err)
		}
	}
}

func TestControlLastLog(t *testing.T) {
	c, err := ParseControl(mustHex(t, controls[1].hex))
	if err != nil {
		t.Fatal(err)
	}
	c.LastLog = 9
	got, err := ParseControl(c.Append([]byte("kept"))[4:])
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("with another last log (-want +got):\n%s", diff)
	}
}

func TestControlOfNewerServer(t *testing.T) {
	c := Control{Version: 1, LastLog: 1, MoreFixed: []byte("fixed"), MoreState: []byte("state")}
	got, err := ParseControl(c.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("fields of a newer server (-want +got):\n%s", diff)
	}
}

func TestControlJSON(t *testing.T) {
	c := controls[2].want
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"version":1,"uuid":"3699f130e60511f1a6c802fc00000001","block_size":8192,"checkpoint":{"file":1,"offset":412276},"last_log":1,"max_trid":283,"failures":0}`
	if string(b) != want {
		t.Errorf("JSON = %s, want %s", b, want)
	}
	var got Control
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("from JSON (-want +got):\n%s", diff)
	}
	for _, bad := range []string{`"00"`, `"` + strings.Repeat("x", 32) + `"`} {
		if err := json.Unmarshal([]byte(`{"uuid":`+bad+`}`), &got); err == nil {
			t.Errorf("uuid %s: no error", bad)
		}
	}
}

func TestControlValidate(t *testing.T) {
	for name, change := range map[string]func(*Control){
		"version":                    func(c *Control) { c.Version = 0 },
		"too many unknown fields":    func(c *Control) { c.MoreState = make([]byte, MaxControlSize) },
		"log number of 25 bits":      func(c *Control) { c.LastLog = MaxLog + 1 },
		"checkpoint behind last log": func(c *Control) { c.Checkpoint.File = 2 },
		"transaction of 49 bits":     func(c *Control) { c.MaxTrid = 1 << 48 },
	} {
		c := controls[0].want
		change(&c)
		if err := c.Validate(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error = %v, want ErrFormat", name, err)
		}
	}
}

func TestLSN(t *testing.T) {
	for _, tt := range []struct {
		a, b LSN
		want int
	}{
		{LSN{1, 9}, LSN{1, 9}, 0},
		{LSN{1, 8}, LSN{1, 9}, -1},
		{LSN{2, 0}, LSN{1, 9}, 1},
	} {
		if got := tt.a.Compare(tt.b); got != tt.want {
			t.Errorf("%s.Compare(%s) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
	if got, want := (LSN{3, 0x1c0bc1}).String(), "(3,0x1c0bc1)"; got != want {
		t.Errorf("String = %s, want %s", got, want)
	}
}

func FuzzParseControl(f *testing.F) {
	for _, c := range controls {
		f.Add(mustHex(f, c.hex))
	}
	f.Add(Control{Version: 1, MoreFixed: []byte("f"), MoreState: []byte("s")}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseControl(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("error %v is not ErrFormat", err)
			}
			return
		}
		if again := c.Append(nil); !bytes.Equal(again, b) {
			t.Fatalf("Append = %x, want %x", again, b)
		}
	})
}
