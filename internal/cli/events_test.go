package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// eventsDocument is what the tests read of "events --json".
type eventsDocument struct {
	Transactions []struct {
		GTID   string   `json:"gtid"`
		Kinds  []string `json:"kinds"`
		Rows   int64    `json:"rows"`
		Tables []struct {
			Name string `json:"name"`
		} `json:"tables"`
		Statements []string `json:"statements"`
		Object     string   `json:"object"`
		Position   int64    `json:"position"`
	} `json:"transactions"`
	More     bool     `json:"more"`
	Searched int      `json:"searched"`
	Warnings []string `json:"warnings"`
}

// A DROP is found by one search, in the archive and in the server's files, and the table is brought
// back by one restore.
func TestEvents(t *testing.T) {
	t.Parallel()
	version := mariadbtest.Some(t, "10.5", "10.11", "11.8")[0]
	source := mariadbtest.New(t, version, "--binlog-format=ROW")
	repository := t.TempDir()
	source.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.orders (a INT PRIMARY KEY, b TEXT)",
		"CREATE TABLE shop.other (a INT)")
	must(t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	source.MustExec(t, "INSERT INTO shop.orders SELECT seq, MD5(seq) FROM shop.seq_1_to_500", "FLUSH BINARY LOGS",
		"UPDATE shop.orders SET b='wrong' WHERE a > 100", "INSERT INTO shop.other VALUES (1)")
	time.Sleep(1100 * time.Millisecond) // the log has whole seconds
	noon := time.Now().UTC().Truncate(time.Second)
	source.MustExec(t, "DROP TABLE shop.other, shop.orders", "INSERT INTO mysql.time_zone VALUES (1, 'N')")
	archiving(t, source, repository)

	dropped := ""
	for _, where := range [][]string{{"--repo", repository}, {"--binlog-dir", source.Datadir},
		{"--binlog-dir", filepath.Join(source.Datadir, "binlog.index")}} {
		with := func(args ...string) eventsDocument {
			return document[eventsDocument](t, append(append([]string{"events"}, where...), args...)...)
		}
		one := with("--table", "Shop.order?", "--kind", "drop", "--from", noon.Format(time.RFC3339), "--to", "0s", "-v")
		if len(one.Transactions) != 1 || one.Transactions[0].Tables[1].Name != "shop.orders" ||
			!strings.HasPrefix(one.Transactions[0].Statements[0], "DROP TABLE") {
			t.Fatalf("the DROP: %+v", one)
		}
		dropped = one.Transactions[0].GTID
		if n := len(with("--table", "shop.orders").Transactions); n != 5 { // with CREATE DATABASE
			t.Errorf("%d transactions change shop.orders, want 5", n)
		}
		rows := with("--min-rows", "400", "--kind", "UPDATE").Transactions
		if len(rows) != 1 || rows[0].Rows != 400 {
			t.Errorf("updates of 400 rows: %+v", rows)
		}
		if got := with("--to", noon.Format(time.RFC3339), "--limit", "2"); len(got.Transactions) != 2 || !got.More {
			t.Errorf("with a limit: %+v", got)
		}
		if got := with("--from", "1h", "--to", "30m"); len(got.Transactions) != 0 {
			t.Errorf("before the server was made: %+v", got)
		}
	}
	o := must(t, "events", "--repo", repository, "--kind", "drop")
	if !strings.Contains(o.stdout, dropped) || !strings.Contains(o.stderr, "--until before-gtid:"+dropped) {
		t.Errorf("%s%s", o.stdout, o.stderr)
	}
	target := filepath.Join(t.TempDir(), "restored")
	must(t, append(restoreArgs("latest", repository, target), "--until", "before-gtid:"+dropped)...)
	wantValue(t, mariadbtest.Open(t, version, target), "SELECT COUNT(*) FROM shop.orders WHERE b='wrong'", "400")

	for name, args := range map[string][]string{
		"from after to": {"--repo", repository, "--from", "1h", "--to", "2h"},
		"no kind":       {"--repo", repository, "--kind", "x"},
		"no time":       {"--repo", repository, "--from", "noon"},
		"no pattern":    {"--repo", repository, "--table", "orders"},
		"both":          {"--repo", repository, "--binlog-dir", repository},
		"no log":        {"--binlog-dir", t.TempDir()}, "no archive": {"--repo", newRepositoryFolder(t)},
	} {
		if o := mbk(t, append([]string{"events"}, args...)...); o.code != 2 {
			t.Errorf("%s: exit code %d: %s", name, o.code, o.stderr)
		}
	}
	damagedLog(t, source)
}

// newRepositoryFolder makes an empty repository.
func newRepositoryFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, "init", "--repo", dir)
	return dir
}

// damagedLog searches a log with a byte that is wrong, and one that is cut off.
func damagedLog(t *testing.T, source *mariadbtest.Server) {
	t.Helper()
	first := filepath.Join(source.Datadir, "binlog.000001")
	whole, err := os.ReadFile(first)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, b := range map[string][]byte{"flipped": append([]byte{}, whole...), "cut": whole[:len(whole)-3]} {
		if name == "flipped" {
			b[len(b)/2] ^= 4
		}
		if err := os.WriteFile(filepath.Join(dir, "binlog.000001"), b, 0o600); err != nil {
			t.Fatal(err)
		}
		if o := mbk(t, "events", "--binlog-dir", dir); o.code != 3 || !strings.Contains(o.stderr, "binlog.000001") {
			t.Errorf("%s: exit code %d: %s", name, o.code, o.stderr)
		}
	}
}
