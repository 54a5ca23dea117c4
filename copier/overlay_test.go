package copier

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/fault"
)

// overlayModel says for each unit of a file which layer it comes from.
type overlayModel struct {
	size, unit int64
	layer      []int // 0: none yet
}

// missing returns the first range that no layer holds.
func (m *overlayModel) missing() (start, size int64, ok bool) {
	for i := range m.layer {
		if m.layer[i] == 0 {
			end := i
			for end < len(m.layer) && m.layer[end] == 0 {
				end++
			}
			start = int64(i) * m.unit
			return start, min(int64(end)*m.unit, m.size) - start, true
		}
	}
	return 0, 0, false
}

func TestOverlayPassesOnEachPageOnce(t *testing.T) {
	for _, tc := range []struct {
		size int64
		unit int
	}{
		{1, 1}, {1, 16 << 10}, {64 << 10, 1 << 10}, {64<<10 + 1, 1 << 10}, {1<<20 + 333, 4 << 10}, {129 * 5, 5}, {200 * 7, 7},
	} {
		t.Run(fmt.Sprint(tc.size, "/", tc.unit), func(t *testing.T) {
			r := rand.New(rand.NewPCG(uint64(tc.size), uint64(tc.unit)))
			unit := int64(tc.unit)
			units := (tc.size + unit - 1) / unit
			o := NewOverlay(tc.size, tc.unit)
			m := overlayModel{size: tc.size, unit: unit, layer: make([]int, units)}
			got := packtest.NewFile(tc.size) // refuses to write a byte twice
			want := bytes.Repeat([]byte{0xEE}, int(tc.size))
			for layer := 1; layer <= 40; layer++ {
				first := r.Int64N(units)
				n := min(1+r.Int64N(units/3+1), units-first)
				start, size := first*unit, n*unit
				if first+n == units && layer%2 == 0 {
					size = tc.size - start // else the file was longer
				}
				sink := o.Sink(got).(pack.Chooser)
				fresh := false
				for i := first; i < first+n; i++ {
					if m.layer[i] == 0 {
						fresh, m.layer[i] = true, layer
						b := byte(layer)
						if layer%3 == 0 {
							b = 0
						}
						from, to := i*unit, min((i+1)*unit, tc.size)
						copy(want[from:to], bytes.Repeat([]byte{b}, int(to-from)))
					}
				}
				if sink.Wants(start, size) != fresh || o.Holds(start, size) == fresh {
					t.Fatalf("layer %d: Wants(%d, %d) = %v, want %v", layer, start, size, !fresh, fresh)
				}
				held := size
				for i := first; i < first+n; i++ {
					if m.layer[i] == layer {
						held -= min((i+1)*unit, tc.size) - i*unit
					}
				}
				if got := o.Held(start, size); got != held {
					t.Fatalf("layer %d: %d of the %d bytes at %d are held, want %d", layer, got, size, start, held)
				}
				var err error
				if layer%3 == 0 {
					err = sink.Zero(start, size)
				} else {
					_, err = sink.WriteAt(bytes.Repeat([]byte{byte(layer)}, int(size)), start)
				}
				if err != nil {
					t.Fatal(err)
				}
				if sink.Wants(start, size) || !o.Holds(start, size) {
					t.Fatalf("layer %d: [%d, +%d) is wanted again", layer, start, size)
				}
				gotAt, gotSize, gotOK := o.Missing()
				wantAt, wantSize, wantOK := m.missing()
				if gotAt != wantAt || gotSize != wantSize || gotOK != wantOK {
					t.Fatalf("layer %d: Missing = %d, %d, %v, want %d, %d, %v",
						layer, gotAt, gotSize, gotOK, wantAt, wantSize, wantOK)
				}
				if !bytes.Equal(got.Bytes, want) {
					t.Fatalf("layer %d: other bytes than those of the newest layers", layer)
				}
			}
			if err := o.Sink(got).Zero(0, tc.size); err != nil {
				t.Fatal(err)
			}
			if start, size, ok := o.Missing(); ok || got.Missing() >= 0 {
				t.Errorf("Missing after all was passed on = %d, %d", start, size)
			}
		})
	}
}

