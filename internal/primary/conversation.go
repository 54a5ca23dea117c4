package primary

import (
	"bufio"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // mysql_native_password; the password is random and lives for minutes
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
)

// maxCommand limits a packet of the replica in bytes: a position of thousands of domains is the
// longest.
const maxCommand = 1 << 20

// maxPayload is the most bytes of one packet.
const maxPayload = 1<<24 - 1

// conversation is a connection by MariaDB's protocol, on the server's side.
type conversation struct {
	in       *bufio.Reader
	out      *bufio.Writer
	sequence byte
}

func newConversation(conn net.Conn) *conversation {
	return &conversation{in: bufio.NewReader(conn), out: bufio.NewWriterSize(conn, 256<<10)}
}

// read returns the next packet.
func (c *conversation) read() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return nil, err
	}
	n := int(head[0]) | int(head[1])<<8 | int(head[2])<<16
	if n > maxCommand {
		return nil, errors.New("a packet that is too long")
	}
	c.sequence = head[3] + 1
	b := make([]byte, n)
	_, err := io.ReadFull(c.in, b)
	return b, err
}

// write writes a packet that consists of parts.
func (c *conversation) write(parts ...[]byte) error {
	left := 0
	for _, p := range parts {
		left += len(p)
	}
	for again := true; again; {
		n := min(left, maxPayload)
		head := []byte{byte(n), byte(n >> 8), byte(n >> 16), c.sequence}
		c.sequence++
		if _, err := c.out.Write(head); err != nil {
			return err
		}
		left -= n
		again = n == maxPayload
		for n > 0 {
			m := min(n, len(parts[0]))
			if _, err := c.out.Write(parts[0][:m]); err != nil {
				return err
			}
			n -= m
			if parts[0] = parts[0][m:]; len(parts[0]) == 0 {
				parts = parts[1:]
			}
		}
	}
	return nil
}

// Capabilities of the protocol.
const (
	longPassword     = 1 << 0
	longFlag         = 1 << 2
	protocol41       = 1 << 9
	transactions     = 1 << 13
	secureConnection = 1 << 15
	pluginAuth       = 1 << 19
	capabilities     = longPassword | longFlag | protocol41 | transactions | secureConnection | pluginAuth
)

// nativePassword is the method by which the replica shows that it knows the password.
const nativePassword = "mysql_native_password"

// login greets a client, and lets it in if it knows the password.
func (c *conversation) login(version, password string) error {
	if !strings.HasPrefix(version, "1") || strings.HasPrefix(version, "10.") {
		version = "5.5.5-" + version // as servers before 11.0 say, for old clients
	}
	scramble := make([]byte, 20)
	rand.Read(scramble) // never fails
	for i := range scramble {
		scramble[i] = scramble[i]%93 + 33 // no zero, as it is one string
	}
	b := append([]byte{10}, version...)
	b = append(b, 0, 1, 0, 0, 0) // a connection's id
	b = append(append(b, scramble[:8]...), 0)
	b = binary.LittleEndian.AppendUint16(b, capabilities&0xffff)
	b = append(b, 45, 2, 0) // utf8mb4; autocommit
	b = binary.LittleEndian.AppendUint16(b, capabilities>>16)
	b = append(b, byte(len(scramble)+1))
	b = append(b, make([]byte, 10)...)
	b = append(append(b, scramble[8:]...), 0)
	b = append(append(b, nativePassword...), 0)
	c.sequence = 0
	if err := c.say(b); err != nil {
		return err
	}
	answer, err := c.read()
	if err != nil {
		return err
	}
	user, proof := credentials(answer)
	if user != User || !knows(password, scramble, proof) {
		return errors.Join(errors.New("access denied"), c.refuse(1045, "28000", "access denied"))
	}
	return c.ok()
}

// credentials reads user and proof out of the answer to a greeting.
func credentials(b []byte) (user string, proof []byte) {
	const fixed = 4 + 4 + 1 + 23 // capabilities, longest packet, character set, nothing
	if len(b) < fixed {
		return "", nil
	}
	name, rest, found := strings.Cut(string(b[fixed:]), "\x00")
	if !found || rest == "" || int(rest[0]) > len(rest)-1 {
		return "", nil
	}
	return name, []byte(rest[1 : 1+int(rest[0])])
}

// knows reports whether a proof is that of the password.
func knows(password string, scramble, proof []byte) bool {
	once := sha1.Sum([]byte(password)) //nolint:gosec // the method's
	twice := sha1.Sum(once[:])         //nolint:gosec // the method's
	want := sha1.Sum(append(append([]byte(nil), scramble...), twice[:]...))
	for i := range want {
		want[i] ^= once[i]
	}
	return subtle.ConstantTimeCompare(want[:], proof) == 1
}

// say writes one packet and sends it.
func (c *conversation) say(b []byte) error {
	if err := c.write(b); err != nil {
		return err
	}
	return c.out.Flush()
}

// ok says that a command has succeeded.
func (c *conversation) ok() error { return c.say([]byte{0, 0, 0, 2, 0, 0, 0}) }

// refuse answers with an error.
func (c *conversation) refuse(code uint16, state, text string) error {
	b := binary.LittleEndian.AppendUint16([]byte{0xff}, code)
	return c.say(append(append(append(b, '#'), state...), text...))
}

// table answers with one row.
func (c *conversation) table(columns, values []string) error {
	if err := c.write([]byte{byte(len(columns))}); err != nil {
		return err
	}
	eof := []byte{0xfe, 0, 0, 2, 0}
	for _, name := range columns {
		b := text(nil, "def")
		for range 3 {
			b = text(b, "")
		}
		b = text(text(b, name), name)
		b = append(b, 0x0c, 45, 0, 0, 4, 0, 0, 0xfd, 0, 0, 0, 0, 0) // a text of up to 1024 bytes
		if err := c.write(b); err != nil {
			return err
		}
	}
	var row []byte
	for _, v := range values {
		row = text(row, v)
	}
	if err := errors.Join(c.write(eof), c.write(row), c.write(eof)); err != nil {
		return err
	}
	return c.out.Flush()
}

// text appends a text of less than 251 bytes with its length.
func text(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }
