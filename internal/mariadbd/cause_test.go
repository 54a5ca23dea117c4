package mariadbd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// The end of a process with a status or, below zero, by a signal.
func exitOf(t *testing.T, status string) error {
	t.Helper()
	script := "exit " + status
	if signal, ok := strings.CutPrefix(status, "-"); ok {
		script = "ulimit -c 0; kill -" + signal + " $$"
	}
	return exec.CommandContext(t.Context(), "/bin/sh", "-c", script).Run()
}

// What real servers of 10.5, 10.11, 11.4 and 11.8 wrote when they were to recover a
// backup that was whole, under circumstances in which they could not, and when they were
// to recover a damaged one. The first were all taken for damage.
func TestCauseOfRecoveryErrors(t *testing.T) {
	want := map[string]string{ // several are as good as each other; "-" is CauseUnknown
		"killed-in-recovery": "signal", "fsize-8m": "signal",
		"memory-150m": "shortage", "memory-250m": "shortage", "memory-400m": "shortage -", "files-25": "-",
		"disk-full-at-once": "shortage", "disk-full-later": "shortage", "disk-full-later2": "shortage",
		"chmod-ibd": "access -", "chmod-dbdir": "access -", "chmod-ibdata": "access", "chmod-redo": "access",
		"chmod-aria": "access", "chmod-datadir": "access", "tmpdir-missing": "access", "readonly": "access",
		"option-unknown": "option", "option-badvalue": "option", "option-ambiguous": "option", "option-pagesize": "option",
		"option-datafile": "-", "plugin-missing": "key", "key-none": "key", "key-file-missing": "key", "key-absent": "key",
		"key-wrong": "key -", "version-data-of-10.5": "version", "version-data-of-10.6": "version",
		"version-data-of-10.11": "version -", "version-data-of-11.8": "version",
		// Of these the log says so.
		"damage-ibd-head": "damage", "damage-ibdata-head": "damage", "damage-ibdata-dict": "damage",
		"damage-ibdata-undo": "damage", "damage-redo-head": "damage", "damage-redo-checkpoint": "damage",
		"damage-aria-control": "damage",
		// Of these not all releases do; the end of the redo log or CHECK TABLE tells.
		"damage-ibd-missing": "damage -", "damage-ibd-cut": "damage -", "damage-redo-cut": "damage -",
		"damage-redo-flip": "damage -", "damage-ibd-page": "-", "damage-aria-log": "-", "damage-aria-missing": "-",
		// Of these what was extracted has not what the manifest says.
		"damage-ibdata-missing": "-", "damage-ibdata-cut": "-", "damage-redo-missing": "-",
	}
	b, err := os.ReadFile("testdata/errorlogs.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	title := regexp.MustCompile(`(?m)^-- (.*)-(10\.5|10\.11|11\.4|11\.8) exit=(-?\d+) --\n`)
	places := title.FindAllStringSubmatchIndex(string(b), -1)
	for i, p := range places {
		end := len(b)
		if i+1 < len(places) {
			end = places[i+1][0]
		}
		name, version, status, text := string(b[p[2]:p[3]]), string(b[p[4]:p[5]]), string(b[p[6]:p[7]]), string(b[p[1]:end])
		seen[name]++
		t.Run(name+" of "+version, func(t *testing.T) {
			i := Instance{Data: t.TempDir(), EncryptedRedo: strings.HasPrefix(name, "key-")}
			if strings.HasPrefix(name, "chmod-") { // the files are there
				for _, file := range []string{"t.ibd", "u#P#p0.ibd", "u#P#p1.ibd"} {
					if err := os.MkdirAll(filepath.Join(i.Data, "shop"), 0o700); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(i.Data, "shop", file), nil, 0o600); err != nil {
						t.Fatal(err)
					}
				}
			}
			log := &errorLog{}
			log.read(strings.NewReader(text))
			exit := exitOf(t, status)
			if exit == nil {
				exit = fmt.Errorf("it did not do what it should")
			}
			got := i.failed(log, fmt.Errorf("the server ended: %w", exit)).Cause
			if got == "" {
				got = "-"
			}
			if !strings.Contains(" "+want[name]+" ", " "+string(got)+" ") {
				t.Errorf("cause %q, want %q, of\n%s", got, want[name], text)
			}
		})
	}
	for name := range want {
		if seen[name] == 0 {
			t.Errorf("no log of %s", name)
		}
	}
}

