package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"mbk/backup"
	"mbk/internal/input/bytesize"
	"mbk/internal/sys/priority"
)

// gentleFlags say how much of the machine a backup leaves to the server.
func gentleFlags() []cli.Flag {
	const category = "Load (on the server)"
	return []cli.Flag{
		&cli.StringFlag{Name: "rate-limit", Category: category, Usage: "read at most `SIZE` a second, such as 100MB; the redo log is never held up"},
		&cli.IntFlag{Name: "nice", Category: category, Value: 10, Usage: "let the threads that copy step back by `N` (0 to 19) behind others, but not while the server is locked"},
		minFreeFlag(category),
		&cli.DurationFlag{Name: "max-lag", Category: category, Usage: "give up (exit code 4) when replication falls behind by more than `DURATION`"},
		&cli.StringSliceFlag{Name: "abort-if", Category: category, Usage: "give up (exit code 4) when a status variable passes a bound: `CONDITION`, such as 'Threads_running>200'; may be repeated"},
		&cli.StringFlag{Name: "ionice", Category: category, Value: "none", Usage: "their `CLASS` of disk priority: none, best-effort[:LEVEL] or idle"},
	}
}

func minFreeFlag(category string) cli.Flag {
	return &cli.StringFlag{Name: "min-free", Category: category, Value: "10%", Usage: "leave `SIZE` free in the repository: a share such as 10%, or bytes such as 20GB"}
}

// beGentle reads the gentle flags.
func beGentle(c *cli.Context, o *backup.Options) error {
	if text := c.String("rate-limit"); text != "" {
		n, err := bytesize.Parse(strings.TrimSuffix(text, "/s"))
		if err == nil && (n == 0 || n > 1<<50) {
			err = fmt.Errorf("%q is not a rate such as 100MB", text)
		}
		if err != nil {
			return usagef("--rate-limit %v", err)
		}
		o.BytesPerSecond = n
	}
	if o.Priority.Nice = c.Int("nice"); o.Priority.Nice < 0 || o.Priority.Nice > priority.Lowest {
		return usagef("--nice %d is not from 0 to %d", o.Priority.Nice, priority.Lowest)
	}
	var err error
	if o.Priority.IO, err = priority.ParseIO(c.String("ionice")); err != nil {
		return usagef("--ionice: %v", err)
	}
	if o.MinFree, err = backup.ParseReserve(c.String("min-free")); err != nil {
		return usagef("--min-free: %v", err)
	}
	o.MaxLag = c.Duration("max-lag")
	for _, text := range c.StringSlice("abort-if") {
		b, err := backup.ParseBound(text)
		if err != nil {
			return usagef("--abort-if: %v", err)
		}
		o.AbortIf = append(o.AbortIf, b)
	}
	return checkNumbers(c, "max-lag")
}
