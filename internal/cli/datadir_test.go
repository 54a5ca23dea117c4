package cli_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/test/mariadbtest"
)

// externalTables are the statements that make tables which lie in a folder outside of
// the data directory, wholly or in part.
func externalTables(folder string) []string {
	external := externalOption(folder)
	both := external + " INDEX DIRECTORY='" + folder + "'"
	parts := func(engine, options string) string {
		return "(id INT PRIMARY KEY, n INT NOT NULL DEFAULT 0) ENGINE=" + engine +
			" PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (500) " + options +
			", PARTITION p1 VALUES LESS THAN (100000))"
	}
	return statements(
		filled("far", 1, external), filled("idle", 1, external), filled("near", 1, ""), filled("words", 1, external),
		filled("moved", 1, external),
		filled("zip", 1, "ROW_FORMAT=COMPRESSED "+external), filled("`far away`", 1, external),
		filled("myisam", 1, "ENGINE=MyISAM "+both), filled("aria", 1, "ENGINE=Aria "+both),
		[]string{
			"ALTER TABLE words ADD FULLTEXT (s)",
			"CREATE TABLE parts " + parts("InnoDB", external), "INSERT INTO parts SELECT seq, 0 FROM seq_1_to_1000",
			"CREATE TABLE idleparts " + parts("InnoDB", external), "INSERT INTO idleparts SELECT seq, 0 FROM seq_1_to_1000",
			"CREATE TABLE oldparts " + parts("MyISAM", both), "INSERT INTO oldparts SELECT seq, 0 FROM seq_1_to_1000",
			"CREATE TABLE `empty` (a INT) " + external,
			"CREATE TABLE sub (id INT PRIMARY KEY) PARTITION BY RANGE (id) SUBPARTITION BY HASH (id) (PARTITION p0 VALUES " +
				"LESS THAN (500) (SUBPARTITION s0 " + external + ", SUBPARTITION s1 " + external +
				"), PARTITION p1 VALUES LESS THAN (100000) (SUBPARTITION s2, SUBPARTITION s3))",
			"INSERT INTO sub SELECT seq FROM seq_1_to_1000",
			"CREATE DATABASE e",
		},
	)
}

// directories are the options in a definition that say where files are.
var directories = regexp.MustCompile(` (DATA|INDEX) DIRECTORY ?= ?'[^']*'`)

// externalOption is the option of a table that lies in a folder.
func externalOption(folder string) string { return "DATA DIRECTORY='" + folder + "'" }

// externalWork changes them, and makes and moves others in database e, of which the
// binary log knows nothing, until ctx ends.
func externalWork(folder string) func(context.Context, *mariadbtest.Server) error {
	external := externalOption(folder)
	return all(
		churn("UPDATE d.far SET n = n + 1 WHERE id % 9 = 0", "UPDATE d.parts SET n = n + 1",
			"UPDATE d.zip SET n = n + 1 WHERE id % 9 = 0", "DO SLEEP(0.05)"),
		churn("UPDATE d.myisam SET n = n + 1 WHERE id % 99 = 0", "UPDATE d.aria SET n = n + 1 WHERE id % 99 = 0",
			"UPDATE d.oldparts SET n = n + 1 WHERE id < 9",
			"UPDATE d.words SET s = CONCAT(RIGHT(s, 400), ' x') WHERE id % 99 = 0", "DO SLEEP(0.05)"),
		churn("ALTER TABLE d.moved FORCE", "RENAME TABLE d.`far away` TO d.x, d.moved TO d.`far away`, d.x TO d.moved",
			"DO SLEEP(0.1)"),
		churn("SET sql_log_bin=0", "CREATE OR REPLACE TABLE e.made (a INT PRIMARY KEY) "+external,
			"INSERT INTO e.made SELECT seq FROM mysql.seq_1_to_500", "RENAME TABLE e.made TO e.made2",
			"TRUNCATE e.made2", "INSERT INTO e.made2 SELECT seq FROM mysql.seq_1_to_300", "DROP TABLE e.made2",
			"DO SLEEP(0.05)"),
		churn("SET sql_log_bin=0",
			"CREATE OR REPLACE TABLE e.parts (a INT PRIMARY KEY) PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (100), "+
				"PARTITION q VALUES LESS THAN (1000))",
			"INSERT INTO e.parts SELECT seq FROM mysql.seq_1_to_900",
			"ALTER TABLE e.parts REORGANIZE PARTITION p INTO (PARTITION p VALUES LESS THAN (100) "+external+")",
			"UPDATE e.parts SET a = 0 WHERE a = 1",
			"ALTER TABLE e.parts REORGANIZE PARTITION p INTO (PARTITION p VALUES LESS THAN (100))", "DO SLEEP(0.1)"),
	)
}

