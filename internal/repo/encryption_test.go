package repo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// newEncrypted makes a repository that is encrypted to one recipient, locks it, and returns the
// identity.
func newEncrypted(t testing.TB) (*Repository, *storetest.Mem, *agefile.Identities) {
	t.Helper()
	to, with := recipientOf(t)
	st := storetest.NewMem()
	r, err := InitEncrypted(t.Context(), st, "mbk test", to)
	if err != nil {
		t.Fatal(err)
	}
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = release() })
	return r, st, with
}

// recipientOf makes a recipient and its identity.
func recipientOf(t testing.TB) (*agefile.Recipients, *agefile.Identities) {
	t.Helper()
	file, recipient, err := agefile.Identity(true)
	if err != nil {
		t.Fatal(err)
	}
	to, err := agefile.NewRecipients([]string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	with := &agefile.Identities{}
	must(t, with.Add("me.key", file, nil, agefile.Terminal{}))
	return to, with
}

// reopened opens the repository again, with identities; nil for none.
func reopened(t testing.TB, st store.Store, with *agefile.Identities) *Repository {
	t.Helper()
	r, err := Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	r.UseIdentities(with)
	return r
}

// What an attempt needs no identity for, and what nobody can read without one.
func TestEncryptedBackup(t *testing.T) {
	r, st, with := newEncrypted(t)
	r.UseIdentities(with)
	full := mustBackUp(t, r, "2026-11-20 00:00:00")
	incr := mustBackUpOn(t, r, "2026-11-21 00:00:00", full)
	for _, name := range []string{"data-0001.pack", "redo.pack", manifestBase, keyBase} {
		b, err := store.ReadAll(t.Context(), st, Folder(incr)+"/"+name, 1<<20)
		if err != nil || !bytes.HasPrefix(b, []byte("age-encryption.org/v1\n")) {
			t.Errorf("%s begins with %.30q, %v", name, b, err)
		}
	}

	blind := reopened(t, st, nil)
	list, err := blind.List(t.Context())
	if err != nil || len(list) != 2 || list[1].Needs.IDs[0] != full || !list[1].Encrypted {
		t.Errorf("List = %+v, %v", list, err)
	}
	if _, err := blind.Lineage(t.Context(), incr); err != nil {
		t.Errorf("Lineage: %v", err)
	}
	_, err = blind.Chain(t.Context(), incr)
	if !Concealed(err) || fault.Of(err) != fault.Config {
		t.Errorf("Chain: %v", err)
	}
	chain, err := blind.StoredChain(t.Context(), incr)
	if err != nil || strings.Join(chain.IDs(), " ") != incr+" "+full {
		t.Fatalf("StoredChain = %v, %v", chain, err)
	}
	for _, m := range chain.Members() {
		label, err := m.Label()
		must(t, err, m.CheckKeys(t.Context()))
		for _, o := range label.Objects {
			must(t, pack.CheckHash(t.Context(), m.Stored, o.Name, o.Size, o.BLAKE3))
		}
		if strangers, err := m.Strangers(t.Context()); err != nil || len(strangers) > 0 {
			t.Errorf("Strangers = %q, %v", strangers, err)
		}
	}

	_, other := recipientOf(t)
	if _, err := reopened(t, st, other).Backup(t.Context(), Latest); !Concealed(err) ||
		!strings.Contains(err.Error(), r.Config().Recipients[0]) {
		t.Errorf("with another identity: %v", err)
	}
	b, err := reopened(t, st, with).Backup(t.Context(), Latest)
	must(t, err)
	for _, part := range [][2]int64{{0, -1}, {10, 20}, {packSize - 1, 100}, {packSize, 1}} {
		in, err := b.Open(t.Context(), "data-0001.pack", part[0], part[1])
		must(t, err)
		got, err := io.ReadAll(in)
		must(t, err, in.Close())
		want := bytes.Repeat([]byte{'x'}, packSize)[part[0]:]
		if part[1] >= 0 {
			want = want[:min(part[1], int64(len(want)))]
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes at %d: %q", part[1], part[0], got)
		}
	}
}

// The records: what everybody reads, and what only an identity shows.
func TestEncryptedRecords(t *testing.T) {
	r, st, with := newEncrypted(t)
	r.UseIdentities(with)
	id := mustBackUp(t, r, "2026-11-20 00:00:00")
	const failed = "20261121T000000Z-failed"
	must(t, r.PutAttempt(t.Context(), Attempt{ID: failed, Outcome: OutcomeFailed, Error: "shop.orders is gone",
		Hostname: "db1", Warnings: []string{"shop"}, WarningCount: 1}),
		r.PutAround(t.Context(), Around{ID: failed, Hooks: []Hook{{Program: "/shop/hook", Output: "shop"}}}),
		r.PutVerification(t.Context(), Verification{ID: id, Depth: DepthPages, Time: at(t, "2026-11-22 00:00:00"),
			Findings: []Finding{{Table: "shop.orders", Problem: "damaged"}}}))
	_, err := r.Pin(t.Context(), id, "for shop", "root at db1")
	must(t, err)
	list, err := st.List(t.Context(), "")
	must(t, err)
	host := regexp.MustCompile(`(^|[^0-9A-Za-z+/])db1([^0-9A-Za-z+/=]|$)`) // and not in hex digits or base64
	for _, o := range list {
		b, err := store.ReadAll(t.Context(), st, o.Name, 1<<20)
		must(t, err)
		if bytes.Contains(b, []byte("shop")) || host.Match(b) {
			t.Errorf("%s shows a name:\n%s", o.Name, b)
		}
	}

	blind, open := reopened(t, st, nil), reopened(t, st, with)
	a, err := blind.Attempt(t.Context(), failed)
	if err != nil || !a.Encrypted || a.Error != "" || a.Outcome != OutcomeFailed || a.WarningCount != 1 {
		t.Errorf("without an identity: %+v, %v", a, err)
	}
	a, err = open.Attempt(t.Context(), failed)
	if err != nil || a.Encrypted || a.Error != "shop.orders is gone" || a.Hostname != "db1" || len(a.Hooks) != 1 {
		t.Errorf("with an identity: %+v, %v", a, err)
	}
	v, err := blind.Standing(t.Context(), id)
	if err != nil || v == nil || v.OK || v.FindingCount != 1 || len(v.Findings) != 0 || !v.Encrypted {
		t.Errorf("without an identity: %+v, %v", v, err)
	}
	v, err = open.Standing(t.Context(), id)
	if err != nil || v == nil || len(v.Findings) != 1 || v.Encrypted {
		t.Errorf("with an identity: %+v, %v", v, err)
	}
	pins, err := blind.Pins(t.Context())
	if err != nil || pins[id] == nil || pins[id].Reason != "" || pins[id].Problem != "" {
		t.Errorf("without an identity: %+v, %v", pins[id], err)
	}
	pins, err = open.Pins(t.Context())
	if err != nil || pins[id] == nil || pins[id].Reason != "for shop" {
		t.Errorf("with an identity: %+v, %v", pins[id], err)
	}
	// With another identity as without one.
	_, other := recipientOf(t)
	if a, err := reopened(t, st, other).Attempt(t.Context(), failed); err != nil || !a.Encrypted {
		t.Errorf("with another identity: %+v, %v", a, err)
	}
	// A backup whose record is lost is described by its label.
	must(t, st.Delete(t.Context(), attemptName(id)))
	if a, err := blind.Attempt(t.Context(), id); err != nil || a.Outcome != OutcomeOK || !a.Encrypted || a.Tables != 1 {
		t.Errorf("without a record: %+v, %v", a, err)
	}
}

// An attempt continues on another that it cannot read. The backup needs the keys of both, and
// neither a sweep nor the removal of what is not needed takes one away.
func TestEncryptedResume(t *testing.T) {
	r, st, with := newEncrypted(t)
	first := attemptAt(t, r, "20261120T000000Z-full")
	must(t, first.store(t.Context(), 1), first.store(t.Context(), 2), first.draft.Suspend(t.Context()))
	all, err := r.Interrupted(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("Interrupted = %+v, %v", all, err)
	}
	second := attemptAt(t, r, "20261121T000000Z-full", all...)
	must(t, second.store(t.Context(), 3), second.store(t.Context(), 4), second.commit(t.Context()))
	_, err = r.Sweep(t.Context(), SweepOptions{})
	must(t, err)
	const both = "20261120T000000Z-full/data-0001.pack 20261120T000000Z-full/data-0002.pack " +
		"20261120T000000Z-full/key.age " +
		"20261121T000000Z-full/data-0003.pack 20261121T000000Z-full/data-0004.pack 20261121T000000Z-full/key.age " +
		"20261121T000000Z-full/label.json 20261121T000000Z-full/lineage.bin.zst " +
		"20261121T000000Z-full/manifest.json.zst 20261121T000000Z-full/redo.pack"
	if got := strings.ReplaceAll(objects(t, st, backupsPrefix), backupsPrefix, ""); got != both {
		t.Errorf("objects %s\nwant %s", got, both)
	}
	b, err := reopened(t, st, with).Backup(t.Context(), Latest)
	must(t, err)
	for name, want := range map[string]byte{"20261120T000000Z-full/data-0002.pack": 2, "data-0003.pack": 3} {
		in, err := b.Open(t.Context(), name, 0, -1)
		must(t, err)
		got, err := io.ReadAll(in)
		must(t, err, in.Close())
		if !bytes.Equal(got, bytes.Repeat([]byte{want}, packSize)) {
			t.Errorf("%s: %.20q", name, got)
		}
	}
	// Without the key what has been stored is of no use.
	third := attemptAt(t, r, "20261122T000000Z-full")
	must(t, third.store(t.Context(), 1), third.draft.Suspend(t.Context()),
		st.Delete(t.Context(), Folder("20261122T000000Z-full")+"/"+keyBase))
	if all, err := r.Interrupted(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("Interrupted without a key = %+v, %v", all, err)
	}
}

// vault is a store of which objects are changed.
type vault struct {
	t  *testing.T
	st store.Store
}

func (v vault) get(name string) []byte {
	b, err := store.ReadAll(v.t.Context(), v.st, name, 1<<20)
	must(v.t, err)
	return slices.Clone(b)
}

func (v vault) put(name string, b []byte) { must(v.t, store.PutBytes(v.t.Context(), v.st, name, b)) }

// Whatever is done to an object of an encrypted backup, it is damage, and named.
func TestEncryptedTampered(t *testing.T) {
	read := func(ctx context.Context, r *Repository, id, name string) error {
		b, err := r.Backup(ctx, id)
		if err != nil {
			return err
		}
		in, err := b.Open(ctx, name, 0, -1)
		if err != nil {
			return err
		}
		_, err = io.ReadAll(in)
		return errors.Join(err, in.Close())
	}
	const one, two = "20261120T000000Z-full", "20261121T000000Z-full"
	for _, c := range []struct {
		name   string
		object string // that is named
		change func(v vault)
	}{
		{"a pack cut off", "data-0001.pack", func(v vault) {
			b := v.get(Folder(two) + "/data-0001.pack")
			v.put(Folder(two)+"/data-0001.pack", b[:len(b)-5])
		}},
		{"a byte flipped", "data-0001.pack", func(v vault) {
			b := v.get(Folder(two) + "/data-0001.pack")
			b[len(b)/2] ^= 1
			v.put(Folder(two)+"/data-0001.pack", b)
		}},
		{"a pack of another backup", "data-0001.pack", func(v vault) {
			v.put(Folder(two)+"/data-0001.pack", v.get(Folder(one)+"/data-0001.pack"))
		}},
		{"the key of another backup", keyBase, func(v vault) {
			v.put(Folder(two)+"/"+keyBase, v.get(Folder(one)+"/"+keyBase))
		}},
		{"the manifest of another backup", manifestBase, func(v vault) {
			v.put(Folder(two)+"/"+manifestBase, v.get(Folder(one)+"/"+manifestBase))
		}},
		{"no key", keyBase, func(v vault) {
			_ = v.st.Delete(v.t.Context(), Folder(two)+"/"+keyBase)
		}},
		{"a key cut off", keyBase, func(v vault) {
			v.put(Folder(two)+"/"+keyBase, v.get(Folder(two) + "/" + keyBase)[:100])
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, st, with := newEncrypted(t)
			mustBackUp(t, r, "2026-11-20 00:00:00")
			mustBackUp(t, r, "2026-11-21 00:00:00")
			must(t, read(t.Context(), reopened(t, st, with), two, "data-0001.pack"))
			c.change(vault{t, st})
			err := read(t.Context(), reopened(t, st, with), two, "data-0001.pack")
			if fault.Of(err) != fault.Damage || !strings.Contains(err.Error(), Folder(two)+"/"+c.object) {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// Without its recipients an encrypted repository would go on in the clear.
func TestRecipientsAreNotForgotten(t *testing.T) {
	r, st, _ := newEncrypted(t)
	mustBackUp(t, r, "2026-11-20 00:00:00")
	config := Config{FormatVersion: FormatVersion, ID: r.config.ID}
	forgotten := &Repository{st: st, config: config, lock: store.UntilReleased(nil), sealed: true}
	err := backUp(t.Context(), forgotten, "20261121T000000Z-full")
	if !errors.Is(err, ErrNoRecipients) || fault.Of(err) != fault.Config {
		t.Errorf("backup: %v", err)
	}
	if got := objects(t, st, Folder("20261121T000000Z-full")); got != "" {
		t.Errorf("it has left %s", got)
	}
}

// A label names the keys that its objects need, and no others.
func TestLabelRefusesKeys(t *testing.T) {
	r, _, _ := newEncrypted(t)
	good := labelOf(t, r, mustBackUp(t, r, "2026-11-20 00:00:00"))
	must(t, good.Validate())
	hash := good.Keys[0].BLAKE3
	for _, keys := range [][]LabelKey{
		{{"20261119T000000Z-full/key.age", hash}}, {{keyBase, ""}}, {{keyBase, hash}, {keyBase, hash}},
		{{"../key.age", hash}},
		{{"data-0001.pack", hash}}, {{keyBase, hash}, {good.ID + "/key.age", hash}},
	} {
		l := *good
		if l.Keys = keys; l.Validate() == nil {
			t.Errorf("a label with the keys %+v is taken for good", keys)
		}
	}
}

func TestEncryptedBackUpFailsAtEveryPoint(t *testing.T) {
	to, with := recipientOf(t)
	for n := 0; ; n++ {
		mem := storetest.NewMem()
		r, err := InitEncrypted(t.Context(), mem, "mbk test", to)
		must(t, err)
		st := storetest.FailAt(mem, n)
		r.st = st
		r.UseIdentities(with)
		r.lock = store.UntilReleased(nil)
		err = backUp(t.Context(), r, "20261121T000000Z-full")
		fired := st.Fired()
		r.st = mem
		if fired && err == nil {
			t.Errorf("point %d: no error", n)
		}
		wantListedWhole(t, r)
		if !fired {
			break
		}
	}
}

// The record of a backup that is copied without an identity can be read with one.
func TestImportedRecord(t *testing.T) {
	r, st, with := newEncrypted(t)
	id := mustBackUp(t, r, "2026-11-20 00:00:00")
	must(t, r.PutAttempt(t.Context(), Attempt{ID: id, Outcome: OutcomeOK, Hostname: "db1"}))
	from, copies := reopened(t, st, nil), storetest.NewMem()
	to, err := OpenOrCopyOf(t.Context(), copies, "mbk test", from)
	must(t, err)
	release, err := to.Lock(t.Context())
	must(t, err)
	_, err = to.Import(t.Context(), from, id, nil)
	must(t, err)
	own := mustBackUp(t, to, "2026-11-21 00:00:00")
	must(t, release())
	for _, one := range []string{id, own} {
		a, err := reopened(t, copies, with).Attempt(t.Context(), one)
		if err != nil || a.Encrypted || a.Hostname != "db1" {
			t.Errorf("record of %s: %+v, %v", one, a, err)
		}
		if a, err := reopened(t, copies, nil).Attempt(t.Context(), one); err != nil || !a.Encrypted || a.Hostname != "" {
			t.Errorf("record of %s without an identity: %+v, %v", one, a, err)
		}
	}
}
