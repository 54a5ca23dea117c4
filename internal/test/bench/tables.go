package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"mbk/internal/test/mariadbtest"
)

// Contenders beside restores of tables and replays.
const (
	byDump   = "mariadb-dump | mariadb"
	byBinlog = "mariadb-binlog | mariadb"
)

// tableBack compares the ways in which the rows of one table get into a running server again.
func tableBack(x *caseRun) []contender {
	const back = dataDB + "_back"
	// again runs one of them into a server that has not the table yet.
	again := func(ctx context.Context, programs ...[]string) (figures, error) {
		if err := x.server.Exec(ctx, "SET SESSION sql_log_bin=0", "CREATE DATABASE "+back); err != nil {
			return nil, err
		}
		u, err := pipe(ctx, "", programs...)
		if err == nil {
			var same string
			same, err = x.server.Value(ctx,
				"SELECT (SELECT COUNT(*) FROM "+dataDB+".t0) = (SELECT COUNT(*) FROM "+back+".t0)")
			if err == nil && same != "1" {
				err = errors.New("not all rows are back")
			}
		}
		return u.figures(), errors.Join(err, x.server.Exec(ctx, "SET SESSION sql_log_bin=0", "DROP DATABASE "+back))
	}
	return []contender{
		{"mbk", func(ctx context.Context, dir string) (figures, error) {
			return again(ctx, []string{x.bench.mbk, "restore", "latest", "--repo", x.fromMbk, "--table", dataDB + ".t0",
				"--as", back + ".t0", "--into-server", "--socket", x.server.Socket, "--user", "root", "--scratch", dir,
				"--mariadbd", x.bench.dist.Program("mariadbd"), "--owner", strconv.Itoa(os.Getuid()), "--no-defaults", "--quiet"})
		}},
		{byDump, func(ctx context.Context, _ string) (figures, error) {
			return again(ctx, x.client("mariadb-dump", dataDB, "t0"),
				x.client("mariadb", "--init-command=SET sql_log_bin=0", back))
		}},
	}
}

// client is the command line of a client program.
func (x *caseRun) client(program string, more ...string) []string {
	return append([]string{x.bench.dist.Program(program), "--no-defaults", "--socket=" + x.server.Socket, "--user=root"},
		more...)
}

// sessions is how many clients write the transactions that are replayed.
const sessions = 4

// fillReplayed makes the tables that small transactions change.
func fillReplayed(ctx context.Context, _ *bench, s *mariadbtest.Server) error {
	statements := []string{"CREATE DATABASE " + dataDB}
	for i := range sessions {
		name := fmt.Sprintf("%s.r%d", dataDB, i)
		statements = append(statements,
			"CREATE TABLE "+name+" (id INT PRIMARY KEY, k INT, text VARCHAR(100), KEY (k)) ENGINE=InnoDB",
			"INSERT INTO "+name+" SELECT seq, seq, SHA1(seq) FROM "+dataDB+".seq_1_to_10000")
	}
	return s.Exec(ctx, statements...)
}

// replayedBefore takes a backup, has 50,000 small transactions written (fewer with a -size below
// 250MiB), and archives the log.
func replayedBefore(ctx context.Context, x *caseRun) error {
	if err := verifyBefore(ctx, x); err != nil {
		return err
	}
	logs, err := x.logs()
	if err != nil {
		return err
	}
	x.logsBefore = len(logs)
	if err := x.server.Exec(ctx, "FLUSH BINARY LOGS"); err != nil {
		return err
	}
	each := min(50_000, int(x.bench.size>>20)*200) / sessions
	err = inParallel(sessions, sessions, func(i int) error {
		name := fmt.Sprintf("%s.r%d", dataDB, i)
		return x.server.Exec(ctx, fmt.Sprintf("BEGIN NOT ATOMIC FOR i IN 1..%d DO CASE i %% 4 "+
			"WHEN 0 THEN DELETE FROM %s WHERE id = 10000 + i - 1; "+
			"WHEN 1 THEN UPDATE %[2]s SET k = k + 1 WHERE id = 1 + i %% 10000; "+
			"ELSE INSERT INTO %[2]s VALUES (10000 + i, i, SHA1(i)); END CASE; END FOR; END", each, name))
	})
	if err != nil {
		return err
	}
	_, err = pipe(ctx, "", []string{x.bench.mbk, "archive", "--once", "--repo", x.fromMbk, "--socket", x.server.Socket,
		"--user", "root", "--no-defaults", "--quiet"})
	return err
}

