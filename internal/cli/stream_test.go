package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// piped runs two programs, the output of one of which is the input of the other.
type piped struct{ from, to *run }

// pipe starts two runs of mbk with a pipe between them.
func pipe(t *testing.T, from, to []string) *piped {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	sender, receiver := command(t, from...), command(t, to...)
	receiver.Stdin = r
	p := &piped{to: launch(t, receiver)}
	p.from = launchInto(t, sender, w)
	// Only these two have it now.
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return p
}

// wait waits for both. They must succeed.
func (p *piped) must(t *testing.T) (from, to outcome) {
	t.Helper()
	from, to = p.from.wait(t, 5*time.Minute), p.to.wait(t, 5*time.Minute)
	if from.code != 0 || to.code != 0 {
		t.Fatalf("%q exits %d: %s\n%q exits %d: %s", p.from.cmd.Args[1:], from.code, from.stderr,
			p.to.cmd.Args[1:], to.code, to.stderr)
	}
	return from, to
}

// streaming is a backup of a server into a pipe.
func streaming(srv *mariadbtest.Server, more ...string) []string {
	return append([]string{"backup", "--to", "-", "--socket", srv.Socket, "--user", "root", "--quiet"}, more...)
}

// sent is the result of a backup into a pipe, which comes on standard error after the warnings.
func sent(t *testing.T, stderr string) (b taken) {
	t.Helper()
	document := stderr[max(strings.Index("\n"+stderr, "\n{"), 0):]
	wantValid(t, "backup", document)
	if err := json.Unmarshal([]byte(document), &b); err != nil {
		t.Fatalf("the result is %q: %v", stderr, err)
	}
	return b
}

// receivedIDs are the backups that "receive --json" has received.
func receivedIDs(t *testing.T, text string) (ids []string) {
	t.Helper()
	wantValid(t, "receive", text)
	var d struct {
		Backups []struct{ ID string }
	}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatalf("receive prints %q: %v", text, err)
	}
	for _, b := range d.Backups {
		ids = append(ids, b.ID)
	}
	return ids
}

// Backups of a server under load go through pipes: into a repository, into a data directory,
// and from one repository into another with their chain. Each restores to what the source was.
func TestStream(t *testing.T) {
	t.Parallel()
	source := mariadbtest.New(t, newest())
	fill := mariadbtest.Fill{InnoDBMiB: 4, MyISAMMiB: 1, AriaMiB: 1}
	if err := mariadbtest.Populate(t.Context(), source, fill); err != nil {
		t.Fatal(err)
	}
	load, err := mariadbtest.Write(t.Context(), source, mariadbtest.WriteOptions{Pause: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	received, chain, further := t.TempDir(), t.TempDir(), t.TempDir()

	// Into a repository.
	from, to := pipe(t, streaming(source, "--json"), []string{"receive", "--repo", received, "--json", "--quiet"}).must(t)
	streamed := sent(t, from.stderr)
	if ids := receivedIDs(t, to.stdout); len(ids) != 1 || ids[0] != streamed.ID {
		t.Errorf("received %v, want %s", ids, streamed.ID)
	}
	if h := historyOf(t, received); len(h) != 1 || h[0].Outcome != repo.OutcomeOK || h[0].Label == "" {
		t.Errorf("the history of what was received: %+v", h)
	}
	must(t, "verify", "latest", "--repo", received, "--depth", "pages", "--quiet")

	// Into a data directory.
	target := filepath.Join(t.TempDir(), "restored")
	from, _ = pipe(t, streaming(source, "--json"),
		[]string{"restore", "--from", "-", "--target", target, "--quiet", "--owner", self()}).must(t)
	direct := sent(t, from.stderr)
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(target), ".*")); err != nil || len(left) > 0 {
		t.Errorf("the restore leaves %v (%v)", left, err)
	}

	// From one repository into another.
	first := taking(t, source, chain, profile{})
	must(t, "backup", "--repo", chain, "--socket", source.Socket, "--user", "root", "--quiet", "--incremental")
	last := taking(t, source, chain, profile{backup: []string{"--incremental"}})
	stored := []string{"receive", "--repo", further, "--json", "--quiet"}
	_, to = pipe(t, []string{"send", first.ID, "--repo", chain, "--quiet"}, stored).must(t)
	if ids := receivedIDs(t, to.stdout); len(ids) != 1 {
		t.Errorf("received %v, want the full backup", ids)
	}
	_, to = pipe(t, []string{"send", "latest", "--since", first.ID, "--repo", chain, "--quiet"}, stored).must(t)
	if ids := receivedIDs(t, to.stdout); len(ids) != 2 || ids[1] != last.ID {
		t.Errorf("received %v, want two increments", ids)
	}
	if _, err := load.Stop(); err != nil {
		t.Fatal(err)
	}

	wantSame(t, source, caughtUp(t, source, received, streamed, profile{}))
	wantSame(t, source, caughtUp(t, source, further, last, profile{}))
	restored := mariadbtest.Open(t, source.Dist.Series, target)
	err = mariadbtest.ReplayBinlog(t.Context(), source, restored, direct.Binlog.File, direct.Binlog.Position)
	if err != nil {
		t.Fatal(err)
	}
	wantSame(t, source, restored)
}

