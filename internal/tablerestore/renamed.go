package tablerestore

import (
	"context"
	"fmt"
	"strings"

	"mbk/internal/hint"
	"mbk/internal/ui/printable"
)

// leaveOut reports what is not made.
func (r *Report) leaveOut(kind, name, statement, reason string) {
	r.LeftOut = append(r.LeftOut, LeftOut{Kind: kind, Name: name, Reason: reason, Statement: statement})
}

// renameTable gives the database another name in what a table's definition refers to: sequences of
// its columns' defaults, the tables of a MERGE table.
func (p *plan) renameTable(t *table, r *Report) error {
	if p.renaming == nil || t.Type == "VIEW" {
		return nil // views are renamed when they are made
	}
	rename := func(text *string) ([]string, error) {
		found, err := p.renaming.apply(*text, workMode)
		if err != nil {
			return nil, hint.Wrap(fmt.Errorf("%s has no safe spelling in another database: %w", label(t), err),
				"leave it out with "+hint.Option("exclude-table"))
		}
		*text = found.text
		return found.strings, nil
	}
	for i := range t.def.elements {
		if _, err := rename(&t.def.elements[i]); err != nil {
			return err
		}
	}
	texts, err := rename(&t.def.tail)
	if err == nil && len(texts) > 0 && withoutRows(t.Engine) {
		r.note("%s goes on to name %s, where its rows are: '%.200s'", label(t), printable.Name(p.renaming.from), texts[0])
	}
	return err
}

// renameProgram gives the database another name in a view or a stored program. It reports false, and
// leaves it out, if that cannot be done safely.
func (p *plan) renameProgram(kind, name string, text *string, mode string, r *Report) bool {
	if p.renaming == nil {
		return true
	}
	found, err := p.renaming.apply(*text, mode)
	if err != nil {
		r.leaveOut(kind, name, *text, err.Error())
		return false
	}
	*text = found.text
	for _, literal := range found.strings {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%s %s has the name %s in a string, which stays: '%.200s'", kind, name,
			printable.Name(p.renaming.from), literal))
	}
	return true
}

// noteRenamed tells who has no privileges on the renamed database.
func (g *target) noteRenamed(ctx context.Context, r *Report) error {
	n := g.plan.renaming
	if n == nil {
		return nil
	}
	found, err := g.client.Rows(ctx, "SELECT DISTINCT GRANTEE FROM information_schema.SCHEMA_PRIVILEGES p "+
		"WHERE ? LIKE TABLE_SCHEMA AND NOT EXISTS (SELECT 1 FROM information_schema.SCHEMA_PRIVILEGES q "+
		"WHERE q.GRANTEE=p.GRANTEE AND ? LIKE q.TABLE_SCHEMA) ORDER BY 1", n.from, n.to)
	if err != nil {
		return err
	}
	var accounts []string
	for _, row := range found {
		accounts = append(accounts, row[0])
	}
	if len(accounts) > 0 {
		r.note("privileges are not restored: these have some on %s and none on %s: %s", printable.Name(n.from),
			printable.Name(n.to), printable.List(accounts))
	}
	return nil
}

// lacksParent returns the table to which a foreign key refers, if that is one of the renamed database
// which is not there; else "".
func (g *target) lacksParent(ctx context.Context, key string) (string, error) {
	n := g.plan.renaming
	const word = " REFERENCES "
	at := findOutsideQuotes(key, word)
	if n == nil || at < 0 {
		return "", nil
	}
	database, rest, err := cutName(key[at+len(word):])
	if err != nil || database != n.to || !strings.HasPrefix(rest, ".") {
		return "", err
	}
	table, _, err := cutName(rest[1:])
	if err != nil {
		return "", err
	}
	found, err := g.client.Rows(ctx, "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA=? AND TABLE_NAME=?",
		database, table)
	if err != nil || len(found) > 0 {
		return "", err
	}
	return qualified(database, table), nil
}
