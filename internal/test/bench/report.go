package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// metric is one kind of figure.
type metric struct {
	key, title string
	digits     int
	compared   bool // has a ratio
}

// metrics are all kinds, in the order of the tables.
func metrics() []metric {
	return []metric{
		{"wall", "wall s", 2, true},
		{"durable", "until on disk s", 2, true},
		{"cpu", "cpu s", 2, true},
		{"memory", "peak MiB", 0, true},
		{"read", "read MiB", 0, true},
		{"readpart", "read % of data", 1, false},
		{"stored", "stored MiB", 0, true},
		{"storedpart", "stored % of full", 2, false},
		{"start", "of it start s", 2, false},
		{"rate", "MB/s", 0, false},
		{"commit", "commit ms", 0, true},
		{"ddl", "DDL ms", 0, true},
		{"myisam", "MyISAM ms", 0, true},
		{"p99", "p99 ms", 1, true},
		{"slowest", "slowest ms", 0, true},
		{"tps", "transactions/s", 0, false},
		{"lost", "lost %", 1, false},
	}
}

// results are everything that a run of this program has found out, and what is
// kept of it in docs/benchmarks.json.
type results struct {
	Date     string            `json:"date"`
	Machine  map[string]string `json:"machine"`
	Versions map[string]string `json:"versions"`
	Settings map[string]string `json:"settings"`
	Cases    []caseResult      `json:"cases"`
	Goals    []reached         `json:"goals"`
}

// caseResult is what a case found out.
type caseResult struct {
	Name  string            `json:"name"`
	Title string            `json:"title"`
	Files int               `json:"files"`
	MiB   float64           `json:"mib"` // of these files
	Runs  []contenderResult `json:"contenders"`
}

// contenderResult is what was measured of one contender.
type contenderResult struct {
	Name    string    `json:"name"`
	Samples []figures `json:"samples"` // by round
	Median  figures   `json:"median"`
	// Ratio is the median of the ratios, round by round, of the first
	// contender's figures to those of this one.
	Ratio figures `json:"ratio,omitempty"`
	// Range is the least and the greatest of these ratios; of the first contender, of
	// its figures.
	Range map[string]span `json:"range,omitempty"`
}

// span is a range of figures.
type span struct {
	Least    float64 `json:"least"`
	Greatest float64 `json:"greatest"`
}

func spanOf(values []float64) span { return span{slices.Min(values), slices.Max(values)} }

// compare computes medians and ratios.
func (r *caseResult) compare() {
	for i := range r.Runs {
		run := &r.Runs[i]
		run.Median, run.Ratio, run.Range = figures{}, figures{}, map[string]span{}
		for _, m := range metrics() {
			var values, ratios []float64
			for round, sample := range run.Samples {
				value, ok := sample[m.key]
				if !ok {
					continue
				}
				values = append(values, value)
				if first, ok := r.Runs[0].Samples[round][m.key]; ok && m.compared && i > 0 && value > 0 {
					ratios = append(ratios, first/value)
				}
			}
			if len(values) > 0 {
				run.Median[m.key] = median(values)
				if i == 0 {
					run.Range[m.key] = spanOf(values)
				}
			}
			if len(ratios) > 0 {
				run.Ratio[m.key] = median(ratios)
				run.Range[m.key] = spanOf(ratios)
			}
		}
	}
}

// median sorts values and returns the middle one, or the mean of the middle two.
func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// columns are the metrics that the case has.
func (r *caseResult) columns() []metric {
	return slices.DeleteFunc(metrics(), func(m metric) bool {
		return !slices.ContainsFunc(r.Runs, func(run contenderResult) bool { _, ok := run.Median[m.key]; return ok })
	})
}

// table is the case as rows of cells, a header first.
func (r *caseResult) table() [][]string {
	columns := r.columns()
	header := []string{""}
	for _, m := range columns {
		header = append(header, m.title)
	}
	rows := [][]string{header}
	for _, run := range r.Runs {
		rows = append(rows, cells(run.Name, run.Median, columns, func(m metric) int { return m.digits }))
	}
	for _, run := range r.Runs {
		if len(run.Ratio) > 0 && !strings.HasPrefix(r.Name, limitsName) {
			rows = append(rows, cells(r.Runs[0].Name+" / "+run.Name, run.Ratio, columns, func(metric) int { return 2 }))
		}
	}
	return rows
}

// limitsName is the case whose contenders do not compete.
const limitsName = "limits"

func cells(name string, values figures, columns []metric, digits func(metric) int) []string {
	row := []string{name}
	for _, m := range columns {
		text := ""
		if v, ok := values[m.key]; ok {
			text = strconv.FormatFloat(v, 'f', digits(m), 64)
		}
		row = append(row, text)
	}
	return row
}

// heading says what the case is about.
func (r *caseResult) heading() string {
	return fmt.Sprintf("%s (%.0f MiB in %d files)", r.Title, r.MiB, r.Files)
}

