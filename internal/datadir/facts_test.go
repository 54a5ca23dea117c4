package datadir

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

func parFile(names ...string) []byte {
	b := make([]byte, 12, 64)
	binary.LittleEndian.PutUint32(b[8:], uint32(len(names)))
	b = append(b, make([]byte, (len(names)+3)/4*4)...)
	text := strings.Join(names, "\x00") + "\x00"
	b = binary.LittleEndian.AppendUint32(b, uint32(len(text)))
	return append(b, text+"\x00\x00\x00"...)
}

func TestPartitionNames(t *testing.T) {
	for _, want := range [][]string{{"p0"}, {"p0", "p1"}, {"p0#SP#s0", "p0#SP#s1", "p1#SP#s2", "p1#SP#s3", "@0k"}} {
		b := parFile(want...)
		if got := partitionNames(b); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		for n := range len(b) - 3 {
			if got := partitionNames(b[:n]); got != nil {
				t.Errorf("the first %d bytes have %q", n, got)
			}
		}
	}
}

func FuzzInspect(f *testing.F) {
	f.Add(".par", parFile("p0", "p1"))
	f.Add(".frm", []byte("TYPE=VIEW\nquery=select 1"))
	f.Add(".MYI", append([]byte(myiMagic), make([]byte, indexHead)...))
	f.Add(".MAI", append([]byte(maiMagic), make([]byte, indexHead)...))
	f.Add(ARZExt, append([]byte{arzMagic, 3, 1, 0, 0, arzHeaderSize, 0, 0, 0, 64}, make([]byte, 200)...))
	f.Fuzz(func(t *testing.T, ext string, b []byte) {
		found, err := Inspect(Entry{Dir: "d", Name: "t" + ext}, bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Error(err)
		}
		if found.DataSize < 0 || len(found.Partitions) > len(b) {
			t.Errorf("%+v", found)
		}
	})
}
