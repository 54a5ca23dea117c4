// Command demo shows mbk at work, on a throw-away server that it starts from the
// MariaDB installed on this machine: data of all engines, writers and DDL going on,
// a hot backup, its verification, a restore, and the proof that the restored
// server, once it has replayed the source's binary log, holds exactly what the
// source holds.
//
// usage: demo MBK, the path of the mbk program.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"mbk/internal/test/mariadbtest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: demo MBK")
		os.Exit(2)
	}
	if err := run(ctx, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "demo: error:", err)
		os.Exit(1)
	}
}

// backup is what "backup --json" prints.
type backup struct {
	ID           string  `json:"id"`
	Version      string  `json:"server_version"`
	Tables       int     `json:"tables"`
	Databases    int     `json:"databases"`
	BytesRead    float64 `json:"bytes_read"`
	BytesStored  float64 `json:"bytes_stored"`
	LockWindowMS int64   `json:"lock_window_ms"`
	RedoBytes    float64 `json:"redo_bytes"`
	Binlog       struct {
		File     string `json:"file"`
		Position uint64 `json:"position"`
		GTID     string `json:"gtid"`
	} `json:"binlog"`
	Pages struct {
		Examined int64 `json:"examined"`
		Changed  int64 `json:"changed"`
	} `json:"pages"` // of an increment
}

// demo is one run.
type demo struct {
	mbk       string
	dir       string
	source    *mariadbtest.Server
	loads     []*mariadbtest.Load
	probe     *mariadbtest.Probe
	backup    backup // a full one
	increment backup // of it
	verify    struct {
		Tables int64    `json:"tables"`
		Pages  int64    `json:"pages"`
		Proved []string `json:"proved"`
	}
	stalls mariadbtest.Stalls
	took   map[string]time.Duration
	equal  int
}

func run(ctx context.Context, mbk string) (err error) {
	dir, err := os.MkdirTemp("", "mbk-demo-")
	if err != nil {
		return err
	}
	d := &demo{mbk: mbk, dir: dir, took: map[string]time.Duration{}}
	defer func() {
		if d.source != nil {
			err = errors.Join(err, d.source.Close())
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	for _, step := range []struct {
		title string
		do    func(context.Context) error
	}{
		{"Starting a throw-away server with tables of every engine", d.start},
		{"Letting writers and DDL loose on it", d.load},
		{"Taking a hot backup meanwhile", d.back},
		{"Taking an increment, of what has changed since", d.backAgain},
		{"Proving the backup: every object, every page, and a server started on it", d.prove},
		{"Restoring it, and replaying the source's binary log from the recorded position", d.restore},
	} {
		fmt.Printf("\n\033[1m==> %s\033[0m\n", step.title)
		begun := time.Now()
		if err := step.do(ctx); err != nil {
			return err
		}
		d.took[step.title] = time.Since(begun)
	}
	d.summary()
	return nil
}

func (d *demo) start(ctx context.Context) error {
	dist, err := mariadbtest.Get(ctx, mariadbtest.SystemSeries)
	if err != nil {
		return err
	}
	if d.source, err = mariadbtest.Start(ctx,
		mariadbtest.Options{Dist: dist, Dir: filepath.Join(d.dir, "source")}); err != nil {
		return err
	}
	fmt.Printf("    MariaDB %s on socket %s\n", dist.Version, d.source.Socket)
	return mariadbtest.Populate(ctx, d.source, mariadbtest.Fill{InnoDBMiB: 128, AriaMiB: 24, MyISAMMiB: 24})
}

func (d *demo) load(ctx context.Context) error {
	writers, err := mariadbtest.Write(ctx, d.source, mariadbtest.WriteOptions{})
	if err != nil {
		return err
	}
	storm, err := mariadbtest.Storm(ctx, d.source, mariadbtest.StormOptions{Sessions: 1, Pause: 50 * time.Millisecond})
	if err != nil {
		return err
	}
	d.loads = []*mariadbtest.Load{writers, storm}
	if d.probe, err = mariadbtest.StartProbe(ctx, d.source, 0); err != nil {
		return err
	}
	time.Sleep(2 * time.Second)
	fmt.Printf("    %d units of work done so far, going on\n", writers.Counts().Total()+storm.Counts().Total())
	return nil
}

func (d *demo) back(ctx context.Context) error {
	repository := filepath.Join(d.dir, "repository")
	if err := os.Mkdir(repository, 0o700); err != nil {
		return err
	}
	if err := d.run(ctx, &d.backup, "backup", "--repo", repository, "--datadir", d.source.Datadir, "--socket",
		d.source.Socket, "--user", "root"); err != nil {
		return err
	}
	time.Sleep(time.Second)
	return nil
}

func (d *demo) backAgain(ctx context.Context) error {
	err := d.run(ctx, &d.increment, "backup", "--repo", filepath.Join(d.dir, "repository"), "--datadir", d.source.Datadir,
		"--socket", d.source.Socket, "--user", "root", "--incremental="+d.backup.ID)
	if err != nil {
		return err
	}
	if d.stalls, err = d.probe.Stop(); err != nil {
		return err
	}
	time.Sleep(time.Second)
	for _, l := range d.loads {
		if _, err := l.Stop(); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) prove(ctx context.Context) error {
	return d.run(ctx, &d.verify, "verify", "latest", "--repo", filepath.Join(d.dir, "repository"), "--depth", "boot",
		"--scratch", d.dir, "--owner", strconv.Itoa(os.Getuid()))
}

func (d *demo) restore(ctx context.Context) (err error) {
	target := filepath.Join(d.dir, "restored")
	var result struct{}
	if err := d.run(ctx, &result, "restore", d.increment.ID, "--repo", filepath.Join(d.dir, "repository"), "--target",
		target, "--owner", strconv.Itoa(os.Getuid())); err != nil {
		return err
	}
	restored, err := mariadbtest.Start(ctx,
		mariadbtest.Options{Dist: d.source.Dist, Dir: filepath.Join(d.dir, "second"), Datadir: target})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restored.Close()) }()
	if err := mariadbtest.ReplayBinlog(ctx, d.source, restored, d.increment.Binlog.File,
		d.increment.Binlog.Position); err != nil {
		return err
	}
	want, err := mariadbtest.TakeSnapshot(ctx, d.source)
	if err != nil {
		return err
	}
	got, err := mariadbtest.TakeSnapshot(ctx, restored)
	if err != nil {
		return err
	}
	if diff := mariadbtest.Diff(got, want); len(diff) > 0 {
		return fmt.Errorf("the restored server differs:\n%s", strings.Join(diff, "\n"))
	}
	d.equal = len(want)
	return nil
}

// run runs mbk with --json and decodes its result.
func (d *demo) run(ctx context.Context, result any, args ...string) error {
	fmt.Printf("    $ mbk %s\n", strings.Join(args, " "))
	cmd := exec.CommandContext(ctx, d.mbk, append(args, "--json", "--no-defaults")...)
	var stdout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, os.Stderr
	// A backup lowers the priority of its session, to which the writers do not belong.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("mbk %s: %w", args[0], err)
	}
	return json.Unmarshal(stdout.Bytes(), result)
}

