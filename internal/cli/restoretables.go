package cli

import (
	"context"
	"fmt"

	"mbk/internal/cli/options"
	"mbk/internal/datadir/filter"
	"mbk/internal/hint"
	"mbk/internal/tablerestore"
	"mbk/internal/ui"
)

// intoServer holds the options of a restore of tables into a running server.
type intoServer struct {
	wanted  bool
	export  string
	as      string
	replace bool
	dropOld bool
	logBin  bool
	scratch string
	datadir string
	connection

	set *options.Set
}

func (o *intoServer) bind(s *options.Set, p *program) {
	o.set = s
	s = s.In(categoryIntoServer)
	s.Bool(&o.wanted, "into-server", "restore the tables that --table or --database names into the running server")
	s.String(&o.export, "export", "",
		"write them into the new `FOLDER`, with SQL and a text on how to import them into any server without mbk")
	s.String(&o.as, "as", "", "give the only table the name `DB.NAME`, or with --database "+
		"the only database that name")
	s.Bool(&o.replace, "replace", "put tables in the place of those of the same name, which are kept as NAME__before_TIME")
	s.Bool(&o.dropOld, "drop-old", "do not keep what --replace takes out of its place")
	s.Bool(&o.logBin, "log-bin", "load the rows through the server's binary log, so that replicas get them too")
	s.String(&o.scratch, "scratch", "",
		"recover the tables in `FOLDER`; it needs room for them (default: $TMPDIR or /var/tmp)")
	s.String(&o.datadir, "datadir", "", "`FOLDER` is the server's data directory (default: what the server says)")
	o.connection.bind(s, p)
}

// unused returns an error for an option that means nothing without --into-server, or without
// --export.
func (o *intoServer) unused() error {
	for _, name := range []string{"as", "replace", "drop-old", "log-bin", "scratch"} {
		if o.set.Source(name).Strength == options.ByFlag {
			return usagef("%s is for %s", hint.Option(name), hint.Option("into-server"))
		}
	}
	return nil
}

// alone returns an error for an option that means nothing with --into-server.
func (o *restoreOptions) alone() error {
	for _, name := range []string{
		"target", "map-dir", "original-dirs", "no-recover", "keep-old", "galera-node", "upgrade", "upgrade-with", "from",
		"keep-running-on", "login-file",
	} {
		if o.intoServer.set.Source(name).Strength == options.ByFlag {
			return usagef("%s is for a restore into a data directory, not for %s", hint.Option(name),
				hint.Option("into-server"))
		}
	}
	if o.intoServer.export != "" {
		for _, name := range []string{"into-server", "replace", "drop-old", "log-bin", "datadir"} {
			if o.intoServer.set.Source(name).Strength == options.ByFlag {
				return usagef("%s is for a restore into a server, not for %s", hint.Option(name), hint.Option("export"))
			}
		}
	}
	if o.intoServer.dropOld && !o.intoServer.replace {
		return usagef("%s needs %s", hint.Option("drop-old"), hint.Option("replace"))
	}
	return nil
}

// runRestoreTables restores tables into a running server.
func runRestoreTables(ctx context.Context, o *restoreOptions, u *ui.UI) error {
	t, err := o.tables(ctx, u)
	if err != nil {
		return err
	}
	if t.Export == "" {
		if t.Server, err = o.intoServer.connect(ctx); err != nil {
			return err
		}
		defer t.Server.Close()
	}
	binlog, done, err := o.binlog.open(ctx)
	defer done()
	if err != nil {
		return err
	}
	t.Binlog = binlog
	if o.dryRun {
		r, err := tablerestore.Preview(ctx, t)
		if err != nil {
			return err
		}
		return u.Result(r, func() error { return u.Rows(tableLines("would restore", r)) })
	}
	shown := showProgress(u, &t.Preparation)
	r, err := tablerestore.Restore(ctx, t)
	shown.End()
	if err != nil {
		return err
	}
	return u.ResultWith(r, func() error {
		return u.Rows(tableLines(map[bool]string{true: "exported", false: "restored"}[t.Export != ""], r))
	}, concernOfTables(r))
}

