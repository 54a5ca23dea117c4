package transfer

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/repotest"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// The backups of the source: a chain of three, and a full one.
const (
	full  = "20261101T000000Z-full"
	one   = "20261102T000000Z-incr"
	two   = "20261103T000000Z-incr"
	other = "20261104T000000Z-full"
)

// place is a store in memory with a name.
type place struct {
	*storetest.Mem
	name string
}

func (p place) String() string { return p.name }

// source makes the repository that is copied.
func source(t *testing.T) (place, *repo.Repository) {
	t.Helper()
	st := place{storetest.NewMem(), "source"}
	return st, repotest.Chains(t, st, [2]string{full}, [2]string{one, full}, [2]string{two, one}, [2]string{other})
}

// copying runs Run into a store, which may be empty.
func copying(ctx context.Context, st store.Store, o Options) (*Result, error) {
	var err error
	if o.To, err = repo.OpenOrCopyOf(ctx, st, "mbk test", o.From); err != nil {
		return nil, err
	}
	if !o.DryRun {
		release, err := o.To.Lock(ctx)
		if err != nil {
			return nil, err
		}
		defer release() //nolint:errcheck // tests of failing stores look at the backups
	}
	return Run(ctx, o)
}

// ids returns which backups a result has copied.
func (r *Result) ids() (copied []string) {
	for _, b := range r.Backups {
		if !b.Present {
			copied = append(copied, b.ID)
		}
	}
	return copied
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name   string
		before []Options // runs into the same repository
		run    Options
		copied []string
		has    []string // afterwards
	}{
		{name: "a full backup", run: Options{ID: full}, copied: []string{full}, has: []string{full}},
		{name: "latest", run: Options{ID: repo.Latest}, copied: []string{other}, has: []string{other}},
		{name: "an increment with what it needs", run: Options{ID: two}, copied: []string{full, one, two},
			has: []string{full, one, two}},
		{name: "an increment whose parent is there", before: []Options{{ID: one}}, run: Options{ID: two},
			copied: []string{two}, has: []string{full, one, two}},
		{name: "one that is there", before: []Options{{ID: two}}, run: Options{ID: one}, has: []string{full, one, two}},
		{name: "all", run: Options{All: true}, copied: []string{full, one, two, other}, has: []string{full, one, two, other}},
		{name: "the rest of all", before: []Options{{ID: full}, {ID: other}}, run: Options{All: true},
			copied: []string{one, two}, has: []string{full, one, two, other}},
		{name: "a dry run", before: []Options{{ID: full}}, run: Options{ID: one, DryRun: true}, copied: []string{one},
			has: []string{full}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, r := source(t)
			to := place{storetest.NewMem(), "target"}
			var last *Result
			for _, o := range append(tt.before, tt.run) {
				o.From = r
				var err error
				if last, err = copying(t.Context(), to, o); err != nil {
					t.Fatal(err)
				}
			}
			if !slices.Equal(last.ids(), tt.copied) {
				t.Errorf("copied %v, want %v", last.ids(), tt.copied)
			}
			if has := repotest.WantListedWhole(t, to); !slices.Equal(has, tt.has) {
				t.Errorf("the target has %v, want %v", has, tt.has)
			}
			wantSameBytes(t, from, to)
		})
	}
}

// wantSameBytes compares all objects of the target, but its own description, with those
// of the source.
func wantSameBytes(t *testing.T, from, to store.Store) {
	t.Helper()
	list, err := to.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		if o.Name == "mbk-repository.json" {
			continue
		}
		got, err := store.ReadAll(t.Context(), to, o.Name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		want, err := store.ReadAll(t.Context(), from, o.Name, 1<<20)
		if err != nil || string(got) != string(want) {
			t.Errorf("%s is not that of the source (%v)", o.Name, err)
		}
	}
}

// With each operation of the target failing in turn, what it lists is whole, and the next
// run copies the rest.
func TestTargetFailsAtEveryPoint(t *testing.T) {
	_, r := source(t)
	run := func(ctx context.Context, st store.Store) error {
		_, err := copying(ctx, st, Options{From: r, ID: one})
		return err
	}
	repotest.FailAtEvery(t, func(*testing.T) store.Store { return place{storetest.NewMem(), "target"} }, run,
		func(t *testing.T, st store.Store) {
			if err := run(t.Context(), st); err != nil {
				t.Fatalf("the run after it: %v", err)
			}
			if has := repotest.WantListedWhole(t, st); !slices.Equal(has, []string{full, one}) {
				t.Errorf("after another run the target has %v", has)
			}
		})
}

