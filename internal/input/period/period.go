// Package period reads durations as people write them.
package period

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const day = 24 * time.Hour

// Parse reads a duration as time.ParseDuration does, or in days or weeks, with at most one
// unit then: "90s", "1h30m", "26h", "7d", "2w", "0.5d".
func Parse(text string) (time.Duration, error) {
	for suffix, unit := range map[string]time.Duration{"d": day, "w": 7 * day} {
		number, ok := strings.CutSuffix(text, suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(number, 64)
		if d := n * float64(unit); err == nil && math.Abs(d) < math.MaxInt64 {
			return time.Duration(d), nil
		}
		return 0, notOne(text)
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, notOne(text)
	}
	return d, nil
}

func notOne(text string) error {
	return fmt.Errorf("%q is not a duration such as 90s, 26h, 7d or 2w", text)
}

// Text is the shortest way to write a duration that Parse reads: "7d" and "1m", where the
// standard library has "168h0m0s" and "1m0s".
func Text(d time.Duration) string {
	if d == 0 {
		return "0"
	}
	if d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
