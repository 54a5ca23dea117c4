package backup

import (
	"fmt"
	"io"
	"os"
	"sync"

	"mbk/internal/hint"
)

// spool is an unbounded pipe: Write never waits for the reader. What the reader
// has not taken stays in memory up to a limit and goes to an unlinked file
// beyond it. The redo tailer writes into it, so that a slow repository can never
// hold up the tail until the server overwrites what was not yet read.
//
// One goroutine may write and one may read at the same time.
type spool struct {
	dir    string
	limit  int64        // bytes kept in memory
	room   func() error // why the file may not grow; nil: it may always
	grown  int64        // bytes written since room was asked
	mu     sync.Mutex
	more   sync.Cond
	queue  []span
	memory int64    // bytes of the spans in memory
	file   *os.File // nil until the limit was passed
	end    int64    // where the file is written next
	onDisk int64    // unread bytes in the file
	closed bool
	err    error // given by fail or a failed write
}

// span is a run of bytes in the order of writing, in memory or in the file.
type span struct {
	bytes  []byte
	offset int64
	length int64 // in the file, 0 for a span in memory
}

// roomEvery is after how many bytes a spool asks again whether its file may grow.
const roomEvery = 1 << 20

// newSpool makes a spool that spills into an unlinked file of dir. It asks room, if there is
// one, before the file grows: a store that has become slow fills a disk in a moment.
func newSpool(dir string, limitBytes int64, room func() error) *spool {
	s := &spool{dir: dir, limit: limitBytes, room: room, grown: roomEvery}
	s.more.L = &s.mu
	return s
}

// Write takes a copy of b.
func (s *spool) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return 0, s.err
	}
	if s.memory+int64(len(b)) <= s.limit {
		s.queue = append(s.queue, span{bytes: append([]byte(nil), b...)})
		s.memory += int64(len(b))
	} else if err := s.spill(b); err != nil {
		s.err = err
		s.more.Broadcast()
		return 0, err
	}
	s.more.Signal()
	return len(b), nil
}

// spill appends b to the file. The file starts again from its beginning
// whenever all that was in it has been read.
func (s *spool) spill(b []byte) error {
	if s.file == nil {
		f, err := os.CreateTemp(s.dir, "mbk-redo-")
		if err != nil {
			return fmt.Errorf("make a spool file for the redo: %w", err)
		}
		s.file = f
		if err := os.Remove(f.Name()); err != nil {
			return fmt.Errorf("unlink the spool file of the redo: %w", err)
		}
	}
	if s.grown += int64(len(b)); s.room != nil && s.grown >= roomEvery {
		if err := s.room(); err != nil {
			return err
		}
		s.grown = 0
	}
	if s.onDisk == 0 {
		s.end = 0
	}
	if _, err := s.file.WriteAt(b, s.end); err != nil {
		return hint.Wrap(fmt.Errorf("spool the redo into %s: %w", s.dir, err),
			"the repository takes redo more slowly than the server writes it: name a larger folder with "+
				hint.Option("spool-dir"))
	}
	last := len(s.queue) - 1
	if last >= 0 && s.queue[last].length > 0 && s.queue[last].offset+s.queue[last].length == s.end {
		s.queue[last].length += int64(len(b))
	} else {
		s.queue = append(s.queue, span{offset: s.end, length: int64(len(b))})
	}
	s.end += int64(len(b))
	s.onDisk += int64(len(b))
	return nil
}

// Read waits until there is something to read, the spool was closed (io.EOF
// after the last byte) or it failed.
func (s *spool) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.queue) == 0 && !s.closed && s.err == nil {
		s.more.Wait()
	}
	switch {
	case s.err != nil:
		return 0, s.err
	case len(s.queue) == 0:
		return 0, io.EOF
	case len(b) == 0:
		return 0, nil
	}
	first := &s.queue[0]
	if first.length == 0 {
		n := copy(b, first.bytes)
		first.bytes = first.bytes[n:]
		s.memory -= int64(n)
		if len(first.bytes) == 0 {
			s.queue = s.queue[1:]
		}
		return n, nil
	}
	n, err := s.file.ReadAt(b[:min(int64(len(b)), first.length)], first.offset)
	if err != nil {
		s.err = fmt.Errorf("read the spooled redo back: %w", err)
		return 0, s.err
	}
	first.offset += int64(n)
	first.length -= int64(n)
	s.onDisk -= int64(n)
	if first.length == 0 {
		s.queue = s.queue[1:]
	}
	return n, nil
}

// waiting is how many bytes are on disk.
func (s *spool) waiting() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.onDisk
}

// finish ends the stream: the reader gets io.EOF after what was written.
func (s *spool) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.more.Broadcast()
}

// fail makes every later Read and Write return err.
func (s *spool) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.more.Broadcast()
}

// Close closes the file. Nothing may use the spool any more.
func (s *spool) Close() error {
	if s.file == nil {
		return nil
	}
	return s.file.Close()
}
