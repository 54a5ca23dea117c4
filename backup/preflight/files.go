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
func (r *Report) checkFiles() {
	keys := r.keyFiles()
	for _, name := range keys {
		r.Add("files", GradeWarning, fmt.Sprintf("%s in the data directory holds the keys of encrypted tables and logs and "+
			"will not be in the backup, which cannot be restored without it", name),
			"keep a copy of the key file in another place than the backups, and move it out of the data directory")
	}
	isKey := func(name string) bool { return slices.Contains(keys, name) }
	for _, name := range slices.DeleteFunc(slices.Clone(r.first.Unknown), isKey) {
		r.Add("files", GradeWarning, fmt.Sprintf("%s in the data directory is not known and will not be in the backup", name))
	}
	if strays := slices.DeleteFunc(slices.Clone(r.first.Strays), isKey); len(strays) > 0 {
		r.Add("files", GradeWarning, "not files of tables, and will not be in the backup: "+printable.List(strays))
	}
	if names := r.first.Unnamable; len(names) > 0 {
		quoted := make([]string, len(names))
		for i, name := range names {
			quoted[i] = strconv.Quote(name)
		}
		r.Add("files", GradeWarning, "names that are not UTF-8 or have control characters, will not be in the backup: "+
			printable.List(quoted), "rename these files, or remove them")
	}
	if orphans := r.first.Orphans(); len(orphans) > 0 {
		r.Add("files", GradeWarning, OrphansText(orphans), orphansHint)
	}
	r.checkUpgrade()
}

// keyFiles are the files in the data directory, by their paths there, that hold the
// keys of encryption.
func (r *Report) keyFiles() []string {
	var found []string
	for _, name := range []string{"file_key_management_filename", "file_key_management_filekey"} {
		value := strings.TrimPrefix(r.Facts.Variables[name], "FILE:")
		if value == "" || value == stage.Hidden {
			continue
		}
		if rel, err := filepath.Rel(r.Layout.Dir, r.Layout.Resolve(value)); err == nil && filepath.IsLocal(rel) {
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
func (r *Report) checkUpgrade() {
	for _, name := range []string{"mariadb_upgrade_info", "mysql_upgrade_info"} {
		b, err := readSmall(r.Layout, name)
		if err != nil {
			continue
		}
		done, err := stage.ParseVersion(strings.TrimSpace(string(b)))
		now := r.Facts.Version
		if err == nil && (done.Major != now.Major || done.Minor != now.Minor) && now.AtLeast(done.Major, done.Minor, 0) {
			r.Add("server", GradeWarning, fmt.Sprintf("mariadb-upgrade ran last for %d.%d, and the server is of %d.%d: tables "+
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
