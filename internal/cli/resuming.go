package cli

import (
	"fmt"
	"time"

	"mbk/backup"
	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/input/bytesize"
)

// resuming holds the options about going on where an attempt was interrupted.
type resuming struct {
	within   time.Duration
	no       bool
	packSize string
}

// Sizes of a pack that make sense.
const (
	leastPack   = 1 << 20
	mostPack    = 1 << 40
	defaultPack = "1GiB"
)

func (o *resuming) bind(s *options.Set) {
	s.Duration(&o.within, "resume-within", 24*time.Hour,
		"keep what an interrupted backup has stored for `DURATION`, for the next one to continue on; 0: not at all")
	s.Bool(&o.no, "no-resume", "begin anew, and remove what interrupted backups have stored")
	s.In(categoryRare).String(&o.packSize, "pack-size", defaultPack,
		"end the objects that hold the data after `SIZE`; what is in one that is not ended is lost in an interruption")
}

// apply sets the options of a backup.
func (o *resuming) apply(b *backup.Options) error {
	b.ResumeWithin, b.NoResume = o.within, o.no
	n, err := bytesize.Parse(o.packSize)
	if err == nil && (n < leastPack || n > mostPack) {
		err = fmt.Errorf("%q is not from 1MiB to 1TiB", o.packSize)
	}
	if err != nil {
		return usagef("%s %v", hint.Option("pack-size"), err)
	}
	b.PackLimit = n
	return nil
}
