package cli

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/urfave/cli/v2"

	"mbk/stage"
)

// What stands on the command line wins over the option files, and those are read
// as MariaDB's own programs read them.
func TestConnectionSettings(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		args []string
		want stage.Config
	}{
		"file only":                    {"[client]\nsocket=/s\nuser=u\npassword=p#w\nport=3307", nil, stage.Config{Socket: "/s", User: "u", Password: "p", Port: 3307}},
		"quoted password":              {"[client]\npassword='p#w'", nil, stage.Config{Password: "p#w"}},
		"our group last":               {"[client]\nuser=a\n[mbk]\nuser=b", nil, stage.Config{User: "b"}},
		"the last line counts":         {"[mbk]\nuser=b\n[client]\nuser=a", nil, stage.Config{User: "a"}},
		"flag over file":               {"[client]\nuser=u\nsocket=/s", []string{"--user", "v"}, stage.Config{User: "v", Socket: "/s"}},
		"verify flag over skip-ssl":    {"[client]\nskip-ssl", []string{"--ssl-verify-server-cert"}, stage.Config{TLS: stage.TLS{Mode: stage.TLSVerify}}},
		"skip flag over ssl in file":   {"[client]\nssl", []string{"--skip-ssl"}, stage.Config{TLS: stage.TLS{Mode: stage.TLSOff}}},
		"ssl in file":                  {"[client]\nssl", nil, stage.Config{TLS: stage.TLS{Mode: stage.TLSEncrypt}}},
		"ssl=0 in file":                {"[client]\nssl=0", nil, stage.Config{TLS: stage.TLS{Mode: stage.TLSOff}}},
		"disable-ssl in file":          {"[client]\nssl\ndisable_ssl", nil, stage.Config{TLS: stage.TLS{Mode: stage.TLSOff}}},
		"verify in file":               {"[client]\nssl-verify-server-cert", nil, stage.Config{TLS: stage.TLS{Mode: stage.TLSVerify}}},
		"skip verify in file":          {"[client]\nssl\nskip-ssl-verify-server-cert", nil, stage.Config{TLS: stage.TLS{Mode: stage.TLSEncrypt}}},
		"port on the line means TCP":   {"[client]\nsocket=/s", []string{"--port", "3307"}, stage.Config{Socket: "/s", Port: 3307, Protocol: stage.ProtocolTCP}},
		"socket on the line is meant":  {"[client]\nhost=db1", []string{"--socket", "/t"}, stage.Config{Socket: "/t", Host: "db1", Protocol: stage.ProtocolSocket}},
		"protocol in file, upper case": {"[client]\nprotocol=TCP", nil, stage.Config{Protocol: stage.ProtocolTCP}},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "my.cnf")
			if err := os.WriteFile(file, []byte(c.file+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			set := flag.NewFlagSet("mbk", flag.ContinueOnError)
			for _, f := range connectionFlags() {
				if err := f.Apply(set); err != nil {
					t.Fatal(err)
				}
			}
			if err := set.Parse(append(c.args, "--defaults-file", file)); err != nil {
				t.Fatal(err)
			}
			ctx := cli.NewContext(&cli.App{}, set, nil)
			env := Env{Getenv: func(string) string { return "" }, Stderr: os.Stderr}
			s, err := readSettings(ctx, env)
			if err != nil {
				t.Fatal(err)
			}
			got, err := s.config(ctx, env)
			if err != nil {
				t.Fatal(err)
			}
			got.ConnectTimeout = 0
			if got != c.want {
				t.Errorf("config = %#v %#v, want %#v %#v", got, got.TLS, c.want, c.want.TLS)
			}
		})
	}
}
