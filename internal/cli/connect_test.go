package cli

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"mbk/internal/cli/options"
	"mbk/stage"
)

// What stands on the command line wins over the option files, and those are read
// as MariaDB's own programs read them.
func TestConnectionSettings(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		args []string
		env  map[string]string
		want stage.Config
	}{
		"file only": {"[client]\nsocket=/s\nuser=u\npassword=p#w\nport=3307", nil, nil,
			stage.Config{Socket: "/s", User: "u", Password: "p", Port: 3307}},
		"quoted password":      {"[client]\npassword='p#w'", nil, nil, stage.Config{Password: "p#w"}},
		"our group last":       {"[client]\nuser=a\n[mbk]\nuser=b", nil, nil, stage.Config{User: "b"}},
		"the last line counts": {"[mbk]\nuser=b\n[client]\nuser=a", nil, nil, stage.Config{User: "a"}},
		"flag over file": {"[client]\nuser=u\nsocket=/s", []string{"--user", "v"}, nil,
			stage.Config{User: "v", Socket: "/s"}},
		"verify flag over skip-ssl": {"[client]\nskip-ssl", []string{"--ssl-verify-server-cert"}, nil,
			stage.Config{TLS: stage.TLS{Mode: stage.TLSVerify}}},
		"skip flag over ssl in file": {"[client]\nssl", []string{"--skip-ssl"}, nil,
			stage.Config{TLS: stage.TLS{Mode: stage.TLSOff}}},
		"ssl in file":   {"[client]\nssl", nil, nil, stage.Config{TLS: stage.TLS{Mode: stage.TLSEncrypt}}},
		"ssl=0 in file": {"[client]\nssl=0", nil, nil, stage.Config{TLS: stage.TLS{Mode: stage.TLSOff}}},
		"disable-ssl in file": {"[client]\nssl\ndisable_ssl", nil, nil,
			stage.Config{TLS: stage.TLS{Mode: stage.TLSOff}}},
		"verify in file": {"[client]\nssl-verify-server-cert", nil, nil,
			stage.Config{TLS: stage.TLS{Mode: stage.TLSVerify}}},
		"skip verify in file": {"[client]\nssl\nskip-ssl-verify-server-cert", nil, nil,
			stage.Config{TLS: stage.TLS{Mode: stage.TLSEncrypt}}},
		"port on the line means TCP": {"[client]\nsocket=/s", []string{"--port", "3307"}, nil,
			stage.Config{Socket: "/s", Port: 3307, Protocol: stage.ProtocolTCP}},
		"socket on the line is meant": {"[client]\nhost=db1", []string{"--socket", "/t"}, nil,
			stage.Config{Socket: "/t", Host: "db1", Protocol: stage.ProtocolSocket}},
		"protocol in file, upper case": {"[client]\nprotocol=TCP", nil, nil, stage.Config{Protocol: stage.ProtocolTCP}},
		"group of the command": {"[mbk-check]\nuser=c\n[mbk-backup]\nuser=d\n[mbk]\nuser=b", nil, nil,
			stage.Config{User: "c"}},
		"variable over file": {"[mbk-check]\nuser=c\nport=1", nil,
			map[string]string{"MBK_USER": "v", "MBK_PASSWORD": "w"}, stage.Config{User: "v", Password: "w", Port: 1}},
		"flag over variable": {"", []string{"-uf"}, map[string]string{"MBK_USER": "v"}, stage.Config{User: "f"}},
		"port in the environment": {"[client]\nsocket=/s", nil, map[string]string{"MBK_PORT": "3307"},
			stage.Config{Socket: "/s", Port: 3307, Protocol: stage.ProtocolTCP}},
		"socket over a variable": {"", []string{"-S", "/s"}, map[string]string{"MBK_PORT": "1", "MBK_HOST": "h"},
			stage.Config{Socket: "/s", Host: "h", Port: 1, Protocol: stage.ProtocolSocket}},
		"no ssl in the environment": {"[client]\nssl-verify-server-cert", nil, map[string]string{"MBK_SSL": "off"},
			stage.Config{TLS: stage.TLS{Mode: stage.TLSOff}}},
		"loose and underscores": {"[mbk]\nloose_user=u\nloose-nonsense=1",
			[]string{"--loose-skip_ssl", "--loose-rubbish"}, nil, stage.Config{User: "u", TLS: stage.TLS{Mode: stage.TLSOff}}},
		"others' options in [client]": {"[client]\ncompress\ndefault-character-set=utf8mb4\nuser=u", nil, nil,
			stage.Config{User: "u"}},
		"seconds": {"[client]\nconnect-timeout=7", nil, nil,
			stage.Config{ConnectTimeout: 7 * time.Second}},
		"duration": {"[client]\nconnect-timeout=7", []string{"--connect-timeout", "1m"}, nil,
			stage.Config{ConnectTimeout: time.Minute}},
		"seconds on the command line": {"", []string{"--connect-timeout=8"}, nil,
			stage.Config{ConnectTimeout: 8 * time.Second}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "my.cnf")
			if err := os.WriteFile(file, []byte(c.file+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			env := Env{Getenv: func(name string) string { return c.env[name] }}
			env.Stderr = os.Stderr
			p := newProgram(env)
			var o checkOptions
			p.command = &command{
				name: "check", options: bind(func(s *options.Set) { o.bind(s, p) }),
				run: func(context.Context) error { return nil },
			}
			p.commands = []*command{p.command}
			args, err := p.command.options.Spell(append([]string{"--defaults-file", file}, c.args...))
			if err == nil {
				err = p.app().RunContext(t.Context(), append([]string{"mbk", "check"}, args...))
			}
			if err != nil {
				t.Fatal(err)
			}
			got, err := o.config(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if c.want.ConnectTimeout == 0 {
				got.ConnectTimeout = 0
			}
			if got != c.want {
				t.Errorf("config = %#v %#v, want %#v %#v", got, got.TLS, c.want, c.want.TLS)
			}
		})
	}
}