// With each operation of the source failing in turn, too.
func TestSourceFailsAtEveryPoint(t *testing.T) {
	from, _ := source(t)
	for n := 0; ; n++ {
		to := place{storetest.NewMem(), "target"}
		failing := storetest.FailAt(from, n)
		r, err := repo.Open(t.Context(), failing)
		if err == nil {
			_, err = copying(t.Context(), to, Options{From: r, All: true})
		}
		if err != nil && !errors.Is(err, storetest.ErrInjected) && failing.Fired() {
			var left *LeftOutError
			if !errors.As(err, &left) {
				t.Errorf("point %d: %v", n, err)
			}
		}
		repotest.WantListedWhole(t, to)
		if !failing.Fired() {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
	}
}

// What was copied before a run ended is read and compared, and not written again.
func TestResumed(t *testing.T) {
	_, r := source(t)
	to := place{storetest.NewMem(), "target"}
	ctx, cancel := context.WithCancel(t.Context())
	stopped := &stopping{Store: to, at: "backups/" + one + "/redo.pack", stop: cancel}
	if _, err := copying(ctx, stopped, Options{From: r, ID: one}); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want that it was cancelled", err)
	}
	first, err := to.List(t.Context(), "backups/"+one+"/")
	if err != nil || len(first) == 0 {
		t.Fatalf("%d objects of %s are there, %v; want some", len(first), one, err)
	}
	var there int64
	for _, o := range first {
		there += o.Size
	}
	result, err := copying(t.Context(), to, Options{From: r, ID: one})
	if err != nil {
		t.Fatal(err)
	}
	b := result.Backups[len(result.Backups)-1]
	if b.ID != one || b.Written != b.Bytes-there || result.BytesWritten != b.Written {
		t.Errorf("wrote %d of %d bytes (in all %d), while %d were there", b.Written, b.Bytes, result.BytesWritten, there)
	}
}

// stopping is a store that calls stop when an object is to be written, after all others.
type stopping struct {
	store.Store
	at   string
	stop func()
}

func (s *stopping) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if name != s.at {
		return s.Store.Put(ctx, name, write)
	}
	for { // the others are written by several goroutines
		list, err := s.List(context.WithoutCancel(ctx), s.at[:strings.LastIndex(s.at, "/")])
		if err != nil {
			return err
		}
		if len(list) == 3 {
			s.stop()
			return ctx.Err()
		}
	}
}

