package cli_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// taken is what the tests read of "backup --json".
type taken struct {
	ID           string `json:"id"`
	LockWindowMS int64  `json:"lock_window_ms"`
	RedoBytes    int64  `json:"redo_bytes"`
	Binlog       struct {
		File     string `json:"file"`
		Position uint64 `json:"position"`
		GTID     string `json:"gtid"`
	} `json:"binlog"`
	LSN struct {
		End uint64 `json:"end"`
	} `json:"lsn"`
	Galera *struct {
		UUID  string `json:"uuid"`
		SeqNo int64  `json:"seqno"`
	} `json:"galera"`
	Replicas []struct {
		Host     string `json:"host"`
		Port     int    `json:"port"`
		File     string `json:"file"`
		Position uint64 `json:"position"`
		GTID     string `json:"gtid"`
	} `json:"replica_of"`
	Tables   int      `json:"tables"`
	Warnings []string `json:"warnings"`
}

// String is a backup in a few words.
func (b taken) String() string {
	return fmt.Sprintf("%d tables, locked %d ms, %.1f MiB of redo", b.Tables, b.LockWindowMS, float64(b.RedoBytes)/(1<<20))
}

// TestOracle is the strongest test there is: while writers on all engines and
// some DDL go on, back up; restore; replay the rest of the source's binary log
// from the recorded position; then everything must be as on the source.
func TestOracle(t *testing.T) {
	t.Parallel()
	anyKind(t)
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			t.Log(oracle(t, version, profile{flush: 1, storm: 1})) // the soak flushes in all ways
		})
	}
}

// Servers up to 10.7 have another redo log, no log of DDL for backups, and do not
// make a tablespace out of the redo.
func TestOracleWithLogOfBlocks(t *testing.T) {
	t.Parallel()
	anyKind(t)
	t.Log(oracle(t, "10.5", profile{flush: 1, storm: 2}))
}

// profile is how an oracle run goes.
type profile struct {
	flush     int                                                         // innodb_flush_log_at_trx_commit
	storm     int                                                         // sessions of DDL
	seed      uint64                                                      // of the writers and of DDL
	encrypted bool                                                        // everything; args may take some of it back
	keyFolder string                                                      // where its keys are
	args      []string                                                    // of the server
	restored  []string                                                    // of the restored server, nil: args
	prepare   []string                                                    // statements before the writers start
	pause     time.Duration                                               // of the writers, 0: as they like it
	during    func(ctx context.Context, source *mariadbtest.Server) error // runs beside the backup until ctx ends
	backup    []string                                                    // further arguments of the backup
	told      []string                                                    // lines in the output of the restore
	probe     bool                                                        // measure how long others have to wait
	chain     int                                                         // backups before, each an increment of the last
}

