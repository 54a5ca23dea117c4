package tablerestore

import (
	"database/sql"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseDefinition(t *testing.T) {
	const text = "CREATE TABLE `t``(,` (\n  `a,)` int(11) DEFAULT NULL COMMENT 'it''s \\'(, ``',\n" +
		"  `b` enum('x,(','\\\\') NOT NULL,\n" +
		"  PRIMARY KEY (`b`),\n  FULLTEXT KEY `w ``1` (`b`) WITH PARSER p,\n  KEY `k` (`a,)`),\n  VECTOR KEY `v` (`b`),\n" +
		"  CONSTRAINT `f``1` FOREIGN KEY (`a,)`) REFERENCES `o REFERENCES x` (`b`) ON DELETE CASCADE,\n" +
		"  CONSTRAINT `c` CHECK (`b` <> 'FOREIGN KEY (')\n) ENGINE=InnoDB COMMENT='(' \n PARTITION BY HASH (`a,)`)"
	d, err := parseDefinition(text)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"`a,)` int(11) DEFAULT NULL COMMENT 'it''s \\'(, ``'", "`b` enum('x,(','\\\\') NOT NULL", "PRIMARY KEY (`b`)",
		"KEY `k` (`a,)`)", "VECTOR KEY `v` (`b`)", "CONSTRAINT `c` CHECK (`b` <> 'FOREIGN KEY (')",
	}
	if !slices.Equal(d.elements, want) {
		t.Errorf("elements %q", d.elements)
	}
	if !d.vector || len(d.fulltext) != 1 || d.fulltext[0].name != "w `1" || len(d.foreign) != 1 ||
		d.foreign[0].name != "f`1" || d.tail != "ENGINE=InnoDB COMMENT='(' \n PARTITION BY HASH (`a,)`)" {
		t.Errorf("%+v", d)
	}
	if text := d.create("`x`", true); !strings.HasPrefix(text, "CREATE TABLE `x` (\n`a,)`") ||
		!strings.Contains(text, "FULLTEXT KEY") || strings.Contains(text, "ON DELETE") {
		t.Errorf("create: %s", text)
	}
	if again, err := parseDefinition(d.create("`x`", true)); err != nil || len(again.elements) != len(want) {
		t.Errorf("what it makes is read as %+v, %v", again, err)
	}
	key := d.foreign[0].text
	if got := references(key, "d"); got != "FOREIGN KEY (`a,)`) REFERENCES `d`.`o REFERENCES x` (`b`) ON DELETE CASCADE" {
		t.Errorf("references: %s", got)
	}
	if got, err := referring(references(key, "d"), "e", "p`"); err != nil ||
		got != "FOREIGN KEY (`a,)`) REFERENCES `e`.`p``` (`b`) ON DELETE CASCADE" {
		t.Errorf("referring: %s, %v", got, err)
	}
	for _, bad := range []string{
		"", "CREATE TABLE `t`", "CREATE TABLE `t` (`a` int", "CREATE VIEW `t` (a)", "CREATE TABLE `t` ('",
		"CREATE TABLE `t` (CONSTRAINT x FOREIGN KEY (a))", "CREATE TABLE `t` (FULLTEXT KEY (a))",
	} {
		if d, err := parseDefinition(bad); err == nil {
			t.Errorf("%q is read as %+v", bad, d)
		}
	}
}

func FuzzParseDefinition(f *testing.F) {
	f.Add("CREATE TABLE `t` (\n  `a` int,\n  CONSTRAINT `f` FOREIGN KEY (`a`) REFERENCES `b` (`c`)\n) ENGINE=InnoDB")
	f.Add("CREATE TABLE `t` ('\\")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := parseDefinition(text)
		if err != nil {
			return
		}
		again, err := parseDefinition(d.create("`x`", true))
		if err != nil || len(again.elements) != len(d.elements) || again.tail != d.tail {
			t.Errorf("%q is made into %q, and that is read as %+v: %v", text, d.create("`x`", true), again, err)
		}
	})
}

func TestAppendRow(t *testing.T) {
	for _, c := range []struct {
		row  []sql.RawBytes
		want string
	}{
		{[]sql.RawBytes{[]byte("a"), nil, []byte("")}, "a\t\\N\t\n"},
		{[]sql.RawBytes{[]byte("\\N"), []byte("\t\n\r\x00\\")}, "\\\\N\t\\\t\\\n\r\\0\\\\\n"},
	} {
		if got := string(appendRow(nil, c.row)); got != c.want {
			t.Errorf("%q is written as %q, want %q", c.row, got, c.want)
		}
	}
}

func TestKeptName(t *testing.T) {
	now := time.Date(2026, 11, 30, 17, 5, 9, 0, time.UTC)
	for name, want := range map[string]string{
		"orders":                "orders__before_20261130T170509",
		strings.Repeat("ä", 64): strings.Repeat("ä", 40) + "__before_20261130T170509",
	} {
		if got := keptName(name, now); got != want {
			t.Errorf("%s is kept as %s, want %s", name, got, want)
		}
	}
}

func TestEventText(t *testing.T) {
	c := []string{"e", "me@%", "", "90", "HOUR_MINUTE", "2030-01-01 00:00:00", "", "PRESERVE", "SLAVESIDE_DISABLED",
		"it's",
		"DO 1", "SYSTEM", "", "", ""}
	const want = "CREATE DEFINER='me'@'%' EVENT `d`.`e` ON SCHEDULE EVERY 90 MINUTE STARTS '2030-01-01 00:00:00' " +
		"ON COMPLETION PRESERVE DISABLE ON SLAVE COMMENT 'it''s' DO DO 1"
	if got := eventText("d", c); got != want {
		t.Errorf("%s", got)
	}
}
