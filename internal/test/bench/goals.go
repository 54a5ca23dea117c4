package main

import (
	"fmt"
	"strings"
)

// goal is a ratio of mbk's figure in a case to that of another contender, which is
// not to be larger.
type goal struct {
	name    string // of the case
	against string // contender; "": mbk's figure itself
	metric  string
	most    float64
}

// reached is a goal and what became of it.
type reached struct {
	Case    string  `json:"case"`
	Against string  `json:"against"`
	Metric  string  `json:"metric"`
	Most    float64 `json:"to_reach"`
	Ratio   float64 `json:"reached"`
	Range   span    `json:"range"` // of the rounds
	Met     bool    `json:"met"`
}

// goals are all of them. size is that of the large data sets, in bytes.
func goals(size int64) []goal {
	const peer, alone = "mariadb-backup", "compressor alone"
	plain := 0.3
	if size >= 4<<30 {
		plain = 0.6 // the peer's fixed seconds count for less
	}
	all := []goal{
		{"plain", peer, "wall", plain},
		{"zstd", peer, "wall", 0.65}, {"zstd", peer, "stored", 1}, {"zstd", alone, "wall", 1.15},
		{"s2", peer, "wall", 0.4},
		{"s3-zstd", intoFolder, "wall", 1.15}, {"s3-zstd", byRclone, "wall", 0.8},
		{"s3-restore", fromFolder, "wall", 1.3},
		{"encrypted", unencrypted, "wall", 1.07},
		{"stalls", peer, "commit", 0.1}, {"stalls", peer, "ddl", 0.15}, {"stalls", peer, "myisam", 0.2},
		{"restore", peer, "wall", 0.6},
		{"verify", "mbk restore --no-recover", "wall", 1},
		{"load", "no backup", "p99", 3}, {"load", peer, "lost", 0.5},
		{"one-plain", peer, "wall", 0.35}, {"one-zstd", peer, "wall", 0.65},
		{"table-back", byDump, "wall", 0.4}, {"replay", byBinlog, "wall", 0.25},
		{"many-plain", peer, "wall", 0.4}, {"many-zstd", peer, "wall", 0.4},
		{"incr-even", peer, "wall", 0.3}, {"incr-even", "", "storedpart", 2.5},
		{"incr-even-zstd", peer, "wall", 0.3}, {"incr-even-zstd", "", "storedpart", 2.5},
		{"incr-idle", peer, "wall", 0.1}, {"incr-idle", "", "readpart", 5},
		{"chain", ofFull, "wall", 1.15}, {"consolidate", "mbk restore", "wall", 1},
	}
	for _, set := range dataSets() {
		for _, c := range set.cases {
			if c.name != limitsName {
				all = append(all, goal{c.name, "", "memory", 300})
			}
		}
	}
	return all
}

// judge compares the results with the goals of their cases.
func (r *results) judge(all []goal) {
	for _, g := range all {
		for i := range r.Cases {
			if got, ok := r.Cases[i].figure(g); ok && r.Cases[i].Name == g.name {
				r.Goals = append(r.Goals,
					reached{g.name, g.against, g.metric, g.most, got, r.Cases[i].spread(g), got <= g.most})
			}
		}
	}
}

// figure is what a goal is about.
func (r *caseResult) figure(g goal) (float64, bool) {
	own, ok := r.Runs[0].Median[g.metric]
	if g.against == "" {
		return own, ok
	}
	for _, run := range r.Runs[1:] {
		if run.Name != g.against {
			continue
		}
		if ratio, ok := run.Ratio[g.metric]; ok {
			return ratio, true
		}
		other := run.Median[g.metric]
		return own / other, ok && other > 0
	}
	return 0, false
}

// spread is the range, over the rounds, of what a goal is about.
func (r *caseResult) spread(g goal) span {
	if g.against == "" {
		return r.Runs[0].Range[g.metric]
	}
	for _, run := range r.Runs[1:] {
		if run.Name == g.against {
			return run.Range[g.metric]
		}
	}
	return span{}
}

