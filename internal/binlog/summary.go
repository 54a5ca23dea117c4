package binlog

import (
	"bytes"
	"slices"
	"strings"
)

// Transaction is what a transaction does, as far as its events tell.
type Transaction struct {
	Begin  Begin
	Thread uint32 // id of the connection that made it, 0 if the log does not say
	Kinds  []Kind // in the order of Kinds
	// Tables are those that it changes, in their order. Those of statements are as the text says.
	Tables      []TableChange
	TablesKnown bool  // these are all, but for what triggers and functions of statements have changed
	Rows        int64 // that events of rows change
	RowsKnown   bool  // no rows are changed that are not counted: by statements
	Statements  []string
	Bytes       int64 // of its events
}

// TableChange is a table, and how many rows of it are changed by events of rows.
type TableChange struct {
	Name
	Inserted, Updated, Deleted int64
}

// Limits of what is kept of a transaction.
const (
	maxStatements = 100
	maxText       = 4 << 10  // bytes of a statement that are shown
	maxParsed     = 64 << 10 // bytes of one that are looked at
)

// Summarizer makes a Transaction of the events of each, bounded in memory. The zero value is
// ready. It belongs to one stream of events.
type Summarizer struct {
	WithStatements bool // keep the text of statements, also of those that rows come from

	format Format
	maps   map[uint64]*TableMap
	now    *Transaction
	kinds  map[Kind]bool
}

// Add takes the next event with where it stands, as Cutter says, and returns the transaction that
// it ends, nil if it ends none. Nobody changes the transaction later.
func (s *Summarizer) Add(event []byte, part Part, begin Begin) *Transaction {
	kind := Type(event[4])
	switch part {
	case Outside:
		if kind == TypeFormat {
			if f, err := ParseFormat(event); err == nil {
				s.format = f
			}
		}
		return nil
	case Opening:
		s.now = &Transaction{Begin: begin, Thread: begin.Thread, TablesKnown: true, RowsKnown: true}
		s.maps, s.kinds = map[uint64]*TableMap{}, map[Kind]bool{}
	}
	if s.now == nil {
		return nil
	}
	s.now.Bytes += int64(len(event))
	s.event(kind, event)
	if part != Closing {
		return nil
	}
	t := s.now
	s.now = nil
	if begin.DDL {
		s.kinds[KindDDL] = true
	}
	for _, k := range Kinds() {
		if s.kinds[k] {
			t.Kinds = append(t.Kinds, k)
		}
	}
	return t
}

// event takes an event of the transaction that is open.
func (s *Summarizer) event(kind Type, event []byte) {
	_, _, _, rows := rowsEvent(kind)
	switch {
	case rows:
		s.rows(event)
	case kind == TypeTableMap:
		t, err := s.format.TableMap(event)
		if err != nil || len(s.maps) == maxTables {
			s.now.TablesKnown, s.now.RowsKnown = false, false
			return
		}
		s.maps[t.ID] = t
	case kind == TypeQuery, kind == TypeQueryCompress, kind == TypeExecuteLoad:
		s.query(event)
	case kind == TypeAnnotate:
		s.text(s.format.Annotation(event), false)
	}
}

// dummyTable is the id of no table, in the last event of rows of a statement without any.
const dummyTable = 0x00ffffff

// rows takes an event that changes rows.
func (s *Summarizer) rows(event []byte) {
	h, err := s.format.rowHeader(event)
	if err == nil && h.table == dummyTable && len(h.rows) == 0 {
		return
	}
	t := s.maps[h.table]
	if err != nil || t == nil {
		s.now.TablesKnown, s.now.RowsKnown = false, false
		return
	}
	n, err := h.count(t)
	s.now.RowsKnown = s.now.RowsKnown && err == nil
	s.now.Rows += n
	c := s.table(Name{t.Database, t.Table})
	if c == nil {
		return
	}
	switch h.change {
	case Insert:
		c.Inserted += n
		s.kinds[KindInsert] = true
	case Update:
		c.Updated += n
		s.kinds[KindUpdate] = true
	case Delete:
		c.Deleted += n
		s.kinds[KindDelete] = true
	}
}

// table returns what is known of a table, nil if there are too many.
func (s *Summarizer) table(name Name) *TableChange {
	t := s.now
	i := slices.IndexFunc(t.Tables, func(c TableChange) bool { return c.Name == name })
	if i < 0 {
		if len(t.Tables) == maxTables {
			t.TablesKnown = false
			return nil
		}
		i = len(t.Tables)
		t.Tables = append(t.Tables, TableChange{Name: name})
	}
	return &t.Tables[i]
}

// query takes a statement.
func (s *Summarizer) query(event []byte) {
	q, err := s.format.Query(event, maxParsed)
	if err != nil {
		s.now.TablesKnown, s.now.RowsKnown = false, false
		return
	}
	found := ParseStatement(q.Text, q.Database)
	if s.now.Thread == 0 {
		s.now.Thread = q.Thread
	}
	if len(found.Kinds) == 0 {
		return
	}
	text := q.Text
	if slices.Contains(found.Kinds, KindAccount) {
		text = withoutSecret(text)
	}
	s.text(text, q.Cut || len(text) < len(q.Text))
	for _, k := range found.Kinds {
		s.kinds[k] = true
		if k == KindInsert || k == KindUpdate || k == KindDelete || k == KindOther {
			s.now.RowsKnown = false
		}
	}
	s.now.TablesKnown = s.now.TablesKnown && found.Known
	for _, name := range found.Tables {
		s.table(name)
	}
}

// withoutSecret returns a statement about an account up to where a password may follow.
func withoutSecret(text []byte) []byte {
	upper := bytes.ToUpper(text)
	for _, word := range []string{"IDENTIFIED", "PASSWORD"} {
		if at := bytes.Index(upper, []byte(word)); at >= 0 {
			text = text[:min(at, len(text))] // upper case may have other lengths
		}
	}
	return text
}

// text keeps a statement to be shown.
func (s *Summarizer) text(b []byte, cut bool) {
	if !s.WithStatements || len(s.now.Statements) > maxStatements {
		return
	}
	if len(s.now.Statements) == maxStatements {
		s.now.Statements = append(s.now.Statements, "...")
		return
	}
	text := strings.ToValidUTF8(string(b[:min(len(b), maxText)]), "?")
	if cut || len(b) > maxText {
		text += " ..."
	}
	s.now.Statements = append(s.now.Statements, text)
}