// An encrypted stream can be stored by whoever has no identity, and restored by nobody else.
func TestStreamEncrypted(t *testing.T) {
	t.Parallel()
	ownEncryption(t)
	srv := mariadbtest.New(t, newest())
	srv.MustExec(t, statements(filled("t", 1, ""))...)
	dir := t.TempDir()
	key, stream, received := filepath.Join(dir, "key"), filepath.Join(dir, "stream"), t.TempDir()
	recipient := strings.TrimSpace(must(t, "init", "--new-identity", key, "--quiet").stdout)
	f, err := os.Create(stream)
	if err != nil {
		t.Fatal(err)
	}
	if o := launchInto(t, command(t, streaming(srv, "--recipient", recipient)...), f).wait(t, time.Minute); o.code != 0 {
		t.Fatal(o.stderr)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(stream)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"ibdata1", "d/t.ibd", srv.Dir} {
		if bytes.Contains(text, []byte(word)) {
			t.Errorf("the stream shows %q", word)
		}
	}
	feed := func(args ...string) outcome {
		cmd := command(t, args...)
		cmd.Stdin = bytes.NewReader(text)
		return launch(t, cmd).wait(t, time.Minute)
	}
	for range 2 {
		if o := feed("receive", "--repo", received, "--quiet"); o.code != 0 {
			t.Fatal(o.stderr)
		}
	}
	must(t, "verify", "latest", "--repo", received, "--depth", "stored", "--quiet")
	must(t, "verify", "latest", "--repo", received, "--depth", "pages", "--identity", key, "--quiet")
	restore := []string{"restore", "--from", "-", "--target", filepath.Join(dir, "data"), "--quiet", "--owner", self()}
	feed(restore...).wantRefusal(t, 2, "--identity", "encrypted")
	if o := feed(append(restore, "--identity", key)...); o.code != 0 {
		t.Fatal(o.stderr)
	}
	restored := mariadbtest.Open(t, newest(), filepath.Join(dir, "data"))
	wantValue(t, restored, "SELECT COUNT(*) FROM d.t", "1800")
}

