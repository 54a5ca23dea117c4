package restore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"mbk/internal/datadir/filter"
	"mbk/internal/repo"
)

// Options say what is restored, where to and how. The zero value of every field
// but Repository, ID and Target is useful.
type Options struct {
	Repository *repo.Repository
	ID         string // of the backup, a unique beginning of it, or "latest"

	// Target is the data directory to make. It must not exist, or be an empty
	// directory, which may be a mount point. Restore only.
	Target string
	// KeepOld moves a data directory that is in the target aside, to a name of its
	// own beside it. Restore only.
	KeepOld bool
	// GaleraNode makes it a node of the Galera cluster that the source was a node of,
	// which needs from the others only what came later. Restore only.
	GaleraNode bool
	// Filter says which databases and tables of the backup are restored; empty: all.
	// Restore only.
	Filter filter.Spec
	// DirMaps say which files of tables, that lay outside of the source's data
	// directory, are restored outside of the new one. All others go into it.
	// Restore only.
	DirMaps []DirMap
	// AllowDamaged restores a backup although a verification found it damaged. It fails
	// where it comes across damage of objects. Restore only.
	AllowDamaged bool
	// Raw leaves recovery to the first start of the server. Restore only.
	Raw bool
	// Owner owns what is restored, and runs mariadbd on it; only root can choose. Nil:
	// the owner of an existing target, unless that is root, else the user mysql. Root
	// itself, with which no mariadbd is run unasked, if KeepOld moves the data directory
	// of a server of root's aside, or if Raw is set and there is no user mysql.
	Owner *Owner
	// Scratch is a folder with room for the whole restored data, for Verify at
	// depth boot. Empty: /var/tmp or what TMPDIR says.
	Scratch string

	// Mariadbd is the server's program. Empty: it is looked for.
	Mariadbd string
	// MariadbdArgs are further options for it, such as those of a key plugin.
	MariadbdArgs []string
	// Memory is the size of the buffer pool for recovery in bytes, 0 for what the redo
	// log asks for and the machine can spare.
	Memory int64
	// Upgrade brings the files to a newer release series. Restore only.
	Upgrade bool
	// UpgradeWith is the server's program of that series, and means Upgrade. Empty: it
	// is looked for.
	UpgradeWith string

	Workers       int  // goroutines that extract and check, 0 for one per processor, and six more that extract
	extractors    int  // those that extract
	Extended      bool // Verify at depth boot: CHECK TABLE EXTENDED
	KeepOnFailure bool // leave the scratch folder for a look; the next restore removes it

	Tool       string           // "mbk 0.1.0", for the redo log's header and the history
	Logger     *slog.Logger     // nil: nothing is logged
	OnProgress func(Progress)   // called one at a time, at most ten times a second and at each change of phase
	Now        func() time.Time // nil: time.Now
}

// MinMemory is the smallest Options.Memory, in bytes.
const MinMemory = 64 << 20

// Owner is a user and a group by their numbers.
type Owner struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// Phases of a restore or verification, in Progress.
const (
	PhaseStored  = "stored"  // objects of the repository are read and hashed
	PhasePages   = "pages"   // chunks are decompressed and pages checked
	PhaseExtract = "extract" // files are written
	PhaseRecover = "recover" // mariadbd applies the redo log
	PhaseDrop    = "drop"    // mariadbd drops what is left out or unfinished
	PhaseUpgrade = "upgrade" // mariadb-upgrade brings the tables to a newer series
	PhaseCheck   = "check"   // the scratch server checks tables
	PhasePlace   = "place"   // the result is made durable and renamed
)

// Progress says how far a restore or a verification has come.
type Progress struct {
	Phase string
	Done  int64  // bytes, or tables in PhaseCheck
	Total int64  // 0 if it is not known
	Text  string // what the server last said, in PhaseRecover
}

// Validate checks what can be checked without looking at the repository.
func (o Options) Validate() error {
	switch {
	case o.Repository == nil:
		return errors.New("no repository")
	case o.ID == "":
		return errors.New("no backup id")
	case o.Workers < 0 || o.Workers > 1024:
		return fmt.Errorf("%d workers: want 0 to 1024", o.Workers)
	case o.Memory != 0 && o.Memory < MinMemory:
		return fmt.Errorf("%s of memory: want at least %s", humanize.IBytes(uint64(max(0, o.Memory))), humanize.IBytes(MinMemory))
	case o.Raw && o.upgrades():
		return errors.New("an upgrade needs the recovery, which is to be left to the server")
	}
	return nil
}

// withDefaults fills in what was left empty.
func (o Options) withDefaults() Options {
	o.extractors = o.Workers
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
		o.extractors = o.Workers + 6 // the others decompress while some wait for the disk
	}
	if o.Tool == "" {
		o.Tool = "mbk"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Scratch == "" {
		o.Scratch = scratchDefault()
	}
	return o
}

// scratchDefault is where large temporary files belong on this machine.
func scratchDefault() string {
	if dir := os.Getenv("TMPDIR"); filepath.IsAbs(dir) {
		return dir
	}
	if info, err := os.Stat("/var/tmp"); err == nil && info.IsDir() {
		return "/var/tmp"
	}
	return os.TempDir()
}

// meter counts what was done and reports it, not too often. It is safe for
// concurrent use.
type meter struct {
	mu     sync.Mutex
	report func(Progress) // nil: nobody is interested
	now    Progress
	last   time.Time
}

// newMeter makes a meter for the options' listener.
func newMeter(report func(Progress)) *meter { return &meter{report: report} }

// begin starts a phase.
func (m *meter) begin(phase string, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = Progress{Phase: phase, Total: total}
	m.send(true)
}

// add counts what was done in the phase.
func (m *meter) add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Done += n
	m.send(false)
}

// say sets the text, and how far the phase is if total is not 0.
func (m *meter) say(text string, done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Text = text
	if total > 0 {
		m.now.Done, m.now.Total = done, total
	}
	m.send(false)
}

// end reports the last state of the phase.
func (m *meter) end() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.send(true)
}

// send calls the listener, with m.mu held.
func (m *meter) send(always bool) {
	const interval = 100 * time.Millisecond
	if m.report == nil || !always && time.Since(m.last) < interval {
		return
	}
	m.last = time.Now()
	m.report(m.now)
}
