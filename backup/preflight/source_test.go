package preflight

import (
	"strings"
	"testing"

	"mbk/internal/repo"
	"mbk/stage"
)

func TestCompareSource(t *testing.T) {
	const data, otherData = "0102", "0304"
	last := repo.Attempt{ID: "20261122T000658Z-full", Hostname: "db1", Datadir: "/var/lib/mysql/", ServerID: 1,
		DataUUID: data}
	for _, tt := range []struct {
		name  string
		now   stage.Facts
		uuid  string
		grade string // "" if nothing is found
		says  string
	}{
		{"the same server", stage.Facts{Hostname: "db1", Datadir: "/var/lib/mysql", ServerID: 1}, data, "", ""},
		{"it has got a server id since", stage.Facts{Hostname: "db1", Datadir: "/var/lib/mysql/", ServerID: 101}, data, "",
			""},
		{"set up anew in the same place", stage.Facts{Hostname: "db1", Datadir: "/var/lib/mysql/", ServerID: 1}, otherData,
			GradeWarning, "has been created again"},
		{"on a new machine", stage.Facts{Hostname: "db9", Datadir: "/var/lib/mysql/", ServerID: 1}, data, GradeWarning,
			"db9:/var/lib/mysql (server_id 1), has moved from there, or is a copy"},
		{"on a new disk", stage.Facts{Hostname: "db1", Datadir: "/data/", ServerID: 1}, data, GradeWarning, "has moved"},
		{"its replica", stage.Facts{Hostname: "db2", Datadir: "/var/lib/mysql/", ServerID: 2}, data, GradeError, "is a copy"},
		{"its replica on the same machine", stage.Facts{Hostname: "db1", Datadir: "/data/2/", ServerID: 2}, data, GradeError,
			"is a copy"},
		{"another server", stage.Facts{Hostname: "db2", Datadir: "/var/lib/mysql/", ServerID: 1}, otherData, GradeError,
			"is another server"},
		{"another one on the same machine", stage.Facts{Hostname: "db1", Datadir: "/data/2/", ServerID: 1}, otherData,
			GradeError, "another server"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, said := range []bool{false, true} {
				r := Report{Facts: tt.now}
				r.compareSource(&last, tt.uuid, Options{NewServer: said})
				grade, text, says := tt.grade, "", tt.says
				if said && grade == GradeError {
					grade, says = GradeWarning, "from now on the repository is for"
				}
				found := ""
				for _, f := range r.Findings {
					found, text = found+f.Grade, text+f.Text
				}
				if found != grade || !strings.Contains(text, says) || grade != "" &&
					!strings.Contains(text, "20261122T000658Z-full, is of db1:/var/lib/mysql (server_id 1)") {
					t.Errorf("with --new-server=%t: %q %q, want %q %q", said, found, text, grade, says)
				}
				if grade == GradeError && len(r.Findings[0].Hints) != 2 {
					t.Errorf("hints: %q", r.Findings[0].Hints)
				}
			}
		})
	}
}
