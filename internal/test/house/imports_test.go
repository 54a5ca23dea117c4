package house

import (
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rank orders the packages: code imports packages of a lower rank only. Helpers
// below internal/ that know nothing of backups stand at the bottom; programs
// there, which show or measure mbk, stand beside cli.
var rank = map[string]int{
	"mbk":                               9,
	"mbk/internal/cli":                  8,
	"mbk/internal/job":                  7,
	"mbk/backup":                        6,
	"mbk/internal/verify":               6,
	"mbk/internal/consolidate":          6,
	"mbk/internal/transfer":             6,
	"mbk/internal/card":                 6,
	"mbk/internal/tablerestore":         6,
	"mbk/internal/archive":              6,
	"mbk/backup/preflight":              5,
	"mbk/internal/restore":              5,
	"mbk/internal/job/metrics":          5,
	"mbk/internal/job/report":           4,
	"mbk/internal/picture":              5,
	"mbk/internal/cli/options":          4,
	"mbk/internal/mariadbd":             4,
	"mbk/internal/moment":               4,
	"mbk/internal/events":               4,
	"mbk/internal/contents":             4,
	"mbk/internal/primary":              2,
	"mbk/internal/repo":                 3,
	"mbk/stage":                         3,
	"mbk/copier":                        2,
	"mbk/copier/pack":                   1,
	"mbk/copier/pack/packtest":          0,
	"mbk/internal/innodb":               1,
	"mbk/internal/aria":                 1,
	"mbk/internal/binlog":               1,
	"mbk/internal/binlog/logfiles":      2,
	"mbk/internal/repo/store":           1,
	"mbk/internal/repo/agefile":         1,
	"mbk/internal/job/hook":             1,
	"mbk/internal/job/notify":           1,
	"mbk/internal/test/executable":      0,
	"mbk/internal/test/smtptest":        0,
	"mbk/internal/input/bytesize":       0,
	"mbk/internal/datadir":              4,
	"mbk/internal/datadir/filename":     0,
	"mbk/internal/datadir/filter":       1,
	"mbk/internal/sys/disk":             0,
	"mbk/internal/sys/fsuser":           0,
	"mbk/internal/sys/boot":             0,
	"mbk/internal/sys/buffer":           0,
	"mbk/internal/hint":                 0,
	"mbk/internal/fault":                -1,
	"mbk/internal/input/limit":          0,
	"mbk/internal/input/nearest":        0,
	"mbk/internal/input/period":         0,
	"mbk/internal/input/inputfile":      2,
	"mbk/internal/input/optfile":        3,
	"mbk/internal/sys/pagecache":        0,
	"mbk/internal/datadir/serverfs":     1,
	"mbk/internal/sys/pause":            -1,
	"mbk/internal/sys/replace":          0,
	"mbk/internal/sys/priority":         0,
	"mbk/internal/ui":                   1,
	"mbk/internal/ui/printable":         0,
	"mbk/internal/sys/interrupt":        0,
	"mbk/internal/job/prom":             1,
	"mbk/internal/sys/signals":          0,
	"mbk/internal/sys/pipe":             0,
	"mbk/internal/test/house":           0,
	"mbk/internal/test/rights":          1,
	"mbk/internal/test/coldbackup":      4,
	"mbk/internal/ui/meter":             0,
	"mbk/internal/test/mariadbtest":     2,
	"mbk/internal/repo/store/storetest": 3,
	"mbk/internal/repo/store/memory":    2,
	"mbk/internal/repo/store/stream":    3,
	"mbk/internal/repo/repotest":        4,
	"mbk/internal/repo/store/pieces":    0,
	"mbk/internal/repo/store/folder":    2,
	"mbk/internal/repo/store/s3":        3,
	"mbk/internal/test/s3test":          3,
	"mbk/internal/repo/store/lease":     2,
	"mbk/internal/repo/store/sftp":      3,
	"mbk/internal/test/sshtest":         1,
	"mbk/internal/test/apt":             0,
	"mbk/internal/test/browser":         0,
}

// only says who may import a library, tests of other packages included. The rest
// of the program is to know nothing of it.
var only = map[string][]string{
	"github.com/go-sql-driver/mysql": {"mbk/stage", "mbk/internal/test/mariadbtest"},
	"github.com/klauspost/compress":  {"mbk/copier/pack"},
	"filippo.io/age":                 {"mbk/internal/repo/agefile"},
	"github.com/urfave/cli":          {"mbk/internal/cli", "mbk/internal/cli/options"},
	"github.com/schollz/progressbar": {"mbk/internal/ui"},
	"github.com/itchyny/gojq":        {"mbk/internal/ui"},
	"golang.org/x/term":              {"mbk/internal/cli", "mbk/internal/ui"},
	"github.com/xrash/smetrics":      {"mbk/internal/input/nearest"},
	"github.com/prometheus":          {"mbk/internal/job/prom", "mbk/internal/cli"}, // cli: its tests read what it prints
	"github.com/mattn/go-shellwords": {"mbk/internal/job/hook"},
	"github.com/wneessen/go-mail":    {"mbk/internal/job/notify"},
	"github.com/emersion":            {"mbk/internal/test/smtptest"},
	"github.com/minio":               {"mbk/internal/repo/store/s3", "mbk/internal/test/s3test"},
	"github.com/pkg/sftp":            {"mbk/internal/repo/store/sftp"},
	"golang.org/x/crypto/ssh": {
		"mbk/internal/repo/agefile", "mbk/internal/repo/store/sftp", "mbk/internal/test/sshtest",
	},
	"github.com/uudashr/gocognit": {"mbk/internal/test/house"},
	"mbk/internal/cli":            {"mbk", "mbk/internal/cli", "mbk/internal/test/house"},
}

// testOnly is imported by tests alone, and by what shows the program at work.
var testOnly = []string{
	"mbk/internal/test/executable", "mbk/internal/test/mariadbtest", "mbk/internal/test/rights",
	"mbk/internal/test/coldbackup", "mbk/internal/test/smtptest", "mbk/internal/repo/store/storetest",
	"mbk/internal/repo/repotest", "mbk/internal/test/s3test", "mbk/internal/test/sshtest",
	"mbk/copier/pack/packtest", "mbk/internal/test/browser", "mbk/internal/test/apt",
}

func TestImportsGoOneWay(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		mine, known := rank[s.pkg]
		if s.program() {
			mine, known = rank["mbk/internal/cli"], true
		}
		if !known {
			t.Errorf("%s: package %s has no rank: give it one in this test", s.name, s.pkg)
			continue
		}
		for _, p := range s.imports(t) {
			theirs, ours := rank[p]
			switch {
			case !strings.HasPrefix(p+"/", "mbk/") || s.test:
			case !ours:
				t.Errorf("%s imports %s, which has no rank", s.name, p)
			case slices.Contains(testOnly, p) && !s.program() && !slices.Contains(testOnly, s.pkg):
				t.Errorf("%s imports %s, which is for tests", s.name, p)
			case theirs >= mine:
				t.Errorf("%s of rank %d imports %s of rank %d", s.name, mine, p, theirs)
			}
		}
	}
}

