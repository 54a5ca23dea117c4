package innodb_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbk/internal/innodb"
	"mbk/internal/test/mariadbtest"
)

// serverStatus asks a server for its LSNs over a connection of its own.
type serverStatus struct{ conn *sql.Conn }

func newServerStatus(t *testing.T, s *mariadbtest.Server) serverStatus {
	t.Helper()
	conn, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return serverStatus{conn}
}

func (s serverStatus) LSNs(ctx context.Context) (l innodb.LSNs, err error) {
	rows, err := s.conn.QueryContext(ctx, "SHOW GLOBAL STATUS LIKE 'Innodb_lsn%'")
	if err != nil {
		return l, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var value innodb.LSN
		if err := rows.Scan(&name, &value); err != nil {
			return l, err
		}
		switch name {
		case "Innodb_lsn_current":
			l.Current = value
		case "Innodb_lsn_flushed":
			l.Flushed = value
		case "Innodb_lsn_last_checkpoint":
			l.Checkpoint = value
		}
	}
	return l, rows.Err()
}

// redoLoad keeps a server's redo log busy: many updates of one size, as they make
// stale mini-transactions fit, some large rows, and tables that come and go.
func redoLoad(ctx context.Context, t *testing.T, s *mariadbtest.Server) (stop func()) {
	t.Helper()
	s.MustExec(t, "CREATE DATABASE load_db",
		"CREATE TABLE load_db.t (id INT PRIMARY KEY, v INT NOT NULL, pad CHAR(120) NOT NULL) ENGINE=InnoDB",
		"INSERT INTO load_db.t SELECT seq, 0, REPEAT('x', 120) FROM mysql.seq_1_to_3000",
		"CREATE TABLE load_db.b (id INT AUTO_INCREMENT PRIMARY KEY, data LONGBLOB) ENGINE=InnoDB",
		"CREATE TABLE load_db.z (id INT AUTO_INCREMENT PRIMARY KEY, data TEXT) ENGINE=InnoDB ROW_FORMAT=COMPRESSED",
		"INSERT INTO load_db.z (data) VALUES ('one')")
	flushTables(t, s) // so that every file has a first page
	whole := ctx
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	run := func(f func(conn *sql.Conn, i int) error) {
		conn, err := s.DB().Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			defer conn.Close()
			for i := 0; ctx.Err() == nil; i++ {
				if err := f(conn, i); err != nil {
					t.Errorf("load: %v", err)
					return
				}
			}
		})
	}
	exec := func(conn *sql.Conn, q string, args ...any) error {
		// A statement runs to its end, so that no connection is lost.
		_, err := conn.ExecContext(whole, q, args...)
		return err
	}
	for k := range 2 {
		run(func(conn *sql.Conn, i int) error {
			return exec(conn,
				fmt.Sprintf("UPDATE load_db.t SET v=v+1, pad=REPEAT(CHAR(%d), 120) WHERE id %% 2 = %d AND id BETWEEN %d AND %d",
					97+i%26, k, i*37%2900, i*37%2900+20))
		})
	}
	run(func(conn *sql.Conn, i int) error {
		return errors.Join(
			exec(conn, "INSERT INTO load_db.b (data) VALUES (REPEAT(?, 30000))", i%10),
			exec(conn, "INSERT INTO load_db.z (data) SELECT data FROM load_db.z ORDER BY id DESC LIMIT 3"),
			exec(conn, "DELETE FROM load_db.b WHERE id < (SELECT MAX(id) - 40 FROM load_db.b)"))
	})
	run(func(conn *sql.Conn, i int) error {
		return errors.Join(
			exec(conn, fmt.Sprintf("CREATE TABLE load_db.scratch%d (a INT PRIMARY KEY) ENGINE=InnoDB", i)),
			exec(conn, fmt.Sprintf("INSERT INTO load_db.scratch%d VALUES (1), (2)", i)),
			exec(conn, fmt.Sprintf("DROP TABLE load_db.scratch%d", i)))
	})
	return func() { cancel(); wg.Wait() }
}

