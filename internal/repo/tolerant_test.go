package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
)

// rotten is a folder in which some objects cannot be read, nor removed.
type rotten struct {
	*folder.Store
	unreadable, stuck string // a part of their names
	err               error
}

func (r *rotten) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if r.unreadable != "" && strings.Contains(name, r.unreadable) {
		return nil, fmt.Errorf("open %s: %w", name, r.err)
	}
	return r.Store.Open(ctx, name, offset, n)
}

func (r *rotten) Delete(ctx context.Context, name string) error {
	if r.stuck != "" && strings.Contains(name, r.stuck) {
		return fmt.Errorf("delete %s: %w", name, r.err)
	}
	return r.Store.Delete(ctx, name)
}

// One object that cannot be read or removed is named in a warning, and stops none of
// the things that do not depend on it. A record of root's once stopped all backups.
func TestOneBadObjectStopsNothing(t *testing.T) {
	const first, second, third = "20261120T000000Z-full", "20261121T000000Z-full", "20261122T000000Z-full"
	const dead = "20261119T000000Z-full"
	verification := second + ".verify-20261122T010000.000Z-pages"
	file := func(name string, b []byte) func(t *testing.T, r *rotten) {
		return func(t *testing.T, r *rotten) {
			path := filepath.Join(r.String(), name)
			_ = os.RemoveAll(path)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, b, 0o600)); err != nil {
				t.Fatal(err)
			}
		}
	}
	failing := func(unreadable, stuck string, err error) func(t *testing.T, r *rotten) {
		return func(t *testing.T, r *rotten) { r.unreadable, r.stuck, r.err = unreadable, stuck, err }
	}
	both := func(a, b func(t *testing.T, r *rotten)) func(t *testing.T, r *rotten) {
		return func(t *testing.T, r *rotten) { a(t, r); b(t, r) }
	}
	huge := []byte(`{"format_version": 2, "id": "` + strings.Repeat("x", maxRecord) + `"}`)
	foreign := []byte(`{"format_version": 2, "id": "20990101T000000Z-full", "depth": "boot", "ok": true}`)
	newer := []byte(`{"format_version": 99}`)
	orphan := file("backups/"+dead+"/data-0001.pack", []byte("x"))
	for _, tt := range []struct {
		name    string
		spoil   func(t *testing.T, r *rotten)
		warns   string // part of the warning, "" if it is no warning but an outcome
		sweep   string // what Sweep says
		damaged bool   // whether the second backup counts as damaged
	}{
		{"a record without rights to it", failing("history/"+second+".json", "", syscall.EACCES),
			"record history/" + second + ".json cannot be read", "", false},
		{"a record on a bad spot", failing("history/"+second+".json", "", syscall.EIO),
			"record history/" + second + ".json cannot be read", "", false},
		{"a huge record", file("history/"+second+".json", huge), "larger than 4194304 bytes", "", false},
		{"a record of garbage", file("history/"+second+".json", []byte("\x00\xff")),
			"record history/" + second + ".json cannot be read", "", false},
		{"a record of another", file("history/"+second+".json", foreign), "it is of \"20990101T000000Z-full\"", "", false},
		{"a record of a newer format", file("history/"+second+".json", newer), "made by a newer mbk", "", false},
		{"a verification without rights to it", failing(verification, "", syscall.EACCES), "record history/" + verification,
			"", false},
		{"a verification of a newer format", file("history/"+verification+".json", newer), "made by a newer mbk", "", false},
		{"a verification on a bad spot", failing(verification, "", syscall.EIO), "record history/" + verification, "", true},
		{"a huge verification", file("history/"+verification+".json", huge), "larger than", "", true},
		{"a verification of garbage", file("history/"+verification+".json", []byte("{")), "record history/" + verification,
			"", true},
		{"a verification of another", file("history/"+verification+".json", foreign), "record history/" + verification, "",
			true},
		{"all records without rights to them", failing("history/", "", syscall.EACCES), "record history/", "", false},
		{"hooks without rights to them",
			both(file("history/"+second+".around.json", nil), failing(".around.json", "", syscall.EACCES)),
			"record history/" + second + ".around.json", "", false},
		{"a manifest without rights to it", both(failing(second, "", syscall.EACCES), failing(second, "", syscall.EACCES)),
			"record history/" + second, "", false},
		{"an orphan that cannot be removed", both(orphan, failing("", dead, syscall.EPERM)), "", "operation not permitted",
			false},
		{"an orphan on a bad spot", both(orphan, failing("", dead, syscall.EIO)), "", "input/output error", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			folder, err := folder.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			st := &rotten{Store: folder}
			r, err := Init(t.Context(), st, "mbk test")
			if err != nil {
				t.Fatal(err)
			}
			release, err := r.Lock(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer release()
			for _, started := range []string{"2026-11-20 00:00:00", "2026-11-21 00:00:00", "2026-11-22 00:00:00"} {
				mustBackUp(t, r, started)
			}
			if err := r.PutVerification(t.Context(),
				Verification{ID: second, Depth: DepthPages, Time: at(t, "2026-11-22 01:00:00"), OK: true}); err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, st)
			var warnings []string
			r.OnWarning(func(text string) { warnings = append(warnings, text) })

			list, err := r.List(t.Context())
			if err != nil || len(list) != 3 || list[1].ID != second || list[1].KnownDamaged() != tt.damaged {
				t.Errorf("List = %+v, %v", list, err)
			}
			for name, do := range map[string]func() error{
				"Attempts":         func() error { _, err := r.Attempts(t.Context()); return err },
				"Attempt":          func() error { _, err := r.Attempt(t.Context(), Latest); return err },
				"Proofs":           func() error { _, err := r.Proofs(t.Context()); return err },
				"Verifications":    func() error { _, err := r.Verifications(t.Context(), second); return err },
				"LastAttempt":      func() error { _, err := r.LastAttempt(t.Context(), late); return err },
				"LastVerification": func() error { _, err := r.LastVerification(t.Context(), late); return err },
				"FreshID":          func() error { _, err := r.FreshID(t.Context(), late, KindFull); return err },
				"Manifest": func() error {
					m,
						err := r.Manifest(t.Context(), Latest)
					return errors.Join(err, wantID(m, third))
				},
			} {
				if err := do(); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if got := strings.Join(warnings, "\n"); !strings.Contains(got, tt.warns) || (tt.warns == "") != (got == "") {
				t.Errorf("warnings %q, want %q", got, tt.warns)
			}
			if slices.Sort(warnings); len(slices.Compact(slices.Clone(warnings))) != len(warnings) {
				t.Errorf("a warning twice: %q", warnings)
			}
			if _, err := r.Sweep(t.Context(), SweepOptions{}); tt.sweep == "" && err != nil || tt.sweep != "" &&
				(err == nil || !strings.Contains(err.Error(), tt.sweep)) {
				t.Errorf("Sweep = %v, want %q", err, tt.sweep)
			}
			if err := backUp(t.Context(), r, "20261123T000000Z-full"); err != nil {
				t.Errorf("backup: %v", err)
			}
			plan, err := r.Expire(t.Context(), Policy{Last: 2}, ExpireOptions{Now: late})
			if err != nil || !slices.Contains(plan.Removed, first) {
				t.Errorf("Expire = %+v, %v", plan, err)
			}
		})
	}
}

