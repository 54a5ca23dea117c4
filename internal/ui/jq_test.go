package ui_test

import (
	"bytes"
	"strings"
	"testing"

	"mbk/internal/ui"
)

func TestJQ(t *testing.T) {
	document := map[string]any{
		"id": "20261201T120000Z-full", "lsn": map[string]uint64{"end": 18446744073709551615}, "none": nil,
		"list": []map[string]any{{"name": "a\x1b[31m", "n": 1}, {"name": "b", "n": 2.5}},
	}
	for _, c := range []struct {
		filter, want string
		bad          string // part of the error, at once
		failed       string // part of the error of printing
	}{
		{filter: ".id", want: "20261201T120000Z-full\n"},
		{filter: ".lsn.end", want: "18446744073709551615\n"},
		{filter: ".none", want: "null\n"},
		{filter: ".nothing", want: "null\n"},
		{filter: ".list[].n", want: "1\n2.5\n"},
		{filter: `.list[] | select(.n > 2).name`, want: "b\n"},
		{filter: ".list[0].name", want: `a\x1b[31m` + "\n"},
		{filter: ".lsn", want: "{\n  \"end\": 18446744073709551615\n}\n"},
		{filter: `"\(.id) has \(.list | length)"`, want: "20261201T120000Z-full has 2\n"},
		{filter: "empty", want: ""},
		{filter: "env.HOME, $ENV.HOME", want: "null\nnull\n"},
		{filter: ".list[", bad: `--jq ".list["`},
		{filter: "nofunction", bad: "--jq"},
		{filter: "input", bad: "--jq"},
		{filter: ".id[]", failed: "--jq"},
	} {
		var out bytes.Buffer
		u := ui.New(ui.Streams{Stdout: &out, Stderr: t.Output()}, false)
		u.JQ = c.filter
		err := u.Start()
		if c.bad != "" {
			if err == nil || !strings.Contains(err.Error(), c.bad) {
				t.Errorf("%s: Start: %v, want %q", c.filter, err, c.bad)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
			continue
		}
		err = u.Result(document, func() error { t.Error("text is printed"); return nil })
		if failed := err != nil; failed != (c.failed != "") || failed && !strings.Contains(err.Error(), c.failed) {
			t.Errorf("%s: %v, want %q", c.filter, err, c.failed)
		}
		if out.String() != c.want {
			t.Errorf("%s prints %q, want %q", c.filter, out.String(), c.want)
		}
	}
}
