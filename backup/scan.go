package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"mbk/aria"
	"mbk/internal/filename"
)

// entry is a file that belongs into a backup, found in a scan of the data
// directory. Names are as on disk.
type entry struct {
	dir   string // of the database, "" in the data directory itself
	name  string
	table string // the part of the name that its table's files share, "" for a file of no table
	link  link   // where the file lies, if not in its place
}

// path is the entry's place below the data directory, with "/".
func (e entry) path() string { return path.Join(e.dir, e.name) }

func (e entry) innodb() bool { return path.Ext(e.name) == ".ibd" }
func (e entry) frm() bool    { return path.Ext(e.name) == ".frm" }

// aria says whether the file is one of the two of an Aria table.
func (e entry) aria() bool {
	return path.Ext(e.name) == aria.IndexExt || path.Ext(e.name) == aria.DataExt
}

// ofLog says whether this is a file of mysql.general_log or slow_log, which the
// server writes to at any time, whatever is locked.
func (e entry) ofLog() bool {
	return e.dir == "mysql" && (e.table == "general_log" || e.table == "slow_log")
}

// logTable says whether this is the data of such a table as a CSV file, to which
// the server only appends.
func (e entry) logTable() bool { return e.ofLog() && path.Ext(e.name) == ".CSV" }

// known says whether the server makes such files for tables and databases, and
// keeps to its own locks with them. Others may come and go at any time.
func (e entry) known() bool {
	switch path.Ext(e.name) {
	case ".frm", ".ibd", aria.IndexExt, aria.DataExt, ".MYI", ".MYD", ".MRG", ".CSV", ".CSM", ".ARZ", ".ARM", ".TRG", ".TRN", ".opt", ".par":
		return e.dir != ""
	}
	return false
}

// data says whether the file holds rows or keys of a table.
func (e entry) data() bool {
	switch path.Ext(e.name) {
	case ".frm", ".TRG", ".par":
		return false
	}
	return e.known()
}

// scan is what the data directory holds at one moment.
type scan struct {
	databases []string            // directories
	looked    map[string]fileStat // how these were before they were listed
	entries   []entry             // sorted by directory and name
	ignored   []string            // files in the data directory itself that are not known
	broken    []brokenLink

	// Of a filtered backup, what was taken out: databases by their SQL names, and
	// the files of full-text indexes.
	leftDatabases, left []string
}

// scanDatadir lists the database directories and what is to be copied of them.
// A directory that vanishes meanwhile is a dropped database.
func (l layout) scanDatadir(ctx context.Context) (scan, error) {
	s := scan{looked: map[string]fileStat{}}
	top, err := os.ReadDir(l.datadir)
	if err != nil {
		return scan{}, fmt.Errorf("list the data directory: %w", err)
	}
	for _, e := range top {
		switch name := e.Name(); {
		case l.isDatabase(e):
			s.databases = append(s.databases, name)
		case e.IsDir():
		case rootFile(name):
			s.entries = append(s.entries, entry{name: name})
		case !l.handledElsewhere(name):
			s.ignored = append(s.ignored, name)
		}
	}
	for _, dir := range s.databases {
		if err := ctx.Err(); err != nil {
			return scan{}, err
		}
		if !l.keep.mayHold(dir) {
			continue
		}
		if err := l.scanDatabase(&s, dir); err != nil {
			return scan{}, err
		}
	}
	return s, l.keep.narrow(ctx, l.datadir, &s)
}

// rescan is scanDatadir again, or s where no file has come or gone since.
func (l layout) rescan(ctx context.Context, s scan) (scan, error) {
	for dir, was := range s.looked {
		now, err := statPath(filepath.Join(l.datadir, dir))
		if err != nil || !was.unchangedBy(now) {
			return l.scanDatadir(ctx)
		}
	}
	return s, nil
}

// isDatabase says whether the server takes a directory for a database.
func (l layout) isDatabase(e fs.DirEntry) bool {
	name := e.Name()
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || name == "lost+found" || l.ignored[name] || l.special(filepath.Join(l.datadir, name)) {
		return false
	}
	if e.Type()&fs.ModeSymlink != 0 {
		s, err := statPath(filepath.Join(l.datadir, name))
		return err == nil && s.directory()
	}
	return e.IsDir()
}

// rootFile says whether a file of the data directory itself is copied as it is.
func rootFile(name string) bool {
	switch name {
	case "ib_buffer_pool", "mysql_upgrade_info", "mariadb_upgrade_info":
		return true
	}
	return strings.HasPrefix(name, "debian-") && strings.HasSuffix(name, ".flag")
}

// handledElsewhere says whether a file of the data directory itself is copied
// by other means, or is one that no backup holds: temporary tablespaces, the
// logs of the server and of its replication, locks and sockets.
func (l layout) handledElsewhere(name string) bool {
	for _, system := range l.system {
		if filepath.Join(l.datadir, name) == system {
			return true
		}
	}
	for _, prefix := range []string{"undo", "ib_logfile", "aria_log", "ibtmp", "ddl_recovery", "multi-master", "relay-log", "master.info", "core", "innodb_status", "#", ".", "binlog", "tc.log", "ddl.log", "galera.", "grastate", "gvwstate"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	for _, variable := range []string{"log_bin_basename", "relay_log_basename", "log_error", "general_log_file", "slow_query_log_file", "pid_file", "socket", "log_basename"} {
		base := filepath.Base(l.vars[variable])
		if l.vars[variable] != "" && (name == base || strings.HasPrefix(name, base+".")) {
			return true
		}
	}
	if strings.Contains(name, "-bin.") { // also HOST-relay-bin.000001
		return true
	}
	switch path.Ext(name) {
	case ".pid", ".sock", ".err", ".log", ".index", ".state", ".pem", ".cnf":
		return true
	}
	return false
}

// scanDatabase adds what is to be copied of one database.
func (l layout) scanDatabase(s *scan, dir string) error {
	before, err := statPath(filepath.Join(l.datadir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.looked[dir] = before
	list, err := os.ReadDir(filepath.Join(l.datadir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list database directory %s: %w", dir, err)
	}
	first := len(s.entries)
	for _, e := range list {
		if e.Type()&(fs.ModeDir|fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice) != 0 || !wanted(e.Name()) {
			continue
		}
		if err := s.add(l, dir, e); err != nil {
			return err
		}
	}
	indexFirst(s.entries[first:])
	return nil
}

// indexFirst puts the index file of an Aria table before its data file, because
// it tells how the data file is made up.
func indexFirst(sorted []entry) {
	for i := 1; i < len(sorted); i++ {
		stem, isIndex := strings.CutSuffix(sorted[i].name, aria.IndexExt)
		if isIndex && sorted[i-1].name == stem+aria.DataExt {
			sorted[i-1], sorted[i] = sorted[i], sorted[i-1]
		}
	}
}

// wanted says whether a file of a database directory belongs into a backup.
// InnoDB's temporary tables do, because recovery rolls their creation back;
// those of other engines and the definitions of temporary tables do not.
func wanted(name string) bool {
	ext := path.Ext(name)
	switch ext {
	case ".ibd", islExt:
		return true
	case ".TMD", ".TMM", ".cfg", ".frm~", ".sock", ".pid":
		return false
	}
	return !filename.Temporary(name)
}

// tableOf is the part of a file name that all files of one table share, and ""
// for a file that belongs to a database or to a single trigger.
func tableOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".opt", ".TRN":
		return ""
	default:
		return filename.Base(strings.TrimSuffix(name, ext))
	}
}
