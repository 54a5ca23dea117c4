package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"mbk/internal/test/mariadbtest"
)

// benchCase compares contenders on one data set.
type benchCase struct {
	name, title string
	before      func(ctx context.Context, x *caseRun) error
	contenders  func(x *caseRun) []contender
}

// contender is one of the things that are compared. The first of a case is mbk;
// ratios are its figures to those of each other one.
type contender struct {
	name string
	run  func(ctx context.Context, dir string) (figures, error)
}

// dataSets are all cases, by what they run on. The case of sysbench comes last
// in its set, because it adds tables.
func dataSets() []dataSet {
	return []dataSet{
		{"8 tables of the same size", fillTables(8), []benchCase{
			{"plain", "Full backup, not compressed", nil, backups("none")},
			{"zstd", "Full backup, zstd level 1", nil, backups("zstd")},
			{"s2", "Full backup, s2 and lz4", nil, backups("s2")},
			{"s3-zstd", "Full backup into an object store (versitygw on loopback), zstd level 1", nil, intoStore("zstd")},
			{"s3-restore", "Restore of a zstd backup from an object store and from a folder", storeBefore, fromStore},
			{"s3-threads", "Full backup into an object store by 16 threads in parts of 16 MiB, zstd level 1", nil,
				intoStoreWide},
			{"encrypted", "Full backup, zstd level 1, encrypted and not", nil, encrypted},
			{"stalls", "Longest stalls of other clients, idle server, not compressed", nil, stalls},
			{"restore", "Restore of a zstd backup, to a server that answers", restoreBefore, restores},
			{"verify", "verify --depth pages against a restore without recovery", verifyBefore, verifies},
			{limitsName, "What the machine can do with the same bytes", nil, limits},
			{"load", "During sysbench oltp_read_write at 60 % of its maximum, zstd", sysbenchBefore, loads},
		}},
		{"8 tables that change", fillTables(8), []benchCase{
			{"incr-even", "Increment, one page of 100 changed in every table, not compressed",
				fullsBefore("none", evenly), increments("none")},
			{"incr-even-zstd", "Increment, one page of 100 changed in every table, zstd level 1",
				fullsBefore("zstd", evenly), increments("zstd")},
			{"chain", "Restore of a full backup and 5 increments, to a server that answers", chainBefore, chains},
			{"consolidate", "A full backup made of a full backup and 5 increments", chainBefore, consolidations},
		}},
		{"80 tables of the same size", fillTables(idleTables), []benchCase{
			{"incr-idle", "Increment, all pages of one table of 80 changed, not compressed",
				fullsBefore("none", oneOfMany), increments("none")},
		}},
		{"one table", fillTables(1), []benchCase{
			{"one-plain", "One large table, not compressed", nil, backups("none")},
			{"one-zstd", "One large table, zstd level 1", nil, backups("zstd")},
			{"table-back", "One large table back into the running server", verifyBefore, tableBack},
		}},
		{"small transactions", fillReplayed, []benchCase{
			{"replay", "50,000 small transactions replayed onto a restored backup", replayedBefore, replays},
		}},
		{"many small tables", fillSmall, []benchCase{
			{"many-plain", "Many small tables, not compressed", nil, backups("none")},
			{"many-zstd", "Many small tables, zstd level 1", nil, backups("zstd")},
		}},
		{"mixed engines", fillMixed, []benchCase{
			{"mixed", "Large idle InnoDB, Aria and MyISAM tables, not compressed, with the stalls of other clients",
				nil, stalls},
		}},
	}
}

func caseNames() []string {
	var names []string
	for _, set := range dataSets() {
		for _, c := range set.cases {
			names = append(names, c.name)
		}
	}
	return names
}

// caseRun is a case that is under way.
type caseRun struct {
	bench    *bench
	server   *mariadbtest.Server
	files    fileList
	folders  int    // made so far
	fromMbk  string // a repository with a zstd backup
	store    string // a folder of an object store with a zstd backup
	fromPeer string // a zstd stream of mariadb-backup, or a folder with its files
	fullOf   string // a repository with a full backup of the state of a chain
	full     int64  // bytes of mbk's full backup
	changes  int    // made so far by evenly
	// logsBefore is how many files of the binary log were written before the transactions that are replayed.
	logsBefore int
	rate       float64 // transactions a second that are 60 % of sysbench's maximum
}

