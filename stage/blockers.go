package stage

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Blocker is a connection that keeps a stage or a table lock from being granted.
// With the server's plugin metadata_lock_info it is known by the lock that it
// holds; without, it is a guess from the process list.
type Blocker struct {
	ID        uint64 // of the connection, as KILL takes it
	User      string
	Host      string
	Database  string
	Command   string // "Query", "Sleep", ...
	State     string
	Time      time.Duration // in this state
	Statement string        // shortened; without values, and what could be a password
	Reason    string        // "holds MDL_BACKUP_DML", "has a transaction open", ...
	Sure      bool          // known by its lock, not guessed
}

// String names the connection, its account, for how long it has been busy or
// idle, and its statement.
func (b Blocker) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "connection %d (%s@%s, ", b.ID, b.User, b.Host)
	if b.Command == "Sleep" {
		s.WriteString("idle for ")
	}
	fmt.Fprintf(&s, "%s, %s)", b.Time.Round(100*time.Millisecond), b.Reason)
	if b.Statement != "" {
		s.WriteString(": " + b.Statement)
	}
	return s.String()
}

// contest is what is waited for: a stage, or else a table's lock.
type contest struct {
	self      uint64 // the waiting connection
	stage     Stage
	db, table string
}

// The lock modes of METADATA_LOCK_INFO that keep each stage waiting.
const (
	modesStart = "MDL_BACKUP_START MDL_BACKUP_FLUSH MDL_BACKUP_WAIT_FLUSH " +
		"MDL_BACKUP_WAIT_DDL MDL_BACKUP_WAIT_COMMIT MDL_BACKUP_DDL MDL_BACKUP_BLOCK_DDL"
	modesBlockDDL    = "MDL_BACKUP_DML MDL_BACKUP_DDL"
	modesBlockCommit = "MDL_BACKUP_SYS_DML MDL_BACKUP_DDL MDL_BACKUP_COMMIT"
)

// heldLock is a row of METADATA_LOCK_INFO.
type heldLock struct {
	id        uint64
	mode      string
	onTable   bool
	db, table string
}

// blockers finds out who is in the way. It names at most eight.
func (s *session) blockers(ctx context.Context, c contest) ([]Blocker, error) {
	locks, exact, err := s.heldLocks(ctx) // before the list of processes: who holds a lock is in there
	if err != nil {
		return nil, err
	}
	processes, err := s.processes(ctx)
	if err != nil {
		return nil, err
	}
	var found []Blocker
	if exact {
		found = holders(c, locks, processes)
	} else {
		found = suspects(c, processes)
	}
	if c.stage == Start {
		if found, err = s.otherBackup(ctx, c, processes, found); err != nil {
			return nil, err
		}
	}
	if found, err = s.behind(ctx, c, locks, exact, processes, found); err != nil {
		return nil, err
	}
	return found[:min(len(found), 8)], nil
}

// processes reads the process list.
func (s *session) processes(ctx context.Context) ([]Blocker, error) {
	all, err := s.rows(ctx, `SELECT ID, USER, HOST, DB, COMMAND, TIME_MS, STATE, LEFT(INFO, 1000)
		FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() ORDER BY TIME_MS DESC`)
	if err != nil {
		return nil, fmt.Errorf("read the process list: %w", err)
	}
	processes := make([]Blocker, 0, len(all))
	for _, r := range all {
		id, err := strconv.ParseUint(r.at(0), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read the process list: %w", err)
		}
		ms, err := strconv.ParseFloat(cmp.Or(r.at(5), "0"), 64)
		if err != nil {
			return nil, fmt.Errorf("read the process list: %w", err)
		}
		processes = append(processes, Blocker{ID: id, User: r.at(1), Host: r.at(2), Database: r.at(3), Command: r.at(4),
			Time: time.Duration(ms * float64(time.Millisecond)), State: r.at(6), Statement: shorten(r.at(7))})
	}
	return processes, nil
}

