package mariadbd

import (
	"errors"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Cause says why a server did not do what it was started for, as far as there is
// evidence of it.
type Cause string

// The causes of a failed recovery. Only CauseDamage speaks against the backup.
const (
	CauseUnknown  Cause = ""         // its log does not tell
	CauseDamage   Cause = "damage"   // its log speaks of damage, or it ended at the wrong place
	CauseShortage Cause = "shortage" // of memory, room on the disk, open files or threads
	CauseAccess   Cause = "access"   // a file or folder that it could not read or write
	CauseOption   Cause = "option"   // an option that it does not know, or that contradicts the files
	CauseKey      Cause = "key"      // an encryption key or a plugin that it does not have
	CauseVersion  Cause = "version"  // a release that cannot recover these files
	CauseSignal   Cause = "signal"   // it was killed
	CauseHang     Cause = "hang"     // it did nothing any more
)

// CauseOf returns what an error of the server's log, or of its answer to a statement, is
// evidence of; CauseUnknown if it is of nothing that has to do with its surroundings. A
// shortage and a file that cannot be opened make the server speak of damage too, so they
// come first.
func CauseOf(line string) Cause {
	line = strings.ToLower(line)
	says := func(texts ...string) bool {
		return slices.ContainsFunc(texts, func(text string) bool { return strings.Contains(line, text) })
	}
	switch errno := errnoOf(line); {
	case among(errno, syscall.ENOMEM, syscall.EAGAIN, syscall.ENFILE, syscall.EMFILE, syscall.EFBIG, syscall.ENOSPC),
		says("no space left on device", "disk quota exceeded", "disk is full", "disk full", "out of memory",
			"cannot allocate memory", "cannot map innodb_buffer_pool",
			"bad_alloc", "too many open files", "resource temporarily unavailable", "can't create thread",
			"can't create a new thread", "file too large",
			"the table is full", "' is full"):
		return CauseShortage
	case among(errno, syscall.EPERM, syscall.EIO, syscall.EACCES, syscall.EEXIST, syscall.EROFS, syscall.ETXTBSY),
		says("permission denied", "must be writable", "can't be opened in read-write mode", "read-only file system",
			"access rights to the directory", "input/output error",
			"can't change dir to", "can't create/write to file", "unable to create temporary file",
			"error while loading shared libraries"):
		return CauseAccess
	case says("encryption key", "initialization of encryption failed", "as a encryption failed",
		"as an encryption failed", "encryption service", "used key_id", "key_id is not available",
		"cannot be decrypted", "key management plugin", "system key id", "provider plugin", "unknown storage engine '"):
		return CauseKey
	case says("unsupported redo log format", "upgrade after a crash is not supported",
		"change buffer is corrupted or has been removed on upgrade", "downgrade"):
		return CauseVersion
	case says("unknown variable", "unknown option", "ambiguous option", "error while setting value",
		"requires an argument", "parsing options for plugin",
		"start-up parameter is", "unknown suffix"):
		return CauseOption
	}
	return CauseUnknown
}

// among reports whether an error number is one of a list.
func among(n syscall.Errno, list ...syscall.Errno) bool { return slices.Contains(list, n) }

// errnoOf is the error number of the system that a message names, 0 if none. line is in
// lower case. Numbers of the server's own, from 120 on, may be among them.
func errnoOf(line string) syscall.Errno {
	for _, before := range []string{"errcode: ", "errno: ", "errno ", "error number ", "opened: error: ", "with error ",
		"got error "} {
		if _, rest, ok := strings.Cut(line, before); ok {
			if n, err := strconv.ParseUint(digits(rest), 10, 16); err == nil {
				return syscall.Errno(n)
			}
		}
	}
	return 0
}

// pluginNotLoaded reports whether a line says that a library was not found. The server
// goes on without it, and may not need it.
func pluginNotLoaded(line string) bool {
	return strings.Contains(line, "Can't open shared library") || strings.Contains(line, "Couldn't load plugin")
}

// isHarmless reports whether a warning or a line without a level is about a limit that
// the server can work with.
func isHarmless(line string) bool {
	for _, text := range []string{"io_uring", "uring", "io_setup", "max_open_files", "open_files_limit",
		"Changed limits", "memlock", "arge page"} {
		if strings.Contains(line, text) {
			return true
		}
	}
	return false
}

// cause weighs the log of a run and how it ended. If damage was reported while something
// was missing that is needed to read correctly, what was missing is the cause.
func (l *errorLog) cause(exit error) Cause {
	for _, c := range []Cause{CauseShortage, CauseAccess, CauseKey, CauseVersion, CauseOption} {
		if l.evidence[c] {
			return c
		}
	}
	if len(l.damage) > 0 {
		return CauseDamage
	}
	if failed, ok := errors.AsType[*exec.ExitError](exit); ok {
		// Signals that a program brings upon itself are a crash, of which nobody knows why.
		status, ok := failed.Sys().(syscall.WaitStatus)
		own := []syscall.Signal{syscall.SIGABRT, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL,
			syscall.SIGTRAP, syscall.SIGSYS}
		if ok && status.Signaled() && !slices.Contains(own, status.Signal()) {
			return CauseSignal
		}
	}
	if l.unloaded {
		return CauseKey
	}
	return CauseUnknown
}

// continues adds what an earlier run on the same files has found.
func (l *errorLog) continues(earlier *errorLog) {
	l.damage = append(slices.Clone(earlier.damage), l.damage...)
	l.unloaded = l.unloaded || earlier.unloaded
	for c := range earlier.evidence {
		l.suggest(c)
	}
	for table := range earlier.met {
		l.meet(table)
	}
}

// suggest notes evidence of a cause.
func (l *errorLog) suggest(c Cause) {
	if l.evidence == nil {
		l.evidence = map[Cause]bool{}
	}
	l.evidence[c] = true
}

// meet notes that the log speaks of one of the known tables.
func (l *errorLog) meet(table string) {
	if l.met == nil {
		l.met = map[string]bool{}
	}
	l.met[table] = true
}

// Lacking reports whether an error means that this process has no memory, disk space or
// file descriptors left.
func Lacking(err error) bool {
	return err != nil && CauseOf(err.Error()) == CauseShortage
}
