package repo

import (
	"encoding/json"
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mbk/internal/repo/store"
)

func TestAttempts(t *testing.T) {
	r, st := newRepository(t)
	if got, err := r.Attempts(t.Context()); err != nil || len(got) != 0 {
		t.Errorf("Attempts of a new repository = %v, %v", got, err)
	}
	id := mustBackUp(t, r, "2026-11-21 00:00:00")
	failed := Attempt{
		FormatVersion: FormatVersion, ID: "20261120T000000Z-full", Kind: KindFull, Outcome: OutcomeFailed,
		Started: at(t, "2026-11-20 00:00:00"), Finished: at(t, "2026-11-20 00:01:00"), Error: "redo log overwritten",
		Hints: []string{"raise innodb_log_file_size"},
	}
	if err := r.PutAttempt(t.Context(), failed); err != nil {
		t.Fatal(err)
	}
	if err := r.PutVerification(t.Context(),
		Verification{ID: id, Depth: DepthBoot, Time: at(t, "2026-11-21 01:00:00"), OK: true}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"history/readme.txt", "history/x.json", "history/20261119T000000Z-full.json"} {
		if err := store.PutBytes(t.Context(), st, name, []byte("{")); err != nil {
			t.Fatal(err)
		}
	}
	got, err := r.Attempts(t.Context())
	if err != nil || len(got) != 3 {
		t.Fatalf("Attempts = %v, %v; want three", got, err)
	}
	if a := got[0]; a.Outcome != OutcomeUnknown || a.ID != "20261119T000000Z-full" || a.Kind != KindFull ||
		a.Error == "" || a.Started.IsZero() {
		t.Errorf("the damaged record is shown as %+v", a)
	}
	if diff := cmp.Diff([]Attempt{failed, attemptOf(newManifest(id), labelOf(t, r, id))}, got[1:]); diff != "" {
		t.Errorf("Attempts differ (-want +got):\n%s", diff)
	}
	if err := r.PutAttempt(t.Context(), Attempt{ID: "../../x"}); err == nil {
		t.Error("PutAttempt of a hostile id succeeded")
	}
	if _, err := r.attempt(t.Context(), "20000101T000000Z-full"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("attempt that never was: %v, want fs.ErrNotExist", err)
	}
}

// The names of fields are a contract, shared with "mbk backup --json".
func TestAttemptFields(t *testing.T) {
	m := newManifest("20261121T201806Z-full")
	m.Binlog = &Binlog{File: "bin.000001", Position: 4, GTID: "0-1-2", State: "0-1-2"}
	b, err := json.MarshalIndent(AttemptOf(m), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "attempt.json", string(b)+"\n")
}

func TestVerifications(t *testing.T) {
	r, st := newRepository(t)
	id, other := mustBackUp(t, r, "2026-11-20 00:00:00"), mustBackUp(t, r, "2026-11-21 00:00:00")
	put := func(id, depth, time string, ok bool) {
		t.Helper()
		if err := r.PutVerification(t.Context(), Verification{ID: id, Depth: depth, Time: at(t, time), OK: ok}); err != nil {
			t.Fatal(err)
		}
	}
	wantStanding := func(id, depth, time string, ok bool) {
		t.Helper()
		list, err := r.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if v := s.Verified; s.ID == id && (v == nil || v.Depth != depth || !v.Time.Equal(at(t, time)) || v.OK != ok) {
				t.Errorf("%s stands as %+v, want %s at %s, %v", id, v, depth, time, ok)
			}
		}
	}
	put(id, DepthBoot, "2026-11-21 01:00:00", true)
	put(id, DepthStored, "2026-11-22 01:00:00", false)
	put(id, DepthStored, "2026-11-23 01:00:00", true)
	put(other, DepthStored, "2026-11-22 02:00:00", true)
	wantStanding(id, DepthBoot, "2026-11-21 01:00:00", true)
	wantStanding(other, DepthStored, "2026-11-22 02:00:00", true)

	all, err := r.Verifications(t.Context(), id)
	if err != nil || len(all) != 3 || all[0].Depth != DepthBoot || all[2].Time.Before(all[1].Time) {
		t.Errorf("Verifications = %+v, %v; want three, oldest first", all, err)
	}

	// One that could not be carried out says nothing, and hides nothing that is older.
	undone := Verification{ID: id, Depth: DepthBoot, Time: at(t, "2026-11-23 12:00:00"),
		Verdict: Verdict{VerdictUndone, "no memory"}}
	if err := r.PutVerification(t.Context(), undone); err != nil {
		t.Fatal(err)
	}
	wantStanding(id, DepthBoot, "2026-11-21 01:00:00", true)
	if all, err := r.Verifications(t.Context(), id); err != nil || len(all) != 4 || all[3].Outcome != VerdictUndone ||
		all[3].Reason != "no memory" {
		t.Errorf("Verifications = %+v, %v; want four", all, err)
	}
	if latest, err := r.Resolve(t.Context(), Latest); err != nil || latest != other {
		t.Errorf("latest is %s, %v, want %s", latest, err, other)
	}
	if err := store.PutBytes(t.Context(), st, "history/"+id+".tried-20261123T130000.000Z-boot.json",
		[]byte("x")); err != nil {
		t.Fatal(err)
	}
	wantStanding(id, DepthBoot, "2026-11-21 01:00:00", true)

	// A record that cannot be read may have told of damage.
	if err := store.PutBytes(t.Context(), st, "history/"+id+".verify-20261124T010000.000Z-pages.json",
		[]byte("x")); err != nil {
		t.Fatal(err)
	}
	wantStanding(id, DepthPages, "2026-11-24 01:00:00", false)

	// A hidden contradiction: the name says boot, the record stored.
	put(other, DepthStored, "2026-11-25 01:00:00", true)
	b, err := store.ReadAll(t.Context(), st, "history/"+other+".verify-20261125T010000.000Z-stored.json", maxRecord)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.PutBytes(t.Context(), st, "history/"+other+".verify-20261125T010000.000Z-boot.json", b); err != nil {
		t.Fatal(err)
	}
	wantStanding(other, DepthBoot, "2026-11-25 01:00:00", false)

	for _, v := range []Verification{{ID: id, Depth: "deep"}, {ID: "x", Depth: DepthBoot}, {}} {
		if err := r.PutVerification(t.Context(), v); err == nil {
			t.Errorf("PutVerification(%+v) succeeded", v)
		}
	}
}

