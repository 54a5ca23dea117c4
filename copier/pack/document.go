package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/xxh3"
)

const (
	documentMagic  = "mbkd"
	documentHeader = skipHeader + len(documentMagic) + 16
	documentWindow = 1 << 20 // bytes that the encoder looks back; it holds twice as many
)

// ErrDocument is returned by OpenDocument for bytes that EncodeDocument did not return,
// or that have changed since.
var ErrDocument = errors.New("damaged document")

// EncodeDocument compresses a document and adds a checksum. The package comment describes
// the format.
func EncodeDocument(doc []byte) ([]byte, error) {
	enc, err := zstd.NewWriter(nil,
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(documentWindow),
		zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderCRC(false),
		zstd.WithZeroFrames(true))
	if err != nil {
		return nil, fmt.Errorf("compress document: %w", err)
	}
	b := enc.EncodeAll(doc, make([]byte, documentHeader, documentHeader+len(doc)/4+1024))
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("compress document: %w", err)
	}
	putDocumentHeader(b, b[documentHeader:])
	return b, nil
}

// putDocumentHeader writes the header for a frame to the front of b.
func putDocumentHeader(b, frame []byte) {
	binary.LittleEndian.PutUint32(b, skipMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(documentHeader-skipHeader))
	copy(b[8:], documentMagic)
	sum := xxh3.Hash128(frame).Bytes()
	copy(b[12:], sum[:])
}

// checkDocument checks the header of a document.
func checkDocument(b []byte) error {
	if len(b) < documentHeader {
		return fmt.Errorf("%w: %d bytes", ErrDocument, len(b))
	}
	var want [documentHeader]byte
	putDocumentHeader(want[:], b[documentHeader:])
	if string(b[:documentHeader]) != string(want[:]) {
		return fmt.Errorf("%w: the checksum does not fit", ErrDocument)
	}
	return nil
}

// OpenDocument returns a reader of the document that EncodeDocument was given. A changed
// byte is reported here, before anything is read. The caller must limit what is read, and
// close the reader.
func OpenDocument(b []byte) (io.ReadCloser, error) {
	if err := checkDocument(b); err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(bytes.NewReader(b[documentHeader:]),
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(32*documentWindow))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return dec.IOReadCloser(), nil
}
