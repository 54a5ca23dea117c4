package mariadbtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"
)

// ReplicateUntil makes a new server a replica of another one, from the beginning of its binary log up to a
// GTID position, and then a server of its own: what it holds is what a replica would hold that
// was stopped there.
func ReplicateUntil(ctx context.Context, from, to *Server, position string) (err error) {
	door, err := openDoor(from.Socket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, door.Close()) }()
	engines, err := from.query(ctx, "SELECT DISTINCT dl FROM mysql.plugin")
	if err != nil {
		return err
	}
	for _, row := range engines {
		if err := to.Exec(ctx, "INSTALL SONAME '"+row[0]+"'"); err != nil {
			return err
		}
	}
	err = to.Exec(ctx, "SET GLOBAL server_id=4000000001", "SET GLOBAL slave_ddl_exec_mode=STRICT",
		"SET GLOBAL innodb_flush_log_at_trx_commit=0",
		fmt.Sprintf("CHANGE MASTER 'replay' TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='root', "+
			"MASTER_PASSWORD='', MASTER_SSL=0, MASTER_CONNECT_RETRY=1, MASTER_USE_GTID=slave_pos",
			door.Addr().(*net.TCPAddr).Port),
		"SET default_master_connection='replay'", "START SLAVE UNTIL master_gtid_pos='"+position+"'")
	if err != nil {
		return err
	}
	for {
		rows, err := to.query(ctx, "SHOW SLAVE 'replay' STATUS")
		if err != nil {
			return err
		}
		if len(rows) == 1 && rows[0][11] == "No" { // Slave_SQL_Running
			at, err := to.Value(ctx, "SELECT @@gtid_slave_pos")
			if err == nil && at != position {
				err = fmt.Errorf("the replica stopped at %s, want %s: %s", at, position, rows[0][19])
			}
			return errors.Join(err, to.Exec(ctx, "STOP SLAVE 'replay'", "RESET SLAVE 'replay' ALL"))
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
