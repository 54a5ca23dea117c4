package repo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
	"mbk/internal/repo/store/storetest"
)

func TestInitAndOpen(t *testing.T) {
	for name, st := range map[string]store.Store{"memory": storetest.NewMem(), "folder": folderStore(t)} {
		t.Run(name, func(t *testing.T) {
			made, err := Init(t.Context(), st, "mbk 0.1.0")
			if err != nil {
				t.Fatalf("Init: %v", err)
			}
			opened, err := Open(t.Context(), st)
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			got := opened.Config()
			if !reflect.DeepEqual(got, made.Config()) || got.FormatVersion != FormatVersion || !isUUID(got.ID) ||
				got.Tool != "mbk 0.1.0" || got.Created.IsZero() {
				t.Errorf("Config = %+v, Init made %+v", got, made.Config())
			}
			if _, err := Init(t.Context(), st, "mbk"); !errors.Is(err, ErrNotEmpty) {
				t.Errorf("second Init = %v, want ErrNotEmpty", err)
			}
			if again, err := Open(t.Context(), st); err != nil || !reflect.DeepEqual(again.Config(), got) {
				t.Errorf("the refused Init changed the repository: %v", err)
			}
			if release, err := opened.Lock(t.Context()); err != nil {
				t.Errorf("Init did not release its lock: %v", err)
			} else if err := release(); err != nil {
				t.Error(err)
			}
		})
	}
}

func folderStore(t *testing.T) *folder.Store {
	t.Helper()
	st, err := folder.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// What a user may point --repo at.
func TestOpenRefuses(t *testing.T) {
	const uuid = "00112233-4455-4677-8899-aabbccddeeff"
	for _, c := range []struct {
		name, file, content string
		want                error
		says                string
		initErr             error
	}{
		{"an empty folder", "", "", ErrNotRepository, "it is empty", nil},
		{"lost+found only", "lost+found/x", "", ErrNotRepository, "it is empty", nil},
		{"somebody's data", "ibdata1", "x", ErrNotRepository, "there is no mbk-repository.json in it", ErrNotEmpty},
		{"backups whose mbk-repository.json was lost", "backups/20261121T201806Z-full/manifest.json.zst", "x",
			ErrNotRepository, "there is no", ErrNotEmpty},
		{"a newer format", configName, `{"format_version": 7, "id": {"new": "shape"}}`, ErrNewerFormat,
			fmt.Sprintf("format 7, while this mbk reads up to format %d", FormatVersion), ErrNotEmpty},
		{"an empty mbk-repository.json", configName, "", ErrDamaged, configName, ErrNotEmpty},
		{"a cut mbk-repository.json", configName, `{"format_version": 2, "id": "0011`, ErrDamaged, configName, ErrNotEmpty},
		{"no version", configName, `{"id": "` + uuid + `"}`, ErrDamaged, "format version 0", ErrNotEmpty},
		{"version of a wrong type", configName, `{"format_version": "2", "id": "` + uuid + `"}`, ErrDamaged, configName,
			ErrNotEmpty},
		{"a negative version", configName, `{"format_version": -1, "id": "` + uuid + `"}`, ErrDamaged, "format version -1",
			ErrNotEmpty},
		{"a damaged id", configName, `{"format_version": 2, "id": "00112233-4455-4677-8899-aabbccddeefg"}`, ErrDamaged, "id",
			ErrNotEmpty},
		{"a huge mbk-repository.json", configName, strings.Repeat(" ", maxConfig+1), nil, "larger than", ErrNotEmpty},
	} {
		t.Run(c.name, func(t *testing.T) {
			st := folderStore(t)
			if c.file != "" {
				path := filepath.Join(st.String(), c.file)
				if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(c.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Open(t.Context(), st)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("Open = %v, want %v", err, c.want)
			}
			if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), st.String()) {
				t.Errorf("message %q does not say %q and the place", err, c.says)
			}
			if _, err := Init(t.Context(), st, "mbk"); !errors.Is(err, c.initErr) {
				t.Errorf("Init = %v, want %v", err, c.initErr)
			}
		})
	}
}

// A backup into a new folder that fails before it begins must leave no trace.
func TestOpenOrNew(t *testing.T) {
	st := folderStore(t)
	r, err := OpenOrNew(t.Context(), st, "mbk 0.1.0")
	if err != nil || !r.New() {
		t.Fatalf("OpenOrNew of an empty folder = %v, %v", r, err)
	}
	if list, err := r.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("List = %v, %v", list, err)
	}
	if left, err := os.ReadDir(st.String()); err != nil || len(left) != 0 {
		t.Errorf("the folder holds %v, %v", left, err)
	}
	second, err := OpenOrNew(t.Context(), st, "mbk 0.1.0")
	if err != nil {
		t.Fatal(err)
	}
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	opened, err := OpenOrNew(t.Context(), st, "mbk 0.2.0")
	if err != nil || opened.New() || r.New() || !reflect.DeepEqual(opened.Config(), r.Config()) {
		t.Errorf("after Lock, OpenOrNew = %+v, %v; want %+v", opened, err, r.Config())
	}
	// Whoever comes second must not write over it.
	if _, err := second.Lock(t.Context()); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("Lock of another new repository = %v, want ErrNotEmpty", err)
	}
	if err := os.Remove(filepath.Join(st.String(), configName)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(st.String(), "ibdata1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenOrNew(t.Context(), st, "mbk"); !errors.Is(err, ErrNotRepository) {
		t.Errorf("OpenOrNew of somebody's folder = %v, want ErrNotRepository", err)
	}
}

