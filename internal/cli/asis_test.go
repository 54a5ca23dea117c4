package cli_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/repo/store/folder"
	"mbk/internal/test/mariadbtest"
)

// found is something in a data directory with which a server lives.
type found struct {
	name    string
	tables  []string // statements in database shop
	do      func(dir string) error
	want    string   // in a warning of the backup, and in one of the check
	problem []string // tables that are put down as broken on the source
	gone    string   // a file that is not restored
}

// inDatadir are changes to files of a stopped server.
func inDatadir(changes ...func(dir string) error) func(dir string) error {
	return func(dir string) error {
		for _, change := range changes {
			if err := change(dir); err != nil {
				return err
			}
		}
		return nil
	}
}

func removed(names ...string) func(dir string) error {
	return func(dir string) error {
		for _, name := range names {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		return nil
	}
}

func written(name, text string) func(dir string) error {
	return func(dir string) error {
		file := filepath.Join(dir, name)
		return errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, []byte(text), 0o600))
	}
}

// marked writes a byte into a file.
func marked(name string, at int64, value byte) func(dir string) error {
	return func(dir string) error {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt([]byte{value}, at)
		return errors.Join(err, f.Close())
	}
}

func cut(name string, size int64) func(dir string) error {
	return func(dir string) error { return os.Truncate(filepath.Join(dir, name), size) }
}

func copied(from, to string) func(dir string) error {
	return func(dir string) error {
		b, err := os.ReadFile(filepath.Join(dir, from))
		return errors.Join(err, written(to, string(b))(dir))
	}
}

// copiedAll copies all files of a pattern into a folder.
func copiedAll(pattern, to string) func(dir string) error {
	return func(dir string) error {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		for _, file := range found {
			b, failed := os.ReadFile(file)
			err = errors.Join(err, failed, written(filepath.Join(to, filepath.Base(file)), string(b))(dir))
		}
		return err
	}
}

func linked(from, to string) func(dir string) error {
	return func(dir string) error { return os.Link(filepath.Join(dir, from), filepath.Join(dir, to)) }
}

// keysOfTest is a file of keys, with which nothing is encrypted.
const keysOfTest = "1;770A8A65DA156D24EE2A093277530142"

