package sftp

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os/user"
	"path"
	"strconv"
	"strings"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

// Target is what a URL names.
type Target struct {
	User string // "": the user of this process
	Host string // a name or an address, without brackets
	Port int    // 0: that of SSH, or of the ssh program's configuration
	Path string // absolute, or relative to the user's home directory there
}

const sshPort = 22

// ErrURL is wrapped by the errors of ParseURL.
var ErrURL = fault.New(fault.Config, "not the URL of an SFTP repository")

// ParseURL takes apart "sftp://[USER@]HOST[:PORT]/PATH". The path is absolute, and
// relative to the home directory if it begins with "/~/". The errors show nothing of a
// password.
func ParseURL(text string) (Target, error) {
	wrong := func(format string, args ...any) (Target, error) {
		return Target{}, hint.Wrap(fmt.Errorf("%w: %s", ErrURL, fmt.Sprintf(format, args...)),
			"write sftp://USER@HOST:PORT/PATH, or sftp://USER@HOST/~/PATH for a path in the home directory there")
	}
	u, err := url.Parse(text)
	if err != nil {
		return wrong("it cannot be read") // the error shows the URL, and so what may be a password
	}
	if _, secret := u.User.Password(); secret {
		return wrong("it has a password, which others could see; mbk uses keys")
	}
	t := Target{User: u.User.Username(), Host: u.Hostname()}
	switch {
	case u.Scheme != "sftp":
		return wrong("it does not begin with sftp://")
	case t.Host == "":
		return wrong("it names no host")
	case strings.HasPrefix(t.Host, "-") || strings.HasPrefix(t.User, "-"):
		return wrong("host and user do not begin with a dash")
	case strings.ContainsFunc(t.Host+t.User+u.Path, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return wrong("it has control characters")
	case u.RawQuery != "" || u.Fragment != "":
		return wrong("write ? as %%3F and # as %%23")
	case u.Path == "" || u.Path == "/":
		return wrong("it names no path")
	}
	if port := u.Port(); port != "" {
		t.Port, err = strconv.Atoi(port)
		if err != nil || t.Port < 1 || t.Port > 65535 {
			return wrong("port %s is none", port)
		}
	}
	if home, ok := strings.CutPrefix(u.Path, "/~/"); ok {
		t.Path = path.Clean(home)
		if home == "" {
			t.Path = "."
		}
	} else {
		t.Path = path.Clean(u.Path)
	}
	if t.Path == "/" || t.Path == ".." || strings.HasPrefix(t.Path, "../") {
		return wrong("its path leads to %s", t.Path)
	}
	return t, nil
}

// String returns the URL.
func (t Target) String() string {
	u := url.URL{Scheme: "sftp", Host: t.Host, Path: t.Path}
	if strings.Contains(t.Host, ":") {
		u.Host = "[" + t.Host + "]"
	}
	if t.Port != 0 {
		u.Host += ":" + strconv.Itoa(t.Port)
	}
	if t.User != "" {
		u.User = url.User(t.User)
	}
	if !strings.HasPrefix(t.Path, "/") {
		u.Path = "/~/" + t.Path
	}
	return u.String()
}

// login returns the user that SSH logs in as.
func (t Target) login() (string, error) {
	if t.User != "" {
		return t.User, nil
	}
	u, err := user.Current()
	if err != nil {
		return "", errors.Join(errors.New("this process has no user name: name the user in the URL"), err)
	}
	return u.Username, nil
}

// address returns host and port to connect to.
func (t Target) address() string {
	port := t.Port
	if port == 0 {
		port = sshPort
	}
	return net.JoinHostPort(t.Host, strconv.Itoa(port))
}
