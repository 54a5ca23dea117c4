package repo

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// Who waits for the lock gets it when it is released, tells for whom it waits, and gives up
// in time.
func TestPatience(t *testing.T) {
	t.Parallel()
	st := storetest.NewMem()
	one, err := Init(t.Context(), st, "mbk test")
	if err != nil {
		t.Fatal(err)
	}
	release, err := one.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	other.OnWarning(func(text string) { told = append(told, text) })
	var held *store.LockedError
	if _, err := other.Lock(t.Context()); !errors.As(err, &held) || len(told) > 0 {
		t.Fatalf("without patience: %v, %q", err, told)
	}
	other.WaitForLock(lockPause / 2)
	if _, err := other.Lock(t.Context()); !errors.As(err, &held) || len(told) != 1 ||
		!strings.Contains(told[0], held.Owner) {
		t.Fatalf("with too little patience: %v, %q", err, told)
	}
	other.WaitForLock(time.Minute)
	ended := time.AfterFunc(lockPause*3/2, func() { _ = release() })
	defer ended.Stop()
	release, err = other.Lock(t.Context())
	if err != nil {
		t.Fatalf("with patience: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}
