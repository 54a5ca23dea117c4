package picture

import (
	"fmt"
	"math"
	"strings"
	"time"

	"mbk/internal/repo"
)

// hostile is a name that must be harmless wherever it is shown.
const hostile = `<script>alert("x")</script><img src=x onerror=alert(1)>` + "\x1b[31m\u202e"

// now is when the sample pages are made.
func now() time.Time { return time.Date(2026, 11, 30, 9, 30, 0, 0, time.FixedZone("CET", 3600)) }

// sampleAttempt is a backup with everything that a page can show.
func sampleAttempt() repo.Attempt {
	begun := time.Date(2026, 11, 30, 1, 30, 0, 0, time.UTC)
	ms := func(n int64) time.Time { return begun.Add(time.Duration(n) * time.Millisecond) }
	a := repo.Attempt{
		FormatVersion: 2, ID: "20261130T013000Z-full", Kind: repo.KindFull, Tool: "mbk 0.1.0", Started: begun,
		Finished: ms(271_400), Outcome: repo.OutcomeOK, Label: strings.Repeat("0a1b2c3d", 8),
		Hostname: "db1", ServerVersion: "11.8.9-MariaDB-log", Datadir: "/var/lib/mysql/",
		Steps: []repo.Step{
			{Name: "connecting", MS: 12}, {Name: "waiting for BACKUP STAGE START", MS: 3}, {Name: "copying", MS: 252_800},
			{Name: "copying what is new", MS: 9_100}, {Name: "waiting for BACKUP STAGE FLUSH", MS: 4_700},
			{Name: "waiting for BACKUP STAGE BLOCK_DDL", MS: 310}, {Name: "locked", MS: 143}, {Name: "finishing", MS: 4_200},
		},
		Stages: []repo.Stage{
			{Name: "START", Granted: ms(15), WaitMS: 3, HeldMS: 266_600, Tries: 1},
			{Name: "FLUSH", Granted: ms(266_615), WaitMS: 4_700, HeldMS: 310, Tries: 3},
			{Name: "BLOCK_DDL", Granted: ms(266_925), WaitMS: 310, HeldMS: 96, Tries: 1},
			{Name: "BLOCK_COMMIT", Granted: ms(267_021), WaitMS: 1, HeldMS: 46, Tries: 1},
			{Name: "END", Granted: ms(267_068), HeldMS: 0, Tries: 1},
		},
		LockMS: 143, LSN: repo.LSNs{Checkpoint: 88_123_456_789, End: 90_023_456_789, MaxPage: 90_023_400_000},
		Binlog: &repo.Binlog{File: "binlog.000421", Position: 88_123_001, GTID: "0-1-40213977"},
		Codec:  "zstd", Volume: repo.Volume{BytesRead: 101_310_775_296, BytesStored: 24_120_775_296},
		RedoMeasures: repo.RedoMeasures{RedoBytes: 1_900_000_000, RedoCapacity: 4 << 30, LowestHeadroom: 3_100_000_000},
		Changes: repo.Changes{TornPages: 1812, Late: repo.Late{Files: 3, Bytes: 1 << 20}, DDL: repo.NewDDL([]repo.DDLEvent{
			{Kind: repo.DDLCreated, Database: "shop", Name: "orders_2026_12"},
			{Kind: repo.DDLRenamed, Database: "shop", Name: "carts", From: "shop.carts_new"},
			{Kind: repo.DDLRebuilt, Database: "crm", Name: hostile},
		})},
		Size: 104_310_775_296, Databases: 6, Tables: 1284, Files: 1391,
		WarningCount: 102, Warnings: []string{"the server writes " + hostile,
			"table `crm`.`old`: an engine that is not known"},
		Hooks: []repo.Hook{{When: "before", Program: "/usr/local/bin/mount-backup", MS: 812, Output: "mounted\n" + hostile}},
		Copies: []repo.Copy{
			{To: "s3://backups/db1", MS: 88_000, Backups: 1, Bytes: 24_120_775_296},
		},
		Notifications: []repo.Notification{{Channel: "mail", To: "dba@example.com"}},
	}
	for i, name := range []string{"orders", "order_lines", "events_2026", "customers", hostile, "stock", "prices", "audit",
		strings.Repeat("a_very_long_name_", 12), "carts"} {
		a.Largest = append(a.Largest, repo.TableSize{Database: "shop", Name: name, Engine: "InnoDB",
			Bytes: int64(41e9 / math.Pow(1.9, float64(i)))})
	}
	a.Samples = sampleSamples()
	return a
}

