package mariadbd

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbk/internal/sys/fsuser"
)

// errorLog is what is gathered from the error log of one run of the server.
type errorLog struct {
	tell func(line string) // hears every line; may be nil
	file io.WriteCloser    // takes every line, for whoever wants to look; may be nil
	// Lines about tables without a file are no errors.
	partial bool
	known   []Known // nor those about tables that were so before

	endOfLog  uint64   // "End of log at LSN=", 0 if the server did not say
	prepared  bool     // transactions of two-phase commit stand in the way
	undropped bool     // tables of an unfinished ALTER are still in the dictionary
	errors    []string // lines that begin as errors, without time and thread
	damage    []string // lines that speak of damage
	last      []string // the last lines
	frames    []string // functions in which it died of a signal, the innermost first
	died      bool     // of a signal

	patience patience
	evidence map[Cause]bool  // of what errors are evidence
	unloaded bool            // a plugin was not found
	met      map[string]bool // known tables of which there were errors or warnings
}

// newLog makes the error log of one run. The caller closes it.
func (i Instance) newLog(tell func(line string)) (*errorLog, error) {
	f, err := fsuser.Value(i.Writer, func() (*os.File, error) {
		return openRegular(i.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY)
	})
	if err != nil {
		return nil, fmt.Errorf("keep the error log of %s: %w", i.Program.Path, err)
	}
	return &errorLog{tell: tell, file: f, partial: i.Partial || len(i.Known) > 0, known: i.Known,
		patience: patience{abort: 10 * time.Second, accept: time.Minute}}, nil
}

// The server's messages that are understood.
const (
	saysEndOfLog  = "End of log at LSN="
	saysPrepared  = "prepared transactions! It means that"
	saysUndropped = "cannot drop " // and the name
	saysError     = "[ERROR] "
	// "Assertion failure in file", "Failing assertion:", and "Assertion `...' failed", none
	// with [ERROR].
	saysAssertion = "ssertion"
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

// soundsDamaged reports whether the server says that it found pages or the redo log
// damaged, or files missing that the redo log names.
func soundsDamaged(line string) bool {
	return slices.ContainsFunc([]string{
		"corrupt", "is in the future", "Missing FILE_", "was not found at",
		"checksum mismatch", "Ignoring the redo log", "Invalid log header checksum", "Invalid redo log header checksum",
		"Space id and page no stored in the page", "Inconsistent tablespace ID", "Invalid log block checksum",
		"Cannot apply log to", "Malformed log record", "No valid checkpoint", "The size of tablespace file",
	}, func(words string) bool { return strings.Contains(line, words) })
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
	if s == "" {
		return
	}
	l.watch(s)
	l.pass(s)
	l.frame(s)
	if _, text, ok := strings.Cut(s, saysEndOfLog); ok {
		if n, err := strconv.ParseUint(digits(text), 10, 64); err == nil {
			l.endOfLog = n
		}
	}
	isWarning := strings.Contains(s, "[Warning] ")
	if (isWarning || strings.Contains(s, saysError)) && l.aboutKnown(s) {
		return
	}
	isError := l.isError(s)
	l.weigh(s, isError, isWarning)
	if isError {
		l.prepared = l.prepared || strings.Contains(s, saysPrepared)
		l.undropped = l.undropped || strings.Contains(s, saysUndropped) && strings.Contains(s, "/#sql")
		l.errors = appendNew(l.errors, message(s))
	}
	if (isError || isWarning) && CauseOf(s) == CauseUnknown && soundsDamaged(s) {
		l.damage = appendNew(l.damage, message(s))
	}
}

// maxLines is how many lines of a kind are kept.
const maxLines = 8

// pass hands a line on, and keeps it as one of the last.
func (l *errorLog) pass(s string) {
	if l.tell != nil {
		l.tell(s)
	}
	if l.file != nil {
		_, _ = io.WriteString(l.file, s+"\n") // a full disk shows elsewhere
	}
	if l.last = append(l.last, message(s)); len(l.last) > maxLines {
		l.last = l.last[1:]
	}
}

// frameFunction matches a line of a stack, as "/usr/sbin/mariadbd(fil_open+0x1c2)[0x55d5c2]".
var frameFunction = regexp.MustCompile(`^\S+\((.+)\+0x[0-9a-f]+\)\[0x[0-9a-f]+\]$`)

// frame notes the function that a line of a stack names. Those of the handler of the signal
// come first, and say nothing.
func (l *errorLog) frame(s string) {
	l.died = l.died || strings.Contains(s, saysError) && strings.Contains(s, " got signal ")
	match := frameFunction.FindStringSubmatch(s)
	if !l.died || match == nil || len(l.frames) >= maxLines {
		return
	}
	switch match[1] {
	case "my_print_stacktrace", "handle_fatal_signal":
	default:
		l.frames = append(l.frames, message(match[1]))
	}
}

// aboutKnown reports whether a line is about one of the known tables, and notes that.
func (l *errorLog) aboutKnown(s string) bool {
	i := slices.IndexFunc(l.known, func(k Known) bool { return k.Named.MatchString(s) })
	if i >= 0 {
		l.meet(l.known[i].Table)
	}
	return i >= 0
}

// isError reports whether a line tells of an error that matters.
func (l *errorLog) isError(s string) bool {
	switch {
	case strings.Contains(s, saysAssertion), strings.Contains(s, saysRecord):
		return true
	case !strings.Contains(s, saysError), strings.Contains(s, saysSmallLog):
		return false
	}
	return !l.partial || !saysNoFile(s)
}

// appendNew appends a line unless it is there already, or there are enough of them.
func appendNew(lines []string, line string) []string {
	if len(lines) >= maxLines || slices.Contains(lines, line) {
		return lines
	}
	return append(lines, line)
}

// weigh notes what cause a line is evidence of.
func (l *errorLog) weigh(s string, isError, isWarning bool) {
	if l.unloaded = l.unloaded || isError && pluginNotLoaded(s); pluginNotLoaded(s) {
		return
	}
	// What comes before the log is open, and from libraries, has no level.
	if strings.Contains(s, "[Note] ") || !isError && isHarmless(s) || l.partial && saysNoFile(s) {
		return
	}
	c := CauseOf(s)
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

// why returns the lines that best explain why a run failed.
func (l *errorLog) why() []string {
	switch {
	case len(l.errors) > 0 && len(l.frames) > 0:
		return append(slices.Clone(l.errors), "in "+strings.Join(l.frames, " < "))
	case len(l.errors) > 0:
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