// Messages as the server gives them to statements, and in the log of CHECK TABLE.
func TestCauseOfMessages(t *testing.T) {
	for line, want := range map[string]Cause{
		`Got error 28 "No space left on device" from storage engine Aria`: CauseShortage,
		"Got error 28 from storage engine":                                CauseShortage,
		// one of the server's own
		"Got error 122 from storage engine":                                                                 CauseUnknown,
		"Error number 122 means 'Disk quota exceeded'":                                                      CauseShortage,
		"Out of resources when opening file './shop/t.MYD' (Errcode: 24 \"Too many open files\")":           CauseShortage,
		"Can't find file: './shop/t.MYI' (errno: 13 \"Permission denied\")":                                 CauseAccess,
		"Can't find file: './shop/t.MYI' (errno: 2 \"No such file or directory\")":                          CauseUnknown,
		"Disk got full writing 'shop.t' (Errcode: 28 \"No space left on device\")":                          CauseShortage,
		"[ERROR] InnoDB: Operating system error number 5 in a file operation.":                              CauseAccess,
		"[ERROR] InnoDB: Operating system error number 2 in a file operation.":                              CauseUnknown,
		"Unknown storage engine 'ARCHIVE'":                                                                  CauseKey,
		"Table shop/t in file ./shop/t.ibd is encrypted but encryption service or used key_id 4 is missing": CauseKey,
		"Table 'shop.t' is marked as crashed and should be repaired":                                        CauseUnknown,
		"[ERROR] InnoDB: Database page corruption on disk or a failed read of file './ibdata1'":             CauseUnknown,
		"Found 3 keys of 4":                   CauseUnknown,
		"Key in wrong position at page 28672": CauseUnknown,
	} {
		if got := CauseOf(line); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// Damage that was read while something was missing is none; without that it is.
func TestErrorLogWeighs(t *testing.T) {
	corrupt := "2026-11-29 18:37:50 0 [ERROR] InnoDB: Database page corruption on disk or a failed read of file " +
		"'./shop/t.ibd' page 3\n"
	known := []Known{{Table: "shop.t", Named: regexp.MustCompile(`shop/t\.`)}}
	for _, c := range []struct {
		name, text string
		known      []Known
		want       Cause
	}{
		{"damage", corrupt, nil, CauseDamage},
		{"damage after a failed read",
			"2026-11-29 18:37:50 0 [ERROR] InnoDB: Operating system error number 5 in a file operation.\n" +
				corrupt, nil, CauseAccess},
		{"damage, and no io_uring", "2026-11-29 18:37:50 0 [Warning] mariadbd: io_uring_queue_init() failed with errno " +
			"12\n" + corrupt, nil, CauseDamage},
		{"damage, and notes about memory",
			"2026-11-29 18:37:50 0 [Note] InnoDB: Cannot allocate memory for large pages\n" + corrupt, nil, CauseDamage},
		{"damage, and a plugin that is not there", "2026-11-29 18:37:50 0 [ERROR] mariadbd: Can't open shared library " +
			"'audit.so' (errno: 2, No such file or directory)\n" + corrupt, nil, CauseDamage},
		{"damage of a table that was so", corrupt, known, CauseUnknown},
		{"damage of another", strings.ReplaceAll(corrupt, "shop/t.ibd", "shop/t2.ibd"), known, CauseDamage},
		{"nothing", "", nil, CauseUnknown},
	} {
		l := &errorLog{known: c.known}
		l.read(strings.NewReader(c.text))
		if got := l.cause(nil); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// Servers that never ended by themselves made a verification wait forever.
func TestServersThatWillComeToNothing(t *testing.T) {
	const aborted = "2026-11-29 19:17:32 0 [ERROR] InnoDB: Plugin initialization aborted with error Generic error"
	for _, c := range []struct{ name, script string }{
		{"hangs in its shutdown", "echo '" + aborted + "'; echo 'Starting shutdown...'; exec sleep 600"},
		{"takes no connection", "echo 'x: ready for connections.'; exec sleep 600"},
		{"tries to write a page again", "while :; do echo '[Note] InnoDB: IO Error: 27 during write of 16384 bytes'; done"},
	} {
		t.Run(c.name, func(t *testing.T) {
			log := &errorLog{patience: patience{abort: time.Millisecond, accept: time.Millisecond}}
			p, err := start(exec.Command("/bin/sh", "-c", c.script), log)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.wait(t.Context()); err == nil || log.cause(err) == CauseDamage {
				t.Errorf("wait = %v, cause %q", err, log.cause(err))
			}
		})
	}
	// One that lets us in may go on.
	log := &errorLog{patience: patience{accept: time.Hour}}
	p, err := start(exec.Command("/bin/sh", "-c", "echo 'x: ready for connections.'; read x; exit 0"), log)
	if err != nil {
		t.Fatal(err)
	}
	log.patience.satisfied()
	if err := p.wait(t.Context()); err != nil {
		t.Error(err)
	}
}

// With a wrong key, pages of whole files look corrupted. What was read with the right one
// is damage, in an encrypted table too.
func TestMayLackKey(t *testing.T) {
	i := Instance{Data: t.TempDir()}
	for line, want := range map[string]bool{
		"[ERROR] InnoDB: Encrypted page [page id: space=5, page number=3] in file ./shop/e.ibd looks corrupted; " +
			"key_version=1": true,
		"[ERROR] InnoDB: File './shop/t.ibd' is corrupted": false, // it is not known to be encrypted
		"[ERROR] mariadbd: Table `shop`.`t` is corrupted. Please drop the table and " +
			"recreate.": false,
		"[ERROR] InnoDB: Database page corruption on disk or a failed read of file './shop/t.ibd' page " +
			"3": false,
		"InnoDB: Index 'k' contains 3 entries, should be 4.": false,
		"[ERROR] InnoDB: Flagged corruption of `k` in table `shop`.`e` in CHECK TABLE; Wrong " +
			"count": false,
	} {
		if got := i.MayLackKey(line); got != want {
			t.Errorf("%s: %v, want %v", line, got, want)
		}
	}
	const text = "File './shop/e.ibd' is corrupted; ibdata1; Table `a b`.`e` and 'x.y'"
	if got := fmt.Sprint(filesIn(text), tablesIn(text)); got != "[./shop/e.ibd ibdata1] [[a b e] [x y]]" {
		t.Errorf("files and tables: %s", got)
	}
}

// Some servers write each line of damage several times, and each was a finding.
func TestDamageIsTakenOnce(t *testing.T) {
	log := &errorLog{}
	for range 3 {
		log.line("2026-11-29 18:37:50 0 [ERROR] InnoDB: File './shop/t.ibd' is corrupted")
	}
	if len(log.damage) != 1 || len(log.errors) != 1 {
		t.Errorf("damage %q, errors %q", log.damage, log.errors)
	}
}
