package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"

	"mbk/internal/fault"
	"mbk/internal/repo/store/memory"
)

// keeps keeps small objects.
func keeps(name string) bool { return strings.HasSuffix(name, ".json") }

// inMemory is a Receiver.
type inMemory struct {
	*memory.Store
	most int // bytes of an object, 0: any number

	mu    sync.Mutex
	begun []string
}

func (m *inMemory) Object(ctx context.Context, name string, content io.Reader) error {
	m.mu.Lock()
	m.begun = append(m.begun, name)
	m.mu.Unlock()
	return m.Put(ctx, name, func(w io.Writer) error {
		n, err := io.Copy(w, content)
		if m.most > 0 && n > int64(m.most) {
			return errors.New("too large for this receiver")
		}
		return err
	})
}

func (m *inMemory) Drop(ctx context.Context, name string) error { return m.Delete(ctx, name) }

// objects are what a test sends.
func objects() map[string][]byte {
	random := rand.NewChaCha8([32]byte{1})
	m := map[string][]byte{"first.json": []byte("{}"), "empty": {}}
	for i, size := range []int{1, 100, 70_000, maxPayload, 3*maxPayload + 5} {
		b := make([]byte, size)
		_, _ = random.Read(b)
		m[fmt.Sprintf("a/object-%d", i)] = b
	}
	return m
}

// sent returns the stream of some objects, "first.json" first and the others at once.
func sent(t testing.TB, all map[string][]byte) []byte {
	t.Helper()
	var out bytes.Buffer
	st := NewStore(&out, "a pipe", memory.New(), keeps)
	put := func(ctx context.Context, name string) error {
		return st.Put(ctx, name, func(w io.Writer) error {
			for b := all[name]; len(b) > 0; {
				n := min(len(b), 300_000)
				if _, err := w.Write(b[:n]); err != nil {
					return err
				}
				b = b[n:]
			}
			return nil
		})
	}
	if err := put(t.Context(), "first.json"); err != nil {
		t.Fatal(err)
	}
	group, ctx := errgroup.WithContext(t.Context())
	for name := range all {
		if name != "first.json" {
			group.Go(func() error { return put(ctx, name) })
		}
	}
	if err := errors.Join(group.Wait(), st.Close(t.Context())); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// read reads a stream into memory.
func read(ctx context.Context, b io.Reader) (*inMemory, error) {
	m := &inMemory{Store: memory.New()}
	return m, Read(ctx, b, m)
}

// wantObjects checks what is in a store.
func wantObjects(t *testing.T, m *inMemory, want map[string][]byte) {
	t.Helper()
	list, err := m.List(t.Context(), "")
	if err != nil || len(list) != len(want) {
		t.Fatalf("there are %d objects (%v), want %d", len(list), err, len(want))
	}
	for _, o := range list {
		r, err := m.Open(t.Context(), o.Name, 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); err != nil || !bytes.Equal(b, want[o.Name]) {
			t.Errorf("object %s of %d bytes (%v) is not what was sent, %d bytes", o.Name, len(b), err, len(want[o.Name]))
		}
	}
}

func TestThere(t *testing.T) {
	all := objects()
	m, err := read(t.Context(), bytes.NewReader(sent(t, all)))
	if err != nil {
		t.Fatal(err)
	}
	wantObjects(t, m, all)
	if m.begun[0] != "first.json" {
		t.Errorf("the receiver got %s first", m.begun[0])
	}
}

func TestStore(t *testing.T) {
	ctx := t.Context()
	var out bytes.Buffer
	st := NewStore(&out, "a pipe", memory.New(), keeps)
	put := func(name, text string, fails error) error {
		return st.Put(ctx, name, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, fails)
		})
	}
	if empty, err := st.Empty(ctx); err != nil || !empty || out.Len() > 0 {
		t.Errorf("before the first object: empty %t (%v), %d bytes written", empty, err, out.Len())
	}
	failed := errors.New("this one fails")
	if err := errors.Join(put("first.json", "old", nil), put("first.json", "new", nil), put("a", "aaa", nil),
		put("b", "bbb", nil), st.Delete(ctx, "b"), st.Delete(ctx, "never")); err != nil {
		t.Fatal(err)
	}
	if err := put("c", "ccc", failed); !errors.Is(err, failed) {
		t.Errorf("an object that fails: %v", err)
	}
	list, err := st.List(ctx, "")
	if err != nil || len(list) != 2 || list[0].Name != "a" || list[0].Size != 3 {
		t.Errorf("List = %+v (%v), want a and first.json", list, err)
	}
	if _, err := st.Open(ctx, "a", 0, -1); err == nil {
		t.Error("an object that is not kept can be read")
	}
	if r, err := st.Open(ctx, "first.json", 0, -1); err != nil {
		t.Error(err)
	} else if b, err := io.ReadAll(r); err != nil || string(b) != "new" {
		t.Errorf("first.json is %q (%v)", b, err)
	}
	if err := st.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if err := put("d", "ddd", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Put after Close: %v", err)
	}
	m, err := read(ctx, &out)
	if err != nil {
		t.Fatal(err)
	}
	wantObjects(t, m, map[string][]byte{"first.json": []byte("new"), "a": []byte("aaa")})
}

