package tablerestore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"mbk/internal/datadir/filter"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/ui/meter"
)

// Phases of a restore of tables, in meter.Progress, after those of restore.Prepared.
const (
	PhaseImport = "import" // tables are filled under temporary names, in bytes
	PhaseExport = "export" // tables are written into a folder, in bytes
	PhaseSwap   = "swap"   // they get their names
)

// finalTime is for what must be done in any case: removing what was made.
const finalTime = 2 * time.Minute

// Table is a table that was restored.
type Table struct {
	Table  string `json:"table"`            // its name in the server: "shop.orders"
	From   string `json:"from"`             // its name in the backup
	Engine string `json:"engine"`           // "" for a view
	Way    string `json:"way"`              // WayFiles, WayRows, WayDefinition
	Reason string `json:"reason,omitempty"` // why rows were loaded, where files were tried first
	Rows   int64  `json:"rows"`
	Bytes  int64  `json:"bytes"` // of its files in the backup
	// KeptAs is the name of the table that was in its place, "" if there was none or if it
	// was dropped.
	KeptAs string `json:"kept_as,omitempty"`
}

// Report is what a restore of tables has done.
type Report struct {
	ID          string          `json:"id"`
	Server      string          `json:"server"`           // version of the running server; of an export of the source
	Export      string          `json:"export,omitempty"` // the folder that was made
	Replay      *restore.Replay `json:"replay,omitempty"` // that leads to the moment of the tables
	DryRun      bool            `json:"dry_run"`          // nothing was done: this is what would be
	Tables      []Table         `json:"tables"`
	Triggers    int             `json:"triggers"`     // that were made
	Programs    int             `json:"programs"`     // functions, procedures, packages and events that were made
	OldTriggers []string        `json:"old_triggers"` // of replaced tables: they were dropped
	LeftOut     []LeftOut       `json:"left_out"`     // what a database that got another name has not
	BytesCopied int64           `json:"bytes_copied"` // into the data directory
	ElapsedMS   int64           `json:"elapsed_ms"`
	Notes       []hint.Text     `json:"notes"`
	Warnings    []string        `json:"warnings"`
}

// LeftOut is a view, a stored program or a foreign key that was not made, because it could not be
// told how it is spelled in a database of another name.
type LeftOut struct {
	Kind      string `json:"kind"` // "view", "trigger", "function", "procedure", "event", "foreign key" ...
	Name      string `json:"name"` // in the backup: "shop.p"
	Reason    string `json:"reason"`
	Statement string `json:"statement"` // that makes it in the backup
}

// note adds a note.
func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, hint.Textf(format, args...))
}

// Restore brings tables of a backup back into a running server. If it fails, the server's
// tables are as they were, unless the error says that the restored ones are in their place.
//
// Errors: *restore.ObjectionsError before anything was written or changed,
// *restore.BusyError, *pack.DamageError and repo.ErrDamaged for damage in the repository,
// *mariadbd.RunError.
func Restore(ctx context.Context, o Options) (*Report, error) {
	began := time.Now()
	return planned(ctx, o, func(p *plan, r *Report) error {
		if err := p.carryOut(ctx, r); err != nil {
			return fmt.Errorf("restore tables of %s: %w", r.ID, err)
		}
		r.BytesCopied, r.ElapsedMS = p.bytes, time.Since(began).Milliseconds()
		return nil
	})
}

// Preview is Restore without doing anything. The errors are those of Restore that come
// before anything is written.
func Preview(ctx context.Context, o Options) (*Report, error) {
	return planned(ctx, o, func(p *plan, r *Report) error {
		r.DryRun = true
		for _, t := range slices.Concat(p.tables, p.views) {
			r.Tables = append(r.Tables, t.report())
		}
		return nil
	})
}

// planned works out a restore and, if nothing stands against it, calls do.
func planned(ctx context.Context, o Options, do func(*plan, *Report) error) (_ *Report, err error) {
	p, err := newPlan(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.err(o.ID); err != nil {
		return nil, err
	}
	server := p.part.Manifest().Server.Version
	if o.Server != nil {
		server = p.server.Version.String()
	}
	r := &Report{
		ID: p.part.ID, Server: server, Tables: []Table{}, OldTriggers: []string{}, LeftOut: []LeftOut{},
		Replay: p.part.Replay, Notes: append([]hint.Text{}, p.notes...), Warnings: append([]string{}, p.part.Warnings...),
	}
	return r, do(p, r)
}

// carryOut restores.
func (p *plan) carryOut(ctx context.Context, r *Report) error {
	return p.withSource(ctx, r, func(s *source) (err error) {
		if p.o.Export != "" {
			return p.export(ctx, s, r)
		}
		g, err := openTarget(ctx, p)
		if err != nil {
			return err
		}
		defer func() {
			final, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTime)
			defer cancel()
			err = errors.Join(err, g.close(final, err != nil))
		}()
		return p.restoreTables(ctx, s, g, r)
	})
}

