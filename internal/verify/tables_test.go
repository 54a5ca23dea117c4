package verify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/stage"
)

func TestJudge(t *testing.T) {
	type said = []stage.CheckMessage
	m := &repo.Manifest{
		Files: []repo.File{{Class: repo.ClassInnoDB}},
		Tables: []repo.Table{{Database: "d", Name: "t", Files: []int{0}}, {Database: "d", Name: "discarded"},
			{Database: "d", Name: "crashed", Problem: "its data file has 5 bytes, and must have 9"}},
	}
	const rebuild, upgrade = `Table rebuild required. Please do "ALTER TABLE ` + "`t`" +
		` FORCE" or dump/reload to fix it!`, `Upgrade required. Please do "REPAIR TABLE ` + "`t`" +
		`" or dump/reload to fix it!`
	for _, c := range []struct {
		name     string
		table    string
		messages said
		verdict  repo.Outcome
		says     string
	}{
		{"whole", "t", said{{Type: "status", Text: "OK"}}, repo.VerdictProven, ""},
		{"checked before", "t", said{{Type: "status", Text: "Table is already up to date"}}, repo.VerdictProven, ""},
		{"warning", "t", said{{Type: "warning", Text: "1 client is using"}, {Type: "status", Text: "OK"}},
			repo.VerdictProven, "d.t: 1 client is using"},
		{"no checks", "t", said{{Type: "note", Text: "The storage engine for the table doesn't support check"}},
			repo.VerdictProven, "d.t: The storage engine for the table doesn't support check"},
		{"corrupt", "t", said{{Type: "warning", Text: "w"}, {Type: "error", Text: "Found 3 keys of 4"},
			{Type: "status", Text: "Corrupt"}}, repo.VerdictDamaged, "Found 3 keys of 4; Corrupt; w"},
		{"nothing but corrupt", "t", said{{Type: "error", Text: "Corrupt"}}, repo.VerdictDamaged, "Corrupt"},
		{"the server's error", "t", said{{Type: "Error", Text: "Table 'd.t' doesn't exist in engine"},
			{Type: "status", Text: "Operation failed"}}, repo.VerdictDamaged,
			"Table 'd.t' doesn't exist in engine; Operation failed"},
		{"crashed, and the manifest does not say so", "t",
			said{{Type: "Error", Text: "Table './d/t' is marked as crashed and should be repaired"},
				{Type: "error", Text: "Corrupt"}}, repo.VerdictDamaged, "marked as crashed"},
		{"crashed, and it does", "crashed",
			said{{Type: "error", Text: "Size of datafile is: 5 Should be: 9"},
				{Type: "error", Text: "Corrupt"}}, repo.VerdictAsOnSource, "d.crashed: its data file"},
		{"crashed, and the server does not mind", "crashed", said{{Type: "status", Text: "OK"}}, repo.VerdictProven, ""},
		{"made by 10.11", "t", said{{Type: "error", Text: rebuild}}, repo.VerdictAsOnSource, "mariadb-upgrade"},
		{"made by 5.0", "t", said{{Type: "error", Text: upgrade}}, repo.VerdictAsOnSource, "mariadb-upgrade"},
		{"that cannot be opened before", "t",
			said{{Type: "Error",
				Text: "Table rebuild required. Please do \"ALTER TABLE `d.t` FORCE\" or dump/reload to fix it!"},
				{Type: "error", Text: "Corrupt"}}, repo.VerdictAsOnSource, "mariadb-upgrade"},
		{"made by 10.11, and worse", "t", said{{Type: "error", Text: rebuild}, {Type: "error", Text: "Found 3 keys of 4"}},
			repo.VerdictDamaged, "Found 3 keys"},
		{"discarded", "discarded", said{{Type: "Warning", Text: "Tablespace has been discarded for table `t`"},
			{Type: "error", Text: "Tablespace has been discarded for table `t`"}, {Type: "status",
				Text: "Operation failed"}}, repo.VerdictAsOnSource, "without a tablespace"},
		{"discarded, and it has one", "t", said{{Type: "error", Text: "Tablespace has been discarded for table `t`"}},
			repo.VerdictDamaged, "discarded"},
		{"no engine", "t", said{{Type: "Error", Text: "Unknown storage engine 'ARCHIVE'"},
			{Type: "error", Text: "Corrupt"}}, repo.VerdictUndone, "Unknown storage engine 'ARCHIVE'"},
		{"no room", "t", said{{Type: "Error", Text: `Disk got full writing 'd.t' (Errcode: 28 "No space left on device")`},
			{Type: "status", Text: "Operation failed"}}, repo.VerdictUndone, "No space left"},
		{"no file may be opened", "t",
			said{{Type: "Error", Text: `Can't open file: './d/t.MYI' (errno: 24 "Too many open files")`},
				{Type: "error", Text: "Corrupt"}}, repo.VerdictUndone, "Too many open files"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := &verification{m: m, problems: m.Problems(), findings: newFindings("x", repo.DepthBoot, time.Now())}
			d := &tableChecks{verification: v, advice: func(mariadbd.Cause) hint.Text { return "" }}
			d.judge(stage.Table{Database: "d", Name: c.table}, c.messages)
			got := v.verdict()
			if says := strings.Join(append(v.report.Notes, got.Reason), "|"); got.Outcome != c.verdict || c.says == "" &&
				says != "" || !strings.Contains(says, c.says) {
				t.Errorf("%s: %q, want %s, %q", got.Outcome, says, c.verdict, c.says)
			}
		})
	}
}

func TestCompare(t *testing.T) {
	v := &verification{findings: newFindings("x", repo.DepthBoot, time.Now()), m: &repo.Manifest{Tables: []repo.Table{
		{Database: "d", Name: "same", Engine: "InnoDB", Type: "BASE TABLE"},
		{Database: "d", Name: "gone", Engine: "InnoDB", Type: "BASE TABLE"},
		{Database: "d", Name: "other", Engine: "Aria", Type: "BASE TABLE"},
		{Database: "d", Name: "unreadable", Engine: "InnoDB", Type: "BASE TABLE"},
	}}}
	d := &tableChecks{verification: v}
	d.compare([]stage.Table{
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

// A database without tables, which the list of tables does not show, was lost without a word.
func TestCompareDatabases(t *testing.T) {
	dirs := []repo.Directory{{Path: "shop", Name: "shop"}, {Path: "Logs", Name: "Logs"},
		{Path: "performance_schema", Name: "performance_schema"}, {Path: "#rocksdb", Name: "#rocksdb"}}
	const lost, foreign = "the server does not know the database ", "the server knows the database "
	for _, c := range []struct {
		fold string
		have []string
		want string
	}{
		{"0", []string{"shop", "Logs"}, ""},
		{"0", []string{"shop"}, lost + "Logs"},
		{"0", []string{"shop", "logs"}, lost + "Logs|" + foreign + "logs, and the manifest does not"},
		{"1", []string{"shop", "logs"}, ""},
		{"0", []string{"shop", "Logs", "more"}, foreign + "more, and the manifest does not"},
	} {
		v := &verification{findings: newFindings("x", repo.DepthBoot, time.Now()), m: &repo.Manifest{Directories: dirs,
			Server: repo.Server{Variables: map[string]string{"lower_case_table_names": c.fold}}}}
		(&tableChecks{verification: v}).compareDatabases(c.have)
		var got []string
		for _, f := range v.report.Findings {
			got = append(got, f.Problem)
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s, %q: found %q, want %q", c.fold, c.have, got, c.want)
		}
	}
}
