package cli

import (
	"strings"

	"github.com/dustin/go-humanize"
	"github.com/urfave/cli/v2"

	"mbk/backup"
	"mbk/internal/priority"
)

// gentleFlags say how much of the machine a backup leaves to the server.
func gentleFlags() []cli.Flag {
	const category = "Load on the server"
	return []cli.Flag{
		&cli.StringFlag{Name: "rate-limit", Category: category, Usage: "read at most `SIZE` a second, such as 100MB; the redo log is never held up"},
		&cli.IntFlag{Name: "nice", Category: category, Value: 10, Usage: "let the threads that copy step back by `N` (0 to 19) behind others, but not while the server is locked"},
		&cli.StringFlag{Name: "ionice", Category: category, Value: "none", Usage: "their `CLASS` of disk priority: none, best-effort[:LEVEL] or idle"},
	}
}

// beGentle reads the gentle flags.
func beGentle(c *cli.Context, o *backup.Options) error {
	if text := c.String("rate-limit"); text != "" {
		n, err := humanize.ParseBytes(strings.TrimSuffix(text, "/s"))
		if err != nil || n == 0 || n > 1<<50 {
			return usagef("--rate-limit %q is not a number of bytes such as 100MB", text)
		}
		o.BytesPerSecond = int64(n)
	}
	if o.Priority.Nice = c.Int("nice"); o.Priority.Nice < 0 || o.Priority.Nice > priority.Lowest {
		return usagef("--nice %d is not from 0 to %d", o.Priority.Nice, priority.Lowest)
	}
	var err error
	if o.Priority.IO, err = priority.ParseIO(c.String("ionice")); err != nil {
		return usagef("--ionice: %v", err)
	}
	return nil
}
