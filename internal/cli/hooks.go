package cli

import (
	"os"
	"slices"
	"strings"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/job"
	"mbk/internal/job/hook"
	"mbk/internal/repo"
)

// hooks holds the options for programs that run before and after a backup.
type hooks struct {
	before, success, failure []string
	timeout                  time.Duration
}

func (o *hooks) bind(s *options.Set) {
	o.bindAfter(s, "run `PROGRAM` after a backup", "run `PROGRAM` after a failed one")
	s.In(categoryHooks).Strings(&o.before, "hook-before", "run `PROGRAM` first; if it fails there is no backup")
}

// bindAfter adds the options of commands that have hooks at their end only.
func (o *hooks) bindAfter(s *options.Set, success, failure string) {
	o.bindFailure(s, failure)
	s.In(categoryHooks).Strings(&o.success, "hook-success", success)
}

// bindFailure adds the options of commands that have no other hooks.
func (o *hooks) bindFailure(s *options.Set, usage string) {
	s = s.In(categoryHooks)
	s.Strings(&o.failure, "hook-failure", usage)
	s.Duration(&o.timeout, "hook-timeout", 5*time.Minute, "kill a program that runs for longer than `DURATION`")
}

// resolve looks up all programs, so that a wrong name is reported before the backup.
func (o *hooks) resolve() (job.Hooks, error) {
	h := job.Hooks{Programs: map[string][]*hook.Command{}, Timeout: o.timeout, Environ: withoutSecrets(os.Environ())}
	for _, moment := range []struct {
		when  string
		lines []string
	}{{repo.HookBefore, o.before}, {repo.HookSuccess, o.success}, {repo.HookFailure, o.failure}} {
		for _, line := range moment.lines {
			program, err := hook.Parse(line)
			if err != nil {
				return h, &configError{hint.Errorf("%s: %w", hint.Option("hook-"+moment.when), err)}
			}
			h.Programs[moment.when] = append(h.Programs[moment.when], program)
		}
	}
	return h, nil
}

// withoutSecrets returns an environment without mbk's secrets.
func withoutSecrets(environ []string) []string {
	return slices.DeleteFunc(slices.Clone(environ), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return options.IsSecretVariable(name)
	})
}
