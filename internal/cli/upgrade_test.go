package cli_test

import (
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// Files keep the checksums of the server that wrote them, however old, until a page
// is changed. Servers since 10.6 read the forms "innodb" and "none" and write neither.
func TestChecksumsOfOldServers(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	for _, algorithm := range mariadbtest.Some(t, "innodb", "none") {
		t.Run(algorithm, func(t *testing.T) { t.Log(oldChecksums(t, newest(), algorithm)) })
	}
}

func oldChecksums(t *testing.T, version, algorithm string) string {
	old := mariadbtest.New(t, "10.5", "--innodb-checksum-algorithm="+algorithm)
	old.MustExec(t, statements(filled("dynamic", 3, ""), filled("redundant", 2, "ROW_FORMAT=REDUNDANT"),
		filled("zip", 2, "ROW_FORMAT=COMPRESSED"), filled("packed", 2, "PAGE_COMPRESSED=1"), filled("later", 2, ""))...)
	old.MustExec(t, "SET GLOBAL innodb_fast_shutdown=0")
	if err := old.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	source := mariadbtest.Open(t, version, old.Datadir, "--log-bin=upgraded")
	p := profile{during: all(churn("UPDATE d.later SET n = n + 1 WHERE id % 9 = 0"),
		churn("UPDATE d.zip SET n = n + 1 WHERE id % 99 = 0"),
		churn("UPDATE d.packed SET n = n + 1 WHERE id % 99 = 0"), churn("UPDATE d.dynamic SET n = n + 1 WHERE id % 999 = 0"))}
	repository := t.TempDir()
	b := taking(t, source, repository, p)
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
	restored := caughtUp(t, source, repository, b, p)
	// The server's own tables were not upgraded, of which both servers complain.
	for _, table := range []string{"dynamic", "redundant", "zip", "packed", "later"} {
		sum := "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT_WS('|', id, n, s)))) FROM d." + table
		if got, want := restored.MustValue(t, sum), source.MustValue(t, sum); got != want {
			t.Errorf("the rows of %s are %s, want %s", table, got, want)
		}
		var name, op, kind, said string
		if err := restored.DB().QueryRowContext(t.Context(), "CHECK TABLE d."+table+" EXTENDED").Scan(&name, &op, &kind,
			&said); err != nil || said != "OK" {
			t.Errorf("CHECK TABLE %s: %s %s, %v", table, kind, said, err)
		}
	}
	return b.String()
}

// A backup of an old series becomes one of a newer: recovered by the old server where the
// newer does not read its redo log, and by the newer alone where it does.
func TestUpgradeToNewerSeries(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	type upgrade struct {
		from, to string
		alone    bool
	}
	for _, c := range mariadbtest.Some(t, upgrade{"10.5", "10.11", false}, upgrade{"10.11", "11.8", true}) {
		t.Run(c.from+" to "+c.to, func(t *testing.T) { upgraded(t, c.from, c.to, c.alone) })
	}
}

// upgraded backs a server up under load and restores it to a newer series, with the newer
// server alone or with both.
func upgraded(t *testing.T, from, to string, alone bool) {
	args := []string{"--log-bin"}
	if from == "10.5" {
		args = append(args, "--innodb-checksum-algorithm=innodb") // which the newer does not know
	}
	source := mariadbtest.New(t, from, args...)
	source.MustExec(t, statements(filled("inno", 1, ""), filled("busy", 1, ""),
		[]string{"CREATE TABLE history (id INT PRIMARY KEY) WITH SYSTEM VERSIONING", "INSERT INTO history VALUES (1)",
			"UPDATE history SET id = 2",
			"CREATE TABLE aria (id INT PRIMARY KEY) ENGINE=Aria", "INSERT INTO aria SELECT seq FROM seq_1_to_1000",
			"CREATE TABLE my (id INT PRIMARY KEY) ENGINE=MyISAM", "INSERT INTO my SELECT seq FROM seq_1_to_1000",
			"CREATE VIEW v AS SELECT id FROM inno", "CREATE PROCEDURE p() SELECT 1",
			"CREATE USER 'bob'@'localhost' IDENTIFIED BY 'x'", "GRANT SELECT ON d.* TO 'bob'@'localhost'"})...)
	repository, target := t.TempDir(), filepath.Join(t.TempDir(), "data")
	taking(t, source, repository, profile{during: churn("UPDATE d.busy SET n = n + 1 WHERE id % 9 = 0")})

	newer, err := mariadbtest.Get(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	args = upgradeArgs(t, repository, target, source.Dist, newer, alone)
	r := document[struct {
		UpgradedTo string   `json:"upgraded_to"`
		Warnings   []string `json:"warnings"`
	}](t, args...)
	if !strings.HasPrefix(r.UpgradedTo, newer.Version) || len(r.Warnings) > 0 {
		t.Errorf("%+v", r)
	}
	restored := mariadbtest.Open(t, to, target)
	for query, want := range map[string]string{
		"SELECT COUNT(*) FROM d.inno": "1800", "SELECT COUNT(*) FROM d.busy": "1800", "SELECT COUNT(*) FROM d.v": "1800",
		"SELECT COUNT(*) FROM d.aria": "1000", "SELECT COUNT(*) FROM d.my": "1000",
		"SELECT COUNT(*) FROM d.history FOR SYSTEM_TIME ALL":                            "2",
		"SELECT COUNT(*) FROM mysql.user WHERE user = 'bob'":                            "1",
		"SELECT COUNT(*) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = 'd'":   "1",
		"SELECT COUNT(*) > 50 FROM information_schema.VIEWS WHERE TABLE_SCHEMA = 'sys'": "1", // came with 10.6
	} {
		if got := restored.MustValue(t, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	var name, op, kind, said string
	if err := restored.DB().QueryRowContext(t.Context(), "CHECK TABLE d.history FOR UPGRADE").Scan(&name, &op, &kind,
		&said); err != nil || said != "OK" {
		t.Errorf("CHECK TABLE FOR UPGRADE: %s %s, %v", kind, said, err)
	}
	wantSound(t, restored)
}

// upgradeArgs are those of the restore, of which the plan tells the steps.
func upgradeArgs(t *testing.T, repository, target string, old, newer mariadbtest.Dist, alone bool) []string {
	plain := append(restoreArgs("latest", repository, target), "--mariadbd", newer.Program("mariadbd"))
	if o := mbk(t, plain...); o.code != 2 || !strings.Contains(o.stderr, "move to the newer series with --upgrade") {
		t.Errorf("without --upgrade: %d\n%s", o.code, o.stderr)
	}
	args := append(plain, "--upgrade")
	recovery := newer
	if !alone {
		if o := mbk(t, append(args, "--dry-run")...); old.Series == "10.5" && newer.Series != "10.6" &&
			(o.code != 2 || !strings.Contains(o.stderr, "only a mariadbd of 10.5 to 10.7 applies this redo log")) {
			t.Errorf("by the newer server alone: %d\n%s", o.code, o.stderr)
		}
		recovery = old
		args = append(restoreArgs("latest", repository, target), "--upgrade-with", newer.Program("mariadbd"), "--mariadbd",
			old.Program("mariadbd"))
	}
	plan := must(t, append(args, "--dry-run")...)
	for _, step := range []string{"\nrecovery  by " + recovery.Program("mariadbd"),
		"\nupgrade   by " + newer.Program("mariadbd"), newer.Program("mariadb-upgrade")} {
		if !strings.Contains(strings.Join(strings.Fields(plan.stdout), " "), strings.Join(strings.Fields(step), " ")) {
			t.Errorf("the plan does not tell %q:\n%s", step, plan.stdout)
		}
	}
	return args
}
