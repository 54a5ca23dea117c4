package tablerestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mbk/stage"
)

// setting is what a stored program or a view was made with.
type setting struct{ mode, client, collation string }

// executor carries statements out, or keeps them for somebody who does.
type executor interface {
	Exec(ctx context.Context, text string) error
}

// run runs a statement under such settings.
func (s setting) run(ctx context.Context, c executor, text string) error {
	before := "SET SESSION sql_mode=" + stage.QuoteText(s.mode) + ", character_set_client=" + s.client +
		", collation_connection=" + s.collation
	if err := c.Exec(ctx, before); err != nil {
		return err
	}
	err := c.Exec(ctx, text)
	return errors.Join(err, c.Exec(ctx, "SET NAMES utf8mb4, SESSION sql_mode="+stage.QuoteText(workMode)))
}

// trigger is a trigger of a table.
type trigger struct {
	setting
	name, create string // create names the table, with its database or without
}

// triggersOf lists a table's triggers, in the order in which they must be made.
func triggersOf(ctx context.Context, c *stage.Client, database, table string) ([]trigger, error) {
	names, err := c.Rows(ctx, "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS "+
		"WHERE EVENT_OBJECT_SCHEMA=? AND EVENT_OBJECT_TABLE=? "+
		"ORDER BY EVENT_MANIPULATION, ACTION_TIMING, ACTION_ORDER", database, table)
	if err != nil {
		return nil, err
	}
	found := make([]trigger, len(names))
	for i, name := range names {
		text := "SHOW CREATE TRIGGER " + qualified(database, name[0])
		rows, err := c.Rows(ctx, text)
		if err == nil && len(rows) != 1 {
			err = fmt.Errorf("%s: %d rows in place of one", text, len(rows))
		}
		if err != nil {
			return nil, err
		}
		found[i] = trigger{setting{rows[0][1], rows[0][3], rows[0][4]}, name[0], rows[0][2]}
	}
	return found, nil
}

// run makes a trigger in its database.
func (t trigger) run(ctx context.Context, c executor, database string) error {
	if err := c.Exec(ctx, "USE "+stage.QuoteName(database)); err != nil {
		return err
	}
	return t.setting.run(ctx, c, t.create)
}

// programs makes what is no table.
type programs struct {
	plan *plan
	to   executor
}

// make makes what is no table: functions first, which views may use.
func (m programs) make(ctx context.Context, s *source, r *Report) error {
	for _, database := range m.plan.databases {
		if err := m.makeRoutines(ctx, s, database, r); err != nil {
			return err
		}
	}
	made, err := m.makeViews(ctx, s, usedFirst(m.plan.views), r)
	if err != nil {
		return err
	}
	for _, v := range made {
		v.way = WayDefinition
		r.Tables = append(r.Tables, v.report())
	}
	for _, database := range m.plan.databases {
		if err := m.makeEvents(ctx, s, database, r); err != nil {
			return err
		}
	}
	return nil
}

// usedFirst puts views behind those that they use.
func usedFirst(views []*table) []*table {
	var ordered []*table
	uses := func(v, other *table) bool {
		return v != other && strings.Contains(v.create, qualified(other.Database, other.Name))
	}
	for left := slices.Clone(views); len(left) > 0; {
		next := slices.IndexFunc(left, func(v *table) bool {
			return !slices.ContainsFunc(left, func(other *table) bool { return uses(v, other) })
		})
		next = max(0, next) // views cannot use each other, but a text may look as if they did
		ordered = append(ordered, left[next])
		left = slices.Delete(left, next, next+1)
	}
	return ordered
}

// makeTriggers makes the triggers of a table. One that got another name has none: the names of
// triggers belong to the original.
func (m programs) makeTriggers(ctx context.Context, s *source, t *table, r *Report) error {
	all, err := triggersOf(ctx, s.client, t.Database, t.Name)
	if err != nil {
		return err
	}
	if len(all) > 0 && m.plan.alone(t) {
		r.note("%s has none of the %d triggers of %s", label(t), len(all), qualified(t.Database, t.Name))
		return nil
	}
	for _, one := range all {
		if !m.plan.renameProgram("trigger", t.Database+"."+one.name, &one.create, one.mode, r) {
			continue
		}
		if err := one.run(ctx, m.to, t.as.Database); err != nil {
			return err
		}
		r.Triggers++
	}
	return nil
}

// makeViews makes views, and returns those that it has made. One may use another, so they are tried
// until none can be made. In a renamed database those that cannot be made are left out.
func (m programs) makeViews(ctx context.Context, s *source, views []*table, r *Report) (made []*table, err error) {
	texts := map[*table]string{}
	var tried []*table
	for _, v := range views {
		text := v.create
		if m.plan.renameProgram("view", v.Database+"."+v.Name, &text, "", r) {
			texts[v], tried = text, append(tried, v)
		}
	}
	for len(tried) > 0 {
		left := map[*table]error{}
		for _, v := range tried {
			err := m.makeView(ctx, s, v, texts[v])
			switch {
			case err == nil:
				made = append(made, v)
			case stage.Number(err) == 0:
				return made, err
			default:
				left[v] = err
			}
		}
		before := len(tried)
		tried = slices.DeleteFunc(tried, func(v *table) bool { return left[v] == nil })
		if len(tried) < before {
			continue
		}
		for _, v := range tried {
			if m.plan.renaming == nil {
				return made, left[v]
			}
			r.leaveOut("view", v.Database+"."+v.Name, v.create, "the server does not make it: "+left[v].Error())
		}
		return made, nil
	}
	return made, nil
}

