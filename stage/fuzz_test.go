package stage

import (
	"fmt"
	"testing"
)

func FuzzParseVersion(f *testing.F) {
	for _, text := range []string{"10.11.19-MariaDB-0+deb12u1-log", "11.8.9", "5.5", "10..1", "99999999999999999999.1.1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		v, err := ParseVersion(text)
		if err != nil {
			return
		}
		again, err := ParseVersion(fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch))
		if err != nil || again.Major != v.Major || again.Minor != v.Minor || again.Patch != v.Patch || v.Major < 0 {
			t.Errorf("%q is %+v, and then %+v, %v", text, v, again, err)
		}
		if !v.AtLeast(v.Major, v.Minor, v.Patch) || v.AtLeast(v.Major, v.Minor, v.Patch+1) {
			t.Errorf("%q is not as old as itself", text)
		}
	})
}

func FuzzParseStatus(f *testing.F) {
	f.Add("Log sequence number 47512\nLog flushed up to   47500\nPages flushed up to 40000\nLast checkpoint at  47400\n")
	f.Add("Log sequence number 18446744073709551616\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := parseStatus(text)
		if err != nil {
			return
		}
		status := fmt.Sprintf("Log sequence number %d\nLog flushed up to %d\nLast checkpoint at %d\n", l.Current, l.Flushed,
			l.Checkpoint)
		if again, err := parseStatus(status); err != nil || again != l {
			t.Errorf("%q is %+v, and then %+v, %v", text, l, again, err)
		}
	})
}

func FuzzSplitGTID(f *testing.F) {
	for _, gtid := range []string{"0-1-404", "", "0-1", "1-2-18446744073709551616", "--"} {
		f.Add(gtid)
	}
	f.Fuzz(func(t *testing.T, gtid string) {
		if domain, sequence := splitGTID(gtid); domain == "" && sequence != 0 && gtid[0] != '-' {
			t.Errorf("%q has no domain and the sequence number %d", gtid, sequence)
		}
	})
}
