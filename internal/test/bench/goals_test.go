package main

import (
	"strings"
	"testing"
)

// A goal is compared with the ratio of its own case, metric and contender.
func TestGoals(t *testing.T) {
	r := results{Cases: []caseResult{
		{Name: "zstd", Runs: []contenderResult{
			{Name: "mbk", Samples: []figures{{"wall": 1, "memory": 400}, {"wall": 3, "memory": 200},
				{"wall": 1, "memory": 310}}},
			{Name: "mariadb-backup", Samples: []figures{{"wall": 4}, {"wall": 4}, {"wall": 1}}},
		}},
		{Name: "load", Runs: []contenderResult{
			{Name: "mbk", Samples: []figures{{"lost": 2}}},
			{Name: "mariadb-backup", Samples: []figures{{"lost": 8}}},
			{Name: "no backup", Samples: []figures{{"lost": 0}}},
		}},
	}}
	for i := range r.Cases {
		r.Cases[i].compare()
	}
	r.judge([]goal{
		{"zstd", "mariadb-backup", "wall", 0.65}, {"zstd", "", "memory", 300}, {"zstd", "lz4", "wall", 1},
		{"s2", "mariadb-backup", "wall", 1},
		{"load", "mariadb-backup", "lost", 0.25}, {"load", "no backup", "lost", 1},
	})
	want := []reached{
		{"zstd", "mariadb-backup", "wall", 0.65, 0.75, span{0.25, 1}, false},
		{"zstd", "", "memory", 300, 310, span{200, 400}, false},
		{"load", "mariadb-backup", "lost", 0.25, 0.25, span{}, true},
	}
	if len(r.Goals) != len(want) {
		t.Fatalf("%+v", r.Goals)
	}
	for i := range want {
		if r.Goals[i] != want[i] {
			t.Errorf("got  %+v\nwant %+v", r.Goals[i], want[i])
		}
	}
	piped := goalsMarkdown([]reached{{Case: "replay", Against: byBinlog, Metric: "wall"}})
	if want := `| replay | wall s | mariadb-binlog \| mariadb | `; !strings.Contains(piped, want) {
		t.Errorf("%q is not in %s", want, piped)
	}
	page := r.markdown()
	for _, text := range []string{"| zstd | wall s | mariadb-backup | 0.65 | 0.75 | 0.25 to 1.00 | **missed** |",
		"| 0.25 | 0.25 |  | met |",
		"was 310 MiB; to reach: 300"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	folder := t.TempDir()
	if err := r.write(folder); err != nil {
		t.Fatal(err)
	}
	more := results{Cases: []caseResult{{Name: "plain"}}, Goals: []reached{{Case: "plain"}}}
	if err := more.addTo(folder, "8.0 GiB"); err != nil {
		t.Fatal(err)
	}
	if n := len(more.Cases); n != 3 || more.Cases[2].Name != "plain, 8.0 GiB" || more.Goals[3].Case != "plain, 8.0 GiB" {
		t.Errorf("added: %+v, %+v", more.Cases, more.Goals)
	}
}
