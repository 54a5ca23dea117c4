package backup

import (
	"context"
	"fmt"
	"os/user"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/datadir/filter"
	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
	"mbk/stage"
)

// checkFiles names what of the data directory is not in the backup, or is there without
// a table.
func (p *Preflight) checkFiles() {
	keys := p.keyFiles()
	for _, name := range keys {
		p.add("files", GradeWarning, fmt.Sprintf("%s in the data directory holds the keys of encrypted tables and logs and will not be in the backup, which cannot be restored without it", name),
			"keep a copy of the key file in another place than the backups, and move it out of the data directory")
	}
	isKey := func(name string) bool { return slices.Contains(keys, name) }
	for _, name := range slices.DeleteFunc(slices.Clone(p.first.ignored), isKey) {
		p.add("files", GradeWarning, fmt.Sprintf("%s in the data directory is not known and will not be in the backup", name))
	}
	if strays := slices.DeleteFunc(slices.Clone(p.first.strays), isKey); len(strays) > 0 {
		p.add("files", GradeWarning, "not files of tables, and will not be in the backup: "+shortList(strays))
	}
	if names := p.first.unnamable; len(names) > 0 {
		quoted := make([]string, len(names))
		for i, name := range names {
			quoted[i] = strconv.Quote(name)
		}
		p.add("files", GradeWarning, "names that are not UTF-8 or have control characters, will not be in the backup: "+shortList(quoted), "rename these files, or remove them")
	}
	if orphans := p.first.orphans(); len(orphans) > 0 {
		p.add("files", GradeWarning, orphansText(orphans), orphansHint)
	}
	p.checkUpgrade()
}

// keyFiles are the files in the data directory, by their paths there, that hold the
// keys of encryption.
func (p *Preflight) keyFiles() []string {
	var found []string
	for _, name := range []string{"file_key_management_filename", "file_key_management_filekey"} {
		value := strings.TrimPrefix(p.facts.Variables[name], "FILE:")
		if value == "" || value == stage.Hidden {
			continue
		}
		if rel, err := filepath.Rel(p.layout.datadir, p.layout.resolve(value)); err == nil && filepath.IsLocal(rel) {
			found = append(found, rel)
		}
	}
	return found
}

// orphans are files of rows and keys without a definition. Those of InnoDB its
// dictionary tells about.
func (s scan) orphans() []string {
	defined := map[tableFiles]bool{}
	for _, e := range s.entries {
		if e.frm() || e.discovered() {
			defined[tableFiles{e.dir, e.table}] = true
		}
	}
	var found []string
	for _, e := range s.entries {
		if e.table != "" && e.data() && !e.innodb() && !filename.Temporary(e.name) && !defined[tableFiles{e.dir, e.table}] {
			found = append(found, e.path())
		}
	}
	return found
}

// orphansText is the warning of such files.
func orphansText(names []string) string {
	return "files of tables of which there is no definition: " + shortList(names)
}

const orphansHint = "they are in the backup, and the server cannot use them"

// checkUndefined names such files of InnoDB's tables.
func (p *Preflight) checkUndefined(d *dictionary) {
	var found []string
	for _, e := range p.first.entries {
		if !e.innodb() || e.moving() || d.spaces[e.dictionaryName()] == 0 || p.layout.needed(e) {
			continue
		}
		if _, err := p.layout.stat(p.layout.file(e)); err == nil { // else it was dropped or renamed
			found = append(found, e.path())
		}
	}
	if len(found) > 0 {
		p.note("files", GradeWarning, orphansText(found), orphansHint)
	}
}

