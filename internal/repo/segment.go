package repo

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"mbk/copier/pack"
	"mbk/internal/binlog"
	"mbk/internal/hint"
)

const (
	segmentSuffix = ".seg"
	segmentDigits = 12

	// A segment begins with a skippable frame of the zstd format that holds its head.
	segmentFrame  = 0x184D2A5B
	segmentMagic  = "mbks"
	segmentPrefix = 12      // bytes before the head
	maxHead       = 4 << 20 // bytes of the head

	// headRead is how much of a segment is read to get its head: nearly always enough.
	headRead = 8 << 10

	// maxSegment limits the bytes of a segment. One transaction may have any size.
	maxSegment = 1 << 44
)

// Segment is the head of a segment: what is known of a part of the binary log without reading
// it. The parts of a timeline follow each other: each begins where the one before ends, and
// names it.
type Segment struct {
	FormatVersion int    `json:"format_version"`
	Timeline      string `json:"timeline"` // id
	Number        uint64 `json:"number"`   // in the timeline, from 1
	// Previous is the checksum of the head of the segment before, "" in the first one.
	Previous string    `json:"previous,omitempty"`
	ServerID uint32    `json:"server_id"` // of the server from which it was read
	Written  time.Time `json:"written"`   // when it was stored
	// Positions as in gtid_binlog_pos: before its first transaction, before its last one, and after that.
	Before       string    `json:"before"`
	BeforeLast   string    `json:"before_last"`
	After        string    `json:"after"`
	First        time.Time `json:"first"` // earliest time of a transaction, in seconds
	Last         time.Time `json:"last"`  // latest time of one
	Transactions int64     `json:"transactions"`
	// LastBLAKE3 is that of the events of the last transaction without annotations, each without its flags,
	// its place in the file and its checksum: whether a server has the same one.
	LastBLAKE3 string `json:"last_blake3"`
	// ServerStarted is when the server that wrote its events was started, in seconds since 1970; 0 if unknown.
	ServerStarted uint32 `json:"server_started,omitempty"`

	// Where its first transaction begins and its last one ends in the server's own files. Their name is
	// in the body.
	FirstLog LogPlace `json:"first_log"`
	LastLog  LogPlace `json:"last_log"`

	Raw        int64  `json:"raw_bytes"`     // of the file of the binary log that the body is
	Bytes      int64  `json:"bytes"`         // of the body, as it is stored
	BodyBLAKE3 string `json:"body_blake3"`   // of these
	Key        string `json:"key,omitempty"` // public half of the key to which the body is encrypted

	Hash string `json:"-"` // checksum of the head
	size int64  // of the head with its frame, in bytes
}

// LogPlace is a place in the files of a server's binary log.
type LogPlace struct {
	File   uint64 `json:"file"`   // the number at the end of the file's name; 0 if it has none
	Offset int64  `json:"offset"` // in bytes
}

// Compare is -1 if a place is before another one of the same server, 1 if it is after it, else 0.
func (p LogPlace) Compare(q LogPlace) int {
	return cmp.Or(cmp.Compare(p.File, q.File), cmp.Compare(p.Offset, q.Offset))
}

// segmentName returns the name of a segment.
func segmentName(timeline string, number uint64) string {
	return fmt.Sprintf("%s%0*d%s", timelineFolder(timeline), segmentDigits, number, segmentSuffix)
}

// segmentNumber parses the last element of a segment's name.
func segmentNumber(base string) (uint64, bool) {
	digits, ok := strings.CutSuffix(base, segmentSuffix)
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil && len(digits) == segmentDigits && n > 0
}

// Validate checks that a head hangs together.
func (s *Segment) Validate() error {
	if err := checkFormat(s.FormatVersion); err != nil {
		return err
	}
	_, err1 := binlog.ParsePosition(s.Before)
	_, err2 := binlog.ParsePosition(s.BeforeLast)
	_, err3 := binlog.ParsePosition(s.After)
	if err := errors.Join(checkTimelineID(s.Timeline), err1, err2, err3); err != nil {
		return fmt.Errorf("segment: %w", err)
	}
	switch {
	case s.Number == 0 || (s.Number == 1) != (s.Previous == "") || s.Previous != "" && !isHash(s.Previous):
		return fmt.Errorf("segment %d: after the segment %.100q", s.Number, s.Previous)
	case s.Transactions < 1 || s.Raw < 1 || s.Bytes < 1 || s.Raw > maxSegment || s.Bytes > maxSegment:
		return fmt.Errorf("segment %d: %d transactions in %d bytes, stored in %d", s.Number, s.Transactions, s.Raw, s.Bytes)
	case !isHash(s.LastBLAKE3) || !isHash(s.BodyBLAKE3):
		return fmt.Errorf("segment %d: last_blake3 %.100q, body_blake3 %.100q", s.Number, s.LastBLAKE3, s.BodyBLAKE3)
	case s.FirstLog.Offset < 0 || s.LastLog.Compare(s.FirstLog) < 0:
		return fmt.Errorf("segment %d: it begins at %v of the log and ends at %v", s.Number, s.FirstLog, s.LastLog)
	case s.Written.IsZero():
		return fmt.Errorf("segment %d: no time", s.Number)
	}
	return nil
}

