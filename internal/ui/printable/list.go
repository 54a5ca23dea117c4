package printable

import (
	"fmt"
	"strings"
)

// List joins names for a message, which has the first five and how many more there are.
func List(names []string) string { return ListUpTo(5, names) }

// ListUpTo is List with up to most names.
func ListUpTo(most int, names []string) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// Count is "1 file" or "2 files".
func Count[N int | int64](n N, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
