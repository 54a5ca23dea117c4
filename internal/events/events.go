// Package events searches binary logs for transactions: those in the archive of a repository, and
// those in the files of a server. It tells what each of them changes, and changes nothing.
package events

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/binlog/logfiles"
	"mbk/internal/datadir/filter"
	"mbk/internal/repo"
)

// Options say where to search, and for what. The zero value of every field but Repository and Log
// looks for all.
type Options struct {
	Repository *repo.Repository // its archive is searched, unless Log is set
	Log        *logfiles.Log

	From    time.Time // of this time or later; zero: from the beginning
	To      time.Time // before this time; zero: to the end
	Tables  filter.Tables
	Kinds   []binlog.Kind // one of these
	MinRows int64         // so many rows, or more
	Limit   int           // of transactions that are found; 0: DefaultLimit

	Statements bool // tell the text of statements
}

// DefaultLimit is how many transactions are found at most if nothing else is said.
const DefaultLimit = 1000

// MaxLimit bounds Options.Limit, since what is found is kept in memory.
const MaxLimit = 1_000_000

// Result is what was found.
type Result struct {
	Source       string        `json:"source"` // the repository, or the folder of the binary log
	From         *time.Time    `json:"from"`
	To           *time.Time    `json:"to"`
	Transactions []Transaction `json:"transactions"` // in the order of the log
	More         bool          `json:"more"`         // there are more than the limit lets through
	Searched     int64         `json:"searched"`     // transactions that were looked at
	Warnings     []string      `json:"warnings"`     // what could not be searched
}

// Transaction is one that was found.
type Transaction struct {
	GTID     string    `json:"gtid"`
	Time     time.Time `json:"time"`      // when it was committed, or its last statement began, in whole seconds
	ServerID uint32    `json:"server_id"` // of the server that committed it first
	Thread   uint32    `json:"thread"`    // id of the connection, 0 if the log does not say
	Kinds    []string  `json:"kinds"`     // "ddl", "drop", "delete", ...
	Tables   []Table   `json:"tables"`    // that it changes
	// TablesKnown says that these are all, but for what triggers and functions of statements have changed.
	TablesKnown bool  `json:"tables_known"`
	Rows        int64 `json:"rows"`       // that it changes, as far as the log has them
	RowsKnown   bool  `json:"rows_known"` // no statement changes rows that are not counted
	Bytes       int64 `json:"bytes"`      // of its events
	// Object is the segment, or the file of the binary log, that it is in, and Position the byte of that
	// file at which it begins; 0 in a segment.
	Object     string   `json:"object"`
	Position   int64    `json:"position"`
	Statements []string `json:"statements"` // with --verbose
}

// Table is a table that a transaction changes. The rows are those that the log has as rows.
type Table struct {
	Name     string `json:"name"` // "shop.orders", or "shop.*" for a database
	Inserted int64  `json:"inserted"`
	Updated  int64  `json:"updated"`
	Deleted  int64  `json:"deleted"`
}

// longest is how long before its commit a transaction may have got its time: that of its last
// statement, or on a replica of the primary's commit. One that is older by more is found
// only if what was stored around it is in the range.
const longest = 24 * time.Hour

// Validate checks what can be checked before anything is read.
func (o Options) Validate() error {
	switch {
	case (o.Repository == nil) == (o.Log == nil):
		return errors.New("events: one repository, or one log")
	case !o.To.IsZero() && !o.From.Before(o.To):
		return fmt.Errorf("events: from %s to %s", o.From, o.To)
	case o.Limit < 0 || o.Limit > MaxLimit || o.MinRows < 0:
		return fmt.Errorf("events: at most %d transactions, of %d rows or more", o.Limit, o.MinRows)
	}
	return nil
}

// Find searches. Errors: damage of what has to be read, such as *pack.DamageError;
// binlog.ErrEncrypted; repo.Concealed if an identity is needed.
func Find(ctx context.Context, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Limit == 0 {
		o.Limit = DefaultLimit
	}
	s := &search{o: o, result: &Result{Transactions: []Transaction{}, Warnings: []string{}}}
	s.summarizer.WithStatements = o.Statements
	if !o.From.IsZero() {
		s.result.From = &o.From
	}
	if !o.To.IsZero() {
		s.result.To = &o.To
	}
	var err error
	if o.Log != nil {
		s.result.Source = o.Log.Dir
		err = s.files(ctx)
	} else {
		s.result.Source = o.Repository.String()
		err = s.archive(ctx)
	}
	if errors.Is(err, repo.ErrStop) {
		err = nil
	}
	return s.result, err
}

// search is one search.
type search struct {
	o          Options
	result     *Result
	summarizer binlog.Summarizer
}

// take looks at the next event. The error is repo.ErrStop when enough was found.
func (s *search) take(event []byte, part binlog.Part, begin binlog.Begin, object string, position int64) error {
	t := s.summarizer.Add(event, part, begin)
	if t == nil {
		return nil
	}
	s.result.Searched++
	if !s.wanted(t) {
		return nil
	}
	if len(s.result.Transactions) == s.o.Limit {
		s.result.More = true
		return repo.ErrStop
	}
	s.result.Transactions = append(s.result.Transactions, found(t, object, position))
	return nil
}

// wanted reports whether a transaction is looked for. What is not known of one is not held against
// it.
func (s *search) wanted(t *binlog.Transaction) bool {
	when := time.Unix(int64(t.Begin.Time), 0)
	if when.Before(s.o.From) || !s.o.To.IsZero() && !when.Before(s.o.To) {
		return false
	}
	if t.Rows < s.o.MinRows && t.RowsKnown {
		return false
	}
	kind := func(k binlog.Kind) bool { return slices.Contains(t.Kinds, k) }
	if len(s.o.Kinds) > 0 && !slices.ContainsFunc(s.o.Kinds, kind) {
		return false
	}
	return !t.TablesKnown || s.o.Tables == (filter.Tables{}) ||
		slices.ContainsFunc(t.Tables, func(c binlog.TableChange) bool { return s.o.Tables.Match(c.Database, c.Table) })
}

// found describes a transaction.
func found(t *binlog.Transaction, object string, position int64) Transaction {
	one := Transaction{
		GTID: t.Begin.GTID.String(), Time: time.Unix(int64(t.Begin.Time), 0).UTC(), ServerID: t.Begin.GTID.Server,
		Thread: t.Thread, Kinds: []string{}, Tables: []Table{}, TablesKnown: t.TablesKnown, Rows: t.Rows,
		RowsKnown: t.RowsKnown, Bytes: t.Bytes, Object: object, Position: position,
		Statements: append([]string{}, t.Statements...),
	}
	for _, k := range t.Kinds {
		one.Kinds = append(one.Kinds, string(k))
	}
	for _, c := range t.Tables {
		one.Tables = append(one.Tables, Table{c.String(), c.Inserted, c.Updated, c.Deleted})
	}
	return one
}

// warn notes what could not be searched.
func (s *search) warn(format string, args ...any) {
	const most = 100
	if len(s.result.Warnings) < most {
		s.result.Warnings = append(s.result.Warnings, fmt.Sprintf(format, args...))
	}
}

// after reports whether what begins at a time is after all that is looked for.
func (s *search) after(begins time.Time) bool {
	return !s.o.To.IsZero() && begins.After(s.o.To.Add(longest))
}