func wantID(m *Manifest, id string) error {
	if m == nil || m.ID != id {
		return fmt.Errorf("it is of %v, want %s", m, id)
	}
	return nil
}

// A backup that cannot be removed does not keep the others.
func TestExpireWhatCannotBeRemoved(t *testing.T) {
	for _, cause := range []error{syscall.EPERM, syscall.EACCES, syscall.EIO, store.ErrThroughLink} {
		for _, object := range []string{"manifest", "data-0001"} {
			t.Run(fmt.Sprintf("%v, %s", cause, object), func(t *testing.T) {
				folder, err := folder.Open(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				st := &rotten{Store: folder, err: cause}
				r, err := Init(t.Context(), st, "mbk test")
				if err != nil {
					t.Fatal(err)
				}
				release, err := r.Lock(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer release()
				first, second, third := mustBackUp(t, r, "2026-11-20 00:00:00"), mustBackUp(t, r, "2026-11-21 00:00:00"),
					mustBackUp(t, r, "2026-11-22 00:00:00")
				st.stuck = second + "/" + object
				plan, err := r.Expire(t.Context(), Policy{Last: 1}, ExpireOptions{Now: late})
				if err != nil || len(plan.Keep) != 1 || plan.Keep[0].ID != third {
					t.Fatalf("Expire = %+v, %v", plan, err)
				}
				if len(plan.Removed) != 1 || plan.Removed[0] != first || len(plan.NotRemoved) != 1 ||
					!strings.Contains(plan.NotRemoved[0], second) {
					t.Errorf("removed %q, not removed %q", plan.Removed, plan.NotRemoved)
				}
			})
		}
	}
}

// What Latest stands for, by how the backups of three days stand: verified good or
// damaged, never verified, or with a damaged manifest.
func TestLatest(t *testing.T) {
	for _, c := range []struct {
		name             string
		days             string // oldest first: g, d, n, m
		resolve, readsOf int    // days
	}{
		{"all good", "ggg", 3, 3},
		{"never verified", "nnn", 3, 3},
		{"the newest never verified", "ggn", 3, 3},
		{"the newest damaged", "ggd", 2, 2},
		{"two damaged", "ndd", 1, 1},
		{"all damaged", "ddd", 3, 3},
		{"in between", "gdn", 3, 3},
		{"a manifest damaged, which nobody has told yet", "ggm", 3, 2},
		{"a manifest damaged, and a backup", "gdm", 3, 1},
		{"only damaged manifests and a damaged backup", "mdm", 3, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, st := newRepository(t)
			ids := []string{""}
			for i, how := range c.days {
				id := mustBackUp(t, r, fmt.Sprintf("2026-11-2%d 00:00:00", i+1))
				ids = append(ids, id)
				var err error
				switch how {
				case 'g', 'd':
					err = r.PutVerification(t.Context(), Verification{ID: id, Depth: DepthPages, Time: late, OK: how == 'g'})
				case 'm':
					err = store.PutBytes(t.Context(), st, manifestName(id), []byte("x"))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if id, err := r.Resolve(t.Context(), Latest); err != nil || id != ids[c.resolve] {
				t.Errorf("Resolve = %s, %v, want %s", id, err, ids[c.resolve])
			}
			m, err := r.Manifest(t.Context(), Latest)
			if err := errors.Join(err, wantID(m, ids[c.readsOf])); err != nil {
				t.Errorf("Manifest: %v", err)
			}
			good, err := r.NewestGood(t.Context())
			if want := ids[c.resolve]; err != nil || good != want && (good != "" || c.days != "ddd") {
				t.Errorf("NewestGood = %q, %v, want %q", good, err, want)
			}
		})
	}
	r, _ := newRepository(t)
	var unknown *UnknownError
	if _, err := r.Manifest(t.Context(), Latest); !errors.As(err, &unknown) {
		t.Errorf("Manifest of nothing: %v", err)
	}
}

// A newer mbk has made the newest backup: an older one must not be taken for it.
func TestLatestOfNewerFormat(t *testing.T) {
	r, st := newRepository(t)
	mustBackUp(t, r, "2026-11-20 00:00:00")
	id := mustBackUp(t, r, "2026-11-21 00:00:00")
	putManifest(t, st, id, `{"format_version": 99}`)
	if _, err := r.Manifest(t.Context(), Latest); !errors.Is(err, ErrNewerFormat) {
		t.Errorf("Manifest = %v", err)
	}
}

func TestStillThere(t *testing.T) {
	r, _ := newRepository(t)
	id := mustBackUp(t, r, "2026-11-20 00:00:00")
	b, err := r.Backup(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.StillThere(t.Context()); err != nil {
		t.Error(err)
	}
	if err := r.Discard(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if err := b.StillThere(t.Context()); !errors.Is(err, ErrRemoved) || !strings.Contains(err.Error(), id) {
		t.Errorf("StillThere = %v", err)
	}
	if _, err := b.Open(t.Context(), "redo.pack", 0, -1); !errors.Is(err, ErrRemoved) {
		t.Errorf("Open = %v", err)
	}
}

// Gaps between attempts in hours, oldest first, and whether the clock seems to have
// jumped.
func TestFindJump(t *testing.T) {
	const nightly = "24 24 25 23 24 24 24 24 24 24 "
	for _, c := range []struct {
		name, gaps string
		want       bool
	}{
		{"none", "", false},
		{"two nights", "24", false},
		{"every night", nightly, false},
		{"some nights are missing", nightly + "120 24", false},
		{"a week is missing, of nights", nightly + "192", false},
		{"two weeks are", nightly + "336", true},
		{"years are", nightly + "35000", true},
		{"and the clock stays so for a night", nightly + "35000 24", true},
		{"for six", nightly + "35000 24 24 24 24 24", true},
		{"for two weeks", nightly + "35000 " + nightly, false},
		{"many attempts in an hour do not prove it", nightly + "35000 0.1 0.1 0.1 0.1 0.1 0.1 0.1 0.1", true},
		{"every hour, and a night off", strings.Repeat("1 ", 50) + "12", false},
		{"every hour, and a weekend off", strings.Repeat("1 ", 50) + "47", false},
		{"every hour, and a week off", strings.Repeat("1 ", 50) + "168", true},
		{"every week", "168 168 168 168 168", false},
		{"every week, and a month off", "168 168 168 168 720", false},
		{"every week, and two years off", "168 168 168 168 17520", true},
		{"only two, two weeks apart", "336", true},
		{"back and forth", nightly + "35000 -34976 24", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			now := at(t, "2026-01-01 00:00:00")
			times := []time.Time{now}
			for gap := range strings.FieldsSeq(c.gaps) {
				d, err := time.ParseDuration(gap + "h")
				if err != nil {
					t.Fatal(err)
				}
				now = now.Add(d)
				times = append(times, now)
			}
			if j := findJump(times); (j != nil) != c.want {
				t.Errorf("findJump = %v", j)
			}
		})
	}
}

// An expiry does not believe a clock that is wrong now, or was for a night.
func TestExpireAndTheClock(t *testing.T) {
	const none = ""
	nightly := []string{"2026-11-01 01:00:00", "2026-11-02 01:00:00", "2026-11-03 01:00:00", "2026-11-04 01:00:00",
		"2026-11-05 01:00:00"}
	for _, c := range []struct {
		name    string
		more    string // a further backup
		now     string
		policy  Policy
		force   bool
		removed int
		held    string
		err     string
	}{
		{"right", "2026-11-06 01:00:00", "2026-11-06 02:00:00", Policy{Days: 3}, false, 2, none, none},
		{"a backup of the future", "2099-01-01 00:00:00", "2026-11-06 02:00:00", Policy{Days: 3}, false, 0, none,
			"20990101T000000Z-full began"},
		{"also with --force", "2099-01-01 00:00:00", "2026-11-06 02:00:00", Policy{Days: 3}, true, 0, none, "began"},
		{"for rules that count backups", "2099-01-01 00:00:00", "2026-11-06 02:00:00", Policy{Last: 2}, false, 0,
			none, "began"},
		{"a little ahead", "2026-11-06 02:04:00", "2026-11-06 02:00:00", Policy{Days: 3}, false, 3, none, none},
		{"the clock goes back", "2026-11-06 01:00:00", "2020-01-01 00:00:00", Policy{Days: 3}, false, 0, none, "began"},
		{"a jump", "2030-01-01 00:00:00", "2030-01-01 01:00:00", Policy{Days: 3}, false, 0,
			"no backup was begun between 2026-11-05 01:00 and 2030-01-01 00:00, while one is usually begun every 24h", none},
		{"a jump that is none", "2030-01-01 00:00:00", "2030-01-01 01:00:00", Policy{Days: 3}, true, 5, none, none},
		{"a jump, and rules that count backups", "2030-01-01 00:00:00", "2030-01-01 01:00:00", Policy{Last: 3}, false,
			3, none, none},
		{"a jump of now alone", "2026-11-06 01:00:00", "2030-01-01 01:00:00", Policy{Days: 3}, false, 2, none, none},
		{"a jump, and nothing to remove", "2030-01-01 00:00:00", "2030-01-01 01:00:00", Policy{Days: 3000}, false,
			0, none, none},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, _ := newRepository(t)
			for _, started := range append(slices.Clone(nightly), c.more) {
				mustBackUp(t, r, started)
			}
			plan, err := r.Expire(t.Context(), c.policy, ExpireOptions{Force: c.force, Now: at(t, c.now)})
			var future *FutureError
			if (err != nil) != (c.err != "") || err != nil &&
				(!errors.As(err, &future) || !strings.Contains(err.Error(), c.err)) {
				t.Fatalf("Expire: %v, want %q", err, c.err)
			}
			if !strings.Contains(plan.HeldBack, c.held) || (c.held == "") != (plan.HeldBack == "") {
				t.Errorf("held back: %q, want %q", plan.HeldBack, c.held)
			}
			ids, err := r.IDs(t.Context())
			if err != nil || len(ids) != 6-c.removed || len(plan.Removed) != c.removed {
				t.Errorf("left %q, %v; removed %q, want %d", ids, err, plan.Removed, c.removed)
			}
		})
	}
}
