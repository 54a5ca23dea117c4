package tablerestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/stage"
)

// workPrefix begins the names of temporary tables, and of the locks that say that their
// maker lives.
const workPrefix = "mbk_restore_"

// partSuffix ends the name of the table through which a partition is imported.
const partSuffix = "_p"

// workMode is the sql_mode under which tables are made and filled.
const workMode = "NO_AUTO_VALUE_ON_ZERO,NO_DIR_IN_CREATE"

// workName matches the name of a temporary table.
var workName = regexp.MustCompile(`^` + workPrefix + `([a-z0-9]{8})_[0-9]+(_p|_old)?$`)

// target is the running server.
type target struct {
	plan   *plan
	client *stage.Client
	token  string
	made   []string                      // databases that were made
	taken  []func(context.Context) error // make triggers again that were dropped
}

// openTarget connects to the running server, and takes the lock of this run.
func openTarget(ctx context.Context, p *plan) (*target, error) {
	t := &target{plan: p, token: token()}
	setup := []string{
		"SET SESSION sql_mode=" + stage.QuoteText(workMode) + ", time_zone='+00:00', foreign_key_checks=0, " +
			"unique_checks=0, check_constraint_checks=0, lock_wait_timeout=60, innodb_strict_mode=OFF",
	}
	if !p.o.LogBin {
		setup = append(setup, "SET SESSION sql_log_bin=OFF")
	}
	var err error
	if t.client, err = p.o.Server.Client(ctx, setup...); err != nil {
		return nil, err
	}
	if err := t.client.Exec(ctx, "DO GET_LOCK("+stage.QuoteText(workPrefix+t.token)+", 0)"); err != nil {
		t.client.Close()
		return nil, err
	}
	return t, nil
}

// programs makes what is no table in the server.
func (g *target) programs() programs { return programs{g.plan, g.client} }

// label is the quoted name of a table as it will be.
func label(t *table) string { return qualified(t.as.Database, t.as.Table) }

// makeDatabase makes the database of a table, if it is missing, as the source had it.
func (g *target) makeDatabase(ctx context.Context, s *source, from, name string) error {
	found, err := g.client.Rows(ctx, "SELECT 1 FROM information_schema.SCHEMATA WHERE SCHEMA_NAME=?", name)
	if err != nil || len(found) > 0 {
		return err
	}
	defaults, err := s.defaults(ctx, from)
	if err != nil {
		return err
	}
	g.made = append(g.made, name)
	return g.client.Exec(ctx, "CREATE DATABASE "+stage.QuoteName(name)+defaults)
}

// fill makes the table under its temporary name, and fills it. Files that the server does
// not take are no error: then rows are loaded.
func (g *target) fill(ctx context.Context, s *source, t *table, number int) error {
	t.work = fmt.Sprintf("%s%s_%d", workPrefix, g.token, number)
	t.dropped = t.work + "_old"
	// A definition names other tables of its database without it.
	if err := g.client.Exec(ctx, "USE "+stage.QuoteName(t.as.Database)); err != nil {
		return err
	}
	if t.Type == "SEQUENCE" {
		return g.fillSequence(ctx, s, t)
	}
	if g.takesFiles(t) {
		err := g.importFiles(ctx, s, t)
		if err == nil {
			if err = g.check(ctx, s, t); err == nil {
				t.way = WayFiles
				return nil
			}
		}
		if ctx.Err() != nil || !answered(err) {
			return err
		}
		if t.Type == "SYSTEM VERSIONED" { // loaded rows would all be new, and without history
			return hint.Wrap(err, wholeElsewhere())
		}
		t.reason = err.Error()
		if err := g.dropWork(ctx, t); err != nil {
			return err
		}
	}
	if t.way = WayRows; withoutRows(t.Engine) {
		t.way = WayDefinition
	}
	if err := g.client.Exec(ctx, t.def.create(g.worked(t), true)); err != nil {
		return err
	}
	if t.way == WayDefinition {
		return nil
	}
	read := readText(qualified(t.Database, t.Name), t.fields)
	if _, err := copyRows(ctx, s.client, read, g.client, loadText(g.worked(t), t.fields)); err != nil {
		return err
	}
	return g.check(ctx, s, t)
}

