package transfer

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
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
	"mbk/internal/repo/store/stream"
)

// sent returns the stream of a backup.
func sent(t *testing.T, from *repo.Repository, id, since string) []byte {
	t.Helper()
	var out bytes.Buffer
	if _, err := Send(t.Context(), SendOptions{From: from, ID: id, Since: since, Out: &out, Name: "a pipe",
		Tool: "mbk test"}); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// receiving runs Receive into a store, which may be empty.
func receiving(ctx context.Context, st store.Store, in io.Reader, with *agefile.Identities) (*Result, error) {
	var release func() error
	r, err := Receive(ctx, ReceiveOptions{In: in, Name: "a pipe",
		Open: func(ctx context.Context, from *repo.Repository) (*repo.Repository, error) {
			to, err := repo.OpenOrCopyOf(ctx, st, "mbk test", from)
			if err != nil {
				return nil, err
			}
			to.UseIdentities(with)
			release, err = to.Lock(ctx)
			return to, err
		}})
	if release != nil {
		err = errors.Join(err, release())
	}
	return r, err
}

func TestSendAndReceive(t *testing.T) {
	st, from := source(t)
	to := place{storetest.NewMem(), "target"}
	r, err := receiving(t.Context(), to, bytes.NewReader(sent(t, from, two, "")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{full, one, two}; !slices.Equal(r.ids(), want) || r.BytesWritten == 0 {
		t.Errorf("received %v, %d bytes, want %v", r.ids(), r.BytesWritten, want)
	}
	if ids := repotest.WantListedWhole(t, to); len(ids) != 3 {
		t.Errorf("the target has %v", ids)
	}
	wantSameObjects(t, st, to, "backups/"+two)
	wantSameObjects(t, st, to, "history/"+two+".json")
	t.Run("again", func(t *testing.T) {
		r, err := receiving(t.Context(), to, bytes.NewReader(sent(t, from, two, "")), nil)
		if err != nil || len(r.ids()) > 0 || len(r.Backups) != 3 || r.BytesWritten > 0 {
			t.Errorf("received %+v again (%v)", r, err)
		}
		repotest.WantListedWhole(t, to)
	})
	t.Run("since", func(t *testing.T) {
		to := place{storetest.NewMem(), "target"}
		later := sent(t, from, two, one)
		_, err := receiving(t.Context(), to, bytes.NewReader(later), nil)
		if err == nil || !strings.Contains(err.Error(), "the parent of "+two) {
			t.Errorf("without the parent: %v", err)
		}
		if ids := repotest.WantListedWhole(t, to); len(ids) > 0 {
			t.Errorf("without its parent %v is listed", ids)
		}
		wantNoPacks(t, to)
		if _, err := receiving(t.Context(), to, bytes.NewReader(sent(t, from, one, "")), nil); err != nil {
			t.Fatal(err)
		}
		r, err := receiving(t.Context(), to, bytes.NewReader(later), nil)
		if err != nil || !slices.Equal(r.ids(), []string{two}) {
			t.Errorf("received %v (%v)", r.ids(), err)
		}
		repotest.WantListedWhole(t, to)
	})
}

func TestNotSent(t *testing.T) {
	st, from := source(t)
	for name, o := range map[string]SendOptions{
		"no such backup":        {ID: "20270101T000000Z-full"},
		"since an unknown one":  {ID: two, Since: "20270101T000000Z-full"},
		"since a later one":     {ID: one, Since: two},
		"since another chain's": {ID: two, Since: other},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			o.From, o.Out, o.Name, o.Tool = from, &out, "a pipe", "mbk test"
			if _, err := Send(t.Context(), o); fault.Of(err) != fault.Config || len(hint.Attached(err)) == 0 {
				t.Errorf("error %v of kind %v with hints %v", err, fault.Of(err), hint.Attached(err))
			}
			if _, err := receiving(t.Context(), place{storetest.NewMem(), "target"}, &out, nil); err == nil {
				t.Error("a stream was sent")
			}
		})
	}
	t.Run("damaged", func(t *testing.T) {
		if err := storetest.Flip(t.Context(), st, "backups/"+two+"/redo.pack", 10, 1); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		_, err := Send(t.Context(), SendOptions{From: from, ID: two, Out: &out, Name: "a pipe", Tool: "mbk test"})
		if fault.Of(err) != fault.Damage {
			t.Errorf("error %v", err)
		}
		to := place{storetest.NewMem(), "target"}
		_, err = receiving(t.Context(), to, &out, nil)
		if abort, ok := errors.AsType[*stream.AbortError](err); !ok || !strings.Contains(abort.Reason, "redo.pack") {
			t.Errorf("the receiver gets %v", err)
		}
		wantNoPacks(t, to)
	})
}

// wantSameObjects checks that two stores have the same objects below a prefix.
func wantSameObjects(t *testing.T, a, b store.Store, prefix string) {
	t.Helper()
	list, err := a.List(t.Context(), prefix)
	if err != nil || len(list) == 0 {
		t.Fatalf("%d objects below %s (%v)", len(list), prefix, err)
	}
	for _, o := range list {
		one, err1 := store.ReadAll(t.Context(), a, o.Name, 1<<30)
		two, err2 := store.ReadAll(t.Context(), b, o.Name, 1<<30)
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s: %d and %d bytes (%v)", o.Name, len(one), len(two), err)
		}
	}
}

