// Package bytesize parses sizes such as "20GB" and "4 GiB". It does not format them.
package bytesize

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/dustin/go-humanize"
)

// ErrUnit is returned for a number without a unit. A user who writes 100 rarely means
// bytes.
var ErrUnit = errors.New("has no unit: write for instance 100MB, or 100B")

// Parse returns a size in bytes. Units are those of humanize.ParseBytes: B, KB, MiB and
// so on; only 0 needs none. Errors quote the text.
func Parse(text string) (int64, error) {
	n, err := humanize.ParseBytes(text)
	if err != nil || n > math.MaxInt64 {
		return 0, fmt.Errorf("%q is not a size such as 20GB", text)
	}
	if n != 0 && strings.Trim(text, "0123456789., ") == "" {
		return 0, fmt.Errorf("%q %w", text, ErrUnit)
	}
	return int64(n), nil
}
