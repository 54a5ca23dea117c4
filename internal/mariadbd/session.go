package mariadbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"mbk/internal/fault"
)

// Clients are the programs by which one session carries out a binary log.
type Clients struct {
	Binlog string // mariadb-binlog
	Client string // mariadb
}

// ErrNoClients is returned by Program.Clients if they are not installed.
var ErrNoClients = fault.New(fault.Config, "mariadb-binlog and mariadb are not on this machine")

// Clients finds the clients of a server: beside it, in the bin folder beside its folder, or in PATH.
func (p Program) Clients() (c Clients, err error) {
	find := func(names ...string) string {
		for _, name := range names {
			for _, dir := range []string{filepath.Dir(p.Path), filepath.Join(filepath.Dir(filepath.Dir(p.Path)), "bin")} {
				path := filepath.Join(dir, name)
				if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
					return path
				}
			}
		}
		for _, name := range names {
			if path, err := exec.LookPath(name); err == nil {
				return path
			}
		}
		return ""
	}
	c = Clients{find("mariadb-binlog", "mysqlbinlog"), find("mariadb", "mysql")}
	if c.Binlog == "" || c.Client == "" {
		return c, ErrNoClients
	}
	return c, nil
}

// Apply has mariadb-binlog turn a file of the binary log, which write writes, into statements, and
// a client carry them out in one session. It ends with the first that fails.
func (s *Server) Apply(ctx context.Context, c Clients, write func(io.Writer) error) (err error) {
	i := s.instance
	options := filepath.Join(i.Temp, "client.cnf")
	text := fmt.Sprintf("[client]\nsocket=%s\nuser=%s\npassword=%s\n", s.socket, s.login.user, s.login.password)
	if err := i.Owner.Do(func() error { return os.WriteFile(options, []byte(text), 0o600) }); err != nil {
		return fmt.Errorf("write the options of a client: %w", err)
	}
	decode := i.run(c.Binlog, "--no-defaults", "--loose-skip-gtid-strict-mode", "--local-load="+i.Beside(), "-")
	carryOut := i.run(c.Client, "--defaults-file="+options, "--loose-skip-ssl", "--binary-mode",
		"--max-allowed-packet=1073741824", "--local-infile=1", "--batch")
	var complaints [2]strings.Builder
	decode.Stderr, carryOut.Stderr = &complaints[0], &complaints[1]
	events, err := decode.StdinPipe()
	if err != nil {
		return err
	}
	from, to, err := os.Pipe()
	if err != nil {
		return err
	}
	decode.Stdout, carryOut.Stdin = to, from
	err = decode.Start()
	if err == nil {
		err = carryOut.Start()
	}
	failed := errors.Join(to.Close(), from.Close()) // they have theirs
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("start %s and %s: %w", c.Binlog, c.Client, errors.Join(err, end(decode)))
	}
	stop := context.AfterFunc(ctx, func() { _ = errors.Join(decode.Process.Kill(), carryOut.Process.Kill()) })
	defer stop()
	writing := errors.Join(write(events), events.Close())
	decoding, carrying := decode.Wait(), carryOut.Wait()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case carrying != nil: // the others have failed for that reason
		return fmt.Errorf("%s: %w: %s", c.Client, carrying, oneLine(complaints[1].String()))
	case decoding != nil:
		return fmt.Errorf("%s: %w: %s", c.Binlog, decoding, oneLine(complaints[0].String()))
	}
	return writing
}

// end ends a program that was perhaps started.
func end(cmd *exec.Cmd) error {
	if cmd.Process == nil {
		return nil
	}
	_ = cmd.Process.Kill() // it may have ended
	_ = cmd.Wait()         // it was killed
	return nil
}

// oneLine shortens what a program says.
func oneLine(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return text[:min(len(text), 1000)]
}
