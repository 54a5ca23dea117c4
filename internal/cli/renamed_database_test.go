package cli_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"mbk/internal/tablerestore"
	"mbk/internal/test/mariadbtest"
)

// A database comes back under another name beside the one in use. Everything in it is about the new
// one: it goes on to work when the original is dropped. What cannot be renamed safely is named.
func TestDatabaseUnderAnotherName(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, newest()) {
		srv := mariadbtest.New(t, version)
		srv.MustExec(t, shop(version)...)
		srv.MustExec(t, spelledOut()...)
		repository := t.TempDir()
		document[taken](t, backupArgs(srv, repository)...)
		want := tablesOf(t, srv)

		r := document[tablerestore.Report](t, into(srv, repository, "--database", "shop", "--as", "new shop")...)
		wantShop(t, version+", beside the copy", srv, want)
		wantLeftOut(t, version, r, "view shop.doubtful", "procedure shop.by_text", "procedure shop.reset",
			"view shop.of_doubtful")
		if text := strings.Join(r.Warnings, "\n"); !strings.Contains(text, "procedure shop.named") {
			t.Errorf("%s: warnings %q", version, r.Warnings)
		}
		notes := fmt.Sprint(r.Notes)
		for _, part := range []string{"'reader'@'%'", "event `new shop`.`often` is disabled"} {
			if !strings.Contains(notes, part) {
				t.Errorf("%s: no %q in the notes: %s", version, part, notes)
			}
		}
		srv.MustExec(t, "DROP DATABASE shop")
		wantWorkingCopy(t, version, srv, want)
	}
}

// spelledOut are programs and views of the shop that name their database, and some of which nobody
// can say how they are spelled in another one.
func spelledOut() []string {
	return []string{
		"CREATE TABLE shop.shop (id INT PRIMARY KEY, parent INT, FOREIGN KEY (parent) REFERENCES shop.shop (id))",
		"INSERT INTO shop.shop VALUES (1, NULL), (2, 1)",
		"CREATE TABLE shop.counted (n INT)", "INSERT INTO shop.counted VALUES (0)",
		"CREATE FUNCTION shop.orders_of(c INT) RETURNS INT READS SQL DATA " +
			"RETURN (SELECT COUNT(*) FROM shop . `orders` WHERE shop.orders.customer = c)",
		"CREATE PROCEDURE shop.spelled() BEGIN DELETE FROM shop.`lines` WHERE id = 1; CALL shop.nothing(); END",
		"CREATE TRIGGER shop.counts AFTER INSERT ON shop.orders FOR EACH ROW UPDATE shop.counted SET n = n + shop.twice(1)",
		"CREATE VIEW shop.joined AS SELECT o.id, shop.orders_of(o.id) AS n, s.id AS shop FROM shop.orders o " +
			"JOIN (shop.shop s) ON s.id = o.customer",
		"CREATE VIEW shop.same_name AS SELECT shop.shop.id FROM shop.shop JOIN shop.counted",
		"CREATE EVENT shop.often ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DO UPDATE shop.counted SET n = 100",
		"CREATE PROCEDURE shop.named() SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'shop'",
		// Not to be told:
		"CREATE VIEW shop.doubtful AS SELECT shop.id, shop.orders_of(1) AS n FROM shop.orders AS shop",
		"CREATE VIEW shop.of_doubtful AS SELECT * FROM shop.doubtful",
		"CREATE PROCEDURE shop.by_text() EXECUTE IMMEDIATE 'DELETE FROM shop.orders'",
		"CREATE PROCEDURE shop.reset() BEGIN DROP DATABASE shop; END",
		"CREATE USER reader", "GRANT SELECT ON shop.* TO reader",
	}
}

