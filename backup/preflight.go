package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"

	"mbk/internal/aria"
	"mbk/internal/datadir/serverfs"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// Grades of a finding.
const (
	GradeOK      = "ok"
	GradeWarning = "warning"
	GradeError   = "error"
)

// Finding is the outcome of one check before a backup.
type Finding struct {
	Check string   `json:"check"` // "version", "privileges", ...
	Grade string   `json:"grade"`
	Text  string   `json:"text"`
	Hints []string `json:"hints,omitempty"`

	passing bool // it is of this moment, and nothing that a backup should be known for
}

// Preflight is what is known of the server and the repository before anything
// is locked.
type Preflight struct {
	Findings []Finding `json:"findings"`

	facts       stage.Facts
	layout      layout
	first       scan
	scanned     bool  // first is complete
	bytes       int64 // of all files to copy
	descriptors int
	leftOut     []repo.LeftOut
	unlisted    []qualified    // tables that the server does not list
	fileless    []repo.LeftOut // tables of engines that keep no file here
}

// Errors joins the findings that forbid a backup, nil if there are none.
func (p *Preflight) Errors() error {
	var all []error
	for _, f := range p.Findings {
		if f.Grade != GradeError {
			continue
		}
		err := &FindingError{Finding: f}
		var hinted error = err
		for _, h := range f.Hints {
			hinted = hint.Wrap(hinted, h)
		}
		all = append(all, hinted)
	}
	return errors.Join(all...)
}

// warnings are the texts of the findings that a backup records.
func (p *Preflight) warnings() []string {
	var all []string
	for _, f := range p.Findings {
		if f.Grade == GradeWarning && !f.passing {
			all = append(all, f.Text)
		}
	}
	return all
}

// FindingError is a check that failed before anything was locked.
type FindingError struct{ Finding Finding }

func (e *FindingError) Error() string { return e.Finding.Check + ": " + e.Finding.Text }

func (p *Preflight) add(check, grade, text string, hints ...string) {
	p.Findings = append(p.Findings, Finding{Check: check, Grade: grade, Text: text, Hints: hints})
}

// Check makes all checks that a backup makes before it locks anything, and
// changes nothing. The error is of the checking itself; what the checks found is
// in the findings.
func Check(ctx context.Context, o Options) (*Preflight, error) {
	const sample = time.Second // of the server's writes
	p, err := preflight(ctx, o, sample)
	defer p.close()
	if err != nil || !p.scanned {
		return p, err
	}
	if err := p.checkLeftOver(ctx, o); err != nil {
		return nil, err
	}
	return p, p.checkProblems(ctx, o.Server)
}

// close gives back what reading the server's files has needed. Without a Preflight
// it does nothing.
func (p *Preflight) close() {
	if p != nil {
		p.layout.files.Close() //nolint:errcheck // only looked at
	}
}

// preflight is Check. What the server writes is watched meanwhile, and for at least
// the given time.
func preflight(ctx context.Context, o Options, sample time.Duration) (_ *Preflight, err error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p := &Preflight{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if p.facts, err = o.Server.Facts(ctx); err != nil {
		return nil, err
	}
	p.checkServer()
	p.checkPlugins()
	if err := p.checkPrivileges(ctx, o.Server); err != nil {
		return nil, err
	}
	p.checkHistoryTable(ctx, o)
	if err := p.checkDatadir(ctx, o); err != nil {
		return nil, err
	}
	if p.Errors() == nil { // what follows reads the data directory
		err = p.checkFilter(ctx, o)
	}
	if err != nil {
		return nil, err
	}
	if p.Errors() != nil { // what follows looks at what the filter keeps
		return p, errors.Join(p.checkRepository(ctx, o), p.checkSpool(ctx, o))
	}
	redo, err := p.watchRedo(ctx, o.Server, sample)
	if err != nil {
		return nil, err
	}
	if err := p.scanTables(ctx, o); err != nil {
		return nil, err
	}
	p.checkDescriptors()
	for _, check := range []func(context.Context, Options) error{p.checkRepository, p.checkSource, p.checkSpace, p.checkSpool, p.checkClock, p.checkObstacles} {
		if err := check(ctx, o); err != nil {
			return nil, err
		}
	}
	return p, redo(ctx)
}

func on(value string) bool { return value == "ON" || value == "1" }

// note is add of something that may be otherwise in a minute.
func (p *Preflight) note(check, grade, text string, hints ...string) {
	p.Findings = append(p.Findings, Finding{Check: check, Grade: grade, Text: text, Hints: hints, passing: true})
}

// checkPrivileges names what the account lacks.
func (p *Preflight) checkPrivileges(ctx context.Context, server *stage.Server) error {
	missing, err := server.MissingGrants(ctx)
	if err != nil {
		return err
	}
	if len(missing) == 0 {
		p.add("privileges", GradeOK, "the account may do all that a backup needs")
		return nil
	}
	// GRANT RELOAD, PROCESS ON *.* TO 'backup'@'localhost'
	lacking, account, _ := strings.Cut(strings.TrimPrefix(missing[0], "GRANT "), " ON *.* TO ")
	p.add("privileges", GradeError, fmt.Sprintf("account %s lacks %s", account, lacking), missing...)
	return nil
}

// checkDatadir makes sure that the data directory on this machine can be read
// and is the one of the server that we talk to.
func (p *Preflight) checkDatadir(ctx context.Context, o Options) error {
	datadir := o.Datadir
	if datadir == "" {
		datadir = p.facts.Variables["datadir"]
	}
	datadir, err := filepath.Abs(datadir)
	if err != nil {
		return err
	}
	if p.layout, err = newLayout(datadir, p.facts.Variables); err != nil {
		p.add("datadir", GradeError, err.Error())
		return nil
	}
	if err := p.openFiles(datadir); err != nil {
		p.addUnreached(err)
		return nil
	}
	watch, err := o.Server.Watch(ctx)
	if err != nil {
		return err
	}
	defer watch.Close()
	switch err := sameServer(ctx, p.layout, watch); {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), isKind(err):
		p.addUnreached(err)
	case errors.Is(err, ErrOtherServer):
		p.add("datadir", GradeError, err.Error(), otherServerHint)
	case errors.Is(err, innodb.ErrUnknownFormat):
		p.add("datadir", GradeError, err.Error(), "this mbk backs up MariaDB 10.5 to 11.8")
	case err != nil:
		return err
	default:
		p.add("datadir", GradeOK, datadir+" is the data directory of this server")
	}
	return nil
}

