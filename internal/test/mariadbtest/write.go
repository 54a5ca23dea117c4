package mariadbtest

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// WriteOptions say how hard Write works.
type WriteOptions struct {
	// Sessions is the number of connections; 0 is 6. With less than 6 some
	// kinds of work are not done.
	Sessions int
	// Pause is the rest of each session after a transaction; 0 is 5 ms, below 0 is none.
	Pause time.Duration
	// Seed makes the sequence of each session's work repeatable.
	Seed uint64
}

// Write starts writers on the tables that Populate has made: transfers between
// banks, rows of all engines, foreign keys, sequences, large and slow
// transactions with and without rollback, temporary tables, users and grants,
// changed views, routines and events, and the event scheduler. What they do can be
// replayed from the binary log with an equal result. The caller calls Stop.
func Write(ctx context.Context, s *Server, o WriteOptions) (*Load, error) {
	if o.Sessions == 0 {
		o.Sessions = 6
	}
	if o.Pause == 0 {
		o.Pause = 5 * time.Millisecond
	}
	// A BINLOG statement of these cannot replay what NEXTVAL logs.
	sequences := !strings.HasPrefix(s.Dist.Version, "10.5.") && s.Dist.Version != "10.11.7"
	if err := s.Exec(ctx, "SET GLOBAL event_scheduler=ON"); err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	kinds := []func(x *session) unit{
		func(*session) unit { return (*session).transfer },
		func(*session) unit { return (*session).innodbRows },
		func(*session) unit { return (*session).statementRows },
		func(x *session) unit {
			if sequences && x.IntN(2) == 0 {
				return (*session).numbers
			}
			return (*session).family
		},
		func(*session) unit { return (*session).longTransaction },
		func(*session) unit { return (*session).definitions },
	}
	l, halted, running := newLoad(ctx, s, "write")
	l.cleanup = func(ctx context.Context) error { return s.stopEvents(ctx) }
	for i := range o.Sessions {
		l.run(halted, running, o.Seed+uint64(i), o.Pause, kinds[i%len(kinds)])
	}
	return l, nil
}

