package picture

import (
	"fmt"
	"strings"
)

// chart is a figure with a horizontal and a vertical axis. Lines are in a plane 1000 wide,
// which the browser stretches; texts are placed in percent, so that they keep their size.
type chart struct {
	ID     string
	Title  string
	Desc   string // for those who do not see it
	Height int    // of the plane, in pixels
	X, Y   []tick
	Series []series
	Bands  []band
	Table  table // the values as text
}

// Whole is the height with the axis.
func (c *chart) Whole() int { return c.Height + 24 }

// AxisAt is where the labels of the horizontal axis are.
func (c *chart) AxisAt() int { return c.Height + 17 }

// series is a line, an area or dots in a chart.
type series struct {
	Class string // colour and kind: "read area"
	Label string // in the legend; "": not there
	Path  string
}

// band is a stretch of the horizontal axis.
type band struct{ Class, X, Width, Title string }

// table is the text of a picture.
type table struct {
	Head []string
	Rows [][]cell
}

// cell is a text, or a number with its value.
type cell struct {
	Text   string
	Number *number
}

func text(s string) cell { return cell{Text: s} }

func num(n number) cell { return cell{Number: &n} }

// plane is how wide the plane of a chart is.
const plane = 1000

// point is a point of a line: a share of the width, and a value.
type point struct{ x, value float64 }

// path draws a line.
type path struct{ b strings.Builder }

func (p *path) to(verb string, x float64, y string) {
	fmt.Fprintf(&p.b, "%s%s %s", verb, trim(x*plane), y)
}

// trim formats a coordinate.
func trim(x float64) string { return strings.TrimSuffix(fmt.Sprintf("%.1f", x), ".0") }

// line joins points.
func line(points []point, s scale) string {
	var p path
	for i, at := range points {
		verb := "L"
		if i == 0 {
			verb = "M"
		}
		p.to(verb, at.x, s.y(at.value))
	}
	return p.b.String()
}

// steps is a line of values that hold from the point before up to each point.
func steps(points []point, s scale) string {
	var p path
	before := 0.0
	for i, at := range points {
		if i == 0 {
			p.to("M", before, s.y(at.value))
		} else {
			p.to("L", before, s.y(at.value))
		}
		p.to("L", at.x, s.y(at.value))
		before = at.x
	}
	return p.b.String()
}

// area is what lies below a line.
func area(line string, from, to float64, s scale) string {
	if line == "" {
		return ""
	}
	var p path
	p.b.WriteString(line)
	p.to("L", to, trim(s.height))
	p.to("L", from, trim(s.height))
	p.b.WriteString("Z")
	return p.b.String()
}

// stems are bars without a width of their own.
func stems(points []point, s scale) string {
	var b strings.Builder
	for _, at := range points {
		fmt.Fprintf(&b, "M%s %sV%s", trim(at.x*plane), trim(s.height), s.y(at.value))
	}
	return b.String()
}

// dots are round, whatever the plane is stretched to: ends of lines without a length.
func dots(points []point, s scale) string {
	var b strings.Builder
	for _, at := range points {
		fmt.Fprintf(&b, "M%s %sh0", trim(at.x*plane), s.y(at.value))
	}
	return b.String()
}
