package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/innodb"
	"mbk/internal/test/mariadbtest"
)

// light is the oracle on a few tables of its own, which the profile's statements
// make and its work changes. It is quick.
func light(t *testing.T, version string, p profile) (b taken, source, restored *mariadbtest.Server) {
	t.Helper()
	p.keys(t, version)
	source = mariadbtest.New(t, version, p.args...)
	source.MustExec(t, p.prepare...)
	repository := t.TempDir()
	b = taking(t, source, repository, p)
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
	restored = caughtUp(t, source, repository, b, p)
	wantSame(t, source, restored)
	return b, source, restored
}

// churn runs statements over and over. It ends between two rounds, so that the
// server is at rest afterwards.
func churn(statements ...string) func(context.Context, *mariadbtest.Server) error {
	return func(ctx context.Context, source *mariadbtest.Server) error {
		for ctx.Err() == nil {
			if err := source.Exec(context.WithoutCancel(ctx), statements...); err != nil {
				return err
			}
		}
		return nil
	}
}

// stageBegun waits until a backup has asked for its first stage, or ctx ends. The checkpoint is
// read soon after.
func stageBegun(ctx context.Context, source *mariadbtest.Server) error {
	const asked = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'COM_BACKUP'"
	for ctx.Err() == nil {
		n, err := source.Value(context.WithoutCancel(ctx), asked)
		if err != nil || n != "0" {
			return err
		}
		time.Sleep(5 * time.Millisecond)
	}
	return nil
}

// all does several things at once.
func all(works ...func(context.Context, *mariadbtest.Server) error) func(context.Context, *mariadbtest.Server) error {
	return func(ctx context.Context, source *mariadbtest.Server) error {
		done := make(chan error)
		for _, work := range works {
			go func() { done <- work(ctx, source) }()
		}
		var errs []error
		for range works {
			errs = append(errs, <-done)
		}
		return errors.Join(errs...)
	}
}

// Most of these tests take one version each; TestSoakEachVersion runs them on all.
func oldest() string { return mariadbtest.Versions()[0] }
func newest() string { return mariadbtest.Versions()[len(mariadbtest.Versions())-1] }

// forcesCheckpoint reports whether a server makes a checkpoint when it is told to.
func forcesCheckpoint(version string) bool {
	return !slices.Contains([]string{"10.5", "10.6", "10.6.7", "10.11.7", "11.4.5"}, version)
}

// filled are the statements that make a table of about that many MiB.
func filled(name string, mib int, options string) []string {
	return []string{
		"CREATE TABLE " + name + " (id INT PRIMARY KEY, n INT NOT NULL DEFAULT 0, s VARCHAR(500), KEY (n)) " + options,
		fmt.Sprintf("INSERT INTO %s SELECT seq, 0, REPEAT(MD5(seq), 15) FROM seq_1_to_%d", name, mib*1800),
	}
}

// statements joins lists of statements behind the making of a database.
func statements(lists ...[]string) []string {
	joined := []string{"CREATE DATABASE d", "USE d"}
	for _, l := range lists {
		joined = append(joined, l...)
	}
	return joined
}

// A tablespace that is imported while it is copied has no redo for what the
// import did. Only a backup from a checkpoint behind it is sound.
func TestImportDuringBackup(t *testing.T) {
	t.Parallel()
	t.Log(imported(t, newest(), importing{}))
}

// The file of a tablespace that waits for its import is not the server's, and the
// import rewrites it in place.
func TestImportOfFileAlreadyPlaced(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(imported(t, oldest(), importing{discarded: true, placed: true}))
}

// importing is how a table comes to be imported during a backup.
type importing struct {
	discarded bool // before the backup starts
	placed    bool // the file, before the backup starts
	made      bool // the table, during the backup
	encrypted bool // the redo log, which hides what it deletes
}

// imported backs a table up that is imported meanwhile. On a busy machine the import may
// miss the time after the checkpoint; then there is nothing to notice.
func imported(t *testing.T, version string, how importing) string {
	t.Helper()
	for range 3 {
		if text, noticed := importedOnce(t, version, how); noticed {
			return text
		}
	}
	t.Error("the import was not noticed, three times")
	return ""
}

