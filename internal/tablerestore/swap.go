package tablerestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mbk/internal/hint"
	"mbk/stage"
)

// swap gives the filled tables their names, all at once, and then the triggers and foreign
// keys that belong to them. What can go wrong after the rename is said with the statement
// that is still to be run: the rows are in their place by then.
func (g *target) swap(ctx context.Context, s *source, tables []*table, r *Report) error {
	if len(tables) == 0 {
		return nil
	}
	for _, t := range tables {
		if t.exists {
			if err := g.takeTriggers(ctx, t, r); err != nil {
				return err
			}
		}
	}
	children, err := g.children(ctx, tables)
	if err != nil {
		return err
	}
	if err := g.rename(ctx, tables); err != nil {
		return errors.Join(err, g.giveTriggersBack(ctx, r))
	}
	for _, t := range tables {
		t.work = ""
	}
	for _, step := range []func() error{
		// Foreign keys of other tables have followed the old one to its new name.
		func() error { return g.repoint(ctx, children) },
		func() error { return g.addForeignKeys(ctx, tables, r) },
		func() error { return g.addTriggers(ctx, s, tables, r) },
		func() error { return g.dropOld(ctx, tables) },
	} {
		if err := step(); err != nil {
			return hint.Wrap(fmt.Errorf("the tables are in their place, but: %w", err),
				"run that statement by hand when its cause is gone, or restore once more with "+hint.Option("replace"))
		}
	}
	return nil
}

// rename exchanges the tables in one statement.
func (g *target) rename(ctx context.Context, tables []*table) error {
	var pairs []string
	for _, t := range tables {
		if t.exists {
			pairs = append(pairs, label(t)+" TO "+g.old(t))
		}
		pairs = append(pairs, g.worked(t)+" TO "+label(t))
	}
	return g.client.Exec(ctx, "RENAME TABLE "+strings.Join(pairs, ", "))
}

// old is the quoted name of a table that was replaced. One that is to be dropped gets a
// temporary name first.
func (g *target) old(t *table) string {
	if t.kept != "" {
		return qualified(t.as.Database, t.kept)
	}
	return qualified(t.as.Database, t.dropped)
}

// takeTriggers drops the triggers of a table that is to be replaced: their names are needed
// for those of the backup. The report keeps them.
func (g *target) takeTriggers(ctx context.Context, t *table, r *Report) error {
	all, err := triggersOf(ctx, g.client, t.as.Database, t.as.Table)
	if err != nil {
		return err
	}
	for _, one := range all {
		r.OldTriggers = append(r.OldTriggers, one.create)
		g.taken = append(g.taken, func(ctx context.Context) error { return one.run(ctx, g.client, t.as.Database) })
		if err := g.client.Exec(ctx, "DROP TRIGGER "+qualified(t.as.Database, one.name)); err != nil {
			return errors.Join(err, g.giveTriggersBack(ctx, r))
		}
	}
	return nil
}

// giveTriggersBack makes the triggers again that were dropped.
func (g *target) giveTriggersBack(ctx context.Context, r *Report) error {
	var errs []error
	for _, run := range g.taken {
		if err := run(ctx); err != nil && stage.Number(err) != erTriggerExists {
			errs = append(errs, err)
		}
	}
	r.OldTriggers, g.taken = nil, nil
	return errors.Join(errs...)
}

// erTriggerExists is the server's number for a trigger that is there already.
const erTriggerExists = 1359

// child is a foreign key of another table that refers to one which is replaced.
type child struct {
	database, table string
	key             namedText
	parent          *table
}

// children are the foreign keys of other tables that refer to those which are replaced.
func (g *target) children(ctx context.Context, tables []*table) ([]child, error) {
	var all []child
	for _, t := range tables {
		if !t.exists {
			continue
		}
		found, err := g.client.Rows(ctx, "SELECT CONSTRAINT_SCHEMA, TABLE_NAME, CONSTRAINT_NAME "+
			"FROM information_schema.REFERENTIAL_CONSTRAINTS WHERE UNIQUE_CONSTRAINT_SCHEMA=? AND REFERENCED_TABLE_NAME=?",
			t.as.Database, t.as.Table)
		if err != nil {
			return nil, err
		}
		for _, r := range found {
			itself := func(o *table) bool { return o.as.Database == r[0] && o.as.Table == r[1] }
			if slices.ContainsFunc(tables, itself) {
				continue // it is replaced, too
			}
			create, err := g.client.Rows(ctx, "SHOW CREATE TABLE "+qualified(r[0], r[1]))
			if err != nil {
				return nil, err
			}
			d, err := parseDefinition(create[0][1])
			if err != nil {
				return nil, err
			}
			i := slices.IndexFunc(d.foreign, func(k namedText) bool { return k.name == r[2] })
			if i < 0 {
				return nil, fmt.Errorf("foreign key %s of %s not found in its definition", r[2], qualified(r[0], r[1]))
			}
			all = append(all, child{r[0], r[1], d.foreign[i], t})
		}
	}
	return all, nil
}

