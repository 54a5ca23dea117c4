package cli

import (
	"bytes"
	"os"
	"strings"
	"syscall"
	"testing"

	"mbk/internal/ui"
)

// An error of printing is no damage, whatever the other end of the pipe has.
func TestOutputErrors(t *testing.T) {
	for _, c := range []struct {
		command string
		err     error
		told    bool
	}{
		{"backup", syscall.EPIPE, true},
		{"backup", syscall.ENOSPC, true},
		{"verify", syscall.EIO, true},
		{"list", syscall.ENOSPC, true},
		{"list", syscall.EPIPE, false}, // as under head
		{"show", syscall.EPIPE, false},
	} {
		var stderr bytes.Buffer
		p := newProgram(Env{Getenv: os.Getenv, Streams: ui.Streams{Stdout: failing{c.err}, Stderr: &stderr}})
		p.command = p.find(c.command)
		_, err := p.ui.Stdout.Write(nil)
		code := exitCode(t.Context(), err)
		p.report(err, code)
		if told := stderr.Len() > 0; code != exitFailed || told != c.told || strings.Contains(stderr.String(), "hint") {
			t.Errorf("mbk %s, %v: code %d, told %q", c.command, c.err, code, stderr.String())
		}
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
