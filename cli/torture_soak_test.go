//go:build soak

package cli_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/mariadbtest"
)

// tortures are the oracle under conditions that servers get into, each with
// writers on all engines and two sessions of DDL.
func tortures(t *testing.T) map[string]profile {
	keys, err := mariadbtest.EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	undo := []string{"--innodb-max-undo-log-size=10M", "--innodb-undo-log-truncate=ON", "--innodb-purge-rseg-truncate-frequency=1"}
	rewritten := statements(filled("rewritten", 10, ""))
	with := func(args ...string) profile { return profile{args: args} }
	all := map[string]profile{
		"undo truncated":               {args: append(slices.Clone(undo), "--innodb-undo-tablespaces=3"), prepare: rewritten, during: truncating("d.rewritten")},
		"0 undo tablespaces":           with("--innodb-undo-tablespaces=0"),
		"4 undo tablespaces":           {args: append(slices.Clone(undo), "--innodb-undo-tablespaces=4"), prepare: rewritten, during: truncating("d.rewritten")},
		"redo of 8 MiB":                {args: []string{"--innodb-log-file-size=8M"}, pause: time.Millisecond, prepare: rewritten, during: churn("UPDATE d.rewritten SET n = n + 1 WHERE id % 5 = 0", "DO SLEEP(0.2)")},
		"redo resized":                 {during: churn("SET GLOBAL innodb_log_file_size=16777216", "DO SLEEP(0.3)", "SET GLOBAL innodb_log_file_size=67108864", "DO SLEEP(0.3)")},
		"all encrypted":                with(keys...),
		"log not encrypted":            with(append(slices.Clone(keys), "--innodb-encrypt-log=OFF")...),
		"encryption changing":          {args: append(slices.Clone(keys), "--innodb-encrypt-log=OFF"), during: churn("SET GLOBAL innodb_encrypt_tables=OFF", "DO SLEEP(0.7)", "SET GLOBAL innodb_encrypt_tables=ON", "DO SLEEP(0.7)")},
		"encryption changing, log too": {args: keys, during: churn("SET GLOBAL innodb_encrypt_tables=OFF", "DO SLEEP(0.7)", "SET GLOBAL innodb_encrypt_tables=ON", "DO SLEEP(0.7)")},
	}
	// Tables are encrypted for the first time while they are copied.
	fresh := append(slices.Clone(keys), "--innodb-encrypt-tables=OFF", "--innodb-encrypt-log=OFF")
	all["encryption turned on"] = profile{args: fresh, during: func(ctx context.Context, source *mariadbtest.Server) error {
		return source.Exec(context.WithoutCancel(ctx), "DO SLEEP(0.4)", "SET GLOBAL innodb_encrypt_tables=ON", "DO SLEEP(1)")
	}}
	for _, size := range []string{"4k", "8k", "32k", "64k"} {
		p := with("--innodb-page-size="+size, "--innodb-strict-mode=OFF")
		p.storm = -1 // its ALTERs set the block size of compressed tables
		all["pages of "+size] = p
	}
	for _, algorithm := range []string{"crc32", "strict_crc32", "full_crc32", "strict_full_crc32"} {
		all["checksum "+algorithm] = with("--innodb-checksum-algorithm=" + algorithm)
	}
	for _, name := range providers() {
		all["compression "+name] = with(append(providerArgs(), "--innodb-compression-algorithm="+name)...)
	}
	return all
}

// TestSoakTorture does each once on every version, with one line a run.
func TestSoakTorture(t *testing.T) {
	all := tortures(t)
	for i, name := range slices.Sorted(maps.Keys(all)) {
		for _, version := range mariadbtest.Versions() {
			p := all[name]
			if p.flush = i % 3; p.storm == 0 {
				p.storm = 2
			}
			t.Run(version+" "+name, func(t *testing.T) { oracle(t, version, p) })
		}
	}
}

