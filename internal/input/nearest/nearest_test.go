package nearest

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	commands := strings.Fields("backup check list show report restore remove verify expire")
	for _, c := range []struct{ mistyped, want string }{
		{"bakup", "backup"},
		{"BACKUP", "backup"},
		{"resotre", "restore"},
		{"chekc", "check"},
		{"re", "remove report restore"},
		{"xyzzy", ""},
		{"", ""},
	} {
		if got := strings.Join(Names(c.mistyped, commands), " "); got != c.want {
			t.Errorf("%q: %q, want %q", c.mistyped, got, c.want)
		}
	}
	if got := Names("backup", []string{"backup1", "backup2", "backup3", "backup4"}); len(got) != Most {
		t.Errorf("%q", got)
	}
}
