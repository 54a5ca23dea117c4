package cli_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"mbk/internal/test/mariadbtest"
)

// scraped are samples by their names and labels, without those that all have.
type scraped map[string]float64

// scrape reads metrics as Prometheus does, and looks for what promtool would
// complain of.
func scrape(t *testing.T, text, repository string) scraped {
	t.Helper()
	if problems, err := promlint.New(strings.NewReader(text)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	all := scraped{}
	for name, f := range families {
		if f.GetHelp() == "" || !strings.HasPrefix(name, "mbk_") {
			t.Errorf("family %s, help %q", name, f.GetHelp())
		}
		for _, m := range f.Metric {
			key, labels := name, map[string]string{}
			for _, l := range m.Label {
				if labels[l.GetName()] = l.GetValue(); l.GetName() != "repository" && l.GetName() != "server" {
					key += "," + l.GetValue()
				}
			}
			if labels["repository"] != nameOf(t, repository) {
				t.Errorf("%s has the labels %v", name, labels)
			}
			all[key] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return all
}

// want compares samples with what they should be.
func (s scraped) want(t *testing.T, when string, want scraped) {
	t.Helper()
	for name, value := range want {
		if got, there := s[name]; !there || got != value {
			t.Errorf("%s: %s is %v (%v), want %v", when, name, got, there, value)
		}
	}
}

func TestMetrics(t *testing.T) {
	onlyIn(t, "it has the free space of a file system, and a repository that the first backup makes", inFolder)
	srv := mariadbtest.New(t, newest())
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT)", "INSERT INTO d.t VALUES (1)")
	repository, place := t.TempDir(), t.TempDir()
	file := filepath.Join(place, "mbk.prom")
	read := func() scraped {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return scrape(t, string(b), repository)
	}
	// A failure before the first backup: there is nothing yet, and an alert of an
	// age fires.
	if o := mbk(t, backupArgs(srv, repository, "--user", "nobody", "--password=x", "--metrics-file",
		file)...); o.code != 2 {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	read().want(t, "before the first backup",
		scraped{"mbk_backup_last_success_timestamp_seconds": 0, "mbk_repository_backups,full": 0})

	must(t, backupArgs(srv, repository, "--metrics-file", file)...)
	first := read()
	first.want(t, "after a backup", scraped{
		"mbk_backup_last_attempt_success": 1, "mbk_backup_attempts_total,ok": 1, "mbk_backup_attempts_total,failed": 0,
		"mbk_backup_failures_since_success": 0, "mbk_repository_backups,full": 1, "mbk_repository_damaged_backups": 0,
		"mbk_verify_last_success_timestamp_seconds,boot": 0, "mbk_backup_damaged_pages": 0, "mbk_backup_left_out_tables": 0,
		"mbk_build_info,0.1.0-dev": 1,
	})
	if age := time.Since(time.UnixMilli(int64(first["mbk_backup_last_success_timestamp_seconds"] * 1000))); age < 0 ||
		age > time.Minute {
		t.Errorf("the backup is %s old", age)
	}
	for _, name := range []string{"duration_seconds", "read_bytes", "stored_bytes", "redo_bytes", "lock_window_seconds",
		"redo_headroom_low_bytes", "redo_capacity_bytes", "tables"} {
		if first["mbk_backup_"+name] <= 0 {
			t.Errorf("mbk_backup_%s is %v", name, first["mbk_backup_"+name])
		}
	}
	if first["mbk_repository_free_bytes"] <= 0 || first["mbk_repository_free_bytes"] > first["mbk_repository_size_bytes"] {
		t.Errorf("%v of %v bytes free", first["mbk_repository_free_bytes"], first["mbk_repository_size_bytes"])
	}

	if o := mbk(t, backupArgs(srv, repository, "--datadir", "/nowhere", "--metrics-file", file)...); o.code != 2 {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	failed := read()
	failed.want(t, "after a failure",
		scraped{"mbk_backup_last_attempt_success": 0, "mbk_backup_attempts_total,failed": 1,
			"mbk_backup_failures_since_success":         1,
			"mbk_backup_last_success_timestamp_seconds": first["mbk_backup_last_success_timestamp_seconds"],
			"mbk_repository_backups,full":               1})

	must(t, "verify", "latest", "--repo", repository, "--depth", "stored", "--quiet", "--metrics-file", file)
	verified := read()
	verified.want(t, "after a verification",
		scraped{"mbk_verify_last_success,stored": 1,
			"mbk_verify_last_timestamp_seconds,stored": verified["mbk_verify_last_success_timestamp_seconds,stored"]})
	packs, err := filepath.Glob(filepath.Join(repository, "backups", "*", "data-*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	if err := os.Truncate(packs[0], 100); err != nil {
		t.Fatal(err)
	}
	if o := mbk(t, "verify", "latest", "--repo", repository, "--depth", "stored", "--quiet", "--metrics-file",
		file); o.code != 3 {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	read().want(t, "after damage was found",
		scraped{"mbk_verify_last_success,stored": 0, "mbk_repository_damaged_backups": 1,
			"mbk_verify_last_success_timestamp_seconds,stored": verified["mbk_verify_last_success_timestamp_seconds,stored"]})

	must(t, backupArgs(srv, repository)...)
	must(t, "expire", "--repo", repository, "--keep-last", "1", "--quiet", "--metrics-file", file)
	expired := read()
	expired.want(t, "after an expiry",
		scraped{"mbk_repository_backups,full": 1, "mbk_backup_attempts_total,ok": 2, "mbk_backup_failures_since_success": 0})

	printed := must(t, "metrics", "--repo", repository).stdout
	must(t, "metrics", "--repo", repository, "--output", file)
	if got, want := sortedNames(read()), sortedNames(scrape(t, printed, repository)); !slices.Equal(got, want) ||
		len(got) < 30 {
		t.Errorf("mbk metrics prints %q, and writes %q", want, got)
	}
	wantDocumented(t, printed, "backup|verify|repository|build")
	other := filepath.Join(t.TempDir(), "mbk.txt")
	if o := must(t, "expire", "--repo", repository, "--keep-last", "1", "--quiet", "--metrics-file",
		other); !strings.Contains(o.stderr, "node_exporter does not read "+other) {
		t.Errorf("the name of the file brings no warning: %s", o.stderr)
	}
	// What cannot be written is a warning after a backup, and an error of mbk metrics.
	none := filepath.Join(place, "none", "mbk.prom")
	if o := must(t, backupArgs(srv, repository, "--metrics-file", none)...); !strings.Contains(o.stderr,
		"mbk: warning: no metrics: write metrics to "+none) {
		t.Errorf("mbk says %q", o.stderr)
	}
	if o := mbk(t, "metrics", "--repo", repository, "--output", none); o.code != 1 || !strings.Contains(o.stderr, none) {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	left, err := os.ReadDir(place)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// wantDocumented makes sure that the manual has every metric, and that the example
// alerts and the dashboard name none that is not there. What is printed has the metrics about
// some subjects.
func wantDocumented(t *testing.T, printed, subjects string) {
	t.Helper()
	metric := regexp.MustCompile(`\bmbk_(` + subjects + `)_[a-z_]+`)
	for file, other := range map[string]string{
		"../../docs/manual/metrics.md": printed, "../../docs/operations.md": "",
		"../../packaging/prometheus/mbk-rules.yml": "", "../../packaging/prometheus/mbk-rules.test.yml": "",
		"../../packaging/grafana/mbk.json": "",
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metric.FindAllString(string(text), -1) {
			if !strings.Contains(printed, "# TYPE "+name+" ") {
				t.Errorf("%s names %s, which mbk metrics does not print", file, name)
			}
		}
		for _, name := range metric.FindAllString(other, -1) {
			if !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("%s has no %s", file, name)
			}
		}
	}
}

func sortedNames(s scraped) []string {
	var names []string
	for name := range s {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
