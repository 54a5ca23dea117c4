package primary

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mbk/internal/binlog"
)

// replica is a replica that was let in.
type replica struct {
	c    *conversation
	o    Options
	from binlog.Position // where it wants to begin
}

// Commands of the protocol.
const (
	commandQuit     = 0x01
	commandQuery    = 0x03
	commandPing     = 0x0e
	commandDump     = 0x12
	commandRegister = 0x15
)

// answer carries out a command, and reports whether it was the last one. The error is one of
// the source, or a question to which there is no answer.
func (r *replica) answer(ctx context.Context, command []byte) (end bool, err error) {
	var gone error
	switch command[0] {
	case commandPing, commandRegister:
		gone = r.c.ok()
	case commandQuery:
		gone, err = r.query(string(command[1:]))
	case commandDump:
		return true, r.dump(ctx)
	case commandQuit:
		return true, nil
	default:
		err = fmt.Errorf("the replica sent the command %d, which has no answer", command[0])
	}
	return gone != nil, err
}

// query answers a statement. gone is the error of a connection that has ended.
func (r *replica) query(statement string) (gone, err error) {
	s := strings.ToUpper(strings.TrimSpace(statement))
	one := func(value string) error { return r.c.table([]string{"value"}, []string{value}) }
	switch {
	case strings.HasPrefix(s, "SET @SLAVE_CONNECT_STATE"):
		_, list, _ := strings.Cut(statement, "=")
		if r.from, err = binlog.ParsePosition(strings.Trim(strings.TrimSpace(list), "'\"")); err != nil {
			return nil, fmt.Errorf("the replica wants to begin at a place that is none: %w", err)
		}
		return r.c.ok(), nil
	case strings.HasPrefix(s, "SET "):
		return r.c.ok(), nil // how it wants what all is sent as it is
	case strings.HasPrefix(s, "SELECT UNIX_TIMESTAMP()"):
		return one(strconv.FormatInt(time.Now().Unix(), 10)), nil
	case strings.HasPrefix(s, "SHOW VARIABLES LIKE 'SERVER_ID'"):
		id := strconv.FormatUint(uint64(r.o.ServerID), 10)
		return r.c.table([]string{"Variable_name", "Value"}, []string{"server_id", id}), nil
	case strings.Contains(s, "@@GLOBAL.GTID_DOMAIN_ID"):
		return one("0"), nil
	case strings.Contains(s, "@MASTER_BINLOG_CHECKSUM"):
		return one("NONE"), nil // of what is sent before the first format description
	case strings.Contains(s, "@@GLOBAL.TIME_ZONE"):
		return one("SYSTEM"), nil
	}
	gone = r.c.refuse(1064, "42000", "mbk has no answer to this")
	return gone, fmt.Errorf("the replica asked %.200q, which has no answer", statement)
}

// errGone is the error of a replica that has ended its connection.
var errGone = errors.New("the replica is gone")

// dump sends the log.
func (r *replica) dump(ctx context.Context) error {
	send := func(event []byte) error {
		if err := r.c.write([]byte{0}, event); err != nil {
			return errGone
		}
		return nil
	}
	files := 0
	var format binlog.Format
	at, err := r.o.Source.Send(ctx, r.from, func(event []byte) error {
		if len(event) > 4 && binlog.Type(event[4]) == binlog.TypeFormat {
			files++ // a format description begins a file
			if err := send(format.Rotate(r.o.ServerID, fmt.Sprintf("archive.%06d", files))); err != nil {
				return err
			}
			var err error
			if format, err = binlog.ParseFormat(event); err != nil {
				return err
			}
		}
		return send(event)
	})
	switch {
	case errors.Is(err, errGone):
		return nil
	case err != nil:
		// The replica knows it as an error that a new connection will not mend.
		_ = r.c.refuse(1236, "HY000", "mbk cannot read its archive")
		return err
	}
	// It waits for this one, and stops.
	if send(format.Reached(r.o.ServerID, at)) == nil {
		_ = r.c.say([]byte{0xfe, 0, 0, 2, 0}) // the end; it knows already
	}
	return nil
}