func TestStanding(t *testing.T) {
	for _, c := range []struct{ name, all, want string }{
		{"never verified", "", ""},
		{"one success", "1 stored ok", "1 stored ok"},
		{"the deepest success counts", "1 boot ok, 2 stored ok", "1 boot ok"},
		{"the newest of the same depth", "1 pages ok, 2 pages ok", "2 pages ok"},
		{"a failure counts", "1 boot ok, 2 stored failed", "2 stored failed"},
		{"a shallower success does not answer a failure", "1 boot failed, 2 pages ok, 3 stored ok", "1 boot failed"},
		{"a deeper success answers", "1 stored failed, 2 boot ok", "2 boot ok"},
		{"the same depth answers", "1 pages failed, 2 pages ok", "2 pages ok"},
		{"an earlier success does not", "1 boot ok, 2 boot failed", "2 boot failed"},
		{"the newest unanswered failure", "1 boot failed, 2 stored failed", "2 stored failed"},
		{"in any order", "2 stored failed, 3 stored ok, 1 boot failed", "1 boot failed"},
		{"what could not be carried out is nothing", "1 boot undone", ""},
		{"it does not void a proof", "1 boot ok, 2 boot undone", "1 boot ok"},
		{"nor answer damage", "1 boot failed, 2 boot undone", "1 boot failed"},
		{"tables as on the source", "1 boot ok, 2 boot source", "2 boot ok"},
		{"they answer damage", "1 boot failed, 2 boot source", "2 boot ok"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var all []Verification
			for s := range strings.SplitSeq(c.all, ", ") {
				if f := strings.Fields(s); len(f) == 3 {
					v := Verification{Time: at(t, "2026-11-0"+f[0]+" 00:00:00"), Depth: f[1]}
					v.Outcome = map[string]Outcome{"ok": VerdictProven, "source": VerdictAsOnSource, "failed": VerdictDamaged,
						"undone": VerdictUndone}[f[2]]
					v.resolve()
					all = append(all, v)
				}
			}
			got := ""
			if v := Standing(all); v != nil {
				got = v.Time.Format("2") + " " + v.Depth + map[bool]string{true: " ok", false: " failed"}[v.OK]
			}
			if got != c.want {
				t.Errorf("Standing = %q, want %q", got, c.want)
			}
		})
	}
}

// Records that were written before there were four outcomes keep what they say.
func TestOlderVerifications(t *testing.T) {
	for _, c := range []struct {
		record string
		want   Outcome
		ok     bool
	}{
		{`{"format_version":2,"ok":true}`, VerdictProven, true},
		{`{"format_version":2,"ok":false}`, VerdictDamaged, false},
		{`{"format_version":2,"ok":true,"verdict":"as-on-source"}`, VerdictAsOnSource, true},
		{`{"format_version":2,"ok":false,"verdict":"not-carried-out","reason":"no memory"}`, VerdictUndone, false},
		{`{"format_version":2,"ok":true,"verdict":"damaged"}`, VerdictDamaged, false},
	} {
		var v Verification
		if err := decodeJSON([]byte(c.record), &v); err != nil {
			t.Fatal(err)
		}
		if v.resolve(); v.Outcome != c.want || v.OK != c.ok {
			t.Errorf("%s: %q, ok %t, want %q, %t", c.record, v.Outcome, v.OK, c.want, c.ok)
		}
	}
}

func FuzzParseVerification(f *testing.F) {
	f.Add("history/20261121T201806Z-full.verify-20261124T010000.000Z-pages.json")
	f.Add("history/20261121T201806Z-full.tried-20261124T010000.000Z-boot.json")
	f.Add("history/20261121T201806Z-full.json")
	f.Fuzz(func(t *testing.T, name string) {
		if v, ok := parseVerification(name); ok &&
			strings.TrimPrefix(v.name(), historyPrefix) != strings.TrimPrefix(name, historyPrefix) {
			t.Errorf("%q is read as %+v, which is %q", name, v, v.name())
		}
	})
}
