package aria

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// safe is a table whose blocks are logged and have checksums.
var safe = Index{Data: DataBlocks, BlockSize: 8192, HeaderLen: 8192, Transactional: true, Checksums: true}

// bitmapEvery is the distance of bitmap blocks in a data file of 8 KiB blocks.
const bitmapEvery = (8192-4)/6*16 + 1

// dataBlock makes a whole block no of random rows.
func dataBlock(no uint32) []byte {
	return seal(randomBlock(8192), no, 8192-4)
}

// keyBlock makes a whole block no of random keys of a transactional table.
func keyBlock(no uint32, used int) []byte {
	b := randomBlock(8192)
	binary.BigEndian.PutUint16(b[15:], uint16(used))
	return seal(b, no, used)
}

func randomBlock(size int) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// seal writes the checksum of the first n bytes.
func seal(b []byte, no uint32, n int) []byte {
	sum := min(crc32.Update(no, crc32.IEEETable, b[:n]), 0xfffffffd)
	binary.LittleEndian.PutUint32(b[len(b)-4:], sum)
	return b
}

// marked writes one of the marks for "no checksum".
func marked(mark uint32) []byte {
	b := randomBlock(8192)
	binary.LittleEndian.PutUint32(b[8192-4:], mark)
	return b
}

func TestCheckData(t *testing.T) {
	encrypted, dynamic := safe, Index{Data: DataDynamic, BlockSize: 8192, HeaderLen: 8192, Checksums: true}
	encrypted.Encrypted = true
	for _, tt := range []struct {
		name       string
		ix         Index
		block      []byte
		no         uint32
		whole      bool
		verifiable bool
	}{
		{"rows", safe, dataBlock(1), 1, true, true},
		{"rows with a high number", safe, dataBlock(1<<32 - 1), 1<<32 - 1, true, true},
		{"first bitmap", safe, dataBlock(0), 0, true, true},
		{"third bitmap", safe, dataBlock(2 * bitmapEvery), 2 * bitmapEvery, true, true},
		{"zeros", safe, make([]byte, 8192), 7, true, true},
		{"zeros in place of a bitmap", safe, make([]byte, 8192), bitmapEvery, true, true},
		{"rows without a checksum", safe, marked(0xffffffff), 1, true, false},
		{"bitmap without a checksum", safe, marked(0xfffffffe), bitmapEvery, true, false},
		{"rows marked as bitmap", safe, marked(0xfffffffe), 1, false, false},
		{"bitmap marked as rows", safe, marked(0xffffffff), bitmapEvery, false, false},
		{"in another place", safe, dataBlock(1), 2, false, true},
		{"one byte among zeros", safe, append([]byte{1}, make([]byte, 8191)...), 7, false, true},
		{"cut short", safe, dataBlock(1)[:8191], 1, false, true},
		{"encrypted rows", encrypted, randomBlock(8192), 1, true, false},
		{"bitmap of encrypted rows", encrypted, dataBlock(bitmapEvery), bitmapEvery, true, true},
		{"damaged bitmap of encrypted rows", encrypted, dataBlock(1), bitmapEvery, false, true},
		{"rows that are not in blocks", dynamic, randomBlock(100), 0, true, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantWhole(t, tt.ix.CheckData(tt.block, tt.no), tt.no, tt.whole)
			if got := tt.ix.Verifiable(tt.block, tt.no, true); got != tt.verifiable {
				t.Errorf("Verifiable = %t, want %t", got, tt.verifiable)
			}
		})
	}
}

func TestCheckIndex(t *testing.T) {
	encrypted, plain, wide := safe, safe, safe
	encrypted.Encrypted = true
	plain.Transactional = false
	wide.HeaderLen = 3 * 8192
	notLogged := randomBlock(8192)
	binary.BigEndian.PutUint16(notLogged[2:], 300)
	seal(notLogged, 4, 300)
	noChecksumKeys := keyBlock(1, 900)
	binary.LittleEndian.PutUint32(noChecksumKeys[8192-4:], 0xffffffff)
	for _, tt := range []struct {
		name       string
		ix         Index
		block      []byte
		no         uint32
		whole      bool
		verifiable bool
	}{
		{"keys", safe, keyBlock(1, 900), 1, true, true},
		{"full", safe, keyBlock(1, 8192-4), 1, true, true},
		{"zeros", safe, make([]byte, 8192), 3, true, true},
		{"of a table that is not logged", plain, notLogged, 4, true, true},
		{"header", safe, randomBlock(8192), 0, true, false},
		{"third block of a header", wide, randomBlock(8192), 2, true, false},
		{"first block behind a header", wide, keyBlock(3, 20), 3, true, true},
		{"without a checksum", safe, noChecksumKeys, 1, true, false},
		{"used more than there is", safe, keyBlock(1, 8192-3), 1, false, true},
		{"in another place", safe, keyBlock(1, 900), 2, false, true},
		{"cut short", safe, keyBlock(1, 900)[:4096], 1, false, true},
		{"encrypted", encrypted, randomBlock(8192), 1, true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantWhole(t, tt.ix.CheckIndex(tt.block, tt.no), tt.no, tt.whole)
			if got := tt.ix.Verifiable(tt.block, tt.no, false); got != tt.verifiable {
				t.Errorf("Verifiable = %t, want %t", got, tt.verifiable)
			}
		})
	}
}

