package mariadbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"

	"github.com/go-sql-driver/mysql"
)

// Position returns the end of the server's binary log.
func (s *Server) Position(ctx context.Context) (file string, pos uint64, err error) {
	rows, err := s.query(ctx, "SHOW MASTER STATUS")
	if err != nil {
		return "", 0, fmt.Errorf("SHOW MASTER STATUS: %w", err)
	}
	if len(rows) != 1 {
		return "", 0, errors.New("SHOW MASTER STATUS: the binary log is off")
	}
	if pos, err = strconv.ParseUint(rows[0][1], 10, 64); err != nil {
		return "", 0, fmt.Errorf("SHOW MASTER STATUS: %w", err)
	}
	return rows[0][0], pos, nil
}

// ReplayBinlog does to the server to what the server from has done since a position of its
// binary log: for as long as that takes it is a replica of from, which is several times as
// fast as mariadb-binlog and the client mariadb. Nothing of it is written to the binary log
// of to, unless that has log_slave_updates. The server from must run and be at rest.
func ReplayBinlog(ctx context.Context, from, to *Server, file string, pos uint64) error {
	if err := replay(ctx, from, to, file, pos); err != nil {
		return fmt.Errorf("replay binary log: %w", err)
	}
	return nil
}

func replay(ctx context.Context, from, to *Server, file string, pos uint64) (err error) {
	if err := wantBinlog(ctx, from, file); err != nil {
		return err
	}
	last, end, err := from.Position(ctx)
	if err != nil {
		return err
	}
	door, err := openDoor(from.Socket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, door.Close()) }()
	// The copy need not be durable while this runs; a server skips events of its own id; and
	// by default a replica creates what is there already.
	for name, value := range map[string]string{"innodb_flush_log_at_trx_commit": "0", "server_id": "4000000000",
		"slave_ddl_exec_mode": "STRICT"} {
		was, err := to.Value(ctx, "SELECT @@GLOBAL."+name)
		if err != nil {
			return err
		}
		if err := to.Exec(ctx, "SET GLOBAL "+name+"="+value); err != nil {
			return err
		}
		defer to.Exec(context.WithoutCancel(ctx), "SET GLOBAL "+name+"="+was) //nolint:errcheck // the test goes on
	}
	err = to.Exec(ctx, fmt.Sprintf("CHANGE MASTER 'replay' TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, "+
		"MASTER_USER='root', MASTER_PASSWORD='', MASTER_SSL=0, MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=no, "+
		"MASTER_LOG_FILE='%s', MASTER_LOG_POS=%d", door.Addr().(*net.TCPAddr).Port, file, pos), "START SLAVE 'replay'")
	if err == nil {
		err = waitForReplica(ctx, to, last, end)
	}
	err = errors.Join(err, to.Exec(context.WithoutCancel(ctx), "STOP SLAVE 'replay'", "RESET SLAVE 'replay' ALL"))
	if err != nil {
		return err
	}
	return sameEvents(ctx, from, to)
}

// wantBinlog returns an error if a server does not have a file of its binary log any more.
func wantBinlog(ctx context.Context, s *Server, name string) error {
	rows, err := s.query(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return fmt.Errorf("SHOW BINARY LOGS: %w", err)
	}
	if !slices.ContainsFunc(rows, func(row []string) bool { return row[0] == name }) {
		return fmt.Errorf("%s is not among the server's binary logs", name)
	}
	return nil
}

// waitForReplica waits until the replica has got to a position of the other server's log.
func waitForReplica(ctx context.Context, s *Server, file string, pos uint64) error {
	wait := fmt.Sprintf("SELECT MASTER_POS_WAIT('%s', %d, 5, 'replay')", file, pos) // seconds
	for {
		reached, err := s.Value(ctx, wait)
		if err != nil {
			return err
		}
		if n, err := strconv.Atoi(reached); err == nil && n >= 0 {
			return nil
		}
		if err := s.withConn(ctx, func(conn *sql.Conn) error { return replicaError(ctx, conn) }); err != nil {
			return err
		}
	}
}

// replicaError returns why the replica has stopped, or cannot connect.
func replicaError(ctx context.Context, conn *sql.Conn) error {
	rows, err := conn.QueryContext(ctx, "SHOW SLAVE 'replay' STATUS")
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // one row
	names, err := rows.Columns()
	if err != nil {
		return err
	}
	fields := make([]sql.NullString, len(names))
	into := make([]any, len(names))
	for i := range fields {
		into[i] = &fields[i]
	}
	if !rows.Next() {
		return errors.Join(errors.New("SHOW SLAVE STATUS: no row"), rows.Err())
	}
	if err := rows.Scan(into...); err != nil {
		return err
	}
	for _, name := range []string{"Last_SQL_Error", "Last_IO_Error"} {
		if i := slices.Index(names, name); i >= 0 && fields[i].String != "" {
			return errors.New(fields[i].String)
		}
	}
	return nil
}

// sameEvents gives the events of a copy the status that they have on the other server: a
// replica has them disabled.
func sameEvents(ctx context.Context, from, to *Server) error {
	rows, err := from.query(ctx, "SELECT EVENT_SCHEMA, EVENT_NAME, STATUS FROM information_schema.EVENTS")
	// ER_EVENTS_DB_ERROR: the files are those of an older series, and the server runs no events.
	if refused, is := errors.AsType[*mysql.MySQLError](err); is && refused.Number == 1577 {
		return nil
	}
	if err != nil {
		return err
	}
	for _, row := range rows {
		_, err := to.db.ExecContext(ctx, "UPDATE mysql.event SET status = ?, created = created, modified = modified "+
			"WHERE db = ? AND name = ? AND status <> ?", row[2], row[0], row[1], row[2])
		if err != nil {
			return err
		}
	}
	return nil
}

// openDoor listens on a port of 127.0.0.1 and leads who comes to a socket: a replica
// cannot connect to that.
func openDoor(socket string) (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			guest, err := l.Accept()
			if err != nil {
				return // closed
			}
			go lead(guest, socket)
		}
	}()
	return l, nil
}

// lead passes on what the two ends of a connection say, until one of them ends it.
func lead(guest net.Conn, socket string) {
	defer guest.Close() //nolint:errcheck // both ends see it
	host, err := net.Dial("unix", socket)
	if err != nil {
		return // so the replica says that it cannot connect
	}
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{guest, host}, {host, guest}} {
		both.Go(func() {
			_, _ = io.Copy(way[0], way[1]) // the end of either is the end
			_ = way[0].Close()
		})
	}
	both.Wait()
}