// flushTables writes all pages of the load's tables.
func flushTables(t *testing.T, s *mariadbtest.Server) {
	t.Helper()
	conn, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, q := range []string{"FLUSH TABLES load_db.t, load_db.b, load_db.z FOR EXPORT", "UNLOCK TABLES"} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
}

// copyPages makes a fuzzy copy of a tablespace file that is in use, each page
// whole in itself.
func copyPages(from *os.File, to string) error {
	info, err := from.Stat()
	if err != nil {
		return err
	}
	const size = 16 << 10
	page0 := make([]byte, size)
	if _, err := from.ReadAt(page0, 0); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	space, err := innodb.ParseSpace(page0, size)
	if err != nil {
		return fmt.Errorf("%s: %w", from.Name(), err)
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	n := int64(space.Flags.PhysicalSize())
	page := make([]byte, n)
	for no := int64(0); no < info.Size()/n; no++ {
		for try := 0; ; try++ {
			if _, err := from.ReadAt(page, no*n); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			err := space.Check(page, innodb.PageNo(no))
			if err == nil {
				break
			}
			if space.ID == 0 && no >= 64 && no < 192 {
				clear(page) // doublewrite
				break
			}
			if try == 5000 { // as long as a backup waits
				return fmt.Errorf("%s: %w", from.Name(), err)
			}
			time.Sleep(time.Millisecond)
		}
		if _, err := out.WriteAt(page, no*n); err != nil {
			return err
		}
	}
	return nil
}

func isTablespace(name string) bool {
	return strings.HasSuffix(name, ".ibd") || name == "ibdata1" || strings.HasPrefix(name, "undo")
}

// openTablespaces opens all tablespace files of a data directory.
func openTablespaces(t *testing.T, datadir string) map[string]*os.File {
	t.Helper()
	files := map[string]*os.File{}
	err := filepath.WalkDir(datadir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || d.IsDir() || !isTablespace(d.Name()) || strings.Contains(d.Name(), "scratch") {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		t.Cleanup(func() { f.Close() })
		rel, err := filepath.Rel(datadir, path)
		files[rel] = f
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// copyScratch copies the tables that are there although they come and go. A server
// that cannot make a tablespace out of its log needs their files.
func copyScratch(t *testing.T, from, to string) {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(from, "load_db", "scratch*.ibd"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := copyPages(f, filepath.Join(to, "load_db", filepath.Base(name))); err != nil {
			t.Fatal(err)
		}
	}
}

// copyRest copies what is neither a tablespace nor a log of InnoDB, nor a binary
// log.
func copyRest(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		name := d.Name()
		switch {
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case isTablespace(name), strings.HasPrefix(name, "ib"), strings.HasPrefix(name, "binlog"),
			strings.Contains(name, "scratch"),
			!d.Type().IsRegular():
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// restoreLog lays down the copied redo as ib_logfile0.
func restoreLog(t *testing.T, tl *innodb.Tailer, c innodb.Checkpoint, redo []byte, path string) {
	t.Helper()
	h := tl.Header()
	head, err := innodb.RestoredLog{Format: h.Format, Crypt: h.Crypt, Checkpoint: c, Version: "mbk test"}.Header()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(head, redo...), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, innodb.RestoredLogSize(int64(len(redo)), 8<<20)); err != nil {
		t.Fatal(err)
	}
}

// checksums returns the checksums of the load's tables.
func checksums(t *testing.T, query func(q string) string) string {
	t.Helper()
	var all []string
	for _, name := range []string{"t", "b", "z"} {
		all = append(all,
			query(fmt.Sprintf("SELECT CONCAT(COUNT(*), ' ', IFNULL(BIT_XOR(CAST(CRC32(CONCAT_WS(',', %s)) AS UNSIGNED)), 0)) "+
				"FROM load_db.%s",
				map[string]string{"t": "id, v, pad", "b": "id, data", "z": "id, data"}[name], name)))
	}
	return strings.Join(all, "; ")
}

// redoCopy collects what a Tailer copies, and now and then compares a chunk with
// what the log holds a little later, when the server has long gone on.
type redoCopy struct {
	t        *testing.T
	path     string
	ring     innodb.Ring // of a log of blocks
	start    innodb.LSN
	bytes    []byte
	again    chan chunk
	last     chunk
	compared atomic.Int64
}

type chunk struct {
	b     []byte
	start innodb.LSN
}

func (c *redoCopy) sink(b []byte, start, end innodb.LSN) error {
	if c.bytes == nil {
		c.start = start
	}
	if start != c.start+innodb.LSN(len(c.bytes)) || end != start+innodb.LSN(len(b)) {
		return fmt.Errorf("gap: [%d, %d) after %d", start, end, c.start+innodb.LSN(len(c.bytes)))
	}
	c.bytes = append(c.bytes, b...)
	c.last = chunk{bytes.Clone(b), start}
	select {
	case c.again <- c.last:
	default: // busy with an earlier one
	}
	return nil
}

// compare reads chunks again until the channel is closed.
func (c *redoCopy) compare(ctx context.Context, status innodb.Status) {
	for k := range c.again {
		time.Sleep(3 * time.Millisecond)
		f, err := os.Open(c.path)
		if err != nil {
			c.t.Error(err)
			continue
		}
		c.compareOne(ctx, f, status, k)
		f.Close()
	}
}

func (c *redoCopy) compareOne(ctx context.Context, f *os.File, status innodb.Status, k chunk) {
	head := make([]byte, 512)
	info, err := f.Stat()
	if err != nil {
		c.t.Error(err)
		return
	}
	if _, err := f.ReadAt(head, 0); err != nil {
		c.t.Error(err)
		return
	}
	h, err := innodb.ParseLogHeader(head)
	if err != nil {
		c.t.Error(err)
		return
	}
	ring := innodb.Ring{First: h.FirstLSN, Capacity: info.Size() - innodb.LogDataOffset}
	if h.Format == innodb.Format105 || h.Format == innodb.Format105Enc {
		ring = c.ring // forever
	}
	if k.start < ring.First || int64(len(k.b)) > ring.Capacity {
		return
	}
	got := make([]byte, len(k.b))
	n := min(int64(len(got)), info.Size()-ring.Offset(k.start))
	_, err = f.ReadAt(got[:n], ring.Offset(k.start))
	if _, err2 := f.ReadAt(got[n:], innodb.DataOffset(h.Format)); err != nil || err2 != nil && len(got[n:]) > 0 {
		c.t.Error(err, err2)
		return
	}
	lsns, err := status.LSNs(ctx)
	if err != nil || int64(lsns.Current-k.start) > ring.Capacity-64<<10 {
		return // overwritten meanwhile, or the test is over
	}
	if h.Format == innodb.Format105 || h.Format == innodb.Format105Enc {
		forgetOpenBlock(k.b, got)
	}
	for i := range got {
		// Sequence bits are 1 in the copy.
		if got[i] != k.b[i] && (k.b[i] != 1 || got[i] != 0) {
			c.t.Errorf("byte at LSN %d was copied as %#02x and is %#02x", k.start+innodb.LSN(i), k.b[i], got[i])
			return
		}
	}
	c.compared.Add(int64(len(got)))
}

// forgetOpenBlock makes later equal to copied, of which the last block of 512
// bytes ends where the log was sealed, in what the server has written to that
// block since: its flush bit, header, data after the end, checksum.
func forgetOpenBlock(copied, later []byte) {
	last := len(copied) - 512
	if last < 0 || binary.BigEndian.Uint16(copied[last+4:]) == 512 {
		return
	}
	end := last + min(512, int(binary.BigEndian.Uint16(copied[last+4:])))
	const flush = 0x80 // of the number: the block began a write, and the next write may begin with it
	later[last] = later[last]&^flush | copied[last]&flush
	copy(later[last+4:last+12], copied[last+4:])
	copy(later[end:], copied[end:])
}

// The whole way on a real server under load: follow its log, copy its files
// meanwhile, lay both down, let a server recover from them, compare the tables.
func TestTailerOnServers(t *testing.T) {
	tests := []struct {
		name    string
		args    []string
		encrypt bool
		options innodb.TailOptions
		sizes   []int // of the log, changed in a circle, MiB
	}{
		{name: "log of 8 MiB in a tight loop", args: []string{"--innodb-log-file-size=8M"},
			options: innodb.TailOptions{Interval: 1}},
		{name: "log of 4 MiB, resized on the fly",
			args: []string{"--innodb-log-file-size=4M", "--innodb-log-buffer-size=2M",
				"--innodb-flush-log-at-trx-commit=2"},
			sizes: []int{12, 5, 8}},
		{name: "encrypted log, flushed once a second",
			args: []string{"--innodb-log-file-size=8M", "--innodb-flush-log-at-trx-commit=0"}, encrypt: true},
	}
	for _, series := range withOldLog() {
		for _, tt := range tests {
			if series == oldLog && len(tt.sizes) > 0 {
				continue // it cannot do that
			}
			t.Run(series+", "+tt.name, func(t *testing.T) {
				t.Parallel()
				args := tt.args
				if tt.encrypt {
					more, err := mariadbtest.EncryptionArgs(t.TempDir())
					if err != nil {
						t.Fatal(err)
					}
					args = append(more, args...)
				}
				for try := 1; !followServer(t, series, args, tt.options, tt.sizes); try++ {
					if try == 3 {
						t.Fatal("the server broke its log each time")
					}
				}
			})
		}
	}
}

// oldLog is a series whose log consists of blocks.
const oldLog = "10.5"

// withOldLog returns the series to test, oldLog among them.
func withOldLog() []string {
	series := mariadbtest.Versions()
	if !slices.Contains(series, oldLog) {
		series = append(series, oldLog)
	}
	return series
}

// followServer follows the log of a server, recovers another one from the copy and
// compares the two. It returns false if the server broke its log itself.
func followServer(t *testing.T, series string, args []string, o innodb.TailOptions, sizes []int) (whole bool) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute) // a server that hangs is to say in what
	defer cancel()
	s := mariadbtest.New(t, series, args...)
	stopLoad := redoLoad(ctx, t, s)
	defer stopLoad()
	time.Sleep(300 * time.Millisecond)

	// As a backup does: log, files, checkpoint, pages.
	sink := &redoCopy{t: t, path: filepath.Join(s.Datadir, "ib_logfile0"), again: make(chan chunk, 1)}
	o.Patience = 20 * time.Second
	tl, err := innodb.OpenTailer(sink.path, newServerStatus(t, s), sink.sink, o)
	if err != nil {
		t.Fatal(err)
	}
	sink.ring = tl.Ring()
	files := openTablespaces(t, s.Datadir)
	point, err := tl.Checkpoint(ctx)
	if err != nil {
		t.Fatal(err)
	}
	compared := make(chan struct{})
	go func() { sink.compare(ctx, newServerStatus(t, s)); close(compared) }()
	ran := make(chan error, 1)
	go func() { ran <- tl.Run(ctx) }()
	resized := make(chan error, 1)
	go func() { resized <- resizeLog(ctx, s, sizes) }()
	target := t.TempDir()
	spaces := map[innodb.SpaceID]string{}
	for rel, f := range files {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(target, rel)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := copyPages(f, filepath.Join(target, rel)); err != nil {
			t.Fatal(err)
		}
		spaces[spaceOf(t, f)] = rel
	}
	time.Sleep(500 * time.Millisecond)
	if err := <-resized; err != nil {
		t.Fatal(err)
	}

	// No commits from here on.
	conn, err := s.DB().Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	query := func(q string) (v string) {
		t.Helper()
		if err := conn.QueryRowContext(ctx, q).Scan(&v); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		return v
	}
	if _, err := conn.ExecContext(ctx, "FLUSH TABLES WITH READ LOCK"); err != nil {
		t.Fatal(err)
	}
	if series == oldLog {
		copyScratch(t, s.Datadir, target)
	}
	l, err := strconv.ParseUint(query("SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE "+
		"VARIABLE_NAME='INNODB_LSN_CURRENT'"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(ctx, "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS"); err != nil {
		t.Fatal(err)
	}
	if query("SELECT @@innodb_flush_log_at_trx_commit") != "0" {
		tl.Written(innodb.LSN(l))
	}
	began := time.Now()
	end, err := tl.Finish(ctx, innodb.LSN(l))
	if err != nil {
		if _, err := conn.ExecContext(ctx, "UNLOCK TABLES"); err != nil {
			t.Fatal(err)
		}
		stopLoad()
		cancel() // it goes on after a Finish that was in vain
		err = errors.Join(err, <-ran)
		close(sink.again)
		<-compared
		unreadable := errors.Is(err, innodb.ErrRedoReplaced) || errors.Is(err, innodb.ErrRedoDamaged)
		if err = errors.Join(err, tl.Close(), s.Close()); len(sizes) == 0 || !unreadable || !brokeItsLog(t, s) {
			t.Fatal(err)
		}
		t.Logf("the server broke its log: %v", err)
		return false
	}
	t.Logf("Finish took %v, to %d for %d; %+v", time.Since(began), end, l, tl.Progress())
	if err := <-ran; err != nil {
		t.Fatal(err)
	}
	sink.again <- sink.last
	close(sink.again)
	<-compared
	want := checksums(t, query)
	copyRest(t, s.Datadir, target)
	if _, err := conn.ExecContext(ctx, "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	stopLoad()

	from, to := innodb.StoredRedo(tl.Header().Format, point, end)
	if end < innodb.LSN(l) || from != sink.start || to != from+innodb.LSN(len(sink.bytes)) {
		t.Errorf("end = %d of %d bytes from %d, want at least %d and [%d, %d)", end, len(sink.bytes), sink.start, l,
			from, to)
	}
	if len(sizes) > 0 && tl.Progress().Resizes == 0 {
		t.Error("no resize was seen")
	}
	checkRedo(t, tl, point, end, sink.bytes, spaces)
	restoreLog(t, tl, point, sink.bytes, filepath.Join(target, "ib_logfile0"))
	if err := tl.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("%d bytes were compared a second time", sink.compared.Load())

	restored := mariadbtest.Open(t, series, target, args...)
	got := checksums(t, func(q string) string { return restored.MustValue(t, q) })
	if got != want {
		t.Errorf("after recovery: %s, want %s", got, want)
	}
	return true
}

// brokeItsLog reports whether the server tells that it could not recover from its own
// log for some time. That happens when it writes more than a smaller log holds
// before that log is in use. It may then have set the sequence bits of the second
// lap as those of the first: it sets them all to 1 up to the change, and takes the
// log to begin again where it is full, but only if it sees a write go beyond the end.
// One that ends just there is not seen.
func brokeItsLog(t *testing.T, s *mariadbtest.Server) bool {
	t.Helper()
	b, err := os.ReadFile(s.ErrorLog)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(b, []byte("Crash recovery is broken"))
}

// resizeLog changes the size of the log several times.
func resizeLog(ctx context.Context, s *mariadbtest.Server, sizes []int) error {
	for _, size := range sizes {
		if err := s.Exec(ctx, fmt.Sprintf("SET GLOBAL innodb_log_file_size=%d", size<<20)); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

func spaceOf(t *testing.T, f *os.File) innodb.SpaceID {
	t.Helper()
	page0 := make([]byte, 16<<10)
	if _, err := f.ReadAt(page0, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	space, err := innodb.ParseSpace(page0, 16<<10)
	if err != nil {
		t.Fatalf("%s: %v", f.Name(), err)
	}
	return space.ID
}

// checkRedo checks the copied redo from scratch.
func checkRedo(t *testing.T, tl *innodb.Tailer, c innodb.Checkpoint, end innodb.LSN, redo []byte,
	spaces map[innodb.SpaceID]string) {
	t.Helper()
	h := tl.Header()
	checker, err := innodb.NewLogChecker(h.Format, h.Crypt, c)
	if err != nil {
		t.Fatal(err)
	}
	for len(redo) > 0 {
		n, err := checker.Write(redo[:min(len(redo), 100_000)])
		if err != nil {
			t.Fatal(err)
		}
		redo = redo[n:]
	}
	if err := checker.Finish(end); err != nil {
		t.Error(err)
	}
	if got, want := checker.MTRs(), tl.Progress().MTRs; got != want {
		t.Errorf("%d mini-transactions, copied %d", got, want)
	}
	if got, want := checker.Journal().Counts(), tl.Journal().Counts(); got != want {
		t.Errorf("file operations %+v, copied %+v", got, want)
	}
	t.Logf("format %#x, readable %v, %+v", h.Format, tl.Journal().Readable(), tl.Journal().Counts())
	if problems := innodb.Reconcile(tl.Journal().Spaces(), spaces); spaces != nil && len(problems) > 0 {
		t.Errorf("files do not fit the log: %v", problems)
	}
}

// An idle server resizes its log at once, several times in a row. A tail that gets no
// processor meanwhile may miss one of the logs, and must say so.
func TestTailerFollowsResizesOfAnIdleServer(t *testing.T) {
	for _, series := range mariadbtest.Versions() {
		if series == oldLog {
			continue // it cannot do that
		}
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			const tries = 4
			for try := 1; ; try++ {
				err := followIdleResizes(t, series)
				if errors.Is(err, innodb.ErrRedoReplaced) && try < tries {
					t.Log(err)
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				return
			}
		})
	}
}

func followIdleResizes(t *testing.T, series string) error {
	s := mariadbtest.New(t, series, "--innodb-log-file-size=4M", "--innodb-log-buffer-size=2M",
		"--innodb-flush-log-at-trx-commit=2")
	s.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT) ENGINE=InnoDB")
	sink := &redoCopy{t: t}
	status := newServerStatus(t, s)
	tl, err := innodb.OpenTailer(filepath.Join(s.Datadir, "ib_logfile0"), status, sink.sink, innodb.TailOptions{})
	if err != nil {
		t.Fatal(err)
	}
	point, err := tl.Checkpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- tl.Run(t.Context()) }()
	sizes := []int{8, 12, 5, 4, 8, 12}
	for _, size := range sizes {
		s.MustExec(t, "INSERT INTO d.t VALUES (1)", fmt.Sprintf("SET GLOBAL innodb_log_file_size=%d", size<<20))
	}
	s.MustExec(t, "FLUSH ENGINE LOGS")
	lsns, err := newServerStatus(t, s).LSNs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	end, err := tl.Finish(t.Context(), lsns.Flushed)
	if err := errors.Join(err, <-ran); err != nil {
		return errors.Join(err, tl.Close())
	}
	checkRedo(t, tl, point, end, sink.bytes, nil)
	if err := tl.Close(); err != nil {
		t.Error(err)
	}
	if got := tl.Ring().Capacity; got != 12<<20-innodb.LogDataOffset {
		t.Errorf("capacity = %d, want that of the last resize", got)
	}
	return nil
}
