package primary

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mbk/internal/binlog"
)

// nothing is a log without transactions.
type nothing struct{}

func (nothing) Send(_ context.Context, from binlog.Position, _ func([]byte) error) (binlog.Position, error) {
	return from, nil
}

// Only who knows the password gets in, and nobody else keeps the replica out.
func TestStrangersAreLeftOutside(t *testing.T) {
	p, err := Listen(Options{Source: nothing{}, ServerID: 7, Version: "10.11.19-MariaDB"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	go p.Serve(ctx)
	defer func() {
		stop()
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	for what, answer := range map[string]string{
		"nothing": "", "noise": strings.Repeat("\xff", 300), "a huge packet": "\xff\xff\xff\x01",
		"no password": "\x24\x00\x00\x01\x05\xa6\x00\x00\x00\x00\x00\x01\x2d" + strings.Repeat("\x00", 23) + "mbk\x00\x00",
	} {
		conn, err := net.Dial("tcp", p.listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(answer)); err != nil {
			t.Fatal(err)
		}
		if answer == "" {
			if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		b, _ := io.ReadAll(conn) // it may be reset
		if strings.Contains(string(b), "\x00\x00\x00\x02\x00\x00\x00") && what != "nothing" && len(b) > 120 {
			t.Errorf("%s: %q", what, b)
		}
		_ = conn.Close()
	}
	if err := p.Failure(); err != nil {
		t.Errorf("a stranger made the replay fail: %v", err)
	}
}

func FuzzCredentials(f *testing.F) {
	f.Add([]byte(strings.Repeat("\x00", 32) + "mbk\x00\x14" + strings.Repeat("x", 20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		user, proof := credentials(b)
		if len(user)+len(proof) > len(b) {
			t.Error("more than there was")
		}
	})
}
