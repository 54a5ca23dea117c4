package stage

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

var (
	// ErrUnreachable is returned by Connect when nothing answers as a database
	// server at the socket or port, and by every other call that had to connect
	// again and could not.
	ErrUnreachable = errors.New("no server answers")

	// ErrDenied is returned when the server refuses the user: wrong name or
	// password, no such account for this host, account locked or expired, or an
	// authentication method that this program does not speak.
	ErrDenied = fault.New(fault.Config, "access denied")

	// ErrNoUser is returned by Connect when Config.User is empty and the operating
	// system has no name for the user who runs this program, as in a container.
	ErrNoUser = fault.New(fault.Config, "it is not known which account to log in with")

	// ErrTLS is returned by Connect when the connection cannot be protected as
	// Config.TLS demands: the server has no certificate or a wrong one, or a file
	// of ours cannot be used.
	ErrTLS = fault.New(fault.Config, "no protected connection")

	// ErrTooManyConnections is returned when the server or the account has no
	// connection left.
	ErrTooManyConnections = fault.New(fault.Busy, "too many connections")

	// ErrAccountLimit is returned when the account has used up what it may do in an
	// hour.
	ErrAccountLimit = fault.New(fault.Busy, "limit of the account reached")

	// ErrNotReady is returned by a node of a cluster that refuses queries.
	ErrNotReady = fault.New(fault.Busy, "the node is not ready")

	// ErrNoInnoDB is returned by Server.MissingGrants when the server runs without
	// InnoDB.
	ErrNoInnoDB = fault.New(fault.Config, "the server runs without InnoDB")

	// ErrNotMariaDB is returned by Connect when the server is something else.
	ErrNotMariaDB = fault.New(fault.Config, "not a MariaDB server")

	// ErrPrivilege is returned by a call that the account may not make.
	// Server.MissingGrants names what it lacks.
	ErrPrivilege = fault.New(fault.Config, "privilege missing")

	// ErrStageLost is returned by every call of Stages after its connection ended:
	// the server has then given up all stages, silently, and the backup is void.
	ErrStageLost = errors.New("connection that holds the backup stages lost")

	// ErrStageOrder is returned by Stages.Advance for a stage that is not above
	// the present one, and by every call after End.
	ErrStageOrder = errors.New("stage out of order")

	// ErrLockLost is returned by every call of a Locker after its connection
	// ended. If a lock was held, what was read under it is not to be trusted.
	ErrLockLost = errors.New("connection that holds the table lock lost")
)

// BusyError is returned when a stage or a table lock was not granted in time.
// Nothing that was asked for is pending any more when it is returned, and the
// stages held before are still held.
type BusyError struct {
	Wanted   string        // the statement: "BACKUP STAGE BLOCK_DDL"
	Stage    Stage         // the stage that was not granted, 0 for a table lock
	Waited   time.Duration // from the first try on
	Tries    int
	Blockers []Blocker // who held it up, the likeliest first; empty when nobody could be named
	Err      error     // the context's error if that ended the wait, else nil
}

