//go:build soak

package cli_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// soakProfiles are all ways in which TestSoak puts backups under fire.
func soakProfiles() []soaked {
	all := []soaked{{name: "DDL storm", run: stormy}, {name: "file times", run: fileTimesEverywhere},
		{name: "chain of 6", run: chainOfRound}, {name: "archive under fire", run: archiveSoak},
		{name: "semi-sync, all killed", local: true, run: func(t *testing.T, version string, _ int) string {
			return semiSyncKilled(t, version, 20)
		}},
		{name: "10 moments", run: untilSoak}}
	all = append(all, soakOracles()...)
	all = append(all, soakIncrements()...)
	return append(all, soakCases()...)
}

// archiveSoak ends the archive, the server and the store forty times.
func archiveSoak(t *testing.T, version string, _ int) string { return archiveUnderFire(t, version, 40) }

// stormy is the oracle with four sessions of DDL, and tells how long others had to wait.
func stormy(t *testing.T, version string, round int) string {
	return oracle(t, version, profile{flush: []int{1, 2, 0}[round%3], storm: 4, seed: uint64(round), probe: true})
}

// soakOracles are the oracle under conditions that servers get into, each with
// writers on all engines and two sessions of DDL.
func soakOracles() []soaked {
	var found []soaked
	add := func(since, name string, p profile) {
		found = append(found, soaked{since: since, name: name, run: func(t *testing.T, version string, round int) string {
			p := p
			p.flush, p.seed = round%3, uint64(round)
			switch p.storm {
			case 0:
				p.storm = 2
			case withoutStorm:
				p.storm = 0
			}
			return oracle(t, version, p)
		}})
	}
	undo := []string{"--innodb-max-undo-log-size=10M", "--innodb-undo-log-truncate=ON",
		"--innodb-purge-rseg-truncate-frequency=1"}
	rewritten := statements(filled("rewritten", 10, ""))
	truncating := truncating("d.rewritten", "DO SLEEP(0.05)")
	add("", "undo truncated", profile{args: append(slices.Clone(undo), "--innodb-undo-tablespaces=3"), prepare: rewritten,
		during: truncating})
	add("", "4 undo tablespaces",
		profile{args: append(slices.Clone(undo), "--innodb-undo-tablespaces=4"), prepare: rewritten, during: truncating})
	add("", "0 undo tablespaces", profile{args: []string{"--innodb-undo-tablespaces=0"}})
	add("", "2 files of ibdata", profile{args: []string{"--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend"}})
	// Log tables are written to whatever is locked, and undo tablespaces may lie in a folder
	// that looks like a database.
	add("", "log tables and folders", profile{storm: 1, args: []string{
		"--log-output=TABLE", "--general-log=1", "--slow-query-log=1", "--long-query-time=0",
		"--innodb-undo-directory=undo", "--innodb-undo-tablespaces=3",
		"--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend",
	}})
	add("10.9", "redo resized",
		profile{during: churn("SET GLOBAL innodb_log_file_size=16777216", "DO SLEEP(0.3)",
			"SET GLOBAL innodb_log_file_size=67108864", "DO SLEEP(0.3)")})
	for _, size := range []string{"4k", "8k", "32k", "64k"} {
		// The ALTERs of a storm set block sizes that such pages do not have.
		add("", "pages of "+size,
			profile{storm: withoutStorm, args: []string{"--innodb-page-size=" + size, "--innodb-strict-mode=OFF"}})
	}
	for _, algorithm := range []string{"crc32", "strict_crc32", "full_crc32", "strict_full_crc32"} {
		add("", "checksum "+algorithm, profile{args: []string{"--innodb-checksum-algorithm=" + algorithm}})
	}
	for _, name := range providers() {
		add("10.7", "compression "+name, profile{args: append(providerArgs(), "--innodb-compression-algorithm="+name)})
	}
	add("", "all encrypted", profile{encrypted: true})
	add("", "log not encrypted", profile{encrypted: true, args: []string{"--innodb-encrypt-log=OFF"}})
	turning := churn("SET GLOBAL innodb_encrypt_tables=OFF", "DO SLEEP(0.7)", "SET GLOBAL innodb_encrypt_tables=ON",
		"DO SLEEP(0.7)")
	add("", "encryption turned off and on",
		profile{encrypted: true, args: []string{"--innodb-encrypt-log=OFF"}, during: turning})
	add("", "encryption turned, log encrypted", profile{encrypted: true, during: turning})
	rotating := churn("SET GLOBAL innodb_encryption_rotate_key_age=1", "DO SLEEP(0.3)",
		"SET GLOBAL innodb_encryption_rotate_key_age=2", "DO SLEEP(0.3)")
	add("", "keys rotating",
		profile{encrypted: true, args: []string{"--innodb-encryption-threads=4", "--innodb-encryption-rotate-key-age=1"},
			during: rotating})
	// Tables are encrypted for the first time while they are copied.
	add("", "encryption turned on",
		profile{encrypted: true, args: []string{"--innodb-encrypt-tables=OFF", "--innodb-encrypt-log=OFF"},
			during: func(ctx context.Context, source *mariadbtest.Server) error {
				return source.Exec(context.WithoutCancel(ctx), "DO SLEEP(0.4)", "SET GLOBAL innodb_encrypt_tables=ON",
					"DO SLEEP(1)")
			}})
	return found
}

