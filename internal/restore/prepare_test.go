package restore

import (
	"testing"

	"mbk/internal/mariadbd"
)

func TestUseMemory(t *testing.T) {
	m := systemManifest()
	s, err := newSettings(m)
	if err != nil {
		t.Fatal(err)
	}
	p := &Plan{manifest: m, settings: s, Mariadbd: &mariadbd.Program{Version: "10.11.19-MariaDB"}}
	for _, c := range []struct {
		memory int64
		want   int64
	}{
		{4 << 30, 4 << 30},
		{0, mariadbd.BufferSize(0)},
	} {
		p.opts.Memory = c.memory
		i := p.instance(&scratch{dir: "/x"})
		if i.Buffer != c.want {
			t.Errorf("memory %d: a buffer pool of %d, want %d", c.memory, i.Buffer, c.want)
		}
	}
}