func importedOnce(t *testing.T, version string, how importing) (text string, noticed bool) {
	t.Helper()
	var args []string
	if how.encrypted {
		var err error
		if args, err = mariadbtest.EncryptionArgs(t.TempDir()); err != nil {
			t.Fatal(err)
		}
		args = append(args, "--innodb-encrypt-tables=OFF")
	}
	if !forcesCheckpoint(version) {
		args = append(args, "--innodb-max-dirty-pages-pct=0") // as mbk advises
	}
	source := mariadbtest.New(t, version, args...)
	source.MustExec(t, statements(filled("big", 8, ""), filled("t", 1, ""), filled("other", 2, ""),
		[]string{"UPDATE other SET n = id"})...)
	x := exported(t, source, "d", "t", "other")
	if how.discarded {
		source.MustExec(t, "ALTER TABLE d.t DISCARD TABLESPACE")
	}
	if how.placed {
		x.place(t)
	}
	if how.made {
		source.MustExec(t, "DROP TABLE d.t")
	}
	if forcesCheckpoint(version) {
		source.MustExec(t, "SET GLOBAL innodb_log_checkpoint_now=ON")
	}
	during := func(ctx context.Context, source *mariadbtest.Server) error {
		if err := stageBegun(ctx, source); err != nil {
			return err
		}
		ctx = context.WithoutCancel(ctx)
		time.Sleep(700 * time.Millisecond) // of two seconds that the copying takes
		if how.made {
			if err := source.Exec(ctx, "CREATE TABLE d.t LIKE d.other"); err != nil {
				return err
			}
		}
		if !how.discarded {
			if err := source.Exec(ctx, "ALTER TABLE d.t DISCARD TABLESPACE"); err != nil {
				return err
			}
		}
		if !how.placed {
			x.place(t)
		}
		return source.Exec(ctx, "ALTER TABLE d.t IMPORT TABLESPACE",
			"INSERT INTO d.t SELECT 1000000 + id, n, s FROM d.big LIMIT 2000", "UPDATE d.t SET n = n + 1 WHERE id % 3 = 0")
	}
	repository := t.TempDir()
	p := profile{args: args, during: during, backup: []string{"--rate-limit", "5MB"}}
	b := taking(t, source, repository, p)
	restored := caughtUp(t, source, repository, b, p)
	wantSame(t, source, restored)
	tries := len(attempts(t, repository))
	behind := !forcesCheckpoint(version) && how.encrypted // the checkpoint that such a backup waits for
	text = fmt.Sprintf("%s rows, after %d attempts", restored.MustValue(t, "SELECT COUNT(*) FROM d.t"), tries)
	return text, how.discarded || behind || tries > 1
}

// A table may be without its tablespace for long, and a file that is none be in its
// place. The backup has the table as it is.
func TestDiscardedTable(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	source := mariadbtest.New(t, oldest())
	source.MustExec(t, statements(filled("t", 1, ""), filled("other", 1, ""))...)
	x := exported(t, source, "d", "t", "other")
	source.MustExec(t, "ALTER TABLE d.t DISCARD TABLESPACE")
	half := x
	half.ibd = x.ibd[:len(x.ibd)/3]
	half.place(t)
	repository := t.TempDir()
	b := taking(t, source, repository, profile{})
	if !strings.Contains(strings.Join(b.Warnings, " "), "`d`.`t`") {
		t.Errorf("the warnings %q do not name the table", b.Warnings)
	}
	must(t, "verify", "latest", "--repo", repository, "--depth", "boot", "--owner", self(), "--quiet")
	target := filepath.Join(t.TempDir(), "restored")
	must(t, restoreArgs(b.ID, repository, target)...)
	restored := mariadbtest.Open(t, oldest(), target)
	x.folder = filepath.Join(target, "d")
	x.place(t)
	restored.MustExec(t, "ALTER TABLE d.t IMPORT TABLESPACE")
	if got := restored.MustValue(t, "SELECT COUNT(*) FROM d.t"); got != "1800" {
		t.Errorf("after an import there are %s rows, want 1800", got)
	}
}