// A stream that is not encrypted is encrypted as it comes into a repository that is, chain and
// all; and what is sent from a repository that is not may be encrypted on its way.
func TestStreamIsEncryptedOnTheWay(t *testing.T) {
	t.Parallel()
	ownEncryption(t)
	source := newBusyServer(t, newest())
	source.MustExec(t, "CREATE DATABASE zebraledger", "CREATE TABLE zebraledger.quaggainvoices (a INT PRIMARY KEY, "+
		"b VARCHAR(100))", "INSERT INTO zebraledger.quaggainvoices SELECT seq, MD5(seq) FROM mysql.seq_1_to_5000")
	identity, recipient := newIdentity(t)
	clear, direct, chain := t.TempDir(), newEncrypted(t, recipient), newEncrypted(t, recipient)
	stored := func(repository string) []string {
		return []string{"receive", "--repo", repository, "--json", "--quiet"}
	}

	pipe(t, streaming(source), stored(direct)).must(t)
	first := taking(t, source, clear, profile{})
	pipe(t, []string{"send", "latest", "--repo", clear, "--quiet"}, stored(chain)).must(t)
	source.MustExec(t, "INSERT INTO zebraledger.quaggainvoices VALUES (0, 'the increment')")
	last := taking(t, source, clear, profile{backup: []string{"--incremental"}})
	_, to := pipe(t, []string{"send", "latest", "--since", first.ID, "--repo", clear, "--quiet"}, stored(chain)).must(t)
	if ids := receivedIDs(t, to.stdout); len(ids) != 1 || ids[0] != last.ID {
		t.Errorf("received %v, want the increment", ids)
	}
	for _, repository := range []string{direct, chain} {
		wantNoName(t, repository, namesOf(source))
		must(t, "verify", "latest", "--repo", repository, "--depth", "stored", "--quiet")
		must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--identity", identity, "--quiet")
		mbk(t, "show", "latest", "--repo", repository).wantRefusal(t, 2, "--identity", "encrypted")
	}
	wantIncrement := func(folder string) {
		restored := mariadbtest.Open(t, newest(), folder)
		wantValue(t, restored, "SELECT b FROM zebraledger.quaggainvoices WHERE a = 0", "the increment")
	}
	target := filepath.Join(t.TempDir(), "data")
	must(t, append(restoreArgs("latest", chain, target), "--identity", identity)...)
	wantIncrement(target)

	// Encrypted on the way out: each time with another key, and yet one chain.
	out := []string{"send", "latest", "--repo", clear, "--recipient", recipient, "--quiet"}
	further := t.TempDir() // becomes encrypted
	for _, args := range [][]string{{"send", first.ID, "--repo", clear, "--recipient", recipient, "--quiet"},
		append(out, "--since", first.ID), out} {
		pipe(t, args, stored(further)).must(t)
	}
	wantNoName(t, further, namesOf(source))
	target = filepath.Join(t.TempDir(), "data")
	must(t, append(restoreArgs("latest", further, target), "--identity", identity)...)
	wantIncrement(target)
	o := mbk(t, append(out, "--recipient", "age1x")...)
	if o.code != 2 || !strings.Contains(o.stderr, "age1x") {
		t.Errorf("a recipient that is none: exit code %d: %s", o.code, o.stderr)
	}
}

