package restore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/fsuser"
)

// engine is a mariadbd with what it must be told to open a restored data
// directory.
type engine struct {
	program  Program
	settings settings
	owner    Owner       // of the data directory; root runs the server as that user
	hand     fsuser.User // with whose rights the log is written
	data     string
	tmp      string
	log      string   // file to which the error logs of all runs are appended
	buffer   int64    // bytes of InnoDB's buffer pool
	extra    []string // the user's own options; they win
	filtered bool     // the server's dictionary knows tables of which there are no files
	problems problems // tables with which something was wrong on the source
	cryptic  bool     // the redo log is encrypted
}

// common are the options that every run of the server gets. It keeps to itself:
// no network, no replication, no binary log, no events, no option files.
func (e engine) common(logSize int64) []string {
	args := slices.Concat([]string{"--no-defaults"}, e.program.args, []string{
		"--datadir=" + e.data,
		"--tmpdir=" + e.beside(), // a list, whose folders are separated by colons
		"--slave-load-tmpdir=" + e.beside(),
		"--pid-file=" + filepath.Join(e.tmp, "pid"),
		"--skip-networking",
		"--skip-grant-tables",
		"--skip-log-bin",
		"--skip-slave-start",
		"--event-scheduler=OFF",
		"--performance-schema=OFF",
		"--loose-wsrep-on=OFF",
		"--loose-feedback=OFF",
		"--lc-messages=en_US", // its error log is read
		"--innodb-data-file-path=" + e.settings.dataFilePath,
		"--innodb-undo-directory=" + e.settings.undoDir,
		"--innodb-log-group-home-dir=.",
		"--aria-log-dir-path=" + e.settings.ariaDir,
		"--innodb-log-file-size=" + strconv.FormatInt(logSize, 10),
		"--innodb-buffer-pool-size=" + strconv.FormatInt(e.buffer, 10),
		"--innodb-buffer-pool-load-at-startup=OFF",
		"--innodb-buffer-pool-dump-at-shutdown=OFF",
		"--innodb-encryption-threads=0",
		"--innodb-fast-shutdown=1",
	}, e.settings.options(), e.settings.plugins)
	if os.Geteuid() == 0 && e.owner.UID == 0 {
		args = append(args, "--user=root")
	}
	return args
}

// beside is the folder for temporary files as seen from the data directory, in which
// the server runs. Whatever a path on this machine holds, this one is plain.
func (e engine) beside() string {
	return "../" + filepath.Base(e.tmp)
}

// command prepares a run of the server.
func (e engine) command(args []string) *exec.Cmd {
	return e.run(e.program.Path, append(args, e.extra...)...)
}

// run prepares a run of a program as the owner of the files. It does not outlive this
// process.
func (e engine) run(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env = programEnv(os.Environ(), slices.Concat(e.settings.plugins, e.extra)...)
	cmd.Dir = e.data
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.SysProcAttr.Credential = e.owner.credential().Credential
	return cmd
}

// credential has root run a program as the owner.
func (o Owner) credential() *syscall.SysProcAttr {
	if os.Geteuid() != 0 || o.UID == 0 {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(o.UID), Gid: uint32(o.GID)}}
}

// process is a running mariadbd, whose error log is read as it is written.
type process struct {
	cmd   *exec.Cmd
	log   *errorLog
	ended chan struct{} // closed at its end
	err   error         // its exit, valid after ended
}

// newLog makes the error log of one run. The caller closes it.
func (e engine) newLog(tell func(line string)) (*errorLog, error) {
	f, err := fsuser.Value(e.hand, func() (*os.File, error) {
		return openRegular(e.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY)
	})
	if err != nil {
		return nil, fmt.Errorf("keep the error log of %s: %w", e.program.Path, err)
	}
	return &errorLog{tell: tell, file: f, filtered: e.filtered || len(e.problems) > 0, problems: e.problems,
		patience: patience{abort: 10 * time.Second, accept: time.Minute}}, nil
}

