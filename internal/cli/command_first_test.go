package cli

import (
	"os"
	"strings"
	"testing"
)

// Other tools have their options before the command, and so do the hands that know them.
func TestCommandFirst(t *testing.T) {
	p := newProgram(Env{Getenv: os.Getenv})
	for _, c := range []struct{ in, want string }{
		{"list --repo X", "list --repo X"},
		{"--repo X list", "list --repo X"},
		{"-r X list --json", "list -r X --json"},
		{"--repo=X --json list", "list --repo=X --json"},
		{"-q --no-defaults show latest", "show -q --no-defaults latest"},
		{"--repo list list", "list --repo list"},
		{"--help backup", "backup --help"},
		{"--bogus list", "list --bogus"},
		{"--repo X config backup", "config --repo X backup"},
		{"--repo X bogus list", "bogus list"},
		{"--repo X", "--repo X"},
		{"--repo X -- list", "--repo X -- list"},
		{"version", "version"},
		{"--version", "--version"},
		{"", ""},
	} {
		if got := strings.Join(p.commandFirst(strings.Fields(c.in)), " "); got != c.want {
			t.Errorf("mbk %s becomes mbk %s, want mbk %s", c.in, got, c.want)
		}
	}
}
