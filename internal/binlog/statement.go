package binlog

import "strings"

// Kind says what a transaction, or a statement of one, does.
type Kind string

// Kinds of what transactions do. A statement that KindDDL is of, is also of the kind of its
// first word.
const (
	KindDDL      Kind = "ddl"
	KindCreate   Kind = "create"
	KindAlter    Kind = "alter"
	KindDrop     Kind = "drop"
	KindRename   Kind = "rename"
	KindTruncate Kind = "truncate"
	KindAccount  Kind = "account" // of users, roles and privileges
	KindInsert   Kind = "insert"  // also REPLACE and LOAD DATA
	KindUpdate   Kind = "update"
	KindDelete   Kind = "delete"
	KindOther    Kind = "other" // a statement of another kind
)

// Kinds returns all kinds.
func Kinds() []Kind {
	return []Kind{KindDDL, KindCreate, KindAlter, KindDrop, KindRename, KindTruncate, KindAccount, KindInsert, KindUpdate,
		KindDelete, KindOther}
}

// Name is the name of a table, view or sequence. A Table of "" stands for a whole database.
type Name struct{ Database, Table string }

// Statement is what the text of a statement tells.
type Statement struct {
	Kinds  []Kind // none for one that changes nothing by itself, such as SAVEPOINT
	Tables []Name // that it names as those that it changes
	Known  bool   // it names all tables that it changes, but for triggers and functions
}

// statement reads a statement.
type statement struct {
	tokens
	database string // the default one
	found    Statement
}

// ParseStatement tells the kind and the tables of a statement, as far as its beginning says them.
// database is the default one.
func ParseStatement(text []byte, database string) Statement {
	s := statement{tokens: tokens{rest: text}, database: database}
	s.found.Known = true
	s.parse(0)
	return s.found
}

// maxNested limits how many SET STATEMENT are in each other.
const maxNested = 5

func (s *statement) parse(nested int) {
	word := s.next()
	switch {
	case word.is("CREATE"):
		s.definition(KindCreate)
	case word.is("DROP"):
		s.definition(KindDrop)
	case word.is("ALTER"):
		s.definition(KindAlter)
	case word.is("RENAME"):
		s.rename()
	case word.is("TRUNCATE"):
		s.kinds(KindDDL, KindTruncate)
		s.skip("TABLE")
		s.table()
	case word.is("INSERT", "REPLACE"):
		s.kinds(KindInsert)
		s.skip("LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO")
		s.table()
	case word.is("UPDATE"):
		s.update()
	case word.is("DELETE"):
		s.delete()
	case word.is("LOAD"):
		s.kinds(KindInsert)
		s.found.Known = s.until("INTO") && s.until("TABLE")
		s.table()
	case word.is("GRANT", "REVOKE"):
		s.kinds(KindDDL, KindAccount)
	case word.is("ANALYZE", "OPTIMIZE", "REPAIR"):
		s.kinds(KindOther)
		s.skip("NO_WRITE_TO_BINLOG", "LOCAL", "TABLE", "TABLES")
		s.list()
	case word.is("SAVEPOINT", "COMMIT", "ROLLBACK", "RELEASE", "XA", "BEGIN", "START") && !s.peek().is("NOT"):
	case word.is("SET"):
		s.set(nested)
	default:
		s.kinds(KindOther)
		s.found.Known = word.is("FLUSH", "INSTALL", "UNINSTALL")
	}
}

// kinds sets what the statement is.
func (s *statement) kinds(kinds ...Kind) { s.found.Kinds = kinds }

// set reads SET STATEMENT ... FOR another one, and SET PASSWORD.
func (s *statement) set(nested int) {
	switch word := s.next(); {
	case word.is("STATEMENT") && nested < maxNested && s.until("FOR"):
		s.parse(nested + 1)
	case word.is("PASSWORD", "DEFAULT", "ROLE"):
		s.kinds(KindDDL, KindAccount)
	default:
		s.kinds(KindOther)
		s.found.Known = false
	}
}

// skip passes over any of some words.
func (s *statement) skip(words ...string) {
	for s.peek().is(words...) {
		s.next()
	}
}

// maxTokens limits how many tokens are looked at to find a word.
const maxTokens = 10000

// until passes over a word, and all before it. It reports whether there is one.
func (s *statement) until(words ...string) bool {
	for range maxTokens {
		t := s.next()
		if t.kind == tokenEnd {
			return false
		}
		if t.is(words...) {
			return true
		}
	}
	return false
}

// table reads a name, and adds it. It reports whether there is one.
func (s *statement) table() bool {
	s.skip("IF", "NOT", "EXISTS")
	t := s.next()
	if !t.name() {
		s.found.Known = false
		return false
	}
	n := Name{s.database, t.text}
	if s.peek().is(".") {
		s.next()
		if t := s.next(); t.name() {
			n = Name{n.Table, t.text}
		} else {
			s.found.Known = false
		}
	}
	s.add(n)
	return true
}

