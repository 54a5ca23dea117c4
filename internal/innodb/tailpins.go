package innodb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// resizeName is what the server calls the log that will replace ib_logfile0.
	resizeName = "ib_logfile101"
	// maxPins bounds the files that logPins holds open.
	maxPins = 64
)

// logPins opens every log file that the server makes while it resizes its log, as
// soon as it appears. An idle server can replace its log several times within
// milliseconds; without a descriptor, the ones in between would be gone.
//
// It only helps: if a file appears and goes too fast, or the system does not tell
// of files, a Tailer notices that log is missing.
type logPins struct {
	opener Files
	path   string   // of the log
	events *os.File // inotify; nil: the system does not tell
	moved  func()   // called when the log was replaced
	done   chan struct{}

	mu    sync.Mutex
	files []*os.File // oldest first
	infos []os.FileInfo
}

// pinLogs begins to watch the folder of the log at path. The caller calls close.
func pinLogs(files Files, path string, moved func()) *logPins {
	p := &logPins{opener: files, path: path, moved: moved, done: make(chan struct{})}
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err == nil {
		p.events = os.NewFile(uintptr(fd), "inotify")
		_, err = unix.InotifyAddWatch(fd, filepath.Dir(path), unix.IN_CREATE|unix.IN_MOVED_TO)
	}
	if err != nil {
		close(p.done)
		return p
	}
	go func() {
		defer close(p.done)
		p.watch()
	}()
	return p
}

// watch takes events until close.
func (p *logPins) watch() {
	b := make([]byte, 64<<10)
	for {
		n, err := p.events.Read(b)
		if err != nil {
			return
		}
		for rest := b[:n]; len(rest) >= unix.SizeofInotifyEvent; {
			mask := binary.NativeEndian.Uint32(rest[4:])
			size := unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(rest[12:]))
			if size > len(rest) {
				break
			}
			name := strings.TrimRight(string(rest[unix.SizeofInotifyEvent:size]), "\x00")
			rest = rest[size:]
			switch {
			case mask&unix.IN_CREATE != 0 && name == resizeName:
				p.pin(filepath.Join(filepath.Dir(p.path), resizeName))
			case mask&unix.IN_MOVED_TO != 0 && name == filepath.Base(p.path):
				p.pin(p.path)
				p.moved()
			}
		}
	}
}

// pin opens a file and keeps it, unless it is the one that was kept last.
func (p *logPins) pin(path string) {
	f, err := p.opener.Open(path)
	if err != nil {
		return // gone again
	}
	info, err := f.Stat()
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.infos)
	if err != nil || n > 0 && os.SameFile(p.infos[n-1], info) {
		closeUnused(f)
		return
	}
	if n == maxPins {
		p.drop(1)
	}
	p.files, p.infos = append(p.files, f), append(p.infos, info)
}

// drop closes the n oldest files. The caller holds p.mu.
func (p *logPins) drop(n int) {
	for _, f := range p.files[:n] {
		closeUnused(f)
	}
	p.files, p.infos = p.files[n:], p.infos[n:]
}

// closeUnused closes a file of which nothing is needed.
func closeUnused(f *os.File) {
	// It was only read, if at all.
	_ = f.Close()
}

// successor returns the log that followed l, if it is at hand; the caller closes
// it. Older ones are let go.
func (p *logPins) successor(l *logFile) *logFile {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, info := range p.infos {
		if os.SameFile(info, l.info) {
			p.drop(i + 1)
			break
		}
	}
	for len(p.files) > 0 {
		next, err := newLogFile(p.opener, p.path, p.files[0])
		if err == nil && next.ring.First >= l.ring.First {
			p.files, p.infos = p.files[1:], p.infos[1:]
			return next
		}
		if len(p.files) == 1 && err != nil {
			return nil // perhaps the server is still at it
		}
		p.drop(1) // a resize that was given up, or from before l
	}
	return nil
}

// close ends the watching and closes all files that are still held. A second
// call does nothing.
func (p *logPins) close() error {
	var err error
	if p.events != nil {
		if err = p.events.Close(); err != nil {
			err = fmt.Errorf("watch redo log: %w", err)
		}
	}
	<-p.done
	p.events = nil
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.files {
		err = errors.Join(err, f.Close())
	}
	p.files, p.infos = nil, nil
	return err
}
