package stage

import "testing"

func TestAccountStatement(t *testing.T) {
	yes := []string{
		"GRANT SELECT ON d.* TO u", "use `a``b`; REVOKE ALL ON *.* FROM u", " /* app */ create or replace user u",
		"-- x\nDROP ROLE r", "SET PASSWORD FOR u = 'x'", "SET STATEMENT max_statement_time=1 FOR ALTER USER u ACCOUNT LOCK",
		"RENAME USER a TO b", "CREATE SERVER s FOREIGN DATA WRAPPER mysql", "SET DEFAULT ROLE r",
		"CREATE AGGREGATE FUNCTION f RETURNS INT SONAME 'x'",
	}
	no := []string{
		"INSERT INTO t VALUES ('GRANT')", "BEGIN", "CREATE TABLE user (a INT)", "SET @x = 1", "UPDATE grants SET a = 1",
		"use `d`; INSERT INTO t VALUES (1)",
	}
	for i, text := range append(yes, no...) {
		if want := i < len(yes); accountStatement.MatchString(text) != want {
			t.Errorf("%q is a statement about accounts: %v", text, !want)
		}
	}
}

func TestIsOf(t *testing.T) {
	for _, c := range []struct {
		event, statement string
		want             bool
	}{
		{"use `d`; GRANT SELECT ON d.* TO u", "GRANT SELECT ON d.* TO u", true},
		{"GRANT SELECT ON d.* TO u", "GRANT SELECT ON d.* TO v", false},
		{"SET PASSWORD FOR 'u'@'%'='*1'", "SET PASSWORD FOR u = PASSWORD('x')", true},
		{"CREATE USER u IDENTIFIED BY 'a'", "CREATE USER u IDENTIFIED BY 'b'", false},
	} {
		if got := isOf(c.event, c.statement); got != c.want {
			t.Errorf("%q is of %q: %v", c.event, c.statement, got)
		}
	}
}