// replays compares the replay of a log onto a restored backup. mbk's is what a restore to the end of the
// log takes longer than one without it.
func replays(x *caseRun) []contender {
	restored := func(ctx context.Context, dir string, more ...string) (usage, string, error) {
		target := filepath.Join(dir, "data"+strconv.Itoa(len(more)))
		u, err := pipe(ctx, "", x.mbkRestore(x.fromMbk, target, more...))
		return u, target, err
	}
	return []contender{
		{"mbk", func(ctx context.Context, dir string) (figures, error) {
			plain, _, err := restored(ctx, dir)
			if err != nil {
				return nil, err
			}
			u, target, err := restored(ctx, dir, "--until", "end")
			if err != nil {
				return nil, err
			}
			err = x.onRestored(ctx, target, func(s *mariadbtest.Server) error { return x.wantReplayed(ctx, s) })
			u.wall, u.cpu = u.wall-plain.wall, u.cpu-plain.cpu
			return u.figures(), err
		}},
		{byBinlog, func(ctx context.Context, dir string) (figures, error) {
			_, target, err := restored(ctx, dir)
			if err != nil {
				return nil, err
			}
			var u usage
			err = x.onRestored(ctx, target, func(s *mariadbtest.Server) error {
				if u, err = x.replayByClient(ctx, s); err != nil {
					return err
				}
				return x.wantReplayed(ctx, s)
			})
			return u.figures(), err
		}},
	}
}

// onRestored runs something on a server that has restored data.
func (x *caseRun) onRestored(ctx context.Context, datadir string, run func(s *mariadbtest.Server) error) error {
	s, err := mariadbtest.Start(ctx, mariadbtest.Options{
		Dist: x.bench.dist, Dir: filepath.Join(filepath.Dir(datadir), "server"), Datadir: datadir,
		Args: []string{"--innodb-buffer-pool-size=256M", "--innodb-log-file-size=192M", "--innodb-undo-tablespaces=3",
			"--sync-binlog=0"},
	})
	if err != nil {
		return err
	}
	return errors.Join(run(s), s.Close())
}

// replayByClient feeds the source's log since the backup to a client.
func (x *caseRun) replayByClient(ctx context.Context, s *mariadbtest.Server) (usage, error) {
	logs, err := x.logs()
	if err != nil {
		return usage{}, err
	}
	program := append([]string{x.bench.dist.Program("mariadb-binlog"), "--no-defaults"}, logs[x.logsBefore:]...)
	return pipe(ctx, "", program, []string{x.bench.dist.Program("mariadb"), "--no-defaults", "--socket=" + s.Socket,
		"--user=root", "--binary-mode", "--init-command=SET sql_log_bin=0"})
}

// logs are the files of the source's binary log, in their order.
func (x *caseRun) logs() ([]string, error) {
	return filepath.Glob(filepath.Join(x.server.Datadir, "binlog.[0-9]*"))
}

// wantReplayed compares the tables of the source and of another server.
func (x *caseRun) wantReplayed(ctx context.Context, s *mariadbtest.Server) error {
	for i := range sessions {
		const sum = "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT_WS('/', id, k, text)))) FROM "
		name := fmt.Sprintf("%s.r%d", dataDB, i)
		want, err := x.server.Value(ctx, sum+name)
		if err != nil {
			return err
		}
		got, err := s.Value(ctx, sum+name)
		if err != nil {
			return err
		}
		if got != want {
			return fmt.Errorf("%s has %s after the replay, want %s", name, got, want)
		}
	}
	return nil
}
