package cli

import (
	"context"
	"strings"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/stage"
)

// encryptOption is a switch with three states: on, off and not set.
const encryptOption = "ssl"

// connection holds the options of commands that connect to a server.
type connection struct {
	socket, host, protocol, user      string
	port                              int
	passwordFile                      string
	ssl, verifyServer                 bool
	sslCA, sslCAPath, sslCert, sslKey string
	cleartext                         bool
	timeout                           time.Duration

	withheld string // of --password; method password reads it
	set      *options.Set
	program  *program
}

func (o *connection) bind(s *options.Set, p *program) {
	fileOptions(s)
	s = s.In(categoryConnection).Shared()
	o.set, o.program = s, p
	s.String(&o.socket, "socket", "", "connect through the Unix socket `FILE`").WithShort("S")
	s.String(&o.host, "host", "", "connect to `NAME` over TCP")
	s.Int(&o.port, "port", 0, "TCP port `N`").WithShort("P")
	s.String(&o.protocol, "protocol", "", "connect by `tcp|socket`")
	s.String(&o.user, "user", "", "log in as `NAME`").WithShort("u")
	s.String(&o.withheld, options.PasswordOption, "",
		"log in with this password (glued: --password=WORD); without one it is asked for").
		WithShort("p").MayBeBare("ask").Withheld()
	s.String(&o.passwordFile, passwordFileOption, "", "the password is the first line of `FILE`")
	s.Bool(&o.ssl, encryptOption, "encrypt, or fail; --skip-ssl: do not encrypt")
	s.String(&o.sslCA, "ssl-ca", "", "trust the authorities in `FILE`")
	s.String(&o.sslCAPath, "ssl-capath", "", "trust the authorities in `FOLDER`")
	s.String(&o.sslCert, "ssl-cert", "", "show the client certificate in `FILE`")
	s.String(&o.sslKey, "ssl-key", "", "the private key of the client's certificate is in `FILE`")
	s.Bool(&o.verifyServer, "ssl-verify-server-cert", "the server's certificate must name the host")
	// MySQL's programs have this name.
	s.Bool(&o.cleartext, "enable-cleartext-plugin", "tell any server the password that asks for it in clear text (PAM)")
	s.Duration(&o.timeout, "connect-timeout", 10*time.Second, "give up connecting after `DURATION`")
}

// tlsMode returns how the connection must be protected. The command line overrides
// option files.
func (o *connection) tlsMode() stage.TLSMode {
	verify, encrypt := o.set.Source("ssl-verify-server-cert").Strength, o.set.Source(encryptOption).Strength
	switch {
	case o.verifyServer && (verify > encrypt || verify == options.ByFlag):
		return stage.TLSVerify
	case encrypt > options.ByDefault && !o.ssl:
		return stage.TLSOff
	case o.verifyServer:
		return stage.TLSVerify
	case encrypt > options.ByDefault:
		return stage.TLSEncrypt
	}
	return stage.TLSAuto
}

// wantedProtocol returns the protocol that was chosen. A port or a socket on the command
// line or in the environment chooses one too.
func (o *connection) wantedProtocol() (stage.Protocol, error) {
	strength := func(name string) options.Strength { return o.set.Source(name).Strength }
	port, socket := strength("port"), strength("socket")
	name := strings.ToLower(o.protocol)
	switch asked := max(port, socket); {
	case asked < options.ByVariable, port == socket, strength("host") >= asked, strength("protocol") >= asked:
	case port > socket:
		name = string(stage.ProtocolTCP)
	default:
		name = string(stage.ProtocolSocket)
	}
	switch p := stage.Protocol(name); p {
	case stage.ProtocolAuto, stage.ProtocolTCP, stage.ProtocolSocket:
		return p, nil
	}
	return "", usagef("%s is tcp or socket, not %q", hint.Option("protocol"), name)
}

// config returns the configuration of the connection.
func (o *connection) config(ctx context.Context) (stage.Config, error) {
	cfg := stage.Config{
		Socket: o.socket, Host: o.host, Port: o.port, User: o.user, ConnectTimeout: o.timeout, Cleartext: o.cleartext,
		TLS: stage.TLS{Mode: o.tlsMode(), CA: o.sslCA, CAPath: o.sslCAPath, Cert: o.sslCert, Key: o.sslKey},
	}
	var err error
	if cfg.Protocol, err = o.wantedProtocol(); err != nil {
		return cfg, err
	}
	if cfg.ConnectTimeout <= 0 {
		return cfg, usagef("%s is %s, want more than nothing", hint.Option("connect-timeout"), cfg.ConnectTimeout)
	}
	if cfg.Port > 65535 {
		return cfg, usagef("%s is %d, want 1 to 65535", hint.Option("port"), cfg.Port)
	}
	if (cfg.TLS.Cert == "") != (cfg.TLS.Key == "") {
		return cfg, usagef("%s and %s belong together, and one of them is missing",
			hint.Option("ssl-cert"), hint.Option("ssl-key"))
	}
	if cfg.Password, err = o.password(ctx); err != nil {
		return cfg, err
	}
	if err := cfg.Validate(); err != nil {
		return cfg, options.Usage(err)
	}
	return cfg, nil
}

// connect connects to the server that the options name.
func (o *connection) connect(ctx context.Context) (*stage.Server, error) {
	cfg, err := o.config(ctx)
	if err != nil {
		return nil, err
	}
	return stage.Connect(ctx, cfg)
}
