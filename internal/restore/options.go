package restore

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/dustin/go-humanize"

	"mbk/internal/datadir/filter"
	"mbk/internal/moment"
	"mbk/internal/repo"
	"mbk/internal/ui/meter"
)

// Preparation says which backup is extracted and recovered, and with what. The zero value
// of every field but Repository and ID is useful.
type Preparation struct {
	Repository *repo.Repository
	ID         string // of the backup, a unique beginning of it, or "latest"

	// Owner owns the files, and runs mariadbd on them; only root can choose. Nil: the
	// owner of an existing target, unless that is root, else the user mysql. Root itself,
	// with which no mariadbd is run unasked, if KeepOld moves the data directory of a
	// server of root's aside, or if Raw is set and there is no user mysql.
	Owner *Owner
	// Mariadbd is the server's program. Empty: it is looked for.
	Mariadbd string
	// MariadbdArgs are further options for it, such as those of a key plugin.
	MariadbdArgs []string
	// Memory is the size of the buffer pool for recovery in bytes, 0 for what the redo
	// log asks for and the machine can spare.
	Memory int64

	Workers       int  // goroutines that extract and check, 0 for one per processor, and six more that extract
	extractors    int  // those that extract
	KeepOnFailure bool // leave the scratch folder for a look; the next restore removes it

	Tool       string           // "mbk 0.1.0", for the redo log's header and the history
	OnProgress func(Progress)   // called one at a time, at most ten times a second and at each change of phase
	Now        func() time.Time // nil: time.Now
}

// Progress says how far a preparation or a restore has come.
type Progress = meter.Progress

// Options say what is restored, where to and how. The zero value of every field but
// Repository, ID and Target is useful.
type Options struct {
	Preparation

	// Target is the data directory to make. It must not exist, or be an empty
	// directory, which may be a mount point.
	Target string
	// Inbox is where the repository is, if the backup has come as a stream for this restore.
	// Nil: it has not.
	Inbox *Inbox
	// KeepOld moves a data directory that is in the target aside, to a name of its
	// own beside it.
	KeepOld bool
	// GaleraNode makes it a node of the Galera cluster that the source was a node of,
	// which needs from the others only what came later.
	GaleraNode bool
	// Filter says which databases and tables of the backup are restored; empty: all.
	Filter filter.Spec
	// DirMaps say which files of tables, that lay outside of the source's data
	// directory, are restored outside of the new one. All others go into it.
	DirMaps []DirMap
	// AllowDamaged restores a backup although a verification found it damaged. It fails
	// where it comes across damage of objects.
	AllowDamaged bool
	// Until has the server go on from the end of the backup to a moment. With repo.Latest as ID the newest
	// backup that leads there is restored.
	Until *moment.Moment
	// Binlog is the binary log for that. Nil: the archive of the repository.
	Binlog *moment.Files
	// Look has somebody look at the data before they are placed. Nil: nobody does.
	Look *Look
	// Raw leaves recovery to the first start of the server.
	Raw bool
	// Upgrade brings the files to a newer release series.
	Upgrade bool
	// UpgradeWith is the server's program of that series, and means Upgrade. Empty: it
	// is looked for.
	UpgradeWith string
}

// MinMemory is the smallest Options.Memory, in bytes.
const MinMemory = 64 << 20

// Owner is a user and a group by their numbers.
type Owner struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// Phases of a preparation and a restore, in Progress.
const (
	PhaseExtract = "extract" // files are written
	PhaseRecover = "recover" // mariadbd applies the redo log
	PhaseDrop    = "drop"    // mariadbd drops what is left out or unfinished
	PhaseReplay  = "replay"  // mariadbd goes on to a moment after the backup
	PhaseLook    = "look"    // mariadbd runs for somebody to look
	PhaseUpgrade = "upgrade" // mariadb-upgrade brings the tables to a newer series
	PhasePlace   = "place"   // the result is made durable and renamed
)

// Validate checks what can be checked without looking at the repository.
func (o Preparation) Validate() error {
	switch {
	case o.Repository == nil:
		return errors.New("no repository")
	case o.ID == "":
		return errors.New("no backup id")
	case o.Workers < 0 || o.Workers > 1024:
		return fmt.Errorf("%d workers: want 0 to 1024", o.Workers)
	case o.Memory != 0 && o.Memory < MinMemory:
		return fmt.Errorf("%s of memory: want at least %s", humanize.IBytes(uint64(max(0, o.Memory))),
			humanize.IBytes(MinMemory))
	}
	return nil
}

// Validate checks what can be checked without looking at the repository.
func (o Options) Validate() error {
	if err := o.Preparation.Validate(); err != nil {
		return err
	}
	if o.Raw && o.upgrades() {
		return errors.New("an upgrade needs the recovery, which is to be left to the server")
	}
	return nil
}

// WithDefaults fills in what was left empty.
func (o Preparation) WithDefaults() Preparation {
	if o.extractors == 0 {
		o.extractors = o.Workers
	}
	if o.Workers == 0 {
		o.Workers = runtime.GOMAXPROCS(0)
		o.extractors = o.Workers + 6 // the others decompress while some wait for the disk
	}
	if o.Tool == "" {
		o.Tool = "mbk"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}