func TestBackupAndRestoreDoNotKnowEachOther(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		for _, p := range s.imports(t) {
			if s.pkg == "mbk/backup" && p == "mbk/internal/restore" || s.pkg == "mbk/internal/restore" && p == "mbk/backup" {
				t.Errorf("%s imports %s", s.name, p)
			}
		}
	}
}

// innocent are packages that know nothing of mbk either: whose rights a call has, of what
// kind an error is, what a person can do, how to wait, and what stores have in common.
var innocent = []string{
	"mbk/internal/sys/disk", "mbk/internal/sys/fsuser", "mbk/internal/sys/pause", "mbk/internal/hint",
	"mbk/internal/fault", "mbk/internal/repo/store/lease", "mbk/internal/repo/store/pieces",
}

func TestFormatsKnowNoOtherPackage(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		formats := []string{
			"mbk/internal/innodb", "mbk/internal/aria", "mbk/internal/binlog", "mbk/internal/repo/store",
			"mbk/internal/repo/store/folder", "mbk/internal/repo/store/lease", "mbk/internal/repo/store/pieces",
			"mbk/internal/repo/store/s3", "mbk/internal/repo/store/memory", "mbk/internal/repo/store/stream",
			"mbk/internal/repo/store/sftp", "mbk/copier/pack",
		}
		if s.test || !slices.Contains(formats, s.pkg) {
			continue
		}
		for _, p := range s.imports(t) {
			if strings.HasPrefix(p, "mbk/") && !slices.Contains(innocent, p) && path.Dir(s.pkg) != p {
				t.Errorf("%s imports %s", s.name, p)
			}
		}
	}
}

func TestLibrariesHaveOneUser(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		for _, p := range s.imports(t) {
			for library, users := range only {
				if (p == library || strings.HasPrefix(p, library+"/")) && !slices.Contains(users, s.pkg) {
					t.Errorf("%s imports %s, which is for %v", s.name, p, users)
				}
			}
			if p == "C" {
				t.Errorf("%s uses cgo", s.name)
			}
		}
	}
}

func TestModuleStandsAlone(t *testing.T) {
	mod := document(t, "go.mod")
	for line := range strings.Lines(mod) {
		if first, _, _ := strings.Cut(strings.TrimSpace(line), " "); first == "replace" || first == "exclude" {
			t.Errorf("go.mod has %q", strings.TrimSpace(line))
		}
	}
	for _, name := range []string{"vendor", "go.work"} {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			t.Errorf("there is a %s", name)
		}
	}
}
