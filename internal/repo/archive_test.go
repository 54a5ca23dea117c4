package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/sys/buffer"
)

// addSegment adds a segment with some text to an archive.
func addSegment(t testing.TB, a *Archive, n int) (*Segment, error) {
	t.Helper()
	raw := buffer.New(t.TempDir(), 100)
	defer raw.Reset()
	if _, err := raw.Write(bytes.Repeat([]byte("INSERT INTO secret"), n)); err != nil {
		t.Fatal(err)
	}
	s := &Segment{
		ServerID: 1, Before: fmt.Sprintf("0-1-%d", n-1), BeforeLast: fmt.Sprintf("0-1-%d", n-1),
		After:        fmt.Sprintf("0-1-%d", n),
		Transactions: 1, LastBLAKE3: hashOf(nil),
	}
	return s, a.Put(t.Context(), s, raw)
}

// newArchive begins an archive of segments.
func newArchive(t testing.TB, r *Repository, segments int) *Archive {
	t.Helper()
	a, err := r.OpenArchive(t.Context())
	if err == nil {
		err = a.Begin(t.Context(), Timeline{Tool: "mbk test", ServerID: 1, Start: "0-1-0", Reason: ReasonFirst})
	}
	for i := 1; err == nil && i <= segments; i++ {
		_, err = addSegment(t, a, i)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// readAll reads the bodies of all segments of a timeline, and its chain.
func readArchive(t testing.TB, r *Repository) (string, error) {
	t.Helper()
	all, err := r.Timelines(t.Context())
	if err != nil || len(all) == 0 {
		return "", errors.Join(err, fmt.Errorf("%d timelines", len(all)))
	}
	newest := all[len(all)-1]
	text := ""
	var before *Segment
	for _, stored := range newest.Segments {
		s, err := r.Segment(t.Context(), newest.ID, stored.Number)
		if err == nil && before != nil {
			err = s.Follows(before)
		}
		if err != nil {
			return text, err
		}
		before = s
		body, err := r.OpenSegment(t.Context(), s)
		if err != nil {
			return text, err
		}
		b, err := io.ReadAll(body)
		if err := errors.Join(err, body.Close()); err != nil {
			return text, err
		}
		text += string(b)
	}
	return text, newest.Err
}

func wantArchive(segments int) string {
	text := ""
	for i := 1; i <= segments; i++ {
		text += strings.Repeat("INSERT INTO secret", i)
	}
	return text
}

// Whatever byte of an archive is changed, or where a segment is cut, it is noticed, and is damage.
func TestArchiveDamage(t *testing.T) {
	r, st := newRepository(t)
	if err := newArchive(t, r, 2).Close(); err != nil {
		t.Fatal(err)
	}
	if got, err := readArchive(t, r); err != nil || got != wantArchive(2) {
		t.Fatalf("%q, %v", got, err)
	}
	list, err := st.List(t.Context(), binlogPrefix)
	if err != nil || len(list) != 3 {
		t.Fatal(list, err)
	}
	for _, o := range list {
		whole, err := store.ReadAll(t.Context(), st, o.Name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for i := range whole {
			for what, b := range map[string][]byte{"flipped": bytes.Clone(whole), "cut": whole[:i]} {
				if what == "flipped" {
					b[i] ^= 0x20
				}
				if err := store.PutBytes(t.Context(), st, o.Name, b); err != nil {
					t.Fatal(err)
				}
				got, err := readArchive(t, r)
				if fault.Of(err) != fault.Damage && !errors.Is(err, ErrNewerFormat) || got == wantArchive(2) && err == nil {
					t.Fatalf("%s: byte %d %s: %q, %v", o.Name, i, what, got, err)
				}
			}
		}
		if err := store.PutBytes(t.Context(), st, o.Name, whole); err != nil {
			t.Fatal(err)
		}
	}
	// Segments of the same number, exchanged with one of another archive.
	other, otherStore := newRepository(t)
	if err := newArchive(t, other, 2).Close(); err != nil {
		t.Fatal(err)
	}
	foreign, err := otherStore.List(t.Context(), binlogPrefix)
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.ReadAll(t.Context(), otherStore, foreign[1].Name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.PutBytes(t.Context(), st, list[1].Name, b); err != nil {
		t.Fatal(err)
	}
	if _, err := readArchive(t, r); fault.Of(err) != fault.Damage && list[1].Name != foreign[1].Name {
		t.Errorf("a foreign segment: %v", err)
	}
}

// An operation of the store fails, each in its turn: what was stored before is there, and
// the archive goes on from there.
func TestArchiveFailsAtEachOperation(t *testing.T) {
	failures := 0
	for n := range 20 {
		r, st := newRepository(t)
		if err := newArchive(t, r, 1).Close(); err != nil {
			t.Fatal(err)
		}
		failing := storetest.FailAt(st, n)
		err := func() error {
			broken := &Repository{st: failing, config: r.config}
			a, err := broken.OpenArchive(t.Context())
			if err != nil {
				return err
			}
			_, err = addSegment(t, a, 2)
			return errors.Join(err, a.Close())
		}()
		a, openErr := r.OpenArchive(t.Context())
		if openErr != nil {
			t.Fatalf("operation %d: %v", n, openErr)
		}
		if _, last := a.End(); last.Number == 1 {
			if _, err := addSegment(t, a, 2); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		if got, err := readArchive(t, r); err != nil || got != wantArchive(2) {
			t.Fatalf("operation %d: %q, %v", n, got, err)
		}
		if err != nil {
			failures++
		}
	}
	if failures < 5 {
		t.Errorf("only %d operations have failed", failures)
	}
}

// An encrypted archive is written without an identity, and read by nobody without one.
func TestArchiveEncrypted(t *testing.T) {
	file, recipient, err := agefile.Identity(true)
	if err != nil {
		t.Fatal(err)
	}
	to, err := agefile.NewRecipients([]string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	st := storetest.NewMem()
	r, err := InitEncrypted(t.Context(), st, "mbk test", to)
	if err != nil {
		t.Fatal(err)
	}
	if err := newArchive(t, r, 2).Close(); err != nil {
		t.Fatal(err)
	}
	if text, err := readArchive(t, r); !Concealed(err) || text != "" {
		t.Errorf("without an identity: %q, %v", text, err)
	}
	list, err := st.List(t.Context(), binlogPrefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		b, err := store.ReadAll(t.Context(), st, o.Name, 1<<20)
		if err != nil || bytes.Contains(b, []byte("secret")) {
			t.Errorf("%s shows what is in it: %v", o.Name, err)
		}
	}
	with := &agefile.Identities{}
	if err := with.Add("me.key", file, nil, agefile.Terminal{}); err != nil {
		t.Fatal(err)
	}
	r.UseIdentities(with)
	if text, err := readArchive(t, r); err != nil || text != wantArchive(2) {
		t.Errorf("with the identity: %q, %v", text, err)
	}
	name := list[1].Name
	whole, err := store.ReadAll(t.Context(), st, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{len(whole) - 1, len(whole) - 40, len(whole) - 200} {
		b := bytes.Clone(whole)
		b[at] ^= 1
		if err := store.PutBytes(t.Context(), st, name, b); err != nil {
			t.Fatal(err)
		}
		if _, err := readArchive(t, r); fault.Of(err) != fault.Damage {
			t.Errorf("byte %d flipped: %v", at, err)
		}
	}
}

// What backups need stays, and the end of the archive.
func TestPruneArchive(t *testing.T) {
	r, st := newRepository(t)
	a := newArchive(t, r, 3)
	time.Sleep(5 * time.Millisecond)
	between := time.Now()
	time.Sleep(5 * time.Millisecond)
	for i := 4; i <= 6; i++ {
		if _, err := addSegment(t, a, i); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		oldest time.Time
		want   int
	}{{time.Time{}, 0}, {between.Add(-time.Hour), 0}, {between, 3}, {between, 0}, {between.Add(time.Hour), 2}} {
		planned, err1 := r.PruneArchive(t.Context(), c.oldest, true)
		removed, err2 := r.PruneArchive(t.Context(), c.oldest, false)
		if err := errors.Join(err1, err2); err != nil || len(planned) != c.want || len(removed) != c.want {
			t.Errorf("before %s: planned %v, removed %v, %v; want %d", c.oldest, planned, removed, err, c.want)
		}
	}
	if _, err := addSegment(t, a, 7); err != nil {
		t.Fatal(err)
	}
	marked := a.Mark(t.Context())
	err := a.Begin(t.Context(), Timeline{Tool: "mbk test", ServerID: 2, Reason: ReasonDiverged})
	if err := errors.Join(marked, err, a.Close()); err != nil {
		t.Fatal(err)
	}
	removed, err := r.PruneArchive(t.Context(), time.Now().Add(time.Hour), false)
	if err != nil || len(removed) != 4 || !strings.HasSuffix(removed[3], timelineBase) {
		t.Errorf("removed %v, %v; want a whole timeline", removed, err)
	}
	if list, err := st.List(t.Context(), binlogPrefix); err != nil || len(list) != 1 {
		t.Errorf("left: %v, %v", list, err)
	}
	if _, err := r.Segment(t.Context(), "20261122T000000Z-1", 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a segment that is not there: %v", err)
	}
}

func FuzzSegmentHead(f *testing.F) {
	s := Segment{FormatVersion: FormatVersion, Timeline: "20261122T000000Z-1", Number: 1, ServerID: 1, Before: "0-1-1",
		BeforeLast: "0-1-1", After: "0-1-2", Transactions: 1, LastBLAKE3: hashOf(nil), BodyBLAKE3: hashOf(nil),
		Raw: 1, Bytes: 1, Written: time.Unix(1, 0)}
	b, err := s.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := headSize(b)
		if err != nil {
			return
		}
		got, err := decodeHead(b, n)
		if err == nil && got.Validate() != nil {
			t.Error("a head that is not valid")
		}
	})
}

func FuzzDecompressor(f *testing.F) {
	var b bytes.Buffer
	w, err := pack.NewCompressor(&b)
	if err != nil {
		f.Fatal(err)
	}
	_, err = w.Write([]byte("some text"))
	if err := errors.Join(err, w.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(_ *testing.T, b []byte) {
		r, err := pack.NewDecompressor(bytes.NewReader(b))
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, io.LimitReader(r, 64<<20))
		_ = r.Close()
	})
}

// An operation of the store fails while an archive is copied, each in its turn: what was copied
// before is whole, and another run copies the rest. A damaged segment is not copied.
func TestImportArchiveFailsAtEachOperation(t *testing.T) {
	from, fromStore := newRepository(t)
	if err := newArchive(t, from, 3).Close(); err != nil {
		t.Fatal(err)
	}
	failures := 0
	for n := range 25 {
		r, st := newRepository(t)
		broken := &Repository{st: storetest.FailAt(st, n), config: r.config, lock: r.lock}
		if _, err := broken.ImportArchive(t.Context(), from, false, nil); err != nil {
			failures++
		}
		if got, err := readArchive(t, r); err != nil && got == "" {
			if list, _ := st.List(t.Context(), binlogPrefix); len(list) > 0 {
				t.Fatalf("operation %d: %v in %v", n, err, list)
			}
		} else if err != nil || !strings.HasPrefix(wantArchive(3), got) {
			t.Fatalf("operation %d: %q, %v", n, got, err)
		}
		done, err := r.ImportArchive(t.Context(), from, false, nil)
		if err != nil {
			t.Fatalf("operation %d, again: %v", n, err)
		}
		if got, err := readArchive(t, r); err != nil || got != wantArchive(3) {
			t.Fatalf("operation %d, again: %q, %v", n, got, err)
		}
		if done, err = r.ImportArchive(t.Context(), from, false, nil); err != nil || done.Segments != 0 {
			t.Fatalf("operation %d, a third time: %+v, %v", n, done, err)
		}
	}
	if failures < 8 {
		t.Errorf("only %d operations have failed", failures)
	}
	list, err := fromStore.List(t.Context(), binlogPrefix)
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.ReadAll(t.Context(), fromStore, list[1].Name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{20, len(b) - 1} {
		wrong := bytes.Clone(b)
		wrong[at] ^= 1
		if err := store.PutBytes(t.Context(), fromStore, list[1].Name, wrong); err != nil {
			t.Fatal(err)
		}
		r, st := newRepository(t)
		if _, err := r.ImportArchive(t.Context(), from, false, nil); fault.Of(err) != fault.Damage {
			t.Errorf("byte %d: %v", at, err)
		}
		if list, err := st.List(t.Context(), binlogPrefix); err != nil || len(list) != 2 {
			t.Errorf("byte %d: %v, %v", at, list, err)
		}
	}
}