// once runs a contender in a fresh folder that is removed afterwards. All files
// of the server are in memory, and the disk has nothing else to do.
func (x *caseRun) once(ctx context.Context, k contender) (figures, error) {
	dir, err := x.folder()
	if err != nil {
		return nil, err
	}
	if err := x.files.warm(); err != nil {
		return nil, err
	}
	if _, err := syncDisk(dir); err != nil {
		return nil, err
	}
	got, err := k.run(ctx, dir)
	return got, errors.Join(err, os.RemoveAll(dir))
}

// folder makes a folder.
func (x *caseRun) folder() (string, error) {
	x.folders++
	dir := filepath.Join(x.bench.dir, "run"+strconv.Itoa(x.folders))
	return dir, os.Mkdir(dir, 0o700)
}

// clean removes what lasted for the whole case.
func (x *caseRun) clean() error {
	var err error
	for _, path := range []string{x.fromMbk, x.store, x.fromPeer, x.fullOf} {
		if path != "" {
			err = errors.Join(err, os.RemoveAll(path))
		}
	}
	return err
}

// mbkBackup is the command line of a backup into dir, a new repository.
func (x *caseRun) mbkBackup(codec, dir string) []string {
	return []string{x.bench.mbk, "backup", "--repo", dir, "--compress", codec,
		"--datadir", x.server.Datadir, "--socket", x.server.Socket, "--user", "root", "--no-defaults", "--quiet"}
}

// peerBackup is what stands for the same with mariadb-backup: the programs of a
// pipeline, and the file that the last one writes ("": none).
func (x *caseRun) peerBackup(codec, dir string) (out string, programs [][]string) {
	backup := []string{x.bench.dist.Program("mariadb-backup"), "--no-defaults", "--backup", "--parallel=2",
		"--socket=" + x.server.Socket, "--user=root", "--datadir=" + x.server.Datadir, "--open-files-limit=100000"}
	stream := append(backup, "--stream=mbstream", "--target-dir="+filepath.Join(dir, "tmp"))
	switch codec {
	case "zstd":
		return filepath.Join(dir, "backup.zst"), [][]string{stream, {"zstd", "-q", "-1", "-T2", "-c"}}
	case "s2":
		return filepath.Join(dir, "backup.lz4"), [][]string{stream, {"lz4", "-q", "-1", "-c"}}
	}
	return "", [][]string{append(backup, "--target-dir="+filepath.Join(dir, "backup"))}
}

// backups compares backups with a codec.
func backups(codec string) func(x *caseRun) []contender {
	return func(x *caseRun) []contender {
		list := []contender{
			{"mbk", func(ctx context.Context, dir string) (figures, error) {
				return backedUp(dir, func() (usage, error) { return pipe(ctx, "", x.mbkBackup(codec, dir)) })
			}},
			{"mariadb-backup", func(ctx context.Context, dir string) (figures, error) {
				return backedUp(dir, func() (usage, error) {
					out, programs := x.peerBackup(codec, dir)
					return pipe(ctx, out, programs...)
				})
			}},
		}
		if codec != "none" {
			list = append(list, x.limitOf("compressor alone", codec))
		}
		return list
	}
}

// unencrypted is mbk without recipients.
const unencrypted = "mbk, not encrypted"

// encrypted compares backups into an encrypted repository and another one. Making the
// repository does not count.
func encrypted(x *caseRun) []contender {
	return []contender{
		{"mbk", func(ctx context.Context, dir string) (figures, error) {
			identity := dir + ".key"
			recipient, err := exec.CommandContext(ctx, x.bench.mbk, "init", "--new-identity", identity, "--quiet",
				"--no-defaults").Output()
			if err != nil {
				return nil, fmt.Errorf("make an identity: %w", err)
			}
			defer os.Remove(identity) //nolint:errcheck // below the folder of the benchmark
			made := exec.CommandContext(ctx, x.bench.mbk, "init", "--repo", dir, "--recipient",
				strings.TrimSpace(string(recipient)), "--no-defaults")
			if out, err := made.CombinedOutput(); err != nil {
				return nil, fmt.Errorf("make an encrypted repository: %w: %s", err, out)
			}
			return backedUp(dir, func() (usage, error) { return pipe(ctx, "", x.mbkBackup("zstd", dir)) })
		}},
		{unencrypted, func(ctx context.Context, dir string) (figures, error) {
			return backedUp(dir, func() (usage, error) { return pipe(ctx, "", x.mbkBackup("zstd", dir)) })
		}},
	}
}