func TestOpenKeepsTheStoresError(t *testing.T) {
	st := storetest.NewMem()
	if _, err := Init(t.Context(), st, "mbk"); err != nil {
		t.Fatal(err)
	}
	for n := range 2 {
		_, err := Open(t.Context(), storetest.FailAt(st, n))
		if !errors.Is(err, storetest.ErrInjected) || errors.Is(err, ErrNotRepository) {
			t.Errorf("point %d: Open = %v, want the store's error", n, err)
		}
	}
}

func TestInitFailsAtEveryPoint(t *testing.T) {
	for n := 0; ; n++ {
		mem := storetest.NewMem()
		st := storetest.FailAt(mem, n)
		_, err := Init(t.Context(), st, "mbk")
		if !st.Fired() {
			break
		}
		if !errors.Is(err, storetest.ErrInjected) {
			t.Errorf("point %d: %v", n, err)
		}
		// Either nothing happened or all of it.
		if _, err := Open(t.Context(), mem); errors.Is(err, ErrNotRepository) {
			_, err = Init(t.Context(), mem, "mbk")
			if err != nil {
				t.Errorf("point %d: next Init: %v", n, err)
			}
		} else if err != nil {
			t.Errorf("point %d: next Open: %v", n, err)
		}
	}
}

func TestLock(t *testing.T) {
	st := folderStore(t)
	r, err := Init(t.Context(), st, "mbk")
	if err != nil {
		t.Fatal(err)
	}
	other, err := Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = other.Lock(t.Context())
	var locked *store.LockedError
	if !errors.As(err, &locked) {
		t.Fatalf("second Lock = %v, want *store.LockedError", err)
	}
	host, _ := os.Hostname()
	want := fmt.Sprintf("lock repository %s: held by %s pid %d since 2", st, host, os.Getpid())
	if !strings.HasPrefix(err.Error(), want) {
		t.Errorf("message %q, want %q...", err, want)
	}
	if err := other.CheckLock(); !errors.Is(err, ErrNotLocked) {
		t.Errorf("the other one believes that it holds the lock: %v", err)
	}
	for range 2 {
		if err := release(); err != nil {
			t.Fatal(err)
		}
	}
	release, err = other.Lock(t.Context())
	if err != nil {
		t.Fatalf("Lock after release: %v", err)
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
}

// Nothing is changed without the lock.
func TestChangesNeedTheLock(t *testing.T) {
	r, st := newRepository(t)
	id := mustBackUp(t, r, "2026-11-21 20:18:06")
	before := objects(t, st, "")
	unlocked, err := Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for name, change := range map[string]func() error{
		"Commit":  func() error { return unlocked.Draft(id).Commit(ctx, newManifest(id), newLineage(newManifest(id))) },
		"Discard": func() error { return unlocked.Discard(ctx, id) },
		"Sweep":   func() error { _, err := unlocked.Sweep(ctx, SweepOptions{}); return err },
		"Expire":  func() error { _, err := unlocked.Expire(ctx, Policy{Last: 1}, ExpireOptions{Now: late}); return err },
	} {
		if err := change(); !errors.Is(err, ErrNotLocked) {
			t.Errorf("%s = %v, want ErrNotLocked", name, err)
		}
	}
	if got := objects(t, st, ""); got != before {
		t.Errorf("objects changed from %s to %s", before, got)
	}
}

// Called with a cancelled context nothing changes.
func TestCancelled(t *testing.T) {
	r, st := newRepository(t)
	id := mustBackUp(t, r, "2026-11-21 20:18:06")
	before := objects(t, st, "")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func() error{
		"Commit":          func() error { return r.Draft(id).Commit(ctx, newManifest(id), newLineage(newManifest(id))) },
		"Discard":         func() error { return r.Discard(ctx, id) },
		"Sweep":           func() error { _, err := r.Sweep(ctx, SweepOptions{}); return err },
		"Expire":          func() error { _, err := r.Expire(ctx, Policy{Last: 1}, ExpireOptions{Now: late}); return err },
		"List":            func() error { _, err := r.List(ctx); return err },
		"Manifest":        func() error { _, err := r.Manifest(ctx, Latest); return err },
		"Attempts":        func() error { _, err := r.Attempts(ctx); return err },
		"PutAttempt":      func() error { return r.PutAttempt(ctx, Attempt{ID: id}) },
		"PutVerification": func() error { return r.PutVerification(ctx, Verification{ID: id, Depth: DepthBoot}) },
		"Verifications":   func() error { _, err := r.Verifications(ctx, id); return err },
		"Open":            func() error { _, err := Open(ctx, st); return err },
		"Init":            func() error { _, err := Init(ctx, storetest.NewMem(), "mbk"); return err },
	} {
		if err := call(); !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want context.Canceled", name, err)
		}
	}
	if got := objects(t, st, ""); got != before {
		t.Errorf("objects changed from %s to %s", before, got)
	}
}
