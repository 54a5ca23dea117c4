package binlog

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// GTID names a transaction: the number in its domain, and the server that committed it first.
type GTID struct {
	Domain   uint32
	Server   uint32
	Sequence uint64
}

// String returns "0-1-23".
func (g GTID) String() string { return fmt.Sprintf("%d-%d-%d", g.Domain, g.Server, g.Sequence) }

// ErrGTID is returned for text that is no GTID, or no list of GTIDs.
var ErrGTID = errors.New("not of the form DOMAIN-SERVER-SEQUENCE")

// ParseGTID parses what String returns. The error is ErrGTID.
func ParseGTID(s string) (g GTID, err error) {
	parts := strings.Split(s, "-")
	if len(parts) != 3 {
		return g, fmt.Errorf("GTID %.60q: %w", s, ErrGTID)
	}
	domain, err1 := number(parts[0], 32)
	server, err2 := number(parts[1], 32)
	sequence, err3 := number(parts[2], 64)
	if errors.Join(err1, err2, err3) != nil {
		return g, fmt.Errorf("GTID %.60q: %w", s, ErrGTID)
	}
	return GTID{uint32(domain), uint32(server), sequence}, nil
}

// number parses decimal digits.
func number(s string, bits int) (uint64, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, ErrGTID
	}
	return strconv.ParseUint(s, 10, bits)
}

// MaxDomains limits the GTIDs in a Position and a State.
const MaxDomains = 10000

// Position is a place in the binary log: by domain the last transaction before it. A nil
// Position is the beginning of the log of a new server. It is changed by Add only.
type Position map[uint32]GTID

// ParsePosition parses a list of GTIDs as in gtid_binlog_pos, "0-1-23,5-2-7", with each domain
// once. The error is ErrGTID.
func ParsePosition(s string) (Position, error) {
	list, err := parseList(s)
	if err != nil {
		return nil, err
	}
	p := Position{}
	for _, g := range list {
		if _, twice := p[g.Domain]; twice {
			return nil, fmt.Errorf("GTID position %.100q has domain %d twice: %w", s, g.Domain, ErrGTID)
		}
		p[g.Domain] = g
	}
	return p, nil
}

// ParseState returns the position that a list of GTIDs as in gtid_binlog_state ends at: it has
// for each domain the last transaction of each server, and the newest of all is the last. The
// error is ErrGTID.
func ParseState(s string) (Position, error) {
	list, err := parseList(s)
	if err != nil {
		return nil, err
	}
	p := Position{}
	for _, g := range list {
		p.Add(g)
	}
	return p, nil
}

