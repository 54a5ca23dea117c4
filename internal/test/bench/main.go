// Command bench compares mbk with mariadb-backup on one throw-away server. Both
// tools run in turn, round after round, so that a machine whose speed drifts
// disturbs both alike; what counts are ratios within a round. Beside them it
// measures what the machine itself can do with the same bytes.
//
// The results go to the standard output as a table, to docs/benchmarks.json, and
// from there to docs/benchmarks.md. "bench -h" lists the flags. The programs zstd, lz4,
// sysbench and rclone must be installed; mariadb-backup and mbstream come with the server.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"

	"mbk/internal/test/mariadbtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench: error:", err)
		os.Exit(1)
	}
}

// run is the whole program. A first argument "limit" makes it one of its own
// children, which measures the machine.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == limitCommand {
		return limit(ctx, args[1:])
	}
	b, err := newBench(ctx, args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	err = b.runCases(ctx)
	return errors.Join(err, os.RemoveAll(b.dir))
}

// bench is one run of the program.
type bench struct {
	mbk     string // program
	dist    mariadbtest.Dist
	dir     string // for everything that is made
	docs    string // folder of the results, "" for none
	add     bool   // to the results that are there
	size    int64  // bytes of the large data sets
	tables  int    // of the small-tables data set
	rounds  int
	load    time.Duration // of one run of sysbench
	only    []string      // cases; empty: all
	results results
}

func newBench(ctx context.Context, args []string) (*bench, error) {
	b := &bench{}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&b.mbk, "mbk", "./mbk", "the mbk program")
	f.StringVar(&b.docs, "docs", "", "write benchmarks.json and benchmarks.md into this folder")
	f.BoolVar(&b.add, "add", false, "add the cases to those of the results that are there, under names with -size")
	f.IntVar(&b.tables, "tables", 5000, "number of small tables")
	f.IntVar(&b.rounds, "rounds", 3, "how often each tool runs")
	f.DurationVar(&b.load, "load", 8*time.Second, "how long sysbench runs at a time")
	size := f.String("size", "256MiB", "size of the large data sets")
	only := f.String("case", "", "only these cases, separated by commas: "+strings.Join(caseNames(), " "))
	series := f.String("server", "10.11", "series of MariaDB")
	dir := f.String("dir", "", "folder to work in, on the disk to measure (default: the one for temporary files)")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	n, err := humanize.ParseBytes(*size)
	if err != nil || n < 1<<20 || n > 1<<40 {
		return nil, fmt.Errorf("-size %q: not a size from 1MiB to 1TiB", *size)
	}
	b.size = int64(n)
	if b.rounds < 1 || b.tables < 1 || b.load < time.Second {
		return nil, errors.New("-rounds, -tables or -load is too small")
	}
	for _, name := range strings.FieldsFunc(*only, func(r rune) bool { return r == ',' }) {
		if !slices.Contains(caseNames(), name) {
			return nil, fmt.Errorf("-case %q: there are %s", name, strings.Join(caseNames(), ", "))
		}
		b.only = append(b.only, name)
	}
	if b.mbk, err = filepath.Abs(b.mbk); err != nil {
		return nil, err
	}
	if b.dist, err = mariadbtest.Get(ctx, *series); err != nil {
		return nil, err
	}
	if b.results, err = b.newResults(ctx); err != nil {
		return nil, err
	}
	b.dir, err = os.MkdirTemp(*dir, "mbk-bench-")
	return b, err
}

// runCases fills one data set after another and runs its cases on it.
func (b *bench) runCases(ctx context.Context) error {
	for _, set := range dataSets() {
		var cases []benchCase
		for _, c := range set.cases {
			if len(b.only) == 0 || slices.Contains(b.only, c.name) {
				cases = append(cases, c)
			}
		}
		if len(cases) == 0 {
			continue
		}
		if err := b.runSet(ctx, set, cases); err != nil {
			return fmt.Errorf("data set %q: %w", set.name, err)
		}
	}
	b.results.judge(goals(b.size))
	fmt.Print(goalsMarkdown(b.results.Goals))
	if b.add {
		if err := b.results.addTo(b.docs, humanize.IBytes(uint64(b.size))); err != nil {
			return err
		}
	}
	return b.results.write(b.docs)
}

// runSet runs cases on a server of their own.
func (b *bench) runSet(ctx context.Context, set dataSet, cases []benchCase) (err error) {
	fmt.Fprintf(os.Stderr, "==> filling a server: %s\n", set.name)
	s, err := b.startServer(ctx, set)
	if err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, s.Close(), os.RemoveAll(s.Dir))
	}()
	for _, c := range cases {
		fmt.Fprintf(os.Stderr, "==> %s\n", c.name)
		r, err := b.runCase(ctx, s, c)
		if err != nil {
			return fmt.Errorf("case %q: %w", c.name, err)
		}
		b.results.Cases = append(b.results.Cases, r)
		fmt.Print(r.text())
	}
	return nil
}

// runCase runs the contenders of a case in turn.
func (b *bench) runCase(ctx context.Context, s *mariadbtest.Server, c benchCase) (caseResult, error) {
	files, err := dataFiles(s.Datadir)
	if err != nil {
		return caseResult{}, err
	}
	r := caseResult{Name: c.name, Title: c.title, Files: len(files.names), MiB: mib(files.bytes)}
	x := &caseRun{bench: b, server: s, files: files}
	if c.before != nil {
		if err := c.before(ctx, x); err != nil {
			return r, err
		}
	}
	contenders := c.contenders(x)
	for _, k := range contenders {
		r.Runs = append(r.Runs, contenderResult{Name: k.name})
	}
	for round := range b.rounds {
		for i := range contenders {
			// Who begins changes from round to round.
			at := (i + round) % len(contenders)
			got, err := x.once(ctx, contenders[at])
			if err != nil {
				return r, fmt.Errorf("%s: %w", contenders[at].name, err)
			}
			r.Runs[at].Samples = append(r.Runs[at].Samples, got)
		}
	}
	r.compare()
	return r, x.clean()
}