// repoint makes foreign keys refer to the restored tables. There is one at any moment: the
// new one is added under another name, until the old one's is free.
func (g *target) repoint(ctx context.Context, children []child) error {
	for _, c := range children {
		text, err := referring(c.key.text, c.parent.as.Database, c.parent.as.Table)
		if err != nil {
			return err
		}
		name := qualified(c.database, c.table)
		for _, change := range []string{
			" ADD CONSTRAINT " + stage.QuoteName(workPrefix+g.token) + " " + text,
			" DROP FOREIGN KEY " + stage.QuoteName(c.key.name),
			" ADD CONSTRAINT " + stage.QuoteName(c.key.name) + " " + text,
			" DROP FOREIGN KEY " + stage.QuoteName(workPrefix+g.token),
		} {
			if err := g.client.Exec(ctx, "ALTER TABLE "+name+change); err != nil {
				return err
			}
		}
	}
	return nil
}

// addForeignKeys adds the foreign keys of the restored tables. A table that is kept loses
// its own: they would go on to guard rows of others, and their names are needed.
func (g *target) addForeignKeys(ctx context.Context, tables []*table, r *Report) error {
	for _, t := range tables {
		if err := g.freeForeignKeys(ctx, t, r); err != nil {
			return err
		}
	}
	for _, t := range tables {
		var add []string
		for _, k := range t.def.foreign {
			missing, err := g.lacksParent(ctx, references(k.text, g.plan.database(t.Database)))
			if err != nil {
				return err
			}
			if missing != "" {
				r.leaveOut("foreign key", t.Database+"."+t.Name+"."+k.name, k.text,
					"the table to which it refers is not in the renamed database: "+missing)
				continue
			}
			add = append(add, g.plan.addedKey(t, k))
		}
		if len(add) == 0 {
			continue
		}
		if err := g.client.Exec(ctx, "ALTER TABLE "+label(t)+" "+strings.Join(add, ", ")); err != nil {
			return err
		}
	}
	return nil
}

// addedKey is the part of an ALTER TABLE that adds a foreign key.
func (p *plan) addedKey(t *table, k namedText) string {
	text := references(k.text, p.database(t.Database))
	if p.alone(t) {
		return "ADD " + text // the original may be there, with a constraint of that name
	}
	return "ADD CONSTRAINT " + stage.QuoteName(k.name) + " " + text
}

// freeForeignKeys drops the foreign keys of a table that was replaced.
func (g *target) freeForeignKeys(ctx context.Context, t *table, r *Report) error {
	if !t.exists {
		return nil
	}
	create, err := g.client.Rows(ctx, "SHOW CREATE TABLE "+g.old(t))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(create[0][1], "CREATE TABLE ") {
		return nil // a sequence
	}
	d, err := parseDefinition(create[0][1])
	if err != nil {
		return err
	}
	var drop []string
	for _, k := range d.foreign {
		drop = append(drop, "DROP FOREIGN KEY "+stage.QuoteName(k.name))
	}
	if len(drop) == 0 {
		return nil
	}
	if t.kept != "" {
		r.note("%s has lost its %d foreign keys", g.old(t), len(drop))
	}
	return g.client.Exec(ctx, "ALTER TABLE "+g.old(t)+" "+strings.Join(drop, ", "))
}

// addTriggers makes the triggers of the restored tables.
func (g *target) addTriggers(ctx context.Context, s *source, tables []*table, r *Report) error {
	for _, t := range tables {
		if err := g.programs().makeTriggers(ctx, s, t, r); err != nil {
			return err
		}
	}
	return nil
}

// dropOld drops the tables that were replaced, if they are not kept.
func (g *target) dropOld(ctx context.Context, tables []*table) error {
	for _, t := range tables {
		if t.exists && t.kept == "" {
			text := "DROP TABLE "
			if t.Type == "SEQUENCE" {
				text = "DROP SEQUENCE "
			}
			if err := g.client.Exec(ctx, text+g.old(t)); err != nil {
				return err
			}
		}
	}
	return nil
}
