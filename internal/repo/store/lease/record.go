package lease

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

const (
	// recordSize is the length of every record in bytes, so that one can be written over
	// another.
	recordSize = 2048

	// maxRecord is how much is read of an object.
	maxRecord = 2 * recordSize

	// maxOwner is how much of the owner's text is kept. With six bytes of JSON for each of
	// its bytes it fits into a record.
	maxOwner = 250

	// digits of the number in the name of an object, for those who look at it. A longer one
	// is a number, too.
	digits = 12
)

// record is the content of an object of a lock: JSON, and spaces up to recordSize.
type record struct {
	Owner    string    `json:"owner"`
	Token    string    `json:"token"`    // of this holding
	Renewals int       `json:"renewals"` // makes each content another one
	Renewed  time.Time `json:"renewed"`  // by the holder's clock, for people
	Released bool      `json:"released"`
}

// encode returns the content of an object.
func (r *record) encode() ([]byte, error) {
	content, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(content) > recordSize {
		return nil, fmt.Errorf("a record of %d bytes", len(content))
	}
	return append(content, bytes.Repeat([]byte(" "), recordSize-len(content))...), nil
}

// decode reads the content of an object. Whatever is no record, such as one that is just
// being created, is one of nobody that is known.
func decode(content []byte) record {
	var r record
	if err := json.Unmarshal(content, &r); err != nil {
		return record{}
	}
	r.Owner = plain(r.Owner)
	return r
}

// holder names the holder, with its last sign of life, "" if it is not known.
func (r *record) holder() string {
	if r.Token == "" {
		return "somebody who left no name"
	}
	return fmt.Sprintf("%s, last sign of life at %s by its clock", r.Owner, r.Renewed.UTC().Format(time.RFC3339))
}

// plain returns the beginning of a text, of which every rune can be printed on a line.
func plain(text string) string {
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, text[:min(len(text), maxOwner)])
	return text
}

// objectName is the name of the object with that number.
func objectName(name string, number uint64) string {
	return fmt.Sprintf("%s%s.%0*d", Prefix, name, digits, number)
}

// numbers lists the numbers of a lock, the lowest first.
func (l *Locker) numbers(ctx context.Context, name string) ([]uint64, error) {
	names, err := l.objects.List(ctx, Prefix+name+".")
	if err != nil {
		return nil, err
	}
	var numbers []uint64
	for _, object := range names {
		text := strings.TrimPrefix(object, Prefix+name+".")
		number, err := strconv.ParseUint(text, 10, 62)
		if err == nil && number > 0 && objectName(name, number) == object { // else it is of another lock, or of nobody
			numbers = append(numbers, number)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// sinceBoot returns the time since the machine was started, with the time that it slept.
func sinceBoot() time.Duration {
	var now unix.Timespec
	// It cannot fail with a clock that the kernel has, and every kernel since 2.6.39 has it.
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	return time.Duration(now.Nano())
}