// makeView makes one view.
func (m programs) makeView(ctx context.Context, s *source, v *table, text string) error {
	row, err := s.one(ctx, "SELECT CHARACTER_SET_CLIENT, COLLATION_CONNECTION FROM information_schema.VIEWS "+
		"WHERE TABLE_SCHEMA="+stage.QuoteText(v.Database)+" AND TABLE_NAME="+stage.QuoteText(v.Name))
	if err != nil {
		return err
	}
	// A function without a database is one of the view's.
	if err := m.to.Exec(ctx, "USE "+stage.QuoteName(v.as.Database)); err != nil {
		return err
	}
	return (setting{"", row[0], row[1]}).run(ctx, m.to, text)
}

// makeRoutines makes the stored functions, procedures and packages of a database, those
// that are not there.
func (m programs) makeRoutines(ctx context.Context, s *source, database string, r *Report) error {
	all, err := s.client.Rows(ctx, "SELECT ROUTINE_TYPE, ROUTINE_NAME FROM information_schema.ROUTINES "+
		"WHERE ROUTINE_SCHEMA=? AND ROUTINE_TYPE IN ('FUNCTION', 'PROCEDURE', 'PACKAGE', 'PACKAGE BODY') "+
		"ORDER BY ROUTINE_TYPE = 'PACKAGE BODY', ROUTINE_NAME", database)
	if err != nil {
		return err
	}
	if m.plan.renaming != nil {
		m.plan.renaming.packaged = slices.ContainsFunc(all, func(one []string) bool {
			return one[0] == "PACKAGE" && strings.EqualFold(one[1], database)
		})
	}
	for _, one := range all {
		row, err := s.one(ctx, "SHOW CREATE "+one[0]+" "+qualified(database, one[1]))
		if err != nil {
			return err
		}
		if err := m.makeProgram(ctx, database, one[0], one[1], setting{row[1], row[3], row[4]}, row[2], r); err != nil {
			return err
		}
	}
	return nil
}

// makeEvents makes the events of a database, those that are not there. A server without
// accounts, such as the private one, has no events; but the table is there that keeps them.
func (m programs) makeEvents(ctx context.Context, s *source, database string, r *Report) error {
	local := func(column string) string { return "CONVERT_TZ(" + column + ", '+00:00', time_zone)" }
	all, err := s.client.Rows(ctx, "SELECT name, definer, "+local("execute_at")+", interval_value, interval_field, "+
		local("starts")+", "+local("ends")+", on_completion, status, comment, body, time_zone, sql_mode, "+
		"character_set_client, collation_connection FROM mysql.event WHERE db=? ORDER BY name", database)
	if err != nil {
		return err
	}
	for _, one := range all {
		if err := m.to.Exec(ctx, "SET SESSION time_zone="+stage.QuoteText(one[11])); err != nil {
			return err
		}
		if m.plan.renaming != nil && one[8] == "ENABLED" {
			one[8] = "DISABLED" // what it does may concern other databases, where the original's event does it
			r.note("event %s is disabled, because the original's runs: ALTER EVENT ... ENABLE turns it on",
				qualified(m.plan.database(database), one[0]))
		}
		err = m.makeProgram(ctx, database, "EVENT", one[0], setting{one[12], one[13], one[14]}, eventText(database, one), r)
		if err := errors.Join(err, m.to.Exec(ctx, "SET SESSION time_zone='+00:00'")); err != nil {
			return err
		}
	}
	return nil
}

// eventText is the statement that makes an event, of the columns that makeEvents reads.
func eventText(database string, c []string) string {
	schedule := "AT " + stage.QuoteText(c[2])
	if c[2] == "" {
		// The value is a number of the smallest of several units (Events::reconstruct_interval_expression
		// in MariaDB's sql/events.cc).
		unit := c[4][strings.LastIndexByte(c[4], '_')+1:]
		schedule = "EVERY " + c[3] + " " + unit
		if c[5] != "" {
			schedule += " STARTS " + stage.QuoteText(c[5])
		}
		if c[6] != "" {
			schedule += " ENDS " + stage.QuoteText(c[6])
		}
	}
	completion, status := "NOT PRESERVE", "ENABLE"
	if c[7] == "PRESERVE" {
		completion = "PRESERVE"
	}
	switch c[8] {
	case "DISABLED":
		status = "DISABLE"
	case "SLAVESIDE_DISABLED":
		status = "DISABLE ON SLAVE"
	}
	return fmt.Sprintf("CREATE DEFINER=%s EVENT %s ON SCHEDULE %s ON COMPLETION %s %s COMMENT %s DO %s",
		stage.QuoteAccount(c[1]), qualified(database, c[0]), schedule, completion, status, stage.QuoteText(c[9]), c[10])
}

// The server's numbers for a routine and an event that are there already.
const (
	erRoutineExists = 1304
	erEventExists   = 1537
)

// makeProgram makes one routine or event. One that is there stays as it is.
func (m programs) makeProgram(
	ctx context.Context, database, kind, name string, s setting, text string, r *Report,
) error {
	if text == "" {
		return fmt.Errorf("the backup does not show the text of %s %s", strings.ToLower(kind), qualified(database, name))
	}
	if !m.plan.renameProgram(strings.ToLower(kind), database+"."+name, &text, s.mode, r) {
		return nil
	}
	if err := m.to.Exec(ctx, "USE "+stage.QuoteName(m.plan.database(database))); err != nil {
		return err
	}
	err := s.run(ctx, m.to, text)
	switch stage.Number(err) {
	case erRoutineExists, erEventExists:
		r.note("%s %s is there, and was left as it is", strings.ToLower(kind),
			qualified(m.plan.database(database), name))
		return nil
	}
	if err == nil {
		r.Programs++
	}
	return err
}
