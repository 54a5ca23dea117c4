// Package prom writes metrics in the format of Prometheus, for the textfile collector of
// node_exporter. It does not know what is measured.
package prom

import (
	"bytes"
	"fmt"
	"slices"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"mbk/internal/sys/replace"
)

// Family is a metric with its values. Its name follows the conventions of Prometheus:
// the unit at the end, and "_total" only for counters.
type Family struct {
	Name    string
	Help    string
	Counter bool // it only grows; otherwise it is a gauge
	Samples []Sample
}

// Sample is one value.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Encode returns the families as text, in their order. It leaves out families without
// samples.
func Encode(families []Family) ([]byte, error) {
	var b bytes.Buffer
	for _, f := range families {
		if len(f.Samples) == 0 {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&b, f.message()); err != nil {
			return nil, fmt.Errorf("encode metric %s: %w", f.Name, err)
		}
	}
	return b.Bytes(), nil
}

// message converts the family to the library's type.
func (f Family) message() *dto.MetricFamily {
	kind := dto.MetricType_GAUGE
	if f.Counter {
		kind = dto.MetricType_COUNTER
	}
	m := &dto.MetricFamily{Name: &f.Name, Help: &f.Help, Type: &kind}
	for _, s := range f.Samples {
		one := &dto.Metric{}
		names := make([]string, 0, len(s.Labels))
		for name := range s.Labels {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			value := s.Labels[name]
			one.Label = append(one.Label, &dto.LabelPair{Name: &name, Value: &value})
		}
		if f.Counter {
			one.Counter = &dto.Counter{Value: &s.Value}
		} else {
			one.Gauge = &dto.Gauge{Value: &s.Value}
		}
		m.Metric = append(m.Metric, one)
	}
	return m
}

// WriteFile writes the families to a file that everybody may read. It replaces the file
// as a whole, because node_exporter drops the metrics of the whole folder if it reads
// half a file.
func WriteFile(path string, families []Family) error {
	b, err := Encode(families)
	if err != nil {
		return err
	}
	if err := replace.File(path, b); err != nil {
		return fmt.Errorf("write metrics to %s: %w", path, err)
	}
	return nil
}