func (d *demo) summary() {
	const mib = 1 << 20
	b, i := d.backup, d.increment
	fmt.Printf("\n\033[1mWhat you have just seen\033[0m\n\n")
	for _, line := range [][2]string{
		{"source", "MariaDB " + b.Version + ", being written to by 9 sessions"},
		{"backup", fmt.Sprintf("%s: %d tables in %d databases", b.ID, b.Tables, b.Databases)},
		{"size", fmt.Sprintf("%.0f MiB read, %.0f MiB stored (%.1f : 1), %.1f MiB of it redo", b.BytesRead/mib,
			b.BytesStored/mib, b.BytesRead/b.BytesStored, b.RedoBytes/mib)},
		{"increment", fmt.Sprintf("%s: %d of %d pages, %.0f MiB stored, %.1f MiB of it redo", i.ID, i.Pages.Changed,
			i.Pages.Examined, i.BytesStored/mib, i.RedoBytes/mib)},
		{"locked", fmt.Sprintf("%d ms and %d ms, from BLOCK_DDL to END", b.LockWindowMS, i.LockWindowMS)},
		{"longest stalls", fmt.Sprintf("commit %s, CREATE or DROP TABLE %s, MyISAM insert %s", round(d.stalls.Commit.Longest),
			round(d.stalls.DDL.Longest), round(d.stalls.MyISAM.Longest))},
		{"verified", fmt.Sprintf("both together: %d pages; %d tables checked by a server started on them", d.verify.Pages,
			d.verify.Tables)},
		{"position", fmt.Sprintf("%s %d, GTID %s", i.Binlog.File, i.Binlog.Position, i.Binlog.GTID)},
		{"proof", fmt.Sprintf("after the binary log from there on, %d objects (tables by checksum, views, routines,",
			d.equal)},
		{"", "triggers, events) are the same on the source and on the restored server"},
	} {
		fmt.Printf("  %-15s %s\n", line[0], line[1])
	}
	fmt.Println()
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
