package stage

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/fault"
	"mbk/internal/hint"
)

// DumpOptions say which part of its binary log the server sends.
type DumpOptions struct {
	From      binlog.Position // what was received before; empty: all, if the server's log began with nothing
	Once      bool            // end where the log ends now
	Heartbeat time.Duration   // how often the server gives a sign of life while nothing happens; 0: 10 s
	SemiSync  bool            // sessions of the server may wait until Acknowledge is called for what they committed
}

// Dump is a connection on which the server sends events of its binary log, as it does to a
// replica. Before the first event the server has checked that it has all that follows
// DumpOptions.From, in the history that this belongs to. It is used by one goroutine.
type Dump struct {
	link  *link
	in    *bufio.Reader
	event []byte
	quiet time.Duration // after which the server counts as dead

	semiSync bool
	waiting  bool // for the event that was returned last
}

// ErrNoSocket is returned by Server.Dump for a connection that is encrypted or goes through the
// network: the binary log is read through the server's socket.
var ErrNoSocket = fault.New(fault.Config, "the binary log is read through the server's Unix socket, without TLS")

// HistoryError is returned by Dump.Next when the server does not have what follows the position:
// it has purged that, or its log is of another history.
type HistoryError struct {
	From   binlog.Position
	Purged bool   // else the position is not in the server's log
	Text   string // in the server's words
}

// Error says what is missing.
func (e *HistoryError) Error() string {
	if e.Purged {
		return fmt.Sprintf("the server has purged what follows %s: %s", orBeginning(e.From), e.Text)
	}
	return fmt.Sprintf("the server's binary log does not contain %s: %s", orBeginning(e.From), e.Text)
}

// orBeginning formats a position.
func orBeginning(p binlog.Position) string {
	if len(p) == 0 {
		return "the beginning of the log"
	}
	return "GTID " + p.String()
}

// erBinlog is the number of the errors that end a dump.
const erBinlog = 1236

// maxPayload is the most bytes of one packet of the protocol.
const maxPayload = 1<<24 - 1

// Dump makes a connection on which the server sends its binary log. The account needs the
// privilege REPLICATION SLAVE. The caller calls Close.
func (s *Server) Dump(ctx context.Context, o DumpOptions) (*Dump, error) {
	if network, _ := s.cfg.address(); network != "unix" || s.cfg.TLS != (TLS{}) && s.cfg.TLS.Mode != TLSOff {
		return nil, hint.Wrap(ErrNoSocket, "name it with "+hint.Option("socket"))
	}
	if o.Heartbeat <= 0 {
		o.Heartbeat = 10 * time.Second
	}
	l, err := dial(ctx, s.cfg)
	if err != nil {
		return nil, err
	}
	d := &Dump{link: l, in: bufio.NewReaderSize(l.raw, 256<<10), quiet: 3*o.Heartbeat + 5*time.Second,
		semiSync: o.SemiSync}
	if err := d.request(ctx, o); err != nil {
		d.Close()
		return nil, fmt.Errorf("read the binary log: %w", refused(err))
	}
	return d, nil
}

// request asks for the log as a replica of MariaDB does: sql/slave.cc,
// get_master_version_and_clock, and sql/sql_repl.cc for what the server makes of it.
func (d *Dump) request(ctx context.Context, o DumpOptions) error {
	semiSync := 0
	if o.SemiSync {
		semiSync = 1
	}
	for _, text := range []string{
		fmt.Sprintf("SET @rpl_semi_sync_slave=%d", semiSync),
		"SET SESSION net_write_timeout=600", // a repository may be slow
		"SET @mariadb_slave_capability=4",   // knows GTIDs
		"SET @master_binlog_checksum=@@GLOBAL.binlog_checksum",
		fmt.Sprintf("SET @master_heartbeat_period=%d", o.Heartbeat.Nanoseconds()),
		"SET @slave_gtid_strict_mode=1", // the position itself must be there
		"SET @slave_gtid_ignore_duplicates=0",
		"SET @slave_connect_state='" + o.From.String() + "'",
	} {
		if _, err := d.link.conn.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	// COM_BINLOG_DUMP; BINLOG_DUMP_NON_BLOCK, BINLOG_SEND_ANNOTATE_ROWS_EVENT
	const command, atOnce, annotations = 0x12, 1, 2
	flags := annotations
	if o.Once {
		flags |= atOnce
	}
	// A server has no two replicas of one id: the older connection is ended.
	id := 1<<31 + rand.Uint32N(1<<31-1)
	payload := []byte{command}
	payload = binary.LittleEndian.AppendUint32(payload, 4) // of the first file; a position is ours
	payload = binary.LittleEndian.AppendUint16(payload, uint16(flags))
	payload = binary.LittleEndian.AppendUint32(payload, id)
	if err := d.link.raw.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	_, err := d.link.raw.Write(append([]byte{byte(len(payload)), 0, 0, 0}, payload...))
	return err
}

// Next returns the next event, heartbeats included. It is valid until the next call. The
// error is io.EOF at the end of a dump with DumpOptions.Once, and a *HistoryError if the server
// does not have what was asked for, or no longer. Any other error is that of a connection that was
// lost, or of a server that gave no sign of life: another dump may go on. When ctx ends the call
// returns.
func (d *Dump) Next(ctx context.Context, from binlog.Position) ([]byte, error) {
	if err := d.link.raw.SetDeadline(time.Now().Add(d.quiet)); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = d.link.raw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	payload, err := d.packet()
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
			err = fmt.Errorf("no sign of life of the server within %s", d.quiet)
		}
		return nil, fmt.Errorf("read the binary log: %w", err)
	}
	d.waiting = false
	switch payload[0] {
	case 0:
		event := payload[1:]
		if d.semiSync {
			if len(event) < semiSyncHeader || event[0] != semiSyncMagic {
				return nil, fmt.Errorf("read the binary log: an event that begins with %x, not as one for semi-sync",
					event[:min(len(event), semiSyncHeader)])
			}
			d.waiting, event = event[1]&1 != 0, event[semiSyncHeader:]
		}
		return event, nil
	case 0xfe:
		return nil, io.EOF
	case 0xff:
		return nil, dumpError(payload, from)
	}
	return nil, fmt.Errorf("read the binary log: a packet of kind %d from the server", payload[0])
}