// openFiles makes the door to the server's files.
func (p *Preflight) openFiles(datadir string) error {
	user, err := serverfs.UserOf(datadir, p.facts.PeerUser, p.layout.redo, filepath.Join(p.layout.aria, aria.ControlFile))
	if err != nil {
		return err
	}
	p.layout.files, err = serverfs.New(datadir, user)
	if err != nil {
		return err
	}
	if err := p.layout.files.Do(func(*serverfs.FS) error { return nil }); err != nil {
		return hint.Wrap(err, "root reads the server's files with the rights of the server's user, for which it needs the capabilities CAP_SETUID and CAP_SETGID: give them to this process, or run mbk as that user")
	}
	return nil
}

// addUnreached adds that a file which a backup needs cannot be had.
func (p *Preflight) addUnreached(err error) {
	switch advice := hint.Of(err); {
	case len(advice) > 0:
		p.add("datadir", GradeError, err.Error(), advice...)
	case errors.Is(err, fs.ErrPermission):
		p.add("datadir", GradeError, err.Error(), p.layout.rightsHint())
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		p.add("datadir", GradeError, err.Error(), "run mbk on the server's machine, and name its data directory with --datadir if it is mounted elsewhere")
	default:
		p.add("datadir", GradeError, err.Error())
	}
}

// isKind reports whether an error is about a FIFO, a device or the like.
func isKind(err error) bool {
	_, ok := errors.AsType[*serverfs.KindError](err)
	return ok
}

// rightsHint is advice on files that may not be read.
func (l layout) rightsHint() string {
	if l.files.Other() {
		return fmt.Sprintf("run by root, mbk reads the server's files with the rights of the server's user (%v): give that user the file and the way to it, and remove links that lead to what is not the server's", l.files.User())
	}
	return "run mbk as root or as the user that the server runs as"
}

// ErrOtherServer is the cause of a backup that fails because the data directory
// belongs to another server than the connection.
var ErrOtherServer = errors.New("is not the data directory of the server that answers")

const otherServerHint = "check --datadir and --socket: they must belong to the same server"

