package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mbk/internal/sys/disk"
)

// changing is how a data set changes between a full backup and the increment.
type changing func(ctx context.Context, x *caseRun) error

// evenly changes about one page of 100 in every one of the 8 large tables.
func evenly(ctx context.Context, x *caseRun) error {
	const pageRows = 38 // of one page of the clustered index
	x.changes++
	for table := range 8 {
		// In another page each time, and in columns without an index.
		err := x.server.Exec(ctx, fmt.Sprintf("UPDATE %s.t%d SET amount = amount + 1 WHERE id %% %d = %d", dataDB, table,
			100*pageRows, x.changes*pageRows))
		if err != nil {
			return err
		}
	}
	return x.rest(ctx)
}

// The tables of the data set of which one changes: 1.25 % of the bytes, as 100 MiB are of 8 GiB.
const idleTables = 80

// oneOfMany changes all pages of one table of many.
func oneOfMany(ctx context.Context, x *caseRun) error {
	if err := x.server.Exec(ctx, "UPDATE "+dataDB+".t0 SET amount = amount + 1"); err != nil {
		return err
	}
	return x.rest(ctx)
}

// wantTimes fails where an increment has to read every file.
func wantTimes(datadir string) error {
	d, err := os.Open(datadir)
	if err != nil {
		return err
	}
	defer d.Close() //nolint:errcheck // only looked at
	if !disk.KeepsTimes(d) {
		return fmt.Errorf("%s is on a file system whose times mbk does not trust: take a -dir on ext4, XFS or Btrfs", datadir)
	}
	return nil
}

// rest lets the server write all changes to its files, and leaves them alone for longer
// than a file must be to be known as unchanged. After a large load that takes the purge,
// too: it goes through all rows that were inserted, after a restart as well, and for as long
// mbk cannot know of any file that nothing was on its way to it.
func (x *caseRun) rest(ctx context.Context) error {
	// Setting this is waiting until nothing is left to purge.
	if err := x.server.Exec(ctx, "SET GLOBAL innodb_max_purge_lag_wait=0"); err != nil {
		return err
	}
	if err := x.server.Restart(ctx); err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(3 * time.Second):
		return nil
	}
}

// fullsBefore takes a full backup with each tool and changes the data then.
func fullsBefore(codec string, change changing) func(ctx context.Context, x *caseRun) error {
	return func(ctx context.Context, x *caseRun) error {
		if err := wantTimes(x.server.Datadir); err != nil {
			return err
		}
		if err := x.rest(ctx); err != nil {
			return err
		}
		var err error
		if x.fromMbk, err = x.folder(); err != nil {
			return err
		}
		if _, err := pipe(ctx, "", x.mbkBackup(codec, x.fromMbk)); err != nil {
			return err
		}
		if x.full, err = stored(x.fromMbk); err != nil {
			return err
		}
		if x.fromPeer, err = x.folder(); err != nil {
			return err
		}
		_, programs := x.peerBackup("none", x.fromPeer)
		if _, err := pipe(ctx, "", programs...); err != nil {
			return err
		}
		return change(ctx, x)
	}
}

// increments compares increments with a codec: the same one in each round.
func increments(codec string) func(x *caseRun) []contender {
	return func(x *caseRun) []contender {
		return []contender{
			{"mbk", func(ctx context.Context, dir string) (figures, error) {
				repository, err := x.clone(ctx, dir)
				if err != nil {
					return nil, err
				}
				got, err := backedUp(dir, func() (usage, error) {
					return pipe(ctx, "", append(x.mbkBackup(codec, repository), "--incremental"))
				})
				if err != nil {
					return nil, err
				}
				if err := wantIncrement(repository); err != nil {
					return nil, err
				}
				got["stored"] -= mib(x.full)
				got["storedpart"] = 100 * got["stored"] / mib(x.full)
				got["readpart"] = 100 * got["read"] / mib(x.files.bytes)
				return got, nil
			}},
			{"mariadb-backup", func(ctx context.Context, dir string) (figures, error) {
				return backedUp(dir, func() (usage, error) {
					out, programs := x.peerBackup(codec, dir)
					programs[0] = append(programs[0], "--incremental-basedir="+filepath.Join(x.fromPeer, "backup"))
					return pipe(ctx, out, programs...)
				})
			}},
		}
	}
}

