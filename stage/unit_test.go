package stage

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/innodb"
)

func TestParseStatus(t *testing.T) {
	const text = "\n---\nLOG\n---\nLog sequence number 7234567\nLog flushed up to   7234000\nPages flushed up to " +
		"44404\nLast checkpoint at  44392\n--\n"
	tests := []struct {
		name string
		text string
		want innodb.LSNs
		ok   bool
	}{
		{"as printed", text, innodb.LSNs{Current: 7234567, Flushed: 7234000, Checkpoint: 44392}, true},
		{"nothing", "", innodb.LSNs{}, false},
		{"cut off", text[:60], innodb.LSNs{}, false},
		{"number too large", strings.Replace(text, "7234567", "99999999999999999999", 1), innodb.LSNs{}, false},
		{"no number", strings.Replace(text, "44392", "soon", 1), innodb.LSNs{}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseStatus(tt.text)
			if got != tt.want || (err == nil) != tt.ok {
				t.Errorf("parseStatus = %+v, %v; want %+v, ok = %t", got, err, tt.want, tt.ok)
			}
		})
	}
}

func TestParseVersion(t *testing.T) {
	tests := []struct {
		text                string
		major, minor, patch int // all 0: an error
	}{
		{"10.11.19-MariaDB-0+deb12u1-log", 10, 11, 19},
		{"11.8.6-MariaDB-0+deb13u1 from Debian", 11, 8, 6},
		{"12.0.1", 12, 0, 1},
		{"", 0, 0, 0},
		{"10.11", 0, 0, 0},
		{"10.11.19.2", 0, 0, 0},
		{"10..1-x", 0, 0, 0},
		{"MariaDB 10.11.19", 0, 0, 0},
		{"99999999999999999999.1.1", 0, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.text, func(t *testing.T) {
			got, err := ParseVersion(tt.text)
			want := Version{tt.major, tt.minor, tt.patch, tt.text}
			if tt.major == 0 {
				want = Version{}
			}
			if got != want || (err == nil) != (tt.major != 0) {
				t.Errorf("ParseVersion = %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

func TestVersionAtLeast(t *testing.T) {
	v := Version{Major: 10, Minor: 11, Patch: 5}
	for _, other := range []struct {
		major, minor, patch int
		want                bool
	}{{10, 11, 5, true}, {10, 11, 6, false}, {10, 12, 0, false}, {11, 0, 0, false}, {10, 6, 99, true}, {9, 99, 99, true},
		{10, 11, 4, true}} {
		if got := v.AtLeast(other.major, other.minor, other.patch); got != other.want {
			t.Errorf("10.11.5 at least %d.%d.%d: %t, want %t", other.major, other.minor, other.patch, got, other.want)
		}
	}
}

func TestShorten(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"as it is", "UPDATE t SET a = 1", "UPDATE t SET a = ?"},
		{"on one line", "UPDATE t\n\tSET a = 1\r\n", "UPDATE t SET a = ?"},
		{"cut off", strings.Repeat("é", 200), strings.Repeat("é", 97) + "..."},
		{"identified by", "CREATE USER u IDENTIFIED BY 'secret'", "CREATE USER u IDENTIFIED ..."},
		{"set password", "set password for u = password('secret')", "set password ..."},
		{"change master", "CHANGE MASTER TO master_user='r', master_password='secret'",
			"CHANGE MASTER TO master_user=?, master_password ..."},
		{"nothing", "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := shorten(tt.in); got != tt.want {
				t.Errorf("shorten = %q, want %q", got, tt.want)
			}
		})
	}
}

func TestKindOf(t *testing.T) {
	tests := []struct {
		statement string
		want      statementKind
	}{
		{"", kindOther},
		{"SELECT 1", kindOther},
		{"show tables", kindOther},
		{"update t set a=1", kindWrite},
		{"/* job */ INSERT INTO t VALUES (1)", kindWrite},
		{"-- a note\nDELETE FROM t", kindWrite},
		{"# a note\nREPLACE INTO t VALUES (1)", kindWrite},
		{"(select 1)", kindOther},
		{"CREATE TABLE t (a int)", kindDDL},
		{"alter table t force", kindDDL},
		{"/* only a comment", kindOther},
	}
	for _, tt := range tests {
		t.Run(tt.statement, func(t *testing.T) {
			if got := kindOf(tt.statement); got != tt.want {
				t.Errorf("kindOf = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestSecret(t *testing.T) {
	tests := []struct {
		name, value string
		want        bool
	}{
		{"file_key_management_filekey", "hunter2", true},
		{"file_key_management_filekey", "FILE:/etc/key", false},
		{"file_key_management_filename", "/etc/keys", false},
		{"hashicorp_key_management_token", "s.123", true},
		{"s3_secret_key", "x", true},
		{"wsrep_sst_auth", "u:p", true},
		{"wsrep_sst_auth", "", false},
		{"datadir", "/var/lib/mysql", false},
	}
	for _, tt := range tests {
		if got := secret(tt.name, tt.value); got != tt.want {
			t.Errorf("secret(%s, %s) = %t, want %t", tt.name, tt.value, got, tt.want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"root@localhost": "'root'@'localhost'", "a@b@%": "'a@b'@'%'", `o'b\n@::1`: `'o''b\\n'@'::1'`,
		"@localhost": "''@'localhost'", "role": "'role'",
	} {
		if got := quoteAccount(in); got != want {
			t.Errorf("quoteAccount(%s) = %s, want %s", in, got, want)
		}
	}
	if got, want := quoteName("a`b"), "`a``b`"; got != want {
		t.Errorf("quoteName = %s, want %s", got, want)
	}
}

func TestConfigAddress(t *testing.T) {
	tests := []struct {
		name          string
		cfg           Config
		network, addr string
	}{
		{"socket given", Config{Socket: "/s"}, "unix", "/s"},
		{"localhost is the socket", Config{Socket: "/s", Host: "localhost", Port: 3307}, "unix", "/s"},
		{"a host wins over a socket", Config{Socket: "/s", Host: "db"}, "tcp", "db:3306"},
		{"host and port", Config{Host: "::1", Port: 3307}, "tcp", "[::1]:3307"},
		{"localhost by network", Config{Protocol: ProtocolTCP, Host: "localhost"}, "tcp", "localhost:3306"},
		{"network, no host", Config{Protocol: ProtocolTCP}, "tcp", "127.0.0.1:3306"},
		{"socket in spite of a host", Config{Protocol: ProtocolSocket, Host: "db", Socket: "/s"}, "unix", "/s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if network, addr := tt.cfg.address(); network != tt.network || addr != tt.addr {
				t.Errorf("address = %s %s, want %s %s", network, addr, tt.network, tt.addr)
			}
		})
	}
	if network, addr := (Config{}).address(); network != "unix" || !filepath.IsAbs(addr) {
		t.Errorf("address of the zero Config = %s %s, want a socket", network, addr)
	}
	if os.Geteuid() == 0 {
		t.Setenv("USER", "somebody")
		if got := (Config{}).user(); got != "root" {
			t.Errorf("user = %s, want root", got)
		}
	}
}

func TestConfigHidesThePassword(t *testing.T) {
	cfg := Config{User: "u", Password: "secret", Host: "db"}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("connect", "config", cfg)
	for _, text := range []string{fmt.Sprint(cfg), fmt.Sprintf("%+v %#v %s %q", cfg, cfg, cfg, cfg), log.String(),
		fmt.Sprint(&cfg)} {
		if strings.Contains(text, "secret") {
			t.Errorf("the password is in %q", text)
		}
	}
}

func TestValidate(t *testing.T) {
	bad := map[string]error{
		"protocol":         Config{Protocol: "pipe"}.Validate(),
		"tls mode":         Config{TLS: TLS{Mode: "maybe"}}.Validate(),
		"port":             Config{Port: 70000}.Validate(),
		"timeout":          Config{ConnectTimeout: -1}.Validate(),
		"key without cert": Config{TLS: TLS{Key: "k"}}.Validate(),
		"slice":            StageOptions{Slice: -1}.Validate(),
		"patience":         StageOptions{Patience: -1}.Validate(),
	}
	for name, err := range bad {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if err := errors.Join(Config{}.Validate(), StageOptions{}.Validate()); err != nil {
		t.Errorf("zero values: %v", err)
	}
}

func TestBusyErrorText(t *testing.T) {
	who := func(id uint64) Blocker {
		return Blocker{ID: id, User: "app", Host: "10.0.0.1:5", Command: "Query", Time: 12345 * time.Millisecond,
			Statement: "UPDATE t", Reason: "writes"}
	}
	tests := []struct {
		name string
		err  BusyError
		want string
	}{
		{"nobody known", BusyError{Wanted: "BACKUP STAGE START", Waited: 1040 * time.Millisecond, Tries: 1},
			"BACKUP STAGE START: not granted within 1s"},
		{"one", BusyError{Wanted: "BACKUP STAGE BLOCK_DDL", Waited: 90 * time.Second, Tries: 12, Blockers: []Blocker{who(7)}},
			"BACKUP STAGE BLOCK_DDL: not granted within 1m30s (12 tries): held up by connection 7 (app@10.0.0.1:5, 12.3s, " +
				"writes): UPDATE t"},
		{"many", BusyError{Wanted: "X", Waited: time.Second, Tries: 1,
			Blockers: []Blocker{who(1), who(2), who(3), who(4), who(5)}},
			"X: not granted within 1s: held up by " + who(1).String() + "; " + who(2).String() + "; " + who(3).String() +
				"; and 2 more"},
		{"idle", BusyError{Wanted: "X", Waited: time.Second,
			Blockers: []Blocker{{ID: 3, User: "u", Host: "h", Command: "Sleep", Time: time.Minute,
				Reason: "has a transaction open"}}},
			"X: not granted within 1s: held up by connection 3 (u@h, idle for 1m0s, has a transaction open)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

// What was committed is the position, where the threads have not noted it.
func TestReplicaAtLeast(t *testing.T) {
	for _, tt := range []struct {
		position  string
		committed []string
		want      string
	}{
		{"", nil, ""},
		{"", []string{"0-1-3"}, "0-1-3"},
		{"0-1-723", []string{"0-1-724"}, "0-1-724"},
		{"0-1-724", []string{"0-1-724"}, "0-1-724"},
		{"0-2-725", []string{"0-1-724"}, "0-2-725"},
		{"0-1-10,7-3-2", []string{"7-1-3", "0-1-10"}, "0-1-10,7-1-3"},
		{"0-1-10,7-3-2", []string{"7-3-2", "0-1-9"}, "0-1-10,7-3-2"},
	} {
		for _, sql := range []string{"Yes", "No"} {
			want := Replica{GTID: tt.want, SQL: sql, File: "log.1", Position: 4711}
			if sql == "Yes" && tt.want != tt.position {
				want.File, want.Position = "", 0
			}
			if got := (Replica{GTID: tt.position, SQL: sql, File: "log.1", Position: 4711}).atLeast(tt.committed); got != want {
				t.Errorf("%q with %q: %+v, want %+v", tt.position, tt.committed, got, want)
			}
		}
	}
}
