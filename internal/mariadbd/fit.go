package mariadbd

import (
	"fmt"

	"mbk/stage"
)

// Fit is how a server stands to the server that wrote the files.
type Fit int

// The Fits, the best first.
const (
	Fits         Fit = iota // of the same series, and no older
	OlderRelease            // of the same series: recovers nearly always
	NewerSeries             // recovers some redo logs, and has the tables upgraded
	OlderSeries             // opens nothing
)

// FitOf compares a server's version with that of the source. The format of the redo
// log and of the tables belongs to a release series; a later maintenance release may
// write what an earlier one does not read.
func FitOf(v, source stage.Version) Fit {
	switch {
	case v.Major == source.Major && v.Minor == source.Minor && v.Patch >= source.Patch:
		return Fits
	case v.Major == source.Major && v.Minor == source.Minor:
		return OlderRelease
	case v.AtLeast(source.Major, source.Minor, 0):
		return NewerSeries
	}
	return OlderSeries
}

// Series is the release series of a version, "10.11".
func Series(v stage.Version) string { return fmt.Sprintf("%d.%d", v.Major, v.Minor) }

// Number is a version without what the vendor adds, "10.11.19".
func Number(v stage.Version) string { return fmt.Sprintf("%s.%d", Series(v), v.Patch) }
