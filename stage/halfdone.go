package stage

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"mbk/internal/sys/pause"
)

// A statement about accounts changes Aria tables and writes the binary log before it
// commits. BLOCK_COMMIT does not wait for it: such tables belong to MDL_BACKUP_TRANS_DML,
// and the log is written under a lock of its own. So the statement may be before the
// position of the log, and wait for the end of the stage with its rows not yet committed.
// Recovery would roll them back, and whoever goes on from the position would never do
// them. Seen with 10.5 and 11.8: 4 % of the stages in which six sessions do nothing but
// GRANT and REVOKE.

// accountStatement matches the beginning of a statement that is written so: those about
// accounts, roles, servers of others, and loadable functions.
var accountStatement = regexp.MustCompile(`(?is)^(?:\s|/\*.*?\*/|--\s[^\n]*\n|#[^\n]*\n)*(?:use\s+` + "`(?:[^`]|``)*`" +
	`\s*;\s*)?(?:\s|/\*.*?\*/)*(?:SET\s+STATEMENT\b.*?\bFOR\s+)?(?:GRANT|REVOKE|` +
	`(?:CREATE|DROP|ALTER|RENAME)\s+(?:OR\s+REPLACE\s+)?(?:USER|ROLE|SERVER|(?:AGGREGATE\s+)?FUNCTION)|` +
	`SET\s+(?:PASSWORD|DEFAULT\s+ROLE))\b`)

// arrivalTime bounds how long Unfinished waits for statements about accounts that run.
const arrivalTime = 100 * time.Millisecond

// Unfinished returns the statements that wait until a backup stage ends, and those about accounts that
// run: one of these may have written the binary log, and not have come to its wait yet. It gives them a
// moment for that. An account without the privilege PROCESS sees none.
func (s *Server) Unfinished(ctx context.Context) ([]string, error) {
	for since := time.Now(); ; {
		waiting, running, err := s.statements(ctx)
		if err != nil || len(running) == 0 || time.Since(since) > arrivalTime {
			return append(waiting, running...), err
		}
		if err := pause.For(ctx, time.Millisecond); err != nil {
			return nil, err
		}
	}
}

// statements returns those that wait for the end of a backup stage, and those about accounts that do
// not wait for any lock.
func (s *Server) statements(ctx context.Context) (waiting, running []string, err error) {
	all, err := s.control.rows(ctx, "SELECT INFO, COALESCE(STATE, '') AS STATE FROM information_schema.PROCESSLIST "+
		"WHERE INFO IS NOT NULL AND COMMAND <> 'Sleep' AND ID <> CONNECTION_ID()")
	if err != nil {
		return nil, nil, fmt.Errorf("look for statements that wait: %w", err)
	}
	for _, r := range all {
		switch text, state := r.get("INFO"), r.get("STATE"); {
		case state == "Waiting for backup lock":
			waiting = append(waiting, text)
		case !strings.HasPrefix(state, "Waiting for ") && accountStatement.MatchString(text):
			running = append(running, text)
		}
	}
	return waiting, running, nil
}

// HalfDone reports whether a statement about accounts may have been written to the binary
// log, between two positions, by one of the statements that were Unfinished at the second.
func (s *Server) HalfDone(ctx context.Context, from, to *Binlog, unfinished []string) (bool, error) {
	var suspects []string
	for _, text := range unfinished {
		if accountStatement.MatchString(text) {
			suspects = append(suspects, text)
		}
	}
	if len(suspects) == 0 || from == nil || to == nil {
		return false, nil
	}
	text := "SHOW BINLOG EVENTS IN " + quoteText(from.File) + fmt.Sprintf(" FROM %d", from.Position)
	all, err := s.control.rows(ctx, text)
	if err == nil && from.File != to.File {
		var next []row
		next, err = s.control.rows(ctx, "SHOW BINLOG EVENTS IN "+quoteText(to.File))
		all = append(all, next...)
	}
	if err != nil {
		return false, fmt.Errorf("look for statements about accounts in the binary log: %w", err)
	}
	for _, event := range all {
		if event.get("Event_type") != "Query" || !accountStatement.MatchString(event.get("Info")) {
			continue
		}
		for _, suspect := range suspects {
			if isOf(event.get("Info"), suspect) {
				return true, nil
			}
		}
	}
	return false, nil
}

// setPassword matches a statement that is written to the binary log in other words.
var setPassword = regexp.MustCompile(`(?i)\bSET\s+PASSWORD\b`)

// isOf reports whether an event of the binary log may be what a statement wrote. Within a
// stored program or a prepared statement, the list of processes shows the statement itself.
func isOf(event, statement string) bool {
	return strings.Contains(event, strings.TrimSpace(statement)) || setPassword.MatchString(statement)
}