// heldLocks reads METADATA_LOCK_INFO; false without the plugin.
func (s *session) heldLocks(ctx context.Context) ([]heldLock, bool, error) {
	all, err := s.rows(ctx, `SELECT THREAD_ID, LOCK_MODE, LOCK_TYPE = 'Table metadata lock', TABLE_SCHEMA, TABLE_NAME
		FROM information_schema.METADATA_LOCK_INFO`)
	if number(err) == erUnknownTable {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("read the metadata locks: %w", err)
	}
	locks := make([]heldLock, len(all))
	for i, r := range all {
		id, err := strconv.ParseUint(r.at(0), 10, 64)
		if err != nil {
			return nil, false, fmt.Errorf("read the metadata locks: %w", err)
		}
		locks[i] = heldLock{id: id, mode: r.at(1), onTable: r.at(2) == "1", db: r.at(3), table: r.at(4)}
	}
	return locks, true, nil
}

// holders names the connections whose locks keep c waiting.
func holders(c contest, locks []heldLock, processes []Blocker) []Blocker {
	modes := ""
	switch c.stage {
	case Start:
		modes = modesStart
	case BlockDDL:
		modes = modesBlockDDL
	case BlockCommit:
		modes = modesBlockCommit
	}
	var found []Blocker
	for _, p := range processes {
		for _, l := range locks {
			if l.id != p.ID || l.id == c.self {
				continue
			}
			onTable := c.table != "" && l.onTable && l.mode == "MDL_EXCLUSIVE" && l.db == c.db && l.table == c.table
			if onTable || slices.Contains(strings.Fields(modes), l.mode) {
				p.Reason, p.Sure = "holds "+l.mode, true
				found = append(found, p)
				break
			}
		}
	}
	return found
}

// suspects guesses from the statements that are running, the longest first.
func suspects(c contest, processes []Blocker) []Blocker {
	var found []Blocker
	for _, p := range processes {
		if p.ID == c.self || p.State == "Waiting for backup lock" {
			continue
		}
		kind := kindOf(p.Statement)
		switch {
		case strings.HasPrefix(p.Command, "Slave") && p.Statement == "" &&
			!strings.HasPrefix(p.State, "Waiting") && !strings.Contains(p.State, "has read all"):
			p.Reason = "applies replicated changes"
		case kind == kindDDL:
			p.Reason = "changes definitions"
		case kind == kindWrite && (c.stage == BlockDDL || c.stage == BlockCommit):
			p.Reason = "writes"
		default:
			continue
		}
		found = append(found, p)
	}
	return found
}

// anotherBackup is why the connection that otherBackup finds is in the way.
const anotherBackup = "another backup by mbk"

// otherBackup adds the connection of another mbk, which marks itself with a user
// lock that needs neither plugin nor privilege.
func (s *session) otherBackup(ctx context.Context, c contest, processes, found []Blocker) ([]Blocker, error) {
	holder, err := s.values(ctx, "SELECT IS_USED_LOCK('"+mark+"')")
	if err != nil {
		return nil, fmt.Errorf("look for another backup: %w", err)
	}
	id, err := strconv.ParseUint(holder.at(0), 10, 64)
	if err != nil || id == c.self {
		return found, nil // NULL: nobody
	}
	other := Blocker{ID: id}
	if i := slices.IndexFunc(processes, func(p Blocker) bool { return p.ID == id }); i >= 0 {
		other = processes[i]
	}
	other.Reason, other.Sure = anotherBackup, true
	found = slices.DeleteFunc(found, func(b Blocker) bool { return b.ID == id })
	return append([]Blocker{other}, found...), nil
}

