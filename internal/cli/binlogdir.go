package cli

import (
	"context"
	"errors"

	"mbk/internal/binlog/logfiles"
	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/moment"
)

// openLog opens the binary log in a folder that an option names. The caller closes it.
func openLog(option, dir string) (*logfiles.Log, error) {
	log, err := logfiles.Open(dir)
	if err != nil {
		return nil, &configError{hint.Errorf("%s: %w", hint.Option(option), err)}
	}
	return log, nil
}

// binlogDir is the option that takes a server's own binary log in the place of the archive.
type binlogDir struct{ dir string }

func (o *binlogDir) bind(s *options.Set, what string) {
	s.String(&o.dir, "binlog-dir", "", what+" with the files of the server's binary log in `DIR`, instead of the archive")
}

// check refuses a log without a moment to which it leads.
func (o *binlogDir) check(until string) error {
	if o.dir == "" || until != "" {
		return nil
	}
	return usagef("%s is the way to a moment after the backup: name that with %s", hint.Option("binlog-dir"),
		hint.Option("until"))
}

// open returns the log in the folder, nil if none is named. The caller calls done, which is never nil.
func (o *binlogDir) open(ctx context.Context) (_ *moment.Files, done func(), err error) {
	if o.dir == "" {
		return nil, func() {}, nil
	}
	log, err := openLog("binlog-dir", o.dir)
	if err != nil {
		return nil, func() {}, err
	}
	done = func() { _ = log.Close() } // it was only read
	files, err := moment.NewFiles(ctx, log)
	if errors.Is(err, logfiles.ErrNone) {
		err = &configError{hint.Errorf("%s: %w", hint.Option("binlog-dir"), err)}
	}
	return files, done, err
}
