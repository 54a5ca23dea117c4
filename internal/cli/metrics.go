package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/input/limit"
	"mbk/internal/job/metrics"
	"mbk/internal/job/prom"
	"mbk/internal/ui"
)

type metricsOptions struct {
	repository
	output string
	listen string
}

func (o *metricsOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	s.String(&o.output, "output", "", "write to `FILE`, which is replaced as a whole (default: standard output)")
	s.String(&o.listen, "listen", "", "answer Prometheus at `ADDRESS`, such as 127.0.0.1:9470, until it is stopped; "+
		"a port alone is one of this machine")
	fileOptions(s)
}

func metricsCommand(p *program) *command {
	var o metricsOptions
	return &command{
		name: "metrics", summary: "print measurements for Prometheus",
		usage: "mbk metrics --repo REPO [--output FILE | --listen ADDRESS]",
		examples: "mbk metrics --repo /backup/db1 --output /var/lib/node_exporter/mbk-db1.prom\n" +
			"mbk metrics --repo /backup/db1 --listen 9470",
		options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run:     func(ctx context.Context) error { return runMetrics(ctx, &o, p.ui) },
	}
}

func runMetrics(ctx context.Context, o *metricsOptions, u *ui.UI) error {
	if o.listen != "" && o.output != "" {
		return usagef("%s and %s exclude each other", hint.Option("listen"), hint.Option("output"))
	}
	if o.listen != "" {
		return o.serve(ctx, u)
	}
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	families, err := metrics.Of(ctx, r, Version)
	if err != nil {
		return err
	}
	if o.output != "" {
		return hint.Wrap(prom.WriteFile(o.output, families),
			"name a file in a folder that is there and that this user may write to: "+hint.Option("output"))
	}
	text, err := prom.Encode(families)
	if err != nil {
		return err
	}
	return u.Raw(text)
}

// metricsFile is the option of commands that change the metrics.
type metricsFile string

func (o *metricsFile) bind(s *options.Set) {
	s.In(categoryRecords).String((*string)(o), "metrics-file", "",
		"at the end, failed or not, write measurements for Prometheus to `FILE`")
}

// metricsTime limits how long writing the metrics file may take.
const metricsTime = 30 * time.Second

// after writes the metrics file when a command is over, and returns err, the command's
// error. A file that cannot be written is only a warning: the command has succeeded, and
// the age of the old file shows the problem.
func (o metricsFile) after(ctx context.Context, r repository, err error) error {
	if o == "" || isUsage(err) {
		return err
	}
	if failed := o.write(ctx, r); failed != nil {
		r.ui.Warn(fmt.Sprintf("no metrics: %v", failed))
	} else if filepath.Ext(string(o)) != ".prom" {
		r.ui.Warn(fmt.Sprintf("node_exporter does not read %s: it reads names that end in .prom", o))
	}
	return err
}

func (o metricsFile) write(ctx context.Context, from repository) error {
	r, err := from.openOrNew(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), metricsTime)
	defer cancel()
	families, err := metrics.Of(ctx, r, Version)
	if err != nil {
		return limit.Explain(err, metricsTime)
	}
	return prom.WriteFile(string(o), families)
}