// wantNoPacks checks that nothing is left of what was received.
func wantNoPacks(t *testing.T, st store.Store) {
	t.Helper()
	list, err := st.List(t.Context(), "backups/")
	if err != nil || len(list) > 0 {
		t.Errorf("there are %d objects of backups (%v): %v", len(list), err, list)
	}
}

// Whatever a stream lacks, nothing of it is listed or stays, and what was in the repository
// before is whole.
func TestBrokenStream(t *testing.T) {
	_, from := source(t)
	whole := sent(t, from, other, "")
	try := func(name string, b []byte) {
		to := place{storetest.NewMem(), "target"}
		before := repotest.Chains(t, to, [2]string{full})
		if _, err := receiving(t.Context(), to, bytes.NewReader(b), nil); err == nil {
			t.Errorf("%s: no error", name)
		}
		if ids := repotest.WantListedWhole(t, to); !slices.Equal(ids, []string{full}) {
			t.Errorf("%s: %v are listed", name, ids)
		}
		if list, err := to.List(t.Context(), "backups/"+other); err != nil || len(list) > 0 {
			t.Errorf("%s: %d objects stay (%v)", name, len(list), err)
		}
		_ = before
	}
	for n := 0; n < len(whole); n += 1 + len(whole)/150 {
		try("cut", whole[:n])
		flipped := bytes.Clone(whole)
		flipped[n] ^= 1
		try("flipped", flipped)
	}
	try("twice", slices.Concat(whole, whole))
}