// oracle does one run with writers on all engines and tells how it went.
func oracle(t *testing.T, version string, p profile) string {
	ctx := t.Context()
	p.keys(t, version)
	args := append([]string{fmt.Sprintf("--innodb-flush-log-at-trx-commit=%d", p.flush)}, p.args...)
	source := mariadbtest.New(t, version, args...)
	if err := mariadbtest.Populate(ctx, source, mariadbtest.Fill{InnoDBMiB: 16, MyISAMMiB: 4, AriaMiB: 4}); err != nil {
		t.Fatal(err)
	}
	source.MustExec(t, p.prepare...)
	load, err := mariadbtest.Write(ctx, source, mariadbtest.WriteOptions{Pause: p.pause})
	if err != nil {
		t.Fatal(err)
	}
	loads := []*mariadbtest.Load{load}
	if p.storm > 0 {
		storm, err := mariadbtest.Storm(ctx, source, mariadbtest.StormOptions{Sessions: p.storm, Seed: p.seed})
		if err != nil {
			t.Fatal(err)
		}
		loads = append(loads, storm)
	}
	time.Sleep(500 * time.Millisecond)

	repository := t.TempDir()
	p.takeChain(t, source, repository)
	var b taken
	stalls := ""
	during := func() { b = taking(t, source, repository, p) }
	if p.probe {
		before := stalled(t, source, func() { time.Sleep(3 * time.Second) })
		stalls = fmt.Sprintf("; longest stalls: %s; without a backup: %s", stalled(t, source, during), before)
	} else {
		during()
	}
	time.Sleep(500 * time.Millisecond)
	for _, l := range loads {
		if _, err := l.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
	all := slices.DeleteFunc(attempts(t, repository), func(a string) bool { // which DROP leads to, too
		return strings.Contains(a, "tablespaces may have been deleted after the last checkpoint")
	})
	if len(all) != 1+p.chain {
		t.Errorf("%d backups took %d attempts; want one each, as nothing was imported:\n%s", 1+p.chain, len(all),
			strings.Join(all, "\n"))
	}
	if p.chain > 0 && !strings.HasSuffix(b.ID, "-incr") {
		t.Errorf("%s is no increment", b.ID)
	}
	wantClosedCSV(t, repository)
	restored := caughtUp(t, source, repository, b, p)
	wantSame(t, source, restored)
	wantInvariants(t, restored)
	return b.String() + stalls
}

// takeChain takes the backups of which the one that is restored is an increment.
func (p *profile) takeChain(t *testing.T, source *mariadbtest.Server, repository string) {
	t.Helper()
	if p.chain > 0 {
		p.backup = append(slices.Clone(p.backup), "--incremental")
	}
	for range p.chain {
		taking(t, source, repository, *p)
		time.Sleep(time.Second)
	}
}

// wantClosedCSV checks that the CSV tables in a backup, the log tables among them, are as
// if the server had closed them: whole lines, counted, and no mark of a crash, which the
// server would mend silently.
func wantClosedCSV(t *testing.T, repository string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "csv")
	must(t, "extract", "latest", "*/*.CSV", "*/*.CSM", "--repo", repository, "--to", dir, "--quiet")
	tables, err := filepath.Glob(filepath.Join(dir, "*", "*.CSV"))
	if err != nil || len(tables) < 2 {
		t.Fatal("no CSV tables", err)
	}
	for _, name := range tables {
		rows, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		state, err := os.ReadFile(strings.TrimSuffix(name, "V") + "M")
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Count(rows, []byte{'\n'})
		if len(rows) > 0 && rows[len(rows)-1] != '\n' {
			t.Errorf("%s ends within a line", name)
		}
		if got := binary.LittleEndian.Uint64(state[2:]); got != uint64(lines) || state[34] != 0 {
			t.Errorf("%s has %d lines, its state says %d and crashed = %d", name, lines, got, state[34])
		}
	}
}

// attempts are the attempts of the backups in a repository's history, a line each, but for
// those that a statement about accounts ended: among writers that change accounts, that is
// right.
func attempts(t *testing.T, repository string) []string {
	t.Helper()
	all, err := opened(t, repository).Attempts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, a := range all {
		if !strings.Contains(a.Error, "a statement about accounts was in the binary log") {
			told = append(told, fmt.Sprintf("%s %s %s", a.ID, a.Outcome, a.Error))
		}
	}
	return told
}

// stalled does something and tells how long other clients of the server had to
// wait meanwhile.
func stalled(t *testing.T, source *mariadbtest.Server, during func()) string {
	t.Helper()
	probe, err := mariadbtest.StartProbe(t.Context(), source, 0)
	if err != nil {
		t.Fatal(err)
	}
	during()
	s, err := probe.Stop()
	if err != nil {
		t.Fatal(err)
	}
	ms := func(d time.Duration) int64 { return d.Milliseconds() }
	return fmt.Sprintf("commit %d ms, DDL %d ms, MyISAM %d ms", ms(s.Commit.Longest), ms(s.DDL.Longest),
		ms(s.MyISAM.Longest))
}

// keys gives the server keys if the profile wants it encrypted. Aria's tables of 10.5 are not:
// that server calls an encrypted table damaged whose page of keys is full to the last byte,
// which happens to busy tables.
func (p *profile) keys(t *testing.T, version string) {
	t.Helper()
	if !p.encrypted {
		return
	}
	p.keyFolder = t.TempDir()
	args, err := mariadbtest.EncryptionArgs(p.keyFolder)
	if err != nil {
		t.Fatal(err)
	}
	if older(version, "10.6") {
		args = append(args, "--aria-encrypt-tables=OFF")
	}
	p.args = append(args, p.args...)
}

