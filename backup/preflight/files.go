package preflight

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mbk/internal/datadir"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// checkFiles reports files that will not be in the backup, or that belong to no table.
func (p *Report) checkFiles() {
	keys := p.keyFiles()
	for _, name := range keys {
		p.Add("files", GradeWarning, fmt.Sprintf("%s in the data directory holds the keys of encrypted tables and logs and "+
			"will not be in the backup, which cannot be restored without it", name),
			"keep a copy of the key file in another place than the backups, and move it out of the data directory")
	}
	isKey := func(name string) bool { return slices.Contains(keys, name) }
	for _, name := range slices.DeleteFunc(slices.Clone(p.first.Unknown), isKey) {
		p.Add("files", GradeWarning, fmt.Sprintf("%s in the data directory is not known and will not be in the backup", name))
	}
	if strays := slices.DeleteFunc(slices.Clone(p.first.Strays), isKey); len(strays) > 0 {
		p.Add("files", GradeWarning, "not files of tables, and will not be in the backup: "+printable.List(strays))
	}
	if names := p.first.Unnamable; len(names) > 0 {
		quoted := make([]string, len(names))
		for i, name := range names {
			quoted[i] = strconv.Quote(name)
		}
		p.Add("files", GradeWarning, "names that are not UTF-8 or have control characters, will not be in the backup: "+
			printable.List(quoted), "rename these files, or remove them")
	}
	if orphans := p.first.Orphans(); len(orphans) > 0 {
		p.Add("files", GradeWarning, OrphansText(orphans), orphansHint)
	}
	p.checkUpgrade()
}

// keyFiles are the files in the data directory, by their paths there, that hold the
// keys of encryption.
func (p *Report) keyFiles() []string {
	var found []string
	for _, name := range []string{"file_key_management_filename", "file_key_management_filekey"} {
		value := strings.TrimPrefix(p.Facts.Variables[name], "FILE:")
		if value == "" || value == stage.Hidden {
			continue
		}
		if rel, err := filepath.Rel(p.Layout.Dir, p.Layout.Resolve(value)); err == nil && filepath.IsLocal(rel) {
			found = append(found, rel)
		}
	}
	return found
}

// OrphansText is the warning about files without a definition.
func OrphansText(names []string) string {
	return "files of tables of which there is no definition: " + printable.List(names)
}

const orphansHint = "they are in the backup, and the server cannot use them"

// checkUpgrade warns if mariadb-upgrade has not run since the server became one of
// another series: some tables may need it, of which each CHECK TABLE says so.
func (p *Report) checkUpgrade() {
	for _, name := range []string{"mariadb_upgrade_info", "mysql_upgrade_info"} {
		b, err := readSmall(p.Layout, name)
		if err != nil {
			continue
		}
		done, err := stage.ParseVersion(strings.TrimSpace(string(b)))
		now := p.Facts.Version
		if err == nil && (done.Major != now.Major || done.Minor != now.Minor) && now.AtLeast(done.Major, done.Minor, 0) {
			p.Add("server", GradeWarning, fmt.Sprintf("mariadb-upgrade ran last for %d.%d, and the server is of %d.%d: tables "+
				"may need an upgrade, here as in what is restored", done.Major, done.Minor, now.Major, now.Minor), upgradeHint)
		}
		return
	}
}

// readSmall reads a small file of the data directory itself.
func readSmall(l datadir.Layout, name string) ([]byte, error) {
	const most = 1 << 10
	return l.ReadFile(filepath.Join(l.Dir, name), make([]byte, most))
}
