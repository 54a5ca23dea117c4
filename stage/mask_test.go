package stage

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// The statement of somebody else is quoted in messages, mails and the history. The
// values in it are nobody's business there.
func TestMask(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"nothing to hide", "ALTER TABLE shop.t1 ADD c2 INT", "ALTER TABLE shop.t1 ADD c2 INT"},
		{"a string", "insert into t values ('secret')", "insert into t values (?)"},
		{"doubled quotes", "select 'it''s' , 1", "select ? , ?"},
		{"a quote after a backslash", `select 'it\'s secret', 'x\\' , a`, "select ?, ? , a"},
		{"double quotes", `select "secret" from t`, "select ? from t"},
		{"cut off in a string", "insert into t values ('sec", "insert into t values (?"},
		{"cut off in a comment", "select /* sec", "select /* sec"},
		{"numbers", "update t set a=4111111111111111, b=-3.5e-10, c=.5 where id=7", "update t set a=?, b=-?, c=? where id=?"},
		{"binary values", "insert into t values (0xDEADbeef, x'4f', X'4f', b'01', 0b11)",
			"insert into t values (?, ?, ?, ?, ?)"},
		{"character sets", "select N'secret', _utf8mb4'secret', _latin1 'secret'", "select ?, ?, _latin1 ?"},
		{"a key of a function", "select AES_ENCRYPT(a, 'key') from t2", "select AES_ENCRYPT(a, ?) from t2"},
		{"names with digits, points and quotes", "select `a'1`.`b``2`, t1.c2, db3.t FROM d.`1x`",
			"select `a'1`.`b``2`, t1.c2, db3.t FROM d.`1x`"},
		{"comments", "select a -- secret\n, b # secret\n/* job 7 for 'secret */ from t",
			"select a  , b  /* job ? for ?*/ from t"},
		{"an empty comment", "select /**/ 1 /*/ 2 */", "select /**/ ? /*/ ? */"},
		{"a comment that is carried out", "/*!50000 insert into t values ('secret') */", "/*!? insert into t values (?) */"},
		{"no value", "", ""},
		{"date", "delete from t where d < DATE'2026-01-01'", "delete from t where d < DATE?"},
		{"letters of other scripts", "select größe1 from `注文` where ñ='ä'", "select größe1 from `注文` where ñ=?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := mask(c.in); got != c.want {
				t.Errorf("mask(%q) = %q, want %q", c.in, got, c.want)
			}
		})
	}
}

func FuzzMask(f *testing.F) {
	f.Add("insert into t values ('secret', 0x12, 3.5e-7) -- x")
	f.Fuzz(func(t *testing.T, s string) {
		got := mask(s)
		if strings.ContainsAny(got, `'"`) && !strings.Contains(s, "`") {
			t.Fatalf("mask(%q) = %q", s, got)
		}
		if utf8.ValidString(s) && !utf8.ValidString(got) || len(got) > len(s)+1 {
			t.Fatalf("mask(%q) = %q", s, got)
		}
	})
}