// openRegular opens a regular file where somebody else may have put something else: no
// link is followed, a file that has another name too is not touched, and a pipe is not
// waited for.
func openRegular(path string, flag int) (*os.File, error) {
	f, err := os.OpenFile(path, flag|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", path)
	}
	if err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Nlink > 1 {
			err = fmt.Errorf("%s has another name too", path)
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// start runs a command, which cannot get more rights than it begins with. The
// kernel sends the parent-death signal when the thread that forked ends, so a
// goroutine keeps that thread until the server has ended.
func start(cmd *exec.Cmd, log *errorLog) (*process, error) {
	p := &process{cmd: cmd, log: log, ended: make(chan struct{})}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	read := make(chan struct{})
	started := make(chan error)
	go func() {
		// The thread is never given back: what is set here cannot be undone.
		runtime.LockOSThread()
		err := noNewPrivileges()
		if err == nil {
			err = cmd.Start()
		}
		err = errors.Join(err, w.Close())
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			<-read
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, errors.Join(err, r.Close()))
	}
	log.patience.kill = func() { _ = cmd.Process.Kill() } // an error means that it has ended
	go func() {
		defer close(read)
		log.read(r)
		_ = r.Close() // all of it was read
	}()
	return p, nil
}

// noNewPrivileges has the kernel ignore set-user-ID bits and the like for what this
// thread starts.
func noNewPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	return nil
}

// wait waits for the end of the process. When ctx is done first, it is killed:
// what it works on is thrown away then.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
		p.kill()
		return ctx.Err()
	}
}

// stop asks the server to shut down, and kills it when ctx is done.
func (p *process) stop(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	return p.wait(ctx)
}

