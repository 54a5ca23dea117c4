package repo

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// together makes recipients of several.
func together(t testing.TB, all ...*agefile.Recipients) *agefile.Recipients {
	t.Helper()
	var texts []string
	for _, one := range all {
		texts = append(texts, one.Texts()...)
	}
	to, err := agefile.NewRecipients(texts)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// opens reports whether somebody reads a backup and its record.
func opens(t *testing.T, st store.Store, who *agefile.Identities, id string) (backup, record bool) {
	t.Helper()
	r := reopened(t, st, who)
	_, err := r.Backup(t.Context(), id)
	if err != nil && !Concealed(err) {
		t.Errorf("backup %s: %v", id, err)
	}
	a, recordErr := r.Attempt(t.Context(), id)
	if recordErr != nil {
		t.Errorf("record of %s: %v", id, recordErr)
	}
	return err == nil, !a.Encrypted
}

// A recipient is added, and then the first one removed: by somebody who can open the keys, and
// by somebody who cannot.
func TestSetRecipients(t *testing.T) {
	for _, able := range []bool{true, false} {
		first, firstKey := recipientOf(t)
		second, secondKey := recipientOf(t)
		st := storetest.NewMem()
		r, err := InitEncrypted(t.Context(), st, "mbk test", first)
		must(t, err)
		release, err := r.Lock(t.Context())
		must(t, err)
		if able {
			r.UseIdentities(firstKey)
		}
		one := mustBackUp(t, r, "2026-11-20 00:00:00")
		want := func(when, id string, first, second bool) {
			t.Helper()
			for who, want := range map[*agefile.Identities]bool{firstKey: first, secondKey: second} {
				if backup, record := opens(t, st, who, id); backup != want || record != want {
					t.Errorf("able %v, %s: %s reads backup %v and record %v of %s, want %v", able, when,
						map[bool]string{true: "the first", false: "the second"}[who == firstKey], backup, record, id, want)
				}
			}
		}
		want("at the beginning", one, true, false)

		done, err := r.SetRecipients(t.Context(), together(t, first, second))
		if err != nil || slices.Contains(done.Done, one) != able || slices.Contains(done.Left, one) == able {
			t.Errorf("SetRecipients = %+v, %v", done, err)
		}
		want("after the second was added", one, true, able)
		two := mustBackUp(t, r, "2026-11-21 00:00:00")
		want("after the second was added", two, true, true)

		_, err = r.SetRecipients(t.Context(), second)
		must(t, err)
		want("after the first was removed", one, !able, able)
		want("after the first was removed", two, !able, true)
		r.UseIdentities(secondKey)
		three := mustBackUp(t, r, "2026-11-22 00:00:00")
		want("after the first was removed", three, false, true)

		// Nothing is sealed to somebody else than it should be, and the labels still fit.
		for _, id := range wantListedIDs(t, reopened(t, st, nil)) {
			chain, err := reopened(t, st, nil).StoredChain(t.Context(), id)
			must(t, err)
			must(t, chain.Members()[0].CheckKeys(t.Context()))
		}
		must(t, release())
	}
}

func wantListedIDs(t *testing.T, r *Repository) []string {
	t.Helper()
	ids, err := r.IDs(t.Context())
	if err != nil || len(ids) == 0 {
		t.Fatalf("IDs = %q, %v", ids, err)
	}
	return ids
}

// Wherever a change ends early, each backup is read by the recipient from before or the new one,
// and the next change goes on.
func TestSetRecipientsFailsAtEveryPoint(t *testing.T) {
	first, firstKey := recipientOf(t)
	second, secondKey := recipientOf(t)
	for n := 0; ; n++ {
		mem := storetest.NewMem()
		r, err := InitEncrypted(t.Context(), mem, "mbk test", first)
		must(t, err)
		release, err := r.Lock(t.Context())
		must(t, err)
		one, two := mustBackUp2(t, r, firstKey)
		st := storetest.FailFrom(mem, n)
		failing := lockedIn(st, r)
		failing.UseIdentities(firstKey)
		_, err = failing.SetRecipients(t.Context(), second)
		if st.Fired() && err == nil {
			t.Errorf("point %d: no error", n)
		}
		for _, id := range []string{one, two} {
			before, _ := opens(t, mem, firstKey, id)
			after, _ := opens(t, mem, secondKey, id)
			if before == after {
				t.Errorf("point %d: %s is read by the first recipient: %v, and by the second: %v", n, id, before, after)
			}
		}
		must(t, release())
		again := reopened(t, mem, firstKey)
		release, err = again.Lock(t.Context())
		must(t, err)
		_, err = again.SetRecipients(t.Context(), second)
		must(t, err, release())
		for _, id := range []string{one, two} {
			if after, record := opens(t, mem, secondKey, id); !after || !record {
				t.Errorf("point %d: after the next change the second recipient reads backup %s: %v, its record: %v", n, id,
					after, record)
			}
		}
		if !st.Fired() {
			break
		}
	}
}

// mustBackUp2 takes two backups, and keeps the identity for later.
func mustBackUp2(t *testing.T, r *Repository, with *agefile.Identities) (one, two string) {
	t.Helper()
	r.UseIdentities(with)
	one = mustBackUp(t, r, "2026-11-20 00:00:00")
	return one, mustBackUpOn(t, r, "2026-11-21 00:00:00", one)
}

// A backup that begins after the recipients have changed is encrypted to the new ones, although
// the repository was opened before.
func TestRecipientsThatChangedMeanwhile(t *testing.T) {
	first, firstKey := recipientOf(t)
	second, secondKey := recipientOf(t)
	st := storetest.NewMem()
	r, err := InitEncrypted(t.Context(), st, "mbk test", first)
	must(t, err)
	stale := reopened(t, st, secondKey)
	release, err := r.Lock(t.Context())
	must(t, err)
	_, err = r.SetRecipients(t.Context(), second)
	must(t, err, release())
	release, err = stale.Lock(t.Context())
	must(t, err)
	id := mustBackUp(t, stale, "2026-11-20 00:00:00")
	must(t, release())
	if before, _ := opens(t, st, firstKey, id); before {
		t.Error("the backup is encrypted to a recipient who was removed before it began")
	}

	plain, _ := newRepository(t)
	if _, err := plain.SetRecipients(t.Context(), first); !errors.Is(err, ErrPlain) {
		t.Errorf("of a repository that is not encrypted: %v", err)
	}
	if _, err := reopened(t, st, nil).SetRecipients(t.Context(), first); !errors.Is(err, ErrNotLocked) {
		t.Errorf("without the lock: %v", err)
	}
	b, err := store.ReadAll(t.Context(), st, configName, maxConfig)
	if err != nil || bytes.Contains(b, []byte(first.Texts()[0])) {
		t.Errorf("%s names the first recipient: %v", configName, err)
	}
}
