package store_test

import (
	"path/filepath"
	"testing"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

func TestReadAllLimit(t *testing.T) {
	st := storetest.NewMem()
	if err := store.PutBytes(t.Context(), st, "x", []byte("12345")); err != nil {
		t.Fatal(err)
	}
	if b, err := store.ReadAll(t.Context(), st, "x", 5); string(b) != "12345" || err != nil {
		t.Errorf("ReadAll = %q, %v", b, err)
	}
	if _, err := store.ReadAll(t.Context(), st, "x", 4); err == nil {
		t.Error("ReadAll over its limit succeeded")
	}
}

func FuzzCheckName(fz *testing.F) {
	for _, s := range []string{"", "a", "a/b", "../a", "a/./b", "backups/20261121T201806Z-full/data-0001.pack"} {
		fz.Add(s)
	}
	fz.Fuzz(func(t *testing.T, name string) {
		if store.CheckName(name) != nil {
			return
		}
		// What is accepted stays inside the folder and means itself.
		if !filepath.IsLocal(name) || filepath.Clean(name) != name {
			t.Errorf("CheckName accepts %q", name)
		}
	})
}
