package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	inside "mbk/internal/contents"
	"mbk/internal/test/mariadbtest"
)

// Between two backups tables come and go, and are renamed, redefined, emptied and filled. The
// one compared with the other says so, and each table is found in the backups that hold it.
func TestFindAndDiff(t *testing.T) {
	t.Parallel()
	anyKind(t)
	srv, repository := mariadbtest.New(t, newest()), t.TempDir()
	filled := func(name string) string {
		return "CREATE TABLE shop." + name + " (id INT PRIMARY KEY, v TEXT) SELECT seq AS id, REPEAT('x', 4000) AS v " +
			"FROM seq_1_to_800"
	}
	srv.MustExec(t, "CREATE DATABASE shop", "USE shop", "CREATE TABLE shop.same (a INT)", filled("gone"),
		"CREATE TABLE shop.swapped (a INT, b INT)", "CREATE TABLE shop.spare (a INT)", "CREATE TABLE shop.altered (a INT)",
		filled("emptied"), "CREATE TABLE shop.full (id INT PRIMARY KEY, v TEXT)",
		"CREATE TABLE shop.engine (a INT) ENGINE=MyISAM",
		"CREATE TABLE shop.files (a INT) ENGINE=MyISAM", "CREATE VIEW shop.seen AS SELECT a FROM same",
		"CREATE TABLE shop.private (a INT)")
	first := document[taken](t, backupArgs(srv, repository)...).ID
	srv.MustExec(t, "DROP TABLE shop.gone", "RENAME TABLE shop.swapped TO shop.old, shop.spare TO shop.swapped",
		"ALTER TABLE shop.altered ADD b INT", "TRUNCATE TABLE shop.emptied",
		"INSERT INTO shop.full SELECT seq, REPEAT('x', 4000) FROM shop.seq_1_to_800", "ALTER TABLE shop.engine ENGINE=Aria",
		"RENAME TABLE shop.files TO shop.moved", "CREATE OR REPLACE VIEW shop.seen AS SELECT a + 1 AS a FROM shop.same",
		"CREATE TABLE shop.came (a INT)", "CREATE DATABASE later", "INSERT INTO shop.same VALUES (1)",
		"FLUSH TABLES shop.full, shop.emptied FOR EXPORT", "UNLOCK TABLES")
	second := document[taken](t, backupArgs(srv, repository, "--incremental", "--exclude-table", "shop.private")...).ID

	// The shell offers the tables of the newest.
	printsLines(t, must(t, "complete", "tables", "--repo", repository).stdout, "shop.same", "shop.came")

	d := document[inside.Difference](t, "diff", first, second, "--repo", repository)
	var got []string
	for _, c := range d.Tables {
		if c.Database == "shop" { // the server writes to its own
			text := c.Name + ": " + strings.Join(c.Changes, ", ")
			if c.Was != nil {
				text += " from " + c.Was.Name
			}
			if c.WasWith != "" {
				text += " " + c.WasWith + " to " + c.Engine
			}
			got = append(got, text)
		}
	}
	want := []string{"altered: redefined", "came: came", "emptied: rebuilt, shrank",
		"engine: redefined, grew MyISAM to Aria", "full: grew", "gone: went", "moved: renamed from files",
		"old: renamed from swapped", "private: left out",
		"seen: redefined", "swapped: renamed from spare"}
	if !slices.Equal(got, want) {
		t.Errorf("diff finds\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !slices.Equal(d.Databases.Came, []string{"later"}) || len(d.Databases.Went) > 0 || d.Unchanged == 0 ||
		d.Counts.Renamed != 3 || d.From.ID != first || d.To.Bytes <= 0 {
		t.Errorf("diff prints %+v", d)
	}
	text := must(t, "diff", first, second, "--repo", repository).stdout
	printsLines(t, text, "shop.old 64 KiB 64 KiB 0 renamed, was shop.swapped", "later database came")
	if same := must(t, "diff", second, "latest", "--repo", repository).stdout; strings.Contains(same, "TABLE") ||
		!strings.Contains(same, "unchanged, 0\n") {
		t.Errorf("diff of a backup with itself prints\n%s", same)
	}
	findsTables(t, repository, first, second)
}

// findsTables looks for tables in the two backups of TestFindAndDiff.
func findsTables(t *testing.T, repository, first, second string) {
	t.Helper()
	find := func(patterns ...string) map[string]inside.Findings {
		t.Helper()
		by := map[string]inside.Findings{}
		for _, one := range document[inside.Found](t, append([]string{"find", "--repo", repository}, patterns...)...).Tables {
			by[one.Name] = one
		}
		return by
	}
	found := find("shop.gone", "SHOP.sam?", "shop.private", "mysql.proc")
	gone, same, private := found["gone"], found["same"], found["private"]
	if len(found) != 4 || len(gone.Held) != 1 || gone.Last || gone.Held[0].ID != first || gone.Held[0].Bytes < 3<<20 ||
		len(same.Held) != 2 || !same.Last || same.Held[1].ID != second || same.Held[1].LSN <= same.Held[0].LSN ||
		len(private.Held) != 1 || len(private.LeftOut) != 1 || private.LeftOut[0].ID != second {
		t.Errorf("find prints %+v", found)
	}
	o := must(t, "find", "shop.gone", "--repo", repository)
	command := "mbk restore " + first + " --repo " + repository + " --table shop.gone --into-server"
	if !strings.Contains(o.stdout, "shop.gone is in 1 of 2 backups, from ") ||
		!isRemote(kindFor(t)) && !strings.Contains(o.stderr, command) {
		t.Errorf("find prints\n%s%s", o.stdout, o.stderr)
	}
	if o := mbk(t, "find", "shop.gnoe", "shop.same", "--repo", repository); o.code != 2 ||
		!strings.Contains(o.stderr, "there is no table shop.gnoe in 2 backups of ") ||
		!strings.Contains(o.stderr, "the nearest names are shop.gone") ||
		!strings.Contains(o.stdout, "shop.same is in 2 of 2") {
		t.Errorf("find of what is not there exits with %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if kindFor(t) != inFolder {
		return
	}
	// A manifest that cannot be read is told, and the others are searched.
	manifest := filepath.Join(repository, "backups", second, "manifest.json.zst")
	if err := os.WriteFile(manifest, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := must(t, "find", "shop.same", "--repo", repository); !strings.Contains(o.stderr, second+" is not searched: ") ||
		!strings.Contains(o.stdout, "shop.same is in 1 of 1 backup") {
		t.Errorf("with a damaged manifest find prints\n%s%s", o.stdout, o.stderr)
	}
}