// clone makes a copy of mbk's repository that shares its files: no object is ever changed.
func (x *caseRun) clone(ctx context.Context, dir string) (string, error) {
	to := filepath.Join(dir, "repository")
	_, err := pipe(ctx, "", []string{"cp", "-al", x.fromMbk, to})
	return to, err
}

// wantIncrement fails unless the newest backup of a repository is an increment: a full
// backup would be compared with the peer's increment otherwise.
func wantIncrement(repository string) error {
	labels, err := filepath.Glob(filepath.Join(repository, "backups", "*-incr", "label.json"))
	if err == nil && len(labels) == 0 {
		err = errors.New("mbk made a full backup, not an increment")
	}
	return err
}

// chainLength is how many increments follow the full backup that is restored.
const chainLength = 5

// chainBefore makes a chain, and a full backup of its newest state in a repository of its
// own.
func chainBefore(ctx context.Context, x *caseRun) error {
	if err := x.rest(ctx); err != nil {
		return err
	}
	var err error
	if x.fromMbk, err = x.folder(); err != nil {
		return err
	}
	if _, err := pipe(ctx, "", x.mbkBackup("zstd", x.fromMbk)); err != nil {
		return err
	}
	for range chainLength {
		if err := evenly(ctx, x); err != nil {
			return err
		}
		if _, err := pipe(ctx, "", append(x.mbkBackup("zstd", x.fromMbk), "--incremental")); err != nil {
			return err
		}
	}
	made, err := filepath.Glob(filepath.Join(x.fromMbk, "backups", "*-incr", "label.json"))
	if err != nil || len(made) != chainLength {
		return errors.Join(err, fmt.Errorf("%d increments were made, not %d", len(made), chainLength))
	}
	if x.fullOf, err = x.folder(); err != nil {
		return err
	}
	_, err = pipe(ctx, "", x.mbkBackup("zstd", x.fullOf))
	return err
}

// The contenders of the case of chains.
const (
	ofFull      = "mbk, full backup"
	ofChain     = "mbk, 1 + 5"
	consolidate = "mbk consolidate"
)

// chains compares the restore of a chain with that of a full backup of the same state.
func chains(x *caseRun) []contender {
	restore := func(repository *string) func(ctx context.Context, dir string) (figures, error) {
		return func(ctx context.Context, dir string) (figures, error) {
			target := filepath.Join(dir, "data")
			args := x.mbkRestore(x.fromMbk, target)
			for i := range args {
				if args[i] == "--repo" {
					args[i+1] = *repository
				}
			}
			u, err := pipe(ctx, "", args)
			if err != nil {
				return nil, err
			}
			return x.answers(ctx, u, target)
		}
	}
	return []contender{{ofChain, restore(&x.fromMbk)}, {ofFull, restore(&x.fullOf)}}
}

// consolidations compares making a full backup of a chain with restoring the chain.
func consolidations(x *caseRun) []contender {
	return []contender{
		{consolidate, func(ctx context.Context, dir string) (figures, error) {
			repository, err := x.clone(ctx, dir)
			if err != nil {
				return nil, err
			}
			before, err := stored(repository)
			if err != nil {
				return nil, err
			}
			got, err := backedUp(dir, func() (usage, error) {
				return pipe(ctx, "", []string{x.bench.mbk, "consolidate", "latest", "--repo", repository, "--quiet"})
			})
			if err != nil {
				return nil, err
			}
			got["stored"] -= mib(before)
			return got, nil
		}},
		{"mbk restore", func(ctx context.Context, dir string) (figures, error) {
			target := filepath.Join(dir, "data")
			u, err := pipe(ctx, "", x.mbkRestore(x.fromMbk, target))
			if err != nil {
				return nil, err
			}
			after, err := syncDisk(dir)
			got := u.figures()
			got["durable"] = (u.wall + after).Seconds()
			return got, err
		}},
	}
}
