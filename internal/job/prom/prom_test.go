package prom

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func TestEncode(t *testing.T) {
	odd := "a\\b\"c\nd é"
	text, err := Encode([]Family{
		{Name: "mbk_age_seconds", Help: "With a \\ and a\nline break.", Samples: []Sample{
			{Labels: map[string]string{"z": odd, "a": ""}, Value: 1.5e9},
			{Labels: map[string]string{"z": "2", "a": "x"}, Value: math.Inf(1)},
		}},
		{Name: "mbk_runs_total", Help: "Runs.", Counter: true, Samples: []Sample{{Value: 3}}},
		{Name: "mbk_nothing", Help: "No values."},
	})
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	got, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	age, runs := got["mbk_age_seconds"], got["mbk_runs_total"]
	if len(got) != 2 || len(age.Metric) != 2 || age.GetHelp() != "With a \\ and a\nline break." ||
		runs.Metric[0].GetCounter().GetValue() != 3 {
		t.Fatalf("the parser finds %v in\n%s", got, text)
	}
	if first := age.Metric[0]; first.GetGauge().GetValue() != 1.5e9 || first.Label[1].GetValue() != odd ||
		first.Label[1].GetName() != "z" {
		t.Errorf("the parser finds %v in\n%s", first, text)
	}
	if problems, err := promlint.New(bytes.NewReader(text)).Lint(); err != nil || len(problems) > 0 {
		t.Errorf("promlint: %v, %v", problems, err)
	}
	if _, err := Encode([]Family{{Name: "", Samples: []Sample{{Value: 1}}}}); err == nil {
		t.Error("a family without a name is encoded")
	}
}

func TestWriteFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "mbk.prom")
	for _, value := range []float64{1, 2} {
		if err := WriteFile(path, []Family{{Name: "mbk_x", Help: "X.", Samples: []Sample{{Value: value}}}}); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(string(b), "\nmbk_x 2\n") {
		t.Errorf("the file holds %q, %v", b, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("the file's mode is %v, %v", info.Mode(), err)
	}
	if err := WriteFile(filepath.Join(dir, "none", "mbk.prom"), nil); err == nil ||
		!strings.Contains(err.Error(), "none") {
		t.Errorf("WriteFile into a folder that is missing: %v", err)
	}
	if err := WriteFile(dir, nil); err == nil {
		t.Error("WriteFile replaced a folder")
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