// parseList parses GTIDs that are separated by commas.
func parseList(s string) ([]GTID, error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	if strings.Count(s, ",") >= MaxDomains {
		return nil, fmt.Errorf("a list of more than %d GTIDs: %w", MaxDomains, ErrGTID)
	}
	var list []GTID
	for text := range strings.SplitSeq(s, ",") {
		g, err := ParseGTID(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		list = append(list, g)
	}
	return list, nil
}

// Add moves the position behind a transaction.
func (p Position) Add(g GTID) { p[g.Domain] = g }

// Clone returns a copy, which is never nil.
func (p Position) Clone() Position {
	c := make(Position, len(p)+1)
	maps.Copy(c, p)
	return c
}

// Equal reports whether two positions are the same.
func (p Position) Equal(q Position) bool { return maps.Equal(p, q) }

// String returns the GTIDs in the order of their domains, as the server's variables have them.
func (p Position) String() string {
	list := slices.SortedFunc(maps.Values(p), func(a, b GTID) int { return cmp.Compare(a.Domain, b.Domain) })
	texts := make([]string, len(list))
	for i, g := range list {
		texts[i] = g.String()
	}
	return strings.Join(texts, ",")
}

// Reached reports whether all of q lies at or before the position, as far as numbers tell: in
// each domain of q the number is no greater. Numbers of another history tell nothing.
func (p Position) Reached(q Position) bool {
	for domain, g := range q {
		if at, known := p[domain]; !known || at.Sequence < g.Sequence {
			return false
		}
	}
	return true
}

// gtidBody is the length of a GTID event after its header, in bytes.
const gtidBody = 8 + 4 + 1

// Flags of a GTID event.
const (
	flagStandalone  = 0x1 // one statement, and no event that ends the transaction
	flagGroupCommit = 0x2 // with the number of the group that was committed together
	flagDDL         = 0x20
	flagPreparedXA  = 0x40 // with the name of the transaction, as the next one
	flagEndedXA     = 0x80
)

// More flags, of newer servers, in a byte of their own.
const (
	flagMoreEngines  = 0x1  // a byte
	flagCommitAlter  = 0x4  // 8 bytes
	flagRollbackAltr = 0x8  // 8 bytes
	flagThread       = 0x10 // 4 bytes
)

// Begin is what a GTID event says of the transaction that it begins.
type Begin struct {
	GTID GTID
	Time uint32 // when it was committed, or its last statement began: seconds since 1970
	DDL  bool
	// Thread is the id of the connection that committed it, 0 if the server is too old to say.
	Thread uint32

	standalone bool
}

// Begin reads a GTID event that Check has accepted. The error is ErrDamaged.
func (f Format) Begin(b []byte) (t Begin, err error) {
	h, err := whole(b, TypeGTID)
	if err != nil {
		return t, err
	}
	body := f.body(b)
	if len(body) < gtidBody {
		return t, fmt.Errorf("%w: a GTID event of %d bytes", ErrDamaged, len(b))
	}
	t.GTID = GTID{Sequence: binary.LittleEndian.Uint64(body), Domain: binary.LittleEndian.Uint32(body[8:]),
		Server: h.ServerID}
	t.Time, t.standalone, t.DDL = h.Time, body[12]&flagStandalone != 0, body[12]&flagDDL != 0
	t.Thread = beginThread(body[12], body[gtidBody:])
	return t, nil
}

// beginThread returns the id of the connection in what follows the flags of a GTID event, 0 if it
// is not there: Gtid_log_event::Gtid_log_event in sql/log_event.cc.
func beginThread(flags byte, rest []byte) uint32 {
	c := cursor{rest: rest}
	if flags&flagGroupCommit != 0 {
		c.take(8)
	}
	if flags&(flagPreparedXA|flagEndedXA) != 0 {
		c.take(4)
		c.take(int(c.number(1) + c.number(1)))
	}
	more := c.number(1)
	if more&flagMoreEngines != 0 {
		c.take(1)
	}
	if more&(flagCommitAlter|flagRollbackAltr) != 0 {
		c.take(8)
	}
	if more&flagThread == 0 {
		return 0
	}
	thread := c.number(4)
	if c.bad {
		return 0
	}
	return uint32(thread)
}

// Flags in the number of GTIDs of a list.
const (
	listCount   = 1<<28 - 1
	listReached = 1 << 28 // the end of what the replica asked for
)

// List reads a GTID list event that Check has accepted: the state at the beginning of a file.
// The error is ErrDamaged.
func (f Format) List(b []byte) (Position, error) {
	if _, err := whole(b, TypeGTIDList); err != nil {
		return nil, err
	}
	body := f.body(b)
	if len(body) < 4 {
		return nil, fmt.Errorf("%w: a GTID list of %d bytes", ErrDamaged, len(b))
	}
	n := int(binary.LittleEndian.Uint32(body) & listCount)
	if n > MaxDomains || len(body) < 4+16*n {
		return nil, fmt.Errorf("%w: %d GTIDs in %d bytes", ErrDamaged, n, len(b))
	}
	p := Position{}
	for at := body[4:]; n > 0; n, at = n-1, at[16:] {
		p.Add(GTID{Domain: binary.LittleEndian.Uint32(at), Server: binary.LittleEndian.Uint32(at[4:]),
			Sequence: binary.LittleEndian.Uint64(at[8:])})
	}
	return p, nil
}
