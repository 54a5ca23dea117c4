package cli

import (
	"fmt"
	"strings"
	"time"

	"mbk/backup"
	"mbk/backup/preflight"
	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/input/bytesize"
	"mbk/internal/sys/priority"
)

// load holds the options that limit the load on the server's machine.
type load struct {
	rate    string
	nice    int
	minFree minFree
	maxLag  time.Duration
	abortIf []string
	ionice  string
}

func (o *load) bind(s *options.Set) {
	s = s.In("Load (on the server)")
	s.String(&o.rate, "rate-limit", "", "read at most `SIZE` a second, such as 100MB; the redo log is never held up")
	s.Int(&o.nice, "nice", 10,
		"let the threads that copy have a priority lower by `N` (0 to 19), except while the server is locked")
	o.minFree.bind(s)
	s.Duration(&o.maxLag, "max-lag", 0, "give up (exit code 4) when replication falls behind by more than `DURATION`")
	s.Strings(&o.abortIf, "abort-if", "give up (exit code 4) when a status variable passes a bound: `CONDITION`, "+
		"such as 'Threads_running>200'; may be repeated")
	s.String(&o.ionice, "ionice", "none",
		"let the threads that copy have a disk priority of `CLASS`: none, best-effort[:LEVEL] or idle")
}

// minFree is the option for the space that a backup leaves free in the repository.
type minFree string

func (o *minFree) bind(s *options.Set) {
	s.String((*string)(o), "min-free", "10%,100GB",
		"leave `SIZE` free in the repository: a share such as 10%, with a limit such as 10%,100GB, or bytes")
}

// apply sets the option of a backup.
func (o minFree) apply(b *backup.Options) (err error) {
	if b.MinFree, err = preflight.ParseReserve(string(o)); err != nil {
		return usagef("%s: %v", hint.Option("min-free"), err)
	}
	return nil
}

// apply sets the options of a backup.
func (o *load) apply(b *backup.Options) (err error) {
	if o.rate != "" {
		n, err := bytesize.Parse(strings.TrimSuffix(o.rate, "/s"))
		if err == nil && (n == 0 || n > 1<<50) {
			err = fmt.Errorf("%q is not a rate such as 100MB", o.rate)
		}
		if err != nil {
			return usagef("%s %v", hint.Option("rate-limit"), err)
		}
		b.BytesPerSecond = n
	}
	if b.Priority.Nice = o.nice; o.nice > priority.Lowest {
		return usagef("%s %d is not from 0 to %d", hint.Option("nice"), o.nice, priority.Lowest)
	}
	if b.Priority.IO, err = priority.ParseIO(o.ionice); err != nil {
		return usagef("%s: %v", hint.Option("ionice"), err)
	}
	b.MaxLag = o.maxLag
	for _, text := range o.abortIf {
		bound, err := backup.ParseBound(text)
		if err != nil {
			return usagef("%s: %v", hint.Option("abort-if"), err)
		}
		b.AbortIf = append(b.AbortIf, bound)
	}
	return o.minFree.apply(b)
}