// backedUp measures a backup: how long it took, how long the disk goes on to
// write, and how large it is.
func backedUp(dir string, backup func() (usage, error)) (figures, error) {
	u, err := backup()
	if err != nil {
		return nil, err
	}
	after, err := syncDisk(dir)
	if err != nil {
		return nil, err
	}
	size, err := stored(dir)
	got := u.figures()
	got["durable"] = (u.wall + after).Seconds()
	got["stored"] = mib(size)
	return got, err
}

// stalls compares how long other clients have to wait during backups, and without
// one.
func stalls(x *caseRun) []contender {
	probed := func(run func(ctx context.Context, dir string) (figures, error)) func(context.Context,
		string) (figures, error) {
		return func(ctx context.Context, dir string) (figures, error) {
			p, err := mariadbtest.StartProbe(ctx, x.server, 0)
			if err != nil {
				return nil, err
			}
			time.Sleep(300 * time.Millisecond)
			got, err := run(ctx, dir)
			time.Sleep(100 * time.Millisecond)
			longest, stopErr := p.Stop()
			if err = errors.Join(err, stopErr); err != nil {
				return nil, err
			}
			got["commit"] = milliseconds(longest.Commit.Longest)
			got["ddl"] = milliseconds(longest.DDL.Longest)
			got["myisam"] = milliseconds(longest.MyISAM.Longest)
			return got, nil
		}
	}
	list := backups("none")(x)
	for i := range list {
		list[i].run = probed(list[i].run)
	}
	return append(list, contender{"no backup", probed(func(ctx context.Context, _ string) (figures, error) {
		time.Sleep(3 * time.Second)
		return figures{}, ctx.Err()
	})})
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }

// restoreBefore takes the backups that are going to be restored.
func restoreBefore(ctx context.Context, x *caseRun) error {
	if err := verifyBefore(ctx, x); err != nil {
		return err
	}
	dir, err := x.folder()
	if err != nil {
		return err
	}
	x.fromPeer = dir
	out, programs := x.peerBackup("zstd", dir)
	_, err = pipe(ctx, out, programs...)
	return err
}

// verifyBefore takes a backup with mbk.
func verifyBefore(ctx context.Context, x *caseRun) error {
	dir, err := x.folder()
	if err != nil {
		return err
	}
	x.fromMbk = dir
	_, err = pipe(ctx, "", x.mbkBackup("zstd", dir))
	return err
}

// restores compares the way from a backup to a server that answers.
func restores(x *caseRun) []contender {
	return []contender{
		{"mbk", func(ctx context.Context, dir string) (figures, error) {
			target := filepath.Join(dir, "data")
			u, err := pipe(ctx, "", x.mbkRestore(x.fromMbk, target))
			if err != nil {
				return nil, err
			}
			return x.answers(ctx, u, target)
		}},
		{"mariadb-backup", func(ctx context.Context, dir string) (figures, error) {
			target, unpacked := filepath.Join(dir, "data"), filepath.Join(dir, "unpacked")
			if err := errors.Join(os.Mkdir(target, 0o700), os.Mkdir(unpacked, 0o700)); err != nil {
				return nil, err
			}
			program := x.bench.dist.Program("mariadb-backup")
			var sum usage
			for _, programs := range [][][]string{
				{{"zstd", "-q", "-dc", filepath.Join(x.fromPeer, "backup.zst")},
					{x.bench.dist.Program("mbstream"), "-x", "-C", unpacked, "--parallel=2"}},
				{{program, "--no-defaults", "--prepare", "--target-dir=" + unpacked}},
				{{program, "--no-defaults", "--move-back", "--target-dir=" + unpacked, "--datadir=" + target}},
			} {
				u, err := pipe(ctx, "", programs...)
				if err != nil {
					return nil, err
				}
				sum = sum.add(u)
			}
			return x.answers(ctx, sum, target)
		}},
	}
}

func (x *caseRun) mbkRestore(repository, target string, more ...string) []string {
	args := []string{x.bench.mbk, "restore", "latest", "--repo", repository, "--target", target,
		"--mariadbd", x.bench.dist.Program("mariadbd"), "--owner", strconv.Itoa(os.Getuid()), "--no-defaults", "--quiet"}
	return append(args, more...)
}

