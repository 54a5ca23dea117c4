package stage

import (
	"errors"
	"testing"
	"time"
)

// A lost connection is blamed on this process only if it stood still, and if the server
// may have ended the connection for that. The server counts from the last sign of life.
func TestPulse(t *testing.T) {
	const s = time.Second
	for _, c := range []struct {
		name              string
		beat, sign, limit time.Duration // how long ago, and the limit
		stood             bool
	}{
		{"at work", s / 2, s, 4 * s, false},
		{"stood still for longer than the limit", 5 * s, 5 * s, 4 * s, true},
		{"a sign of life a moment before the last beat", 3500 * time.Millisecond, 4 * s, 4 * s, true},
		{"stood still for less", 3 * s, 3500 * time.Millisecond, 4 * s, false},
		{"a long statement without signs of life", s, 30 * s, 4 * s, false},
		{"no limit", time.Hour, time.Hour, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := &pulse{last: time.Now().Add(-c.beat), sign: time.Now().Add(-c.sign), limit: c.limit}
			lost := errors.New("lost")
			if err := p.explain(lost); errors.Is(err, ErrStoodStill) != c.stood || !c.stood && !errors.Is(err, lost) {
				t.Errorf("explained as %v", err)
			}
		})
	}
}
