// Package boot tells one run of this machine's kernel from another.
package boot

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
)

// ID identifies a run of the kernel.
type ID [16]byte

// Present returns the id of the kernel that runs now.
func Present() (ID, error) {
	const file = "/proc/sys/kernel/random/boot_id"
	b, err := os.ReadFile(file)
	if err != nil {
		return ID{}, err
	}
	id, err := parse(string(b))
	if err != nil {
		return ID{}, fmt.Errorf("%s: %w", file, err)
	}
	return id, nil
}

// parse reads an id as the kernel writes it: a UUID and a newline.
func parse(text string) (ID, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(text), "-", ""))
	if err != nil || len(b) != len(ID{}) {
		return ID{}, fmt.Errorf("%q is no id of a boot", text)
	}
	return ID(b), nil
}