// taking takes a backup while the profile's work goes on beside it.
func taking(t *testing.T, source *mariadbtest.Server, repository string, p profile) taken {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	if p.during == nil {
		done <- nil
	} else {
		go func() { done <- p.during(ctx, source) }()
	}
	b := document[taken](t,
		append([]string{"backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet",
			"--rate-limit", "60MB"}, p.backup...)...)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	// Nothing is wrong with the tables of such a source, and no file of it is nobody's.
	for _, m := range manifestOf(t, repository, b.ID).Tables {
		if m.Problem != "" {
			t.Errorf("the backup says of %s.%s: %s", m.Database, m.Name, m.Problem)
		}
	}
	if warnings := strings.Join(b.Warnings, "\n"); strings.Contains(warnings, "InnoDB has no table") {
		t.Errorf("the backup warns: %s", warnings)
	}
	return b
}

// caughtUp restores a backup, starts a server on it and replays the rest of the
// source's binary log. The source must be at rest.
func caughtUp(t *testing.T, source *mariadbtest.Server, repository string, b taken, p profile) *mariadbtest.Server {
	t.Helper()
	target := filepath.Join(t.TempDir(), "restored")
	r := must(t, restoreArgs(b.ID, repository, target)...)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the restore printed:\n%s", r.stdout)
		}
	})
	for _, line := range p.told {
		if !strings.Contains(r.stdout, line) {
			t.Errorf("the restore does not print %q:\n%s", line, r.stdout)
		}
	}
	args := p.restored
	if args == nil {
		args = p.args
	}
	restored := mariadbtest.Open(t, source.Dist.Series, target, args...)
	if err := mariadbtest.ReplayBinlog(t.Context(), source, restored, b.Binlog.File, b.Binlog.Position); err != nil {
		t.Fatal(err)
	}
	return restored
}

// wantSame compares the two servers and checks all tables of the restored one.
func wantSame(t *testing.T, source, restored *mariadbtest.Server) {
	t.Helper()
	wantSameBut(t, source, restored, func(definition string) string { return definition })
}

// wantSound checks all tables of a server.
func wantSound(t *testing.T, srv *mariadbtest.Server) {
	t.Helper()
	findings, err := mariadbtest.CheckTables(t.Context(), srv)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		t.Errorf("CHECK TABLE: %s", f)
	}
}

// wantSameBut is wantSame with the source's definitions changed before.
func wantSameBut(t *testing.T, source, restored *mariadbtest.Server, change func(definition string) string) {
	t.Helper()
	ctx := t.Context()
	want, err := mariadbtest.TakeSnapshot(ctx, source)
	if err != nil {
		t.Fatal(err)
	}
	for o, definition := range want {
		want[o] = change(definition)
	}
	wantSnapshot(t, want, restored)
}

// wantSnapshot compares a restored server with what another one holds, and checks all its
// tables.
func wantSnapshot(t *testing.T, want mariadbtest.Snapshot, restored *mariadbtest.Server) {
	t.Helper()
	got, err := mariadbtest.TakeSnapshot(t.Context(), restored)
	if err != nil {
		t.Fatal(err)
	}
	if diff := mariadbtest.Diff(got, want); len(diff) > 0 {
		t.Errorf("the restored server differs in %d things:\n%s", len(diff), strings.Join(diff[:min(len(diff), 20)], "\n"))
	}
	wantSound(t, restored)
	if left := restored.MustValue(t,
		"SELECT IFNULL(GROUP_CONCAT(NAME), '') FROM information_schema.INNODB_SYS_TABLES WHERE NAME "+
			"LIKE '%/#sql%'"); left != "" {
		t.Errorf("the dictionary knows tables of unfinished statements: %s", left)
	}
	log, err := os.ReadFile(restored.ErrorLog)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		// The server never closes its log tables, so that each start after
		// anything but a clean shutdown repairs them.
		repaired := strings.Contains(line, "_log' is marked as crashed")
		if strings.Contains(line, "[ERROR]") && !repaired {
			t.Errorf("error log of the restored server: %s", strings.TrimSpace(line))
		}
	}
}

// wantInvariants checks what holds at every instant of the writers' work.
func wantInvariants(t *testing.T, restored *mariadbtest.Server) {
	t.Helper()
	broken, err := mariadbtest.CheckInvariants(t.Context(), restored)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range broken {
		t.Errorf("invariant: %s", f)
	}
}