// worked is the quoted temporary name of a table.
func (g *target) worked(t *table) string { return qualified(t.as.Database, t.work) }

// errRefused is of files that the server has taken with an objection.
var errRefused = errors.New("the server did not take the files as they are")

// answered reports whether an error is the server's answer to what it was told, or of what
// came of that.
func answered(err error) bool { return stage.Number(err) != 0 || errors.Is(err, errRefused) }

// takesFiles reports whether the server may import the files of a table.
func (g *target) takesFiles(t *table) bool {
	const size = "innodb_page_size"
	return strings.EqualFold(t.Engine, "InnoDB") && !t.def.vector && !g.plan.o.LogBin && !g.plan.galera &&
		on(g.plan.server.Variables["innodb_file_per_table"]) &&
		g.plan.server.Variables[size] == g.plan.part.Manifest().Server.Variables[size]
}

// withoutRows reports whether the rows of an engine's tables are elsewhere, or nowhere.
func withoutRows(engine string) bool {
	return slices.Contains([]string{
		"mrg_myisam", "federated", "federatedx", "connect", "spider", "blackhole", "s3", "oqgraph", "sphinx",
	}, strings.ToLower(engine))
}

// fillSequence makes a sequence that goes on where the source's was.
func (g *target) fillSequence(ctx context.Context, s *source, t *table) error {
	statements, err := s.sequence(ctx, t, g.worked(t))
	for i := 0; err == nil && i < len(statements); i++ {
		err = g.client.Exec(ctx, statements[i])
	}
	return err
}

