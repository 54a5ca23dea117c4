package picture

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
)

// Drills are drawn over time with their values, also before the first attempt that is on record,
// and a page without any does not speak of them.
func TestDrills(t *testing.T) {
	h := sampleHistory(30)
	h.Drills = append([]Drill{{Time: h.first().AddDate(0, -2, 0), OK: true, Recovery: 4 * time.Hour}}, h.Drills...)
	var page, without bytes.Buffer
	if err := h.HTML(&page); err != nil {
		t.Fatal(err)
	}
	numbers := numbersIn(t, page.String())
	var recovery, point []string
	for _, d := range h.Drills {
		recovery = append(recovery, fmt.Sprint(d.Recovery.Milliseconds()))
		point = append(point, fmt.Sprint(d.Age.Milliseconds()))
	}
	if fmt.Sprint(numbers["drills[].recovery_ms"]) != fmt.Sprint(recovery) ||
		fmt.Sprint(numbers["drills[].age_ms"]) != fmt.Sprint(point) || len(recovery) < 4 {
		t.Errorf("the page has %v and %v, want %v and %v", numbers["drills[].recovery_ms"], numbers["drills[].age_ms"],
			recovery, point)
	}
	for _, want := range []string{"Restore drills", `class="failed dots"`, "the greatest is 4h"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	h.Drills = nil
	if err := h.HTML(&without); err != nil || strings.Contains(without.String(), "Restore drills") {
		t.Errorf("a page without drills: %v", err)
	}
	h = &History{Made: now(), Drills: []Drill{{Time: now()}}}
	if err := h.HTML(&without); err != nil {
		t.Error(err)
	}
}
