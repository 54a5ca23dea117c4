package filter

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func mustNew(t *testing.T, s Spec, fold bool) *Filter {
	t.Helper()
	f, err := New(s, fold)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestFilterKeeps(t *testing.T) {
	all := []Name{
		{"shop", "orders"}, {"shop", "orders_old"}, {"shop", "Items"}, {"shop2", "orders"}, {"crm", "people"},
		{"my.db", "a.b"}, {"odd`one", "x*"}, {"odd`one", "xy"}, {"größe", "é t"}, {"mysql", "user"}, {"mysql", "general_log"},
		{"sys", "sys_config"},
	}
	keep := func(names ...string) string { return strings.Join(names, " ") }
	const system = "mysql.user mysql.general_log sys.sys_config"
	for name, c := range map[string]struct {
		spec Spec
		fold bool
		want string
	}{
		"a database": {Spec{Databases: []string{"shop"}}, false,
			keep("shop.orders shop.orders_old shop.Items", system)},
		"databases by wildcard": {Spec{Databases: []string{"shop?", "c*m"}}, false,
			keep("shop2.orders crm.people", system)},
		"without a database": {Spec{ExcludeDatabases: []string{"shop*", "my.db", "odd*", "gr*"}}, false,
			keep("crm.people", system)},
		"a table":                   {Spec{Tables: []string{"shop.orders"}}, false, keep("shop.orders", system)},
		"a table of every database": {Spec{Tables: []string{"*.orders"}}, false, keep("shop.orders shop2.orders", system)},
		"tables and databases": {Spec{Databases: []string{"crm"}, Tables: []string{"shop.orders*"}}, false,
			keep("shop.orders shop.orders_old crm.people", system)},
		"exclude wins over include": {Spec{Databases: []string{"shop"}, ExcludeTables: []string{"shop.*_old"}}, false,
			keep("shop.orders shop.Items", system)},
		"and over a named table": {Spec{Tables: []string{"shop.orders", "crm.people"},
			ExcludeDatabases: []string{"shop"}}, false, keep("crm.people", system)},
		"a wildcard spares mysql": {Spec{Tables: []string{"crm.people"}, ExcludeDatabases: []string{"m*", "s*"},
			ExcludeTables: []string{"*.user"}}, false, keep("crm.people", system)},
		"mysql by its name": {Spec{Tables: []string{"crm.people"}, ExcludeDatabases: []string{"mysql"}}, false,
			keep("crm.people sys.sys_config")},
		"tables of mysql by its name": {Spec{Tables: []string{"crm.people"}, ExcludeTables: []string{"mysql.*_log"}}, false,
			keep("crm.people mysql.user sys.sys_config")},
		"only mysql":              {Spec{Databases: []string{"mysql"}}, false, keep(system)},
		"dots in backquotes":      {Spec{Tables: []string{"`my.db`.a.b"}}, false, keep("my.db.a.b", system)},
		"wildcards in backquotes": {Spec{Tables: []string{"`odd``one`.`x*`"}}, false, keep("odd`one.x*", system)},
		"the same without":        {Spec{Tables: []string{"`odd``one`.x*"}}, false, keep("odd`one.x* odd`one.xy", system)},
		"letters of two bytes":    {Spec{Tables: []string{"gr??e.? t"}}, false, keep("größe.é t", system)},
		"case counts": {Spec{Tables: []string{"shop.items", "SHOP.orders", "crm.people"}}, false,
			keep("crm.people", system)},
		"case does not count": {Spec{Tables: []string{"shop.iTems", "SHOP.ord?RS"}}, true,
			keep("shop.orders shop.Items", system)},
	} {
		t.Run(name, func(t *testing.T) {
			f := mustNew(t, c.spec, c.fold)
			var got []string
			for _, n := range all {
				if f.Table(n.Database, n.Table) {
					got = append(got, n.Database+"."+n.Table)
				}
				if !f.Table(n.Database, n.Table) && f.Whole(n.Database) {
					t.Errorf("%v is left out of a database that is kept whole", n)
				}
				if f.Table(n.Database, n.Table) && !f.MayHold(n.Database) {
					t.Errorf("%v is kept of a database that is not", n)
				}
			}
			if got := strings.Join(got, " "); got != c.want {
				t.Errorf("keeps %s, want %s", got, c.want)
			}
		})
	}
}

func TestFilterOfDatabases(t *testing.T) {
	f := mustNew(t, Spec{Databases: []string{"a", "b*"}, Tables: []string{"c.t"}, ExcludeDatabases: []string{"bad"},
		ExcludeTables: []string{"a.x"}}, false)
	for name, want := range map[string][3]bool{ // Database, MayHold, Whole
		"a": {true, true, false}, "b1": {true, true, true}, "bad": {}, "c": {false, true, false}, "d": {},
		"mysql": {true, true, true},
	} {
		if got := [3]bool{f.Database(name), f.MayHold(name), f.Whole(name)}; got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if f, err := New(Spec{}, false); f != nil || err != nil || !f.Table("a", "b") || !f.Database("a") || !f.MayHold("a") ||
		!f.Whole("a") || f.Check(nil, nil) != nil {
		t.Errorf("an empty filter is %v (%v)", f, err)
	}
}

func TestPatternsThatAreNone(t *testing.T) {
	for _, s := range []Spec{
		{Databases: []string{""}}, {Databases: []string{"`a"}}, {Databases: []string{"``"}}, {Databases: []string{"`a`b"}},
		{ExcludeDatabases: []string{"a`b"}},
		{Tables: []string{"a"}}, {Tables: []string{"a."}}, {Tables: []string{".a"}}, {ExcludeTables: []string{"`a`b.c"}},
		{Tables: []string{"a.`b"}}, {Tables: []string{"a.`b`c"}},
	} {
		if _, err := New(s, false); !errors.Is(err, ErrPattern) {
			t.Errorf("New(%q) = %v", s, err)
		}
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	databases := []string{"shop", "crm", "Müll", "mysql"}
	tables := []Name{{"shop", "orders"}, {"shop", "order_items"}, {"crm", "people"}, {"mysql", "user"}, {"my.db", "a`b"}}
	for name, c := range map[string]struct {
		spec    Spec
		error   string
		nearest string // the first of the nearest
	}{
		"a wrong database": {Spec{Databases: []string{"shpo"}}, "there is no database shpo", "shop"},
		"a wrong exclude":  {Spec{ExcludeDatabases: []string{"crn"}}, "there is no database crn", "crm"},
		"a wildcard":       {Spec{Databases: []string{"x*"}}, "no database matches x*", ""},
		"a wrong table":    {Spec{Tables: []string{"shop.ordres"}}, "there is no table shop.ordres", "shop.orders"},
		"a wrong excluded table": {Spec{ExcludeTables: []string{"shop.order_item?x"}}, "no table matches shop.order_item?x",
			"shop.order_items"}, "another case": {Spec{Databases: []string{"müll"}}, "there is no database müll", "Müll"},
		"names to be quoted": {Spec{Tables: []string{"my.db.ab"}}, "there is no table my.db.ab", "`my.db`.`a``b`"},
		"all of it excluded": {Spec{Databases: []string{"shop"}, ExcludeDatabases: []string{"sh*"}},
			ErrNothing.Error(), ""},
		"all its tables excluded": {Spec{Tables: []string{"shop.orders"}, ExcludeTables: []string{"shop.*"}},
			ErrNothing.Error(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			errs := mustNew(t, c.spec, false).Check(databases, tables)
			if len(errs) != 1 || errs[0].Error() != c.error {
				t.Fatalf("Check = %v, want %q", errs, c.error)
			}
			var e *UnmatchedError
			if !errors.As(errs[0], &e) {
				return
			}
			if c.nearest != "" && !slices.Contains(e.Nearest, c.nearest) {
				t.Errorf("nearest names %q, want %q", e.Nearest, c.nearest)
			}
			if e.Advice() == "" {
				t.Error("no advice")
			}
		})
	}
	if errs := mustNew(t, Spec{Databases: []string{"MÜLL"}, Tables: []string{"Shop.*"}}, true).Check(databases,
		tables); errs != nil {
		t.Errorf("Check with names in another case = %v", errs)
	}
	if errs := mustNew(t, Spec{Databases: []string{"mysql"}}, false).Check(databases, tables); errs != nil {
		t.Errorf("Check of mysql alone = %v", errs)
	}
}

func TestReadList(t *testing.T) {
	got, err := ReadList(strings.NewReader("\ufeff# what to keep\n shop.orders \r\n\n#x\n`a#b`.c\nlast"))
	if want := []string{"shop.orders", "`a#b`.c", "last"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("ReadList = %q, %v, want %q", got, err, want)
	}
	if _, err := ReadList(strings.NewReader("a\n\xff\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("ReadList of rubbish = %v", err)
	}
}

func FuzzPatterns(f *testing.F) {
	f.Add("a*b?", "`x``y`.z", "a", "b")
	f.Fuzz(func(t *testing.T, database, table, d, n string) {
		filter, err := New(Spec{Databases: []string{database}, Tables: []string{table}}, len(d)%2 == 0)
		if err == nil {
			filter.Table(d, n)
			filter.Check([]string{d}, []Name{{d, n}})
		}
		// A name that was quoted is a pattern of just that name.
		if d != "" && n != "" {
			exact, err := New(Spec{Tables: []string{Name{d, n}.String()}}, false)
			if err != nil || !exact.Table(d, n) || !Own(d) && exact.Table(d, n+"x") {
				t.Errorf("%q is a pattern for %v, not for %q.%q alone", Name{d, n}.String(), exact, d, n)
			}
		}
	})
}

func TestTables(t *testing.T) {
	some, err := ParseTables([]string{"Shop.order*", "mysql.user"})
	if err != nil {
		t.Fatal(err)
	}
	all, err := ParseTables(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		database, table string
		want            bool
	}{{"shop", "Orders", true}, {"shop", "o", false}, {"shop", "", true}, {"mysql", "user", true}, {"mysql", "db", false},
		{"x", "", false}} {
		if got := some.Match(c.database, c.table); got != c.want || !all.Match(c.database, c.table) {
			t.Errorf("%s.%s: %v, want %v", c.database, c.table, got, c.want)
		}
	}
	if _, err := ParseTables([]string{"orders"}); err == nil {
		t.Error("a pattern without a database")
	}
}