// stopEvents ends the event scheduler and waits for the events that run.
func (s *Server) stopEvents(ctx context.Context) error {
	if s.Pid() == 0 {
		return nil
	}
	if err := s.Exec(ctx, "SET GLOBAL event_scheduler=OFF"); err != nil {
		return err
	}
	for {
		n, err := s.Value(ctx,
			"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE COMMAND = 'Connect' OR USER = 'event_scheduler'")
		if err != nil {
			return err
		}
		if n == "0" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for events: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// transfer moves money between two accounts of any banks.
func (x *session) transfer() error {
	banks := bankTables()
	amount := 1 + x.IntN(100)
	move := func(amount int) error {
		bank, account := x.IntN(len(banks)), 1+x.IntN(bankAccounts)
		if err := x.exec("UPDATE "+quote(loadDB, banks[bank])+" SET balance = balance + ? WHERE id = ?", amount,
			account); err != nil {
			return err
		}
		return x.exec("INSERT INTO "+quote(loadDB, "journal")+" (bank, account, amount) VALUES (?, ?, ?)", bank,
			account, amount)
	}
	return x.transaction("transfer", func() error {
		if err := move(-amount); err != nil {
			return err
		}
		return move(amount)
	})
}

// innodbRows changes a few rows of some InnoDB tables in one transaction.
func (x *session) innodbRows() error {
	all := rowTables()
	return x.transaction("InnoDB rows", func() error {
		for range 1 + x.IntN(4) {
			if err := all[x.IntN(len(all))].change(x); err != nil {
				return err
			}
		}
		return nil
	})
}

// statementRows changes one table of an engine without transactions. Several
// such statements in one transaction would be logged at its end, but done at
// once: a backup between the two could not be replayed.
func (x *session) statementRows() error {
	all := statementTables()
	t := all[x.IntN(len(all))]
	if err := t.change(x); err != nil {
		return err
	}
	x.load.count("rows of other engines")
	return nil
}

// change inserts, updates or deletes some rows.
func (t table) change(x *session) error {
	what := x.IntN(10)
	switch {
	case t.insertOnly || what < 4:
		return t.insert(x, 1+x.IntN(3))
	case what < 7:
		id := 1 + x.IntN(400)
		return x.exec("UPDATE "+t.name+" SET k = k + 1, s = ? WHERE id BETWEEN ? AND ?", x.short(), id, id+1)
	case what < 8:
		return x.exec("UPDATE "+t.name+" SET k = ? WHERE k = ? LIMIT 5", x.IntN(1000), x.IntN(1000))
	default:
		return x.exec("DELETE FROM "+t.name+" WHERE k = ? LIMIT 3", x.IntN(1000))
	}
}

// insert adds n rows in one statement. One row in ten has a value too long to
// stay in its page.
func (t table) insert(x *session, n int) error {
	id := "NULL"
	if strings.HasSuffix(t.name, ".`csv`") || strings.HasSuffix(t.name, ".`archive`") ||
		strings.HasSuffix(t.name, ".`memory`") {
		id = "0"
	}
	var rows []string
	var args []any
	for range n {
		rows = append(rows, "("+id+", ?, ?, ?"+t.values+")")
		args = append(args, x.IntN(1000), x.short(), t.blob(x))
	}
	return x.exec("INSERT INTO "+t.name+" (id, k, s, b"+t.columns+") VALUES "+strings.Join(rows, ", "), args...)
}

// blob returns a value for column b.
func (t table) blob(x *session) []byte {
	if strings.HasSuffix(t.name, "_fixed`") || strings.HasSuffix(t.name, ".`memory`") {
		return []byte{}
	}
	switch x.IntN(20) {
	case 0:
		return []byte(x.text(20_000))
	case 1:
		return x.noise(9_000)
	default:
		return []byte(x.text(100 + x.IntN(400)))
	}
}

// family changes parents whose children follow by foreign key.
func (x *session) family() error {
	parent, child := quote(loadDB, "parent"), quote(loadDB, "child")
	return x.transaction("foreign keys", func() error {
		id := 1 + x.IntN(100)
		switch x.IntN(10) {
		case 0:
			return x.exec("DELETE FROM "+parent+" WHERE id = ?", id)
		case 1:
			return x.exec("UPDATE IGNORE "+parent+" SET id = id + 1000 WHERE id = ?", id)
		}
		if err := x.exec("INSERT INTO "+parent+" VALUES (?, 1) ON DUPLICATE KEY UPDATE n = n + 1", id); err != nil {
			return err
		}
		return x.exec("INSERT INTO "+child+" (parent, n) VALUES (?, ?), (NULL, 0)", id, x.IntN(1000))
	})
}

// numbers takes values from the sequences.
func (x *session) numbers() error {
	for _, name := range []string{"numbers", "aria_numbers"} {
		if err := x.exec("DO NEXTVAL(" + quote(loadDB, name) + ")"); err != nil {
			return err
		}
	}
	x.load.count("sequences")
	return nil
}

// longTransaction keeps a transaction open for up to two seconds and ends every
// other one with ROLLBACK; now and then it also uses temporary tables.
func (x *session) longTransaction() error {
	all := rowTables()
	if err := x.exec("BEGIN"); err != nil {
		return err
	}
	end := "COMMIT"
	if x.IntN(2) == 0 {
		end = "ROLLBACK"
	}
	for range 2 + x.IntN(20) {
		t := all[x.IntN(len(all))]
		err := t.insert(x, 20)
		if err == nil {
			err = t.change(x)
		}
		if isLockConflict(err) {
			x.load.count("lock conflict")
			end = "ROLLBACK"
			break
		}
		if err != nil {
			return err
		}
		select {
		case <-x.ctx.Done():
			return x.ctx.Err()
		case <-time.After(time.Duration(x.IntN(100)) * time.Millisecond):
		}
	}
	if err := x.exec(end); err != nil {
		return err
	}
	x.load.count("long transaction " + strings.ToLower(end))
	return x.trim()
}

// trim keeps a table from growing forever, and fills a temporary table on the way.
func (x *session) trim() error {
	temp := quote(loadDB, "temp")
	all := append(rowTables(), statementTables()...)
	t := all[x.IntN(len(all))]
	q := []string{
		"DROP TEMPORARY TABLE IF EXISTS " + temp,
		"CREATE TEMPORARY TABLE " + temp + " ENGINE=" + []string{"InnoDB", "Aria", "MyISAM"}[x.IntN(3)] +
			" SELECT id, what FROM " + quote(loadDB, "audit"), "TRUNCATE TABLE " + quote(loadDB, "memory"),
	}
	if !t.insertOnly {
		q = append(q, "SET @first = (SELECT MAX(id) - 3000 FROM "+t.name+")", "DELETE FROM "+t.name+" WHERE id < @first")
	}
	return x.all("temporary tables", q...)
}

// definitions changes views, routines, triggers, events, users and grants.
func (x *session) definitions() error {
	db, n := quote(loadDB)+".", x.IntN(1000)
	user := fmt.Sprintf("mbk_user_%d@localhost", n%5)
	switch x.IntN(7) {
	case 0:
		return x.all("views", fmt.Sprintf("CREATE OR REPLACE VIEW %sview_%d AS SELECT id, k + %d AS k FROM %sinnodb_dynamic",
			db, n%5, n, db))
	case 1:
		return x.all("routines",
			fmt.Sprintf("CREATE OR REPLACE FUNCTION %sadd_%d(a INT) RETURNS INT DETERMINISTIC COMMENT 'number %d' RETURN a + %d",
				db, n%5, n, n))
	case 2:
		return x.all("triggers",
			fmt.Sprintf("CREATE OR REPLACE TRIGGER %strigger_%d BEFORE INSERT ON %sparent FOR EACH ROW SET NEW.n = NEW.n + %d",
				db, n%3, db, n%7))
	case 3:
		return x.all("events",
			fmt.Sprintf("CREATE OR REPLACE EVENT %sevent_%d ON SCHEDULE EVERY %d DAY STARTS '2036-01-01' DO DO %d", db,
				n%3, n+1, n))
	case 4:
		return x.all("users", "CREATE OR REPLACE USER "+user+fmt.Sprintf(" IDENTIFIED BY 'secret %d'", n),
			"GRANT mbk_reader TO "+user,
			fmt.Sprintf("GRANT SELECT, INSERT ON %s* TO %s", db, user))
	case 5:
		return x.all("users", "DROP USER IF EXISTS "+user)
	default:
		return x.all("drops", fmt.Sprintf("DROP VIEW IF EXISTS %sview_%d", db, n%5),
			fmt.Sprintf("DROP FUNCTION IF EXISTS %sadd_%d", db, n%5))
	}
}

// short returns text for a column of 200 characters.
func (x *session) short() string { return x.text(40 + x.IntN(100)) }