// wantLeftOut wants these to be left out, and nothing else.
func wantLeftOut(t *testing.T, version string, r tablerestore.Report, want ...string) {
	t.Helper()
	var got []string
	for _, one := range r.LeftOut {
		got = append(got, one.Kind+" "+one.Name)
		if one.Reason == "" || !strings.HasPrefix(one.Statement, "CREATE ") {
			t.Errorf("%s: %+v", version, one)
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: left out are %+v, want %q", version, r.LeftOut, want)
	}
}

// wantWorkingCopy wants a database with the rows of another one, which is gone, and without a trace of
// its name.
func wantWorkingCopy(t *testing.T, version string, srv *mariadbtest.Server, original mariadbtest.Snapshot) {
	t.Helper()
	all, err := mariadbtest.TakeSnapshot(t.Context(), srv)
	if err != nil {
		t.Fatal(err)
	}
	left := []string{"`shop`.`doubtful`", "`shop`.`of_doubtful`", "`shop`.`by_text`", "`shop`.`reset`"}
	for o, text := range original {
		if slices.Contains(left, o.Name) {
			continue
		}
		o.Name = strings.Replace(o.Name, "`shop`", "`new shop`", 1)
		got, there := all[o]
		if !there {
			t.Errorf("%s: there is no %v among %v", version, o, slices.Collect(maps.Keys(all)))
		}
		if o.Kind == "table" && !strings.Contains(text, "shop") && got != text {
			t.Errorf("%s: %v is %s, want %s", version, o, got, text)
		}
	}
	for _, view := range []string{"a_view", "b_view", "joined", "same_name"} {
		srv.MustExec(t, "SELECT * FROM `new shop`."+view)
	}
	srv.MustExec(t, "CALL `new shop`.spelled()", "INSERT INTO `new shop`.numbered (b) VALUES (2)",
		"INSERT INTO `new shop`.customers (name) VALUES ('x')", "INSERT INTO `new shop`.orders VALUES (2000, 1001)",
		"ALTER EVENT `new shop`.often ENABLE", "SELECT * FROM `new shop`.merged",
		"DELETE FROM `new shop`.customers WHERE id = 900")
	got := srv.MustValue(t, "SELECT CONCAT((SELECT n FROM `new shop`.counted), ' ', "+
		"(SELECT COUNT(*) FROM `new shop`.`lines`), ' ', (SELECT name FROM `new shop`.customers WHERE id = 1001), ' ', "+
		"(SELECT MAX(a) FROM `new shop`.numbered), ' ', (SELECT COUNT(*) FROM `new shop`.orders), ' ', "+
		"(SELECT COUNT(*) FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE CONSTRAINT_NAME='of_customer'))")
	if want := "2 499 X! 5100 1000 1"; got != want {
		t.Errorf("%s: the copy has %s, want %s", version, got, want)
	}
	for _, one := range []string{"SELECT VIEW_DEFINITION FROM information_schema.VIEWS " +
		"WHERE REPLACE(VIEW_DEFINITION, '`new shop`.`shop`', '') LIKE '%`shop`.%'",
		"SELECT ACTION_STATEMENT FROM information_schema.TRIGGERS WHERE ACTION_STATEMENT LIKE '% shop.%'",
		"SELECT ROUTINE_DEFINITION FROM information_schema.ROUTINES WHERE ROUTINE_DEFINITION LIKE '% shop.%'",
		"SELECT EVENT_DEFINITION FROM information_schema.EVENTS WHERE EVENT_DEFINITION LIKE '% shop.%'"} {
		if n := srv.MustValue(t, "SELECT COUNT(*) FROM ("+one+") x"); n != "0" {
			t.Errorf("%s: %s programs have the old name: %s", version, n, one)
		}
	}
}

// What is no name for the database is refused before anything is touched.
func TestDatabaseNamesRefused(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, newest())
	srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.t (a INT)", "CREATE DATABASE shop2",
		"CREATE TABLE shop2.t (a INT)", "CREATE TABLE shop.p (a INT PRIMARY KEY)",
		"CREATE TABLE shop.child (a INT, CONSTRAINT c FOREIGN KEY (a) REFERENCES p (a))",
		"INSERT INTO shop.child VALUES (NULL)")
	repository := t.TempDir()
	document[taken](t, backupArgs(srv, repository)...)
	for _, c := range []struct {
		args         []string
		advice, want string
	}{
		{[]string{"--database", "shop*", "--as", "x"}, "--database", "is a name for one database, and 2 are to be restored"},
		{[]string{"--database", "shop", "--as", "MySQL"}, "", "a database of the server itself"},
		{[]string{"--database", "shop", "--as", strings.Repeat("x", 65)}, "", "longer than 64"},
		{[]string{"--database", "shop", "--as", "x*"}, "", "is a pattern"},
		{[]string{"--database", "shop", "--table", "shop2.t", "--as", "x"}, "", "one table or one database"},
		{[]string{"--database", "shop", "--as", "shop2"}, "--replace", "the server has `shop2`.`t` already"},
	} {
		o := mbk(t, into(srv, repository, c.args...)...)
		o.wantRefusal(t, 2, c.advice, c.want)
	}
	// The parent is left out: the copy's child does not refer to a table that is not there, nor to the original.
	r := document[tablerestore.Report](t, into(srv, repository, "--database", "shop", "--exclude-table", "shop.p",
		"--as", "x")...)
	if len(r.LeftOut) != 1 || r.LeftOut[0].Kind != "foreign key" || r.LeftOut[0].Name != "shop.child.c" {
		t.Errorf("left out: %+v", r.LeftOut)
	}
	if n := srv.MustValue(t, "SELECT COUNT(*) FROM x.child"); n != "1" {
		t.Errorf("the child has %s rows", n)
	}
}