// Whatever ends either side, nothing half is listed, the server is free, and the next try works.
func TestStreamBreaks(t *testing.T) {
	t.Parallel()
	onlyIn(t, "of an upload nothing shows before it is complete", inFolder, inEncrypted, inSFTP, inSFTPEncrypted)
	srv := mariadbtest.New(t, newest())
	srv.MustExec(t, statements(filled("t", 24, ""))...)
	repository := t.TempDir()
	slow := streaming(srv, "--rate-limit", "4MB", "--compress", "none", "--no-defaults")
	receive := []string{"receive", "--repo", repository, "--quiet"}
	free := func(t *testing.T) {
		t.Helper()
		until(t, "DDL that succeeds", func() bool {
			return srv.Exec(t.Context(), "SET lock_wait_timeout=5", "CREATE TABLE d.x (a INT)", "DROP TABLE d.x") == nil
		})
		if listed := must(t, "list", "--repo", repository).stdout; !strings.HasPrefix(listed, "no backups") {
			t.Errorf("list prints %q", listed)
		}
	}
	packs := func() []string {
		list, _ := filepath.Glob(filepath.Join(repository, "backups", "*", "*")) // no bad pattern
		return list
	}
	t.Run("the sender is killed", func(t *testing.T) {
		p := pipe(t, slow, receive)
		untilCopying(t, repository)
		_ = p.from.cmd.Process.Kill()
		p.to.wait(t, time.Minute).wantRefusal(t, 1, "sender", "breaks off")
		free(t)
		if list := packs(); len(list) > 0 {
			t.Errorf("the receiver leaves %v", list)
		}
	})
	t.Run("the receiver is killed", func(t *testing.T) {
		p := pipe(t, slow, receive)
		untilCopying(t, repository)
		_ = p.to.cmd.Process.Kill()
		p.from.wait(t, time.Minute).wantRefusal(t, 1, "the other end", "standard output: broken pipe")
		free(t)
		if len(packs()) == 0 {
			t.Error("a receiver that was killed has left nothing")
		}
	})
	t.Run("the sender is interrupted while nobody reads", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close() //nolint:errcheck // of a test
		p := launchInto(t, command(t, streaming(srv, "--compress", "none")...), w)
		time.Sleep(2 * time.Second) // until the pipe is full
		began := time.Now()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if o := p.wait(t, time.Minute); o.code != 130 || time.Since(began) > 8*time.Second {
			t.Errorf("exits %d after %s: %s", o.code, time.Since(began), o.stderr)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		free(t)
	})
	t.Run("the receiver is interrupted while nobody sends", func(t *testing.T) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close() //nolint:errcheck // of a test
		cmd := command(t, receive...)
		cmd.Stdin = r
		p := launch(t, cmd)
		time.Sleep(time.Second)
		began := time.Now()
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		if o := p.wait(t, time.Minute); o.code != 130 || time.Since(began) > 8*time.Second {
			t.Errorf("exits %d after %s: %s", o.code, time.Since(began), o.stderr)
		}
	})
	t.Run("a restore is killed", func(t *testing.T) {
		target := filepath.Join(t.TempDir(), "data")
		restore := []string{"restore", "--from", "-", "--target", target, "--quiet", "--owner", self()}
		inbox := func() []string {
			list, _ := filepath.Glob(filepath.Join(filepath.Dir(target), ".data.mbk-restore-*")) // no bad pattern
			return list
		}
		p := pipe(t, slow, restore)
		until(t, "inbox", func() bool { return len(inbox()) > 0 })
		o := pipe(t, slow, restore).to.wait(t, time.Minute)
		if o.code != 4 || !strings.Contains(o.stderr, "another restore") {
			t.Errorf("a second restore exits %d: %s", o.code, o.stderr)
		}
		_ = p.to.cmd.Process.Kill()
		p.from.wait(t, time.Minute)
		if len(inbox()) != 1 {
			t.Errorf("a killed restore leaves %v", inbox())
		}
		pipe(t, streaming(srv), restore).must(t)
		if left := inbox(); len(left) > 0 {
			t.Errorf("the next one leaves %v", left)
		}
	})
	t.Run("and then one succeeds", func(t *testing.T) {
		pipe(t, streaming(srv), receive).must(t)
		wantNothingLeft(t, repository, 1)
	})
	t.Run("the receiver stands still while the server writes its log several times over", func(t *testing.T) {
		testStandstill(t, srv, repository)
	})
}

