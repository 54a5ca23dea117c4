package tablerestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"mbk/internal/datadir/filter"
	"mbk/internal/datadir/serverfs"
	"mbk/internal/hint"
	"mbk/internal/moment"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/sys/disk"
	"mbk/internal/ui/meter"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// Options say which tables are restored, and into which server. The zero value of every
// field but Repository, ID, Filter and Server is useful.
type Options struct {
	restore.Preparation

	Filter       filter.Spec    // the tables, or whole databases
	Until        *moment.Moment // restores them as they were then; nil: as they are in the backup
	Binlog       *moment.Files  // the binary log for that; nil: the archive of the repository
	AllowDamaged bool           // try a backup although a verification found it damaged
	Scratch      string         // folder with room for the tables and what recovery needs; empty: restore.ScratchDefault
	Server       *stage.Server  // that is running; the caller closes it
	Datadir      string         // path of its data directory on this machine; empty: what the server says
	// Export makes this folder in place of a restore, with files and SQL for an import into a server
	// without mbk. Server is nil then.
	Export     string
	As         *filter.Name // the new name of the only table; nil: its own
	AsDatabase string       // the new name of the only database; empty: its own
	Replace    bool         // a table of that name is renamed, and kept
	DropOld    bool         // it is dropped instead
	// LogBin writes what is done into the server's binary log, for its replicas. All tables
	// are loaded by their rows then.
	LogBin bool
}

// plan is a restore that was worked out.
type plan struct {
	o       Options
	part    *restore.Plan
	server  stage.Facts
	files   *serverfs.FS
	datadir string

	tables     []*table // without views
	views      []*table
	databases  []string  // that are restored as a whole
	renaming   *renaming // gives the only database another name; nil: it keeps its own
	replayed   bool      // the tables are those of the moment that was asked for, not those of the backup
	galera     bool
	objections []restore.Objection
	notes      []hint.Text

	meter  *meter.Meter
	number int   // of the last temporary table
	bytes  int64 // copied into the data directory
}

// table is one table, sequence or view.
type table struct {
	repo.Table
	as     filter.Name // its name in the running server
	exists bool        // a table of that name is there
	kept   string      // the name that this one gets, "" if there is none or if it is dropped

	work     string // its temporary name
	dropped  string // the temporary name of the table that it replaces, if that is dropped
	create   string // SHOW CREATE of the private server
	def      definition
	parts    []string // names of its partitions, or of its subpartitions
	fields   []column
	rows     int64
	bytes    int64
	way      string
	problems []string // what CHECK TABLE says of it, in the backup as in the running server
	reason   string   // why its files were not taken, "" if they were or if nobody tried
}

// Ways in which a table is filled.
const (
	WayFiles      = "files"      // its tablespaces were imported
	WayRows       = "rows"       // its rows were loaded
	WayDefinition = "definition" // it has no rows of its own
)

