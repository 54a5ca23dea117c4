package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/internal/hint"
	"mbk/internal/job/hook"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

const categoryHooks = "Hooks"

// hookFlags name the programs that run around a backup.
func hookFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "hook-before", Category: categoryHooks, Usage: "run `PROGRAM` first; if it fails there is no backup"},
		&cli.StringSliceFlag{Name: "hook-success", Category: categoryHooks, Usage: "run `PROGRAM` after a backup"},
		&cli.StringSliceFlag{Name: "hook-failure", Category: categoryHooks, Usage: "run `PROGRAM` after a failed one"},
		&cli.DurationFlag{Name: "hook-timeout", Category: categoryHooks, Value: 5 * time.Minute, Usage: "kill a program that runs for longer than `DURATION`"},
	}
}

// hooks are the programs by the moment at which they run.
type hooks struct {
	programs map[string][]*hook.Command
	timeout  time.Duration
}

// newHooks finds all programs, so that a wrong name shows before the backup and
// not after it.
func newHooks(c *cli.Context) (hooks, error) {
	h := hooks{programs: map[string][]*hook.Command{}, timeout: c.Duration("hook-timeout")}
	for _, when := range []string{repo.HookBefore, repo.HookSuccess, repo.HookFailure} {
		for _, line := range c.StringSlice("hook-" + when) {
			program, err := hook.Parse(line)
			if err != nil {
				return h, &configError{fmt.Errorf("--hook-%s: %w", when, err)}
			}
			h.programs[when] = append(h.programs[when], program)
		}
	}
	return h, checkNumbers(c, "hook-timeout")
}

// environment is that of a program: ours without what is secret, and the facts by
// the names of their variables.
func environment(ours []string, facts map[string]string) []string {
	all := slices.DeleteFunc(slices.Clone(ours), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return secretVariable(name)
	})
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		// The last one of a name counts. A variable cannot hold a zero byte, and
		// the kernel takes 128 KiB of one at most.
		value := strings.ReplaceAll(facts[name], "\x00", "")
		all = append(all, name+"="+value[:min(len(value), 16<<10)])
	}
	return all
}

// secretVariable reports whether a variable of the environment is for mbk alone.
func secretVariable(name string) bool {
	ours, found := strings.CutPrefix(name, "MBK_")
	return found && (strings.Contains(ours, "PASSWORD") || strings.Contains(ours, "SECRET") || slices.Contains(secretOptions(), strings.ToLower(strings.ReplaceAll(ours, "_", "-"))))
}

// facts are what programs are told in their environment, and the same variables
// at every moment: of what is not known yet, or never will be, the value is
// empty. None may have the name of an option's variable but MBK_REPO, so that a
// program can run mbk.
func (n *night) facts(when string) map[string]string {
	a, stamp := n.attempt, func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	facts := map[string]string{
		"MBK_HOOK": when, "MBK_REPO": n.repo, "MBK_ID": a.ID, "MBK_HOSTNAME": orDefault(a.Hostname, hostname()),
		"MBK_STARTED": stamp(n.started), "MBK_FINISHED": stamp(a.Finished), "MBK_OUTCOME": a.Outcome,
		"MBK_ERROR": printable.Text(a.Error), "MBK_HINTS": printable.Lines(strings.Join(a.Hints, "\n")),
		"MBK_EXIT_CODE": "", "MBK_BYTES_READ": "", "MBK_BYTES_STORED": "", "MBK_LOCK_WINDOW_MS": "", "MBK_WARNING_COUNT": "",
		"MBK_BINLOG_FILE": "", "MBK_BINLOG_POSITION": "", "MBK_BINLOG_GTID": "",
	}
	if a.Outcome != "" {
		facts["MBK_EXIT_CODE"] = strconv.Itoa(n.code)
		facts["MBK_BYTES_READ"] = strconv.FormatInt(a.BytesRead, 10)
		facts["MBK_BYTES_STORED"] = strconv.FormatInt(a.BytesStored, 10)
		facts["MBK_LOCK_WINDOW_MS"] = strconv.FormatInt(a.LockMS, 10)
		facts["MBK_WARNING_COUNT"] = strconv.Itoa(a.WarningCount)
	}
	if b := a.Binlog; b != nil {
		facts["MBK_BINLOG_FILE"], facts["MBK_BINLOG_POSITION"], facts["MBK_BINLOG_GTID"] = b.File, strconv.FormatUint(b.Position, 10), b.GTID
	}
	return facts
}

// run runs the programs of a moment one after another, and notes what became of
// them. The first failure of a program that runs before a backup is the error;
// elsewhere a failure is a warning, and the others run too.
func (n *night) run(ctx context.Context, when string) error {
	programs := n.hooks.programs[when]
	if len(programs) == 0 {
		return nil
	}
	document, err := json.MarshalIndent(n.document(when), "", "  ")
	if err != nil {
		return fmt.Errorf("hook-%s: %w", when, err)
	}
	for _, program := range programs {
		result, err := program.Run(ctx, hook.Call{
			Env: environment(os.Environ(), n.facts(when)), Stdin: append(document, '\n'), Timeout: n.hooks.timeout,
			Print: func(line string) { say(n.env, n.c, "hook-%s %s: %s", when, filepath.Base(program.Program()), line) },
		})
		record := repo.Hook{
			When: when, Program: program.Program(), Started: result.Started, MS: result.Took.Milliseconds(),
			ExitCode: result.ExitCode, Output: result.Output,
		}
		if err != nil {
			err = fmt.Errorf("hook-%s %w", when, err)
			record.Error = err.Error()
		}
		n.around.Hooks = append(n.around.Hooks, record)
		switch {
		case err == nil:
		case when == repo.HookBefore:
			return hint.Wrap(err, "the backup was not begun; see what that program needs, or leave it out")
		default:
			warn(n.env, err.Error())
		}
	}
	return nil
}
