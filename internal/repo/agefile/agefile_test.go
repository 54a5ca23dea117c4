package agefile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	"filippo.io/age"

	"mbk/internal/fault"
)

// recipientsOf makes recipients and identities that belong to each other.
func recipientsOf(t testing.TB, classic bool) (*Recipients, *Identities) {
	t.Helper()
	file, recipient, err := Identity(classic)
	if err != nil {
		t.Fatal(err)
	}
	to, err := NewRecipients([]string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	with := &Identities{}
	if err := with.Add("me.key", file, nil, Terminal{}); err != nil {
		t.Fatal(err)
	}
	return to, with
}

// random are bytes that look like nothing.
func random(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// sealedObject encrypts b.
func sealedObject(t testing.TB, k *Key, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	n, err := k.Encrypt(&out, func(w io.Writer) error {
		for len(b) > 0 { // in pieces of odd sizes
			part := b[:min(len(b), 100_003)]
			if _, err := w.Write(part); err != nil {
				return err
			}
			b = b[len(part):]
		}
		return nil
	})
	if err != nil || int64(out.Len()) <= n {
		t.Fatalf("Encrypt = %d, %v", n, err)
	}
	return out.Bytes()
}

// memory is a source that counts.
type memory struct {
	b     []byte
	opens int
	read  int64
	fail  error // of the next read
}

func (m *memory) open(_ context.Context, offset, n int64) (io.ReadCloser, error) {
	m.opens++
	b := m.b[min(offset, int64(len(m.b))):]
	if n >= 0 && n < int64(len(b)) {
		b = b[:n]
	}
	return io.NopCloser(&memoryReader{m, bytes.NewReader(b)}), nil
}

type memoryReader struct {
	of *memory
	r  io.Reader
}

func (r *memoryReader) Read(p []byte) (int, error) {
	if r.of.fail != nil {
		return 0, r.of.fail
	}
	n, err := r.r.Read(p)
	r.of.read += int64(n)
	return n, err
}

func newKey(t testing.TB) *Key {
	t.Helper()
	k, err := generate(false)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestKeyGoesToItsRecipients(t *testing.T) {
	for _, classic := range []bool{true, false} {
		to, with := recipientsOf(t, classic)
		k, err := NewKey(to)
		if err != nil {
			t.Fatal(err)
		}
		if hybrid := strings.HasPrefix(k.Public(), "age1pq1"); hybrid == classic {
			t.Errorf("for a recipient that is classic: %v, the key is %s", classic, Name(k.Public()))
		}
		b, err := k.Seal(to)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckSealed(b); err != nil {
			t.Errorf("CheckSealed: %v", err)
		}
		got, err := OpenKey(b, with, to.Texts())
		if err != nil || !got.Is(k.Public()) {
			t.Fatalf("OpenKey: %v", err)
		}
		plain, err := got.Decrypt(sealedObject(t, k, []byte("shop.orders")))
		if err != nil || string(plain) != "shop.orders" {
			t.Errorf("Decrypt = %q, %v", plain, err)
		}

		_, other := recipientsOf(t, classic)
		if _, err := OpenKey(b, other, to.Texts()); !isType[*WrongIdentityError](err) ||
			!strings.Contains(err.Error(), "me.key") || !strings.Contains(err.Error(), Name(to.Texts()[0])) {
			t.Errorf("with another identity: %v", err)
		}
		if _, err := OpenKey(b, nil, to.Texts()); !isType[*NoIdentityError](err) || fault.Of(err) != fault.Config ||
			!strings.Contains(err.Error(), Name(to.Texts()[0])) {
			t.Errorf("without an identity: %v", err)
		}
		for i := 0; i < len(b); i += 13 {
			damaged := bytes.Clone(b)
			damaged[i] ^= 1
			// In what is for the recipient, a flipped bit makes it somebody else's.
			if _, err := OpenKey(damaged, with, nil); !isType[*DamageError](err) && !isType[*WrongIdentityError](err) {
				t.Fatalf("byte %d flipped: %v", i, err)
			}
			if _, err := OpenKey(b[:i], with, nil); !isType[*DamageError](err) {
				t.Fatalf("cut to %d bytes: %v", i, err)
			}
		}
	}
}

func isType[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}

// What is read at any place is what was written, with few requests.
func TestObjectReadsParts(t *testing.T) {
	k := newKey(t)
	for _, size := range []int{0, 1, 1000, plainChunk - 1, plainChunk, plainChunk + 1, 2*plainChunk + 5, 3_000_000} {
		plain := random(size)
		m := &memory{b: sealedObject(t, k, plain)}
		o := NewObject(k, int64(len(m.b)), m.open)
		r := rand.New(rand.NewPCG(uint64(size), 2))
		for i := range 50 {
			offset, n := r.Int64N(int64(size)+2), r.Int64N(int64(size)+2)-1
			want := plain[min(offset, int64(size)):]
			if n >= 0 {
				want = want[:min(n, int64(len(want)))]
			}
			opens, read := m.opens, m.read
			got := readObject(t, o, offset, n)
			if !bytes.Equal(got, want) {
				t.Fatalf("%d bytes at %d of %d: %d bytes that differ", n, offset, size, len(got))
			}
			if opens, read := m.opens-opens, m.read-read; i > 0 && (opens > 1 || read > int64(len(want))+2*chunk+headBytes) {
				t.Errorf("%d bytes at %d of %d: %d requests, %d bytes", n, offset, size, opens, read)
			}
		}
	}
}

func readObject(t *testing.T, o *Object, offset, n int64) []byte {
	t.Helper()
	r, err := o.Open(t.Context(), offset, n)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// Chunks that are passed over are not read if that saves something.
func TestObjectSeeks(t *testing.T) {
	k := newKey(t)
	plain := random(8 << 20)
	m := &memory{b: sealedObject(t, k, plain)}
	r, err := NewObject(k, int64(len(m.b)), m.open).Open(t.Context(), 10, -1)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	for _, skip := range []int64{0, 1000, 200_000, 4 << 20} {
		at, err := r.(io.Seeker).Seek(skip, io.SeekCurrent)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, b); err != nil || !bytes.Equal(b, plain[10+at:10+at+100]) {
			t.Errorf("after a leap of %d: wrong bytes, %v", skip, err)
		}
	}
	if m.read > 2<<20 {
		t.Errorf("%d bytes were read", m.read)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// Whatever is changed in an object, no byte of it is returned that is not as it was.
func TestObjectTampered(t *testing.T) {
	k := newKey(t)
	plain := random(3*plainChunk + 100)
	good := sealedObject(t, k, plain)
	other := sealedObject(t, k, random(3*plainChunk+101))
	cases := map[string][]byte{
		"cut by a byte": good[:len(good)-1], "cut by a chunk": good[:len(good)-chunk], "cut in the header": good[:50],
		"empty": nil, "with the end of another": append(bytes.Clone(good[:len(good)-90]), other[len(other)-90:]...),
		"two chunks exchanged": slicesJoin(good[:len(good)-3*chunk], good[len(good)-2*chunk:len(good)-chunk],
			good[len(good)-3*chunk:len(good)-2*chunk], good[len(good)-chunk:]),
	}
	for i := 0; i < len(good); i += 1009 {
		b := bytes.Clone(good)
		b[i] ^= 0x80
		cases[fmt.Sprintf("byte %d flipped", i)] = b
	}
	for name, b := range cases {
		// The label has the size that the object should have.
		m := &memory{b: b}
		r, err := NewObject(k, int64(len(good)), m.open).Open(t.Context(), 0, -1)
		var got []byte
		if err == nil {
			got, err = io.ReadAll(r)
			_ = r.Close()
		}
		if !isType[*DamageError](err) || fault.Of(err) != fault.Damage {
			t.Errorf("%s: %v", name, err)
		}
		if !bytes.HasPrefix(plain, got) {
			t.Errorf("%s: wrong bytes were returned", name)
		}
	}
}

func slicesJoin(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// A store that fails is no damage.
func TestObjectOfAFailingStore(t *testing.T) {
	k := newKey(t)
	m := &memory{b: sealedObject(t, k, random(1<<20))}
	o := NewObject(k, int64(len(m.b)), m.open)
	m.fail = fs.ErrPermission
	if _, err := o.Open(t.Context(), 0, -1); !errors.Is(err, fs.ErrPermission) || isType[*DamageError](err) {
		t.Errorf("Open: %v", err)
	}
	m.fail = nil
	r, err := o.Open(t.Context(), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	m.fail = fs.ErrPermission
	if _, err := io.ReadAll(r); !errors.Is(err, fs.ErrPermission) || isType[*DamageError](err) {
		t.Errorf("Read: %v", err)
	}
	m.fail = nil
	if got := readObject(t, o, 5, 10); len(got) != 10 {
		t.Errorf("%d bytes after the failure", len(got))
	}
	failed := errors.New("disk full")
	if _, err := k.Encrypt(writerFunc(func([]byte) (int, error) { return 0, failed }), func(w io.Writer) error {
		_, err := w.Write(make([]byte, 4<<20))
		return err
	}); !errors.Is(err, failed) {
		t.Errorf("Encrypt: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func FuzzOpenKey(f *testing.F) {
	to, with := recipientsOf(f, true)
	k, err := NewKey(to)
	if err != nil {
		f.Fatal(err)
	}
	b, err := k.Seal(to)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := OpenKey(b, with, nil)
		if err == nil && got.identity == nil {
			t.Error("a key without an identity")
		}
		_ = CheckSealed(b)
	})
}

// passphrase protects a text with a passphrase, weakly, so that it is quick.
func passphrase(t testing.TB, text []byte, word string) []byte {
	t.Helper()
	to, err := age.NewScryptRecipient(word)
	if err != nil {
		t.Fatal(err)
	}
	to.SetWorkFactor(10)
	var b bytes.Buffer
	w, err := age.Encrypt(&b, to)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