// sameServer compares the newest checkpoint in the redo log of the data
// directory with the one that the server reports before and after.
func sameServer(ctx context.Context, l layout, watch *stage.Watch) error {
	if err := l.readable(); err != nil {
		return err
	}
	var first, last, found innodb.LSN
	const tries = 20
	for range tries {
		before, err := watch.LSNs(ctx)
		if err != nil {
			return err
		}
		checkpoint, err := l.readCheckpoint()
		if err != nil {
			return fmt.Errorf("redo log %s: %w", l.redo, err)
		}
		after, err := watch.LSNs(ctx)
		if err != nil {
			return err
		}
		if before.Checkpoint <= checkpoint.LSN && checkpoint.LSN <= after.Checkpoint {
			return nil
		}
		first, last, found = before.Checkpoint, after.Checkpoint, checkpoint.LSN
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
	return fmt.Errorf("%s %w: its redo log has checkpoint %d, the server is at %d to %d", l.datadir, ErrOtherServer, found, first, last)
}

// readCheckpoint reads the newest checkpoint in a redo log.
func (l layout) readCheckpoint() (innodb.Checkpoint, error) {
	head, header, err := l.readLogHead()
	if err != nil {
		return innodb.Checkpoint{}, err
	}
	checkpoint, _, err := innodb.NewestCheckpoint(head, header.FirstLSN)
	return checkpoint, err
}

// readLogHead reads the part of a redo log before its data.
func (l layout) readLogHead() ([]byte, innodb.LogHeader, error) {
	f, err := l.files.Open(l.redo)
	if err != nil {
		return nil, innodb.LogHeader{}, err
	}
	defer f.Close()                                       //nolint:errcheck // only read
	_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM) // advice only: nothing else belongs in the page cache
	head := make([]byte, innodb.LogDataOffset)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, innodb.LogHeader{}, err
	}
	header, err := innodb.ParseLogHeader(head)
	return head, header, err
}

// readable reports whether the data directory can be listed.
func (l layout) readable() error {
	if _, err := l.files.ReadDir(l.datadir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// checkTables is the check of the tables' engines and places, which is made once
// more at the end of a backup.
const checkTables = "tables"

// leaveOutHint is advice on tables that cannot be backed up.
const leaveOutHint = "leave such tables out with --skip-unsupported, and dump them by other means"

// scanTables scans the data directory for what cannot be backed up and sums
// up the rest.
func (p *Preflight) scanTables(ctx context.Context, o Options) error {
	var err error
	p.first, err = p.layout.scanDatadir(ctx)
	if errors.Is(err, fs.ErrPermission) {
		p.add("datadir", GradeError, err.Error(), p.layout.rightsHint())
		return nil
	}
	if err != nil {
		return err
	}
	for _, check := range []func(context.Context, Options) error{p.checkLinks, p.checkListed, p.checkClosed} {
		if err := check(ctx, o); err != nil {
			return err
		}
	}
	p.checkReadable()
	p.checkFiles()
	for _, found := range p.layout.look(p.first.entries) {
		if errors.Is(found.err, fs.ErrNotExist) {
			continue
		}
		if found.err != nil {
			p.addUnreached(found.err)
			continue
		}
		p.bytes += found.stat.blocks
	}
	p.checkMerged()
	p.checkViews()
	p.checkUnread()
	p.checkFollowed()
	p.checkOwnFiles()
	p.leftOut = append(unsupportedTables(p.layout, p.first), p.fileless...)
	for _, t := range p.leftOut {
		text := fmt.Sprintf("%s has engine %s, which cannot be backed up", printable.Table(t.Database, t.Name), t.Engine)
		if o.SkipUnsupported {
			p.add(checkTables, GradeWarning, text+"; it is left out")
			continue
		}
		p.add(checkTables, GradeError, text, leaveOutHint)
	}
	p.scanned = true
	p.add(checkTables, GradeOK, fmt.Sprintf("%d databases, %d files, %s", len(p.first.databases), len(p.first.entries), humanize.IBytes(uint64(p.bytes))))
	return nil
}

// checkReadable makes sure that every file may be read: that one may not should
// not show after an hour.
func (p *Preflight) checkReadable() {
	var paths []string
	for _, e := range p.first.entries {
		paths = append(paths, p.layout.file(e))
	}
	denied := make([]bool, len(paths))
	inParts(len(paths), func(from, to int) {
		_ = p.layout.as(func(l layout) error { // what fails is seen again
			for i := from; i < to; i++ {
				denied[i] = errors.Is(l.files.Readable(paths[i]), unix.EACCES)
			}
			return nil
		})
	})
	refused := p.passOver(denied)
	if len(refused) == 0 {
		return
	}
	files := make([]string, len(refused))
	for i, e := range refused {
		files[i] = p.layout.file(e)
	}
	p.add("datadir", GradeError, shortList(files)+": permission denied", p.refusedHints(refused, files)...)
}

// spareDescriptors are for everything but the tables: connections, packs, logs.
const spareDescriptors = 128

// checkDescriptors raises the limit of open files.
func (p *Preflight) checkDescriptors() {
	limit, err := raiseDescriptorLimit()
	switch {
	case err != nil:
		p.add("descriptors", GradeError, err.Error())
	case limit < 4*spareDescriptors:
		p.add("descriptors", GradeError, fmt.Sprintf("only %d files may be open at once", limit), "raise the limit: ulimit -n 65536, or LimitNOFILE= of the service")
	default:
		p.descriptors = limit - spareDescriptors
		p.add("descriptors", GradeOK, fmt.Sprintf("%d files may be open at once", limit))
	}
}