// withoutStorm is the number of sessions of DDL in a soak profile that has none.
const withoutStorm = -1

// soakCases are the cases of the quick tests, and some that take long.
func soakCases() []soaked {
	one := func(test func(t *testing.T, version string) string) func(*testing.T, string, int) string {
		return func(t *testing.T, version string, _ int) string { return test(t, version) }
	}
	importing := func(how importing) func(*testing.T, string, int) string {
		return func(t *testing.T, version string, _ int) string { return imported(t, version, how) }
	}
	cases := []soaked{
		{name: "ALTER across the lock", run: one(alterAcross)},
		{name: "ALTERs begin under the lock", run: one(altersBegin)},
		{name: "discard and import", run: importing(importHow())},
		{name: "import of a discarded table", run: importing(importHow("discarded"))},
		{name: "import of a placed file", run: importing(importHow("discarded", "placed"))},
		{name: "import of a new table", run: importing(importHow("made"))},
		{name: "import, log encrypted", run: importing(importHow("encrypted"))},
		{name: "import of a new table, log encrypted", run: importing(importHow("made", "encrypted"))},
		{name: "tables into a server, killed", local: true, run: tablesKilledAtRandom},
		{name: "server killed in an import of mbk", local: true, run: one(serverKilledInImports)},
		{name: "imports without end", run: one(plainStorm)},
		{name: "imports without end, log encrypted", run: one(encryptedStorm)},
		{name: "import without SUPER", run: one(importWithoutSuper)},
		{name: "undo elsewhere", run: one(undoElsewhere)},
		{name: "files elsewhere", run: one(filesElsewhere)},
		{name: "tables elsewhere", run: one(tablesElsewhere)},
		{name: "tables mapped elsewhere", run: one(tablesMapped)},
		{name: "redo of 8 MiB", run: one(smallRedo)},
		{name: "redo overwritten", run: one(redoOverwritten)},
		{name: "redo replaced", since: "10.9", run: one(redoReplaced)},
		{name: "redo resized elsewhere", since: "10.9", run: one(redoResized)},
		{name: "encrypted tables of all kinds", run: one(allEncrypted)},
		{name: "encrypted for the first time", run: one(firstEncrypted)},
		{name: "decrypted while it is copied", run: one(firstDecrypted)},
		{name: "compression providers", since: "10.7", run: one(compressed)},
		{name: "huge LSN", since: "10.8", run: one(hugeLSN)},
		{name: "many holes", run: one(manyHoles)},
		{name: "prepared and open transactions", run: one(preparedAndOpen)},
		{name: "replica as the source", run: one(replicated)},
		{name: "Galera node", run: one(galeraNode)},
		{name: "Galera state transfer", run: one(func(t *testing.T, version string) string {
			return stateTransfer(t, version, 3)
		})},
		{name: "frozen server", run: one(frozenServer)},
		{name: "mbk killed 50 times", local: true, run: killedOften},
		{name: "mbk killed 20 times and continued", local: true, run: func(t *testing.T, version string, round int) string {
			return resumedOften(t, version, 20, uint64(round))
		}},
		{name: "every call of the store fails", local: true, run: func(t *testing.T, version string, _ int) string {
			return resumeFails(t, version, 1)
		}},
		{name: "requests of commands fail", run: commandsFail},
		{name: "100,000 small files in a bucket", run: one(func(t *testing.T, version string) string {
			return manySmallFiles(t, version, 33_400)
		})},
		{name: "other ways to die", local: true, run: one(otherDeaths)},
		{name: "server killed 10 times", local: true, run: serverKilledOften},
		{name: "locks held by others", run: one(lockHolders)},
		{name: "20,000 tables", run: one(thousands)},
		{name: "filter while tables move",
			run: one(func(t *testing.T, version string) string { filterUnderStorm(t, version, 6); return "" })},
		{name: "filter, caught up", run: one(func(t *testing.T, version string) string {
			filterOracle(t, version)
			return ""
		})},
		{name: "lock window of idle data",
			run: one(func(t *testing.T, version string) string { return idleWindow(t, version, 1024, 512) })},
	}
	cases = append(cases, soaked{name: "upgrades from older series", since: "10.6",
		run: one(func(t *testing.T, version string) string { upgradedFromAll(t, version); return "" })})
	for _, algorithm := range []string{"innodb", "none"} {
		old := func(t *testing.T, version string) string { return oldChecksums(t, version, algorithm) }
		cases = append(cases, soaked{name: "files with checksum " + algorithm, since: "10.6", run: one(old)})
	}
	for _, size := range []string{"4k", "8k", "32k", "64k"} {
		cases = append(cases, soaked{name: "strict_crc32, pages of " + size,
			run: one(func(t *testing.T, version string) string {
				return pages(t, version, size)
			})})
	}
	return cases
}

