package restore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// Look says that somebody wants to look at the data before they are placed.
type Look struct {
	Port int // of 127.0.0.1, on which the private server listens meanwhile
	// While is called when the server can be reached. If it returns nil the result is placed; its error is
	// that of the restore. ctx also ends with the server.
	While func(ctx context.Context, at Running) error
}

// Running is a private server that can be reached.
type Running struct {
	Port     int
	User     string // who may read everything, and change nothing
	Password string
	Version  string
	GTID     string // of the moment; "" if the backup has none
}

// ErrDiscarded is an error of Look.While: whoever looked does not want the result.
var ErrDiscarded = errors.New("the result was discarded, as it was asked for: the target is as it was before")

// checkLook objects to a look that is not possible.
func (p *Plan) checkLook() {
	look := p.opts.Look
	if look == nil {
		return
	}
	option := hint.Option("keep-running-on")
	switch {
	case p.Raw:
		p.addObjection(Objection{Problem: "a look before placing takes the recovery, which is to be left to the server",
			Hint: "restore without " + hint.Option("no-recover")})
	case p.manifest.Filter != nil:
		p.addObjection(Objection{Hint: "restore without " + option,
			Problem: "a look before placing takes the accounts, and only a part of the tables is restored"})
	}
	l, err := net.Listen("tcp", lookAddress(look.Port))
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		p.addObjection(Objection{Problem: fmt.Sprintf("the private server could not listen: %v", err),
			Hint: "name a free port with " + option})
	}
}

// lookAddress is where the private server listens.
func lookAddress(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// look has the server run while somebody looks, if that is wanted. What is placed afterwards is what was
// looked at: who has no privilege to write to a server that is read only has changed nothing.
func (b *Prepared) look(ctx context.Context) error {
	look := b.plan.opts.Look
	if look == nil {
		return nil
	}
	b.meter.Begin(PhaseLook, 0)
	defer b.meter.End()
	b.instance.Grants = true
	server, err := b.Serve(ctx, "--skip-networking=0", "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", look.Port),
		"--skip-name-resolve", "--read-only", "--max-connections=100")
	b.instance.Grants = false
	if err != nil {
		return b.plan.Advise(err)
	}
	defer server.Close()
	var random [20]byte
	rand.Read(random[:]) // never fails
	at := Running{Port: look.Port, User: "mbk-look-" + hex.EncodeToString(random[:4]),
		Password: "Mbk-" + hex.EncodeToString(random[4:]) + "-Z9", Version: b.plan.Mariadbd.Version}
	if m := b.plan.manifest; m.Binlog != nil {
		at.GTID = m.Binlog.GTID
	}
	if b.plan.path != nil {
		at.GTID = b.plan.path.To.String()
	}
	account, err := server.SQL.MakeReader(ctx, at.User, at.Password)
	if err != nil {
		return err
	}
	looking, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-server.Ended():
			cancel(errLookEnded)
		case <-looking.Done():
		}
	}()
	if err := look.While(looking, at); err != nil {
		if ctx.Err() == nil && errors.Is(context.Cause(looking), errLookEnded) {
			return b.plan.Advise(server.Blame(errLookEnded))
		}
		return err
	}
	for _, one := range []string{account, server.Account} {
		if err := server.SQL.DropAccount(ctx, one); err != nil {
			return b.plan.Advise(server.Blame(err))
		}
	}
	return server.Stop(ctx)
}

// errLookEnded is the error of a server that ended while somebody looked.
var errLookEnded = fault.New(fault.Unknown, "the private server ended while it was looked at")
