package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/innodb"
)

// limitCommand makes this program measure the machine: "limit KIND DATADIR DIR", and
// "limit redo DATADIR LSN".
const limitCommand = "limit"

// limit does one thing with the bytes of all data files, on all processors, or
// follows the redo log up to an LSN.
func limit(ctx context.Context, args []string) error {
	if len(args) != 3 {
		return errors.New("usage: limit KIND DATADIR DIR|LSN")
	}
	if args[0] == "redo" {
		return redoRate(ctx, filepath.Join(args[1], "ib_logfile0"), args[2])
	}
	files, err := dataFiles(args[1])
	if err != nil {
		return err
	}
	switch args[0] {
	case "read":
		return eachProcessor(func(int) error { return nil }, files)
	case "write":
		return eachProcessor(func(n int) error {
			return writeSynced(filepath.Join(args[2], fmt.Sprint(n)), files.bytes/int64(runtime.GOMAXPROCS(0)))
		}, fileList{})
	}
	codec, level, err := pack.ParseCodec(args[0])
	if err != nil {
		return err
	}
	return compress(ctx, files, copier.Options{Codec: codec, Level: level})
}

// eachProcessor calls do once for each processor, and reads the files on all of
// them.
func eachProcessor(do func(n int) error, files fileList) error {
	var group errgroup.Group
	names := make(chan string, len(files.names))
	for _, name := range files.names {
		names <- name
	}
	close(names)
	for n := range runtime.GOMAXPROCS(0) {
		group.Go(func() error {
			for name := range names {
				if err := (fileList{names: []string{name}}).warm(); err != nil {
					return err
				}
			}
			return do(n)
		})
	}
	return group.Wait()
}

// writeSynced writes a file of n bytes to the disk, past the page cache if the file
// system can do that, as a backup does.
func writeSynced(path string, n int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|unix.O_DIRECT, 0o600)
	if errors.Is(err, unix.EINVAL) {
		f, err = os.Create(path)
	}
	if err != nil {
		return err
	}
	b := make([]byte, 1<<20) // so large a piece of memory begins at a page
	for i := range b {
		b[i] = byte(i * i >> 3)
	}
	for at := int64(0); at < n && err == nil; at += int64(len(b)) {
		_, err = f.Write(b)
	}
	return errors.Join(err, f.Sync(), f.Close())
}

// nowhere is a store that forgets.
type nowhere struct{}

// Put implements copier.Putter.
func (nowhere) Put(_ context.Context, _ string, write func(w io.Writer) error) error {
	return write(io.Discard)
}

// compress copies the files to nowhere, unchecked: what is left of a backup when
// there is no server, no page and no disk.
func compress(ctx context.Context, files fileList, o copier.Options) error {
	c, err := copier.New(ctx, nowhere{}, o)
	if err != nil {
		return err
	}
	for i, name := range files.names {
		f, err := os.Open(name)
		if err == nil {
			err = compressFile(ctx, c, uint32(i), f)
		}
		if err != nil {
			c.Abort(err)
			return err
		}
	}
	_, err = c.Close(ctx)
	return err
}

func compressFile(ctx context.Context, c *copier.Copier, number uint32, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	_, err = c.Add(ctx, copier.Source{
		Number: number, Name: f.Name(), File: f, Size: info.Size(), PadShort: true,
		Done: func() { f.Close() }, //nolint:errcheck // only read
	})
	return err
}

// standing is a server that has flushed its log up to an LSN and rests.
type standing innodb.LSN

// LSNs implements innodb.Status.
func (s standing) LSNs(context.Context) (innodb.LSNs, error) {
	return innodb.LSNs{Current: innodb.LSN(s), Flushed: innodb.LSN(s)}, nil
}

// redoRate follows a log from its newest checkpoint to an LSN, again and again, and
// prints how many MB it takes in for each second of CPU time.
func redoRate(ctx context.Context, path, lsn string) error {
	end, err := strconv.ParseUint(lsn, 10, 64)
	if err != nil {
		return fmt.Errorf("LSN %q: %w", lsn, err)
	}
	const enough = 2 * time.Second
	var bytes int64
	var before, now unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &before); err != nil {
		return err
	}
	for {
		n, err := follow(ctx, path, innodb.LSN(end))
		if err == nil {
			err = unix.Getrusage(unix.RUSAGE_SELF, &now)
		}
		if err != nil {
			return err
		}
		bytes += n
		cpu := time.Duration(now.Utime.Nano() + now.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
		if cpu > enough {
			fmt.Printf("%.0f\n", float64(bytes)/1e6/cpu.Seconds())
			return nil
		}
	}
}

// follow follows a log once and returns how many bytes that were.
func follow(ctx context.Context, path string, end innodb.LSN) (int64, error) {
	t, err := innodb.OpenTailer(path, standing(end), func([]byte, innodb.LSN, innodb.LSN) error { return nil },
		innodb.TailOptions{})
	if err != nil {
		return 0, err
	}
	c, err := t.Checkpoint(ctx)
	if err != nil {
		return 0, errors.Join(err, t.Close())
	}
	if end < c.LSN+16<<20 {
		return 0, errors.Join(fmt.Errorf("the log holds only %d bytes behind checkpoint %d", end-c.LSN, c.LSN), t.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group errgroup.Group
	group.Go(func() error { return t.Run(ctx) })
	if _, err = t.Finish(ctx, end); err != nil {
		cancel() // Run goes on after a Finish that was in vain
		return 0, errors.Join(err, group.Wait(), t.Close())
	}
	return int64(end - c.LSN), errors.Join(group.Wait(), t.Close())
}