// warnUndefined are the warnings of such files of InnoDB's tables that a backup ends with.
func (f *final) warnUndefined(m *repo.Manifest) []string {
	defined := map[qualified]bool{}
	for _, t := range m.Tables {
		defined[qualified{t.Database, t.Name}] = true
	}
	var found []string
	for name, p := range f.files {
		if e := p.entry; e.innodb() && e.dir != "" && !e.moving() && !defined[qualified{filename.SQL(e.dir), filename.SQL(e.table)}] {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return []string{orphansText(found)}
}

// checkUpgrade warns if mariadb-upgrade has not run since the server became one of
// another series: some tables may need it, of which each CHECK TABLE says so.
func (p *Preflight) checkUpgrade() {
	for _, name := range []string{"mariadb_upgrade_info", "mysql_upgrade_info"} {
		b, err := p.layout.readSmall(name)
		if err != nil {
			continue
		}
		done, err := stage.ParseVersion(strings.TrimSpace(string(b)))
		now := p.facts.Version
		if err == nil && (done.Major != now.Major || done.Minor != now.Minor) && now.AtLeast(done.Major, done.Minor, 0) {
			p.add("server", GradeWarning, fmt.Sprintf("mariadb-upgrade ran last for %d.%d, and the server is of %d.%d: tables may need an upgrade, here as in what is restored", done.Major, done.Minor, now.Major, now.Minor), upgradeHint)
		}
		return
	}
}

// readSmall reads a small file of the data directory itself.
func (l layout) readSmall(name string) ([]byte, error) {
	const most = 1 << 10
	return l.readFile(filepath.Join(l.datadir, name), make([]byte, most))
}

// checkClosed judges directories that may not be listed. The server cannot list them
// either if it runs as the same user.
func (p *Preflight) checkClosed(ctx context.Context, o Options) error {
	for _, dir := range p.first.closed {
		text := fmt.Sprintf("%s: permission denied", path.Join(p.layout.datadir, dir))
		used, err := o.Server.HasTables(ctx, filename.SQL(dir))
		if err != nil {
			return err
		}
		if used {
			p.add("datadir", GradeError, text, p.deniedHints(path.Join(p.layout.datadir, dir))...)
			continue
		}
		p.add("datadir", GradeWarning, text+"; the server has no table there, and what it holds will not be in the backup", p.deniedHints(path.Join(p.layout.datadir, dir))...)
	}
	return nil
}

// deniedHints is advice on a directory that may not be read. To the user that the
// server runs as it says what root has to do.
func (p *Preflight) deniedHints(folder string) []string {
	owner, hints := p.mender(folder)
	if len(hints) > 0 {
		return hints
	}
	hints = []string{fmt.Sprintf("the server cannot read it either: chown -R %s %s", ownerName(owner), folder)}
	rel, err := filepath.Rel(p.layout.datadir, folder)
	if dir, _, _ := strings.Cut(filepath.ToSlash(rel), "/"); err == nil && slices.Contains(p.first.databases, dir) {
		hints = append(hints, fmt.Sprintf("--exclude-database '%s' leaves it out", filename.SQL(dir)))
	}
	return hints
}

// refusedHints is deniedHints for files that tables need.
func (p *Preflight) refusedHints(refused []entry, files []string) []string {
	const most = 5
	owner, hints := p.mender(files...)
	if len(hints) > 0 {
		return hints
	}
	command := fmt.Sprintf("chown %s %s", ownerName(owner), strings.Join(files[:min(most, len(files))], " "))
	if len(files) > most {
		command += " ..."
	}
	what, leave := "them", "leave"
	if len(files) == 1 {
		what, leave = "it", "leaves"
	}
	hints = []string{fmt.Sprintf("the server cannot read %s either: %s", what, command)}
	var exclude []string
	for _, e := range refused {
		switch {
		case e.dir == "mysql":
			return hints // it is in every backup
		case e.table == "":
			exclude = append(exclude, fmt.Sprintf("--exclude-database '%s'", filename.SQL(e.dir)))
		default:
			exclude = append(exclude, fmt.Sprintf("--exclude-table '%s'", filter.Name{Database: filename.SQL(e.dir), Table: filename.SQL(e.table)}))
		}
	}
	slices.Sort(exclude)
	if exclude = slices.Compact(exclude); len(exclude) <= most {
		hints = append(hints, fmt.Sprintf("%s %s %s out", strings.Join(exclude, " "), leave, what))
	}
	return hints
}

// mender is the user whom files must belong to for the server, if that is all there is
// to be said. Otherwise the advice is another: who mbk must be run by, or which link
// must go.
func (p *Preflight) mender(files ...string) (fsuser.User, []string) {
	owner, err := fsuser.OwnerOf(p.layout.datadir)
	if me := fsuser.Current().UID; err != nil || me != 0 && me != owner.UID {
		return owner, []string{p.layout.rightsHint()}
	}
	for _, file := range files {
		if to, err := p.layout.files.Readlink(file); err == nil {
			return owner, []string{fmt.Sprintf("the server's user (%v) may not read what %s leads to, %s: remove the link, if it is not yours", p.layout.files.User(), file, to)}
		}
	}
	return owner, nil
}

// ownerName is a user as chown takes it, by name if there is one.
func ownerName(u fsuser.User) string {
	name, group := strconv.Itoa(u.UID), strconv.Itoa(u.GID)
	if known, err := user.LookupId(name); err == nil {
		name = known.Username
	}
	if known, err := user.LookupGroupId(group); err == nil {
		group = known.Name
	}
	return name + ":" + group
}