// asFound are the cases; folder is outside of the data directory. Each has names of its own, so that one server has
// them all.
func asFound(folder string) []found {
	const rows = " SELECT seq AS i FROM seq_1_to_5000"
	return []found{
		{name: "an ARCHIVE table that nobody has opened", tables: []string{"CREATE TABLE ar (i INT) ENGINE=ARCHIVE"}},
		{name: "a database without tables where the server writes its log",
			tables: []string{"CREATE DATABASE logs CHARACTER SET latin2"}, gone: "logs/general.log"},
		{name: "a log of the server among system tables", gone: "mysql/error.log"},
		{name: "a copy of a table's file", tables: []string{"CREATE TABLE t (i INT PRIMARY KEY)" + rows},
			do: copied("shop/t.ibd", "shop/t_old.ibd"), want: "shop/t_old.ibd", gone: "shop/t_old.ibd"},
		{name: "a copied database", tables: []string{"CREATE TABLE t2 (i INT PRIMARY KEY)",
			"CREATE TABLE my2 (i INT) ENGINE=MyISAM"}, problem: []string{"#mysql50#shop.old.t2", "#mysql50#shop.old.my2"},
			do: inDatadir(copied("shop/t2.ibd", "shop.old/t2.ibd"), copied("shop/t2.frm", "shop.old/t2.frm"),
				copied("shop/my2.frm", "shop.old/my2.frm"), copied("shop/my2.MYI", "shop.old/my2.MYI"),
				copied("shop/my2.MYD", "shop.old/my2.MYD")),
			want: "shop.old/t2.ibd", gone: "shop.old/t2.ibd"},
		{name: "a copied database with a full-text index",
			tables: []string{"CREATE TABLE ft (i INT PRIMARY KEY, s TEXT, FULLTEXT (s))",
				"INSERT INTO ft VALUES (1, 'a word')"},
			problem: []string{"shop2.ft"},
			do: inDatadir(copied("shop/ft.frm", "shop2/ft.frm"), copied("shop/ft.ibd", "shop2/ft.ibd"),
				copiedAll("shop/FTS_*", "shop2")), want: "shop2/FTS_00", gone: "shop2/ft.ibd"},
		{name: "the full-text index of another server", do: copied("shop/t.ibd", "shop/FTS_0000000000009999_CONFIG.ibd"),
			want: "shop/FTS_0000000000009999_CONFIG.ibd", gone: "shop/FTS_0000000000009999_CONFIG.ibd"},
		{name: "a copy under the name of an intermediate table",
			do:   inDatadir(copied("shop/t.ibd", "shop/#sql-ib99-1.ibd"), copied("shop/t.ibd", "shop/#sql-alter-1-2.ibd")),
			gone: "shop/#sql-alter-1-2.ibd"},
		{name: "a tablespace with no table", do: written("shop/garbage.ibd", strings.Repeat("garbage ", 10000)),
			want: "shop/garbage.ibd", gone: "shop/garbage.ibd"},
		{name: "an empty definition", do: written("shop/x.frm", ""), want: "definition shop/x.frm cannot be read (0 bytes",
			problem: []string{"shop.x"}},
		{name: "garbage for a definition", do: written("shop/y.frm", "garbage"),
			want: "definition shop/y.frm cannot be read (7 bytes", problem: []string{"shop.y"}},
		{name: "a link to a definition that leads nowhere", tables: []string{"CREATE TABLE baddead (i INT) ENGINE=MyISAM"},
			do: inDatadir(removed("shop/baddead.frm"),
				func(dir string) error { return os.Symlink("/nowhere/f.frm", filepath.Join(dir, "shop/baddead.frm")) }),
			want:    "definition shop/baddead.frm cannot be read (a link to /nowhere/f.frm, which is not there)",
			problem: []string{"shop.baddead"}, gone: "shop/baddead.frm"},
		{name: "a link to a definition, and no table",
			do:   func(dir string) error { return os.Symlink("../gone.frm", filepath.Join(dir, "shop/badlink.frm")) },
			want: "definition shop/badlink.frm cannot be read", problem: []string{"shop.badlink"}, gone: "shop/badlink.frm"},
		{name: "a definition that is a link to itself",
			do:   func(dir string) error { return os.Symlink("badring.frm", filepath.Join(dir, "shop/badring.frm")) },
			want: "definition shop/badring.frm cannot be read (too many levels", problem: []string{"shop.badring"},
			gone: "shop/badring.frm"},
		{name: "no .ibd", tables: []string{"CREATE TABLE noibd (i INT PRIMARY KEY)"}, do: removed("shop/noibd.ibd"),
			want: "shop/noibd.ibd is missing", problem: []string{"shop.noibd"}},
		{name: "the file of another table in the place of one's own",
			tables: []string{"CREATE TABLE wrong (i INT PRIMARY KEY)"}, do: copied("shop/t.ibd", "shop/wrong.ibd"),
			want: "its file shop/wrong.ibd is a copy of shop/t.ibd, or was exchanged with it", problem: []string{"shop.wrong"},
			gone: "shop/wrong.ibd"},
		{name: "two tables with each other's files",
			tables: []string{"CREATE TABLE swap1 (i INT PRIMARY KEY)", "CREATE TABLE swap2 (i INT PRIMARY KEY)"},
			do: func(dir string) error {
				one, two, third := filepath.Join(dir, "shop/swap1.ibd"), filepath.Join(dir, "shop/swap2.ibd"),
					filepath.Join(dir, "third")
				return errors.Join(os.Rename(one, third), os.Rename(two, one), os.Rename(third, two))
			}, want: "its file shop/swap2.ibd is a copy of shop/swap1.ibd, or was exchanged with it",
			problem: []string{"shop.swap1", "shop.swap2"}},
		{name: "no .ibd of a partition",
			tables: []string{"CREATE TABLE noibds (i INT PRIMARY KEY) PARTITION BY HASH (i) PARTITIONS 2"},
			do:     removed("shop/noibds#P#p1.ibd"), want: "shop/noibds#P#p1.ibd is missing", problem: []string{"shop.noibds"}},
		{name: "no .MYD", tables: []string{"CREATE TABLE nomyd (i INT) ENGINE=MyISAM"}, do: removed("shop/nomyd.MYD"),
			want: "shop/nomyd.MYD is missing", problem: []string{"shop.nomyd"}},
		{name: "no .MYI of a subpartition",
			tables: []string{"CREATE TABLE nomyi (i INT) ENGINE=MyISAM PARTITION BY RANGE (i) SUBPARTITION BY HASH (i) " +
				"SUBPARTITIONS 2 (PARTITION `ä` VALUES LESS THAN MAXVALUE)"},
			do: removed("shop/nomyi#P#@0k#SP#@0ksp1.MYI"), want: "shop/nomyi#P#@0k#SP#@0ksp1.MYI is missing",
			problem: []string{"shop.nomyi"}},
		{name: "no list of partitions",
			tables: []string{"CREATE TABLE nopar (i INT) ENGINE=Aria PARTITION BY HASH (i) PARTITIONS 2"},
			do:     removed("shop/nopar.par"), want: "shop/nopar.par is missing", problem: []string{"shop.nopar"}},
		{name: "no .MAI", tables: []string{"CREATE TABLE nomai (i INT) ENGINE=Aria"}, do: removed("shop/nomai.MAI"),
			want: "shop/nomai.MAI is missing", problem: []string{"shop.nomai"}},
		{name: "no .CSV", tables: []string{"CREATE TABLE nocsv (i INT NOT NULL) ENGINE=CSV"}, do: removed("shop/nocsv.CSV"),
			want: "shop/nocsv.CSV is missing", problem: []string{"shop.nocsv"}},
		{name: "no .CSM", tables: []string{"CREATE TABLE nocsm (i INT NOT NULL) ENGINE=CSV"}, do: removed("shop/nocsm.CSM"),
			want: "shop/nocsm.CSM is missing", problem: []string{"shop.nocsm"}},
		{name: "no .ARZ", tables: []string{"CREATE TABLE noarz (i INT) ENGINE=ARCHIVE", "SELECT * FROM noarz"},
			do: removed("shop/noarz.ARZ"), want: "shop/noarz.ARZ is missing", problem: []string{"shop.noarz"}},
		{name: "no .MRG", tables: []string{"CREATE TABLE nomrg (i INT) ENGINE=MERGE UNION=(my2)"},
			do: removed("shop/nomrg.MRG"), want: "shop/nomrg.MRG is missing", problem: []string{"shop.nomrg"}},
		{name: "a link to data that leads nowhere", tables: []string{"CREATE TABLE far (i INT) ENGINE=MyISAM"},
			do: inDatadir(removed("shop/far.MYD"),
				func(dir string) error { return os.Symlink("/nowhere/far.MYD", filepath.Join(dir, "shop/far.MYD")) }),
			want: "shop/far.MYD is missing", problem: []string{"shop.far"}},
		{name: "a link to a directory",
			do: func(dir string) error { return os.Symlink("/tmp", filepath.Join(dir, "shop/dir.MYD")) }, gone: "shop/dir.MYD"},
		{name: "DATA DIRECTORY on a disk that is gone",
			tables: []string{"CREATE TABLE faribd (i INT PRIMARY KEY) DATA DIRECTORY='" + folder + "'"},
			do:     func(string) error { return os.Remove(filepath.Join(folder, "shop/faribd.ibd")) },
			want:   "shop/faribd.ibd is missing", problem: []string{"shop.faribd"}},
		{name: "MyISAM, marked as crashed", tables: []string{"CREATE TABLE mycrash (i INT, KEY (i)) ENGINE=MyISAM" + rows},
			do: marked("shop/mycrash.MYI", 26, 2), want: "shop/mycrash.MYI is marked as crashed",
			problem: []string{"shop.mycrash"}},
		{name: "Aria, marked as crashed", tables: []string{"CREATE TABLE arcrash (i INT, KEY (i)) ENGINE=Aria" + rows},
			do: marked("shop/arcrash.MAI", 27, 2), want: "shop/arcrash.MAI is marked as crashed",
			problem: []string{"shop.arcrash"}},
		{name: "MyISAM, data cut", tables: []string{"CREATE TABLE mycut (i INT, KEY (i)) ENGINE=MyISAM" + rows},
			do: cut("shop/mycut.MYD", 100), want: "shop/mycut.MYD has 100 bytes, and must have 35000",
			problem: []string{"shop.mycut"}},
		{name: "Aria, data cut", tables: []string{"CREATE TABLE arcut (i INT, KEY (i)) ENGINE=Aria" + rows},
			do: cut("shop/arcut.MAD", 16384), want: "shop/arcut.MAD has 16384 bytes", problem: []string{"shop.arcut"}},
		{name: "MyISAM, not closed", tables: []string{"CREATE TABLE myopen (i INT, KEY (i)) ENGINE=MyISAM" + rows},
			do: marked("shop/myopen.MYI", 25, 1), want: "shop/myopen.MYI was not closed properly",
			problem: []string{"shop.myopen"}},
		{name: "MyISAM, data too long", tables: []string{"CREATE TABLE mylong (i INT, KEY (i)) ENGINE=MyISAM" + rows},
			do: grown("shop/mylong.MYD", 100), want: "shop/mylong.MYD has 35100 bytes, and must have 35000",
			problem: []string{"shop.mylong"}},
		{name: "InnoDB, no first page", tables: []string{"CREATE TABLE ibzero (i INT PRIMARY KEY)" + rows},
			do: zeroed("shop/ibzero.ibd"), want: "shop/ibzero.ibd has no first page", problem: []string{"shop.ibzero"}},
		{name: "InnoDB, an empty file", tables: []string{"CREATE TABLE ibempty (i INT PRIMARY KEY)" + rows},
			do: cut("shop/ibempty.ibd", 0), want: "shop/ibempty.ibd has no first page", problem: []string{"shop.ibempty"}},
		{name: "ARCHIVE, data cut", tables: []string{"CREATE TABLE azcut ENGINE=ARCHIVE" + rows, "FLUSH TABLES"},
			do: cut("shop/azcut.ARZ", 2000), want: "shop/azcut.ARZ has 2000 bytes", problem: []string{"shop.azcut"}},
		{name: "a MERGE table of MySQL 5", tables: []string{"CREATE TABLE merged (i INT) ENGINE=MERGE UNION=(my2)"},
			do: func(dir string) error {
				b, err := os.ReadFile(filepath.Join(dir, "shop/merged.frm"))
				return errors.Join(err, written("shop/merged.frm", strings.Replace(string(b), "MRG_MyISAM", "MRG_MYISAM", 1))(dir))
			}},
		{name: "two tables with the same files", tables: []string{"CREATE TABLE one (i INT) ENGINE=MyISAM SELECT 7 AS i"},
			do: inDatadir(linked("shop/one.frm", "shop/two.frm"), linked("shop/one.MYD", "shop/two.MYD"),
				linked("shop/one.MYI", "shop/two.MYI"))},
		{name: "rows of no table", do: written("shop/lost.MYD", "rows"), want: "shop/lost.MYD"},
		{name: "no definition of InnoDB tables",
			tables: []string{"CREATE TABLE nofrm (i INT PRIMARY KEY)",
				"CREATE TABLE nofrms (i INT PRIMARY KEY) PARTITION BY HASH (i) PARTITIONS 1"},
			do:   removed("shop/nofrm.frm", "shop/nofrms.frm", "shop/nofrms.par"),
			want: "there is no definition: shop/nofrm.ibd, shop/nofrms#P#p0.ibd"},
		{name: "a name that is not UTF-8",
			do: inDatadir(written("shop/bad\xff.MYD", ""), written("shop/bad\xff.frm", ""), written("caf\xe9/db.opt", ""),
				written("top\xff", "")), want: `"shop/bad\xff.frm"`, gone: "shop/bad\xff.MYD"},
		{name: "a name with a control character", do: inDatadir(written("shop/ctl\x02.MYD", "")), want: `"shop/ctl\x02.MYD"`,
			gone: "shop/ctl\x02.MYD"},
		{name: "files of no engine",
			do: inDatadir(written("shop/notes.txt", ""), written("shop/t.ibd.bak", ""), written("shop/sub/file", ""),
				written("dumps/old.sql.gz", "")), want: "dumps/old.sql.gz, shop/dir.MYD, shop/notes.txt, shop/sub, shop/t.ibd.bak",
			gone: "shop/notes.txt"},
		{name: "an unknown file beside the databases", do: written("dump.sql", ""),
			want: "dump.sql in the data directory is not known"},
		{name: "the keys of encryption", do: written("keys.txt", keysOfTest),
			want: "keys.txt in the data directory holds the keys", gone: "keys.txt"},
		{name: "an upgrade that was not finished", do: func(dir string) error {
			return errors.Join(written("mariadb_upgrade_info", "10.4.3-MariaDB\n")(dir),
				written("mysql_upgrade_info", "10.4.3-MariaDB\n")(dir))
		}, want: "mariadb-upgrade ran last for 10.4,"},
	}
}

