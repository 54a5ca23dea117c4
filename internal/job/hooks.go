package job

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbk/internal/hint"
	"mbk/internal/job/hook"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

// Hooks are the programs that run around a backup.
type Hooks struct {
	Programs map[string][]*hook.Command // by when they run: repo.HookBefore, ...
	Timeout  time.Duration              // for each program
	Environ  []string                   // common environment, without secrets
}

// environment adds facts to the common environment.
func environment(common []string, facts map[string]string) []string {
	all := slices.Clone(common)
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		// The last of two equal names wins. A variable cannot contain a zero byte, and
		// the kernel limits it to 128 KiB.
		value := strings.ReplaceAll(facts[name], "\x00", "")
		all = append(all, name+"="+value[:min(len(value), 16<<10)])
	}
	return all
}

// facts returns the variables that tell programs about the backup. They are always the
// same; a value that is not known is empty. Except for MBK_REPO, none may have the name
// of an option's variable, so that a program can run mbk.
func (j *Job) facts(when string) map[string]string {
	a, stamp := j.attempt, func(t time.Time) string {
		if t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339)
	}
	facts := map[string]string{
		"MBK_HOOK": when, "MBK_REPO": cmp.Or(j.RepoName, j.Repo), "MBK_ID": a.ID, "MBK_HOSTNAME": j.hostname(),
		"MBK_STARTED": stamp(j.started), "MBK_FINISHED": stamp(a.Finished), "MBK_OUTCOME": a.Outcome,
		"MBK_ERROR": printable.Text(a.Error), "MBK_HINTS": printable.Lines(strings.Join(a.Hints, "\n")),
		"MBK_EXIT_CODE": "", "MBK_BYTES_READ": "", "MBK_BYTES_STORED": "", "MBK_LOCK_WINDOW_MS": "", "MBK_WARNING_COUNT": "",
		"MBK_NOT_COPIED_TO": strings.Join(j.notCopied(), "\n"),
		"MBK_BINLOG_FILE":   "", "MBK_BINLOG_POSITION": "", "MBK_BINLOG_GTID": "",
	}
	if a.Outcome != "" {
		facts["MBK_EXIT_CODE"] = strconv.Itoa(j.code)
		facts["MBK_BYTES_READ"] = strconv.FormatInt(a.BytesRead, 10)
		facts["MBK_BYTES_STORED"] = strconv.FormatInt(a.BytesStored, 10)
		facts["MBK_LOCK_WINDOW_MS"] = strconv.FormatInt(a.LockMS, 10)
		facts["MBK_WARNING_COUNT"] = strconv.Itoa(a.WarningCount)
	}
	if b := a.Binlog; b != nil {
		facts["MBK_BINLOG_FILE"], facts["MBK_BINLOG_GTID"] = b.File, b.GTID
		facts["MBK_BINLOG_POSITION"] = strconv.FormatUint(b.Position, 10)
	}
	return facts
}

// document returns what a program gets on standard input.
func (j *Job) document(when string) any {
	if when == repo.HookSuccess && j.event != nil {
		return j.event.Result
	}
	if when == repo.HookSuccess {
		return j.Result(j.whole, j.attempt.Label, j.around)
	}
	return j.notice()
}

// runHooks runs the programs for one moment in order and records their outcome. Before
// a backup the first failure is the error; after it a failure is a warning, and the
// other programs run too.
func (j *Job) runHooks(ctx context.Context, when string) error {
	programs := j.Hooks.Programs[when]
	if len(programs) == 0 {
		return nil
	}
	document, err := json.MarshalIndent(j.document(when), "", "  ")
	if err != nil {
		return fmt.Errorf("hook-%s: %w", when, err)
	}
	for _, program := range programs {
		result, err := program.Run(ctx, hook.Call{
			Env: environment(j.Hooks.Environ, j.facts(when)), Stdin: append(document, '\n'), Timeout: j.Hooks.Timeout,
			Print: func(line string) { j.UI.Note("hook-%s %s: %s", when, filepath.Base(program.Program()), line) },
		})
		record := repo.Hook{
			When: when, Program: program.Program(), Started: result.Started, MS: result.Took.Milliseconds(),
			ExitCode: result.ExitCode, Output: result.Output,
		}
		if err != nil {
			err = fmt.Errorf("hook-%s %w", when, err)
			record.Error = err.Error()
		}
		j.around.Hooks = append(j.around.Hooks, record)
		switch {
		case err == nil:
		case when == repo.HookBefore:
			return hint.Wrap(err, "the backup was not begun; see what that program needs, or leave it out")
		default:
			j.UI.Warn(err.Error())
		}
	}
	return nil
}

// hookFailed returns the first hook that failed, or nil.
func (j *Job) hookFailed() *repo.Hook {
	for i := range j.around.Hooks {
		if j.around.Hooks[i].Error != "" {
			return &j.around.Hooks[i]
		}
	}
	return nil
}
