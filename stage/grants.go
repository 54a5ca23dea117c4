package stage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"mbk/internal/hint"
)

// MissingGrants tries what a backup will do, without doing it, and returns the
// statement that gives the account what it lacks, or nothing when it lacks
// nothing. Trying is right whether a privilege comes from the account, a role or
// PUBLIC.
//
// SHOW VIEW is asked for because the server lists a table only to accounts with
// some right to it, and this is the one that opens no data.
func (s *Server) MissingGrants(ctx context.Context) ([]string, error) {
	probes := []struct {
		privilege string
		missing   func(context.Context) (bool, error)
	}{
		// Without a backup in this session END fails, but only after the check.
		{"RELOAD", s.denied("BACKUP STAGE END", erBackupNotRunning)},
		{"PROCESS", s.denied("SHOW ENGINE INNODB STATUS", 0)},
		{"BINLOG MONITOR", s.denied("SHOW MASTER STATUS", 0)},
		{"SLAVE MONITOR", s.denied("SHOW ALL SLAVES STATUS", 0)},
		{"SHOW VIEW", s.tablesHidden},
	}
	var lacking []string
	for _, p := range probes {
		missing, err := p.missing(ctx)
		if err != nil {
			return nil, fmt.Errorf("check privilege %s: %w", p.privilege, err)
		}
		if missing {
			lacking = append(lacking, p.privilege)
		}
	}
	if len(lacking) == 0 {
		return nil, nil
	}
	account, err := s.control.values(ctx, "SELECT CURRENT_USER()")
	if err != nil {
		return nil, fmt.Errorf("read the account's name: %w", err)
	}
	return []string{"GRANT " + strings.Join(lacking, ", ") + " ON *.* TO " + quoteAccount(account.at(0))}, nil
}

// denied makes a probe out of a statement that needs the privilege; an error
// with number harmless shows that the privilege is there.
func (s *Server) denied(statement string, harmless uint16) func(context.Context) (bool, error) {
	return func(ctx context.Context) (bool, error) {
		_, err := s.control.rows(ctx, statement)
		switch {
		case errors.Is(err, ErrPrivilege):
			return true, nil
		case number(err) == erUnknownEngine:
			return false, hint.Wrap(ErrNoInnoDB, "start it with InnoDB, without skip-innodb; mbk follows InnoDB's log")
		case err != nil && number(err) != harmless:
			return false, err
		}
		return false, nil
	}
}

// tableRights are the privileges that make the server list a table.
const tableRights = "SELECT,INSERT,UPDATE,DELETE,CREATE,DROP,REFERENCES,INDEX,ALTER,CREATE VIEW," +
	"SHOW VIEW,TRIGGER,DELETE HISTORY,ALL PRIVILEGES"

// tablesHidden reports whether the account sees tables only in part.
func (s *Server) tablesHidden(ctx context.Context) (bool, error) {
	has, err := s.hasRight(ctx, strings.Split(tableRights, ",")...)
	return !has, err
}

// MaySelect reports whether the account may read the rows of all tables.
func (s *Server) MaySelect(ctx context.Context) (bool, error) {
	may, err := s.hasRight(ctx, "SELECT", "ALL PRIVILEGES")
	if err != nil {
		return false, fmt.Errorf("check privilege SELECT: %w", err)
	}
	return may, nil
}

// hasRight reports whether the account has one of these privileges everywhere. SHOW
// GRANTS names the rights of the active roles too.
func (s *Server) hasRight(ctx context.Context, enough ...string) (bool, error) {
	all, err := s.control.rows(ctx, "SHOW GRANTS")
	if number(err) == erReadOnly {
		return true, nil // with --skip-grant-tables everybody may do all
	}
	if err != nil {
		return false, err
	}
	for _, r := range all {
		rights, to, found := strings.Cut(strings.TrimPrefix(r.at(0), "GRANT "), " ON *.* TO ")
		if !found || to == "" {
			continue
		}
		for _, right := range strings.Split(rights, ", ") {
			if slices.Contains(enough, right) {
				return true, nil
			}
		}
	}
	return false, nil
}

// quoteAccount turns "user@host" into 'user'@'host'. A host has no "@".
func quoteAccount(account string) string {
	at := strings.LastIndexByte(account, '@')
	if at < 0 {
		return quoteText(account)
	}
	return quoteText(account[:at]) + "@" + quoteText(account[at+1:])
}

// quoteText quotes a string for a person to paste into a client.
func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(s) + "'"
}

// quoteName quotes an identifier.
func quoteName(s string) string {
	return "`" + strings.ReplaceAll(s, "`", "``") + "`"
}