// text is the case for a terminal.
func (r *caseResult) text() string {
	rows := r.table()
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s: %s\n", r.Name, r.heading())
	for _, row := range rows {
		fmt.Fprintf(&b, "  %-*s", widths[0], row[0])
		for i, cell := range row[1:] {
			fmt.Fprintf(&b, "  %*s", widths[i+1], cell)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// write writes benchmarks.json, and from its contents benchmarks.md.
func (r *results) write(folder string) error {
	if folder == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "benchmarks.json"), append(b, '\n'), 0o644); err != nil {
		return err
	}
	var again results
	if err := json.Unmarshal(b, &again); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "benchmarks.md"), []byte(again.markdown()), 0o644)
}

// addTo puts the results behind those that a folder holds, with the size of the data
// in the names of the cases.
func (r *results) addTo(folder, size string) error {
	b, err := os.ReadFile(filepath.Join(folder, "benchmarks.json"))
	if err != nil {
		return err
	}
	var all results
	if err := json.Unmarshal(b, &all); err != nil {
		return fmt.Errorf("benchmarks.json: %w", err)
	}
	for i := range r.Cases {
		r.Cases[i].Name += ", " + size
	}
	for i := range r.Goals {
		r.Goals[i].Case += ", " + size
	}
	all.Cases, all.Goals = append(all.Cases, r.Cases...), append(all.Goals, r.Goals...)
	*r = all
	return nil
}

// cell is a text in a table of the page. Names of contenders may have a pipe.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

// markdown is the page for people.
func (r *results) markdown() string {
	var b strings.Builder
	b.WriteString(`# Benchmarks

"make bench" writes this page from [benchmarks.json](benchmarks.json), which contains every single run. mbk and
mariadb-backup took turns on the same server, round after round, in one run of the program. Before each of them every
file of the server was in the page cache, and the disk was idle. Figures are medians. Ratios are the medians of the
ratios of each round (mbk to the other; lower is better for mbk). Times from different runs of "make bench" cannot be
compared. Bytes read are those of system calls of the first program of each pipeline, sockets included.

A backup of mbk is on disk, synced, when it ends. The peer's is not; "until on disk" adds the time of one sync after the
end. CPU time is the user and system time of all programs involved, except the server. Peak memory is the sum of their
peaks. mariadb-backup ran with --parallel=2; its compressed backups are its stream piped through "zstd -1 -T2" or "lz4
-1". "compressor alone" is mbk's own compressor on all processors with the same files, without page checks and without
writing anything.

`)
	for _, list := range []struct {
		title  string
		values map[string]string
	}{{"Machine", r.Machine}, {"Versions", r.Versions}, {"Settings", r.Settings}} {
		var parts []string
		for key, value := range list.values {
			parts = append(parts, key+" "+value)
		}
		slices.Sort(parts)
		fmt.Fprintf(&b, "- %s: %s\n", list.title, strings.Join(parts, ", "))
	}
	fmt.Fprintf(&b, "- Date: %s\n", r.Date)
	b.WriteString(goalsMarkdown(r.Goals))
	for _, c := range r.Cases {
		fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n", c.Name, c.heading())
		for i, row := range c.table() {
			for i := range row {
				row[i] = cell(row[i])
			}
			fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
			if i == 0 {
				b.WriteString("|---" + strings.Repeat("|---:", len(row)-1) + "|\n")
			}
		}
	}
	return b.String()
}

// newResults finds out about the machine and the programs.
func (b *bench) newResults(ctx context.Context) (results, error) {
	r := results{
		Date:     time.Now().UTC().Format(time.DateOnly),
		Machine:  map[string]string{"cpus": strconv.Itoa(runtime.NumCPU()), "cpu": cpuModel()},
		Versions: map[string]string{"MariaDB and mariadb-backup": b.dist.Version, "go": runtime.Version()},
		Settings: map[string]string{
			"size": fmt.Sprintf("%.0f MiB", mib(b.size)), "small tables": strconv.Itoa(b.tables),
			"rounds": strconv.Itoa(b.rounds), "sysbench": b.load.String() + " a run",
		},
	}
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		r.Machine["memory"] = fmt.Sprintf("%.0f GiB", float64(info.Totalram)*float64(info.Unit)/(1<<30))
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		r.Machine["kernel"] = unix.ByteSliceToString(name.Release[:])
	}
	for _, p := range [][]string{{b.mbk, "--version"}, {"zstd", "--version"}, {"lz4", "--version"}} {
		if err := need(p[0]); err != nil {
			return r, err
		}
		out, err := exec.CommandContext(ctx, p[0], p[1:]...).Output()
		if err != nil {
			return r, fmt.Errorf("%s --version: %w", p[0], err)
		}
		r.Versions[filepath.Base(p[0])] = version(string(out))
	}
	for _, p := range []string{"mariadb-backup", "mbstream"} {
		if err := need(b.dist.Program(p)); err != nil {
			return r, errors.Join(err, fmt.Errorf("the peer of this benchmark comes with MariaDB %s", b.dist.Series))
		}
	}
	return r, nil
}

// version finds the version in what a program says of itself.
func version(text string) string {
	return regexp.MustCompile(`[0-9]+\.[0-9]+\.[0-9]+[-0-9A-Za-z.]*`).FindString(text)
}

// cpuModel is the name of the processor, as the kernel knows it.
func cpuModel() string {
	f, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	defer f.Close() //nolint:errcheck // only read
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if name, value, ok := strings.Cut(sc.Text(), ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