// commandsFail lets 40 requests of each command fail, in a bucket or on an SSH server.
func commandsFail(t *testing.T, version string, round int) string {
	return newStoreFaults(t, version).everywhere(t, []string{inS3, inSFTP}[round%2], 40, round/2)
}

// importHow is an import of which some things are true.
func importHow(what ...string) importing {
	return importing{
		discarded: slices.Contains(what, "discarded"), placed: slices.Contains(what, "placed"),
		made: slices.Contains(what, "made"), encrypted: slices.Contains(what, "encrypted"),
	}
}

// filesElsewhere is the oracle with files that lie outside of the data directory and
// are restored into it.
func filesElsewhere(t *testing.T, version string) string {
	home, undo, redo := t.TempDir(), t.TempDir(), otherFileSystem(t)
	return oracle(t, version, profile{
		storm: 2,
		args: []string{
			"--innodb-undo-directory=" + undo, "--innodb-undo-tablespaces=3", "--innodb-log-group-home-dir=" + redo,
			"--innodb-data-home-dir=" + home, "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend",
		},
		restored: []string{"--innodb-undo-tablespaces=3", "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend"},
	})
}

// smallRedo writes as much as a server can through the smallest log that is of
// use. mbk keeps up, or says soon that it cannot.
func smallRedo(t *testing.T, version string) string {
	source := mariadbtest.New(t, version, "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=2")
	source.MustExec(t, statements(filled("t", 16, ""), filled("u", 16, ""))...)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan error, 1)
	work := all(churn("UPDATE d.t SET n = n + 1, s = REPEAT(MD5(n), 15) WHERE id % 3 = 0"),
		churn("UPDATE d.u SET n = n + 1, s = REPEAT(MD5(n), 15) WHERE id % 3 = 0"))
	go func() { done <- work(ctx, source) }()
	repository := t.TempDir()
	begun := time.Now()
	o := mbk(t, backupArgs(source, repository, "--rate-limit", "20MB", "--json")...)
	took := time.Since(begun).Round(100 * time.Millisecond)
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if o.code != 0 {
		if o.code != 4 || !strings.Contains(o.stderr, "redo log overwritten") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
		return fmt.Sprintf("exit code %d after %s: %s", o.code, took, firstLine(o.stderr))
	}
	b := document[taken](t, "show", "latest", "--repo", repository)
	wantSame(t, source, caughtUp(t, source, repository, b, profile{}))
	return fmt.Sprintf("%s in %s", b, took)
}

// Tables, and the system tablespace, are encrypted for the first time while they are copied:
// pages that were read before are clear, and the first page has to tell how the others are read.
func firstEncrypted(t *testing.T, version string) string {
	return encryptionTurns(t, version, "OFF", "ON")
}

// firstDecrypted is the same the other way round.
func firstDecrypted(t *testing.T, version string) string {
	return encryptionTurns(t, version, "ON", "OFF")
}