// Tables and partitions outside of the data directory are brought into it, on the
// source's own machine while the source runs. Neither the restore nor the server on
// what it has made touches the source's files.
func TestTablesElsewhere(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(tablesElsewhere(t, newest()))
}

// Up to 10.5 the dictionary has the paths of all tablespaces, too.
func TestTablesElsewhereInDictionary(t *testing.T) {
	t.Parallel()
	t.Log(tablesElsewhere(t, "10.5"))
}

func tablesElsewhere(t *testing.T, version string) string {
	folder := t.TempDir()
	source := mariadbtest.New(t, version)
	source.MustExec(t, externalTables(folder)...)
	repository := t.TempDir()
	p := profile{during: externalWork(folder), backup: []string{"--rate-limit", "30MB"}}
	b := taking(t, source, repository, p)
	source.MustExec(t, "SET sql_log_bin=0", "DROP DATABASE e", "FLUSH TABLES",
		"SELECT COUNT(*) FROM d.far, d.parts LIMIT 1")

	touched := watching(t, folder, filepath.Join(folder, "d"), filepath.Join(source.Datadir, "d"))
	must(t, "verify", "latest", "--repo", repository, "--depth", "boot", "--owner", self(), "--quiet")
	restored := caughtUp(t, source, repository, b, p)
	restored.MustExec(t, "SET sql_log_bin=0", "DROP DATABASE e")
	nothingExternal(t, restored, folder)
	for _, event := range touched() {
		t.Errorf("a restore touched the source's files: %s", event)
	}
	wantSameBut(t, source, restored,
		func(definition string) string { return directories.ReplaceAllString(definition, "") })

	// What a DBA may do next: on no account may it reach the source's files.
	touched = watching(t, folder, filepath.Join(folder, "d"))
	restored.MustExec(t, reshaping()...)
	if err := restored.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	restored.MustExec(t, "UPDATE d.idle SET n = 7", "UPDATE d.idleparts SET n = 7", "DROP DATABASE d")
	for _, event := range touched() {
		t.Errorf("the restored server touched the source's files: %s", event)
	}
	return b.String()
}

// reshaping are statements that recreate the files of tables.
func reshaping() []string {
	return []string{
		"ALTER TABLE d.parts REBUILD PARTITION p0", "ALTER TABLE d.oldparts REBUILD PARTITION p0",
		"ALTER TABLE d.parts TRUNCATE PARTITION p0", "ALTER TABLE d.sub REBUILD PARTITION p0", "ALTER TABLE d.sub FORCE",
		"CREATE TABLE d.exchanged LIKE d.near", "ALTER TABLE d.exchanged DROP s, DROP KEY n",
		"ALTER TABLE d.idleparts EXCHANGE PARTITION p0 WITH TABLE d.exchanged",
		"ALTER TABLE d.idleparts REORGANIZE PARTITION p0 INTO (PARTITION p00 VALUES LESS THAN (50), PARTITION p01 VALUES " +
			"LESS THAN (500))", "CREATE TABLE d.like1 LIKE d.parts", "CREATE TABLE d.like2 LIKE d.oldparts",
		"CREATE TABLE d.like3 LIKE d.far", "CREATE TABLE d.like4 LIKE d.myisam", "TRUNCATE d.far",
		"INSERT INTO d.far SELECT * FROM d.near", "ALTER TABLE d.far FORCE, ALGORITHM=INPLACE",
		"ALTER TABLE d.far FORCE, ALGORITHM=COPY", "RENAME TABLE d.far TO d.far2", "OPTIMIZE TABLE d.far2",
		"ALTER TABLE d.far2 ADD FULLTEXT (s)", "ALTER TABLE d.far2 DISCARD TABLESPACE", "DROP TABLE d.far2",
		"ALTER TABLE d.myisam FORCE", "ALTER TABLE d.aria FORCE", "ALTER TABLE d.oldparts FORCE", "ALTER TABLE d.parts FORCE",
		"TRUNCATE d.myisam", "DROP TABLE d.words",
	}
}

