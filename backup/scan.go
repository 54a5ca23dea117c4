package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mbk/internal/aria"
	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
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

// aria reports whether the file is one of the two of an Aria table.
func (e entry) aria() bool {
	return path.Ext(e.name) == aria.IndexExt || path.Ext(e.name) == aria.DataExt
}

// ofLog reports whether this is a file of mysql.general_log or slow_log, which the
// server writes to at any time, whatever is locked.
func (e entry) ofLog() bool {
	return e.dir == "mysql" && (e.table == "general_log" || e.table == "slow_log")
}

// logTable reports whether this is the data of such a table as a CSV file, to which
// the server only appends.
func (e entry) logTable() bool { return e.ofLog() && path.Ext(e.name) == ".CSV" }

// known reports whether the server makes such files for tables and databases, and
// keeps to its own locks with them. Others may come and go at any time.
func (e entry) known() bool {
	switch path.Ext(e.name) {
	case ".frm", ".ibd", aria.IndexExt, aria.DataExt, ".MYI", ".MYD", ".MRG", ".CSV", ".CSM", arzExt, ".ARM", ".TRG", ".TRN", ".opt", ".par":
		return e.dir != ""
	}
	return false
}

// data reports whether the file holds rows or keys of a table.
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
	strays    []string            // what lies in directories of databases and is no file of a table or database
	unnamable []string            // whose names no backup can hold
	closed    []string            // directories that cannot be listed
	broken    []brokenLink
	unread    []unread // what is no file that can be read
	followed  []string // files of the data directory itself that are links

	// Of a filtered backup, what was taken out: databases by their SQL names, and
	// the files of full-text indexes.
	leftDatabases, left []string
}

// scanDatadir lists the database directories and what is to be copied of them.
// A directory that vanishes meanwhile is a dropped database.
func (l layout) scanDatadir(ctx context.Context) (scan, error) {
	s := scan{looked: map[string]fileStat{}}
	if err := l.as(func(l layout) error { return l.scanFiles(ctx, &s) }); err != nil {
		return scan{}, err
	}
	return s, l.keep.narrow(ctx, l, &s)
}

// scanFiles is scanDatadir without the filter's narrowing.
func (l layout) scanFiles(ctx context.Context, s *scan) error {
	top, err := l.files.ReadDir(l.datadir)
	if err != nil {
		return fmt.Errorf("list the data directory: %w", err)
	}
	for _, e := range top {
		switch name := e.Name(); {
		case !l.isDirectory(e) && l.handledElsewhere(name):
		case repo.CheckPath(name) != nil:
			s.unnamable = append(s.unnamable, name)
		case l.isDatabase(e):
			s.databases = append(s.databases, name)
		case e.IsDir():
		case rootFile(name):
			if err := s.addRoot(l, e); err != nil {
				return err
			}
		default:
			s.ignored = append(s.ignored, name)
		}
	}
	for _, dir := range s.databases {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !l.keep.mayHold(dir) {
			continue
		}
		if err := l.scanDatabase(s, dir); err != nil {
			return err
		}
	}
	return nil
}

// errChanged tells that a folder is not as it was.
var errChanged = errors.New("changed")

// rescan is scanDatadir again, or s where no file has come or gone since.
func (l layout) rescan(ctx context.Context, s scan) (scan, error) {
	err := l.as(func(l layout) error {
		for dir, was := range s.looked {
			now, err := l.stat(filepath.Join(l.datadir, dir))
			if err != nil || !was.unchangedBy(now) {
				return errChanged
			}
		}
		return nil
	})
	if err != nil {
		return l.scanDatadir(ctx)
	}
	return s, nil
}

// isDirectory reports whether an entry of the data directory is a directory, or a
// link to one.
func (l layout) isDirectory(e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink != 0 {
		s, err := l.stat(filepath.Join(l.datadir, e.Name()))
		return err == nil && s.directory()
	}
	return e.IsDir()
}

// isDatabase reports whether a directory is to be restored as a database. The server
// takes every directory for one, also if it writes logs and temporary files there.
// Those that are hidden or hold files of InnoDB or Aria count only if they have
// something of a database.
func (l layout) isDatabase(e fs.DirEntry) bool {
	name, dir := e.Name(), filepath.Join(l.datadir, e.Name())
	if !l.isDirectory(e) || l.ignored[name] {
		return false
	}
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || name == "lost+found" || l.holdsEngines(dir) {
		return l.holdsTables(name)
	}
	return true
}