// Name returns the name of the segment in the repository.
func (s *Segment) Name() string { return segmentName(s.Timeline, s.Number) }

// encode returns the head with its frame, and sets Hash.
func (s *Segment) encode() ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	text, err := seal(s)
	if err != nil {
		return nil, err
	}
	b := binary.LittleEndian.AppendUint32(nil, segmentFrame)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(segmentMagic)+len(text)))
	b = append(append(b, segmentMagic...), text...)
	if len(text) > maxHead {
		return nil, fmt.Errorf("the head of a segment would have %d bytes", len(text))
	}
	s.Hash, s.size = sealOf(text), int64(len(b))
	return b, nil
}

// sealOf returns the checksum at the end of a sealed document.
func sealOf(text []byte) string {
	end := len(text) - len(afterSum)
	return string(text[end-64 : end])
}

// Segment reads the head of a segment. Errors: fs.ErrNotExist, ErrNewerFormat, ErrDamaged.
func (r *Repository) Segment(ctx context.Context, timeline string, number uint64) (*Segment, error) {
	name := segmentName(timeline, number)
	b, err := r.readSome(ctx, name, headRead)
	if err != nil {
		return nil, fmt.Errorf("read %s in %s: %w", name, r, err)
	}
	n, err := headSize(b)
	if err == nil && n > len(b) {
		if b, err = r.readSome(ctx, name, int64(n)); err != nil {
			return nil, fmt.Errorf("read %s in %s: %w", name, r, err)
		}
	}
	var s Segment
	if err == nil {
		s, err = decodeHead(b, n)
	}
	if err == nil && (s.Timeline != timeline || s.Number != number) {
		err = fmt.Errorf("it is segment %d of %s: %w", s.Number, s.Timeline, ErrDamaged)
	}
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("segment %s: %w", name, err), damagedSegment)
	}
	return &s, nil
}

// damagedSegment is advice about damage in the archive.
const damagedSegment = "bring the segment back from a copy of the repository; without it no restore goes further " +
	"than where it begins"

// readSome reads the beginning of an object.
func (r *Repository) readSome(ctx context.Context, name string, n int64) ([]byte, error) {
	o, err := r.st.Open(ctx, name, 0, n)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(o, n))
	return b, errors.Join(err, o.Close())
}

// headSize returns the bytes of the head of a segment with its frame. The error is ErrDamaged.
func headSize(b []byte) (int, error) {
	if len(b) < segmentPrefix || binary.LittleEndian.Uint32(b) != segmentFrame ||
		string(b[8:segmentPrefix]) != segmentMagic {
		return 0, fmt.Errorf("it does not begin as a segment: %w", ErrDamaged)
	}
	n := int64(binary.LittleEndian.Uint32(b[4:])) + 8
	if n < segmentPrefix || n > segmentPrefix+maxHead {
		return 0, fmt.Errorf("a head of %d bytes: %w", n, ErrDamaged)
	}
	return int(n), nil
}

// decodeHead reads the head of a segment, which has n bytes with its frame. Errors: ErrDamaged,
// ErrNewerFormat.
func decodeHead(b []byte, n int) (s Segment, err error) {
	if len(b) < n {
		return s, fmt.Errorf("it ends within its head: %w", ErrDamaged)
	}
	text := b[segmentPrefix:n]
	if err := decodeSealed(text, &s); err != nil {
		return s, err
	}
	if err := s.Validate(); err != nil {
		if errors.Is(err, ErrNewerFormat) {
			return s, err
		}
		return s, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	s.Hash, s.size = sealOf(text), int64(n)
	return s, nil
}

// Follows returns an error unless a segment is the one after another. The error is ErrDamaged.
func (s *Segment) Follows(before *Segment) error {
	if s.Timeline != before.Timeline || s.Number != before.Number+1 || s.Previous != before.Hash ||
		s.Before != before.After {
		return hint.Wrap(fmt.Errorf("segment %s does not follow %s: %w", s.Name(), before.Name(), ErrDamaged), damagedSegment)
	}
	return nil
}

// MissingSegment is the error for a segment that is not there although one after it is.
func MissingSegment(timeline string, number uint64) error {
	return hint.Wrap(fmt.Errorf("segment %s is missing: %w", segmentName(timeline, number), ErrDamaged), damagedSegment)
}

// OpenSegment reads the body of a segment: a file of the binary log. All bytes are checked before
// the reader returns io.EOF, but not before it returns any: until then nothing of what was read
// is proven. Damage is a *pack.DamageError. The caller closes the reader.
func (r *Repository) OpenSegment(ctx context.Context, s *Segment) (io.ReadCloser, error) {
	name := s.Name()
	stored, err := r.st.Open(ctx, name, s.size, -1)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &pack.DamageError{Object: name, Reason: "it is missing", Missing: true}
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	body := &segmentBody{name: name, want: s, stored: stored, hash: newHash()}
	if err := body.open(ctx, r); err != nil {
		return nil, errors.Join(err, stored.Close())
	}
	return body, nil
}