// Whatever is missing, changed or exchanged in a stream is noticed, and what is read of it is
// what was sent.
func TestBroken(t *testing.T) {
	all := map[string][]byte{"first.json": []byte("{}"), "a": []byte("some bytes"), "b": nil}
	whole := sent(t, all)
	accepted := func(b []byte) error {
		m, err := read(t.Context(), bytes.NewReader(b))
		if err == nil {
			wantObjects(t, m, all)
		}
		return err
	}
	if err := accepted(whole); err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		cut, isCut := errors.AsType[*CutError](accepted(whole[:n]))
		if !isCut || cut.At != int64(n) {
			t.Errorf("cut after %d of %d bytes: %v", n, len(whole), cut)
		}
		flipped := bytes.Clone(whole)
		flipped[n] ^= 0x10
		if err := accepted(flipped); err == nil {
			t.Errorf("byte %d flipped: no error", n)
		} else if kind := fault.Of(err); n >= headSize && kind != fault.Damage {
			t.Errorf("byte %d flipped: %v, of kind %d", n, err, kind)
		}
	}
	places := frameOffsets(t, whole)
	for i := range len(places) - 1 {
		frame := whole[places[i]:places[i+1]]
		without := slices.Concat(whole[:places[i]], whole[places[i+1]:])
		twice := slices.Concat(whole[:places[i+1]], frame, whole[places[i+1]:])
		wantDamage(t, fmt.Sprintf("frame %d twice", i), accepted(twice))
		if i < len(places)-2 {
			wantDamage(t, fmt.Sprintf("without frame %d", i), accepted(without))
			swapped := slices.Concat(whole[:places[i]], whole[places[i+1]:places[i+2]], frame, whole[places[i+2]:])
			wantDamage(t, fmt.Sprintf("frames %d and %d exchanged", i, i+1), accepted(swapped))
		}
	}
	wantDamage(t, "two streams", accepted(slices.Concat(whole, whole)))
	wantDamage(t, "a line after the end", accepted(append(bytes.Clone(whole), '\n')))
	newer := slices.Concat(head(Version+1), whole[headSize:])
	if err := accepted(newer); !errors.Is(err, ErrNewer) {
		t.Errorf("a newer version: %v", err)
	}
	for _, text := range []string{"x", "mbkstream", strings.Repeat("a line of text\n", 10)} {
		if err := accepted([]byte(text)); !errors.Is(err, ErrNotStream) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func wantDamage(t *testing.T, what string, err error) {
	t.Helper()
	if _, broken := errors.AsType[*BrokenError](err); !broken {
		t.Errorf("%s: %v", what, err)
	}
}

// frameOffsets returns where the frames of a stream begin, and where the last one ends.
func frameOffsets(t *testing.T, b []byte) []int {
	t.Helper()
	x := &frames{r: bytes.NewReader(b)}
	if err := x.head(); err != nil {
		t.Fatal(err)
	}
	places, buf := []int{int(x.at)}, make([]byte, maxPayload)
	for int(x.at) < len(b) {
		if _, err := x.read(buf); err != nil {
			t.Fatal(err)
		}
		places = append(places, int(x.at))
	}
	return places
}

// made returns a stream of frames that no Store would write.
func made(list ...frame) []byte {
	b := head(Version)
	for i := range list {
		list[i].number = uint64(i)
		var h [headerSize]byte
		list[i].putHeader(h[:])
		b = slices.Concat(b, h[:], list[i].payload)
	}
	return b
}

func TestImpossible(t *testing.T) {
	eight := func(n byte) []byte { return []byte{n, 0, 0, 0, 0, 0, 0, 0} }
	begin := func(n uint32, name string) frame { return frame{kind: kindBegin, object: n, payload: []byte(name)} }
	whole := func(n uint32, size byte) frame { return frame{kind: kindWhole, object: n, payload: eight(size)} }
	end := func(n byte) frame { return frame{kind: kindEnd, payload: eight(n)} }
	many := []frame{begin(1, "a"), whole(1, 0)}
	for i := range uint32(MaxOpen + 1) {
		many = append(many, begin(i+2, fmt.Sprintf("o-%d", i)))
	}
	for name, list := range map[string][]frame{
		"a name that leads elsewhere": {begin(1, "../a")},
		"an absolute name":            {begin(1, "/etc/passwd")},
		"no name":                     {begin(1, "")},
		"a long name":                 {begin(1, strings.Repeat("a/", 600)+"a")},
		"objects not in order":        {begin(2, "a")},
		"an object twice at once":     {begin(1, "a"), begin(2, "a")},
		"too many at once":            many,
		"bytes of no object":          {{kind: kindData, object: 1, payload: []byte("x")}},
		"bytes after an object's end": {begin(1, "a"), whole(1, 0), {kind: kindData, object: 1, payload: []byte("x")}},
		"no bytes":                    {begin(1, "a"), {kind: kindData, object: 1}},
		"another size":                {begin(1, "a"), whole(1, 1)},
		"an object that does not end": {begin(1, "a"), end(1)},
		"another number of objects":   {begin(1, "a"), whole(1, 0), end(2)},
		"an end that is about one":    {{kind: kindEnd, object: 1, payload: eight(0)}},
		"two ends":                    {end(0), end(0)},
		"an object taken back twice": {begin(1, "a"), whole(1, 0), {kind: kindDrop, object: 1},
			{kind: kindDrop, object: 1}},
		"one taken back that never was": {{kind: kindDrop, object: 1}},
		"a kind that there is not":      {{kind: kindAbort + 1}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(t.Context(), bytes.NewReader(made(list...)))
			wantDamage(t, name, err)
		})
	}
}