// maxTables limits how many tables of a statement or a transaction are told.
const maxTables = 1000

func (s *statement) add(n Name) {
	if len(s.found.Tables) == maxTables {
		s.found.Known = false
		return
	}
	s.found.Tables = append(s.found.Tables, n)
}

// list reads names that are separated by commas.
func (s *statement) list() {
	for s.table() && s.peek().is(",") && len(s.found.Tables) < maxTables {
		s.next()
	}
	s.found.Known = s.found.Known && !s.peek().is(",")
}

// definition reads what follows CREATE, ALTER and DROP.
func (s *statement) definition(kind Kind) {
	s.kinds(KindDDL, kind)
	for range 40 { // OR REPLACE, TEMPORARY, DEFINER = ...
		switch word := s.next(); {
		case word.is("TABLE", "TABLES", "VIEW", "SEQUENCE"):
			if kind == KindDrop {
				s.list()
			} else {
				s.table()
			}
			if kind == KindAlter {
				s.renamed()
			}
			return
		case word.is("INDEX"):
			s.found.Known = s.until("ON")
			s.table()
			return
		case word.is("TRIGGER"):
			// DROP TRIGGER does not name the table.
			if s.found.Known = kind == KindCreate && s.until("ON"); s.found.Known {
				s.table()
			}
			return
		case word.is("DATABASE", "SCHEMA"):
			s.whole()
			return
		case word.is("USER", "ROLE"):
			s.kinds(KindDDL, KindAccount)
			return
		case word.is("PROCEDURE", "FUNCTION", "EVENT", "PACKAGE", "SERVER"):
			return // no table
		case word.kind == tokenEnd:
			s.found.Known = false
			return
		}
	}
	s.found.Known = false
}

// whole reads the name of a database.
func (s *statement) whole() {
	s.skip("IF", "NOT", "EXISTS")
	n := Name{Database: s.database}
	if t := s.peek(); t.name() && !t.is("CHARACTER", "DEFAULT", "COLLATE", "CHARSET", "COMMENT", "UPGRADE") {
		n.Database = t.text
	}
	s.add(n)
}

// renamed looks in ALTER TABLE for the name that the table gets.
func (s *statement) renamed() {
	for s.until("RENAME") {
		if s.peek().is("COLUMN", "INDEX", "KEY") {
			continue
		}
		s.skip("TO", "AS", "=")
		s.table()
		return
	}
}

// rename reads RENAME TABLE and RENAME USER.
func (s *statement) rename() {
	s.kinds(KindDDL, KindRename)
	if word := s.next(); !word.is("TABLE", "TABLES") {
		s.kinds(KindDDL, KindAccount)
		return
	}
	for s.table() && len(s.found.Tables) < maxTables {
		if !s.until("TO") {
			s.found.Known = false
			return
		}
		s.table()
		if !s.peek().is(",") {
			return
		}
		s.next()
	}
	s.found.Known = false
}

// update reads UPDATE. Of several tables it is not told which are changed.
func (s *statement) update() {
	s.kinds(KindUpdate)
	s.skip("LOW_PRIORITY", "IGNORE")
	s.table()
	s.alias("SET", "FOR", "PARTITION")
	s.found.Known = s.found.Known && s.peek().is("SET", "FOR", "PARTITION")
}

// delete reads DELETE. Of several tables it is not told which are changed.
func (s *statement) delete() {
	s.kinds(KindDelete)
	s.skip("LOW_PRIORITY", "QUICK", "IGNORE", "HISTORY")
	if !s.peek().is("FROM") {
		s.list()
		s.found.Known = false // aliases
		return
	}
	s.next()
	s.table()
	ends := []string{"WHERE", "ORDER", "LIMIT", "RETURNING", "PARTITION", "FOR", "BEFORE", ";"}
	s.alias(ends...)
	end := s.peek()
	s.found.Known = s.found.Known && (end.kind == tokenEnd || end.is(ends...))
}

// alias passes over another name of a table, unless one of some words follows.
func (s *statement) alias(unless ...string) {
	s.skip("AS")
	if t := s.peek(); t.name() && !t.is(unless...) && !t.is("USING", "JOIN", "INNER", "LEFT", "RIGHT", "CROSS", "NATURAL",
		"STRAIGHT_JOIN") {
		s.next()
	}
}

// String returns the name as in "shop.orders", and "shop.*" for a database.
func (n Name) String() string {
	if n.Table == "" {
		return n.Database + ".*"
	}
	return strings.TrimPrefix(n.Database+"."+n.Table, ".")
}
