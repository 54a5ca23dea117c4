package house

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The alert rules are understood by Prometheus, and fire when they should, and not before.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("no promtool here: it is in Debian's package prometheus")
	}
	rules := filepath.Join(root, "packaging/prometheus/mbk-rules.yml")
	tests := filepath.Join(root, "packaging/prometheus/mbk-rules.test.yml")
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", rules}, {"test", "rules", tests}} {
		if out, err := exec.Command(promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}
	tested := document(t, "packaging/prometheus/mbk-rules.test.yml")
	for _, alert := range []string{"BackupTooOld", "BackupFailed", "BackupDamaged", "BackupNotProven", "ArchiveGap",
		"ArchiveBehind", "ArchiveNotRunning"} {
		if strings.Count(tested, "alertname: "+alert) < 2 {
			t.Errorf("the tests of the rules do not look at %s both before and after it fires", alert)
		}
	}
}

// metricInText finds the metrics of mbk in an expression.
var metricInText = regexp.MustCompile(`\bmbk_[a-z_]+`)

// Every panel of the dashboard asks for a metric, and none lies on another.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var d struct {
		Panels []struct {
			ID      int    `json:"id"`
			Title   string `json:"title"`
			GridPos struct{ X, Y, W, H int }
			Targets []struct {
				Expr string `json:"expr"`
			} `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal([]byte(document(t, "packaging/grafana/mbk.json")), &d); err != nil {
		t.Fatal(err)
	}
	taken := map[[2]int]string{}
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			if !metricInText.MatchString(target.Expr) || !strings.Contains(target.Expr, `server=~"$server"`) {
				t.Errorf("panel %q asks for %q", p.Title, target.Expr)
			}
		}
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q lies on %q", p.Title, other)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
	}
	if len(d.Panels) < 10 {
		t.Errorf("%d panels", len(d.Panels))
	}
}
