package sshtest

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// Fault is something that goes wrong between a client and an SFTP server.
type Fault string

// The faults of a request.
const (
	Refuse     Fault = "the request is answered with SSH_FX_FAILURE, and not carried out"
	Cut        Fault = "the connection is cut before the request arrives"
	LoseAnswer Fault = "the request is carried out, and the connection is cut before the answer arrives"
)

// sftpServer is where Debian has it.
const sftpServer = "/usr/lib/openssh/sftp-server"

// Packets of SFTP, as draft-ietf-secsh-filexfer-02 numbers them.
const (
	packetInit   = 1
	packetStatus = 101
	failure      = 4 // SSH_FX_FAILURE
)

// longestPacket bounds a packet. OpenSSH takes 256 KiB.
const longestPacket = 1 << 20

// Proxy stands between SFTP clients and servers without SSH, and lets one request fail.
// Clients reach it through Bridge. It ends with the test.
type Proxy struct {
	Socket string

	mu    sync.Mutex
	fault Fault
	at    int // the request that fails, counted from 0; negative for none
	seen  int
	hit   bool
}

// NewProxy starts a proxy.
func NewProxy(t testing.TB) *Proxy {
	t.Helper()
	if err := install(); err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "sftp-") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{Socket: filepath.Join(dir, "s"), at: -1}
	listener, err := net.Listen("unix", p.Socket)
	if err != nil {
		t.Fatal(err)
	}
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			sessions.Go(func() { _ = p.serve(conn.(*net.UnixConn)) }) // the client sees that it ended
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		sessions.Wait() // clients have ended
		_ = os.RemoveAll(dir)
	})
	return p
}

// Bridge connects standard input and output with a proxy. It is what a program of SSH is
// to its client.
func Bridge(socket string) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)        // the other direction tells of a cut
		_ = conn.(*net.UnixConn).CloseWrite() // likewise
	}()
	_, err = io.Copy(os.Stdout, conn)
	return err
}

// Break lets request n from now on fail, counted from 0 over all connections; none if n is
// negative.
func (p *Proxy) Break(f Fault, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.at, p.seen, p.hit = f, n, 0, false
}

// Requests is how many requests there were since Break, and whether one of them failed.
func (p *Proxy) Requests() (n int, hit bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen, p.hit
}

// next returns the fault of a request, "" for none.
func (p *Proxy) next() Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen++
	if p.seen != p.at+1 {
		return ""
	}
	p.hit = true
	return p.fault
}

// session is one connection.
type session struct {
	conn *net.UnixConn
	mu   sync.Mutex // of writes to conn
	lost []byte     // id of the request whose answer is lost
}

// serve passes packets on between a client and a server of its own.
func (p *Proxy) serve(conn *net.UnixConn) error {
	defer conn.Close() //nolint:errcheck // nobody waits for it
	server := exec.Command(sftpServer)
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := server.StdinPipe()
	if err != nil {
		return err
	}
	out, err := server.StdoutPipe()
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	s := &session{conn: conn}
	answers := make(chan error, 1)
	go func() {
		answers <- s.passAnswers(out)
		_ = conn.Close() // so that no more requests are waited for
	}()
	err = p.passRequests(s, in)
	_ = in.Close() // ends the server
	<-answers
	_ = server.Wait() // it ended as told, or with the pipe
	return err
}

// passRequests passes requests on until the connection ends.
func (p *Proxy) passRequests(s *session, in io.Writer) error {
	for {
		packet, err := readPacket(s.conn)
		if err != nil {
			return err
		}
		var fault Fault
		if packet[4] != packetInit {
			fault = p.next()
		}
		switch fault {
		case Cut:
			return s.conn.Close()
		case Refuse:
			if err := s.write(refusal(packet[5:9])); err != nil {
				return err
			}
			continue
		case LoseAnswer:
			s.mu.Lock()
			s.lost = packet[5:9]
			s.mu.Unlock()
		}
		if _, err := in.Write(packet); err != nil {
			return err
		}
	}
}

// passAnswers passes answers on until the server ends or one is to be lost.
func (s *session) passAnswers(out io.Reader) error {
	for {
		packet, err := readPacket(out)
		if err != nil {
			return err
		}
		s.mu.Lock()
		lost := s.lost != nil && string(packet[5:9]) == string(s.lost)
		s.mu.Unlock()
		if lost {
			return s.conn.Close()
		}
		if err := s.write(packet); err != nil {
			return err
		}
	}
}

func (s *session) write(packet []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.conn.Write(packet)
	return err
}

// readPacket reads a packet with its length.
func readPacket(r io.Reader) ([]byte, error) {
	packet := make([]byte, 4)
	if _, err := io.ReadFull(r, packet); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(packet)
	if n < 5 || n > longestPacket {
		return nil, fmt.Errorf("a packet of %d bytes", n)
	}
	packet = append(packet, make([]byte, n)...)
	_, err := io.ReadFull(r, packet[4:])
	return packet, err
}

// refusal is the answer to a request that is not carried out.
func refusal(id []byte) []byte {
	b := append([]byte{0, 0, 0, 0, packetStatus}, id...)
	b = binary.BigEndian.AppendUint32(b, failure)
	for _, text := range []string{"made by a test", ""} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
		b = append(b, text...)
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}