func TestAbort(t *testing.T) {
	ctx := t.Context()
	var out bytes.Buffer
	st := NewStore(&out, "a pipe", memory.New(), keeps)
	if err := st.Abort(ctx, errors.New("nothing was sent")); err != nil || out.Len() > 0 {
		t.Errorf("an Abort of nothing writes %d bytes (%v)", out.Len(), err)
	}
	st = NewStore(&out, "a pipe", memory.New(), keeps)
	if err := errors.Join(st.Put(ctx, "a", func(io.Writer) error { return nil }),
		st.Abort(ctx, errors.New("no space\x80 left")), st.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	_, err := read(ctx, &out)
	if abort, ok := errors.AsType[*AbortError](err); !ok || abort.Reason != "no space? left" {
		t.Errorf("the reader gets %v", err)
	}
}

// An object that the Receiver cannot take ends the reading with its error alone.
func TestReceiverFails(t *testing.T) {
	b := sent(t, objects())
	m := &inMemory{Store: memory.New(), most: 1000}
	err := Read(t.Context(), bytes.NewReader(b), m)
	if err == nil || strings.Count(err.Error(), "too large for this receiver") == 0 ||
		strings.Contains(err.Error(), "pipe") {
		t.Errorf("error %v", err)
	}
}

// brokenPipe takes some bytes.
type brokenPipe struct{ left int }

func (b *brokenPipe) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, syscall.EPIPE
	}
	return len(p), nil
}