// Files that lie elsewhere are restored into the data directory.
func TestSoakElsewhere(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		home, undo, redo := t.TempDir(), t.TempDir(), otherFileSystem(t)
		oracle(t, version, profile{
			storm: 2,
			args: []string{
				"--innodb-undo-directory=" + undo, "--innodb-undo-tablespaces=3", "--innodb-log-group-home-dir=" + redo,
				"--innodb-data-home-dir=" + home, "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend",
			},
			restored: []string{"--innodb-undo-tablespaces=3", "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend"},
		})
	})
}

// A large table is encrypted for the first time when its page 0, which tells how, is
// copied and the rest is not.
func firstEncrypted(t *testing.T, version string) {
	args, err := mariadbtest.EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	args = append(args, "--innodb-encrypt-tables=OFF", "--innodb-encrypt-log=OFF", "--innodb-encryption-threads=4")
	light(t, version, profile{
		args:    args,
		prepare: statements(filled("t", 60, "")),
		during: all(churn("UPDATE d.t SET n = n + 1 WHERE id % 99 = 0", "DO SLEEP(0.1)"), func(ctx context.Context, source *mariadbtest.Server) error {
			return source.Exec(context.WithoutCancel(ctx), "DO SLEEP(2)", "SET GLOBAL innodb_encrypt_tables=ON")
		}),
		backup: []string{"--rate-limit", "12MB"},
	})
}

// What the quick tests do on one version each.
func TestSoakEachVersion(t *testing.T) {
	quick := map[string]func(t *testing.T, version string){
		"discard and import":           func(t *testing.T, version string) { imported(t, version, importing{}) },
		"import":                       func(t *testing.T, version string) { imported(t, version, importing{discarded: true}) },
		"import of a placed file":      func(t *testing.T, version string) { imported(t, version, importing{discarded: true, placed: true}) },
		"undo elsewhere":               undoElsewhere,
		"redo overwritten":             redoOverwritten,
		"redo resized elsewhere":       redoResized,
		"all encrypted":                allEncrypted,
		"compression providers":        compressed,
		"huge LSN":                     hugeLSN,
		"prepared and open":            preparedAndOpen,
		"encrypted for the first time": firstEncrypted,
		"import, log encrypted":        func(t *testing.T, version string) { imported(t, version, importing{encrypted: true}) },
	}
	for _, size := range []string{"4k", "8k", "32k", "64k"} {
		quick["pages of "+size] = func(t *testing.T, version string) { pages(t, version, size) }
	}
	for _, name := range slices.Sorted(maps.Keys(quick)) {
		t.Run(name, func(t *testing.T) { eachVersion(t, quick[name]) })
	}
}

// With imports that never stop there is no checkpoint behind the last of them.
func TestSoakImportsWithoutEnd(t *testing.T) {
	source := mariadbtest.New(t, newest())
	source.MustExec(t, statements(filled("big", 4, ""), filled("t", 1, ""), filled("other", 1, ""))...)
	x := exported(t, source, "d", "t", "other")
	stop, done := make(chan struct{}), make(chan error)
	go func() {
		for {
			select {
			case <-stop:
				done <- nil
				return
			default:
			}
			if err := source.Exec(context.WithoutCancel(t.Context()), "ALTER TABLE d.t DISCARD TABLESPACE"); err != nil {
				done <- err
				return
			}
			x.place(t)
			if err := source.Exec(context.WithoutCancel(t.Context()), "ALTER TABLE d.t IMPORT TABLESPACE", "DO SLEEP(0.3)"); err != nil {
				done <- err
				return
			}
		}
	}()
	begun := time.Now()
	o := mbk(t, "backup", "--repo", t.TempDir(), "--socket", source.Socket, "--user", "root", "--quiet", "--rate-limit", "12MB")
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Logf("after %s: exit code %d, %s", time.Since(begun).Round(100*time.Millisecond), o.code, o.stderr)
	if o.code != 4 || !strings.Contains(o.stderr, "import") {
		t.Errorf("exit code %d, want 4 with the reason", o.code)
	}
}

