package interrupt

import (
	"context"
	"errors"
	"testing"
	"time"
)

// As long as there is no signal, nothing is given up.
func TestAwait(t *testing.T) {
	for _, c := range []struct {
		name  string
		limit time.Duration
		stop  bool
		want  error
	}{
		{"no signal", 0, false, nil},
		{"a signal, and done in time", time.Minute, true, nil},
		{"a signal, and too late", time.Nanosecond, true, ErrHangs},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			i := Watch(ctx)
			goOn := make(chan struct{})
			got, err := Await(ctx, i, c.limit, func() (int, error) {
				if c.stop {
					cancel()
				}
				if c.want != nil {
					<-goOn
				}
				return 7, nil
			})
			close(goOn)
			cancel()
			if !errors.Is(err, c.want) || err == nil && got != 7 {
				t.Errorf("Await = %d, %v, want %v", got, err, c.want)
			}
		})
	}
}
