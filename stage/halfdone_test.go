package stage

import "testing"

func TestAccountStatement(t *testing.T) {
	for text, want := range map[string]bool{
		"GRANT SELECT ON d.* TO u": true, "use `a``b`; REVOKE ALL ON *.* FROM u": true,
		" /* app */ create or replace user u": true, "-- x\nDROP ROLE r": true, "SET PASSWORD FOR u = 'x'": true,
		"SET STATEMENT max_statement_time=1 FOR ALTER USER u ACCOUNT LOCK": true, "RENAME USER a TO b": true,
		"CREATE SERVER s FOREIGN DATA WRAPPER mysql": true, "SET DEFAULT ROLE r": true,
		"CREATE AGGREGATE FUNCTION f RETURNS INT SONAME 'x'": true,
		"INSERT INTO t VALUES ('GRANT')":                     false, "BEGIN": false, "CREATE TABLE user (a INT)": false, "SET @x = 1": false,
		"UPDATE grants SET a = 1": false, "use `d`; INSERT INTO t VALUES (1)": false,
	} {
		if accountStatement.MatchString(text) != want {
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
		{"GRANT SELECT ON d.* TO u", "CALL give()", true},
	} {
		if got := isOf(c.event, c.statement); got != c.want {
			t.Errorf("%q is of %q: %v", c.event, c.statement, got)
		}
	}
}