func wantWhole(t *testing.T, err error, no uint32, whole bool) {
	t.Helper()
	if whole {
		if err != nil {
			t.Errorf("error = %v, want none", err)
		}
		return
	}
	var bad *BlockError
	if !errors.As(err, &bad) || bad.Block != no {
		t.Errorf("error = %v, want a *BlockError of block %d", err, no)
	}
}

func TestEveryFlippedBitIsFound(t *testing.T) {
	data, keys := dataBlock(3), keyBlock(3, 2000)
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			if safe.CheckData(data, 3) == nil {
				t.Errorf("rows: bit %d of byte %d flipped and not found", bit, i)
			}
			data[i] ^= 1 << bit
			if i >= 2000 && i < len(keys)-4 {
				continue // not used, not covered
			}
			keys[i] ^= 1 << bit
			if safe.CheckIndex(keys, 3) == nil {
				t.Errorf("keys: bit %d of byte %d flipped and not found", bit, i)
			}
			keys[i] ^= 1 << bit
		}
	}
}

// A checksum that would be one of the marks for "no checksum" is stored as
// 0xfffffffd. Four bytes of content are enough to force any checksum.
func TestChecksumThatLooksLikeAMark(t *testing.T) {
	for _, want := range []uint32{0xffffffff, 0xfffffffe, 0xfffffffd} {
		b := forge(randomBlock(8192), 5, want)
		binary.LittleEndian.PutUint32(b[8192-4:], 0xfffffffd)
		if err := safe.CheckData(b, 5); err != nil {
			t.Errorf("checksum %08x: %v", want, err)
		}
	}
}

// forge changes the last four covered bytes so that the checksum becomes want.
// The checksum is linear in them: solve for 32 unknown bits.
func forge(b []byte, no, want uint32) []byte {
	end := len(b) - 4
	sum := func(v uint32) uint32 {
		binary.LittleEndian.PutUint32(b[end-4:], v)
		return crc32.Update(no, crc32.IEEETable, b[:end])
	}
	zero := sum(0)
	var rows [32]struct{ out, in uint32 } // out: effect on the checksum of the bits in
	for i := range rows {
		rows[i].out, rows[i].in = sum(1<<i)^zero, 1<<i
	}
	var v uint32
	rest := want ^ zero
	for bit := range 32 {
		p := bit
		for rows[p].out>>bit&1 == 0 {
			p++
		}
		rows[bit], rows[p] = rows[p], rows[bit]
		for i := range rows {
			if i != bit && rows[i].out>>bit&1 == 1 {
				rows[i].out ^= rows[bit].out
				rows[i].in ^= rows[bit].in
			}
		}
	}
	for bit := range 32 {
		if rest>>bit&1 == 1 {
			v ^= rows[bit].in
		}
	}
	sum(v)
	return b
}

func realHeader(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/db-10.11.MAI") // the start of mysql/db.MAI
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseIndex(t *testing.T) {
	want := Index{
		Data: DataBlocks, BlockSize: 8192, HeaderLen: 8192, Transactional: true, Checksums: true,
		Instance: mustUUID("4624a652e60411f19d2d02fc00000001"),
		Created:  LSN{1, 0x2010}, Skip: LSN{1, 0x2010}, Horizon: LSN{1, 0x2010}, Changed: 256, ActiveKeys: 3,
	}
	got, err := ParseIndex(realHeader(t))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("ParseIndex (-want +got):\n%s", diff)
	}
	if !got.OnlineSafe() {
		t.Error("OnlineSafe = false")
	}
}

