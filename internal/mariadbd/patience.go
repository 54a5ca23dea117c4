package mariadbd

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// patience is how long a server may run that will never succeed. Some never end by
// themselves: one that cannot write a page tries again forever, one that may not open
// more files hangs in its shutdown, or never accepts a connection.
type patience struct {
	abort  time.Duration // how long a failed start may take to end; 0: no limit
	accept time.Duration // how long a ready server may take to accept us; 0: no limit
	kill   func()        // ends the server; may be nil

	vain int // pages that could not be written

	mu    sync.Mutex
	timer *time.Timer // calls kill
	over  bool        // no timer is started any more
}

// maxVain is how often a server may fail to write a page.
const maxVain = 1000

// watch looks in a line of the log for signs of a server that will never succeed.
func (l *errorLog) watch(line string) {
	p := &l.patience
	switch {
	case strings.Contains(line, "IO Error: ") && strings.Contains(line, " during write"):
		if p.vain++; p.vain == maxVain {
			l.suggest(CauseShortage)
			l.errors = append(l.errors, message(line), fmt.Sprintf("it said so %d times, and was ended", maxVain))
			p.endIn(time.Nanosecond)
		}
	case strings.Contains(line, "Plugin initialization aborted"):
		p.endIn(p.abort)
	case strings.Contains(line, "ready for connections"):
		p.endIn(p.accept)
	}
}

// endIn kills the server after d, unless satisfied is called.
func (p *patience) endIn(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d > 0 && p.kill != nil && p.timer == nil && !p.over {
		p.timer = time.AfterFunc(d, p.kill)
	}
}

// satisfied stops the timer permanently.
func (p *patience) satisfied() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over = true; p.timer != nil {
		p.timer.Stop()
	}
}
