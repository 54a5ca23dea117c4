// Package pack is the format in which a backup stores bytes: packs, and documents such as
// its manifest. A Writer writes packs, a Reader checks every byte before it passes it to a
// Sink, and CheckHash compares a whole object with its hash. The package starts no
// goroutine, and does not know what a file holds, nor where a repository lies (see
// Opener).
//
// # The pack format
//
// A pack is a sequence of chunks and nothing else. It is written from front to back and
// never changed. All numbers are little endian.
//
// A chunk is a header of 56 bytes and, if it holds data, one frame. The header is
// a skippable frame of the zstd format, so "zstd -dc data-0001.pack" writes the
// raw bytes of all chunks with codec none or zstd, in the order of the pack,
// without the zeros that have no frame.
//
//	offset size  meaning
//	     0    4  0x184D2A5B: a skippable frame
//	     4    4  48: its length from here on
//	     8    4  "mbk1"
//	    12    1  kind: 1 data, 2 zeros, 3 pages
//	    13    1  codec: 0 none, 1 zstd, 2 s2
//	    14    2  0
//	    16    4  number of the file
//	    20    4  length of the frame that follows, in bytes
//	    24    8  offset of the chunk's first byte in the file
//	    32    8  raw length: bytes of the file that the chunk stands for; of pages, bytes in the frame
//	    40    8  XXH3-64 of the raw bytes
//	    48    4  CRC-32C of the frame; 0 with codec none
//	    52    4  CRC-32C of bytes 0 to 51
//
// A chunk of zeros has no frame: codec, frame length, XXH3 and CRC of the frame are 0.
// Only runs of at least 64 KiB are stored like this. A chunk of data stands for 1 byte to
// 1 MiB. In a file of pages, chunks of data and zeros consist of whole pages, except for what
// follows the last whole page.
//
// A chunk of pages stands for runs of pages that need not follow each other in the file.
// Its raw bytes, 20 bytes to 1 MiB, are the number of runs in 4 bytes, then 16 bytes for each
// run, in the order of the file: its offset in the file, and its length, in which the highest
// bit is 1 if the run is zeros. After that list come the bytes of all runs that are not zeros,
// one after another.
//
// Codec none is a zstd frame of raw blocks: the bytes 28 B5 2F FD A0, the raw length in 4
// bytes, and for every 128 KiB of the raw bytes (the last block may be shorter) a block
// header of 3 bytes, 8 * length + (1 if it is the last), and the raw bytes. There is only
// one such frame for given raw bytes, so a reader compares it with that. Codec zstd is one
// zstd frame; codec s2 is one block in the S2 format, which "zstd -dc" does not read. A
// chunk that its codec cannot make smaller has codec none, whatever the codec of the
// pack's other chunks.
//
// The chunks of an Extent follow each other in the pack and cover the extent's part of the
// file in order, without a gap. Those of a partial extent are in order, too, but have gaps, and
// only there are chunks of pages.
//
// # The document format
//
// EncodeDocument wraps a manifest so that "zstd -dc" shows it and every changed
// byte is detected: a skippable frame of 28 bytes and one zstd frame up to the end.
//
//	offset size  meaning
//	     0    4  0x184D2A5B: a skippable frame
//	     4    4  20: its length from here on
//	     8    4  "mbkd"
//	    12   16  XXH3-128 of the zstd frame, in the canonical order of xxhsum
package pack