func TestOverlayBeyondTheEnd(t *testing.T) {
	o := NewOverlay(10<<10, 4<<10) // two pages and a half
	got := packtest.NewFile(10 << 10)
	s := o.Sink(got).(pack.Chooser)
	if s.Wants(12<<10, 4<<10) || s.Wants(10<<10, 1) || !s.Wants(8<<10, 8<<10) || s.Wants(math.MaxInt64, math.MaxInt64) {
		t.Error("bytes beyond the end are wanted, or the tail is not")
	}
	if n, err := s.WriteAt(bytes.Repeat([]byte{1}, 8<<10), 8<<10); n != 8<<10 || err != nil {
		t.Fatalf("WriteAt over the end = %d, %v", n, err)
	}
	if err := s.Zero(16<<10, math.MaxInt64-16<<10); err != nil {
		t.Fatal(err)
	}
	if err := s.Zero(0, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	if got.Missing() >= 0 || got.Zeroed != 8<<10 || got.Bytes[10<<10-1] != 1 {
		t.Errorf("missing %d, zeroed %d", got.Missing(), got.Zeroed)
	}
	empty := NewOverlay(0, 4<<10)
	if _, _, ok := empty.Missing(); ok || !empty.Holds(0, 1) {
		t.Error("an empty file has something missing")
	}
}

func TestOverlayRefusesPartsOfPages(t *testing.T) {
	for _, tc := range []struct {
		name   string
		off, n int64
	}{
		{"begins inside", 100, 3996}, {"ends inside", 0, 100}, {"inside", 100, 100},
		{"tail from its middle", 9 << 10, 1 << 10},
		{"part of the tail", 8 << 10, 1 << 10}, {"whole and a part", 0, 5000}, {"before the file", -4096, 8192},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := NewOverlay(10<<10, 4<<10)
			got := packtest.NewFile(10 << 10)
			s := o.Sink(got)
			_, err := s.WriteAt(make([]byte, tc.n), tc.off)
			if !errors.Is(err, ErrInsidePage) || fault.Of(err) != fault.Damage || got.Zeroed > 0 {
				t.Errorf("WriteAt: %v", err)
			}
			if err := s.Zero(tc.off, tc.n); !errors.Is(err, ErrInsidePage) {
				t.Errorf("Zero: %v", err)
			}
			if _, size, _ := o.Missing(); size != 10<<10 {
				t.Errorf("%d bytes are missing", size)
			}
			if tc.off < 0 {
				return
			}
			// What lies under a newer layer may be anything: the file ended there then.
			if err := s.Zero(0, 10<<10); err != nil {
				t.Fatal(err)
			}
			if _, err := s.WriteAt(make([]byte, tc.n), tc.off); err != nil {
				t.Errorf("WriteAt below another layer: %v", err)
			}
		})
	}
}

func TestOverlayReturnsErrorsOfTheSink(t *testing.T) {
	s := NewOverlay(100, 10).Sink(shortSink{})
	if _, err := s.WriteAt(make([]byte, 100), 0); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("WriteAt: %v", err)
	}
	if err := NewOverlay(100, 10).Sink(shortSink{}).Zero(0, 50); !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("Zero: %v", err)
	}
}

// shortSink writes less than it is given.
type shortSink struct{}

func (shortSink) WriteAt(b []byte, _ int64) (int, error) { return len(b) - 1, nil }
func (shortSink) Zero(int64, int64) error                { return io.ErrNoProgress }

// countedSink counts how often each byte is written.
type countedSink struct {
	mu     sync.Mutex
	counts []int
}

func (s *countedSink) WriteAt(b []byte, off int64) (int, error) {
	return len(b), s.Zero(off, int64(len(b)))
}

func (s *countedSink) Zero(off, n int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := off; i < off+n; i++ {
		s.counts[i]++
	}
	return nil
}

func TestOverlayOfSeveralGoroutines(t *testing.T) {
	const units, unit = 1000, 4
	o := NewOverlay(units*unit, unit)
	counts := &countedSink{counts: make([]int, units*unit)}
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			s := o.Sink(counts)
			for range 300 {
				first := r.Int64N(units)
				n := min(1+r.Int64N(100), units-first)
				if _, err := s.WriteAt(make([]byte, n*unit), first*unit); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if err := o.Sink(counts).Zero(0, units*unit); err != nil {
		t.Fatal(err)
	}
	for i, n := range counts.counts {
		if n != 1 {
			t.Fatalf("byte %d was passed on %d times", i, n)
		}
	}
}