// goalsMarkdown is the part of the page on the goals.
func goalsMarkdown(all []reached) string {
	var b strings.Builder
	b.WriteString("\n## Goals\n\nRatios of mbk's figure to the other's; where there is no other, the figure " +
		"itself. The range is that of the rounds.\n\n| case | figure | against | to reach | reached | range | |\n" +
		"|---|---|---|---:|---:|---|---|\n")
	titles := map[string]string{}
	for _, m := range metrics() {
		titles[m.key] = m.title
	}
	for _, g := range all {
		if g.Metric == "memory" && g.Met {
			continue // told in one sentence
		}
		verdict := "met"
		if !g.Met {
			verdict = "**missed**"
		}
		spread := ""
		if g.Range.Greatest != 0 {
			spread = fmt.Sprintf("%.2f to %.2f", g.Range.Least, g.Range.Greatest)
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %.2f | %.2f | %s | %s |\n", g.Case, titles[g.Metric], cell(g.Against), g.Most,
			g.Ratio, spread, verdict)
	}
	var peak, limit float64
	for _, g := range all {
		if g.Metric == "memory" {
			peak, limit = max(peak, g.Ratio), g.Most
		}
	}
	if limit > 0 {
		fmt.Fprintf(&b, "\nThe highest peak of mbk's memory in any case was %.0f MiB; to reach: %.0f.\n", peak, limit)
	}
	b.WriteString(whatLimits)
	return b.String()
}

// whatLimits explains what stands between mbk and shorter times.
const whatLimits = `
## What the limits are

**zstd.** Both tools spend nearly all of their time in the compressor, on all processors. mbk's compressor, which is
written in Go, takes about as much CPU time as zstd -1 of the C library for the same bytes. So mbk can only gain the
peer's fixed seconds and its pipe, and the ratio approaches 1 as the data grows. The time of the compressor alone is
what counts: in addition a backup only reads, checks page checksums, hashes and writes. Profiles show 50 % of the
compressor's time in the search for matches, 18 % in the coding of sequences and 16 % in Huffman coding. Windows of 128
KiB to 1 MiB and chunks of 128 KiB to 1 MiB do not change its speed measurably, and neither does a profile-guided build
or a build for newer processors. The next level takes twice the time for 2.4 % less. Finding matches with the faster
search of s2 and coding them as zstd (the library's converter) takes up to a fifth less time and 3 % more space. Packs
are about 1 % larger than the peer's stream; presumably the search misses some matches that zstd -1 finds. Making each
chunk readable separately costs 0.1 %.

**Not compressed.** A backup of mbk is on disk when it ends, and the disk is its limit: compare "writing past the page
cache" among the limits. The peer leaves its files in the page cache, and "until on disk" shows the rest. So the ratio
of the wall times depends on the disk: the slower the disk is in relation to the processors, the closer the ratio gets
to 1, or it even exceeds it.

**Many tables.** Each table costs a round trip to the server for its lock, two opens, several stats and a read of its
first page. That is 0.2 to 0.3 ms of CPU time in all, a third of it in the kernel and another third in the compressor.
mbk compresses every file separately, so that one table can be restored alone; mariadb-backup produces one stream, which
is smaller for identical tables.

**Restore.** In a profile, decompression takes 57 % and writing most of the rest. A restored data directory is on disk,
synced, when it is renamed into place, and the peer's is not. A quarter of the time is the server's own recovery,
including its start and shutdown.

**Load.** The server's statements do not wait for mbk: its locks last some 20 ms here, and a probe that ran together
with sysbench saw no statement of more than 20 ms. sysbench shows the effect of the processors: at 60 % of its maximum
they have 40 % left, mbk takes them, and a thread that wakes up waits until a copying thread is stopped, some 40 times
in a transaction of 20 statements. The server, sysbench and mbk run in separate sessions here, as services do. Lowering
the priority of mbk's session, and not only of its threads, makes the difference: without it the p99 was 2 to 20 times
as high in runs side by side. Niceness 19 is not measurably different from 10, and slices of 0.1 ms for the copying
threads make the p99 a fifth to a third shorter. With 4 clients instead of 16, sysbench's own queue fills up as soon as
a transaction takes twice its time, and the p99 with mbk is 50 to 250 ms; with 32 it is below twice that without a
backup. SCHED_IDLE is not used: a thread that holds one of Go's processors and gets no time blocks the garbage collector
and with it the thread that follows the redo log. On a server without idle time the redo could then be overwritten.
`
