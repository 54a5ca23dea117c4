package options

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"mbk/internal/input/period"
)

// The types of values. Each accepts what MariaDB's own programs accept.
type (
	text     string
	toggle   bool
	number   int
	duration time.Duration
	list     []string
)

func (v *text) Set(s string) error { *v = text(s); return nil }
func (v *text) String() string     { return string(*v) }

func (v *toggle) Set(s string) error {
	switch strings.ToLower(s) {
	case "1", "on", "true":
		*v = true
	case "0", "off", "false":
		*v = false
	default:
		return fmt.Errorf("%q is neither on nor off", s)
	}
	return nil
}

func (v *toggle) String() string { return map[bool]string{true: "on", false: "off"}[bool(*v)] }

func (v *number) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil {
		return fmt.Errorf("%q is not a number", s)
	}
	*v = number(n)
	return nil
}

func (v *number) String() string { return strconv.Itoa(int(*v)) }

// Set takes a plain number as seconds, as MariaDB's own programs do.
func (v *duration) Set(s string) error {
	if seconds, err := strconv.Atoi(s); err == nil {
		*v = duration(time.Duration(seconds) * time.Second)
		return nil
	}
	d, err := period.Parse(s)
	if err != nil {
		return err
	}
	*v = duration(d)
	return nil
}

func (v *duration) String() string { return period.Text(time.Duration(*v)) }

func (v *list) Set(s string) error { *v = append(*v, s); return nil }
func (v *list) String() string     { return strings.Join(*v, " ") }

// inverted negates the value of a switch.
func inverted(s string) string {
	var v toggle
	if v.Set(s) != nil {
		return s // Set reports the mistake again
	}
	v = !v
	return v.String()
}