// answers starts a server on a restored data directory and adds the time that it
// needs to answer.
func (x *caseRun) answers(ctx context.Context, u usage, datadir string) (figures, error) {
	begin := time.Now()
	s, err := mariadbtest.Start(ctx,
		mariadbtest.Options{Dist: x.bench.dist, Dir: filepath.Join(filepath.Dir(datadir), "server"), Datadir: datadir,
			Args: []string{"--innodb-log-file-size=192M", "--innodb-undo-tablespaces=3"}})
	if err != nil {
		return nil, err
	}
	start := time.Since(begin)
	synced, err := syncDisk(datadir)
	got := u.figures()
	got["wall"] += start.Seconds()
	got["start"] = start.Seconds()
	got["durable"] = got["wall"] + synced.Seconds()
	return got, errors.Join(err, s.Close())
}

// verifies compares a verification with the restore that it stands for.
func verifies(x *caseRun) []contender {
	return []contender{
		{"mbk verify", func(ctx context.Context, _ string) (figures, error) {
			u, err := pipe(ctx, "", []string{x.bench.mbk, "verify", "latest", "--repo", x.fromMbk, "--no-defaults", "--quiet"})
			return u.figures(), err
		}},
		{"mbk restore --no-recover", func(ctx context.Context, dir string) (figures, error) {
			u, err := pipe(ctx, "", x.mbkRestore(x.fromMbk, filepath.Join(dir, "data"), "--no-recover"))
			return u.figures(), err
		}},
	}
}

// limits are what the machine can do: nothing is compared.
func limits(x *caseRun) []contender {
	return []contender{
		x.limitOf("reading all files", "read"),
		x.limitOf("compressor alone, none", "none"),
		x.limitOf("compressor alone, zstd", "zstd"),
		x.limitOf("compressor alone, s2", "s2"),
		x.limitOf("writing past the page cache", "write"),
		{"following the redo log, one CPU", x.redoParser},
	}
}

// stableLSN is the end of the redo log once the server makes no checkpoint any more,
// with which it would write what lies behind that end.
func (x *caseRun) stableLSN(ctx context.Context) (string, error) {
	status := func(name string) (string, error) {
		return x.server.Value(ctx, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = '"+name+
			"'")
	}
	for before := ""; ; {
		checkpoint, err := status("INNODB_LSN_LAST_CHECKPOINT")
		if err != nil {
			return "", err
		}
		if checkpoint == before {
			return status("INNODB_LSN_FLUSHED")
		}
		before = checkpoint
		select {
		case <-ctx.Done():
			return "", ctx.Err()
		case <-time.After(2 * time.Second):
		}
	}
}

// redoParser makes the server write redo and measures how fast it can be followed.
func (x *caseRun) redoParser(ctx context.Context, dir string) (got figures, err error) {
	defer func() { err = errors.Join(err, x.server.Exec(ctx, "DROP DATABASE IF EXISTS redo")) }()
	out := filepath.Join(dir, "rate")
	u, err := x.followRedo(ctx, out)
	const tries = 5 // the server may make a checkpoint at any time, and leave nothing to follow
	for try := 1; try < tries && err != nil && ctx.Err() == nil; try++ {
		u, err = x.followRedo(ctx, out)
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	rate, err := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	if err != nil {
		return nil, fmt.Errorf("rate of following the redo log: %w", err)
	}
	got = u.figures()
	got["rate"] = rate
	return got, nil
}

// followRedo makes the server write redo and follows it in a child, which writes its
// rate to a file.
func (x *caseRun) followRedo(ctx context.Context, out string) (usage, error) {
	err := x.server.Exec(ctx, "CREATE OR REPLACE DATABASE redo",
		"CREATE TABLE redo.t (id INT NOT NULL PRIMARY KEY, k INT UNSIGNED NOT NULL, text CHAR(100), KEY (k)) ENGINE=InnoDB",
		"INSERT INTO redo.t SELECT seq, CRC32(seq), SHA1(seq) FROM redo.seq_1_to_200000",
		"UPDATE redo.t SET text = SHA1(k) WHERE id % 3 = 0")
	if err != nil {
		return usage{}, err
	}
	lsn, err := x.stableLSN(ctx)
	if err != nil {
		return usage{}, err
	}
	self, err := os.Executable()
	if err != nil {
		return usage{}, err
	}
	return pipe(ctx, out, []string{self, limitCommand, "redo", x.server.Datadir, lsn})
}

// limitOf measures a limit in a child of its own.
func (x *caseRun) limitOf(name, kind string) contender {
	return contender{name, func(ctx context.Context, dir string) (figures, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		u, err := pipe(ctx, "", []string{self, limitCommand, kind, x.server.Datadir, dir})
		return u.figures(), err
	}}
}

// need reports whether a program is installed.
func need(program string) error {
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("%s is missing: apt-get install %s", program, program)
	}
	return nil
}
