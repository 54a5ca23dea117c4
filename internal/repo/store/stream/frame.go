// Package stream carries objects one after another, or several at once, through a pipe.
// Store writes them and Read takes them out again. It knows nothing of backups.
//
// A stream is a header and frames. Each frame has the number of the object that it belongs
// to, its own number in the stream and checksums, so that nothing can be lost, changed or
// exchanged without notice. docs/format.md has the bytes.
package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
)

// Version is the version of the format that is written, and the newest one that is read.
const Version = 1

// Limits of a stream. A reader refuses what is beyond them.
const (
	MaxOpen    = 64      // objects that are written at the same time
	MaxObjects = 1 << 18 // objects in all
	maxNames   = 1 << 25 // bytes of their names
	maxPayload = 1 << 20 // bytes of a frame after its header
	maxReason  = 4096    // bytes of the text of why the sender gave up
)

const (
	magic      = "mbkstrm\n"
	headSize   = 16
	headerSize = 28
)

// Kinds of frames.
const (
	kindBegin = 1 + iota // an object: its name
	kindData             // bytes of an object
	kindWhole            // the object is whole: its size
	kindDrop             // the object is none of the stream's: nothing
	kindEnd              // the stream is whole: the number of objects that were begun
	kindAbort            // the sender gave up: why
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// frame is a frame. Its header is:
//
//	0   kind
//	1   zeros, 3 bytes
//	4   number of the object, from 1 on in the order in which they begin; 0 if it is about none
//	8   number of the frame, from 0 on, 8 bytes
//	16  length of the payload, 4 bytes
//	20  CRC-32C of the payload
//	24  CRC-32C of bytes 0 to 23
type frame struct {
	kind    byte
	object  uint32
	number  uint64
	payload []byte
}

// putHeader writes the header of a frame into b, which has headerSize bytes.
func (f *frame) putHeader(b []byte) {
	clear(b)
	b[0] = f.kind
	binary.LittleEndian.PutUint32(b[4:], f.object)
	binary.LittleEndian.PutUint64(b[8:], f.number)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(f.payload)))
	binary.LittleEndian.PutUint32(b[20:], crc32.Checksum(f.payload, castagnoli))
	binary.LittleEndian.PutUint32(b[24:], crc32.Checksum(b[:24], castagnoli))
}

// head is what a stream begins with: the magic, the version, and the CRC-32C of both.
func head(version uint32) []byte {
	b := binary.LittleEndian.AppendUint32([]byte(magic), version)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// frames reads the frames of a stream.
type frames struct {
	r    io.Reader
	at   int64  // bytes that were read
	next uint64 // number of the next frame
	buf  [headerSize]byte
}

// head reads the beginning of a stream.
func (x *frames) head() error {
	b := x.buf[:headSize]
	n, err := io.ReadFull(x.r, b)
	x.at += int64(n)
	switch {
	case errors.Is(err, io.EOF):
		return &CutError{}
	case n > 0 && !bytes.HasPrefix([]byte(magic), b[:min(n, len(magic))]):
		return ErrNotStream
	case errors.Is(err, io.ErrUnexpectedEOF):
		return &CutError{At: x.at}
	case err != nil:
		return err
	case crc32.Checksum(b[:12], castagnoli) != binary.LittleEndian.Uint32(b[12:]):
		return x.broken("the checksum of its beginning does not fit")
	}
	if version := binary.LittleEndian.Uint32(b[8:]); version != Version {
		return fmt.Errorf("a stream of version %d, while this mbk reads version %d: %w", version, Version, ErrNewer)
	}
	return nil
}

// read reads the next frame. Its payload is in buf, which has maxPayload bytes.
func (x *frames) read(buf []byte) (frame, error) {
	n, err := io.ReadFull(x.r, x.buf[:])
	x.at += int64(n)
	if err != nil {
		return frame{}, x.ended(err)
	}
	b := x.buf[:]
	f := frame{kind: b[0], object: binary.LittleEndian.Uint32(b[4:]), number: binary.LittleEndian.Uint64(b[8:])}
	size := binary.LittleEndian.Uint32(b[16:])
	switch {
	case crc32.Checksum(b[:24], castagnoli) != binary.LittleEndian.Uint32(b[24:]):
		return f, x.broken("the checksum of the header of a frame does not fit")
	case f.number != x.next:
		return f, x.broken(fmt.Sprintf("frame %d where frame %d belongs", f.number, x.next))
	case b[1] != 0 || b[2] != 0 || b[3] != 0 || f.kind < kindBegin || f.kind > kindAbort:
		return f, x.broken(fmt.Sprintf("a frame of kind %d", binary.LittleEndian.Uint32(b)))
	case size > maxPayload:
		return f, x.broken(fmt.Sprintf("a frame of %d bytes", size))
	}
	x.next++
	f.payload = buf[:size]
	n, err = io.ReadFull(x.r, f.payload)
	x.at += int64(n)
	if err != nil {
		return f, x.ended(err)
	}
	if crc32.Checksum(f.payload, castagnoli) != binary.LittleEndian.Uint32(b[20:]) {
		return f, x.broken("the checksum of a frame does not fit")
	}
	return f, nil
}

// end makes sure that nothing follows.
func (x *frames) end() error {
	n, err := io.ReadFull(x.r, x.buf[:1])
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case n > 0:
		return x.broken("more bytes follow its end")
	}
	return err
}

