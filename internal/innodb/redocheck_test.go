package innodb

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// joinMTRs frames each argument as a mini-transaction.
func joinMTRs(h LogHeader, records ...[]byte) []byte {
	var b []byte
	for _, r := range records {
		var nonce []byte
		if h.Encrypted() {
			nonce = []byte("nonce123")
		}
		b = append(b, sealMTR(r, 1, nonce)...)
	}
	return b
}

func TestLogCheckerWantsTheCheckpointsRecords(t *testing.T) {
	const start = 50000
	page := pageRecord(5, 9, make([]byte, 30))
	modify := fileRecord(FileModify, 5, "./db/t.ibd")
	own, later := checkpointRecordOf(start), checkpointRecordOf(start+35)
	at := func(records ...[]byte) LSN {
		return start + LSN(len(joinMTRs(LogHeader{Format: Format108}, records...)))
	}
	tests := []struct {
		name    string
		end     LSN // of the checkpoint
		records [][]byte
		wantErr error
	}{
		{"right behind the end", at(page), [][]byte{page, own, page}, nil},
		{"at the very start", start, [][]byte{own}, nil},
		{"behind the names of files", at(page), [][]byte{page, modify, slices.Concat(modify, modify),
			slices.Concat(modify, own), page}, nil},
		{"end of the checkpoint in the middle of a mini-transaction", at(page) + 1, [][]byte{page, own, page},
			ErrNoFileCheckpoint},
		{"a page change in between", at(page), [][]byte{page, modify, page, own}, ErrNoFileCheckpoint},
		{"a created file in between", at(page), [][]byte{page, fileRecord(FileCreate, 5, "./db/t.ibd"), own},
			ErrNoFileCheckpoint},
		{"only that of a later checkpoint", at(page), [][]byte{page, later, page}, ErrNoFileCheckpoint},
		{"one of a later checkpoint first", at(page), [][]byte{page, later, own}, nil},
		{"log ends before", at(page), [][]byte{page, modify}, ErrNoFileCheckpoint},
		{"log ends at the end", at(page), [][]byte{page}, ErrNoFileCheckpoint},
		{"earlier ones do not count", at(own, page), [][]byte{own, page, page}, ErrNoFileCheckpoint},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := joinMTRs(LogHeader{Format: Format108}, tt.records...)
			for _, portion := range []int{len(b), 1, 7, 100} {
				c, err := NewLogChecker(Format108, nil, Checkpoint{LSN: start, End: tt.end})
				if err != nil {
					t.Fatal(err)
				}
				err = writePortions(c, b, portion)
				if err == nil {
					err = c.Finish(start + LSN(len(b)))
				}
				if !errors.Is(err, tt.wantErr) {
					t.Errorf("in portions of %d: error = %v, want %v", portion, err, tt.wantErr)
				}
			}
		})
	}
}

func writePortions(c *LogChecker, b []byte, portion int) error {
	for part := range slices.Chunk(b, portion) {
		if _, err := c.Write(part); err != nil {
			return err
		}
	}
	return nil
}

func TestLogCheckerFindsEveryFlippedBit(t *testing.T) {
	for _, h := range []LogHeader{{Format: Format108}, {Format: FormatEnc11, Crypt: make([]byte, logCryptSize)}} {
		good := joinMTRs(h, checkpointRecordOf(50000), pageRecord(5, 9, make([]byte, 30)),
			fileRecord(FileModify, 9, "./a/b.ibd"))
		check := func(b []byte) error {
			c, err := NewLogChecker(h.Format, h.Crypt, Checkpoint{LSN: 50000, End: 50000})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.Write(b); err != nil {
				return err
			}
			return c.Finish(50000 + LSN(len(good)))
		}
		if err := check(good); err != nil {
			t.Fatal(err)
		}
		for i := range len(good) * 8 {
			b := bytes.Clone(good)
			b[i/8] ^= 1 << (i % 8)
			if check(b) == nil {
				t.Errorf("format %#x: bit %d of byte %d of %d may be flipped", h.Format, i%8, i/8, len(good))
			}
		}
	}
}

func TestLogCheckerEnd(t *testing.T) {
	b := joinMTRs(LogHeader{Format: Format108}, checkpointRecordOf(50000), pageRecord(5, 9, make([]byte, 30)))
	end := 50000 + LSN(len(b))
	tests := []struct {
		name string
		b    []byte
		end  LSN
		want error
	}{
		{"exact", b, end, nil},
		{"too early", b, end + 1, ErrLogEnd},
		{"too late", b, end - 1, ErrLogEnd},
		{"a byte missing", b[:len(b)-1], end, ErrLogEnd},
		{"a byte more", append(bytes.Clone(b), 0x33), end, ErrLogEnd},
		{"zeros behind", append(bytes.Clone(b), 0), end, ErrBadMTR},
		{"nothing", nil, 50000, ErrNoFileCheckpoint},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewLogChecker(Format108, nil, Checkpoint{LSN: 50000, End: 50000})
			if err != nil {
				t.Fatal(err)
			}
			if _, err = c.Write(tt.b); err == nil {
				err = c.Finish(tt.end)
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			if again := c.Finish(tt.end); (again == nil) != (tt.want == nil) {
				t.Errorf("second Finish: %v", again)
			}
		})
	}
	if _, err := NewLogChecker(104, nil, Checkpoint{LSN: 50000, End: 50000}); !errors.Is(err, ErrUnknownFormat) {
		t.Errorf("10.4 format: error = %v, want ErrUnknownFormat", err)
	}
}

func BenchmarkLogChecker(b *testing.B) {
	h := LogHeader{Format: Format108}
	log := append(joinMTRs(h, checkpointRecordOf(50000)), randomLog(rand.New(rand.NewPCG(1, 2)), 8<<20, h)...)
	b.SetBytes(int64(len(log)))
	for b.Loop() {
		c, err := NewLogChecker(h.Format, nil, Checkpoint{LSN: 50000, End: 50000})
		if err != nil {
			b.Fatal(err)
		}
		if err := writePortions(c, log, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
}