// nothingExternal fails if a server keeps anything in a folder, or would make something
// there.
func nothingExternal(t *testing.T, srv *mariadbtest.Server, folder string) {
	t.Helper()
	for _, table := range []string{"far", "idle", "parts", "idleparts", "sub", "oldparts", "words", "myisam", "aria",
		"`empty`", "`far away`"} {
		var definition string
		if err := srv.DB().QueryRowContext(t.Context(), "SHOW CREATE TABLE d."+table).Scan(new(string),
			&definition); err != nil {
			t.Error(err)
		}
		if strings.Contains(definition, "DIRECTORY") {
			t.Errorf("the restored server says of %s: %s", table, definition)
		}
	}
	err := filepath.WalkDir(srv.Datadir, func(name string, d fs.DirEntry, err error) error {
		if d.Type()&fs.ModeSymlink != 0 || filepath.Ext(name) == ".isl" {
			t.Errorf("%s was restored", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// watching notes what happens to the files in some folders from now on, and returns
// a function that ends that and tells: who changes a file has to open it first. (The
// source has its own open, and goes on writing.)
func watching(t *testing.T, folders ...string) func() []string {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	const what = unix.IN_OPEN | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVED_FROM | unix.IN_MOVED_TO | unix.IN_ATTRIB
	for _, folder := range folders {
		if _, err := unix.InotifyAddWatch(fd, folder, what); err != nil {
			t.Fatal(err)
		}
	}
	return func() []string {
		defer unix.Close(fd) //nolint:errcheck // of a test
		var events []string
		buf := make([]byte, 1<<16)
		for {
			n, err := unix.Read(fd, buf)
			if errors.Is(err, unix.EAGAIN) {
				return events
			}
			if err != nil {
				t.Fatal(err)
			}
			for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
				mask, length := binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[12:])
				name := strings.TrimRight(string(b[unix.SizeofInotifyEvent:unix.SizeofInotifyEvent+length]), "\x00")
				events = append(events, fmt.Sprintf("%s, event %#x", name, mask))
				b = b[unix.SizeofInotifyEvent+length:]
			}
		}
	}
}

// A database that is a symbolic link becomes a plain one.
func TestDatabaseElsewhere(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, oldest())
	folder := filepath.Join(t.TempDir(), "shop")
	srv.MustExec(t, "CREATE DATABASE shop")
	if err := errors.Join(os.Rename(filepath.Join(srv.Datadir, "shop"), folder),
		os.Symlink(folder, filepath.Join(srv.Datadir, "shop"))); err != nil {
		t.Fatal(err)
	}
	srv.MustExec(t, "CREATE TABLE shop.t (a INT) ENGINE=InnoDB", "INSERT INTO shop.t VALUES (1)",
		"CREATE TABLE shop.m (a INT) ENGINE=MyISAM", "INSERT INTO shop.m VALUES (2)", "FLUSH TABLES")
	repository := t.TempDir()
	must(t, backupArgs(srv, repository)...)
	target := filepath.Join(t.TempDir(), "restored")
	r := must(t, restoreArgs("latest", repository, target)...)
	if want := "database shop was a symbolic link to " + folder; !strings.Contains(r.stdout, want) {
		t.Errorf("the restore does not say %q:\n%s", want, r.stdout)
	}
	if info, err := os.Lstat(filepath.Join(target, "shop")); err != nil || !info.IsDir() {
		t.Errorf("shop was restored as %v, %v, want a directory", info, err)
	}
	restored := mariadbtest.Open(t, oldest(), target)
	restored.MustExec(t, "UPDATE shop.t SET a = 9", "UPDATE shop.m SET a = 9")
	if got := srv.MustValue(t, "SELECT (SELECT a FROM shop.t) + (SELECT a FROM shop.m)"); got != "3" {
		t.Errorf("the source has the sum %s after the restored server changed its own, want 3", got)
	}
}

// What no backup could find, or would mistake, is refused before anything is locked.
func TestBrokenLinks(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, oldest())
	folder := t.TempDir()
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT) "+externalOption(folder))
	local, external := filepath.Join(srv.Datadir, "d", "t"), filepath.Join(folder, "d", "t.ibd")
	repository := t.TempDir()
	before := tree(t, repository)
	for _, tt := range []struct {
		name     string
		do, undo func() error
		want     string
	}{
		{"a tablespace in both places", func() error { return os.Link(external, local+".ibd") },
			func() error { return os.Remove(local + ".ibd") }, "and t.ibd is there, too"},
		{"a link that leads nowhere", func() error { return os.Rename(external, external+"x") },
			func() error { return os.Rename(external+"x", external) }, "d/t.isl leads to " + external + ", which is not there"},
		{"no link", func() error { return os.Rename(local+".isl", local+".islx") },
			func() error { return os.Rename(local+".islx", local+".isl") }, "keeps a tablespace in " + external},
		{"an empty link", func() error {
			return errors.Join(os.Rename(local+".isl", local+".islx"), os.WriteFile(local+".isl", nil, 0o600))
		}, func() error { return os.Rename(local+".islx", local+".isl") }, "d/t.isl holds no path"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := tt.do(); err != nil {
				t.Fatal(err)
			}
			mbk(t, backupArgs(srv, repository)...).wantRefusal(t, 2, "repair the table", "tables: ", tt.want)
			wantUnchanged(t, before, repository)
			if err := tt.undo(); err != nil {
				t.Fatal(err)
			}
		})
	}
	must(t, backupArgs(srv, repository)...)
	mbk(t, append(restoreArgs("latest", repository, filepath.Join(t.TempDir(), "raw")), "--no-recover")...).wantRefusal(t,
		2, "--no-recover", "DATA DIRECTORY")
}

