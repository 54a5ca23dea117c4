package backup

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"mbk/internal/fault"
)

// Bound is a condition on a status variable of the server under which a backup is
// given up.
type Bound struct {
	variable string // in lower case
	operator string
	value    float64
	text     string // as it was given
}

// ParseBound reads "Threads_running>200". The operators are >, >=, <, <= and =.
func ParseBound(text string) (Bound, error) {
	m := regexp.MustCompile(`^\s*([A-Za-z_0-9]+)\s*(>=|<=|>|<|=)\s*(\S+)\s*$`).FindStringSubmatch(text)
	if m == nil {
		return Bound{}, fmt.Errorf("%q is not a status variable, one of > >= < <= =, and a number", text)
	}
	value, err := strconv.ParseFloat(m[3], 64)
	if err != nil || math.IsNaN(value) || math.IsInf(value, 0) { // of which no comparison makes sense
		return Bound{}, fmt.Errorf("%q: %q is not a number", text, m[3])
	}
	return Bound{variable: strings.ToLower(m[1]), operator: m[2], value: value, text: m[1] + " " + m[2] + " " + m[3]}, nil
}

// passed reports whether the condition is true of a value.
func (b Bound) passed(value float64) bool {
	switch b.operator {
	case ">":
		return value > b.value
	case ">=":
		return value >= b.value
	case "<":
		return value < b.value
	case "<=":
		return value <= b.value
	}
	return value == b.value
}

// BoundError is returned by a backup that was given up because a bound of
// Options.AbortIf or Options.MaxLag was passed. Nothing is wrong with it or with the
// server: trying again later may do.
type BoundError struct {
	What  string // "status variable threads_running", "the lag of replication 'east'"
	Value string
	Bound string // "Threads_running > 200", "1m0s"
}

// Error names the value and the bound.
func (e *BoundError) Error() string {
	return fmt.Sprintf("given up: %s is %s, and the bound is %s", e.What, e.Value, e.Bound)
}

// Fault says that another try may succeed.
func (e *BoundError) Fault() fault.Kind { return fault.Busy }