// newPlan works out a restore, without changing anything.
func newPlan(ctx context.Context, o Options) (_ *plan, err error) {
	o.Preparation = o.WithDefaults()
	if o.Scratch == "" {
		o.Scratch = restore.ScratchDefault()
	}
	p := &plan{o: o}
	part := restore.Options{Preparation: o.Preparation, Until: o.Until, Binlog: o.Binlog,
		AllowDamaged: o.AllowDamaged}
	if o.Until == nil {
		part.Filter = o.Filter
	}
	p.part, err = restore.PlanPart(ctx, part, o.Scratch, "tables")
	if found, ok := errors.AsType[*restore.ObjectionsError](err); ok {
		p.objections = append(p.objections, found.Objections...)
	} else if err != nil {
		return nil, err
	}
	if o.Server != nil {
		if p.server, err = o.Server.Facts(ctx); err != nil {
			return nil, err
		}
	}
	if p.part != nil {
		p.choose(p.part.Manifest().Tables, databasesOf(p.part.Full()), func(t repo.Table) (size int64) {
			for _, i := range t.Files {
				size += p.part.Manifest().Files[i].Size
			}
			return size
		})
	}
	if err := p.check(ctx); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// check looks at what stands against restoring the chosen tables.
func (p *plan) check(ctx context.Context) error {
	checks := []func(context.Context) error{p.checkNames, p.checkServer, p.checkLogging, p.checkFiles}
	if p.o.Export != "" {
		checks = []func(context.Context) error{p.checkExport}
	}
	for _, check := range checks {
		if err := check(ctx); err != nil {
			return err
		}
	}
	return nil
}

// databasesOf are the databases of a backup.
func databasesOf(m *repo.Manifest) []string {
	var names []string
	for _, d := range m.Directories {
		names = append(names, d.Name)
	}
	return names
}

// close gives back what the plan has opened.
func (p *plan) close() error { return p.files.Close() }

// err is nil if nothing stands against the plan, else a *restore.ObjectionsError.
func (p *plan) err(id string) error {
	if len(p.objections) == 0 {
		return nil
	}
	what := "restore tables of " + id + " into the server"
	if p.o.Export != "" {
		what = "export tables of " + id
	}
	return &restore.ObjectionsError{What: what, Objections: p.objections}
}

// object adds an objection.
func (p *plan) object(advice hint.Text, format string, args ...any) {
	p.objections = append(p.objections, restore.Objection{Problem: fmt.Sprintf(format, args...), Hint: advice})
}

// filter is what chooses the tables.
func (p *plan) filter() (*filter.Filter, error) {
	fold := p.part.Manifest().Server.Variables["lower_case_table_names"]
	return filter.New(p.o.Filter, fold != "0" && fold != "")
}

// choose takes the tables and databases that the filter names. Those of the server itself are kept
// by every filter, and are not meant.
func (p *plan) choose(tables []repo.Table, databases []string, size func(repo.Table) int64) {
	f, err := p.filter()
	if err != nil {
		return // the plan of the part has said so
	}
	for _, t := range tables {
		if filter.Own(t.Database) || !f.Table(t.Database, t.Name) {
			continue
		}
		one := &table{Table: t, as: filter.Name{Database: t.Database, Table: t.Name}, bytes: size(t)}
		if t.Type == "VIEW" {
			p.views = append(p.views, one)
		} else {
			p.tables = append(p.tables, one)
		}
	}
	if len(p.o.Filter.Databases) > 0 {
		for _, name := range databases {
			if !filter.Own(name) && f.Database(name) {
				p.databases = append(p.databases, name)
			}
		}
	}
	none := len(p.tables)+len(p.views)+len(p.databases) == 0
	if none && p.o.Until != nil && !p.replayed {
		return // they may be made after the backup
	}
	if none && len(p.objections) == 0 {
		p.object("name tables of users with "+hint.Option("table")+"; the server's own are restored with "+
			hint.Option("target"), "the filter leaves no table but those of the server itself")
	}
	p.rename()
}

// rename gives the chosen table or database the name that it shall have.
func (p *plan) rename() {
	if p.o.AsDatabase != "" {
		p.renameDatabase()
	}
	if as := p.o.As; as != nil {
		if len(p.tables) != 1 || len(p.views) > 0 {
			p.object("name one table with "+hint.Option("table"), "%s is a name for one table, and %d are to be restored",
				printable.Table(as.Database, as.Table), len(p.tables)+len(p.views))
			return
		}
		p.tables[0].as = *as
	}
}

// renameDatabase gives the only database another name, and with it its tables.
func (p *plan) renameDatabase() {
	name, lower := p.o.AsDatabase, p.server.Variables["lower_case_table_names"]
	if lower == "1" {
		name = strings.ToLower(name)
	}
	switch {
	case len(p.databases) != 1:
		p.object("name one database with "+hint.Option("database"),
			"%s is a name for one database, and %d are to be restored", printable.Name(name), len(p.databases))
		return
	case filter.Own(strings.ToLower(name)) || strings.EqualFold(name, "information_schema"):
		p.object("", "%s is a database of the server itself", printable.Name(name))
		return
	case len([]rune(name)) > maxName:
		p.object("", "%q is longer than %d characters", name, maxName)
		return
	}
	p.renaming = &renaming{from: p.databases[0], to: name, fold: lower != "0" && lower != ""}
	for _, t := range slices.Concat(p.tables, p.views) {
		t.as.Database = name
	}
}

// database is the name that a database of the backup has in the running server.
func (p *plan) database(name string) string {
	if p.renaming != nil && name == p.renaming.from {
		return p.renaming.to
	}
	return name
}

// alone reports whether a table has another name than in the backup, and nothing that belongs to it has.
func (p *plan) alone(t *table) bool {
	return t.as != filter.Name{Database: p.database(t.Database), Table: t.Name}
}

// token is what the temporary names of this run have in common.
func token() string { return strings.ToLower(rand.Text()[:8]) }

// maxName is the length of a name in MariaDB, in characters.
const maxName = 64

// keptName is the name under which a table is kept that is replaced.
func keptName(name string, now time.Time) string {
	suffix := now.UTC().Format("__before_20060102T150405")
	runes := []rune(name)
	return string(runes[:min(len(runes), maxName-len(suffix))]) + suffix
}

// checkNames looks for what has the names already.
func (p *plan) checkNames(ctx context.Context) error {
	c, err := p.o.Server.Client(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	now := p.o.Now()
	for _, t := range slices.Concat(p.tables, p.views) {
		if len([]rune(t.as.Table)) > maxName {
			p.object("", "%q is longer than %d characters", t.as.Table, maxName)
		}
		found, err := c.Rows(ctx, "SELECT TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA=? AND TABLE_NAME=?",
			t.as.Database, t.as.Table)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue
		}
		label, kind := printable.Table(t.as.Database, t.as.Table), found[0][0]
		switch {
		case !p.o.Replace:
			advice := hint.Option("replace") + " keeps it under another name and puts the restored one in its place"
			if len(p.tables) == 1 {
				advice += "; " + hint.Option("as") + " DB.NAME restores beside it"
			}
			p.object(advice, "the server has %s already", label)
		case t.Type == "VIEW":
			p.object("drop it or rename it, or leave it out with "+hint.Option("exclude-table"),
				"the server has %s already, and a view is not replaced", label)
		case strings.Contains(kind, "VIEW"):
			p.object("rename it first", "the server has a view %s, which a table does not replace", label)
		}
		t.exists = true
		if !p.o.DropOld {
			t.kept = keptName(t.as.Table, now)
		}
	}
	return nil
}

// checkServer compares the running server with the one that was backed up.
func (p *plan) checkServer(context.Context) error {
	if p.part == nil {
		return nil
	}
	m := p.part.Manifest()
	from, err := stage.ParseVersion(m.Server.Version)
	if err != nil {
		p.object("", "%v", err)
		return nil
	}
	if !p.server.Version.AtLeast(from.Major, from.Minor, 0) {
		p.object("restore into a server of the same or a newer series",
			"the server is %s, and the backup is of a newer series: %s", p.server.Version, from)
	}
	const fold = "lower_case_table_names"
	if a, b := m.Server.Variables[fold], p.server.Variables[fold]; a != b && a != "" {
		p.object("restore into a server with the same setting",
			"%s is %s on the running server, and was %s on the source", fold, b, a)
	}
	support := map[string]string{}
	for _, e := range p.server.Engines {
		support[strings.ToLower(e.Name)] = e.Support
	}
	for _, t := range p.tables {
		if s := support[strings.ToLower(t.Engine)]; t.Engine != "" && s != "YES" && s != "DEFAULT" {
			p.object("load the engine's plugin: INSTALL SONAME",
				"the running server has no storage engine %s, which %s needs", t.Engine,
				printable.Table(t.Database, t.Name))
		}
	}
	return nil
}

// wholeElsewhere is advice for a table that does not go into a running server.
func wholeElsewhere() hint.Text {
	return "restore the whole backup elsewhere with " + hint.Option("target") + ", and read the table there"
}

// checkLogging looks at what replicas and a cluster get of the restore.
func (p *plan) checkLogging(ctx context.Context) error {
	logs := on(p.server.Variables["log_bin"])
	p.galera = on(p.server.Variables["wsrep_on"])
	switch {
	case p.o.LogBin && !logs && !p.galera:
		p.object("leave out "+hint.Option("log-bin"), "the server writes no binary log")
	case p.galera && !p.o.LogBin:
		p.object(hint.Option("log-bin")+" loads the rows, which all nodes get",
			"the server is a node of a Galera cluster, and the other nodes would not get what is imported as files")
	case logs && !p.o.LogBin:
		p.notes = append(p.notes, "nothing of this is in the server's binary log: replicas do not get it ("+
			hint.Option("log-bin")+" is for that)")
	}
	replicas, err := p.o.Server.Replicas(ctx)
	if err != nil {
		return err
	}
	if len(replicas) > 0 {
		p.notes = append(p.notes, "the server is a replica: from now on its tables differ from those of its primary")
	}
	p.checkVersioned()
	return nil
}

// checkVersioned looks for tables that would lose their history.
func (p *plan) checkVersioned() {
	for _, t := range p.tables {
		if t.Type == "SYSTEM VERSIONED" && (p.o.LogBin || !strings.EqualFold(t.Engine, "InnoDB")) {
			p.object(wholeElsewhere(), "%s is system-versioned, and would lose its history when its rows are loaded",
				printable.Table(t.Database, t.Name))
		}
	}
}

// on reports whether a variable of the server is set.
func on(value string) bool { return strings.EqualFold(value, "ON") || value == "1" }

// checkFiles looks at the server's data directory, into which files are copied.
func (p *plan) checkFiles(context.Context) error {
	dir := p.o.Datadir
	if dir == "" {
		dir = p.server.Datadir
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	advice := "run mbk on the server's machine, as root or as the server's user, and name its data directory with " +
		hint.Option("datadir") + " if it is mounted elsewhere"
	user, err := serverfs.UserOf(dir, p.server.PeerUser)
	if err == nil {
		err = p.close() // of a check before
	}
	if err == nil {
		p.files, err = serverfs.New(dir, user)
	}
	if err == nil {
		_, err = p.files.ReadDir(dir)
	}
	if err != nil {
		p.object(advice, "the server's data directory %s: %v", dir, err)
		return nil
	}
	p.datadir = dir
	p.checkRoom(dir, advice)
	return nil
}

// checkRoom looks whether the tables have room in a folder.
func (p *plan) checkRoom(dir string, advice hint.Text) {
	var needed int64
	for _, t := range p.tables {
		needed += t.bytes
	}
	const reserve = 64 << 20
	space, err := disk.SpaceOf(dir)
	if err != nil {
		p.object(advice, "%v", err)
	} else if space.Free < needed+reserve {
		p.object("make room in that folder", "%s has %s free, and the tables need about %s", dir,
			humanize.IBytes(uint64(space.Free)), humanize.IBytes(uint64(needed+reserve)))
	}
}