// kill ends the program and what it has started at once, and waits for its end.
func (p *process) kill() {
	select {
	case <-p.ended:
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // an error means that it has ended
	<-p.ended
}

// errorLog is what is gathered from the error log of one run of the server.
type errorLog struct {
	tell func(line string) // hears every line; may be nil
	file io.WriteCloser    // takes every line, for whoever wants to look; may be nil
	// Lines about tables without a file are no errors.
	filtered bool
	problems problems // nor those about tables that were so on the source

	endOfLog  uint64   // "End of log at LSN=", 0 if the server did not say
	prepared  bool     // transactions of two-phase commit stand in the way
	undropped bool     // tables of an unfinished ALTER are still in the dictionary
	errors    []string // lines that begin as errors, without time and thread
	damage    []string // lines that speak of damage
	last      []string // the last lines

	patience patience
	evidence map[Cause]bool // of what errors are evidence
	unloaded bool           // a plugin was not found
	asSource map[int]bool   // tables of problems of which there were errors or warnings
}

// The server's messages that are understood.
const (
	saysEndOfLog  = "End of log at LSN="
	saysPrepared  = "prepared transactions! It means that"
	saysUndropped = "cannot drop " // and the name
	saysError     = "[ERROR] "
	saysAssertion = "ssertion"                // "Assertion failure in file", "Failing assertion:", and "Assertion `...' failed", none with [ERROR]
	saysRecord    = " when executing record " // Aria cannot apply a record of its log; the line has no [ERROR]
	// Said, as an error, when the redo of a backup is larger than the log will be
	// that the server builds after recovery. It matters to a server in service only.
	saysSmallLog = "Crash recovery is broken due to insufficient innodb_log_file_size"
)

// saysNoFile reports whether a line is one of those with which the server reports that
// a table of its dictionary has no file.
func saysNoFile(line string) bool {
	for _, text := range []string{
		"InnoDB: Operating system error number 2 in a file operation",
		"InnoDB: Error number 2 means",
		"InnoDB: The error means the system cannot find the path specified",
		"InnoDB: If you are installing InnoDB, remember that you must create directories yourself",
		"InnoDB: Cannot open datafile for read-only: ",
		"InnoDB: Could not find a valid tablespace file for ",
		"InnoDB: Ignoring tablespace for ",
	} {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// damageWords returns the parts of messages by which the server says that it
// found pages or the redo log damaged, or files missing that the redo log names.
func damageWords() []string {
	return []string{
		"corrupt", "is in the future", "Missing FILE_", "was not found at",
		"checksum mismatch", "Ignoring the redo log", "Invalid log header checksum", "Invalid redo log header checksum",
		"Space id and page no stored in the page", "Inconsistent tablespace ID", "Invalid log block checksum",
		"Cannot apply log to", "Malformed log record", "No valid checkpoint", "The size of tablespace file",
	}
}

// read takes in the log until its end.
func (l *errorLog) read(r io.Reader) {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 4096), 1<<20)
	for sc.Scan() {
		l.line(strings.TrimSpace(sc.Text()))
	}
	// A line beyond all measure ends the scan; the server must not block on us.
	_, _ = io.Copy(io.Discard, r)
}

// line takes in one line.
func (l *errorLog) line(s string) {
	const keep = 8
	if s == "" {
		return
	}
	l.watch(s)
	if l.tell != nil {
		l.tell(s)
	}
	if l.file != nil {
		_, _ = io.WriteString(l.file, s+"\n") // a full disk shows elsewhere
	}
	if l.last = append(l.last, message(s)); len(l.last) > keep {
		l.last = l.last[1:]
	}
	if _, text, ok := strings.Cut(s, saysEndOfLog); ok {
		if n, err := strconv.ParseUint(digits(text), 10, 64); err == nil {
			l.endOfLog = n
		}
	}
	isWarning := strings.Contains(s, "[Warning] ")
	if isWarning || strings.Contains(s, saysError) {
		if i, ok := l.problems.find(s); ok {
			l.blame(i)
			return
		}
	}
	isError := strings.Contains(s, saysError) && !strings.Contains(s, saysSmallLog) && !(l.filtered && saysNoFile(s)) ||
		strings.Contains(s, saysAssertion) || strings.Contains(s, saysRecord)
	l.weigh(s, isError, isWarning)
	l.prepared = l.prepared || isError && strings.Contains(s, saysPrepared)
	l.undropped = l.undropped || isError && strings.Contains(s, saysUndropped) && strings.Contains(s, "/#sql")
	if isError && len(l.errors) < keep && !slices.Contains(l.errors, message(s)) {
		l.errors = append(l.errors, message(s))
	}
	if !isError && !isWarning || causeOf(s) != CauseUnknown {
		return
	}
	for _, w := range damageWords() {
		if strings.Contains(s, w) && len(l.damage) < keep && !slices.Contains(l.damage, message(s)) {
			l.damage = append(l.damage, message(s))
			break
		}
	}
}

// weigh keeps what a line is evidence of.
func (l *errorLog) weigh(s string, isError, isWarning bool) {
	if l.unloaded = l.unloaded || isError && pluginNotLoaded(s); pluginNotLoaded(s) {
		return
	}
	// What comes before the log is open, and from libraries, has no level.
	if strings.Contains(s, "[Note] ") || !isError && isHarmless(s) || l.filtered && saysNoFile(s) {
		return
	}
	c := causeOf(s)
	if c == CauseUnknown || isWarning && c != CauseShortage && c != CauseAccess {
		return
	}
	l.suggest(c)
}

// close closes the file.
func (l *errorLog) close() {
	if l.file != nil {
		_ = l.file.Close() // as for writing to it
	}
}

// why returns the lines that tell best why a run failed.
func (l *errorLog) why() []string {
	if len(l.errors) > 0 {
		return l.errors
	}
	return l.last
}

// message cuts time and thread number off a line of the error log.
func message(s string) string {
	if i := strings.Index(s, " ["); i >= 0 && i < 32 {
		s = s[i+1:]
	}
	if len(s) > 500 {
		s = s[:500] + "..."
	}
	return s
}

// digits is the beginning of s that is a number.
func digits(s string) string {
	return s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
}
