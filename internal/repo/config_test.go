package repo

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

const unsealed = `{
  "format_version": 2,
  "id": "3527d339-c242-4a9f-9507-8c51f4d9d455",
  "created": "2026-11-22T00:06:58Z",
  "tool": "mbk 0.1.0",
  "recipients": []
}
`

// Every flipped bit, lost byte and further byte of mbk-repository.json is noticed, and
// the error names the object.
func TestConfigDamage(t *testing.T) {
	st := storetest.NewMem()
	if _, err := Init(t.Context(), st, "mbk test"); err != nil {
		t.Fatal(err)
	}
	whole, err := store.ReadAll(t.Context(), st, configName, maxConfig)
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(what string, b []byte) {
		t.Helper()
		if err := store.PutBytes(t.Context(), st, configName, b); err != nil {
			t.Fatal(err)
		}
		_, err := Open(t.Context(), st)
		if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), configName) {
			t.Errorf("%s: Open = %v", what, err)
		}
	}
	for i := range whole {
		for bit := range 8 {
			b := append([]byte(nil), whole...)
			b[i] ^= 1 << bit
			damaged(fmt.Sprintf("bit %d of byte %d, %q", bit, i, whole[i]), b)
		}
		damaged(fmt.Sprintf("cut to %d bytes", i), whole[:i])
		damaged(fmt.Sprintf("without byte %d", i), append(append([]byte(nil), whole[:i]...), whole[i+1:]...))
		damaged(fmt.Sprintf("a byte at %d", i), append(append(append([]byte(nil), whole[:i]...), 'x'), whole[i:]...))
	}
	damaged("twice", append(append([]byte(nil), whole...), whole...))
	if err := store.PutBytes(t.Context(), st, configName, whole); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), st); err != nil {
		t.Errorf("whole: %v", err)
	}
}

// What somebody wrote by hand is read, and gets its checksum with the next lock.
func TestConfigWithoutChecksum(t *testing.T) {
	st := storetest.NewMem()
	if err := store.PutBytes(t.Context(), st, configName, []byte(unsealed)); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r, err := Open(t.Context(), st)
		if err != nil || r.Config().ID != "3527d339-c242-4a9f-9507-8c51f4d9d455" {
			t.Fatalf("Open = %v", err)
		}
		release, err := r.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := release(); err != nil {
			t.Fatal(err)
		}
	}
	b, err := store.ReadAll(t.Context(), st, configName, maxConfig)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "mbk-repository.json", string(b))
	for what, damage := range map[string]string{
		"a field that is not ours": strings.Replace(unsealed, `"tool"`, `"tolo"`, 1),
		"a checksum elsewhere":     strings.Replace(unsealed, `"tool": "mbk 0.1.0"`, `"blake3": "00", "tool": "mbk 0.1.0"`, 1),
		"not closed":               strings.TrimSuffix(unsealed, "}\n"),
	} {
		if _, _, err := decodeConfig([]byte(damage)); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, early := range map[string]string{
		"sealed as then": "{\n  \"format_version\": 1,\n  \"id\": \"3527d339-c242-4a9f-9507-8c51f4d9d455\",\n" +
			"  \"sha256\": \"71e12058dd45fae05dee7e26af5ea8136cef9e0897a2e1df10a1a6bb8623b889\"\n}\n",
		"by hand": strings.Replace(unsealed, "2", "1", 1),
	} {
		if _, _, err := decodeConfig([]byte(early)); !errors.Is(err, ErrEarlyFormat) ||
			!strings.Contains(err.Error(), "make a new repository") {
			t.Errorf("of format 1, %s: %v", what, err)
		}
	}
	if _, _, err := decodeConfig([]byte(`{"format_version": 3, "other": true}`)); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("a newer format: %v", err)
	}
}

func FuzzDecodeConfig(f *testing.F) {
	f.Add([]byte(unsealed))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, _, err := decodeConfig(b)
		if err != nil {
			return
		}
		again, err := seal(c)
		if err != nil {
			return // a time that JSON cannot write
		}
		if _, _, err := decodeConfig(again); err != nil {
			t.Errorf("%q becomes %q: %v", b, again, err)
		}
	})
}