// Damage in the source, and what is in the way in the target, is named and nothing is listed
// that is not whole.
func TestNotCopied(t *testing.T) {
	flip := func(name string) func(t *testing.T, from, _ store.Store) {
		return func(t *testing.T, from, _ store.Store) {
			if err := storetest.Flip(t.Context(), from, "backups/"+name, 40, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(name string) func(t *testing.T, from, _ store.Store) {
		return func(t *testing.T, from, _ store.Store) {
			if err := from.Delete(t.Context(), "backups/"+name); err != nil {
				t.Fatal(err)
			}
		}
	}
	inTheWay := func(t *testing.T, _, to store.Store) {
		if err := store.PutBytes(t.Context(), to, "backups/"+full+"/redo.pack", []byte("something else")); err != nil {
			t.Fatal(err)
		}
	}
	anotherBackup := func(t *testing.T, _, to store.Store) {
		r, err := repo.Open(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		release, err := r.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(repotest.BackUp(t.Context(), r, full, ""), release()); err != nil {
			t.Fatal(err)
		}
		if err := storetest.Flip(t.Context(), to, "backups/"+full+"/label.json", 40, 1); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, from, to store.Store)
		id    string // "": all
		kind  fault.Kind
		names string   // is in the message
		has   []string // in the target afterwards
	}{
		{"a flipped byte in a pack", flip(one + "/data-0001.pack"), two, fault.Damage, one + "/data-0001.pack",
			[]string{full}},
		{"a flipped byte in a manifest", flip(one + "/manifest.json.zst"), two, fault.Damage, one + "/manifest.json.zst",
			[]string{full}},
		{"a flipped byte in a label", flip(full + "/label.json"), full, fault.Damage, full + "/label.json", nil},
		{"a missing pack", remove(full + "/redo.pack"), full, fault.Damage, full + "/redo.pack", nil},
		{"a missing parent", remove(full + "/label.json"), two, fault.Damage, full, nil},
		{"all, one of them damaged", flip(one + "/data-0001.pack"), "", fault.Damage, one, []string{full, other}},
		{"all, without a parent", remove(full + "/label.json"), "", fault.Damage, two, []string{other}},
		{"an object in the way", inTheWay, full, fault.Config, full + "/redo.pack", nil},
		{"another backup in the way", anotherBackup, full, fault.Config, full + "/label.json", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			from, r := source(t)
			to := place{storetest.NewMem(), "target"}
			repotest.Chains(t, to)
			tt.spoil(t, from, to)
			_, err := copying(t.Context(), to, Options{From: r, ID: tt.id, All: tt.id == ""})
			if err == nil || fault.Of(err) != tt.kind || !strings.Contains(err.Error(), tt.names) {
				t.Errorf("error %v of kind %v, want kind %v and %q in it", err, fault.Of(err), tt.kind, tt.names)
			}
			if len(hint.Attached(err)) == 0 {
				t.Errorf("the error %v does not say what to do", err)
			}
			if tt.name == "another backup in the way" {
				return // what is listed there is damaged
			}
			if has := repotest.WantListedWhole(t, to); !slices.Equal(has, tt.has) {
				t.Errorf("the target has %v, want %v", has, tt.has)
			}
		})
	}
}

// A backup that an expiry removes meanwhile is no damage.
func TestRemovedMeanwhile(t *testing.T) {
	from, _ := source(t)
	vanishing := &vanishing{place: from, id: other}
	r, err := repo.Open(t.Context(), vanishing)
	if err != nil {
		t.Fatal(err)
	}
	to := place{storetest.NewMem(), "target"}
	_, err = copying(t.Context(), to, Options{From: r, ID: other})
	if !errors.Is(err, repo.ErrRemoved) || fault.Of(err) != fault.Busy {
		t.Errorf("error %v of kind %v, want that the backup was removed", err, fault.Of(err))
	}
	repotest.WantListedWhole(t, to)
}

// vanishing is a store in which a backup is removed when its first pack is opened.
type vanishing struct {
	place
	id string
}

func (v *vanishing) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if strings.HasSuffix(name, v.id+"/data-0001.pack") || strings.HasSuffix(name, v.id+"/redo.pack") {
		list, err := v.List(ctx, "backups/"+v.id+"/")
		if err != nil {
			return nil, err
		}
		for _, o := range list {
			if err := v.Delete(ctx, o.Name); err != nil {
				return nil, err
			}
		}
		return nil, fs.ErrNotExist
	}
	return v.place.Open(ctx, name, offset, n)
}

func TestIntoItself(t *testing.T) {
	st, r := source(t)
	if _, err := copying(t.Context(), st, Options{From: r, All: true}); !errors.Is(err, ErrSame) {
		t.Errorf("error %v, want %v", err, ErrSame)
	}
}

// person is somebody to whom things are encrypted.
type person struct {
	recipient  string
	identities *agefile.Identities
}

func newPerson(t *testing.T) person {
	t.Helper()
	file, recipient, err := agefile.Identity(true)
	if err != nil {
		t.Fatal(err)
	}
	p := person{recipient, &agefile.Identities{}}
	if err := p.identities.Add("identity", file, nil, agefile.Terminal{}); err != nil {
		t.Fatal(err)
	}
	return p
}

// encrypted makes an empty repository that is encrypted to somebody.
func encrypted(t *testing.T, name string, to person) (place, *repo.Repository) {
	t.Helper()
	st := place{storetest.NewMem(), name}
	recipients, err := agefile.NewRecipients([]string{to.recipient})
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.InitEncrypted(t.Context(), st, "mbk test", recipients)
	if err != nil {
		t.Fatal(err)
	}
	return st, r
}

// reads reports whether somebody can read the manifest of a backup.
func reads(t *testing.T, st store.Store, id string, who person) bool {
	t.Helper()
	r, err := repo.Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	r.UseIdentities(who.identities)
	_, err = r.Manifest(t.Context(), id)
	if err != nil && !repo.Concealed(err) {
		t.Fatal(err)
	}
	return err == nil
}

// Copies of what is encrypted stay byte for byte what they are; other recipients get the
// keys.
func TestEncrypted(t *testing.T) {
	alice, bob := newPerson(t), newPerson(t)
	from, r := encrypted(t, "source", alice)
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.UseIdentities(alice.identities)
	if err := errors.Join(repotest.BackUp(t.Context(), r, full, ""), repotest.BackUp(t.Context(), r, one, full),
		release()); err != nil {
		t.Fatal(err)
	}
	opened := func(with *agefile.Identities) *repo.Repository {
		r, err := repo.Open(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		r.UseIdentities(with)
		return r
	}
	t.Run("to a new repository, without an identity", func(t *testing.T) {
		to := place{storetest.NewMem(), "target"}
		if _, err := copying(t.Context(), to, Options{From: opened(nil), ID: one}); err != nil {
			t.Fatal(err)
		}
		if !reads(t, to, one, alice) || reads(t, to, one, bob) {
			t.Error("the recipients of the copy are not those of the source")
		}
	})
	t.Run("to others, with an identity", func(t *testing.T) {
		to, _ := encrypted(t, "target", bob)
		if _, err := copying(t.Context(), to, Options{From: opened(alice.identities), ID: one}); err != nil {
			t.Fatal(err)
		}
		if !reads(t, to, one, bob) || reads(t, to, one, alice) {
			t.Error("the recipients of the copy are not those of its repository")
		}
	})
	for name, tt := range map[string]struct {
		from *repo.Repository
		to   func() place
		want func(error) bool
	}{
		"to others, without an identity": {opened(nil), func() place { p, _ := encrypted(t, "target", bob); return p },
			repo.Concealed},
		"to one that is not encrypted": {opened(alice.identities), func() place {
			st := place{storetest.NewMem(), "target"}
			repotest.Chains(t, st)
			return st
		}, func(err error) bool { return errors.Is(err, repo.ErrWouldExpose) }},
	} {
		t.Run(name, func(t *testing.T) {
			to := tt.to()
			_, err := copying(t.Context(), to, Options{From: tt.from, ID: full})
			if !tt.want(err) || fault.Of(err) != fault.Config || len(hint.Attached(err)) == 0 {
				t.Errorf("error %v of kind %v with hints %v", err, fault.Of(err), hint.Attached(err))
			}
			if list, err := to.List(t.Context(), "backups/"); err != nil || len(list) > 0 {
				t.Errorf("the target has %d objects of backups, %v", len(list), err)
			}
		})
	}
}

// What is not encrypted is encrypted on its way into a repository that is: nothing but the
// numbers of the lineage and the label can be read without an identity then. A second run
// copies only what is missing, and a copy of the copy is the copy.
func TestEncryptedOnTheWay(t *testing.T) {
	alice := newPerson(t)
	_, r := source(t)
	to, _ := encrypted(t, "target", alice)
	for _, id := range []string{full, two, two} {
		result, err := copying(t.Context(), to, Options{From: r, ID: id})
		if err != nil {
			t.Fatal(err)
		}
		if want := map[string]int{full: 1, two: 2}[id]; len(result.ids()) > want || result.BytesWritten == 0 &&
			len(result.ids()) > 0 {
			t.Errorf("%s: copied %q, %d bytes", id, result.ids(), result.BytesWritten)
		}
	}
	if has := repotest.WantListedWhole(t, to); !slices.Equal(has, []string{full, one, two}) {
		t.Errorf("the target has %v", has)
	}
	wantSealed(t, to)
	wantSameManifests(t, r, to, alice, full, one, two)
	opened, err := repo.Open(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	again := place{storetest.NewMem(), "again"}
	if _, err := copying(t.Context(), again, Options{From: opened, All: true}); err != nil {
		t.Fatal(err)
	}
	wantSameBytes(t, to, again)
}

// With each operation of an encrypted target failing in turn, what it lists is whole, and the
// next run copies the rest.
func TestEncryptedOnTheWayFailsAtEveryPoint(t *testing.T) {
	alice := newPerson(t)
	_, r := source(t)
	run := func(ctx context.Context, st store.Store) error {
		_, err := copying(ctx, st, Options{From: r, ID: one})
		return err
	}
	repotest.FailAtEvery(t, func(t *testing.T) store.Store { st, _ := encrypted(t, "target", alice); return st }, run,
		func(t *testing.T, st store.Store) {
			if err := run(t.Context(), st); err != nil {
				t.Fatalf("the run after it: %v", err)
			}
			if has := repotest.WantListedWhole(t, st); !slices.Equal(has, []string{full, one}) || !reads(t, st, one, alice) {
				t.Errorf("after another run the target has %v", has)
			}
		})
}

// Damage of the original is found before its copy is listed.
func TestDamageOnTheWay(t *testing.T) {
	from, r := source(t)
	if err := storetest.Flip(t.Context(), from, "backups/"+full+"/data-0001.pack", 40, 1); err != nil {
		t.Fatal(err)
	}
	to, _ := encrypted(t, "target", newPerson(t))
	_, err := copying(t.Context(), to, Options{From: r, ID: full})
	if fault.Of(err) != fault.Damage || !strings.Contains(err.Error(), full+"/data-0001.pack") {
		t.Errorf("error %v", err)
	}
	if has := repotest.WantListedWhole(t, to); len(has) > 0 {
		t.Errorf("the target lists %v", has)
	}
}