// encryptionTurns turns the encryption of all tables to another state while they are copied.
func encryptionTurns(t *testing.T, version, from, to string) string {
	p := profile{
		encrypted: true,
		args: []string{
			"--innodb-encrypt-tables=" + from, "--innodb-encrypt-log=OFF", "--innodb-encryption-threads=4",
			"--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend", "--innodb-encryption-rotation-iops=100000",
		},
		prepare: statements(filled("t", 60, ""), filled("u", 8, "")),
		during: all(churn("UPDATE d.t SET n = n + 1 WHERE id % 99 = 0", "DO SLEEP(0.1)"),
			func(ctx context.Context, source *mariadbtest.Server) error {
				return source.Exec(context.WithoutCancel(ctx), "DO SLEEP(2)", "SET GLOBAL innodb_encrypt_tables="+to)
			}),
		backup: []string{"--rate-limit", "12MB"},
	}
	p.keys(t, version)
	source := mariadbtest.New(t, version, p.args...)
	source.MustExec(t, p.prepare...)
	const encryptedTables = "SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION " +
		"WHERE NAME IN ('d/t', 'd/u', 'innodb_system') AND MIN_KEY_VERSION > 0"
	for from == "ON" && source.MustValue(t, encryptedTables) != "3" {
		time.Sleep(100 * time.Millisecond)
	}
	repository := t.TempDir()
	b := taking(t, source, repository, p)
	encrypted, off := wantKeysOfPages(t, repository, b.ID)
	wantSame(t, source, caughtUp(t, source, repository, b, p))
	return fmt.Sprintf("%s; %d tablespaces with encrypted pages, %d of them not encrypted any more at the end", b,
		encrypted, off)
}

// Five gigabytes that take little on disk are backed up and restored as what they are.
func manyHoles(t *testing.T, version string) string {
	source := mariadbtest.New(t, version, "--innodb-buffer-pool-size=512M", "--innodb-log-file-size=512M",
		"--skip-log-bin", "--innodb-flush-log-at-trx-commit=0")
	source.MustExec(t, "CREATE DATABASE d",
		"CREATE TABLE d.packed (id INT PRIMARY KEY, s VARCHAR(8000)) CHARACTER SET latin1 PAGE_COMPRESSED=1")
	const rows = 700_000 // two to a page
	for first := 1; first <= rows; first += 50_000 {
		source.MustExec(t,
			fmt.Sprintf("INSERT INTO d.packed SELECT seq, REPEAT(CHAR(65 + seq %% 26), 7000) FROM d.seq_%d_to_%d", first,
				first+49_999))
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
	size, want, got := length(t, source, "d/packed.ibd"), onDisk(t, source, "d/packed.ibd"),
		onDisk(t, restored, "d/packed.ibd")
	if size < 4<<30 || got > want+want/20 {
		t.Errorf("%d bytes long, %d on disk, want more than 4 GiB and at most %d", size, got, want+want/20)
	}
	return fmt.Sprintf("%d MiB long, %d MiB on disk, restored %d MiB; backup %.1f s, restore %.1f s", size>>20, want>>20,
		got>>20, between.Sub(begun).Seconds(), ended.Sub(between).Seconds())
}

// An account that may not force a checkpoint gets its backup behind the server's own.
func importWithoutSuper(t *testing.T, version string) string {
	source := mariadbtest.New(t, version, "--innodb-log-file-size=4M")
	source.MustExec(t, statements(filled("big", 8, ""), filled("t", 1, ""), filled("other", 1, ""))...)
	source.MustExec(t, "CREATE USER b@localhost",
		"GRANT RELOAD, PROCESS, LOCK TABLES, SHOW VIEW, BINLOG MONITOR, SLAVE MONITOR ON *.* TO b@localhost")
	x := exported(t, source, "d", "t", "other")
	busy := churn("UPDATE d.big SET n = n + 1 WHERE id % 10 = 0")
	p := profile{backup: []string{"--user", "b", "--rate-limit", "14MB"},
		during: func(ctx context.Context, source *mariadbtest.Server) error {
			time.Sleep(500 * time.Millisecond)
			if err := source.Exec(context.WithoutCancel(ctx), "ALTER TABLE d.t DISCARD TABLESPACE"); err != nil {
				return err
			}
			x.place(t)
			if err := source.Exec(context.WithoutCancel(ctx), "ALTER TABLE d.t IMPORT TABLESPACE",
				"UPDATE d.t SET n = 5"); err != nil {
				return err
			}
			return busy(ctx, source)
		}}
	repository := t.TempDir()
	b := taking(t, source, repository, p)
	wantSame(t, source, caughtUp(t, source, repository, b, p))
	return b.String()
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

// upgradedFromAll brings backups of all older series to one.
func upgradedFromAll(t *testing.T, to string) {
	for _, from := range []string{"10.5", "10.6", "10.11", "11.4", "11.8"} {
		if from == to {
			return
		}
		upgraded(t, from, to, false)
		if from != "10.5" && from != "10.6" || to == "10.6" {
			upgraded(t, from, to, true)
		}
	}
}
