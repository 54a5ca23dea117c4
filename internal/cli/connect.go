package cli

import (
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/stage"
)

const categoryConnection = "Connection (as in MariaDB's own programs)"

// encryptOption is a switch with three states: on, off and not given.
const encryptOption = "ssl"

// cleartextOption has the name that it has in MySQL's programs.
const cleartextOption = "enable-cleartext-plugin"

// connectionFlags are those of every command that talks to a server.
func connectionFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "defaults-file", Usage: "read options from `FILE` only"},
		&cli.StringFlag{Name: "defaults-extra-file", Usage: "read options from `FILE` after the global files"},
		&cli.StringFlag{Name: "defaults-group-suffix", Usage: "also read option groups whose names end in `SUFFIX`"},
		&cli.BoolFlag{Name: "no-defaults", Usage: "read no option file"},
		&cli.StringFlag{Name: "socket", Aliases: []string{"S"}, Usage: "connect through the Unix socket `FILE`"},
		&cli.StringFlag{Name: "host", Usage: "connect to `NAME` over TCP"},
		&cli.IntFlag{Name: "port", Aliases: []string{"P"}, Usage: "TCP port `N`"},
		&cli.StringFlag{Name: "protocol", Usage: "connect by `tcp|socket`"},
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "log in as `NAME`"},
		&cli.StringFlag{Name: passwordOption, Aliases: []string{"p"}, Usage: "log in with this password (glued: --password=WORD); without one it is asked for"},
		&cli.StringFlag{Name: passwordFileOption, Usage: "the password is the first line of `FILE`"},
		&cli.BoolFlag{Name: encryptOption, Usage: "encrypt, or fail; --skip-ssl: do not encrypt"},
		&cli.StringFlag{Name: "ssl-ca", Usage: "trust the authorities in `FILE`"},
		&cli.StringFlag{Name: "ssl-capath", Usage: "trust the authorities in `FOLDER`"},
		&cli.StringFlag{Name: "ssl-cert", Usage: "show the client certificate in `FILE`"},
		&cli.StringFlag{Name: "ssl-key", Usage: "its private key is in `FILE`"},
		&cli.BoolFlag{Name: "ssl-verify-server-cert", Usage: "the server's certificate must name the host"},
		&cli.BoolFlag{Name: cleartextOption, Usage: "tell any server the password that asks for it in clear text (PAM)"},
		&cli.DurationFlag{Name: "connect-timeout", Usage: "give up connecting after `DURATION`", Value: 10 * time.Second},
	}
	for _, f := range flags {
		categorise(f, categoryConnection)
	}
	return flags
}

// categorise puts a flag under a heading of the help.
func categorise(f cli.Flag, category string) {
	switch f := f.(type) {
	case *cli.StringFlag:
		f.Category = category
	case *cli.IntFlag:
		f.Category = category
	case *cli.BoolFlag:
		f.Category = category
	case *cli.DurationFlag:
		f.Category = category
	case *cli.StringSliceFlag:
		f.Category = category
	}
}

// tlsMode says how much the connection has to be protected. What stands on the
// command line wins over any option file.
func tlsMode(c *cli.Context, env Env) stage.TLSMode {
	const verifyOption = "ssl-verify-server-cert"
	verify, encrypt := env.sources[verifyOption].strength, env.sources[encryptOption].strength
	switch {
	case c.Bool(verifyOption) && (verify > encrypt || verify == byFlag):
		return stage.TLSVerify
	case encrypt > byDefault && !c.Bool(encryptOption):
		return stage.TLSOff
	case c.Bool(verifyOption):
		return stage.TLSVerify
	case encrypt > byDefault:
		return stage.TLSEncrypt
	}
	return stage.TLSAuto
}

// protocol is the one that was asked for; a port or a socket on the command line
// or in the environment asks for it too.
func protocol(c *cli.Context, env Env) (stage.Protocol, error) {
	port, socket := env.sources["port"].strength, env.sources["socket"].strength
	name := strings.ToLower(c.String("protocol"))
	switch asked := max(port, socket); {
	case asked < byVariable, port == socket, env.sources["host"].strength >= asked, env.sources["protocol"].strength >= asked:
	case port > socket:
		name = string(stage.ProtocolTCP)
	default:
		name = string(stage.ProtocolSocket)
	}
	switch p := stage.Protocol(name); p {
	case stage.ProtocolAuto, stage.ProtocolTCP, stage.ProtocolSocket:
		return p, nil
	}
	return "", usagef("--protocol is tcp or socket, not %q", name)
}

// connection makes the connection's configuration out of the options.
func connection(c *cli.Context, env Env) (stage.Config, error) {
	cfg := stage.Config{
		Socket: c.String("socket"), Host: c.String("host"), Port: c.Int("port"), User: c.String("user"),
		ConnectTimeout: c.Duration("connect-timeout"), Cleartext: c.Bool(cleartextOption),
		TLS: stage.TLS{
			Mode: tlsMode(c, env),
			CA:   c.String("ssl-ca"), CAPath: c.String("ssl-capath"), Cert: c.String("ssl-cert"), Key: c.String("ssl-key"),
		},
	}
	var err error
	if cfg.Protocol, err = protocol(c, env); err != nil {
		return cfg, err
	}
	if cfg.ConnectTimeout <= 0 {
		return cfg, usagef("--connect-timeout is %s, want more than nothing", cfg.ConnectTimeout)
	}
	if cfg.Port < 0 || cfg.Port > 65535 {
		return cfg, usagef("--port is %d, want 1 to 65535", cfg.Port)
	}
	if (cfg.TLS.Cert == "") != (cfg.TLS.Key == "") {
		return cfg, usagef("--ssl-cert and --ssl-key belong together, and one of them is missing")
	}
	if cfg.Password, err = password(c, env); err != nil {
		return cfg, err
	}
	if err := cfg.Validate(); err != nil {
		return cfg, &usageError{message: err.Error()}
	}
	return cfg, nil
}

// connect connects to the server that the options name.
func connect(c *cli.Context, env Env) (*stage.Server, error) {
	cfg, err := connection(c, env)
	if err != nil {
		return nil, err
	}
	return stage.Connect(c.Context, cfg)
}