// ended returns what the end of the input means, or another error of it.
func (x *frames) ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &CutError{At: x.at}
	}
	return fmt.Errorf("read the stream: %w", err)
}

// broken is the error for what was read last.
func (x *frames) broken(reason string) error { return &BrokenError{At: x.at, Reason: reason} }

// Errors about what does not begin as a stream.
var (
	// ErrNotStream is returned by Read for something else than a stream.
	ErrNotStream = hint.Wrap(fault.New(fault.Config, "this is not a stream of backups"),
		`"mbk backup --to -" and "mbk send" make one`)
	// ErrNewer is returned for a stream of a version that is not known.
	ErrNewer = hint.Wrap(fault.New(fault.Config, "made by another version of mbk"), "use the same mbk on both sides")
)

// BrokenError is returned by Read for a stream that is not as it was written.
type BrokenError struct {
	At     int64 // bytes that were read
	Reason string
}

// Error names the place.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("the stream is damaged before byte %d: %s", e.At, e.Reason)
}

// Fault says that data is damaged.
func (e *BrokenError) Fault() fault.Kind { return fault.Damage }

// Hints says what to do.
func (e *BrokenError) Hints() []hint.Text {
	return []hint.Text{"send it again; nothing else may write into the pipe that carries it"}
}

// CutError is returned by Read for a stream that ends before its end. It says nothing about
// what came.
type CutError struct{ At int64 }

// Error says how much came.
func (e *CutError) Error() string {
	if e.At == 0 {
		return "the stream is empty"
	}
	return fmt.Sprintf("the stream breaks off after %d bytes", e.At)
}

// Fault says that the work failed.
func (e *CutError) Fault() fault.Kind { return fault.Failed }

// Hints says where to look.
func (e *CutError) Hints() []hint.Text {
	return []hint.Text{"the messages of the sender say why it ended, or those of what carries the stream, such as ssh"}
}

// AbortError is returned by Read if the sender gave up and said so.
type AbortError struct{ Reason string }

// Error has the sender's reason.
func (e *AbortError) Error() string { return "the sender gave up: " + e.Reason }

// Fault says that the work failed.
func (e *AbortError) Fault() fault.Kind { return fault.Failed }

// checkName is store.CheckName for a name from a stream.
func (x *frames) checkName(b []byte) (string, error) {
	name := string(b)
	if err := store.CheckName(name); err != nil {
		return "", x.broken(err.Error())
	}
	return name, nil
}
