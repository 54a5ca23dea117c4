package cli

import (
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/internal/optfile"
	"mbk/stage"
)

const categoryConnection = "Connection (as in MariaDB's own programs)"

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
		&cli.StringFlag{Name: "ssl-ca", Usage: "trust the authorities in `FILE`"},
		&cli.StringFlag{Name: "ssl-capath", Usage: "trust the authorities in `FOLDER`"},
		&cli.StringFlag{Name: "ssl-cert", Usage: "show the client certificate in `FILE`"},
		&cli.StringFlag{Name: "ssl-key", Usage: "its private key is in `FILE`"},
		&cli.BoolFlag{Name: "ssl-verify-server-cert", Usage: "the server's certificate must name the host"},
		&cli.BoolFlag{Name: "skip-ssl", Usage: "do not encrypt"},
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
	}
}

// optionGroups are the groups of option files that mbk reads, the last wins.
func optionGroups() []string { return []string{"client", "client-server", "client-mariadb", "mbk"} }

// settings are the options of the option files, for what no flag says.
type settings map[string]optfile.Setting

// readSettings reads the option files.
func readSettings(c *cli.Context, env Env) (settings, error) {
	list, err := optfile.Read(optfile.Options{
		File: c.String("defaults-file"), Extra: c.String("defaults-extra-file"),
		Suffix: c.String("defaults-group-suffix"), NoDefaults: c.Bool("no-defaults"), Groups: optionGroups(),
		Warn: func(message string) { warn(env, message) }, Getenv: env.Getenv,
	})
	if err != nil {
		return nil, &usageError{message: err.Error()}
	}
	s := settings{}
	for _, one := range list {
		s[strings.ReplaceAll(one.Name, "_", "-")] = one
	}
	return s, nil
}

// text is the flag's value if it was given, else the option files'.
func (s settings) text(c *cli.Context, name string) string {
	if c.IsSet(name) {
		return c.String(name)
	}
	if one, ok := s[name]; ok {
		return one.Value
	}
	return c.String(name)
}

// on is text for a flag without a value.
func (s settings) on(c *cli.Context, name string) bool {
	if c.IsSet(name) {
		return c.Bool(name)
	}
	one, ok := s[name]
	if !ok {
		return c.Bool(name)
	}
	switch strings.ToLower(one.Value) {
	case "0", "off", "false", "no":
		return false
	}
	return true
}

// config makes the connection's configuration out of flags and option files.
func (s settings) config(c *cli.Context, env Env) (stage.Config, error) {
	cfg := stage.Config{
		Protocol: stage.Protocol(strings.ToLower(s.text(c, "protocol"))),
		Socket:   s.text(c, "socket"), Host: s.text(c, "host"), User: s.text(c, "user"),
		ConnectTimeout: c.Duration("connect-timeout"),
		TLS: stage.TLS{
			CA: s.text(c, "ssl-ca"), CAPath: s.text(c, "ssl-capath"), Cert: s.text(c, "ssl-cert"), Key: s.text(c, "ssl-key"),
		},
	}
	switch {
	case s.on(c, "skip-ssl"):
		cfg.TLS.Mode = stage.TLSOff
	case s.on(c, "ssl-verify-server-cert"):
		cfg.TLS.Mode = stage.TLSVerify
	}
	if text := s.text(c, "port"); c.IsSet("port") {
		cfg.Port = c.Int("port")
	} else if text != "" {
		port, err := strconv.Atoi(text)
		if err != nil {
			return cfg, usagef("port %q is not a number", text)
		}
		cfg.Port = port
	}
	var err error
	if cfg.Password, err = s.password(env); err != nil {
		return cfg, err
	}
	if err := cfg.Validate(); err != nil {
		return cfg, &usageError{message: err.Error()}
	}
	return cfg, nil
}

// password comes from a prompt, the environment or an option file.
func (s settings) password(env Env) (string, error) {
	if env.prompt {
		return askPassword()
	}
	if word := env.Getenv(passwordVariable); word != "" {
		return word, nil
	}
	return s["password"].Value, nil
}

// connect connects to the server that flags and option files name.
func connect(c *cli.Context, env Env, s settings) (*stage.Server, error) {
	cfg, err := s.config(c, env)
	if err != nil {
		return nil, err
	}
	return stage.Connect(c.Context, cfg)
}