// Five gigabytes that take little on disk are backed up and restored as what they are.
func TestSoakManyHoles(t *testing.T) {
	source := mariadbtest.New(t, mariadbtest.Versions()[0], "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=512M", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0")
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.packed (id INT PRIMARY KEY, s VARCHAR(8000)) CHARACTER SET latin1 PAGE_COMPRESSED=1")
	const rows = 700_000 // two to a page
	for first := 1; first <= rows; first += 50_000 {
		source.MustExec(t, fmt.Sprintf("INSERT INTO d.packed SELECT seq, REPEAT(CHAR(65 + seq %% 26), 7000) FROM d.seq_%d_to_%d", first, first+49_999))
	}
	source.MustExec(t, "FLUSH TABLES d.packed FOR EXPORT", "UNLOCK TABLES")
	repository, target := t.TempDir(), filepath.Join(t.TempDir(), "restored")
	begun := time.Now()
	b := document[taken](t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	between := time.Now()
	must(t, restoreArgs(b.ID, repository, target)...)
	ended := time.Now()
	restored := mariadbtest.Open(t, source.Dist.Series, target)
	const sum = "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(s))) FROM d.packed"
	if got, want := restored.MustValue(t, sum), source.MustValue(t, sum); got != want {
		t.Errorf("the rows are %s, want %s", got, want)
	}
	size, want, got := length(t, source, "d/packed.ibd"), onDisk(t, source, "d/packed.ibd"), onDisk(t, restored, "d/packed.ibd")
	t.Logf("%d MiB long, %d MiB on disk, restored %d MiB; backup %s, restore %s", size>>20, want>>20, got>>20, between.Sub(begun), ended.Sub(between))
	if size < 4<<30 || got > want+want/20 {
		t.Errorf("%d bytes long, %d on disk, want more than 4 GiB and at most %d", size, got, want+want/20)
	}
}

// Parallel replicas end a backup with transactions that are prepared and wait for those before them.
func TestSoakReplica(t *testing.T) {
	for run := range 5 {
		eachVersion(t, func(t *testing.T, version string) {
			t.Logf("run %d", run+1)
			replicated(t, version)
		})
	}
}

// An account that may not force a checkpoint gets its backup behind the server's own.
func TestSoakImportWithoutSuper(t *testing.T) {
	eachVersion(t, func(t *testing.T, version string) {
		source := mariadbtest.New(t, version, "--innodb-log-file-size=4M")
		source.MustExec(t, statements(filled("big", 8, ""), filled("t", 1, ""), filled("other", 1, ""))...)
		source.MustExec(t, "CREATE USER b@localhost", "GRANT RELOAD, PROCESS, LOCK TABLES, SHOW VIEW, BINLOG MONITOR, SLAVE MONITOR ON *.* TO b@localhost")
		x := exported(t, source, "d", "t", "other")
		busy := churn("UPDATE d.big SET n = n + 1 WHERE id % 10 = 0")
		p := profile{backup: []string{"--user", "b", "--rate-limit", "14MB"}, during: func(ctx context.Context, source *mariadbtest.Server) error {
			time.Sleep(500 * time.Millisecond)
			if err := source.Exec(context.WithoutCancel(ctx), "ALTER TABLE d.t DISCARD TABLESPACE"); err != nil {
				return err
			}
			x.place(t)
			if err := source.Exec(context.WithoutCancel(ctx), "ALTER TABLE d.t IMPORT TABLESPACE", "UPDATE d.t SET n = 5"); err != nil {
				return err
			}
			return busy(ctx, source)
		}}
		repository := t.TempDir()
		b := taking(t, source, repository, p)
		wantSame(t, source, caughtUp(t, source, repository, b, p))
	})
}

// eachVersion runs a test on every version.
func eachVersion(t *testing.T, test func(t *testing.T, version string)) {
	for _, version := range mariadbtest.Versions() {
		t.Run(version, func(t *testing.T) { test(t, version) })
	}
}

// length is the size of a file in bytes.
func length(t *testing.T, srv *mariadbtest.Server, name string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(srv.Datadir, name))
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}
