package preflight

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

func summary(id, parent string, started time.Time) repo.Summary {
	return repo.Summary{Attempt: repo.Attempt{ID: id, Parent: parent, Started: started}}
}

// When a full backup is due, and how long the chain of the next increment would be.
func TestDue(t *testing.T) {
	now := time.Unix(1e9, 0)
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		o     Increment
		age   time.Duration
		chain int
		want  string
	}{
		"nothing is asked for": {Increment{}, 100 * day, 100, ""},
		"young":                {Increment{FullEvery: 7 * day}, 6 * day, 6, ""},
		"old": {
			Increment{FullEvery: 7 * day}, 7*day + 1, 7, "is 7d old, and one is wanted every 7d",
		},
		"the timer fires a little early":        {Increment{FullEvery: 7 * day}, 7*day - 50*time.Minute, 7, "one is wanted"},
		"the timer fires two hours early":       {Increment{FullEvery: 7 * day}, 7*day - 2*time.Hour, 7, ""},
		"every hour, a few minutes early":       {Increment{FullEvery: time.Hour}, 56 * time.Minute, 1, ""},
		"the chain has as many as are wanted":   {Increment{MaxChain: 3}, day, 3, ""},
		"the chain would have more than wanted": {Increment{MaxChain: 3}, day, 4, "there are 3 increments"},
	} {
		full := summary("F", "", now.Add(-c.age))
		got := ""
		if d := due(c.o, &full, c.chain, now); d != nil {
			got = d.text
			if !d.planned {
				t.Errorf("%s: %s is not as planned", name, got)
			}
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestChainOf(t *testing.T) {
	var at time.Time
	list := []repo.Summary{
		summary("F", "", at), summary("A", "F", at), summary("B", "A", at), summary("X", "gone", at), summary("L", "M", at),
		summary("M", "L", at),
	}
	for i, want := range []string{"F 0", "F 1", "F 2", "none", "none", "none"} {
		got := "none"
		if full, chain := chainOf(&list[i], list); full != nil {
			got = fmt.Sprint(full.ID, " ", chain)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", list[i].ID, got, want)
		}
	}
}

// A backup that is known to be damaged, or needs one that is, is nobody's parent.
func TestDoubtOfBackup(t *testing.T) {
	for want, change := range map[string]func(*repo.Summary){
		"":                           func(*repo.Summary) {},
		"cannot be read: no label":   func(s *repo.Summary) { s.Problem = "no label" },
		"not whole: its parent is":   func(s *repo.Summary) { s.Broken = "its parent is missing" },
		"a verification has found":   func(s *repo.Summary) { s.Verified = &repo.Verification{OK: false} },
		"cannot be read: permission": func(s *repo.Summary) { s.Problem, s.Denied = "permission denied", true },
	} {
		s := summary("F", "", time.Time{})
		change(&s)
		got := ""
		if d := doubtOf(&s); d != nil {
			got = d.text
		}
		if (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The server must be the parent's, with all of its past.
func TestDoubtOfServer(t *testing.T) {
	log := repo.RedoFile{Dev: 1, Inode: 2, Born: 3, First: 500}
	for _, c := range []struct {
		name   string
		change func(uuid *[16]byte, current *innodb.LSN, redo, was *repo.RedoFile)
		reboot bool
		want   string
	}{
		{name: "as it was", change: func(*[16]byte, *innodb.LSN, *repo.RedoFile, *repo.RedoFile) {}},
		{name: "another uuid",
			change: func(u *[16]byte, _ *innodb.LSN, _, _ *repo.RedoFile) { u[0]++ }, want: "Aria's control"},
		{name: "LSN back", change: func(_ *[16]byte, l *innodb.LSN, _, _ *repo.RedoFile) { *l = 1999 }, want: "LSN 1999"},
		{name: "at the parent's end", change: func(_ *[16]byte, l *innodb.LSN, _, _ *repo.RedoFile) { *l = 2000 }},
		{name: "log made anew behind the parent's checkpoint",
			change: func(_ *[16]byte, _ *innodb.LSN, r, _ *repo.RedoFile) { r.Inode, r.First = 9, 1000 }},
		{name: "log made anew before it",
			change: func(_ *[16]byte, _ *innodb.LSN, r, _ *repo.RedoFile) { r.Inode, r.First = 9, 999 }, want: "made anew"},
		{name: "log made anew in the same file",
			change: func(_ *[16]byte, _ *innodb.LSN, r, _ *repo.RedoFile) { r.First = 999 }, want: "made anew"},
		{name: "log of blocks, the same",
			change: func(_ *[16]byte, _ *innodb.LSN, r, was *repo.RedoFile) { r.First, was.First = 0, 0 }},
		{name: "log of blocks, another", change: func(_ *[16]byte, _ *innodb.LSN, r, was *repo.RedoFile) {
			r.First, was.First, r.Born = 0, 0, 4
		}, want: "made anew"},
		{name: "on another device", change: func(_ *[16]byte, _ *innodb.LSN, r, was *repo.RedoFile) {
			r.First, was.First, r.Dev = 0, 0, 7
		}, want: "made anew"},
		{name: "on another device, after a start of the machine", reboot: true,
			change: func(_ *[16]byte, _ *innodb.LSN, r, was *repo.RedoFile) { r.First, was.First, r.Dev = 0, 0, 7 }},
	} {
		uuid, current, redo, was := [16]byte{1}, innodb.LSN(3000), log, log
		c.change(&uuid, &current, &redo, &was)
		p := &Parent{ID: "P", SameBoot: !c.reboot, Lineage: &repo.Lineage{
			Checkpoint: 1000, End: 2000, AriaUUID: [16]byte{1}, Redo: was,
		}}
		got := ""
		if d := p.Doubt(uuid, current, redo); d != nil {
			got = d.Error()
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A file whose times went back shows that the file system was put back, or the clock.
func TestFilesThatWentBack(t *testing.T) {
	at := datadir.TimestampOf(time.Unix(1e9, 0))
	was := datadir.FileStat{
		ID: datadir.Identity{Dev: 1, Inode: 2, Born: 3}, Size: 10, Blocks: 4096, Modified: at, Changed: at,
	}
	f := was.Lineage()
	f.Quiescent = true
	for _, c := range []struct {
		name   string
		change func(*datadir.FileStat)
		reboot bool
		read   int64
		want   string
	}{
		{name: "as it was", change: func(*datadir.FileStat) {}},
		{name: "as it was, after a start of the machine", change: func(*datadir.FileStat) {}, reboot: true, read: 4096},
		{name: "changed", change: func(s *datadir.FileStat) { s.Changed = at.Add(1) }, read: 4096},
		{name: "changed earlier", change: func(s *datadir.FileStat) { s.Changed = at.Add(-1) }, want: "put back"},
		{name: "changed earlier, after a start", change: func(s *datadir.FileStat) { s.Changed = at.Add(-1) }, reboot: true,
			want: "put back"},
		{name: "another file, older", read: 4096,
			change: func(s *datadir.FileStat) { s.ID.Inode, s.Changed = 5, at.Add(-1) }},
	} {
		files := parentFiles{
			Parent: &Parent{ID: "P", SameBoot: !c.reboot},
			index:  repo.NewLineageIndex(&repo.Lineage{Files: []repo.LineageFile{f}}),
		}
		now := was
		c.change(&now)
		got := ""
		if err := files.compare("t.ibd", now); err != nil {
			got = err.Error()
		}
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) || files.toRead != c.read {
			t.Errorf("%s: %q and %d bytes to read, want %q and %d", c.name, got, files.toRead, c.want, c.read)
		}
	}
}