// importFiles fills the table with the files of the private server's.
func (g *target) importFiles(ctx context.Context, s *source, t *table) error {
	if err := s.rebuild(ctx, t, !g.readsInstant()); err != nil {
		return err
	}
	if err := g.client.Exec(ctx, t.def.create(g.worked(t), false)); err != nil {
		return err
	}
	err := s.export(ctx, t, func(paths map[string]string) error {
		if len(t.parts) == 0 {
			return g.importFile(ctx, s, t.as.Database, t.work, paths[""])
		}
		for _, part := range t.parts {
			path, ok := paths[part]
			if !ok {
				return fmt.Errorf("%w: there is no file of partition %s", errRefused, part)
			}
			if err := g.importPart(ctx, s, t, part, path); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, k := range t.def.fulltext {
		if err := g.client.Exec(ctx, "ALTER TABLE "+g.worked(t)+" ADD "+k.text); err != nil {
			return err
		}
	}
	return nil
}

// readsInstant reports whether the server's release imports tables right that had columns
// dropped or moved in an instant (MDEV-33512).
func (g *target) readsInstant() bool {
	v := g.plan.server.Version
	for _, fixed := range []struct{ major, minor, patch int }{{10, 5, 26}, {10, 6, 19}, {10, 11, 9}, {11, 4, 3}} {
		if v.Major == fixed.major && v.Minor == fixed.minor {
			return v.AtLeast(fixed.major, fixed.minor, fixed.patch)
		}
	}
	return v.AtLeast(11, 5, 0)
}

// importPart imports a tablespace and exchanges it for a partition.
func (g *target) importPart(ctx context.Context, s *source, t *table, part, path string) error {
	name := t.work + partSuffix
	alone := qualified(t.as.Database, name)
	if err := g.client.Exec(ctx, "CREATE TABLE "+alone+" LIKE "+g.worked(t)); err != nil {
		return err
	}
	if err := g.client.Exec(ctx, "ALTER TABLE "+alone+" REMOVE PARTITIONING"); err != nil {
		return err
	}
	if err := g.importFile(ctx, s, t.as.Database, name, path); err != nil {
		return err
	}
	text := "ALTER TABLE " + g.worked(t) + " EXCHANGE PARTITION " + stage.QuoteName(part) + " WITH TABLE " + alone
	if g.plan.server.Version.AtLeast(11, 4, 0) {
		text += " WITHOUT VALIDATION"
	}
	if err := g.client.Exec(ctx, text); err != nil {
		return err
	}
	return g.drop(ctx, t.as.Database, name)
}

// importFile exchanges the empty tablespace of a table for the exported one, of which path
// is the file without its extension.
func (g *target) importFile(ctx context.Context, s *source, database, name, path string) error {
	base := g.path(database, name)
	// The name is one that nobody could foresee: whoever has this file is this server.
	if _, err := g.plan.files.Stat(base + ".ibd"); err != nil {
		return fmt.Errorf("%w: the new table's file is not in its data directory: %w", errRefused, err)
	}
	id, err := g.spaceID(ctx, database, name)
	if err != nil {
		return err
	}
	if err := g.client.Exec(ctx, "ALTER TABLE "+qualified(database, name)+" DISCARD TABLESPACE"); err != nil {
		return err
	}
	if err := g.placeFiles(s, path, base, id); err != nil {
		return err
	}
	if err := g.client.Exec(ctx, "ALTER TABLE "+qualified(database, name)+" IMPORT TABLESPACE"); err != nil {
		return err
	}
	warnings, err := g.client.Rows(ctx, "SHOW WARNINGS")
	if err != nil {
		return err
	}
	if len(warnings) > 0 {
		return fmt.Errorf("%w: %s", errRefused, strings.Join(warnings[0], " "))
	}
	return g.remove(base + ".cfg")
}

// placeFiles copies a tablespace and its description to where the server looks for them. path and base
// have no extension.
//
// A server that is killed before it has imported the file looks into it when it starts again, because
// its log names it. There it must not find the id of a tablespace in use, as it would in a file of
// its own backup: 10.5 would not start any more. Nor may it find half a file.
func (g *target) placeFiles(s *source, path, base string, id innodb.SpaceID) error {
	n, err := copyFile(s.files, path+".cfg", g.plan.files, base+".cfg")
	if err != nil {
		return err
	}
	g.plan.copied(n)
	if n, err = g.copySpace(s, path+".ibd", base+partialExtension, id); err != nil {
		return err
	}
	g.plan.copied(n)
	return g.plan.files.Rename(base+partialExtension, base+".ibd")
}

// partialExtension ends the name of a tablespace that is being copied. The server opens no such file.
const partialExtension = ".mbk"

// copySpace copies a tablespace and gives it another id in its first page.
func (g *target) copySpace(s *source, path, target string, id innodb.SpaceID) (int64, error) {
	size, err := strconv.Atoi(g.plan.server.Variables["innodb_page_size"])
	if err != nil {
		return 0, err
	}
	return copyChanged(s.files, path, g.plan.files, target, size, func(first []byte) error {
		space, err := innodb.ParseSpace(first, size)
		if err != nil {
			return fmt.Errorf("%w: %s: %w", errRefused, path, err)
		}
		if !space.Encrypted { // whose pages are decrypted with the id
			space.SetID(first, id)
		}
		return nil
	})
}

// spaceID asks the server for the id of a table's tablespace.
func (g *target) spaceID(ctx context.Context, database, name string) (innodb.SpaceID, error) {
	rows, err := g.client.Rows(ctx, "SELECT SPACE FROM information_schema.INNODB_SYS_TABLES WHERE NAME=?",
		filename.Encode(database)+"/"+filename.Encode(name))
	if err == nil && len(rows) != 1 {
		err = fmt.Errorf("InnoDB's dictionary has %d tables %s", len(rows), qualified(database, name))
	}
	if err != nil {
		return 0, err
	}
	id, err := strconv.ParseUint(rows[0][0], 10, 32)
	return innodb.SpaceID(id), err
}

// path is where the server has the files of a table, without their extension.
func (g *target) path(database, name string) string {
	return filepath.Join(g.plan.datadir, filename.Encode(database), filename.Encode(name))
}

// remove removes a file that may be there.
func (g *target) remove(path string) error {
	if err := g.plan.files.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// check has the server check the filled table, and compares the number of its rows. What
// the private server says of its table too is so in the backup.
func (g *target) check(ctx context.Context, s *source, t *table) error {
	problems, err := checked(ctx, g.client, g.worked(t))
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		known, err := checked(ctx, s.client, qualified(t.Database, t.Name))
		if err != nil {
			return err
		}
		for _, text := range problems {
			if !slices.Contains(known, text) {
				return fmt.Errorf("%w: CHECK TABLE: %s", errRefused, text)
			}
			t.problems = append(t.problems, text)
		}
	}
	rows, err := countRows(ctx, g.client, g.worked(t), t.Type)
	if err == nil && rows != t.rows {
		err = fmt.Errorf("%w: %d rows, want %d", errRefused, rows, t.rows)
	}
	return err
}

// checked returns what CHECK TABLE finds wrong.
func checked(ctx context.Context, c *stage.Client, name string) ([]string, error) {
	found, err := c.Rows(ctx, "CHECK TABLE "+name)
	if err != nil {
		return nil, err
	}
	var problems []string
	for _, r := range found {
		kind, text := strings.ToLower(r[2]), r[3]
		if kind == "error" || kind == "warning" || kind == "status" && text != "OK" {
			problems = append(problems, text)
		}
	}
	return problems, nil
}

// dropWork removes what was made to fill a table.
func (g *target) dropWork(ctx context.Context, t *table) error {
	return errors.Join(g.drop(ctx, t.as.Database, t.work+partSuffix), g.drop(ctx, t.as.Database, t.work))
}

// drop removes a temporary table, and the files that an import has left of it.
func (g *target) drop(ctx context.Context, database, name string) error {
	if err := g.client.Exec(ctx, "DROP TABLE IF EXISTS "+qualified(database, name)); err != nil {
		return err
	}
	if g.plan.datadir == "" {
		return nil
	}
	var errs []error
	for _, extension := range []string{".cfg", ".ibd", partialExtension} {
		errs = append(errs, g.remove(g.path(database, name)+extension))
	}
	return errors.Join(errs...)
}

// sweep removes what dead runs have left in the databases of the tables, and returns how
// many tables that were.
func (g *target) sweep(ctx context.Context) (int, error) {
	n := 0
	var seen []string
	for _, t := range slices.Concat(g.plan.tables, g.plan.views) {
		if slices.Contains(seen, t.as.Database) {
			continue
		}
		seen = append(seen, t.as.Database)
		all, err := g.client.Rows(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA=? "+
			"AND TABLE_NAME LIKE 'mbk\\_restore\\_%'", t.as.Database)
		if err != nil {
			return n, err
		}
		for _, r := range all {
			match := workName.FindStringSubmatch(r[0])
			if match == nil || match[1] == g.token {
				continue
			}
			free, err := g.client.Rows(ctx, "SELECT IS_FREE_LOCK(?)", workPrefix+match[1])
			if err != nil {
				return n, err
			}
			if free[0][0] != "1" {
				continue
			}
			if err := g.drop(ctx, t.as.Database, r[0]); err != nil {
				return n, err
			}
			n++
		}
	}
	return n, nil
}

// close drops what is left of this run, if it failed, and ends the connection.
func (g *target) close(ctx context.Context, failed bool) error {
	defer g.client.Close()
	if !failed {
		return nil
	}
	var errs []error
	for _, t := range g.plan.tables {
		if t.work != "" {
			errs = append(errs, g.dropWork(ctx, t))
		}
	}
	for _, name := range g.made {
		left, err := g.client.Rows(ctx, "SELECT 1 FROM information_schema.TABLES WHERE TABLE_SCHEMA=? LIMIT 1", name)
		if err == nil && len(left) == 0 {
			err = g.client.Exec(ctx, "DROP DATABASE "+stage.QuoteName(name))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