// tables returns the options of the restore, without the connection.
func (o *restoreOptions) tables(ctx context.Context, u *ui.UI) (t tablerestore.Options, err error) {
	into := &o.intoServer
	if err := o.alone(); err != nil {
		return t, err
	}
	if t.Filter, err = o.filters.spec(u.Stdin); err != nil {
		return t, err
	}
	if len(t.Filter.Tables)+len(t.Filter.Databases) == 0 {
		return t, usagef("%s and %s need %s DB.NAME or %s NAME: what is to be restored", hint.Option("into-server"),
			hint.Option("export"), hint.Option("table"), hint.Option("database"))
	}
	if err := o.named(&t); err != nil {
		return t, err
	}
	if t.Preparation, err = preparationFrom(ctx, o.repository, o.server, o.id, o.threads); err != nil {
		return t, err
	}
	if t.Until, err = o.moment(); err != nil {
		return t, err
	}
	t.AllowDamaged, t.KeepOnFailure, t.Scratch, t.Datadir = o.allowDamaged, o.keepOnFailure, into.scratch, into.datadir
	t.Export, t.Replace, t.DropOld, t.LogBin = into.export, into.replace, into.dropOld, into.logBin
	t.Owner, err = parseOwner(o.owner)
	return t, err
}

// named sets the new name of the table or the database.
func (o *restoreOptions) named(t *tablerestore.Options) (err error) {
	as := o.intoServer.as
	switch {
	case as == "":
	case len(t.Filter.Databases) == 0:
		t.As = new(filter.Name)
		*t.As, err = filter.ParseName(as)
	case len(t.Filter.Tables) > 0:
		return usagef("%s names one table or one database: leave out %s or %s", hint.Option("as"), hint.Option("table"),
			hint.Option("database"))
	default:
		t.AsDatabase, err = filter.ParseDatabase(as)
	}
	if err != nil {
		return usagef("%s: %v", hint.Option("as"), err)
	}
	return nil
}

// tableLines describe a restore of tables, done or to be done.
func tableLines(what string, r *tablerestore.Report) []string {
	lines := []string{what + "\tfrom " + r.ID, "into\tMariaDB " + r.Server}
	if r.Export != "" {
		lines = []string{what + "\tfrom " + r.ID, "into\t" + r.Export, "how\tits README.txt says how to import them"}
	}
	lines = append(lines, replayLines(map[bool]string{true: "would go on", false: "went on"}[r.DryRun], r.Replay)...)
	for _, t := range r.Tables {
		text := t.Table
		if t.From != t.Table {
			text += " (" + t.From + ")"
		}
		switch {
		case r.DryRun:
			text += ", " + ui.Size(t.Bytes)
		case t.Way == tablerestore.WayDefinition:
			text += ": its definition"
		case t.Way == tablerestore.WayRows:
			text += ": " + ui.Count(int(t.Rows), "row") + map[bool]string{true: ", as text", false: ", loaded"}[r.Export != ""]
		case r.Export != "":
			text += ": " + ui.Count(int(t.Rows), "row") + ", files"
		default:
			text += ": " + ui.Count(int(t.Rows), "row") + ", files imported"
		}
		lines = append(lines, "table\t"+text)
		if t.Reason != "" {
			lines = append(lines, "note\t"+t.Table+": its rows were loaded since its files could not be imported: "+t.Reason)
		}
		if t.KeptAs != "" {
			lines = append(lines, "kept\t"+t.KeptAs)
		}
	}
	if r.Triggers+r.Programs > 0 {
		lines = append(lines, fmt.Sprintf("made\t%s, %s", ui.Count(r.Triggers, "trigger"),
			ui.Count(r.Programs, "routine or event")))
	}
	if !r.DryRun {
		lines = append(lines, "time\t"+ui.Milliseconds(r.ElapsedMS))
	}
	return append(lines, concernOfTables(r)...)
}

// concernOfTables is what somebody has to know or to do about a restore of tables.
func concernOfTables(r *tablerestore.Report) []string {
	var lines []string
	for _, one := range r.LeftOut {
		lines = append(lines, fmt.Sprintf("left out\t%s %s: %s", one.Kind, one.Name, one.Reason))
	}
	lines = append(lines, labelled("dropped", r.OldTriggers)...)
	lines = append(lines, labelled("note", hint.Strings(r.Notes))...)
	return append(lines, labelled("warning", r.Warnings)...)
}
