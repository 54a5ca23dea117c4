package tablerestore

import (
	"strings"
	"testing"
)

func TestRenaming(t *testing.T) {
	for _, c := range []struct{ name, mode, text, want string }{
		{"names in three parts", "", "select `shop`.`t`.`shop` AS `shop` from `shop`.`t`",
			"select `n s`.`t`.`shop` AS `shop` from `n s`.`t`"},
		{"no other use", "", "SELECT shop.f, Shop.g, xshop.h FROM a, shop.b",
			"SELECT `n s`.f, Shop.g, xshop.h FROM a, `n s`.b"},
		{"space and comments", "", "CALL shop /* shop.x */ . p() -- shop.y\n",
			"CALL `n s` /* shop.x */ . p() -- shop.y\n"},
		{"comments that are carried out", "", "/*!50001 CREATE VIEW `shop`.v */ # shop.a",
			"/*!50001 CREATE VIEW `n s`.v */ # shop.a"},
		{"strings", "", `SELECT 'it''s shop.a\' shop.b', "shop.c" FROM shop.d`,
			`SELECT 'it''s shop.a\' shop.b', "shop.c" FROM ` + "`n s`.d"},
		{"names in double quotes", "ANSI_QUOTES", `SELECT 1 FROM "shop".d`, "SELECT 1 FROM `n s`.d"},
		{"no escapes", "NO_BACKSLASH_ESCAPES", `SELECT '\', shop.f()`, `SELECT '\', ` + "`n s`.f()"},
		{"accounts and variables", "", "CREATE DEFINER=`shop`@`shop` PROCEDURE p() SET @shop = @`shop`, @x=shop.a",
			"CREATE DEFINER=`shop`@`shop` PROCEDURE p() SET @shop = @`shop`, @x=`n s`.a"},
		{"a table of that name", "", "SELECT shop.shop.a FROM shop.shop JOIN (shop.b) WHERE shop.twice(shop.shop.a)",
			"SELECT `n s`.shop.a FROM `n s`.shop JOIN (`n s`.b) WHERE `n s`.twice(`n s`.shop.a)"},
		{"an alias of that name", "", "SELECT a FROM shop.b AS shop", "SELECT a FROM `n s`.b AS shop"},
		{"a trigger on a table of that name", "",
			"CREATE TRIGGER shop.t BEFORE INSERT ON shop.shop FOR EACH ROW DELETE FROM shop.b",
			"CREATE TRIGGER `n s`.t BEFORE INSERT ON `n s`.shop FOR EACH ROW DELETE FROM `n s`.b"},
		{"sequences", "", "`shop` int DEFAULT nextval(`shop`.`s`)",
			"`shop` int DEFAULT nextval(`n s`.`s`)"},
		{"sequences of the standard", "", "SELECT shop, NEXT VALUE FOR shop.s",
			"SELECT shop, NEXT VALUE FOR `n s`.s"},
		{"an alias that is not in doubt", "", "SELECT EXTRACT(DAY FROM o.d) FROM shop.b shop",
			"SELECT EXTRACT(DAY FROM o.d) FROM `n s`.b shop"},
		{"dynamic statements without the name", "", "PREPARE s FROM 'SELECT 1 FROM workshop.t'; DELETE FROM shop.x",
			"PREPARE s FROM 'SELECT 1 FROM workshop.t'; DELETE FROM `n s`.x"},
		{"nothing closed", "", "SELECT (`shop`.a, 'x", "SELECT (`n s`.a, 'x"},
	} {
		got, err := (renaming{from: "shop", to: "n s"}).apply(c.text, c.mode)
		if err != nil || got.text != c.want {
			t.Errorf("%s: got %s, %v\nwant %s", c.name, got.text, err, c.want)
		}
	}
	folded, err := (renaming{from: "shop", to: "n", fold: true}).apply("SELECT 1 FROM SHOP.t", "")
	if err != nil || folded.text != "SELECT 1 FROM `n`.t" {
		t.Errorf("with lower_case_table_names: %+v, %v", folded, err)
	}
}

func TestUnsafeRenaming(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"an alias", "SELECT shop.id FROM orders AS shop, shop.b", "is the database, or something else"},
		{"an alias in a function", "SELECT EXTRACT(DAY FROM shop.d) FROM orders shop", "something else"},
		{"a variable", "BEGIN DECLARE shop ROW (a INT); SET shop.a = 1; END", "SET shop.a = 1"},
		{"a table", "SELECT shop.id FROM shop", "SELECT shop.id FROM shop"},
		{"texts", "BEGIN EXECUTE IMMEDIATE 'DELETE FROM `shop`.orders'; END", "'DELETE FROM `shop`.orders'"},
		{"texts in parts", "PREPARE s FROM CONCAT('DELETE FROM SHOP.', t)", "PREPARE or EXECUTE IMMEDIATE"},
		{"the database", "DROP DATABASE IF EXISTS shop", "DATABASE IF EXISTS shop"},
	} {
		got, err := (renaming{from: "shop", to: "n"}).apply(c.text, "")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %q, %v, want an error with %q", c.name, got.text, err, c.want)
		}
	}
	if _, err := (renaming{from: "shop", to: "n", packaged: true}).apply("CALL shop.f()", ""); err == nil {
		t.Error("a procedure of a package of that name is renamed")
	}
	const literals = "SELECT 'shop', 'in shop', 'a shop.x', DEFINER='shop'@'shop'"
	found, err := (renaming{from: "shop", to: "n"}).apply(literals, "")
	if err != nil || strings.Join(found.strings, "|") != "shop|a shop.x" {
		t.Errorf("strings %q, %v", found.strings, err)
	}
}

// A text in which the name is replaced once more by the old one is as before, but for quotes.
func FuzzRenaming(f *testing.F) {
	f.Add("select `shop`.`t`.`a` from (`shop`.`t` join shop.b) -- shop.c", "ANSI_QUOTES")
	f.Add("CALL shop.p('shop.x\\'', \"shop\".y) /*! shop.z */", "")
	f.Fuzz(func(t *testing.T, text, mode string) {
		there, err := (renaming{from: "shop", to: "qqqq"}).apply(text, mode)
		if err != nil || strings.Contains(strings.ToLower(text), "qqqq") {
			return
		}
		back, err := (renaming{from: "qqqq", to: "shop"}).apply(there.text, mode)
		if err != nil {
			return // a string may name the new database
		}
		again, err := (renaming{from: "shop", to: "qqqq"}).apply(back.text, mode)
		if err != nil || again.text != there.text {
			t.Errorf("%q is renamed %q, back %q, and again %q: %v", text, there.text, back.text, again.text, err)
		}
	})
}
