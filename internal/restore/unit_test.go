package restore

import (
	"slices"
	"strings"
	"testing"

	"mbk/internal/innodb"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/stage"
)

func TestListsMount(t *testing.T) {
	const text = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
25 22 0:22 / /mnt/a\040b rw shared:2 - tmpfs tmpfs rw
26 22 0:23 / /mnt/plain rw - tmpfs tmpfs rw
odd line
`
	for path, want := range map[string]bool{"/": true, "/mnt/a b": true, "/mnt/plain": true, "/mnt": false, "shared:2": false} {
		got, err := listsMount(strings.NewReader(text), path)
		if err != nil || got != want {
			t.Errorf("listsMount(%q) = %v, %v, want %v", path, got, err, want)
		}
	}
}

// systemManifest describes a source with two files of the system tablespace.
func systemManifest() *repo.Manifest {
	zero, one := innodb.SpaceID(0), innodb.SpaceID(1)
	return &repo.Manifest{
		Server: repo.Server{Version: "10.11.19-MariaDB", Variables: map[string]string{
			"innodb_data_file_path": "/ssd/b:12M;/ssd/a:50M:autoextend:max:2G", "innodb_page_size": "16384", "innodb_log_file_size": "104857600",
		}},
		Files: []repo.File{
			{Path: "a", Class: repo.ClassInnoDB, Space: &zero, First: 768, Origin: "/ssd/a"},
			{Path: "aria_log.00000001", Class: repo.ClassLog},
			{Path: "b", Class: repo.ClassInnoDB, Space: &zero, Origin: "/ssd/b"},
			{Path: "ib_logfile0", Class: repo.ClassRedo, Origin: "/log/ib_logfile0"},
			{Path: "shop/undo002", Class: repo.ClassPlain},
			{Path: "undo/undo001", Class: repo.ClassInnoDB, Space: &one, Origin: "/undo/undo001"},
		},
	}
}

func TestSettings(t *testing.T) {
	m := systemManifest()
	s, err := newSettings(m)
	if err != nil {
		t.Fatal(err)
	}
	if want := "b:12M;a:50M:autoextend:max:2G"; s.DataFilePath != want {
		t.Errorf("dataFilePath = %q, want %q", s.DataFilePath, want)
	}
	if s.UndoDir != "undo" || s.AriaDir != "." || s.LogSize != 104857600 {
		t.Errorf("settings = %+v", s)
	}
	want := []string{"innodb_data_home_dir = ", "innodb_data_file_path = b:12M;a:50M:autoextend:max:2G", "innodb_undo_directory = undo", "innodb_log_group_home_dir = ."}
	if got := Config(m); !slices.Equal(got, want) {
		t.Errorf("Config = %q, want %q", got, want)
	}
	if got := firstEntry(m); got != "b" {
		t.Errorf("firstEntry = %q, want b", got)
	}
	m.Server.Variables["innodb_data_file_path"] = "ibdata1:12M:autoextend"
	if _, err := newSettings(m); err == nil {
		t.Error("two files for a path of one: no error")
	}
}

func TestPluginOptions(t *testing.T) {
	m := systemManifest()
	m.Server.Plugins = []repo.Plugin{
		{Name: "file_key_management", Type: "ENCRYPTION", Library: "file_key_management.so"},
		{Name: "provider_lz4", Type: "DATA COMPRESSION", Library: "provider_lz4.so"},
		{Name: "ARCHIVE", Type: "STORAGE ENGINE", Library: "ha_archive.so"},
		{Name: "init", Type: "ENCRYPTION", Library: "init.so"},
	}
	m.Server.Variables["file_key_management_filename"] = "/etc/mysql/keys"
	m.Server.Variables["file_key_management_filekey"] = stage.Hidden
	m.Server.Variables["init_file"] = "/tmp/evil.sql"
	got, err := pluginOptions(m)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"--plugin-load-add=file_key_management.so", "--loose-file-key-management-filename=/etc/mysql/keys",
		"--plugin-load-add=provider_lz4.so", "--plugin-load-add=init.so", "--plugin-maturity=unknown",
	}
	if !slices.Equal(got, want) {
		t.Errorf("pluginOptions = %q, want %q", got, want)
	}
}

func TestUseMemory(t *testing.T) {
	m := systemManifest()
	s, err := newSettings(m)
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{manifest: m, settings: s, Mariadbd: &mariadbd.Program{Version: "10.11.19-MariaDB"}}
	for _, c := range []struct {
		memory int64
		want   int64
	}{
		{4 << 30, 4 << 30},
		{0, mariadbd.BufferSize(0)},
	} {
		i := p.engine(&scratch{dir: "/x"}, Options{Memory: c.memory})
		if i.Buffer != c.want {
			t.Errorf("memory %d: a buffer pool of %d, want %d", c.memory, i.Buffer, c.want)
		}
	}
}

func TestReplicaStatements(t *testing.T) {
	m := &repo.Manifest{
		Server: repo.Server{Hostname: "db'1", Port: 3307},
		Binlog: &repo.Binlog{File: "binlog.000007", Position: 342},
		Replicas: []repo.Source{
			{Connection: "east", Host: "h1", Port: 3306, File: "b.1", Position: 4, UsingGTID: "No"},
			{Host: "h2", Port: 3306, UsingGTID: "Slave_Pos"},
			{Connection: "west", Host: "h3", Port: 3306, GTID: "0-1-7", UsingGTID: "No"}, // its threads had not noted the position
		},
	}
	want := []string{
		`CHANGE MASTER TO MASTER_HOST='db\'1', MASTER_PORT=3307, MASTER_LOG_FILE='binlog.000007', MASTER_LOG_POS=342;`,
	}
	if got := replicaOfSource(m); !slices.Equal(got, want) {
		t.Errorf("replicaOfSource = %q, want %q", got, want)
	}
	want = []string{
		`CHANGE MASTER 'east' TO MASTER_HOST='h1', MASTER_PORT=3306, MASTER_LOG_FILE='b.1', MASTER_LOG_POS=4;`,
		`CHANGE MASTER TO MASTER_HOST='h2', MASTER_PORT=3306, MASTER_USE_GTID=slave_pos;`,
		`CHANGE MASTER 'west' TO MASTER_HOST='h3', MASTER_PORT=3306, MASTER_USE_GTID=slave_pos;`,
	}
	if got := replicaLikeSource(m); !slices.Equal(got, want) {
		t.Errorf("replicaLikeSource = %q, want %q", got, want)
	}
	m.Binlog.GTID = "0-1-42"
	want = []string{`SET GLOBAL gtid_slave_pos='0-1-42';`, `CHANGE MASTER TO MASTER_HOST='db\'1', MASTER_PORT=3307, MASTER_USE_GTID=slave_pos;`}
	if got := replicaOfSource(m); !slices.Equal(got, want) {
		t.Errorf("replicaOfSource = %q, want %q", got, want)
	}
}

func TestPageSink(t *testing.T) {
	const size = 16
	for _, c := range []struct {
		name  string
		parts []int // bytes, negative for zeros
		want  []uint32
	}{
		{"whole pages", []int{32, 16}, []uint32{0, 1, 2}},
		{"cut anywhere", []int{1, 15, 7, 20, 5}, []uint32{0, 1, 2}},
		{"zeros between pages", []int{16, -32, 16}, []uint32{0, 3}},
		{"zeros from the middle of a page on", []int{10, -38}, []uint32{0}},
		{"zeros up to the middle of a page", []int{-26, 6}, []uint32{1}},
		{"a page of pieces", []int{4, -4, 4, -4}, []uint32{0}},
		{"half a page at the end", []int{24}, []uint32{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []uint32
			s := &pageSink{check: &pageCheck{size: size, test: func(p []byte, no uint32) error {
				if len(p) != size {
					t.Errorf("a page of %d bytes", len(p))
				}
				got = append(got, no)
				return nil
			}}}
			var off int64
			for _, n := range c.parts {
				var err error
				if n < 0 {
					n = -n
					err = s.Zero(off, int64(n))
				} else {
					_, err = s.WriteAt(make([]byte, n), off)
				}
				if err != nil {
					t.Fatal(err)
				}
				off += int64(n)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("checked pages %v, want %v", got, c.want)
			}
		})
	}
}

func TestJudge(t *testing.T) {
	type said = []stage.CheckMessage
	m := &repo.Manifest{
		Files: []repo.File{{Class: repo.ClassInnoDB}},
		Tables: []repo.Table{{Database: "d", Name: "t", Files: []int{0}}, {Database: "d", Name: "discarded"},
			{Database: "d", Name: "crashed", Problem: "its data file has 5 bytes, and must have 9"}},
	}
	const rebuild, upgrade = `Table rebuild required. Please do "ALTER TABLE ` + "`t`" + ` FORCE" or dump/reload to fix it!`, `Upgrade required. Please do "REPAIR TABLE ` + "`t`" + `" or dump/reload to fix it!`
	for _, c := range []struct {
		name     string
		table    string
		messages said
		verdict  repo.Outcome
		says     string
	}{
		{"whole", "t", said{{Type: "status", Text: "OK"}}, repo.VerdictProven, ""},
		{"checked before", "t", said{{Type: "status", Text: "Table is already up to date"}}, repo.VerdictProven, ""},
		{"warning", "t", said{{Type: "warning", Text: "1 client is using"}, {Type: "status", Text: "OK"}}, repo.VerdictProven, "d.t: 1 client is using"},
		{"no checks", "t", said{{Type: "note", Text: "The storage engine for the table doesn't support check"}}, repo.VerdictProven, "d.t: The storage engine for the table doesn't support check"},
		{"corrupt", "t", said{{Type: "warning", Text: "w"}, {Type: "error", Text: "Found 3 keys of 4"}, {Type: "status", Text: "Corrupt"}}, repo.VerdictDamaged, "Found 3 keys of 4; Corrupt; w"},
		{"nothing but corrupt", "t", said{{Type: "error", Text: "Corrupt"}}, repo.VerdictDamaged, "Corrupt"},
		{"the server's error", "t", said{{Type: "Error", Text: "Table 'd.t' doesn't exist in engine"}, {Type: "status", Text: "Operation failed"}}, repo.VerdictDamaged, "Table 'd.t' doesn't exist in engine; Operation failed"},
		{"crashed, and the manifest does not say so", "t", said{{Type: "Error", Text: "Table './d/t' is marked as crashed and should be repaired"}, {Type: "error", Text: "Corrupt"}}, repo.VerdictDamaged, "marked as crashed"},
		{"crashed, and it does", "crashed", said{{Type: "error", Text: "Size of datafile is: 5 Should be: 9"}, {Type: "error", Text: "Corrupt"}}, repo.VerdictAsOnSource, "d.crashed: its data file"},
		{"crashed, and the server does not mind", "crashed", said{{Type: "status", Text: "OK"}}, repo.VerdictProven, ""},
		{"made by 10.11", "t", said{{Type: "error", Text: rebuild}}, repo.VerdictAsOnSource, "mariadb-upgrade"},
		{"made by 5.0", "t", said{{Type: "error", Text: upgrade}}, repo.VerdictAsOnSource, "mariadb-upgrade"},
		{"that cannot be opened before", "t", said{{Type: "Error", Text: "Table rebuild required. Please do \"ALTER TABLE `d.t` FORCE\" or dump/reload to fix it!"}, {Type: "error", Text: "Corrupt"}}, repo.VerdictAsOnSource, "mariadb-upgrade"},
		{"made by 10.11, and worse", "t", said{{Type: "error", Text: rebuild}, {Type: "error", Text: "Found 3 keys of 4"}}, repo.VerdictDamaged, "Found 3 keys"},
		{"discarded", "discarded", said{{Type: "Warning", Text: "Tablespace has been discarded for table `t`"}, {Type: "error", Text: "Tablespace has been discarded for table `t`"}, {Type: "status", Text: "Operation failed"}}, repo.VerdictAsOnSource, "without a tablespace"},
		{"discarded, and it has one", "t", said{{Type: "error", Text: "Tablespace has been discarded for table `t`"}}, repo.VerdictDamaged, "discarded"},
		{"no engine", "t", said{{Type: "Error", Text: "Unknown storage engine 'ARCHIVE'"}, {Type: "error", Text: "Corrupt"}}, repo.VerdictUndone, "Unknown storage engine 'ARCHIVE'"},
		{"no room", "t", said{{Type: "Error", Text: `Disk got full writing 'd.t' (Errcode: 28 "No space left on device")`}, {Type: "status", Text: "Operation failed"}}, repo.VerdictUndone, "No space left"},
		{"no file may be opened", "t", said{{Type: "Error", Text: `Can't open file: './d/t.MYI' (errno: 24 "Too many open files")`}, {Type: "error", Text: "Corrupt"}}, repo.VerdictUndone, "Too many open files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &verification{m: m, problems: problemsOf(m), report: &Report{}}
			v.judge(stage.Table{Database: "d", Name: c.table}, c.messages)
			got := v.verdict()
			if says := strings.Join(append(v.report.Notes, got.Reason), "|"); got.Outcome != c.verdict || c.says == "" && says != "" || !strings.Contains(says, c.says) {
				t.Errorf("%s: %q, want %s, %q", got.Outcome, says, c.verdict, c.says)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	v := &verification{report: &Report{}, m: &repo.Manifest{Tables: []repo.Table{
		{Database: "d", Name: "same", Engine: "InnoDB", Type: "BASE TABLE"},
		{Database: "d", Name: "gone", Engine: "InnoDB", Type: "BASE TABLE"},
		{Database: "d", Name: "other", Engine: "Aria", Type: "BASE TABLE"},
		{Database: "d", Name: "unreadable", Engine: "InnoDB", Type: "BASE TABLE"},
	}}}
	v.compare([]stage.Table{
		{Database: "d", Name: "same", Engine: "InnoDB", Type: "BASE TABLE"},
		{Database: "d", Name: "other", Engine: "MyISAM", Type: "BASE TABLE"},
		{Database: "d", Name: "unreadable", Type: "BASE TABLE", Problem: "bad .frm"},
		{Database: "d", Name: "more", Engine: "InnoDB", Type: "BASE TABLE"},
	})
	var got []string
	for _, f := range v.report.Findings {
		got = append(got, f.Table+": "+f.Problem)
	}
	want := []string{
		"d.gone: the server does not know it",
		`d.other: the server has a BASE TABLE of engine "MyISAM", the backup a BASE TABLE of engine "Aria"`,
		"d.unreadable: bad .frm",
		"d.more: the server knows it, and the manifest does not",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestOptionsValidate(t *testing.T) {
	r := new(repo.Repository)
	for name, c := range map[string]struct {
		o  Options
		ok bool
	}{
		"whole":            {Options{Repository: r, ID: "latest"}, true},
		"no repository":    {Options{ID: "latest"}, false},
		"no id":            {Options{Repository: r}, false},
		"negative workers": {Options{Repository: r, ID: "latest", Workers: -1}, false},
	} {
		if err := c.o.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: Validate = %v", name, err)
		}
	}
}

// Whatever a manifest holds, it makes no more than the options that are meant.
func FuzzSettings(f *testing.F) {
	f.Add("ibdata1:12M:autoextend", "16384", "file_key_management", "file_key_management.so", "/etc/keys")
	f.Add("a:1;b:2", "x --init-file=/x", "init", "../x.so", "")
	f.Fuzz(func(t *testing.T, spec, pageSize, plugin, library, value string) {
		m := systemManifest()
		m.Server.Variables["innodb_data_file_path"] = spec
		m.Server.Variables["innodb_page_size"] = pageSize
		m.Server.Variables[strings.ToLower(plugin)+"_file"] = value
		m.Server.Plugins = []repo.Plugin{{Name: plugin, Type: "ENCRYPTION", Library: library}}
		s, err := newSettings(m)
		if err != nil {
			return
		}
		for _, option := range append(s.Options(), s.Plugins...) {
			name, _, _ := strings.Cut(option, "=")
			switch name {
			case "--innodb-page-size", "--plugin-load-add", "--plugin-maturity":
			default:
				if !strings.HasPrefix(name, "--loose-") || !strings.Contains(name, "-key-management-") {
					t.Errorf("option %q", option)
				}
			}
		}
		if strings.Contains(library, "/") {
			t.Errorf("a library in another folder: %q", library)
		}
	})
}
