package stage

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mbk/internal/sys/fsuser"
)

// Facts is what a server says of itself at one moment.
type Facts struct {
	Version   Version
	Comment   string            // @@version_comment: "Debian 12"
	Variables map[string]string // all global variables by lower-case name; secrets are replaced by Hidden
	Plugins   []Plugin
	Engines   []Engine
	Hostname  string
	Port      int
	Socket    string
	Datadir   string
	ServerID  uint32
	Account   string    // CURRENT_USER(): "root@localhost"
	Started   time.Time // UTC, to about a second

	// PeerPID is the process that listens at the other end of the Unix socket, as
	// the kernel knows it: the server's, unless systemd opened the socket for it.
	// 0 over TCP and across process namespaces.
	PeerPID int
	// PeerUser is that process's user, root's if systemd opened the socket, nil over
	// TCP.
	PeerUser *fsuser.User
}

// Hidden stands in Facts.Variables for the value of a variable that holds a
// password or key.
const Hidden = "(hidden)"

// Version is a server's version.
type Version struct {
	Major, Minor, Patch int
	Text                string // in full: "10.11.19-MariaDB-0+deb12u1-log"
}

// String returns the version in full.
func (v Version) String() string { return v.Text }

// AtLeast reports whether v is major.minor.patch or newer.
func (v Version) AtLeast(major, minor, patch int) bool {
	if v.Major != major {
		return v.Major > major
	}
	if v.Minor != minor {
		return v.Minor > minor
	}
	return v.Patch >= patch
}

// ParseVersion reads @@version, or what mariadbd --version prints after "Ver".
func ParseVersion(text string) (Version, error) {
	v := Version{Text: text}
	digits := text
	if end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' }); end >= 0 {
		digits = text[:end]
	}
	parts := strings.Split(digits, ".")
	if len(parts) != 3 {
		return Version{}, fmt.Errorf("server version %q: not of the form 1.2.3", text)
	}
	for i, target := range []*int{&v.Major, &v.Minor, &v.Patch} {
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return Version{}, fmt.Errorf("server version %q: %w", text, err)
		}
		*target = n
	}
	return v, nil
}

// Plugin is a plugin that the server knows, built in or loaded.
type Plugin struct {
	Name    string
	Version string
	Status  string // "ACTIVE", "INACTIVE", "DISABLED", ...
	Type    string // "STORAGE ENGINE", "ENCRYPTION", ...
	Library string // file name, "" if built in
}

// Engine is a storage engine.
type Engine struct {
	Name    string
	Support string // "YES", "NO", "DEFAULT", "DISABLED"
}

// Facts asks for everything in Facts.
func (s *Server) Facts(ctx context.Context) (Facts, error) {
	var f Facts
	var err error
	if f.Variables, err = s.control.pairs(ctx, "SHOW GLOBAL VARIABLES"); err != nil {
		return Facts{}, fmt.Errorf("read the server's variables: %w", err)
	}
	for name, value := range f.Variables {
		if secret(name, value) {
			f.Variables[name] = Hidden
		}
	}
	if f.Version, err = ParseVersion(f.Variables["version"]); err != nil {
		return Facts{}, err
	}
	if f.Port, err = strconv.Atoi(f.Variables["port"]); err != nil {
		return Facts{}, fmt.Errorf("read the server's port: %w", err)
	}
	id, err := strconv.ParseUint(f.Variables["server_id"], 10, 32)
	if err != nil {
		return Facts{}, fmt.Errorf("read the server's id: %w", err)
	}
	f.ServerID = uint32(id)
	f.Comment = f.Variables["version_comment"]
	f.Hostname = f.Variables["hostname"]
	f.Socket = f.Variables["socket"]
	f.Datadir = f.Variables["datadir"]
	f.Started = s.started.UTC()
	if f.Plugins, err = s.plugins(ctx); err != nil {
		return Facts{}, err
	}
	if f.Engines, err = s.engines(ctx); err != nil {
		return Facts{}, err
	}
	account, err := s.control.values(ctx, "SELECT CURRENT_USER()")
	if err != nil {
		return Facts{}, fmt.Errorf("read the account's name: %w", err)
	}
	f.Account = account.at(0)
	at, _, err := s.peer(ctx)
	if err != nil {
		return Facts{}, fmt.Errorf("find the server's process: %w", err)
	}
	f.PeerPID, f.PeerUser = at.pid, at.user
	return f, nil
}

// secret reports whether a variable's value has to be hidden. The name of a file
// that holds a key is no secret.
func secret(name, value string) bool {
	if value == "" || strings.HasPrefix(value, "FILE:") {
		return false
	}
	switch name {
	case "file_key_management_filekey", "wsrep_sst_auth", "s3_secret_key", "s3_access_key", "ssl_passphrase":
		return true
	}
	return strings.HasSuffix(name, "_token") || strings.HasSuffix(name, "_secret_key")
}

// plugins lists the server's plugins.
func (s *Server) plugins(ctx context.Context) ([]Plugin, error) {
	all, err := s.control.rows(ctx, `SELECT PLUGIN_NAME, PLUGIN_VERSION, PLUGIN_STATUS, PLUGIN_TYPE, PLUGIN_LIBRARY
		FROM information_schema.PLUGINS ORDER BY PLUGIN_NAME, PLUGIN_TYPE`)
	if err != nil {
		return nil, fmt.Errorf("list the server's plugins: %w", err)
	}
	plugins := make([]Plugin, len(all))
	for i, r := range all {
		plugins[i] = Plugin{Name: r.at(0), Version: r.at(1), Status: r.at(2), Type: r.at(3), Library: r.at(4)}
	}
	return plugins, nil
}

// engines lists the server's storage engines.
func (s *Server) engines(ctx context.Context) ([]Engine, error) {
	all, err := s.control.rows(ctx, "SELECT ENGINE, SUPPORT FROM information_schema.ENGINES ORDER BY ENGINE")
	if err != nil {
		return nil, fmt.Errorf("list the server's storage engines: %w", err)
	}
	engines := make([]Engine, len(all))
	for i, r := range all {
		engines[i] = Engine{Name: r.at(0), Support: r.at(1)}
	}
	return engines, nil
}

// Clock returns the server's time, in UTC.
func (s *Server) Clock(ctx context.Context) (time.Time, error) {
	now, err := s.control.values(ctx, "SELECT UTC_TIMESTAMP(6)")
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's clock: %w", err)
	}
	t, err := time.ParseInLocation("2006-01-02 15:04:05.000000", now.at(0), time.UTC)
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's clock: %w", err)
	}
	return t, nil
}
