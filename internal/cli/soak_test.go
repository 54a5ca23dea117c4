//go:build soak

package cli_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// soaked is one way in which a backup is put under fire.
type soaked struct {
	name  string
	since string                                               // the oldest series that can do it, "": all
	local bool                                                 // not with repositories behind a server
	run   func(t *testing.T, version string, round int) string // returns what its line shall tell
}

// soakLimit is how long TestSoak runs, or how many rounds: MBK_SOAK is "30m" or "3".
type soakLimit struct {
	until  time.Time
	rounds int
}

func newSoakLimit(text string) (soakLimit, error) {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return soakLimit{rounds: n}, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return soakLimit{}, fmt.Errorf("MBK_SOAK is %q, want a time such as 30m, or a number of rounds", text)
	}
	return soakLimit{until: time.Now().Add(d)}, nil
}

// reached reports whether no other run is to begin.
func (l soakLimit) reached(round int) bool {
	if l.rounds > 0 {
		return round >= l.rounds
	}
	return !time.Now().Before(l.until)
}

// TestSoak does what the tests do that everybody runs, and more, on all versions
// and for as long as MBK_SOAK says. Each round is in another order, which
// MBK_SOAK_SEED repeats; MBK_SOAK_ONLY is a regular expression for the names of
// the profiles. One line is printed per run. The kinds of repositories have their turn with
// each profile, one per round.
func TestSoak(t *testing.T) {
	limit, err := newSoakLimit(os.Getenv("MBK_SOAK"))
	only, wrong := regexp.Compile(os.Getenv("MBK_SOAK_ONLY"))
	seed, bad := soakSeed(os.Getenv("MBK_SOAK_SEED"))
	if err := errors.Join(err, wrong, bad); err != nil {
		t.Fatal(err)
	}
	type pair struct {
		soaked
		version string
	}
	var pairs []pair
	for _, p := range soakProfiles() {
		for _, version := range soakVersions() {
			if only.MatchString(p.name) && !older(version, p.since) {
				pairs = append(pairs, pair{p, version})
			}
		}
	}
	if len(pairs) == 0 {
		t.Fatal("no profile has such a name")
	}
	fmt.Printf("%d profiles and versions, seed %d\n", len(pairs), seed)
	order := rand.New(rand.NewPCG(seed, 0))
	seen, runs, failed := map[int]bool{}, 0, 0
	for round := 0; !limit.reached(round); round++ {
		for _, i := range order.Perm(len(pairs)) {
			if limit.reached(round) {
				break
			}
			p := pairs[i]
			seen[i], runs = true, runs+1
			if !soak(t, p.soaked, p.version, soakKind(p.local, i+round), round) {
				failed++
			}
		}
	}
	fmt.Printf("%d runs, %d failed; %d of %d profiles and versions had their turn\n", runs, failed, len(seen), len(pairs))
}

// soak does one run and prints its line.
func soak(t *testing.T, p soaked, version, kind string, round int) bool {
	begun := time.Now()
	told, outcome := "", "FAILED"
	ok := t.Run(fmt.Sprintf("%s %s %d", version, p.name, round+1), func(t *testing.T) {
		useKind(t, kind)
		told = p.run(t, version, round)
	})
	if ok {
		outcome = "ok"
	}
	fmt.Printf("%s  %-5s  %-38s  %-14s  %-6s  %5.1f s  %s\n", begun.Format("15:04:05"), version, p.name, kind,
		outcome, time.Since(begun).Seconds(), told)
	return ok
}

// soakKind is the kind of the repositories of a run.
func soakKind(local bool, turn int) string {
	if kind := os.Getenv(kindVariable); kind != "" {
		return kind
	}
	all := kinds()
	if local {
		all = []string{inFolder, inEncrypted}
	}
	return all[turn%len(all)]
}

func soakSeed(text string) (uint64, error) {
	if text == "" {
		return uint64(time.Now().UnixNano()) % 1_000_000, nil
	}
	return strconv.ParseUint(text, 10, 64)
}

// soakVersions are the versions of all tests and the oldest that is supported.
func soakVersions() []string {
	if os.Getenv("MBK_TEST_VERSIONS") != "" {
		return mariadbtest.Versions()
	}
	return append([]string{"10.5"}, mariadbtest.Versions()...)
}