// transport is a tablespace for an import: the contents of its two files.
type transport struct {
	folder, table string
	ibd, cfg      []byte
}

// exported copies the tablespace of one table for an import into another.
func exported(t *testing.T, source *mariadbtest.Server, database, table, from string) transport {
	t.Helper()
	x := transport{folder: filepath.Join(source.Datadir, database), table: table}
	conn, err := source.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // of a test
	if _, err := conn.ExecContext(t.Context(),
		fmt.Sprintf("FLUSH TABLES `%s`.`%s` FOR EXPORT", database, from)); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]*[]byte{".ibd": &x.ibd, ".cfg": &x.cfg} {
		if *to, err = os.ReadFile(filepath.Join(x.folder, from+name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	return x
}

// place puts the files to where an import looks for them.
func (x transport) place(t *testing.T) {
	for name, b := range map[string][]byte{".ibd": x.ibd, ".cfg": x.cfg} {
		if err := os.WriteFile(filepath.Join(x.folder, x.table+name), b, 0o660); err != nil {
			t.Error(err)
		}
	}
}

// Undo tablespaces outside of the data directory are restored into it, and are
// truncated while they are copied.
func TestUndoElsewhere(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(undoElsewhere(t, oldest()))
}

func undoElsewhere(t *testing.T, version string) string {
	elsewhere := t.TempDir()
	shared := []string{"--innodb-undo-tablespaces=3", "--innodb-max-undo-log-size=10M", "--innodb-undo-log-truncate=ON"}
	p := profile{
		args:     append([]string{"--innodb-undo-directory=" + elsewhere}, shared...),
		restored: shared,
		told:     []string{"my.cnf", "innodb_undo_directory = ."},
		prepare:  statements(filled("t", 8, "")),
		during:   truncating("d.t", "SET GLOBAL innodb_max_purge_lag_wait=0"),
		backup:   []string{"--rate-limit", "40MB"},
	}
	b, source, restored := light(t, version, p)
	if got, want := restored.MustValue(t, "SELECT @@innodb_undo_tablespaces"), "3"; got != want {
		t.Errorf("the restored server has %s undo tablespaces, want %s", got, want)
	}
	return fmt.Sprintf("%s, %s truncations", b, source.MustValue(t, truncations))
}

// truncations counts the truncations of undo tablespaces.
const truncations = "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = " +
	"'Innodb_undo_truncations'"

// truncating fills undo tablespaces until purge truncates them. Beside writers
// that never rest it must not wait for purge to be done.
func truncating(table, wait string) func(context.Context, *mariadbtest.Server) error {
	return all(
		churn("UPDATE "+table+" SET n = n + 1, s = REPEAT(MD5(n), 15)", wait),
		churn("UPDATE "+table+" SET n = n + 1 WHERE id = 1", "DO SLEEP(0.02)"),
	)
}

// A backup whose redo was overwritten must say so soon. mbk is stopped for a
// while to bring that about.
func TestRedoOverwritten(t *testing.T) { t.Log(redoOverwritten(t, oldest())) }

func redoOverwritten(t *testing.T, version string) string {
	source, repository := smallLog(t, version), t.TempDir()
	o, took := afterStop(t, backupArgs(source, repository), repository, source, overwritten...)
	if o.code != 4 || !strings.Contains(o.stderr, "overwritten") || took > 10*time.Second {
		t.Errorf("after %s exit code %d, %s; want exit code 4 within 10 s because the redo log was overwritten", took,
			o.code, o.stderr)
	}
	return fmt.Sprintf("exit code %d after %s: %s", o.code, took.Round(time.Millisecond), firstLine(o.stderr))
}

// A backup starts over if the log was resized in such a way that it cannot be followed.
func TestRedoReplaced(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(redoReplaced(t, newest()))
}

func redoReplaced(t *testing.T, version string) string {
	source, repository := smallLog(t, version), t.TempDir()
	must(t, backupArgs(source, repository)...)
	webhook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("there is a message, though this backup ended as the one before: %s", r.Method)
	}))
	defer webhook.Close()
	args := backupArgs(source, repository, "--webhook", webhook.URL, "--notify", "change")
	o, took := afterStop(t, args, repository, source,
		append(slices.Clone(overwritten), "SET GLOBAL innodb_log_file_size=25165824")...)
	if o.code != 0 || !strings.Contains(o.stderr, "starting over") || !strings.Contains(o.stderr, "redo log replaced") {
		t.Fatalf("exit code %d, %s; want a backup that started over because the redo log was replaced", o.code, o.stderr)
	}
	b := document[taken](t, "show", "latest", "--repo", repository)
	wantSame(t, source, caughtUp(t, source, repository, b, profile{}))
	return fmt.Sprintf("exit code 0 after %s: %s; stored %.1f MiB beside %.1f MiB", took.Round(time.Millisecond),
		firstLine(o.stderr), mebibytes(dataStored(t, repository, b.ID)), mebibytes(adoptedBytes(t, repository, b.ID)))
}