func TestBrokenPipe(t *testing.T) {
	for _, left := range []int{0, headSize, 100, 70_000} {
		st := NewStore(&brokenPipe{left}, "a pipe", memory.New(), keeps)
		err := st.Put(t.Context(), "a", func(w io.Writer) error {
			_, err := w.Write(make([]byte, 1<<20))
			return err
		})
		if _, failed := errors.AsType[*WriteError](err); !failed || !errors.Is(err, syscall.EPIPE) ||
			strings.Count(err.Error(), "broken pipe") != 1 {
			t.Errorf("after %d bytes: %v", left, err)
		}
		if err := st.Close(t.Context()); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Close after a broken pipe: %v", err)
		}
	}
}

// stuck never takes a byte.
type stuck chan struct{}

func (s stuck) Write([]byte) (int, error) {
	<-s
	return 0, syscall.EPIPE
}

// A Put that waits for one that hangs ends with its context.
func TestStuckPipe(t *testing.T) {
	out := make(stuck)
	st := NewStore(out, "a pipe", memory.New(), keeps)
	first := make(chan error)
	go func() { first <- st.Put(context.Background(), "a", func(io.Writer) error { return nil }) }()
	for len(st.turn) == 0 { // until it hangs
	}
	ctx, cancel := context.WithCancel(t.Context())
	second := make(chan error)
	go func() { second <- st.Put(ctx, "b", func(io.Writer) error { return nil }) }()
	cancel()
	if err := <-second; !errors.Is(err, context.Canceled) {
		t.Errorf("Put with a cancelled context: %v", err)
	}
	close(out)
	if err := <-first; !errors.Is(err, syscall.EPIPE) {
		t.Errorf("the one that hung: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	whole := sent(f, map[string][]byte{"first.json": []byte("{}"), "a": []byte("some bytes"), "b": nil})
	f.Add(whole)
	f.Add(whole[:len(whole)-40])
	f.Add(made(frame{kind: kindBegin, object: 1, payload: []byte("a")}, frame{kind: kindDrop, object: 1}))
	f.Add(made(frame{kind: kindAbort, payload: []byte("why")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		// What is read as a whole can be sent again, and is the same.
		m, err := read(t.Context(), bytes.NewReader(b))
		if err != nil {
			return
		}
		list, err := m.List(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		all := map[string][]byte{"first.json": nil}
		for _, o := range list {
			r, err := m.Open(t.Context(), o.Name, 0, -1)
			if err != nil {
				t.Fatal(err)
			}
			if all[o.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		again, err := read(t.Context(), bytes.NewReader(sent(t, all)))
		if err != nil {
			t.Fatal(err)
		}
		wantObjects(t, again, all)
	})
}

// FuzzFrames makes streams whose checksums fit, so that it comes further than FuzzRead: three
// bytes of the input are kind, object and length of a frame.
func FuzzFrames(f *testing.F) {
	const object, end = "\x01\x01\x01a\x02\x01\x03xyz", "\x05\x00\x08\x01\x00\x00\x00\x00\x00\x00\x00"
	f.Add([]byte(object + "\x03\x01\x08\x03\x00\x00\x00\x00\x00\x00\x00" + end))
	f.Add([]byte(object + "\x04\x01\x00" + end))
	f.Add([]byte("\x01\x01\x01a\x01\x02\x01b\x06\x00\x03why"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var list []frame
		for len(b) >= 3 {
			n := min(int(b[2]), len(b)-3)
			list = append(list, frame{kind: b[0], object: uint32(b[1]), payload: b[3 : 3+n]})
			b = b[3+n:]
		}
		m, err := read(t.Context(), bytes.NewReader(made(list...)))
		if err == nil && list[len(list)-1].kind != kindEnd {
			t.Errorf("%d frames without an end are a stream of %v", len(list), m.begun)
		}
	})
}