// Before each event on a connection for semi-sync: sql/semisync.h.
const (
	semiSyncMagic  = 0xef
	semiSyncHeader = 2 // bytes: that, and whether an acknowledgement is waited for
)

// Waiting reports whether a session of the server waits until the event that was returned last is
// acknowledged.
func (d *Dump) Waiting() bool { return d.waiting }

// Buffered reports whether a part of what follows has arrived already.
func (d *Dump) Buffered() bool { return d.in.Buffered() > 0 }

// Acknowledge tells the server that all of its log up to an offset in a file is safe.
func (d *Dump) Acknowledge(file string, offset int64) error {
	payload := binary.LittleEndian.AppendUint64([]byte{semiSyncMagic}, uint64(offset))
	payload = append(payload, file...)
	if err := d.link.raw.SetDeadline(time.Now().Add(d.quiet)); err != nil {
		return err
	}
	head := []byte{byte(len(payload)), byte(len(payload) >> 8), 0, 0}
	if _, err := d.link.raw.Write(append(head, payload...)); err != nil {
		return fmt.Errorf("acknowledge the binary log up to %s:%d: %w", file, offset, err)
	}
	return nil
}

// packet reads one packet, of which large ones come in parts.
func (d *Dump) packet() ([]byte, error) {
	if cap(d.event) > 4<<20 {
		d.event = nil // one large row is no reason to hold the memory
	}
	d.event = d.event[:0]
	for {
		var head [4]byte
		if _, err := io.ReadFull(d.in, head[:]); err != nil {
			return nil, err
		}
		n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
		if len(d.event)+n > binlog.MaxEvent {
			return nil, errors.New("a packet that is larger than any event")
		}
		at := len(d.event)
		d.event = append(d.event, make([]byte, n)...)
		if _, err := io.ReadFull(d.in, d.event[at:]); err != nil {
			return nil, err
		}
		if n < maxPayload {
			break
		}
	}
	if len(d.event) == 0 {
		return nil, errors.New("an empty packet from the server")
	}
	return d.event, nil
}

// dumpError makes an error of the one that the server has sent.
func dumpError(payload []byte, from binlog.Position) error {
	if len(payload) < 3 {
		return errors.New("read the binary log: the server refuses, and does not say why")
	}
	code := binary.LittleEndian.Uint16(payload[1:])
	text := string(payload[3:])
	if len(text) > 6 && text[0] == '#' {
		text = text[6:] // the state of the SQL standard
	}
	text = strings.ToValidUTF8(text[:min(len(text), 512)], "?")
	purged := strings.Contains(text, "purged") || strings.Contains(text, "could not find next log")
	missing := strings.Contains(text, "is not in the master's binlog") || strings.Contains(text, "is missing the GTID")
	switch {
	case code == erBinlog && (purged || missing):
		return &HistoryError{From: from.Clone(), Purged: purged, Text: text}
	case code == erSpecificAccessDenied || code == erAccessDenied:
		return hint.Wrap(fmt.Errorf("read the binary log: %w: %s", ErrPrivilege, text),
			"the account needs REPLICATION SLAVE: GRANT REPLICATION SLAVE ON *.* TO ...")
	}
	return fmt.Errorf("read the binary log: error %d of the server: %s", code, text)
}

// Close ends the connection.
func (d *Dump) Close() {
	_ = d.link.raw.Close() // nothing can be lost by it
	d.link.close()
}
