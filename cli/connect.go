package cli

import (
	"fmt"
	"slices"
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

// optionGroups are the groups of option files that mbk reads.
func optionGroups() []string { return []string{"client", "client-server", "client-mariadb", "mbk"} }

// settings are the lines of the option files, for what no flag says. The last line
// of a name counts.
type settings struct{ lines []optfile.Setting }

// readSettings reads the option files.
func readSettings(c *cli.Context, env Env) (settings, error) {
	list, err := optfile.Read(optfile.Options{
		File: c.String("defaults-file"), Extra: c.String("defaults-extra-file"),
		Suffix: c.String("defaults-group-suffix"), NoDefaults: c.Bool("no-defaults"), Groups: optionGroups(),
		Warn: func(message string) { warn(env, message) }, Getenv: env.Getenv,
	})
	if err != nil {
		return settings{}, &usageError{message: err.Error()}
	}
	return settings{list}, nil
}

// last returns the last of the lines in the option files with one of these names.
func (s settings) last(names ...string) (line optfile.Setting, ok bool) {
	for _, one := range s.lines {
		if slices.Contains(names, one.Name) {
			line, ok = one, true
		}
	}
	return line, ok
}

// text is the flag's value if it was given, else the option files'.
func (s settings) text(c *cli.Context, name string) string {
	if line, ok := s.last(name); ok && !c.IsSet(name) {
		return line.Value
	}
	return c.String(name)
}

// number is text for a number.
func (s settings) number(c *cli.Context, name string) (int, error) {
	line, ok := s.last(name)
	if !ok || c.IsSet(name) {
		return c.Int(name), nil
	}
	n, err := strconv.Atoi(line.Value)
	if err != nil {
		return 0, usagef("%s, line %d: %s %q is not a number", line.File, line.Line, name, line.Value)
	}
	return n, nil
}

// on reads an option that is switched on and off, in all the ways in which an
// option file can say that. known is false if it does not.
func (s settings) on(name string) (value, known bool) {
	line, ok := s.last(name, "enable-"+name, "skip-"+name, "disable-"+name)
	if !ok {
		return false, false
	}
	value = true
	if line.HasValue {
		text := strings.ToLower(line.Value)
		value = text == "1" || text == "on" || text == "true"
	}
	if strings.HasPrefix(line.Name, "skip-") || strings.HasPrefix(line.Name, "disable-") {
		value = !value
	}
	return value, true
}

// tlsMode says how much the connection has to be protected. What stands on the
// command line wins over any option file.
func (s settings) tlsMode(c *cli.Context) stage.TLSMode {
	switch {
	case c.Bool("ssl-verify-server-cert"):
		return stage.TLSVerify
	case c.Bool("skip-ssl"):
		return stage.TLSOff
	}
	encrypt, encryptKnown := s.on("ssl")
	verify, _ := s.on("ssl-verify-server-cert")
	switch {
	case encryptKnown && !encrypt:
		return stage.TLSOff
	case verify && !c.IsSet("ssl-verify-server-cert"):
		return stage.TLSVerify
	case encryptKnown:
		return stage.TLSEncrypt
	}
	return stage.TLSAuto
}

// protocol is the one that was asked for; a port or a socket on the command line
// asks for it too.
func (s settings) protocol(c *cli.Context) (stage.Protocol, error) {
	name := strings.ToLower(s.text(c, "protocol"))
	switch {
	case c.IsSet("protocol"), c.IsSet("host"), c.IsSet("port") == c.IsSet("socket"):
	case c.IsSet("port"):
		name = string(stage.ProtocolTCP)
	default:
		name = string(stage.ProtocolSocket)
	}
	switch p := stage.Protocol(name); p {
	case stage.ProtocolAuto, stage.ProtocolTCP, stage.ProtocolSocket:
		return p, nil
	}
	where := "--protocol"
	if line, ok := s.last("protocol"); ok && !c.IsSet("protocol") {
		where = fmt.Sprintf("%s, line %d: protocol", line.File, line.Line)
	}
	return "", usagef("%s is tcp or socket, not %q", where, name)
}

// config makes the connection's configuration out of flags and option files.
func (s settings) config(c *cli.Context, env Env) (stage.Config, error) {
	cfg := stage.Config{
		Socket: s.text(c, "socket"), Host: s.text(c, "host"), User: s.text(c, "user"),
		ConnectTimeout: c.Duration("connect-timeout"),
		TLS: stage.TLS{
			Mode: s.tlsMode(c),
			CA:   s.text(c, "ssl-ca"), CAPath: s.text(c, "ssl-capath"), Cert: s.text(c, "ssl-cert"), Key: s.text(c, "ssl-key"),
		},
	}
	var err error
	if cfg.Protocol, err = s.protocol(c); err != nil {
		return cfg, err
	}
	if cfg.Port, err = s.number(c, "port"); err != nil {
		return cfg, err
	}
	if line, ok := s.last("connect-timeout"); ok && !c.IsSet("connect-timeout") {
		seconds, err := strconv.Atoi(line.Value)
		if err != nil || seconds < 1 {
			return cfg, usagef("%s, line %d: connect-timeout %q is not a number of seconds", line.File, line.Line, line.Value)
		}
		cfg.ConnectTimeout = time.Duration(seconds) * time.Second
	}
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
	line, ok := s.last("password")
	if env.prompt {
		return askPassword()
	}
	if word := env.Getenv(passwordVariable); word != "" {
		return word, nil
	}
	if ok && !line.HasValue {
		return askPassword()
	}
	return line.Value, nil
}

// connect connects to the server that flags and option files name.
func connect(c *cli.Context, env Env, s settings) (*stage.Server, error) {
	cfg, err := s.config(c, env)
	if err != nil {
		return nil, err
	}
	return stage.Connect(c.Context, cfg)
}
