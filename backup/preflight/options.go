package preflight

import (
	"errors"
	"fmt"
	"os"

	"mbk/copier/pack"
	"mbk/internal/datadir/filter"
	"mbk/internal/repo"
	"mbk/stage"
)

// Options say what the checks are about. The zero values of those that are not
// required are useful.
type Options struct {
	Server     *stage.Server    // required
	Repository *repo.Repository // required, unless NoRepository says why there is none

	// Datadir is the server's data directory on this machine. "" is the path
	// that the server names.
	Datadir string

	// Filter says which databases and tables the backup is about; empty: all.
	Filter filter.Spec

	// SkipUnsupported leaves out tables of engines that cannot be copied, and records
	// that. Otherwise the backup is refused.
	SkipUnsupported bool

	// Increment says whether the backup is to be an increment, and of what.
	Increment Increment

	// Codec compresses the packs. Without one the backup is as large as its files.
	Codec pack.Codec

	// HistoryTable is a table of the server that gets a row for each attempt, after the
	// locks are released. Zero: none. A row that cannot be written is a warning.
	HistoryTable stage.HistoryTable

	// NoRepository is why there is no Repository. Check reports it and checks everything
	// else; a backup fails with it.
	NoRepository error

	// NewServer accepts that the backups in the repository are of another server, which
	// this one has replaced. Otherwise the backup is refused.
	NewServer bool

	// SpoolDir is where redo is spooled that the repository does not take fast
	// enough. "": the usual folder for temporary files that survive a reboot.
	SpoolDir string

	// MinFree is how much stays free in the repository and in the spool folder. A backup
	// that would need more is given up.
	MinFree Reserve
}

// Validate completes the options.
func (o *Options) Validate() error {
	if o.Server == nil {
		return errors.New("backup: no server")
	}
	if o.Repository == nil && o.NoRepository == nil {
		return errors.New("backup: no repository")
	}
	if _, err := filter.New(o.Filter, false); err != nil {
		return err
	}
	if o.SpoolDir == "" {
		o.SpoolDir = spoolDir()
	}
	if s, err := os.Stat(o.SpoolDir); err != nil || !s.IsDir() {
		return fmt.Errorf("spool folder %s is not a folder", o.SpoolDir)
	}
	return nil
}

// spoolDir prefers /var/tmp: /tmp may be memory.
func spoolDir() string {
	if dir := os.Getenv("TMPDIR"); dir != "" {
		return dir
	}
	if s, err := os.Stat("/var/tmp"); err == nil && s.IsDir() {
		return "/var/tmp"
	}
	return os.TempDir()
}