// overwritten are statements that write more redo than smallLog's log holds.
var overwritten = slices.Repeat([]string{"UPDATE d.t SET n = n + 1, s = REPEAT(MD5(n), 15)"}, 4)

// smallLog is a server with a redo log of 8 MiB and as much data.
func smallLog(t *testing.T, version string) *mariadbtest.Server {
	t.Helper()
	s := mariadbtest.New(t, version, "--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=2")
	s.MustExec(t, statements(filled("t", 8, ""))...)
	return s
}

// afterStop stops a backup that is copying while the server does something. It
// returns how the backup ended, and how long after that.
func afterStop(t *testing.T, args []string, repository string, source *mariadbtest.Server, do ...string) (o outcome,
	took time.Duration) {
	t.Helper()
	onlyIn(t, "of an upload nothing shows before a part is complete", inFolder, inEncrypted, inSFTP, inSFTPEncrypted)
	r := launch(t, command(t, append(args, "--rate-limit", "8MB")...))
	untilCopying(t, repository)
	r.whileStopped(t, func() { source.MustExec(t, do...) })
	begun := time.Now()
	return r.wait(t, time.Minute), time.Since(begun)
}

// The redo log is in another file system, small, and resized all the time.
func TestRedoResizedElsewhere(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(redoResized(t, newest()))
}

func redoResized(t *testing.T, version string) string {
	elsewhere := otherFileSystem(t)
	p := profile{
		args: []string{"--innodb-log-group-home-dir=" + elsewhere, "--innodb-log-file-size=8M",
			"--innodb-flush-log-at-trx-commit=2"},
		restored: []string{},
		told:     []string{"my.cnf", "innodb_log_group_home_dir = ."},
		prepare:  statements(filled("t", 16, "")),
		during: all(
			churn("UPDATE d.t SET n = n + 1 WHERE id % 4 = 0"),
			churn("SET GLOBAL innodb_log_file_size=12582912", "DO SLEEP(0.1)", "SET GLOBAL innodb_log_file_size=8388608",
				"DO SLEEP(0.1)"),
		),
		backup: []string{"--rate-limit", "16MB"},
	}
	b, _, _ := light(t, version, p)
	return b.String()
}

// otherFileSystem is a folder in memory, if there is one.
func otherFileSystem(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("/dev/shm", "mbk-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(folder); err != nil {
			t.Error(err)
		}
	})
	return folder
}

// encrypted are tables of all kinds, encrypted where the server does that.
func encryptedTables() []string {
	return statements(
		filled("plain", 2, "ENCRYPTED=NO"), filled("crypt", 4, "ENCRYPTED=YES"),
		filled("second", 1, "ENCRYPTED=YES ENCRYPTION_KEY_ID=2"),
		filled("zip", 2, "ROW_FORMAT=COMPRESSED ENCRYPTED=YES"), filled("packed", 2, "PAGE_COMPRESSED=1 ENCRYPTED=YES"),
		filled("aria", 2, "ENGINE=Aria"), filled("aria_off", 1, "ENGINE=Aria TRANSACTIONAL=0"),
		filled("myisam", 1, "ENGINE=MyISAM"))
}

