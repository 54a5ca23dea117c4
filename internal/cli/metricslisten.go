package cli

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"mbk/internal/hint"
	"mbk/internal/input/limit"
	"mbk/internal/job/metrics"
	"mbk/internal/job/prom"
	"mbk/internal/ui"
)

// Limits of a connection that asks for metrics. The answer itself may take metricsTime.
const (
	askTime   = 10 * time.Second
	idleTime  = 2 * time.Minute
	closeTime = 5 * time.Second
	maxHeader = 16 << 10
)

// listenAddress completes the value of --listen: without a host only this machine can connect.
func listenAddress(text string) (string, error) {
	if !strings.Contains(text, ":") {
		text = ":" + text
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil || port == "" {
		return "", usagef("%s is HOST:PORT, such as 127.0.0.1:9470, or a port of this machine, not %q",
			hint.Option("listen"), text)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// serve answers every request for /metrics with what is measured then, until ctx ends.
func (o *metricsOptions) serve(ctx context.Context, u *ui.UI) error {
	address, err := listenAddress(o.listen)
	if err != nil {
		return err
	}
	if _, err := o.open(ctx); err != nil { // rather now than at the first request
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return &configError{hint.Wrap(hint.Errorf("%s: %w", hint.Option("listen"), err),
			"choose another port, or an address of this machine")}
	}
	u.Note("metrics at http://%s/metrics", listener.Addr())
	routes := http.NewServeMux()
	routes.Handle("GET /metrics", &scrapes{of: o.repository, ui: u})
	server := &http.Server{
		Handler: routes, ReadHeaderTimeout: askTime, ReadTimeout: askTime, WriteTimeout: metricsTime + askTime,
		IdleTimeout: idleTime, MaxHeaderBytes: maxHeader,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
	defer cancel()
	if err := server.Shutdown(within); err != nil {
		err = errors.Join(err, server.Close())
		return errors.Join(ctx.Err(), err)
	}
	<-ended
	return ctx.Err()
}

// scrapes answers requests for metrics, one at a time: they read the repository.
type scrapes struct {
	of repository
	ui *ui.UI
	mu sync.Mutex
}

// ServeHTTP measures. A repository that cannot be read is answered with 503, so that the target
// counts as down.
func (s *scrapes) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, err := s.measure(r.Context())
	if err != nil {
		if r.Context().Err() == nil { // else nobody is waiting
			s.ui.Warn("no metrics: " + err.Error())
		}
		http.Error(w, "the repository cannot be read; the log of mbk says why", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(text) // who has gone needs no answer
}

// measure returns the metrics of the repository as it is now.
func (s *scrapes) measure(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, metricsTime)
	defer cancel()
	r, err := s.of.open(ctx)
	if err != nil {
		return nil, limit.Explain(err, metricsTime)
	}
	families, err := metrics.Of(ctx, r, Version)
	if err != nil {
		return nil, limit.Explain(err, metricsTime)
	}
	return prom.Encode(families)
}
