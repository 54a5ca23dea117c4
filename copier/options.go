package copier

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"mbk/copier/pack"
	"mbk/internal/sys/priority"
)

// Putter is a place to write packs to.
type Putter interface {
	// Put creates the object that write writes, complete and durable, or returns an
	// error and creates none. It calls write once.
	Put(ctx context.Context, name string, write func(w io.Writer) error) error
}

// Defaults of Options.
const (
	DefaultPackLimit = 1 << 30
	DefaultQueue     = 1024
	DefaultPageTries = 20 // with the pauses between them about 5 s
	DefaultRetryTime = 10 * time.Second
)

// Bounds in bytes of a segment whose size is not in the options.
const (
	leastSegment = 8 << 20
	mostSegment  = 64 << 20
)

// Options are the options of a Copier. The zero value copies with one worker per
// processor, codec none and no limit.
type Options struct {
	Workers int        // each holds a pack and less than 10 MiB; 0: GOMAXPROCS
	Codec   pack.Codec // of chunks that it makes smaller
	Level   int        // of the codec, see pack.ParseCodec; 0: the default

	ChunkSize   int   // raw bytes of a chunk, 64 KiB to pack.MaxChunk; 0: pack.MaxChunk
	SegmentSize int64 // bytes of a file that one worker takes at a time; 0: 8 to 64 MiB, more of larger files
	PackLimit   int64 // bytes after which a pack ends with the segment; 0: DefaultPackLimit
	Queue       int   // segments that Add accepts before workers take them; 0: DefaultQueue

	// PackTime ends a pack, with a segment, also after that time, so that little is lost
	// when the process is killed. 0: no limit.
	PackTime time.Duration

	// OnPack, if not nil, is called when a pack is durable, with what was read for it. Parts
	// of which nothing had to be stored have extents of Length 0 without a Pack; if there was
	// nothing else, the pack has no Name and was not made. Every part of every source is in
	// one call. Calls are made by several goroutines at once. An error fails the copier.
	// If OnPack is there, a copier that fails saves what it has stored: see Stop.
	OnPack func(ctx context.Context, p pack.Pack, parts []Part) error

	// BytesPerSecond limits how fast sources are read, all workers together.
	// 0: no limit. StoreStream ignores it.
	BytesPerSecond int64

	// PreserveCache leaves the page cache as it was: parts of a source that were not
	// cached before they were read are dropped afterwards.
	PreserveCache bool

	// Priority is that of the threads that copy, until MakeUrgent is called.
	Priority priority.Level

	// OnProgress is called after each chunk read, by several workers at once,
	// with the raw bytes that were read and the bytes that they take in the
	// packs, both since the last call.
	OnProgress func(raw, stored int64)

	DamagedOK bool // pages that stay damaged are copied and reported, and are no error
	PageTries int  // reads of a damaged page after the first; 0: DefaultPageTries

	// RetryTime is how long damaged pages are waited for, all together, before they get
	// fewer tries. It matters with DamagedOK only. 0: DefaultRetryTime.
	RetryTime time.Duration
}

// Validate returns an error if the options make no sense.
func (o *Options) Validate() error {
	if err := o.Codec.CheckLevel(o.Level); err != nil {
		return err
	}
	switch {
	case o.Workers < 0:
		return fmt.Errorf("%d workers", o.Workers)
	case o.ChunkSize != 0 && (o.ChunkSize < pack.MinZeros || o.ChunkSize > pack.MaxChunk):
		return fmt.Errorf("chunk size %d: not between %d and %d", o.ChunkSize, pack.MinZeros, pack.MaxChunk)
	case o.SegmentSize != 0 && o.SegmentSize < int64(o.ChunkSize):
		return fmt.Errorf("segment size %d is below the chunk size", o.SegmentSize)
	case o.PackLimit < 0 || o.PackTime < 0 || o.BytesPerSecond < 0 || o.Queue < 0 || o.PageTries < 0 || o.RetryTime < 0:
		return errors.New("a limit below 0")
	}
	return nil
}

// fill replaces zero values by their defaults.
func (o Options) fill() Options {
	o.Workers = cmp.Or(o.Workers, runtime.GOMAXPROCS(0))
	o.ChunkSize = cmp.Or(o.ChunkSize, pack.MaxChunk)
	o.PackLimit = cmp.Or(o.PackLimit, DefaultPackLimit)
	o.Queue = cmp.Or(o.Queue, DefaultQueue)
	o.PageTries = cmp.Or(o.PageTries, DefaultPageTries)
	o.RetryTime = cmp.Or(o.RetryTime, DefaultRetryTime)
	if o.OnProgress == nil {
		o.OnProgress = func(raw, stored int64) {}
	}
	return o
}

// segment returns how many bytes of a source of that size one worker takes at a time.
// Segments are small, since at the end of a backup some workers copy their last ones
// while the others have nothing left to do.
func (o *Options) segment(size int64) int64 {
	if o.SegmentSize > 0 {
		return max(o.SegmentSize, int64(o.ChunkSize))
	}
	return min(max(size/int64(32*o.Workers), leastSegment), mostSegment)
}