// Error names what was wanted and who is in the way.
func (e *BusyError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: not granted within %s", e.Wanted, e.Waited.Round(100*time.Millisecond))
	if e.Tries > 1 {
		fmt.Fprintf(&b, " (%d tries)", e.Tries)
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	for i, who := range e.Blockers {
		if i == 3 {
			fmt.Fprintf(&b, "; and %d more", len(e.Blockers)-i)
			break
		}
		if i == 0 {
			b.WriteString(": held up by ")
		} else {
			b.WriteString("; ")
		}
		b.WriteString(who.String())
	}
	return b.String()
}

// Unwrap returns the context's error if the wait was cut short by one.
func (e *BusyError) Unwrap() error { return e.Err }

// Fault says that another try may get it.
func (e *BusyError) Fault() fault.Kind { return fault.Busy }

// Hints says what can be done about whoever is in the way.
func (e *BusyError) Hints() []hint.Text {
	switch {
	case len(e.Blockers) > 0:
		return []hint.Text{"let that connection end what it does, or wait longer: " + hint.Option("lock-wait")}
	case e.Stage != 0:
		return []hint.Text{"INSTALL SONAME 'metadata_lock_info' lets mbk name the connection that is in the way"}
	}
	return nil
}

// Error numbers of the server that are told apart here.
const (
	erConCount             = 1040
	erDBAccessDenied       = 1044
	erAccessDenied         = 1045
	erBadDB                = 1049
	erNotReady             = 1047
	erServerShutdown       = 1053
	erBadField             = 1054
	erForcingClose         = 1080
	erNoSuchThread         = 1094
	erUnknownTable         = 1109
	erHostIsBlocked        = 1129
	erHostNotPrivileged    = 1130
	erTableAccessDenied    = 1142
	erNoSuchTable          = 1146
	erAbortingConnection   = 1184
	erUnknownSystemVar     = 1193
	erTooManyUserConns     = 1203
	erLockWaitTimeout      = 1205
	erLockDeadlock         = 1213
	erUserLimitReached     = 1226
	erSpecificAccessDenied = 1227
	erUnknownEngine        = 1286
	erReadOnly             = 1290
	erQueryInterrupted     = 1317
	erNotSupportedAuthMode = 1251
	erAccessDeniedNoPass   = 1698
	erMustChangePassword   = 1820
	erMustChangeLogin      = 1862
	erConnectionKilled     = 1927
	erStatementTimeout     = 1969
	erBackupNotRunning     = 4146
	erAccountLocked        = 4151
)

// number returns the server's error number in err, or 0.
func number(err error) uint16 {
	var e *mysql.MySQLError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// lost reports whether err means that the connection is of no more use. An error
// that the server sent in answer to a statement leaves it whole.
func lost(err error) bool {
	switch number(err) {
	case 0:
		return err != nil
	case erServerShutdown, erForcingClose, erConnectionKilled:
		return true
	}
	return false
}

// whatLost is advice on the loss of a connection that held something.
func whatLost(why error) hint.Text {
	if errors.Is(why, ErrStoodStill) {
		return "see what stopped mbk: a signal (Ctrl-Z), a container or guest that was frozen, " +
			"or a machine without memory; then start the backup again"
	}
	return "the server's error log may tell who ended the connection; start the backup again when that is settled"
}

// withdrawn reports whether err ended a wait for a lock without harm.
func withdrawn(err error) bool {
	switch number(err) {
	case erLockWaitTimeout, erLockDeadlock, erQueryInterrupted, erStatementTimeout:
		return true
	}
	return false
}

// refused gives an error of the server about missing rights its type.
func refused(err error) error {
	switch number(err) {
	case erSpecificAccessDenied, erDBAccessDenied, erTableAccessDenied:
		return fmt.Errorf("%w: %w", ErrPrivilege, err)
	case erNotReady:
		return hint.Wrap(fmt.Errorf("%w: %w", ErrNotReady, err),
			"wait until the node is in the cluster again (wsrep_ready is ON), or see wsrep_reject_queries")
	case erUserLimitReached:
		return limited(err)
	}
	return err
}

// limited is what the server says when an account has reached one of its limits.
func limited(err error) error {
	if strings.Contains(err.Error(), "connections") {
		return fmt.Errorf("%w: %w", ErrTooManyConnections, err)
	}
	return hint.Wrap(fmt.Errorf("%w: %w", ErrAccountLimit, err),
		"ALTER USER ... WITH MAX_QUERIES_PER_HOUR 0 MAX_UPDATES_PER_HOUR 0 takes the limit away")
}

// cause makes the driver's words for a dead connection say so.
func cause(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return errSlow
	}
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn) {
		return errors.New("the server closed the connection")
	}
	return err
}