// behind adds, for a blocker that waits for a table itself, those who have that
// table, right behind it.
func (s *session) behind(ctx context.Context, c contest, locks []heldLock, exact bool,
	processes, found []Blocker) ([]Blocker, error) {
	var out []Blocker
	for _, b := range found {
		out = append(out, b)
		if b.State != "Waiting for table metadata lock" {
			continue
		}
		var ids []uint64
		reason := "has a transaction open"
		if exact {
			ids, reason = sharers(locks, b.ID), "has its table in use"
		} else {
			all, err := s.rows(ctx, "SELECT trx_mysql_thread_id FROM information_schema.INNODB_TRX "+
				"WHERE trx_mysql_thread_id <> 0 ORDER BY trx_started")
			if err != nil {
				return nil, fmt.Errorf("read the open transactions: %w", err)
			}
			for _, r := range all {
				id, err := strconv.ParseUint(r.at(0), 10, 64)
				if err != nil {
					return nil, fmt.Errorf("read the open transactions: %w", err)
				}
				ids = append(ids, id)
			}
		}
		for _, p := range processes {
			known := p.ID == c.self || p.ID == b.ID || slices.ContainsFunc(out, func(o Blocker) bool { return o.ID == p.ID })
			if known || !slices.Contains(ids, p.ID) || strings.HasPrefix(p.State, "Waiting") {
				continue
			}
			p.Reason, p.Sure = reason, exact
			out = append(out, p)
		}
	}
	return out, nil
}

// sharers returns who else holds locks on the tables that id has locked.
func sharers(locks []heldLock, id uint64) []uint64 {
	var ids []uint64
	for _, mine := range locks {
		if mine.id != id || !mine.onTable {
			continue
		}
		for _, l := range locks {
			if l.id != id && l.onTable && l.db == mine.db && l.table == mine.table {
				ids = append(ids, l.id)
			}
		}
	}
	return ids
}

// statementKind is what a statement does, by its first word.
type statementKind int

const (
	kindOther statementKind = iota
	kindWrite
	kindDDL
)

// kindOf looks at the first word behind comments and brackets.
func kindOf(statement string) statementKind {
	comment := regexp.MustCompile(`(?s)/\*.*?\*/|--\s[^\n]*|#[^\n]*`)
	words := strings.Fields(strings.ToUpper(comment.ReplaceAllString(statement, " ")))
	if len(words) == 0 {
		return kindOther
	}
	switch strings.TrimLeft(words[0], "(") {
	case "CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE", "OPTIMIZE", "REPAIR",
		"ANALYZE", "GRANT", "REVOKE", "INSTALL", "UNINSTALL", "FLUSH":
		return kindDDL
	case "INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "CALL", "EXECUTE",
		"COMMIT", "ROLLBACK", "XA", "LOCK", "WITH", "SET", "DO", "BEGIN", "START":
		return kindWrite
	}
	return kindOther
}

// statementLength is how many characters of a statement are shown.
const statementLength = 100

// shorten makes a statement fit for a message: one line, cut off, without values, and
// without anything after a word that announces a password.
func shorten(statement string) string {
	secretive := regexp.MustCompile(`(?is)\b(IDENTIFIED|PASSWORD|MASTER_PASSWORD|ENCRYPTION_KEY)\b.*`)
	text := []rune(strings.Join(strings.Fields(secretive.ReplaceAllString(mask(statement), "$1 ...")), " "))
	if len(text) > statementLength {
		return string(text[:statementLength-3]) + "..."
	}
	return string(text)
}

// Obstacles names the connections that would keep a backup waiting if it began
// now: those that have been in the way of START or BLOCK_DDL for at least the
// given time, and another backup by mbk however long that runs. Without the
// plugin metadata_lock_info they are guesses.
func (s *Server) Obstacles(ctx context.Context, least time.Duration) ([]Blocker, error) {
	var found []Blocker
	for _, wanted := range []Stage{Start, BlockDDL} {
		all, err := s.control.blockers(ctx, contest{stage: wanted})
		if err != nil {
			return nil, err
		}
		for _, b := range all {
			known := slices.ContainsFunc(found, func(f Blocker) bool { return f.ID == b.ID })
			if !known && (b.Time >= least || b.Reason == anotherBackup) {
				found = append(found, b)
			}
		}
	}
	return found, nil
}