// rewritten receives the objects of a stream, changed, as another stream: what a hostile sender
// could make.
func rewritten(t *testing.T, b []byte, change func(name string, content []byte) (string, []byte)) []byte {
	t.Helper()
	var out bytes.Buffer
	st := NewStream(&out, "a pipe")
	x := &rewriting{st: st, change: change}
	if err := stream.Read(t.Context(), bytes.NewReader(b), x); err != nil {
		t.Fatal(err)
	}
	if err := EndStream(t.Context(), st, nil); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type rewriting struct {
	st     *stream.Store
	change func(name string, content []byte) (string, []byte)
}

func (x *rewriting) Object(ctx context.Context, name string, content io.Reader) error {
	b, err := io.ReadAll(content)
	if name, b = x.change(name, b); err == nil && name != "" {
		err = store.PutBytes(ctx, x.st, name, b)
	}
	return err
}

func (x *rewriting) Drop(ctx context.Context, name string) error { return x.st.Delete(ctx, name) }

func TestHostileStream(t *testing.T) {
	_, from := source(t)
	whole := sent(t, from, other, "")
	const config, folder = "mbk-repository.json", "backups/" + other + "/"
	renamed := func(from, to string) func(string, []byte) (string, []byte) {
		return func(name string, b []byte) (string, []byte) {
			if name == from {
				name = to
			}
			return name, b
		}
	}
	replaced := func(which string, by func([]byte) []byte) func(string, []byte) (string, []byte) {
		return func(name string, b []byte) (string, []byte) {
			if name == which {
				b = by(b)
			}
			return name, b
		}
	}
	for name, change := range map[string]func(string, []byte) (string, []byte){
		"no repository":             renamed(config, "history/x"),
		"no label":                  renamed(folder+"label.json", ""),
		"no manifest":               renamed(folder+"manifest.json.zst", ""),
		"no pack":                   renamed(folder+"redo.pack", ""),
		"an object of another kind": renamed(folder+"redo.pack", folder+"redo.exe"),
		"an object elsewhere":       renamed(folder+"redo.pack", "pins/"+other+".json"),
		"a folder that is no id":    renamed(folder+"redo.pack", "backups/x/redo.pack"),
		"a folder too deep":         renamed(folder+"redo.pack", folder+"x/redo.pack"),
		"the label of another":      renamed(folder+"label.json", "backups/"+full+"/label.json"),
		"another byte in a pack":    replaced(folder+"redo.pack", func(b []byte) []byte { return append(b[:9:9], b[8:]...) }),
		"a longer pack":             replaced(folder+"redo.pack", func(b []byte) []byte { return append(b, 0) }),
		"an empty pack":             replaced(folder+"redo.pack", func(b []byte) []byte { return nil }),
		"a large configuration":     replaced(config, func(b []byte) []byte { return make([]byte, 2<<20) }),
		"a configuration of zeros":  replaced(config, func(b []byte) []byte { return make([]byte, 200) }),
		"a label of zeros":          replaced(folder+"label.json", func(b []byte) []byte { return make([]byte, 200) }),
	} {
		t.Run(name, func(t *testing.T) {
			to := place{storetest.NewMem(), "target"}
			repotest.Chains(t, to, [2]string{full})
			_, err := receiving(t.Context(), to, bytes.NewReader(rewritten(t, whole, change)), nil)
			if err == nil {
				t.Error("no error")
			}
			t.Log(err)
			if ids := repotest.WantListedWhole(t, to); !slices.Equal(ids, []string{full}) {
				t.Errorf("%v are listed", ids)
			}
			if list, err := to.List(t.Context(), ""); err != nil || slices.ContainsFunc(list,
				func(o store.Object) bool { return strings.Contains(o.Name, other) }) {
				t.Errorf("something stays: %v (%v)", list, err)
			}
		})
	}
	t.Run("objects of a backup that is there", func(t *testing.T) {
		to := place{storetest.NewMem(), "target"}
		if _, err := receiving(t.Context(), to, bytes.NewReader(whole), nil); err != nil {
			t.Fatal(err)
		}
		for _, change := range []func(string, []byte) (string, []byte){
			replaced(folder+"redo.pack", func(b []byte) []byte { return append(b, 0) }),
			renamed(folder+"redo.pack", folder+"data-0009.pack"),
		} {
			if _, err := receiving(t.Context(), to, bytes.NewReader(rewritten(t, whole, change)), nil); err == nil {
				t.Error("no error")
			}
			repotest.WantListedWhole(t, to)
			wantSameObjects(t, to, to, "backups/"+other)
			if list, err := to.List(t.Context(), folder); err != nil || len(list) != 5 {
				t.Errorf("the backup has %d objects (%v)", len(list), err)
			}
		}
	})
}

// With each operation of the target failing in turn, what it lists is whole, and the next
// stream brings the rest.
func TestReceiveFailsAtEveryPoint(t *testing.T) {
	_, from := source(t)
	whole := sent(t, from, one, "")
	run := func(ctx context.Context, st store.Store) error {
		_, err := receiving(ctx, st, bytes.NewReader(whole), nil)
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

func TestEncryptedStream(t *testing.T) {
	alice, bob := newPerson(t), newPerson(t)
	_, r := encrypted(t, "source", alice)
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.UseIdentities(alice.identities)
	if err := errors.Join(repotest.BackUp(t.Context(), r, full, ""), repotest.BackUp(t.Context(), r, one, full),
		release()); err != nil {
		t.Fatal(err)
	}
	whole := sent(t, r, one, "")
	t.Run("to a new repository, without an identity", func(t *testing.T) {
		to := place{storetest.NewMem(), "target"}
		for range 3 { // the keys of the records do not become more
			if _, err := receiving(t.Context(), to, bytes.NewReader(whole), nil); err != nil {
				t.Fatal(err)
			}
		}
		if !reads(t, to, one, alice) || reads(t, to, one, bob) {
			t.Error("the recipients of the copy are not those of the source")
		}
		opened, err := repo.Open(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		if n := len(opened.Config().HistoryKeys); n > 2 {
			t.Errorf("the copy has %d keys for records", n)
		}
	})
	t.Run("to others, with an identity", func(t *testing.T) {
		to, _ := encrypted(t, "target", bob)
		if _, err := receiving(t.Context(), to, bytes.NewReader(whole), alice.identities); err != nil {
			t.Fatal(err)
		}
		if !reads(t, to, one, bob) || reads(t, to, one, alice) {
			t.Error("the recipients of the copy are not those of its repository")
		}
	})
	for name, tt := range map[string]struct {
		stream []byte
		to     func() place
		want   func(error) bool
	}{
		"to others, without an identity": {whole, func() place { p, _ := encrypted(t, "target", bob); return p },
			repo.Concealed},
		"to one that is not encrypted": {whole, func() place {
			st := place{storetest.NewMem(), "target"}
			repotest.Chains(t, st)
			return st
		}, func(err error) bool { return errors.Is(err, repo.ErrWouldExpose) }},
	} {
		t.Run(name, func(t *testing.T) {
			to := tt.to()
			_, err := receiving(t.Context(), to, bytes.NewReader(tt.stream), nil)
			if !tt.want(err) || fault.Of(err) != fault.Config || len(hint.Attached(err)) == 0 {
				t.Errorf("error %v of kind %v with hints %v", err, fault.Of(err), hint.Attached(err))
			}
			wantNoPacks(t, to)
		})
	}
}

// swept makes an encrypted repository, or what is left of a broken run, ready for a stream, as
// "mbk receive" does.
func swept(t *testing.T, st store.Store) {
	t.Helper()
	r, err := repo.Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	release, err := r.Lock(t.Context())
	if err == nil {
		_, err = r.Sweep(t.Context(), repo.SweepOptions{})
	}
	if err := errors.Join(err, release()); err != nil {
		t.Fatal(err)
	}
}

// A stream that is not encrypted is encrypted on arrival in a repository that is, as a copy is:
// with the chain, again, and without what is there.
func TestEncryptedOnArrival(t *testing.T) {
	alice := newPerson(t)
	_, from := source(t)
	to, _ := encrypted(t, "target", alice)
	for _, tt := range []struct {
		id, since string
		want      []string
	}{
		{full, "", []string{full}}, {two, full, []string{one, two}}, {two, "", nil}, {other, "", []string{other}},
	} {
		r, err := receiving(t.Context(), to, bytes.NewReader(sent(t, from, tt.id, tt.since)), nil)
		if err != nil || !slices.Equal(r.ids(), tt.want) || (r.BytesWritten == 0) != (tt.want == nil) {
			t.Fatalf("%s since %q: received %v, %d bytes (%v)", tt.id, tt.since, r.ids(), r.BytesWritten, err)
		}
	}
	if has := repotest.WantListedWhole(t, to); !slices.Equal(has, []string{full, one, two, other}) {
		t.Errorf("the target has %v", has)
	}
	wantSealed(t, to)
	wantSameManifests(t, from, to, alice, full, one, two, other)
	opened, err := repo.Open(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("is what a copy would be", func(t *testing.T) {
		_, err := copying(t.Context(), to, Options{From: from, All: true})
		if err != nil {
			t.Error(err)
		}
		l, err := opened.Label(t.Context(), two)
		original, err2 := from.Label(t.Context(), two)
		if err := errors.Join(err, err2); err != nil || l.CopiedFrom != original.Hash {
			t.Errorf("the label says that it is a copy of %q (%v)", l.CopiedFrom, err)
		}
	})
	t.Run("the record tells as much, to whoever has an identity", func(t *testing.T) {
		opened.UseIdentities(alice.identities)
		h, err := opened.Attempts(t.Context())
		if err != nil || len(h) != 4 {
			t.Fatalf("%d records (%v)", len(h), err)
		}
		if l, err := opened.Label(t.Context(), h[0].ID); err != nil || h[0].Label != l.Hash {
			t.Errorf("the record of %s names the label %q (%v)", h[0].ID, h[0].Label, err)
		}
	})
}

// wantSealed checks that all objects of backups but the clear ones are age files.
func wantSealed(t *testing.T, st store.Store) {
	t.Helper()
	list, err := st.List(t.Context(), "backups/")
	if err != nil || len(list) == 0 {
		t.Fatalf("%d objects (%v)", len(list), err)
	}
	for _, o := range list {
		b, err := store.ReadAll(t.Context(), st, o.Name, 1<<20)
		isAge := strings.HasPrefix(string(b), "age-encryption.org/")
		clear := strings.HasSuffix(o.Name, "/label.json") || strings.HasSuffix(o.Name, "/lineage.bin.zst")
		if err != nil || isAge == clear {
			t.Errorf("%s is an age file: %t, %v", o.Name, isAge, err)
		}
	}
}

// wantSameManifests compares what an encrypted copy has, read by somebody, with the originals.
// Nobody else can read it.
func wantSameManifests(t *testing.T, from *repo.Repository, to store.Store, by person, ids ...string) {
	t.Helper()
	opened, err := repo.Open(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	opened.UseIdentities(by.identities)
	for _, id := range ids {
		original, err := from.Manifest(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		copied, err := opened.Manifest(t.Context(), id)
		if err != nil || !reflect.DeepEqual(original, copied) || reads(t, to, id, newPerson(t)) {
			t.Errorf("the manifest of %s: %v\n%+v, want\n%+v", id, err, copied, original)
		}
		if _, err := opened.Chain(t.Context(), id); err != nil {
			t.Errorf("the chain of %s: %v", id, err)
		}
	}
}

// What is sent may be encrypted on its way, to recipients of its own.
func TestSentToRecipients(t *testing.T) {
	alice, bob := newPerson(t), newPerson(t)
	_, plain := source(t)
	to := func(who person) *agefile.Recipients {
		r, err := agefile.NewRecipients([]string{who.recipient})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	send := func(from *repo.Repository, since string, who person) ([]byte, error) {
		var out bytes.Buffer
		_, err := Send(t.Context(), SendOptions{From: from, ID: two, Since: since, Recipients: to(who), Out: &out,
			Name: "a pipe", Tool: "mbk test"})
		return out.Bytes(), err
	}
	b, err := send(plain, "", alice)
	if err != nil {
		t.Fatal(err)
	}
	st := place{storetest.NewMem(), "target"}
	for range 2 {
		if _, err := receiving(t.Context(), st, bytes.NewReader(b), nil); err != nil {
			t.Fatal(err)
		}
	}
	wantSealed(t, st)
	wantSameManifests(t, plain, st, alice, full, one, two)
	// Another time it is another copy: with the rest of a chain too, or as a whole.
	rest, err1 := send(plain, one, alice)
	again, err2 := send(plain, "", alice)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	second := place{storetest.NewMem(), "second"}
	var first bytes.Buffer
	_, err = Send(t.Context(), SendOptions{From: plain, ID: one, Recipients: to(alice), Out: &first, Name: "a pipe",
		Tool: "mbk test"})
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range [][]byte{first.Bytes(), rest, again} {
		r, err := receiving(t.Context(), second, bytes.NewReader(b), nil)
		if err != nil || len(r.ids()) != 2-i {
			t.Errorf("stream %d: received %v (%v)", i, r.ids(), err)
		}
	}
	wantSameManifests(t, plain, second, alice, full, one, two)
	opened, err := repo.Open(t.Context(), second)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := copying(t.Context(), st, Options{From: opened, All: true}); err != nil || len(r.ids()) > 0 {
		t.Errorf("copied %v between two copies (%v)", r.ids(), err)
	}

	// What is encrypted to alice, for bob.
	sealed, err := repo.Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := send(sealed, "", bob); !repo.Concealed(err) {
		t.Errorf("without an identity: %v", err)
	}
	sealed.UseIdentities(alice.identities)
	whole, err1 := send(sealed, "", bob)
	rest, err2 = send(sealed, one, bob)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for _, b := range [][]byte{whole, rest} {
		further := place{storetest.NewMem(), "further"}
		_, err := receiving(t.Context(), further, bytes.NewReader(b), nil)
		if (err == nil) != (len(b) == len(whole)) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
		if err == nil && (!reads(t, further, two, bob) || reads(t, further, two, alice)) {
			t.Error("the recipients are not those of the stream")
		}
	}
}

// With each operation of the encrypted target failing in turn.
func TestEncryptedOnArrivalFailsAtEveryPoint(t *testing.T) {
	alice := newPerson(t)
	_, from := source(t)
	whole := sent(t, from, full, "")
	run := func(ctx context.Context, st store.Store) error {
		_, err := receiving(ctx, st, bytes.NewReader(whole), nil)
		return err
	}
	repotest.FailAtEvery(t, func(t *testing.T) store.Store { st, _ := encrypted(t, "target", alice); return st }, run,
		func(t *testing.T, st store.Store) {
			swept(t, st)
			if err := run(t.Context(), st); err != nil {
				t.Fatalf("the run after it: %v", err)
			}
			if has := repotest.WantListedWhole(t, st); !slices.Equal(has, []string{full}) || !reads(t, st, full, alice) {
				t.Errorf("after another run the target has %v", has)
			}
		})
}

// A stream that breaks off, or is not what it says of itself, leaves nothing in an encrypted
// repository.
func TestBrokenOnArrival(t *testing.T) {
	alice := newPerson(t)
	_, from := source(t)
	whole := sent(t, from, other, "")
	try := func(name string, b []byte) {
		to, _ := encrypted(t, "target", alice)
		_, err := receiving(t.Context(), to, bytes.NewReader(b), nil)
		if err == nil {
			t.Errorf("%s: no error", name)
		}
		wantNoPacks(t, to)
	}
	for n := 0; n < len(whole); n += 1 + len(whole)/30 {
		try("cut", whole[:n])
		flipped := bytes.Clone(whole)
		flipped[n] ^= 1
		try("flipped", flipped)
	}
	folder := "backups/" + other + "/"
	for name, change := range map[string]func(name string, b []byte) (string, []byte){
		"a key": func(name string, b []byte) (string, []byte) {
			if name == "history/"+other+".json" {
				return folder + "key.age", []byte("age-encryption.org/v1")
			}
			return name, b
		},
		"another byte in a pack": func(name string, b []byte) (string, []byte) {
			if name == folder+"redo.pack" {
				b = append(b[:9:9], b[8:]...)
			}
			return name, b
		},
		"no lineage": func(name string, b []byte) (string, []byte) {
			if name == folder+"lineage.bin.zst" {
				name = ""
			}
			return name, b
		},
	} {
		try(name, rewritten(t, whole, change))
	}
	t.Run("a label that says that it is encrypted", func(t *testing.T) {
		_, r := encrypted(t, "source", alice)
		release, err := r.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(repotest.BackUp(t.Context(), r, full, ""), release()); err != nil {
			t.Fatal(err)
		}
		plainConfig := firstObject(t, whole)
		try("mixed", rewritten(t, sent(t, r, full, ""), func(name string, b []byte) (string, []byte) {
			if name == "mbk-repository.json" {
				b = plainConfig
			}
			return name, b
		}))
	})
}

// firstObject returns the mbk-repository.json of a stream.
func firstObject(t *testing.T, b []byte) (config []byte) {
	t.Helper()
	rewritten(t, b, func(name string, b []byte) (string, []byte) {
		if name == "mbk-repository.json" {
			config = b
		}
		return name, b
	})
	return config
}
