package preflight

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/dustin/go-humanize"

	"mbk/internal/hint"
	"mbk/internal/input/bytesize"
)

// Reserve is how much of a file system a backup leaves free: a share of its size, or a
// number of bytes. The zero value is none.
type Reserve struct {
	percent float64
	bytes   int64
	text    string // as it was given
}

// ParseReserve reads "10%" or a number of bytes such as "20GB".
func ParseReserve(text string) (Reserve, error) {
	share, isShare := strings.CutSuffix(strings.TrimSpace(text), "%")
	if isShare {
		n, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
		if err != nil || !(n >= 0 && n < 100) {
			return Reserve{}, fmt.Errorf("%q is not a share from 0%% to 99%%", text)
		}
		return Reserve{percent: n, text: text}, nil
	}
	n, err := bytesize.Parse(text)
	if errors.Is(err, bytesize.ErrUnit) {
		return Reserve{}, err
	}
	if err != nil {
		return Reserve{}, fmt.Errorf("%q is neither a share such as 10%% nor a size such as 20GB", text)
	}
	return Reserve{bytes: n, text: text}, nil
}

// Of returns the reserve in bytes for a file system of that size.
func (r Reserve) Of(total int64) int64 {
	return r.bytes + int64(r.percent/100*float64(total))
}

// String is the text that was parsed.
func (r Reserve) String() string { return r.text }

// SpaceError is returned by a backup that would have left less free than
// Options.MinFree.
type SpaceError struct {
	Where      string // the repository, or the spool folder
	Free, Keep int64  // bytes
	Reserve    Reserve
}

// Error names the free space and the reserve.
func (e *SpaceError) Error() string {
	return fmt.Sprintf("%s has only %s left, and %s (%s) are to be kept free",
		e.Where, humanize.IBytes(uint64(e.Free)), humanize.IBytes(uint64(e.Keep)), e.Reserve)
}

// Hints says what can be done about it.
func (e *SpaceError) Hints() []hint.Text {
	return []hint.Text{"make room (mbk expire), or allow less with " + hint.Option("min-free")}
}

// WantRoom returns a SpaceError if less is free than the reserve.
func (r Reserve) WantRoom(where string, free, total int64) error {
	keep := r.Of(total)
	if free >= keep {
		return nil
	}
	return &SpaceError{Where: where, Free: free, Keep: keep, Reserve: r}
}
