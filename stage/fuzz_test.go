package stage

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"
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

// A position only moves forward, and has each domain that it had and that was committed.
func FuzzAtLeast(f *testing.F) {
	f.Add("0-1-404,5-9-9", uint32(0), uint32(9), uint64(405))
	f.Add("", uint32(1), uint32(2), uint64(1<<63))
	f.Add("x,,-1-,1-1-18446744073709551616", uint32(1), uint32(1), uint64(7))
	f.Fuzz(func(t *testing.T, position string, domain, server uint32, sequence uint64) {
		committed := []string{fmt.Sprintf("%d-%d-%d", domain, server, sequence)}
		got := Replica{GTID: position}.atLeast(committed)
		if again := got.atLeast(committed); again.GTID != got.GTID {
			t.Errorf("%q with %q is %q, and then %q", position, committed, got.GTID, again.GTID)
		}
		newest := map[string]uint64{} // of each domain
		for at := range strings.SplitSeq(got.GTID, ",") {
			if domain, now := splitGTID(at); domain != "" {
				newest[domain] = max(newest[domain], now)
			}
		}
		for at := range strings.SplitSeq(position+","+committed[0], ",") {
			domain, before := splitGTID(at)
			if now, found := newest[domain]; domain != "" && (!found || now < before) {
				t.Errorf("%q with %q is %q", position, committed, got.GTID)
			}
		}
	})
}

// Statements are those of every user of the server.
func FuzzShorten(f *testing.F) {
	f.Add("CREATE USER u\nIDENTIFIED BY 'secret' -- x")
	f.Add("set password for u = password('secret')")
	f.Fuzz(func(t *testing.T, statement string) {
		got := shorten(statement)
		if utf8.RuneCountInString(got) > statementLength || strings.ContainsAny(got, "\n\r\t") {
			t.Errorf("%q is shortened to %q", statement, got)
		}
		if got := shorten("SET PASSWORD = " + statement); got != "SET PASSWORD ..." {
			t.Errorf("behind a password %q is shortened to %q", statement, got)
		}
	})
}