// testStandstill takes a backup of which nothing is read until the server has written three times
// what its redo log holds.
func testStandstill(t *testing.T, srv *mariadbtest.Server, repository string) {
	const capacity = 16 << 20 // the least that the server's buffer for the log allows
	srv.MustExec(t, fmt.Sprintf("SET GLOBAL innodb_log_file_size=%d", capacity))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from := launchInto(t, command(t, streaming(srv, "--compress", "none", "--json")...), w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	before, since := 0, time.Now()
	until(t, "full pipe", func() bool {
		n, err := unix.IoctlGetInt(int(r.Fd()), unix.TIOCINQ)
		if err != nil || n != before {
			before, since = n, time.Now()
		}
		return before > 32<<10 && time.Since(since) > 2*time.Second
	})
	lsn := func() int {
		n, err := strconv.Atoi(srv.MustValue(t, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS "+
			"WHERE VARIABLE_NAME = 'INNODB_LSN_CURRENT'"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for begun := lsn(); lsn() < begun+3*capacity; {
		srv.MustExec(t, "UPDATE d.t SET n = n + 1")
	}
	cmd := command(t, "receive", "--repo", repository, "--quiet")
	cmd.Stdin = r
	to := launch(t, cmd)
	_ = r.Close() // the receiver has it
	if o := from.wait(t, 5*time.Minute); o.code != 0 {
		t.Fatalf("the backup exits %d: %s", o.code, o.stderr)
	}
	if o := to.wait(t, 5*time.Minute); o.code != 0 {
		t.Fatalf("the receiver exits %d: %s", o.code, o.stderr)
	}
	var b taken
	if err := json.Unmarshal(from.stderr.Bytes(), &b); err != nil || b.RedoBytes < 3*capacity {
		t.Errorf("the backup has %d bytes of redo (%v)", b.RedoBytes, err)
	}
	must(t, "verify", b.ID, "--repo", repository, "--quiet")
}

func TestStreamCalls(t *testing.T) {
	t.Parallel()
	repository := t.TempDir()
	target := filepath.Join(t.TempDir(), "data")
	for name, tt := range map[string]struct {
		args  []string
		wants [2]string
	}{
		"a repository as well": {[]string{"backup", "--to", "-", "--repo", repository, "--incremental", "--no-resume"},
			[2]string{"--repo, --incremental, --no-resume", ""}},
		"to a file": {[]string{"backup", "--to", "/tmp/x"}, [2]string{"--to", "--repo"}},
		"recipients of a repository": {[]string{"backup", "--repo", repository, "--recipient", "age1x"},
			[2]string{"--recipient", "mbk init"}},
		"send elsewhere": {[]string{"send", "latest", "--to", "/tmp/x", "--repo", repository},
			[2]string{"--to", "mbk copy"}},
		"restore from a file": {[]string{"restore", "--from", "/tmp/x", "--target", target}, [2]string{"--from", ""}},
		"restore from both": {
			[]string{"restore", "latest", "--from", "-", "--repo", repository, "--target", target, "--dry-run"},
			[2]string{`takes either an id or --from, but "latest"`, ""}},
		"restore without an id": {[]string{"restore", "--repo", repository, "--target", target},
			[2]string{"needs the id", ""}},
	} {
		t.Run(name, func(t *testing.T) { mbk(t, tt.args...).wantRefusal(t, 2, tt.wants[1], tt.wants[0]) })
	}
	for text, code := range map[string]int{"": 1, "something else, of some length": 2} {
		for _, args := range [][]string{{"receive", "--repo", repository},
			{"restore", "--from", "-", "--target", target, "--owner", self()}} {
			cmd := command(t, args...)
			cmd.Stdin = strings.NewReader(text)
			if o := launch(t, cmd).wait(t, time.Minute); o.code != code || !strings.Contains(o.stderr, "stream") ||
				!strings.Contains(o.stderr, "hint") {
				t.Errorf("mbk %s of %q exits %d: %s", args[0], text, o.code, o.stderr)
			}
		}
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(target), "*")); err != nil || len(left) > 0 {
		t.Errorf("refused restores leave %v (%v)", left, err)
	}
	t.Run("a terminal", func(t *testing.T) {
		end := pseudoTerminal(t)
		for _, args := range [][]string{{"backup", "--to", "-", "--socket", "/nowhere"}, {"receive", "--repo", repository}} {
			cmd := command(t, args...)
			cmd.Stdin = end
			launchInto(t, cmd, end).wait(t, time.Minute).wantRefusal(t, 2, "mbk", "is a terminal")
		}
	})
}

// pseudoTerminal returns a terminal.
func pseudoTerminal(t *testing.T) *os.File {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	end, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = end.Close(), master.Close() })
	return end
}
