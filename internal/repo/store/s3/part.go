package s3

import (
	"crypto/md5" //nolint:gosec // S3 has it as a checksum
	"encoding/base64"
	"encoding/binary"
	"hash/crc32"
	"io"
	"net/http"
	"sync"
)

// piece is how much memory a part takes at a time, in bytes: an object of a few bytes
// must not take a whole part's.
const piece = 1 << 20

// pieces are the buffers that are free.
var pieces = sync.Pool{New: func() any { return new([piece]byte) }}

// castagnoli is the table of CRC-32C.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// part is a part of an object in memory.
type part struct {
	pieces []*[piece]byte
	size   int64 // bytes
	crc    uint32
}

// bytesPart makes a part of b.
func bytesPart(b []byte) *part {
	p := &part{}
	p.append(b)
	return p
}

// append adds b.
func (p *part) append(b []byte) {
	p.crc = crc32.Update(p.crc, castagnoli, b)
	for len(b) > 0 {
		at := int(p.size % piece)
		if at == 0 {
			p.pieces = append(p.pieces, pieces.Get().(*[piece]byte))
		}
		n := copy(p.pieces[len(p.pieces)-1][at:], b)
		b = b[n:]
		p.size += int64(n)
	}
}

// ReadAt reads what was appended.
func (p *part) ReadAt(b []byte, offset int64) (int, error) {
	n := 0
	for n < len(b) && offset < p.size {
		rest := p.pieces[offset/piece][offset%piece : min(piece, p.size-offset/piece*piece)]
		k := copy(b[n:], rest)
		n += k
		offset += int64(k)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// release gives the memory back. Nothing may read the part any more.
func (p *part) release() {
	for _, one := range p.pieces {
		pieces.Put(one)
	}
	*p = part{}
}

// mostParts is how many parts may be in memory as long as some of them are sent in the
// background. Each object that is being written may always have one.
const mostParts = 8

// memory counts parts in memory.
type memory struct {
	mu   sync.Mutex
	used int
}

func newMemory() *memory { return &memory{} }

// begin counts the part of an object that begins, and returns how many there are now.
func (m *memory) begin() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used++
	return m.used
}

// more counts another part if there is room for it.
func (m *memory) more() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.used >= mostParts {
		return false
	}
	m.used++
	return true
}

// done is for a part that is not in memory any more.
func (m *memory) done() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used--
}

// headerCRC32C is the header with a CRC-32C.
const headerCRC32C = "X-Amz-Checksum-Crc32c"

// sums are the checksums that a part is sent with, in Base64, "" if there is none.
type sums struct{ crc32c, md5 string }

// checksum is the kind of checksum that parts are sent with.
func (s *Store) checksum() string { return first(s.opts.Checksum, ChecksumCRC32C) }

// checksums returns the checksums of a part.
func (s *Store) checksums(p *part) sums {
	switch s.checksum() {
	case ChecksumCRC32C:
		return sums{crc32c: base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint32(nil, p.crc))}
	case ChecksumMD5:
		h := md5.New()                                       //nolint:gosec // see the import
		_, _ = io.Copy(h, io.NewSectionReader(p, 0, p.size)) // neither fails
		return sums{md5: base64.StdEncoding.EncodeToString(h.Sum(nil))}
	}
	return sums{}
}

// part returns the headers of a part.
func (s sums) part() http.Header {
	headers := http.Header{}
	if s.crc32c != "" {
		headers.Set(headerCRC32C, s.crc32c)
	}
	return headers
}