func TestOnlineSafe(t *testing.T) {
	for name, change := range map[string]func(*Index){
		"not transactional": func(ix *Index) { ix.Transactional = false },
		"fixed rows":        func(ix *Index) { ix.Data = DataFixed },
	} {
		ix := safe
		change(&ix)
		if ix.OnlineSafe() {
			t.Errorf("%s: OnlineSafe = true", name)
		}
	}
}

func TestContinues(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*Index)
		want   bool
	}{
		{"nothing", func(*Index) {}, true},
		{"logged changes", func(ix *Index) { ix.Horizon, ix.OpenCount, ix.Changed = LSN{2, 9}, 1, 505 }, true},
		{"renamed or truncated", func(ix *Index) { ix.Created, ix.Skip = LSN{2, 8}, LSN{2, 8} }, false},
		{"repaired or bulk insert", func(ix *Index) { ix.Skip = LSN{2, 8} }, false},
		{"from another server", func(ix *Index) { ix.Instance[0]++ }, false},
		{"keys disabled", func(ix *Index) { ix.ActiveKeys = 1 }, false},
		{"crashed", func(ix *Index) { ix.Changed |= 2 }, false},
		{"crashed in a repair", func(ix *Index) { ix.Changed |= 4 }, false},
		{"being repaired", func(ix *Index) { ix.Changed |= 1024 }, false},
		{"no longer transactional", func(ix *Index) { ix.Transactional = false }, false},
	} {
		later := safe
		tt.change(&later)
		if got := safe.Continues(later); got != tt.want {
			t.Errorf("%s: Continues = %t, want %t", tt.name, got, tt.want)
		}
	}
}

func TestParseIndexDamaged(t *testing.T) {
	whole := realHeader(t)
	base := int(binary.BigEndian.Uint16(whole[indexBasePos:]))
	for name, change := range map[string]func([]byte) []byte{
		"empty":                      func([]byte) []byte { return nil },
		"cut short in the state":     func(b []byte) []byte { return b[:indexStateEnd-1] },
		"cut short":                  func(b []byte) []byte { return b[:len(b)-1] },
		"MyISAM":                     func(b []byte) []byte { b[2] = 7; return b },
		"base part before the state": func(b []byte) []byte { return put16(b, indexBasePos, 20) },
		"base part behind the end":   func(b []byte) []byte { return put16(b, indexBasePos, 1000) },
		"more keys than room":        func(b []byte) []byte { b[indexKeys] = 64; return b },
		"no room for the state":      func(b []byte) []byte { return put16(b, indexStateLen, 0) },
		"unknown rows":               func(b []byte) []byte { b[indexDataType] = 9; return b },
		"block size 0":               func(b []byte) []byte { return put16(b, base+baseBlockSize, 0) },
		"block size 8191":            func(b []byte) []byte { return put16(b, base+baseBlockSize, 8191) },
		"block size 65536":           func(b []byte) []byte { return put16(b, base+baseBlockSize, 0xffff) },
		"keys inside the header":     func(b []byte) []byte { return put16(b, base+baseKeyStart+6, 0) },
		"keys between blocks":        func(b []byte) []byte { return put16(b, base+baseKeyStart+6, 8200) },
		"keys far away":              func(b []byte) []byte { return put16(b, base+baseKeyStart, 1) },
	} {
		if ix, err := ParseIndex(change(bytes.Clone(whole))); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %+v, error = %v, want ErrFormat", name, ix, err)
		}
	}
}

func put16(b []byte, at int, v uint16) []byte {
	binary.BigEndian.PutUint16(b[at:], v)
	return b
}

func FuzzParseIndex(f *testing.F) {
	f.Add(realHeader(f))
	f.Add([]byte(indexMagic))
	block := make([]byte, maxBlockSize)
	f.Fuzz(func(t *testing.T, b []byte) {
		ix, err := ParseIndex(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("error %v is not ErrFormat", err)
			}
			return
		}
		copy(block, b)
		for no := range uint32(4) {
			_ = ix.CheckData(block[:ix.BlockSize], no) // must not panic
			_ = ix.CheckIndex(block[:ix.BlockSize], no)
			ix.Verifiable(block[:ix.BlockSize], no, no%2 == 0)
		}
	})
}

func FuzzCheckIndex(f *testing.F) {
	f.Add(keyBlock(1, 900), uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, no uint32) {
		err := safe.CheckIndex(b, no)
		var bad *BlockError
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("error %v is not a *BlockError", err)
		}
	})
}

func BenchmarkCheckData(b *testing.B) {
	block := dataBlock(1)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		if err := safe.CheckData(block, 1); err != nil {
			b.Fatal(err)
		}
	}
}