// After a crash 10.5 writes checkpoints that do not say where their records are.
func TestLogOfBlocksAfterACrash(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	source := mariadbtest.New(t, "10.5")
	source.MustExec(t, statements(filled("t", 8, ""))...)
	for range 2 {
		if err := source.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := source.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		p := profile{during: churn("UPDATE d.t SET n = n + 1 WHERE id % 9 = 0")}
		repository := t.TempDir()
		b := taking(t, source, repository, p)
		must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
		wantSame(t, source, caughtUp(t, source, repository, b, p))
	}
}

// Everything is encrypted, and changes all the time.
func TestEncrypted(t *testing.T) {
	t.Parallel()
	t.Log(allEncrypted(t, newest()))
}

// The log of 10.5 shows nothing without its key, and no checkpoint can be forced there.
func TestEncryptedLogOfBlocks(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(allEncrypted(t, "10.5"))
}

func allEncrypted(t *testing.T, version string) string {
	keys := t.TempDir()
	args, err := mariadbtest.EncryptionArgs(keys)
	if err != nil {
		t.Fatal(err)
	}
	if !forcesCheckpoint(version) {
		args = append(args, "--innodb-max-dirty-pages-pct=0") // as mbk advises
	}
	source := mariadbtest.New(t, version, args...)
	source.MustExec(t, encryptedTables()...)
	var work []func(context.Context, *mariadbtest.Server) error
	for _, table := range []string{"plain", "crypt", "second", "zip", "packed", "aria", "aria_off", "myisam"} {
		work = append(work, churn("UPDATE d."+table+" SET n = n + 1 WHERE id % 50 = FLOOR(RAND() * 50)", "DO SLEEP(0.01)"))
	}
	p := profile{args: args, during: all(work...), backup: []string{"--rate-limit", "20MB"}}
	repository := t.TempDir()
	b := taking(t, source, repository, p)
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
	restored := caughtUp(t, source, repository, b, p)
	wantSame(t, source, restored)

	if err := os.Rename(filepath.Join(keys, "keys"), filepath.Join(keys, "hidden")); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "restored")
	o := mbk(t, restoreArgs(b.ID, repository, target)...)
	if o.code != 2 || !strings.Contains(o.stderr, "keys") {
		t.Errorf("without its keys: exit code %d, %s", o.code, o.stderr)
	}
	if _, err := os.Stat(target); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its keys, the restore left %s", target)
	}
	return fmt.Sprintf("%s; without its keys: %s", b, firstLine(o.stderr))
}

// Pages are compressed by each of the server's libraries.
func TestCompressionProviders(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(compressed(t, oldest()))
}

func compressed(t *testing.T, version string) string {
	p := profile{args: providerArgs(), prepare: statements()}
	var work []func(context.Context, *mariadbtest.Server) error
	for _, name := range providers() {
		p.prepare = append(p.prepare, "SET GLOBAL innodb_compression_algorithm="+name)
		p.prepare = append(p.prepare, filled(name, 1, "PAGE_COMPRESSED=1")...)
		work = append(work, churn("UPDATE d."+name+" SET n = n + 1 WHERE id % 9 = 0", "DO SLEEP(0.05)"))
	}
	p.during = all(work...)
	b, _, _ := light(t, version, p)
	return b.String()
}

// Pages of the largest size, with checksums of the old form.
func TestLargePages(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(pages(t, newest(), "64k"))
}

func pages(t *testing.T, version, size string) string {
	b, _, _ := light(t, version, profile{
		args:    []string{"--innodb-page-size=" + size, "--innodb-checksum-algorithm=strict_crc32"},
		prepare: statements(filled("t", 4, ""), filled("packed", 2, "PAGE_COMPRESSED=1")),
		during:  churn("UPDATE d.t SET n = n + 1 WHERE id % 9 = 0", "UPDATE d.packed SET n = n + 1 WHERE id % 9 = 0"),
	})
	return b.String()
}

