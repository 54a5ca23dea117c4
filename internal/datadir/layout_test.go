package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mbk/internal/sys/fsuser"
)

func TestLayoutOfVariables(t *testing.T) {
	vars := map[string]string{
		"datadir": "/var/lib/mysql/", "innodb_data_home_dir": "",
		"innodb_data_file_path": "ibdata1:12M;/ssd/ibdata2:50M:autoextend:max:1G",
		"innodb_undo_directory": "./undo", "innodb_log_group_home_dir": "/var/lib/mysql/redo",
		"aria_log_dir_path": "/var/lib/mysql/",
		"ignore_db_dirs":    "a,b", "innodb_page_size": "16384", "log_bin_basename": "/var/lib/mysql/logs/binlog",
		"tmpdir": "/tmp:/var/lib/mysql/tmp",
	}
	l, err := NewLayout("/mnt/data", vars, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{l.undo, l.Redo, l.Aria, strings.Join(l.System, " ")}
	want := []string{"/mnt/data/undo", "/mnt/data/redo/ib_logfile0", "/mnt/data", "/mnt/data/ibdata1 /ssd/ibdata2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths (-want +got):\n%s", diff)
	}
	for file, want := range map[string][3]string{
		"/mnt/data/undo/undo001": {"undo", "undo001", ""},
		"/mnt/data/ibdata1":      {"", "ibdata1", ""},
		"/ssd/ibdata2":           {"", "ibdata2", "/ssd/ibdata2"},
	} {
		e, origin := l.EntryOf(file)
		if got := [3]string{e.Dir, e.Name, origin}; got != want {
			t.Errorf("entry(%s) = %q, want %q", file, got, want)
		}
	}
}

func TestSystemFilesThatCannotBe(t *testing.T) {
	for _, path := range []string{"ibdata1", ":12M", "ibdata1:", "/dev/sdb1:3Gnewraw", "/dev/sdb1:3G:raw",
		"ibdata1:12M;;ibdata2:1M"} {
		if names, err := systemFiles(path); err == nil {
			t.Errorf("systemFiles(%q) = %q, want an error", path, names)
		}
	}
}