// sampleSamples are those of sampleAttempt.
func sampleSamples() *repo.Samples {
	var s repo.Samples
	var one repo.Sample
	every := int64(100)
	for ms := every; ms <= 271_400; ms += every {
		part := float64(every) / 1000
		rate := 380e6 * (1 + 0.25*math.Sin(float64(ms)/17_000))
		if ms > 252_000 {
			rate = 2e7
		}
		one.MS = ms
		one.Read += int64(rate * part)
		one.Stored += int64(rate * part / 4.2 * (1 + 0.2*math.Cos(float64(ms)/9_000)))
		one.Redo += int64(6e6 * part * (1 + math.Sin(float64(ms)/30_000)))
		one.Headroom = 4<<30 - int64(6e8*(1+math.Sin(float64(ms)/21_000)))
		if ms < 1000 {
			one.Headroom, one.Redo = -1, 0
		}
		if s.Add(one) {
			every *= 2
		}
	}
	return &s
}

// sampleReport is a page about a backup that was verified twice.
func sampleReport() *Report {
	a := sampleAttempt()
	return &Report{
		Repository: "/backup/db1", Attempt: a, Kept: true, Made: now(), Tool: "mbk 0.1.0",
		Proofs: []repo.Verification{
			{ID: a.ID, Depth: repo.DepthPages, Time: a.Finished.Add(time.Hour), OK: true, Bytes: 24_120_775_296,
				Verdict: repo.Verdict{Outcome: repo.VerdictProven}},
			{ID: a.ID, Depth: repo.DepthBoot, Time: a.Finished.Add(3 * time.Hour), OK: true, Bytes: 24_120_775_296,
				Verdict: repo.Verdict{Outcome: repo.VerdictProven}},
		},
	}
}

// sampleFailure is a page about an attempt that failed.
func sampleFailure() *Report {
	a := sampleAttempt()
	a.Outcome, a.Error = repo.OutcomeFailed, "BACKUP STAGE BLOCK_DDL: not granted within 1m0s: held up by connection 15 "+
		"(root@localhost): "+hostile
	a.Hints = []string{"let that connection end what it does, or wait longer: --lock-wait"}
	a.Steps, a.Stages, a.LockMS = a.Steps[:6], a.Stages[:2], 0
	return &Report{Repository: "s3://backups/db1", Attempt: a, Made: now(), Tool: "mbk 0.1.0"}
}

// idAt is the id of a backup.
func idAt(t time.Time, kind string) string {
	return fmt.Sprintf("%s-%s", t.UTC().Format("20060102T150405Z"), kind)
}

// sampleHistory has n attempts, one a day, of which some have failed.
func sampleHistory(n int) *History {
	h := &History{
		Repository: "/backup/db1", Made: now(), Tool: "mbk 0.1.0", Archive: 41_000_000_000,
		Space: &Space{Free: 900_000_000_000, Total: 2_000_000_000_000},
	}
	for i := range n {
		t := now().AddDate(0, 0, i-n).Add(-8 * time.Hour).UTC()
		kind, size := repo.KindIncremental, int64(1.1e9)+int64(i%5)*1e8
		if i%7 == 0 {
			kind, size = repo.KindFull, int64(22e9)+int64(i)*2e7
		}
		a := Attempt{Attempt: repo.Attempt{
			ID: idAt(t, kind), Kind: kind, Started: t, Finished: t.Add(time.Duration(60+size/1e8) * time.Second),
			Outcome: repo.OutcomeOK, Hostname: "db1", LockMS: 60 + int64(i*37%90),
			Volume: repo.Volume{BytesRead: size * 41 / 10, BytesStored: size},
		}, Kept: i >= n/2 || kind == repo.KindFull && i >= n/4}
		switch {
		case i%29 == 17:
			a.Outcome, a.Error, a.Kept, a.LockMS = repo.OutcomeFailed, "no space left: "+hostile, false, 0
		case i%7 == 0 || i%3 == 0:
			a.Verified = &repo.Verification{
				OK: i != n-28, Depth: repo.DepthBoot, Time: a.Finished.Add(time.Hour), FindingCount: 2,
			}
		}
		h.Attempts = append(h.Attempts, a)
		if i%7 == 3 {
			h.Drills = append(h.Drills, Drill{Time: t.Add(3 * time.Hour), OK: i%28 != 10,
				Recovery: time.Duration(600+i*3) * time.Second, Age: time.Duration(40+i%60) * time.Minute})
		}
	}
	ago := func(part int) time.Time { return now().AddDate(0, 0, -n/part) }
	h.Spans = []Span{{"one", ago(3), ago(6)}, {"two", ago(7), now().Add(-time.Minute)}}
	h.Gaps = []Gap{{"the segment 7 of the timeline x is missing " + hostile, ago(6), ago(7)}}
	return h
}
