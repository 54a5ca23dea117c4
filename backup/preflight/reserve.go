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

// Reserve is how much of a file system a backup leaves free: a share of its size, which may have
// a limit, or a number of bytes. The zero value is none.
type Reserve struct {
	percent float64
	limit   int64 // of the share in bytes, 0 for none
	bytes   int64
	text    string // as it was given
}

// ParseReserve reads "10%", "10%,100GB" (a share, but no more than that) or a number of bytes such
// as "20GB".
func ParseReserve(text string) (Reserve, error) {
	share, limit, limited := strings.Cut(text, ",")
	share, isShare := strings.CutSuffix(strings.TrimSpace(share), "%")
	if !isShare {
		n, err := parseReserved(text)
		return Reserve{bytes: n, text: text}, err
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(share), 64)
	if err != nil || !(n >= 0 && n < 100) {
		return Reserve{}, fmt.Errorf("%q is not a share from 0%% to 99%%", text)
	}
	r := Reserve{percent: n, text: text}
	if limited {
		r.limit, err = parseReserved(limit)
		r.text = strings.TrimSpace(share) + "%, at most " + strings.TrimSpace(limit)
	}
	return r, err
}

// parseReserved reads a number of bytes.
func parseReserved(text string) (int64, error) {
	n, err := bytesize.Parse(strings.TrimSpace(text))
	if err != nil && !errors.Is(err, bytesize.ErrUnit) {
		err = fmt.Errorf("%q is neither a share such as 10%% nor a size such as 20GB", text)
	}
	return n, err
}

// Of returns the reserve in bytes for a file system of that size.
func (r Reserve) Of(total int64) int64 {
	share := int64(r.percent / 100 * float64(total))
	if r.limit > 0 {
		share = min(share, r.limit)
	}
	return share + r.bytes
}

// String says what is left free.
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