// An encrypted redo log hides names, so nobody can take absolute paths out of it.
// Where they lead to files in use nothing is restored.
func TestTablesElsewhereInEncryptedLog(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	for _, version := range mariadbtest.Some(t, "10.5", newest()) {
		t.Run(version, func(t *testing.T) {
			args, err := mariadbtest.EncryptionArgs(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			args = append(args, "--innodb-encrypt-tables=OFF", "--innodb-encryption-threads=0", "--innodb-encrypt-log=ON")
			srv := mariadbtest.New(t, version, args...)
			folder := t.TempDir()
			srv.MustExec(t, statements(filled("t", 1, externalOption(folder)), filled("idle", 1, externalOption(folder)))...)
			repository, target := t.TempDir(), filepath.Join(t.TempDir(), "restored")
			p := profile{args: args, during: churn("UPDATE d.t SET n = n + 1")}
			if !forcesCheckpoint(version) { // its encrypted log can be followed only behind a checkpoint
				p.during = nil
				if err := srv.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			b := taking(t, srv, repository, p)
			mbk(t, restoreArgs(b.ID, repository, target)...).wantRefusal(t, 2, "DATA DIRECTORY do not exist",
				"encrypted redo log", folder)
			if err := os.Rename(folder, folder+"-hidden"); err != nil { // as on another machine
				t.Fatal(err)
			}
			must(t, restoreArgs(b.ID, repository, target)...)
			if err := os.Rename(folder+"-hidden", folder); err != nil {
				t.Fatal(err)
			}
			touched := watching(t, filepath.Join(folder, "d"))
			restored := mariadbtest.Open(t, version, target, args...)
			restored.MustExec(t, "ALTER TABLE d.t FORCE", "UPDATE d.idle SET n = 8")
			for _, event := range touched() {
				t.Errorf("the restored server touched the source's files: %s", event)
			}
		})
	}
}

// A filter can leave such tables out, but not where the dictionary has their paths: it
// would have the restored server drop the source's files.
func TestTablesElsewhereLeftOut(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, "10.5", newest()) {
		t.Run(version, func(t *testing.T) {
			srv := mariadbtest.New(t, version)
			folder := t.TempDir()
			srv.MustExec(t, statements(filled("kept", 1, externalOption(folder)), filled("gone", 1, externalOption(folder)),
				[]string{"UPDATE gone SET n = 1", "UPDATE kept SET n = 1"})...)
			repository, filtered := t.TempDir(), t.TempDir()
			must(t, backupArgs(srv, repository)...)
			touched := watching(t, filepath.Join(folder, "d"))
			narrowed := append(restoreArgs("latest", repository, filepath.Join(t.TempDir(), "narrowed")),
				"--exclude-table", "d.gone")
			if version == "10.5" {
				mbk(t, append(backupArgs(srv, filtered), "--exclude-table", "d.gone")...).wantRefusal(t, 2, "back up everything",
					"before 10.6")
				mbk(t, narrowed...).wantRefusal(t, 2, "restore everything", "before 10.6")
				return
			}
			must(t, narrowed...)
			for _, event := range touched() {
				t.Errorf("the restore touched the source's files: %s", event)
			}
			must(t, append(backupArgs(srv, filtered), "--exclude-table", "d.gone")...)
			touched = watching(t, filepath.Join(folder, "d"))
			target := filepath.Join(t.TempDir(), "restored")
			must(t, restoreArgs("latest", filtered, target)...)
			restored := mariadbtest.Open(t, version, target)
			restored.MustExec(t, "ALTER TABLE d.kept FORCE")
			if got := restored.MustValue(t, "SELECT SUM(n) FROM d.kept"); got != "1800" {
				t.Errorf("the sum of the table that is kept is %s, want 1800", got)
			}
			for _, event := range touched() {
				t.Errorf("a restore touched the source's files: %s", event)
			}
		})
	}
}

// Tables outside of the data directory stay outside: in another folder, on another
// file system, or where they were, unless something is there.
func TestTablesMappedElsewhere(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	t.Log(tablesMapped(t, newest()))
}

func tablesMapped(t *testing.T, version string) string {
	folder, other := t.TempDir(), otherFileSystem(t)
	source := mariadbtest.New(t, version)
	source.MustExec(t, externalTables(folder)...)
	repository := t.TempDir()
	p := profile{during: churn("UPDATE d.far SET n = n + 1 WHERE id % 9 = 0", "UPDATE d.parts SET n = n + 1",
		"ALTER TABLE d.moved FORCE", "RENAME TABLE d.moved TO d.x, d.`far away` TO d.moved, d.x TO d.`far away`",
		"UPDATE d.aria SET n = n + 1 WHERE id % 99 = 0", "UPDATE d.myisam SET n = n + 1 WHERE id % 99 = 0", "DO SLEEP(0.1)")}
	b := taking(t, source, repository, p)
	target := filepath.Join(t.TempDir(), "restored")

	mbk(t, append(restoreArgs(b.ID, repository, target), "--original-dirs")...).wantRefusal(t, 2, "never overwrites",
		"there already", folder)
	mbk(t, append(restoreArgs(b.ID, repository, target), "--map-dir", "/nowhere="+other)...).wantRefusal(t, 2,
		"--dry-run", "/nowhere")
	mbk(t, append(restoreArgs(b.ID, repository, target), "--map-dir", folder+"="+other+"/missing")...).wantRefusal(t, 2,
		"make that folder", "missing")
	mbk(t, append(restoreArgs(b.ID, repository, target), "--map-dir", folder)...).wantRefusal(t, 2,
		"mbk restore --help", "OLD=NEW")

	touched := watching(t, folder, filepath.Join(folder, "d"))
	must(t, append(restoreArgs(b.ID, repository, target), "--map-dir", folder+"="+other)...)
	restored := mariadbtest.Open(t, version, target)
	if err := mariadbtest.ReplayBinlog(t.Context(), source, restored, b.Binlog.File, b.Binlog.Position); err != nil {
		t.Fatal(err)
	}
	for _, event := range touched() {
		t.Errorf("a restore touched the source's files: %s", event)
	}
	wantSameBut(t, source, restored,
		func(definition string) string { return strings.ReplaceAll(definition, folder, other) })
	if err := source.Stop(t.Context()); err != nil { // it writes changed pages for a while
		t.Fatal(err)
	}
	before := tree(t, folder)
	restored.MustExec(t, reshaping()...)
	if err := restored.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	restored.MustExec(t, "UPDATE d.idle SET n = 7", "UPDATE d.idleparts SET n = 7", "ALTER TABLE d.idle FORCE")
	if _, err := os.Stat(filepath.Join(other, "d", "idle.ibd")); err != nil {
		t.Errorf("after ALTER TABLE: %v", err)
	}
	restored.MustExec(t, "DROP DATABASE d")
	wantUnchanged(t, before, folder)
	if err := source.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := tree(t, other); strings.Contains(left, ".") {
		t.Errorf("after DROP DATABASE the folder holds files:\n%s", left)
	}

	// The source is lost, and everything comes back to where it was.
	want, err := mariadbtest.TakeSnapshot(t.Context(), source)
	if err == nil {
		err = errors.Join(source.Stop(t.Context()), os.RemoveAll(folder), os.Mkdir(folder, 0o700))
	}
	if err != nil {
		t.Fatal(err)
	}
	b2 := filepath.Join(t.TempDir(), "original")
	must(t, append(restoreArgs(b.ID, repository, b2), "--original-dirs")...)
	again := mariadbtest.Open(t, version, b2)
	got, err := mariadbtest.TakeSnapshot(t.Context(), again)
	if err != nil {
		t.Fatal(err)
	}
	for o, definition := range want {
		if o.Kind == "table" && got[o] != definition {
			t.Errorf("%s is %q, want %q", o.Name, got[o], definition)
		}
	}
	wantSound(t, again)
	return b.String()
}

// The system tablespace consists of files in several folders, of which two have the
// same name; so do its restored files, except for the folders.
func TestSystemFilesElsewhere(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	one, two := t.TempDir(), t.TempDir()
	p := profile{
		args: []string{"--innodb-data-home-dir=", "--innodb-data-file-path=" + one + "/system:10M;" + two +
			"/system:10M;ibdata3:12M:autoextend"},
		told: []string{"innodb_data_home_dir = ",
			"innodb_data_file_path = system:10M;system-2:10M;ibdata3:12M:autoextend"},
		restored: []string{"--innodb-data-file-path=system:10M;system-2:10M;ibdata3:12M:autoextend"},
		prepare: append(statements(filled("t", 1, "")), "SET GLOBAL innodb_file_per_table=OFF",
			"CREATE TABLE inside SELECT * FROM t", "ALTER TABLE inside FORCE"),
		during: churn("UPDATE d.inside SET n = n + 1 WHERE id % 9 = 0", "DO SLEEP(0.05)"),
	}
	b, _, _ := light(t, oldest(), p)
	t.Log(b)
}

// The dictionary of an encrypted system tablespace cannot be changed, so tables stay
// outside there.
func TestTablesElsewhereInEncryptedDictionary(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	args, err := mariadbtest.EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	srv := mariadbtest.New(t, oldest(), append(args, "--innodb-encrypt-log=OFF")...)
	folder, other := t.TempDir(), t.TempDir()
	srv.MustExec(t, statements(filled("t", 1, externalOption(folder)))...)
	const clear = "SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION WHERE SPACE = 0 AND " +
		"MIN_KEY_VERSION = 0"
	for range 100 {
		if srv.MustValue(t, clear) == "0" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	srv.MustExec(t, "SET GLOBAL innodb_max_dirty_pages_pct=0", "DO SLEEP(1)")
	repository, target := t.TempDir(), filepath.Join(t.TempDir(), "restored")
	must(t, backupArgs(srv, repository)...)
	mbk(t, restoreArgs("latest", repository, target)...).wantRefusal(t, 2, "--map-dir", "dictionary is encrypted")
	must(t, append(restoreArgs("latest", repository, target), "--map-dir", folder+"="+other)...)
	restored := mariadbtest.Open(t, oldest(), target, args...)
	restored.MustExec(t, "ALTER TABLE d.t FORCE")
	if _, err := os.Stat(filepath.Join(other, "d", "t.ibd")); err != nil {
		t.Error(err)
	}
}

// A server at rest makes no checkpoint after the names with which its last one ended. An
// encrypted log hides that there is nothing else, and no backup was possible.
func TestIdleServerWithEncryptedLog(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("1;770A8A65DA156D24EE2A093277530142\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := mariadbtest.New(t, "10.6", "--plugin-load-add=file_key_management", "--file-key-management-filename="+keys,
		"--innodb-encrypt-log")
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (i INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)",
		"SET GLOBAL innodb_max_dirty_pages_pct=0, GLOBAL innodb_max_dirty_pages_pct_lwm=0", "DO SLEEP(3)")
	repository := t.TempDir()
	must(t, backupArgs(srv, repository)...)
	must(t, "verify", "latest", "--no-defaults", "--repo", repository, "--depth", "pages")
}
