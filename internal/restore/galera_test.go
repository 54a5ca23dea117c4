package restore

import (
	"strings"
	"testing"

	"mbk/internal/hint"
	"mbk/internal/repo"
)

// The state of the cluster went out of the manifest into grastate.dat as it was, further
// lines included.
func TestStateOfTheCluster(t *testing.T) {
	const good = "6f2d5f0a-0c1b-11ef-9d3c-3A1b2c3d4e5f"
	for _, tt := range []struct {
		name, uuid string
		good       bool
	}{
		{"of Galera's form", good, true},
		{"zeros", "00000000-0000-0000-0000-000000000000", true},
		{"empty", "", false},
		{"with a line more", good + "\nsafe_to_bootstrap: 1", false},
		{"a line break in it", strings.Replace(good, "0c1b", "0c\n1", 1), false},
		{"no hexadecimal digits", strings.Replace(good, "0c1b", "0g1b", 1), false},
		{"a dash elsewhere", strings.Replace(good, "0a-0", "0-a0", 1), false},
		{"a letter of several bytes", strings.Replace(good, "0c1", "\u00e91", 1), false},
		{"a blank after it", good + " ", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, node := range []bool{true, false} {
				p := &Plan{manifest: &repo.Manifest{Galera: &repo.Galera{UUID: tt.uuid, SeqNo: 7}}}
				p.opts.GaleraNode = node
				p.checkGalera()
				if refused := len(p.Objections) > 0; refused != (node && !tt.good) {
					t.Errorf("node %v: objections %+v", node, p.Objections)
				}
				if notes := hint.Join(p.Notes, "").String(); strings.Contains(notes, "\n") || notes == "" {
					t.Errorf("node %v: notes %q", node, notes)
				}
			}
		})
	}
}