// providers are the compression algorithms that a library provides.
func providers() []string { return []string{"lz4", "lzo", "lzma", "bzip2", "snappy"} }

// providerArgs load these libraries.
func providerArgs() []string {
	var args []string
	for _, name := range providers() {
		args = append(args, "--plugin-load-add=provider_"+name)
	}
	return args
}

// Files with holes are restored with as many.
func TestHolesAreKept(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	p := profile{prepare: statements(filled("packed", 24, "PAGE_COMPRESSED=1"),
		[]string{"FLUSH TABLES packed FOR EXPORT", "UNLOCK TABLES"})}
	_, source, restored := light(t, oldest(), p)
	want, got := onDisk(t, source, "d/packed.ibd"), onDisk(t, restored, "d/packed.ibd")
	t.Logf("%d KiB on disk, restored %d KiB", want>>10, got>>10)
	if got > want+want/20 {
		t.Errorf("%d bytes on disk, want about %d", got, want)
	}
}

// onDisk is what a file takes on disk, in bytes.
func onDisk(t *testing.T, srv *mariadbtest.Server, name string) int64 {
	t.Helper()
	info, err := os.Stat(filepath.Join(srv.Datadir, name))
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Blocks * 512
}

// Log sequence numbers beyond 2^44 are in nobody's tests and in some servers.
func TestHugeLSN(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(hugeLSN(t, oldest()))
}

func hugeLSN(t *testing.T, version string) string {
	const huge = innodb.LSN(1)<<44 + 12345678
	source := mariadbtest.New(t, version)
	source.MustExec(t, statements(filled("t", 4, ""))...)
	if err := source.Exec(t.Context(), "SET GLOBAL innodb_fast_shutdown=0"); err != nil {
		t.Fatal(err)
	}
	if err := source.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := mariadbtest.SetLSN(source.Datadir, huge); err != nil {
		t.Fatal(err)
	}
	if err := source.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := profile{during: churn("UPDATE d.t SET n = n + 1 WHERE id % 9 = 0")}
	repository := t.TempDir()
	b := taking(t, source, repository, p)
	wantSame(t, source, caughtUp(t, source, repository, b, p))
	if b.LSN.End < uint64(huge) {
		t.Errorf("LSN %d, want above %d", b.LSN.End, huge)
	}
	return fmt.Sprintf("%s, ends at LSN %d", b, b.LSN.End)
}

// A transaction that is prepared by XA outlives the backup; one that is open does not.
func TestPreparedAndOpenTransactions(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(preparedAndOpen(t, newest()))
}

