// Package primary is a primary server for one replica, as far as that can see: it lets the replica in
// by a password, answers what a replica asks, and sends it events of a binary log by GTID. It
// knows no SQL but the statements of a replica, and nothing of where the events come from.
//
// The protocol is that of MariaDB's sql/slave.cc and sql/sql_repl.cc, releases 10.5 to 11.8.
package primary

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"mbk/internal/binlog"
)

// Source is a binary log.
type Source interface {
	// Send calls send for each event that follows a position, in their order: a format description
	// before the first transaction and wherever the format changes, else whole
	// transactions. When all was sent it returns the position after the last one. Errors of send
	// are returned as they are.
	Send(ctx context.Context, from binlog.Position, send func(event []byte) error) (binlog.Position, error)
}

// Options say who the primary is.
type Options struct {
	Source   Source
	ServerID uint32 // not that of the replica
	Version  string // of the server whose log it is: "10.11.19-MariaDB"
}

// Primary is a primary that listens on a port of 127.0.0.1.
type Primary struct {
	o        Options
	listener net.Listener
	password string
	done     sync.WaitGroup

	mu      sync.Mutex
	failure error
}

// User is the account with which a replica logs in.
const User = "mbk"

// Listen begins to listen for a replica that knows the password. Serve lets it in. The caller
// calls Close.
func Listen(o Options) (*Primary, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the replica: %w", err)
	}
	var secret [16]byte
	rand.Read(secret[:]) // never fails
	return &Primary{o: o, listener: l, password: hex.EncodeToString(secret[:])}, nil
}

// Port returns the port.
func (p *Primary) Port() int { return p.listener.Addr().(*net.TCPAddr).Port }

// Password returns the password of User.
func (p *Primary) Password() string { return p.password }

// Failure returns why events could not be sent to the replica, nil if nothing has failed: the
// replica itself only sees that its connection ends.
func (p *Primary) Failure() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failure
}

// maxGuests limits the connections at a time: one is the replica's, and who else knocks has no
// password.
const maxGuests = 8

// Serve serves the replica until ctx ends or Close is called.
func (p *Primary) Serve(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = p.listener.Close() })
	defer stop()
	guests := make(chan struct{}, maxGuests)
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		select {
		case guests <- struct{}{}:
		default:
			_ = conn.Close()
			continue
		}
		p.done.Go(func() {
			defer func() { <-guests }()
			defer conn.Close() //nolint:errcheck // both ends see it
			end := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer end()
			if err := p.guest(ctx, conn); err != nil && ctx.Err() == nil {
				p.mu.Lock()
				p.failure = err
				p.mu.Unlock()
			}
		})
	}
}

// Close ends the connections.
func (p *Primary) Close() error {
	err := p.listener.Close()
	p.done.Wait()
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Time limits.
const (
	greetingTime = 10 * time.Second // for the login
	idleTime     = time.Minute      // between two commands
)

// guest serves one connection. An error is one of the source, or of a question that has no
// answer: a replica that goes away is none.
func (p *Primary) guest(ctx context.Context, conn net.Conn) error {
	c := newConversation(conn)
	if err := conn.SetDeadline(time.Now().Add(greetingTime)); err != nil {
		return nil
	}
	if err := c.login(p.o.Version, p.password); err != nil {
		return nil // whoever that was
	}
	r := replica{c: c, o: p.o}
	for {
		if err := conn.SetDeadline(time.Now().Add(idleTime)); err != nil {
			return nil
		}
		command, err := c.read()
		if err != nil || len(command) == 0 {
			return nil
		}
		// A replica that works on a large transaction takes nothing for hours.
		if err := conn.SetDeadline(time.Time{}); err != nil {
			return nil
		}
		if end, err := r.answer(ctx, command); end || err != nil {
			return err
		}
	}
}