// grown adds bytes to a file of the data directory.
func grown(name string, n int) func(string) error {
	return func(dir string) error {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.Write(make([]byte, n))
		return errors.Join(err, f.Close())
	}
}

// zeroed overwrites the first page of a file of the data directory.
func zeroed(name string) func(string) error {
	return func(dir string) error {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteAt(make([]byte, 16<<10), 0)
		return errors.Join(err, f.Close())
	}
}

// What a server lives with, a backup lives with: it names it, as the check before it
// does, and what is restored is as it was on the source.
func TestDataDirectoryAsItIs(t *testing.T) {
	t.Parallel()
	version := newest()
	srv := mariadbtest.New(t, version)
	srv.MustExec(t, "INSTALL SONAME 'ha_archive'", "CREATE DATABASE shop")
	cases := asFound(t.TempDir())
	if version == "10.5" { // its dictionary has such paths, and a backup is refused
		cases = slices.DeleteFunc(cases, func(c found) bool { return strings.HasPrefix(c.name, "DATA DIRECTORY") })
	}
	for _, c := range cases {
		for _, statement := range c.tables {
			srv.MustExec(t, "USE shop", statement)
		}
	}
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		if c.do == nil {
			continue
		}
		if err := c.do(srv.Datadir); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(2 * time.Second) // when the server starts is known to a second
	srv = mariadbtest.Open(t, version, srv.Datadir, "--log-error="+srv.Datadir+"/mysql/error.log", "--general-log",
		"--general-log-file=logs/general.log", "--tmpdir="+srv.Datadir+"/shop",
		"--plugin-load-add=file_key_management", "--file-key-management-filename="+srv.Datadir+"/keys.txt")
	const lists = "SELECT GROUP_CONCAT(name ORDER BY 1 SEPARATOR ' ') FROM (SELECT SCHEMA_NAME AS name FROM " +
		"information_schema.SCHEMATA WHERE SCHEMA_NAME NOT LIKE '%caf%' UNION SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) " +
		"FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME NOT LIKE '%bad%') AS l"
	want := srv.MustValue(t, lists)
	repository := t.TempDir()
	checked := must(t, "check", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--no-defaults").stdout
	b := document[taken](t, backupArgs(srv, repository)...)
	m := manifestOf(t, repository, b.ID)
	broken := map[string]string{}
	for _, table := range m.Tables {
		if table.Problem != "" {
			broken[table.Database+"."+table.Name] = table.Problem
		}
	}
	keys := filepath.Join(t.TempDir(), "keys.txt") // where the user of the private server can reach it
	if err := os.WriteFile(keys, []byte(keysOfTest), 0o644); err != nil {
		t.Fatal(err)
	}
	must(t, "verify", b.ID, "--repo", repository, "--depth", "boot", "--quiet", "--owner", self(),
		"--mariadbd-option=--file-key-management-filename="+keys)
	target := filepath.Join(t.TempDir(), "restored")
	must(t, restoreArgs(b.ID, repository, target)...)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if c.want != "" && !strings.Contains(checked, c.want) {
				t.Errorf("the check does not say %q:\n%s", c.want, checked)
			}
			if c.want != "" &&
				!slices.ContainsFunc(b.Warnings, func(text string) bool { return strings.Contains(text, c.want) }) {
				t.Errorf("the backup does not warn of %q: %q", c.want, b.Warnings)
			}
			for _, table := range c.problem {
				if broken[table] == "" {
					t.Errorf("%s has no problem in the manifest", table)
				}
				delete(broken, table)
			}
			if c.gone != "" {
				if _, err := os.Lstat(filepath.Join(target, c.gone)); !errors.Is(err, os.ErrNotExist) {
					t.Errorf("%q was restored: %v", c.gone, err)
				}
			}
		})
	}
	if len(broken) > 0 {
		t.Errorf("further tables have problems in the manifest: %q", broken)
	}
	restored := mariadbtest.Open(t, version, target)
	if got := restored.MustValue(t, lists); got != want {
		t.Errorf("restored are %s, want %s", got, want)
	}
	for query, want := range map[string]string{
		"SELECT COUNT(*) FROM shop.t": "5000", "SELECT i FROM shop.ft WHERE MATCH (s) AGAINST ('word')": "1",
		"SELECT i FROM shop.two": "7", "SELECT COUNT(*) FROM shop.merged": "0", "SELECT COUNT(*) FROM shop.ar": "0",
		"SELECT DEFAULT_CHARACTER_SET_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = 'logs'": "latin2",
	} {
		if got := restored.MustValue(t, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
}

// A file that is not under its table's name may be all that there is of the table: it
// is never left out.
func TestRenamedTablespaceIsKept(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, oldest())
	srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.kept (i INT PRIMARY KEY)",
		"INSERT INTO shop.kept VALUES (1)", "FLUSH TABLES shop.kept FOR EXPORT", "UNLOCK TABLES")
	if err := os.Rename(filepath.Join(srv.Datadir, "shop/kept.ibd"),
		filepath.Join(srv.Datadir, "shop/moved.ibd")); err != nil {
		t.Fatal(err)
	}
	repository := t.TempDir()
	const want = "shop/moved.ibd has the number of shop/kept.ibd, which is not there"
	if o := must(t, "check", "--repo", repository, "--socket", srv.Socket, "--user", "root",
		"--no-defaults"); !strings.Contains(o.stdout, want) {
		t.Errorf("the check does not say %q:\n%s", want, o.stdout)
	}
	// The redo log tells that its name is another, for as long as it has that.
	o := mbk(t, backupArgs(srv, repository, "--json")...)
	if o.code == 1 &&
		strings.Contains(o.stderr, "called ./shop/kept.ibd by the redo log and shop/moved.ibd among the files") {
		return
	}
	var b taken
	if err := json.Unmarshal([]byte(o.stdout), &b); err != nil {
		t.Fatalf("exit code %d, %s: %v", o.code, o.stderr, err)
	}
	if !slices.ContainsFunc(manifestOf(t, repository, b.ID).Files,
		func(f repo.File) bool { return f.Path == "shop/moved.ibd" }) {
		t.Error("shop/moved.ibd is not in the backup")
	}
}

// opened opens a repository.
func opened(t *testing.T, repository string) *repo.Repository {
	t.Helper()
	st, err := folder.Open(repository)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	return withIdentity(t, r)
}

// manifestOf is the manifest of a backup.
func manifestOf(t *testing.T, repository, id string) *repo.Manifest {
	t.Helper()
	m, err := opened(t, repository).Manifest(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