func preparedAndOpen(t *testing.T, version string) string {
	source := mariadbtest.New(t, version)
	source.MustExec(t, statements(filled("t", 2, ""), filled("u", 2, ""))...)
	held, err := source.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	open, err := source.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"XA START 'held'", "UPDATE d.t SET n = 77 WHERE id < 100", "XA END 'held'",
		"XA PREPARE 'held'"} {
		if _, err := held.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range []string{"BEGIN", "UPDATE d.t SET n = 88 WHERE id BETWEEN 200 AND 300",
		"DELETE FROM d.t WHERE id BETWEEN 301 AND 400"} {
		if _, err := open.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	p := profile{during: churn("UPDATE d.u SET n = n + 1 WHERE id % 9 = 0")}
	repository := t.TempDir()
	b := taking(t, source, repository, p)
	if _, err := open.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if _, err := held.ExecContext(t.Context(), "XA COMMIT 'held'"); err != nil {
		t.Fatal(err)
	}
	wantSame(t, source, caughtUp(t, source, repository, b, p)) // the log that is replayed commits it
	return b.String()
}

// A parallel replica is backed up; what is restored goes on where that was, as a
// replica of the same primary and by the rules of strict GTIDs.
func TestReplicaAsSource(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(replicated(t, oldest()))
}

// replicated backs a parallel replica up while its primary is busy.
func replicated(t *testing.T, version string) string {
	primary := mariadbtest.Listen(t, version, "", "--gtid-strict-mode=ON")
	strict := []string{"--gtid-strict-mode=ON", "--log-slave-updates=ON", "--slave-parallel-threads=8",
		"--slave-parallel-mode=optimistic"}
	replica := mariadbtest.New(t, version, append(strict, "--server-id=2")...)
	primary.MustExec(t, "CREATE USER r@127.0.0.1 IDENTIFIED BY 'secret'", "GRANT REPLICATION SLAVE ON *.* TO r@127.0.0.1")
	follow := fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='r', "+
		"MASTER_PASSWORD='secret', MASTER_USE_GTID=slave_pos", primary.Port)
	replica.MustExec(t, follow, "START SLAVE")
	primary.MustExec(t, statements(filled("t", 2, ""), filled("u", 2, ""))...)
	follows(t, replica, primary)

	var work []func(context.Context, *mariadbtest.Server) error
	for i := range 6 {
		one := churn(fmt.Sprintf("UPDATE d.t SET n = n + 1 WHERE id %% 50 = %d LIMIT 1", i),
			fmt.Sprintf("INSERT INTO d.u SELECT MAX(id) + 1, %d, 'x' FROM d.u", i))
		work = append(work, func(ctx context.Context, _ *mariadbtest.Server) error { return conflicts(one, ctx, primary) })
	}
	p := profile{during: all(work...), backup: []string{"--rate-limit", "25MB"}}
	repository := t.TempDir()
	b := taking(t, replica, repository, p)
	if len(b.Replicas) != 1 || b.Replicas[0].Port != primary.Port ||
		(b.Replicas[0].Position == 0) != (b.Replicas[0].File == "") || b.Replicas[0].GTID == "" {
		t.Fatalf("the backup is a replica of %+v", b.Replicas)
	}
	target := filepath.Join(t.TempDir(), "restored")
	r := must(t, restoreArgs(b.ID, repository, target)...)
	restored := mariadbtest.Open(t, version, target, append(strict, "--server-id=3")...)
	if got := restored.MustValue(t, "SELECT @@gtid_slave_pos"); got != b.Replicas[0].GTID {
		t.Errorf("the restored server is at GTID %s, the backup at %s", got, b.Replicas[0].GTID)
	}
	restored.MustExec(t, "SET GLOBAL gtid_slave_pos='"+b.Replicas[0].GTID+"'", follow, "START SLAVE")
	follows(t, restored, primary)
	wantSame(t, primary, restored)
	return strings.TrimSuffix(fmt.Sprintf("%s, GTID %s at %q; %s", b, b.Replicas[0].GTID, b.Replicas[0].File,
		notes(r.stdout)), "; ")
}

// conflicts goes on over the deadlocks of busy sessions.
func conflicts(work func(context.Context, *mariadbtest.Server) error, ctx context.Context,
	srv *mariadbtest.Server) error {
	for {
		err := work(ctx, srv)
		if err == nil || !strings.Contains(err.Error(), "Deadlock") && !strings.Contains(err.Error(), "Duplicate") {
			return err
		}
	}
}

// follows waits until a replica has done all that the primary has.
func follows(t *testing.T, replica, primary *mariadbtest.Server) {
	t.Helper()
	at := primary.MustValue(t, "SELECT @@gtid_binlog_pos")
	if got := replica.MustValue(t, "SELECT MASTER_GTID_WAIT(?, 30)", at); got != "0" {
		t.Fatalf("the replica did not reach GTID %s: it is at %s", at, replica.MustValue(t, "SELECT @@gtid_slave_pos"))
	}
}

// notes are the lines of a restore's output that tell something unusual.
func notes(stdout string) string {
	var found []string
	for line := range strings.Lines(stdout) {
		if strings.HasPrefix(line, "note") || strings.HasPrefix(line, "warning") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return strings.Join(found, "; ")
}

// firstLine is the first line of what a program printed, or "".
func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return line
}
