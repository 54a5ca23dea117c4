package cli

import (
	"os"
	"testing"
)

// A name means one option of a command. The parser finds out only when the command runs.
func TestOptionNamesAreUnique(t *testing.T) {
	for _, c := range newProgram(Env{Getenv: os.Getenv}).commands {
		seen := map[string]bool{helpOption: true, helpAllOption: true, "-h": true}
		for _, o := range c.options.Options() {
			for _, name := range o.Dashed() {
				if seen[name] {
					t.Errorf("mbk %s has two options %s", c.name, name)
				}
				seen[name] = true
			}
		}
	}
}