// withSource calls do with a private server that has recovered the tables.
func (p *plan) withSource(ctx context.Context, r *Report, do func(*source) error) (err error) {
	// What the backup holds of the tables, as the source had it when the backup ended.
	files, err := p.part.Prepare(ctx)
	if err != nil {
		return err
	}
	if files, err = p.part.GoOn(ctx, files); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Close(p.o.KeepOnFailure && err != nil)) }()
	notes := files.Notes
	private, err := files.Serve(ctx)
	if err != nil {
		return p.part.Advise(err)
	}
	defer private.Close()
	s, err := openSource(ctx, private, files.Instance())
	if err != nil {
		return err
	}
	defer s.close()
	if p.o.Until != nil {
		if err := p.chooseReplayed(ctx, s); err != nil {
			return err
		}
	}
	if len(p.databases) > 0 { // they are about events
		r.Notes = append(r.Notes, notes...)
	}
	return do(s)
}

// chooseReplayed takes the tables as they are at the moment that was asked for. There may be others
// than in the backup.
func (p *plan) chooseReplayed(ctx context.Context, s *source) error {
	tables, databases, sizes, err := s.list(ctx)
	if err != nil {
		return err
	}
	f, err := p.filter()
	if err != nil {
		return err
	}
	for _, unmatched := range f.Check(databases, slices.Collect(maps.Keys(sizes))) {
		p.object("\"mbk events\" tells when it was made and dropped", "at that moment: %v", unmatched)
	}
	p.replayed, p.tables, p.views, p.databases, p.notes = true, nil, nil, nil, nil
	p.choose(tables, databases, func(t repo.Table) int64 {
		return sizes[filter.Name{Database: t.Database, Table: t.Name}]
	})
	if err := p.check(ctx); err != nil {
		return err
	}
	return p.err(p.part.ID)
}

// restoreTables makes the tables in the running server.
func (p *plan) restoreTables(ctx context.Context, s *source, g *target, r *Report) error {
	swept, err := g.sweep(ctx)
	if err != nil {
		return err
	}
	if swept > 0 {
		r.note("%d temporary tables that an interrupted restore had left were dropped", swept)
	}
	if err := p.describe(ctx, s, r); err != nil {
		return err
	}
	for _, t := range slices.Concat(p.tables, p.views) {
		if findOutsideQuotes(t.def.tail, "DATA DIRECTORY") >= 0 {
			r.note("%s had files elsewhere (DATA DIRECTORY), and is in the data directory now", label(t))
		}
		if err := g.makeDatabase(ctx, s, t.Database, t.as.Database); err != nil {
			return err
		}
	}
	for _, group := range p.sequencesFirst() {
		if err := p.fillAndSwap(ctx, s, g, group, r); err != nil {
			return err
		}
	}
	return p.restorePrograms(ctx, s, g, r)
}

// describe reads what the tables and views are, and gives their database its new name.
func (p *plan) describe(ctx context.Context, s *source, r *Report) error {
	for _, t := range slices.Concat(p.tables, p.views) {
		if err := s.describe(ctx, t); err != nil {
			return err
		}
		if err := p.renameTable(t, r); err != nil {
			return err
		}
	}
	return nil
}

// sequencesFirst are the sequences and the other tables: a table's columns may take their defaults
// from a sequence, by its name.
func (p *plan) sequencesFirst() [][]*table {
	sequence := func(t *table) bool { return t.Type == "SEQUENCE" }
	sequences := slices.DeleteFunc(slices.Clone(p.tables), func(t *table) bool { return !sequence(t) })
	return [][]*table{sequences, slices.DeleteFunc(slices.Clone(p.tables), sequence)}
}

// fillAndSwap fills tables under temporary names, and then gives them their own.
func (p *plan) fillAndSwap(ctx context.Context, s *source, g *target, tables []*table, r *Report) error {
	var total int64
	for _, t := range tables {
		total += t.bytes
	}
	p.meter = meter.New(p.o.OnProgress)
	p.meter.Begin(PhaseImport, total)
	for _, t := range tables {
		p.number++
		if err := g.fill(ctx, s, t, p.number); err != nil {
			return fmt.Errorf("%s: %w", label(t), err)
		}
		if t.way == WayRows {
			p.meter.Add(t.bytes)
		}
	}
	p.meter.Begin(PhaseSwap, 0)
	if err := g.checkpoint(ctx, tables); err != nil {
		return err
	}
	if err := g.swap(ctx, s, tables, r); err != nil {
		return err
	}
	p.meter.End()
	for _, t := range tables {
		r.Tables = append(r.Tables, t.report())
		for _, text := range t.problems {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%s is as it was in the backup: %s", label(t), text))
		}
	}
	return nil
}

// restorePrograms makes what is no table.
func (p *plan) restorePrograms(ctx context.Context, s *source, g *target, r *Report) error {
	for _, database := range p.databases {
		if err := g.makeDatabase(ctx, s, database, p.database(database)); err != nil {
			return err
		}
	}
	if err := g.programs().make(ctx, s, r); err != nil {
		return err
	}
	return g.noteRenamed(ctx, r)
}

// report says what became of a table.
func (t *table) report() Table {
	one := Table{
		Table: t.as.Database + "." + t.as.Table, From: t.Database + "." + t.Name, Engine: t.Engine,
		Way: t.way, Reason: t.reason, Rows: t.rows, Bytes: t.bytes,
	}
	if t.exists && t.kept != "" {
		one.KeptAs = t.as.Database + "." + t.kept
	}
	return one
}

// copied counts bytes that were written into the data directory.
func (p *plan) copied(n int64) {
	p.bytes += n
	p.meter.Add(n)
}
