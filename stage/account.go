package stage

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// Account is an account of this machine with the fewest rights that a backup needs.
type Account struct {
	Name    string
	Archive bool // it may follow the binary log, too
}

// String is the account as SQL writes it.
func (a Account) String() string { return quoteAccount(a.Name + "@localhost") }

// Statements returns the statements that make it with a password.
func (a Account) Statements(password string) []string {
	rights := []string{"RELOAD", "PROCESS", "BINLOG MONITOR", "SLAVE MONITOR", "SHOW VIEW"}
	if a.Archive {
		rights = append(rights, "REPLICATION SLAVE")
	}
	return []string{
		"CREATE USER " + a.String() + " IDENTIFIED BY " + quoteText(password),
		"GRANT " + strings.Join(rights, ", ") + " ON *.* TO " + a.String(),
	}
}

// HasAccount reports whether the server has the account. It takes the right to read mysql.user.
func (s *Server) HasAccount(ctx context.Context, a Account) (bool, error) {
	all, err := s.control.rows(ctx, "SELECT COUNT(*) FROM mysql.user WHERE user = ? AND host = 'localhost'", a.Name)
	if err != nil {
		return false, fmt.Errorf("look for the account %s: %w", a, err)
	}
	return len(all) == 1 && all[0].at(0) != "0", nil
}

// MakeAccount makes the account. If a right cannot be granted, there is no account.
func (s *Server) MakeAccount(ctx context.Context, a Account, password string) error {
	for i, text := range a.Statements(password) {
		if err := s.control.exec(ctx, text); err != nil {
			err = fmt.Errorf("make the account %s: %w", a, err)
			if i > 0 {
				return errors.Join(err, s.DropAccount(ctx, a.String()))
			}
			return err
		}
	}
	return nil
}
