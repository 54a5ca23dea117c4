package ui

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"mbk/internal/ui/printable"
)

// Progress shows the progress of a command. Its methods may be called from any
// goroutine and are cheap.
type Progress interface {
	Step(name string)     // a step begins
	At(done, total int64) // bytes; total 0: unknown
	Note(text string)     // what the server reports of its own progress
	End()                 // the last step is over
}

// NewProgress returns the kind of progress that the user wants. Its steps are in the log file too.
func (u *UI) NewProgress() Progress {
	if u.log == nil {
		return u.chosenProgress()
	}
	return &loggedProgress{Progress: u.chosenProgress(), log: u.log}
}

func (u *UI) chosenProgress() Progress {
	kind := u.Progress
	if kind == "auto" {
		kind = "plain"
		switch {
		case u.jsonMessages:
			kind = "json"
		case u.terminal:
			kind = "bar"
		}
	}
	switch {
	case u.Quiet || kind == "none":
		return noProgress{}
	case kind == "bar":
		return &barProgress{out: u.stderr}
	case kind == "json":
		return &lineProgress{write: jsonLine(u.stderr)}
	}
	return &lineProgress{write: plainLine(u.stderr)}
}

type noProgress struct{}

func (noProgress) Step(string)     {}
func (noProgress) At(int64, int64) {}
func (noProgress) Note(string)     {}
func (noProgress) End()            {}

// barProgress is for a terminal: a line for each finished step, and a bar with rate and
// remaining time for a long one. The library formats the bar; it is drawn here, because
// no line may be wider than the terminal, which the library does not ensure.
type barProgress struct {
	out   io.Writer
	mu    sync.Mutex
	name  string
	begun time.Time
	bar   *progressbar.ProgressBar
	total int64
	drawn time.Time // when the current line was last drawn
}

const (
	barDelay    = 500 * time.Millisecond // a shorter step has no bar
	barInterval = 100 * time.Millisecond
	usualWidth  = 80 // if the terminal does not report its width
)

// width returns the number of columns of the terminal.
func (p *barProgress) width() int {
	if f, ok := p.out.(interface{ Fd() uintptr }); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return usualWidth
}

// draw replaces the current line with a text, cut to the terminal's width.
func (p *barProgress) draw(text string) {
	line := []rune(text)
	fmt.Fprintf(p.out, "\r\033[K%s", string(line[:min(len(line), p.width()-1)]))
}

func (p *barProgress) Step(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish()
	p.name, p.begun = name, time.Now()
}

// finish ends the current step. p.mu is locked.
func (p *barProgress) finish() {
	p.bar = nil
	if p.name != "" {
		const took = 8
		name := max(min(46, p.width()-took-4), 1)
		p.draw(fmt.Sprintf("  %-*.*s %*s", name, name, p.name, took, Span(time.Since(p.begun))))
		fmt.Fprintln(p.out)
		p.name = ""
	}
}

// due reports whether it is time to draw the current line. p.mu is locked.
func (p *barProgress) due() bool {
	if p.name == "" || time.Since(p.begun) < barDelay || time.Since(p.drawn) < barInterval {
		return false
	}
	p.drawn = time.Now()
	return true
}

func (p *barProgress) At(done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.name == "" || total <= 0 {
		return
	}
	if p.bar == nil || total != p.total {
		p.total = total
		width := max(min(24, p.width()-56), 5)
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(io.Discard), progressbar.OptionSetDescription("  "+p.name),
			progressbar.OptionShowBytes(true), progressbar.OptionUseIECUnits(true), progressbar.OptionShowTotalBytes(true),
			progressbar.OptionSetPredictTime(true), progressbar.OptionSetElapsedTime(false), progressbar.OptionSetWidth(width))
	}
	_ = p.bar.Set64(min(done, total)) // nothing is written
	if p.due() {
		p.draw(strings.Trim(p.bar.String(), "\r\n"))
	}
}

func (p *barProgress) Note(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil && p.due() {
		p.draw("  " + p.name + ": " + printable.Text(text))
	}
}

func (p *barProgress) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.finish()
}

// eventStep is the event of a step that begins.
const eventStep = "step"

// ProgressEvent is a line of --progress=json.
type ProgressEvent struct {
	Time  time.Time `json:"time"`
	Event string    `json:"event"` // "step" or "progress"
	Step  string    `json:"step"`
	Done  int64     `json:"bytes_done,omitempty"`
	Total int64     `json:"bytes_total,omitempty"`
	Text  string    `json:"text,omitempty"`
}

// lineProgress writes a line for each step, and one every few seconds during a long one.
type lineProgress struct {
	write func(ProgressEvent)
	mu    sync.Mutex
	name  string
	last  time.Time
}

// lineInterval is the minimum time between two lines of a step.
const lineInterval = 5 * time.Second

func (p *lineProgress) Step(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.name, p.last = name, time.Now()
	p.write(ProgressEvent{Time: p.last.UTC(), Event: eventStep, Step: name})
}

func (p *lineProgress) At(done, total int64) { p.progress(done, total, "") }
func (p *lineProgress) Note(text string)     { p.progress(0, 0, printable.Text(text)) }
func (p *lineProgress) End()                 {}

func (p *lineProgress) progress(done, total int64, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if p.name == "" || now.Sub(p.last) < lineInterval {
		return
	}
	p.last = now
	p.write(ProgressEvent{Time: now.UTC(), Event: "progress", Step: p.name, Done: done, Total: total, Text: text})
}

// plainLine writes events for a log file.
func plainLine(w io.Writer) func(ProgressEvent) {
	return func(e ProgressEvent) {
		stamp := e.Time.Local().Format("15:04:05")
		switch {
		case e.Event == eventStep:
			fmt.Fprintf(w, "mbk: %s %s\n", stamp, e.Step)
		case e.Text != "":
			fmt.Fprintf(w, "mbk: %s %s: %s\n", stamp, e.Step, e.Text)
		case e.Total > 0:
			percent := 100 * min(e.Done, e.Total) / e.Total
			fmt.Fprintf(w, "mbk: %s %s: %s of %s (%d %%)\n", stamp, e.Step, Size(e.Done), Size(e.Total), percent)
		default:
			fmt.Fprintf(w, "mbk: %s %s: %s\n", stamp, e.Step, Size(e.Done))
		}
	}
}

// jsonLine writes each event as a line of JSON.
func jsonLine(w io.Writer) func(ProgressEvent) {
	enc := json.NewEncoder(w)
	return func(e ProgressEvent) {
		_ = enc.Encode(e) // a backup must not fail because nobody reads its progress
	}
}
