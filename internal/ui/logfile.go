package ui

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"mbk/internal/hint"
)

// logFile takes what a run says: messages, the log and the steps of its progress.
type logFile struct {
	to     io.WriteCloser
	json   bool
	logger *slog.Logger
}

// OpenLog begins the log file that the user wants, if any, with a line that says what runs. It
// is called after Start and before any work. What cannot be written later is told once, and
// the work goes on. Errors: those of the file system, and of what is no file.
func (u *UI) OpenLog(begin string) error {
	if u.LogFile == "" {
		return nil
	}
	f, err := openLogFile(u.LogFile)
	if err != nil {
		return hint.Wrap(hint.Errorf("%s: %w", hint.Option("log-file"), err),
			"name a file that the user who runs mbk may write to, or leave it out")
	}
	var failed error
	u.log = u.newLogFile(f, func(err error) { failed = err })
	u.log.message(messageNote, begin)
	if failed != nil { // a full disk, for one
		u.log = nil
		return errors.Join(hint.Errorf("%s: %w", hint.Option("log-file"), failed), f.Close())
	}
	u.log = u.newLogFile(f, u.logFailed)
	return nil
}

// CloseLog ends the log file with a line. What it cannot write any more has been told.
func (u *UI) CloseLog(end string) {
	if u.log == nil {
		return
	}
	u.log.message(messageNote, end)
	if err := u.log.to.Close(); err != nil {
		u.logFailed(err)
	}
	u.log = nil
}

// logFailed tells once that the log file lacks what was said.
func (u *UI) logFailed(err error) {
	u.toStderr(messageWarning, "the log file lacks lines: "+err.Error())
}

// newLogFile returns a log file that calls failed for the first line that cannot be written.
func (u *UI) newLogFile(to io.WriteCloser, failed func(error)) *logFile {
	l := &logFile{to: &logWriter{WriteCloser: to, failed: failed}, json: u.jsonMessages}
	level := slog.LevelInfo
	if u.Verbose {
		level = slog.LevelDebug
	}
	l.logger = slog.New(newHandler(l.to, l.json, level)).With("pid", os.Getpid())
	return l
}

// message writes a message, or a step of the progress.
func (l *logFile) message(kind, text string) {
	if !l.json {
		say := l.logger.Info
		switch kind {
		case messageWarning:
			say = l.logger.Warn
		case messageError:
			say = l.logger.Error
		}
		say(text, "event", kind)
		return
	}
	m := Message{Time: time.Now().UTC(), Event: kind, Text: text, Fields: map[string]any{"pid": os.Getpid()}}
	_ = json.NewEncoder(l.to).Encode(m) // logWriter tells
}

// logWriter writes lines, and says of the first that it cannot write why. It always succeeds.
type logWriter struct {
	io.WriteCloser
	failed func(error)
	once   sync.Once
}

func (w *logWriter) Write(line []byte) (int, error) {
	if _, err := w.WriteCloser.Write(line); err != nil {
		w.once.Do(func() { w.failed(err) })
	}
	return len(line), nil
}

// logMode are the permissions of a new log file.
const logMode = 0o640

// openLogFile opens a file to append to, or makes it. A new file of root's gets the owner of its
// folder, so that a run of that user can go on with it. A symbolic link is not followed: whoever
// owns the folder may not choose what root writes to.
func openLogFile(name string) (*os.File, error) {
	const flags = os.O_WRONLY | os.O_APPEND | syscall.O_NOFOLLOW | syscall.O_NONBLOCK // a FIFO would wait for its reader
	f, err := os.OpenFile(name, flags|os.O_CREATE|os.O_EXCL, logMode)
	made := err == nil
	if errors.Is(err, os.ErrExist) {
		f, err = os.OpenFile(name, flags, 0)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() && info.Mode()&os.ModeCharDevice == 0 {
		err = fmt.Errorf("%s is no file", name)
	}
	if err == nil && made && os.Geteuid() == 0 {
		err = giveTo(f, filepath.Dir(name))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// giveTo gives a file to the owner of a folder.
func giveTo(f *os.File, folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	owner, known := info.Sys().(*syscall.Stat_t)
	if !known {
		return nil
	}
	return f.Chown(int(owner.Uid), int(owner.Gid))
}

// loggedProgress adds the steps to the log file.
type loggedProgress struct {
	Progress
	log *logFile
}

func (p *loggedProgress) Step(name string) {
	p.Progress.Step(name)
	p.log.step(name)
}

// step notes that a step begins.
func (l *logFile) step(name string) {
	if !l.json {
		l.logger.Info(name, "event", eventStep)
		return
	}
	jsonLine(l.to)(ProgressEvent{Time: time.Now().UTC(), Event: eventStep, Step: name})
}
