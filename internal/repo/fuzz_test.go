package repo

import (
	"errors"
	"testing"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// Whatever mbk-repository.json holds, a repository is opened, or the error says what
// it is.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"format_version":2,"id":"6f1e1b1e-6b5c-4f5b-8a6e-0d6a0c1f2b3a","created":"2026-11-21T20:18:06Z","tool":"mbk 0.1.0"}`))
	f.Add([]byte(`{"format_version":99}`))
	f.Add([]byte(`{"format_version":2e400}`))
	f.Add([]byte("[[[[[["))
	f.Fuzz(func(t *testing.T, b []byte) {
		st := storetest.NewMem()
		if err := store.PutBytes(t.Context(), st, configName, b); err != nil {
			t.Fatal(err)
		}
		r, err := Open(t.Context(), st)
		if err == nil && !isUUID(r.Config().ID) {
			t.Errorf("opened with the id %q", r.Config().ID)
		}
		if err != nil && len(b) <= maxConfig && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrNewerFormat) &&
			!errors.Is(err, ErrEarlyFormat) {
			t.Errorf("%q: %v", b, err)
		}
	})
}

// Records of the history may say anything. What can be read is listed, the rest is
// there and unreadable.
func FuzzHistory(f *testing.F) {
	const id = "20261121T201806Z-full"
	f.Add([]byte(`{"format_version":2,"id":"20261121T201806Z-full","kind":"full","outcome":"failed","error":"no","started":"2026-11-21T20:18:06Z"}`), uint8(0))
	f.Add([]byte(`{"format_version":2,"id":"20261121T201806Z-full","hooks":[{"name":"before","exit_code":-1}],"notifications":[{"channel":"mail"}]}`), uint8(1))
	f.Add([]byte(`{"format_version":2,"id":"20261121T201806Z-full","depth":"pages","ok":true,"findings":[{"file":"x"}]}`),
		uint8(2))
	f.Add([]byte(`{"format_version":3}`), uint8(0))
	f.Add([]byte(`{"format_version":2,"largest":[{},{}],"stages":[{"ms":-1}],"ddl":{"events":[{"kind":"?"}]}}`), uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, kind uint8) {
		st := storetest.NewMem()
		r, err := Init(t.Context(), st, "test")
		if err != nil {
			t.Fatal(err)
		}
		names := []string{attemptName(id), aroundName(id), historyPrefix + id + ".verify-20261124T010000.000Z-pages.json"}
		if err := store.PutBytes(t.Context(), st, names[int(kind)%len(names)], b); err != nil {
			t.Fatal(err)
		}
		attempts, err := r.Attempts(t.Context())
		if err != nil {
			t.Fatalf("attempts: %v", err)
		}
		for _, a := range attempts {
			if a.ID != id || a.End().Before(a.Started) && !a.Finished.Before(a.Started) {
				t.Errorf("%+v", a)
			}
		}
		if _, err := r.Verifications(t.Context(), id); err != nil {
			t.Errorf("verifications: %v", err)
		}
		if _, err := r.List(t.Context()); err != nil {
			t.Errorf("list: %v", err)
		}
	})
}
