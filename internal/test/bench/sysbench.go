package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// Of sysbench's tables.
const (
	sysbenchDB     = "sbtest"
	sysbenchTables = 4
	sysbenchRows   = 25_000
	// Clients of a busy server are many. With 4, all of them are at work whenever a
	// transaction takes twice its time, and what is measured is sysbench's own queue.
	sysbenchThreads = 16
)

// sysbench runs sysbench for a time and returns what it prints. A rate of 0 is as
// fast as it can.
func (x *caseRun) sysbench(ctx context.Context, command string, seconds, rate float64) (string, error) {
	dir, err := x.folder()
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // removed with everything else at the end
	out := filepath.Join(dir, "out")
	_, err = pipe(ctx, out, []string{"sysbench", "oltp_read_write", "--db-driver=mysql",
		"--mysql-socket=" + x.server.Socket, "--mysql-user=root",
		"--mysql-db=" + sysbenchDB, "--tables=" + strconv.Itoa(sysbenchTables), "--table-size=" + strconv.Itoa(sysbenchRows),
		"--threads=" + strconv.Itoa(sysbenchThreads), "--percentile=99", fmt.Sprintf("--time=%.0f", seconds),
		fmt.Sprintf("--rate=%.0f", rate), command})
	text, readErr := os.ReadFile(out)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return string(text), readErr
}

// sysbenchBefore makes sysbench's tables and finds out how fast it is.
func sysbenchBefore(ctx context.Context, x *caseRun) error {
	if err := need("sysbench"); err != nil {
		return err
	}
	if err := x.server.Exec(ctx, "CREATE DATABASE "+sysbenchDB); err != nil {
		return err
	}
	if _, err := x.sysbench(ctx, "prepare", 0, 0); err != nil {
		return err
	}
	// The first run fills the server's caches. The machine may be faster for a while
	// than it is in the long run: the median counts.
	var rates []float64
	for range 4 {
		out, err := x.sysbench(ctx, "run", 5, 0)
		if err != nil {
			return err
		}
		got, err := parseSysbench(out)
		if err != nil {
			return err
		}
		rates = append(rates, got["tps"])
	}
	x.rate = 0.6 * median(rates[1:])
	return nil
}

// parseSysbench reads what sysbench prints at the end.
func parseSysbench(out string) (figures, error) {
	got := figures{}
	for key, pattern := range map[string]string{
		"tps":     `transactions: +\d+ +\(([0-9.]+) per sec`,
		"p99":     `99th percentile: +([0-9.]+)`,
		"slowest": `max: +([0-9.]+)`,
	} {
		found := regexp.MustCompile(pattern).FindStringSubmatch(out)
		if found == nil {
			return nil, fmt.Errorf("sysbench printed no %q: %s", key, out)
		}
		n, err := strconv.ParseFloat(found[1], 64)
		if err != nil {
			return nil, fmt.Errorf("sysbench: %w", err)
		}
		got[key] = n
	}
	return got, nil
}

// loads compares what sysbench feels: with one backup after another for as long
// as it runs, so that all that is measured lies within a backup, and without any.
func loads(x *caseRun) []contender {
	list := backups("zstd")(x)[:2]
	for i := range list {
		list[i].run = x.during(list[i].run)
	}
	return append(list, contender{"no backup", x.during(nil)})
}

// during measures sysbench while backups run, nil for none.
func (x *caseRun) during(backup func(ctx context.Context, dir string) (figures, error)) func(context.Context,
	string) (figures, error) {
	return func(ctx context.Context, dir string) (figures, error) {
		type outcome struct {
			text string
			err  error
		}
		ended := make(chan outcome, 1)
		begin := time.Now()
		go func() {
			text, err := x.sysbench(ctx, "run", x.bench.load.Seconds(), x.rate)
			ended <- outcome{text, err}
		}()
		var sum figures
		var failed error
		for n := 0; backup != nil && failed == nil && time.Since(begin) < x.bench.load; n++ {
			each := filepath.Join(dir, strconv.Itoa(n))
			failed = os.Mkdir(each, 0o700)
			if failed == nil && sum == nil {
				sum, failed = backup(ctx, each)
			} else if failed == nil {
				_, failed = backup(ctx, each)
			}
		}
		sysbench := <-ended
		if err := errors.Join(failed, sysbench.err); err != nil {
			return nil, err
		}
		got, err := parseSysbench(sysbench.text)
		if err != nil {
			return nil, err
		}
		got["lost"] = 100 * (1 - got["tps"]/x.rate)
		for key, value := range sum {
			got[key] = value
		}
		return got, nil
	}
}