func TestScanTakesWhatBelongsIntoABackup(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{
		"ibdata1", "ib_logfile0", "ibtmp1", "undo001", "aria_log_control", "aria_log.00000001", "ddl.log", "mysqld.pid",
		"host.err",
		"ib_buffer_pool", "mysql_upgrade_info", "debian-10.11.flag", "stray.bin", "binlog.000001", "db1-relay-bin.000007",
		"mariadb-bin.index", "tc.log",
		"shop/db.opt", "shop/orders.frm", "shop/orders.ibd", "shop/parts.frm", "shop/parts.MAD", "shop/parts.MAI",
		"shop/old.MYD", "shop/old.MYI",
		"shop/sales.frm", "shop/sales#P#p0.ibd", "shop/sales#P#p1.ibd", "shop/ins.TRN", "shop/orders.TRG", "shop/unknown.bin",
		"shop/#sql-alter-1.ibd", "shop/#sql-alter-1.frm", "shop/#sql_2.MYD", "shop/x.TMD", "shop/x.cfg",
		"shop/FTS_000000000000007e_00000000000000b0_INDEX_1.ibd", "#innodb_redo/x", ".hidden/x", "lost+found/x", "skip/x",
		"empty/",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
		} else if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l, err := NewLayout(dir, map[string]string{"datadir": dir, "ignore_db_dirs": "skip", "innodb_page_size": "16384"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range s.Entries {
		got = append(got, e.Path()+" "+e.Table)
	}
	want := []string{
		"debian-10.11.flag ", "ib_buffer_pool ", "mysql_upgrade_info ",
		"shop/#sql-alter-1.ibd #sql-alter-1", "shop/FTS_000000000000007e_00000000000000b0_INDEX_1.ibd " +
			"FTS_000000000000007e_00000000000000b0_INDEX_1",
		"shop/db.opt ", "shop/ins.TRN ", "shop/old.MYD old", "shop/old.MYI old", "shop/orders.TRG orders",
		"shop/orders.frm orders", "shop/orders.ibd orders",
		"shop/parts.MAI parts", "shop/parts.MAD parts", "shop/parts.frm parts",
		"shop/sales#P#p0.ibd sales", "shop/sales#P#p1.ibd sales", "shop/sales.frm sales",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"empty", "shop"}, s.Databases); diff != "" {
		t.Errorf("databases (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"shop/unknown.bin"}, s.Strays); diff != "" {
		t.Errorf("files of no table (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"stray.bin"}, s.Unknown); diff != "" {
		t.Errorf("unknown files (-want +got):\n%s", diff)
	}
}

// A log file of the server in the folder of a database, or a folder for temporary
// files with a database's name, took the whole database out of the backup.
func TestDatabaseBesideFilesOfTheServer(t *testing.T) {
	const dir = "shop"
	for variable, value := range map[string]string{
		"log_error": "shop/err.log", "general_log_file": "DATADIR/shop/general.log", "slow_query_log_file": "./shop/slow",
		"log_bin_basename":   "DATADIR/shop/binlog",
		"relay_log_basename": "DATADIR/shop/relay", "log_bin_index": "DATADIR/shop/binlog.index",
		"tmpdir": "/tmp:DATADIR/shop", "innodb_tmpdir": "DATADIR/shop", "slave_load_tmpdir": "DATADIR/shop",
		"innodb_temp_data_file_path": "shop/ibtmp1:12M:autoextend", "pid_file": "DATADIR/shop/pid",
		"socket": "DATADIR/shop/sock", "innodb_undo_directory": "shop",
		"innodb_log_group_home_dir": "./shop", "aria_log_dir_path": "DATADIR/shop/",
		"innodb_data_file_path": "shop/ibdata1:12M:autoextend",
	} {
		for _, tt := range []struct {
			name     string
			files    string
			database bool // whatever else the folder is for
			want     string
		}{
			{"tables", "db.opt t.frm t.ibd m.MYI m.MYD", true, "db.opt m.MYD m.MYI t.frm t.ibd"},
			{"no tables", "db.opt", true, "db.opt"},
			{"no options", "t.frm", true, "t.frm"},
			{"a table that only InnoDB knows", "t.ibd", true, "t.ibd"},
			{"an archive", "a.ARZ", true, "a.ARZ"},
			{"nothing of a database", "", false, ""},
		} {
			t.Run(variable+", "+tt.name, func(t *testing.T) {
				datadir := t.TempDir()
				own := "err.log general.log slow binlog.000001 binlog.index relay.000002 ibtmp1 pid undo001 ib_logfile0 " +
					"aria_log_control aria_log.00000001 ibdata1 #sql-temptable-1.MAI #sql1.frm"
				for name := range strings.FieldsSeq(own + " " + tt.files) {
					path := filepath.Join(datadir, dir, name)
					if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
						t.Fatal(err)
					}
				}
				l, err := NewLayout(datadir, map[string]string{"datadir": datadir, "innodb_page_size": "16384",
					variable: strings.ReplaceAll(value, "DATADIR", datadir)}, nil)
				if err != nil {
					t.Fatal(err)
				}
				s, err := l.Scan(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var names []string
				for _, e := range s.Entries {
					names = append(names, e.Name)
				}
				if got := strings.Join(names, " "); got != tt.want {
					t.Errorf("files %q, want %q", got, tt.want)
				}
				// The server lists every folder. Those of InnoDB and Aria are restored with their files.
				folder := filepath.Join(datadir, dir)
				if want := tt.database || !l.holdsEngines(folder); slices.Contains(s.Databases, dir) != want {
					t.Errorf("databases %q, want %s among them: %t", s.Databases, dir, want)
				}
			})
		}
	}
}

// A directory that only root may read was an error, with advice that did not help.
func TestScanOfClosedDirectories(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	datadir, err := os.MkdirTemp("/tmp", "closed")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(datadir) })
	server := fsuser.User{UID: 64999, GID: 64998}
	for name, mode := range map[string]os.FileMode{"shop": 0o700, "old.d": 0o700, "lost+found": 0o700, ".git": 0o700,
		"open": 0o755} {
		if err := os.Mkdir(filepath.Join(datadir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(datadir, server.UID, server.GID); err != nil {
		t.Fatal(err)
	}
	l, err := NewLayout(datadir, map[string]string{"datadir": datadir, "innodb_page_size": "16384"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := fsuser.Value(server, func() (Scan, error) { return l.Scan(t.Context()) })
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"old.d", "shop"}, s.Closed); diff != "" {
		t.Errorf("closed (-want +got):\n%s", diff)
	}
}

// What a replica keeps of named connections was called unknown, every night.
func TestFilesOfNamedConnections(t *testing.T) {
	l := Layout{Dir: "/d", Vars: map[string]string{"relay_log_basename": "/d/rl", "relay_log_info_file": "relay-log.info"}}
	for name, want := range map[string]bool{
		"master-east.info": true, "master-@0041b.info": true, "relay-log-east.info": true, "rl-east.000001": true,
		"rl-east.index": true, "rl.000001": true,
		"mysqld-relay-bin-east.000001": true, "db1-relay-bin-we@0020st.index": true, "db1-relay-bin.000002": true,
		"rl-east.txt": false, "mysqld-relay-bin-east.txt": false, "mysqld-relay-bin-east.0001x": false,
		"mysqld-relay-binary.000001": false, "rleast.000001": false, "slave-east.info": false, "master-east.txt": false,
	} {
		if got := l.handledElsewhere(name); got != want {
			t.Errorf("%s is known: %t, want %t", name, got, want)
		}
	}
	l.Vars = map[string]string{"relay_log_info_file": "/d/rli.info"}
	if !l.handledElsewhere("rli-east.info") || l.handledElsewhere("rl-east.000001") {
		t.Error("rli-east.info is not known, or rl-east.000001 is")
	}
}