// holdsTables reports whether a directory has a file of a table or database. One that
// cannot be listed has none.
func (l layout) holdsTables(dir string) bool {
	list, err := l.files.ReadDir(filepath.Join(l.datadir, dir))
	return err == nil && slices.ContainsFunc(list, func(e fs.DirEntry) bool {
		return !e.IsDir() && l.belongs(entry{dir: dir, name: e.Name()})
	})
}

// belongs reports whether a file of a directory is one of a table or database, and
// none that the server keeps there for itself.
func (l layout) belongs(e entry) bool {
	return wanted(e.name) && (e.known() || path.Ext(e.name) == islExt) && !l.ownFile(filepath.Join(l.datadir, e.dir, e.name))
}

// rootFile reports whether a file of the data directory itself is copied as it is.
func rootFile(name string) bool {
	switch name {
	case "ib_buffer_pool", "mysql_upgrade_info", "mariadb_upgrade_info":
		return true
	}
	return strings.HasPrefix(name, "debian-") && strings.HasSuffix(name, ".flag")
}

// handledElsewhere reports whether a file of the data directory itself is copied
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
	if l.ofConnection(name) {
		return true
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

// ofConnection reports whether a file is one of a named connection of a replica:
// master-NAME.info, relay-log-NAME.info, and relay-NAME.000001, as the server's
// variables have the rest of the name. Without relay_log they do not tell that of the
// relay logs, which are called mysqld-relay-bin-NAME.000001 or HOST-relay-bin-NAME.000001.
func (l layout) ofConnection(name string) bool {
	ext := path.Ext(name)
	if ext == ".info" && strings.HasPrefix(name, "master-") {
		return true
	}
	relay, info := l.vars["relay_log_basename"], l.vars["relay_log_info_file"]
	isNumber := len(ext) > 1 && strings.Trim(ext[1:], "0123456789") == ""
	isLog := strings.Contains(name, "-relay-bin-") || relay != "" && strings.HasPrefix(name, filepath.Base(relay)+"-")
	return isLog && (isNumber || ext == ".index") ||
		info != "" && ext == path.Ext(info) && strings.HasPrefix(name, strings.TrimSuffix(filepath.Base(info), path.Ext(info)))
}

// scanDatabase adds what is to be copied of one database.
func (l layout) scanDatabase(s *scan, dir string) error {
	before, err := l.stat(filepath.Join(l.datadir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.looked[dir] = before
	list, err := l.files.ReadDir(filepath.Join(l.datadir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) {
		s.closed = append(s.closed, dir)
		return nil
	}
	if err != nil {
		return fmt.Errorf("list database directory %s: %w", dir, err)
	}
	first := len(s.entries)
	var strays []string
	for _, e := range list {
		name := path.Join(dir, e.Name())
		switch {
		case special(e) && l.belongs(entry{dir: dir, name: e.Name()}):
			s.unread = append(s.unread, unreadKind(entry{dir: dir, name: e.Name(), table: tableOf(e.Name())}, e))
		case passing(e):
		case e.IsDir() || !l.belongs(entry{dir: dir, name: e.Name()}):
			strays = append(strays, name)
		case repo.CheckPath(name) != nil:
			s.unnamable = append(s.unnamable, name)
		default:
			if err := s.add(l, dir, e); err != nil {
				return err
			}
		}
	}
	indexFirst(s.entries[first:])
	s.addStrays(l, dir, strays, len(s.entries) > first)
	return nil
}

// addStrays notes what is not copied of a directory. Where the server keeps files of
// its own, that are those, unless there are tables, too.
func (s *scan) addStrays(l layout, dir string, names []string, tables bool) {
	folder := filepath.Join(l.datadir, dir)
	own := l.holdsLogs(folder) || l.holdsEngines(folder)
	for _, name := range names {
		if !own || tables && !l.handledElsewhere(path.Base(name)) {
			s.strays = append(s.strays, name)
		}
	}
}

// passing reports whether a file is there for a moment only, as those are that a
// statement makes, and what a program listens at.
func passing(e fs.DirEntry) bool {
	return special(e) || !e.IsDir() && !wanted(e.Name())
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

// wanted reports whether a file of a database directory belongs into a backup.
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
