package mariadbtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
)

// Position returns the end of the server's binary log.
func (s *Server) Position(ctx context.Context) (file string, pos uint64, err error) {
	rows, err := s.query(ctx, "SHOW MASTER STATUS")
	if err != nil {
		return "", 0, fmt.Errorf("SHOW MASTER STATUS: %w", err)
	}
	if len(rows) != 1 {
		return "", 0, errors.New("SHOW MASTER STATUS: the binary log is off")
	}
	if pos, err = strconv.ParseUint(rows[0][1], 10, 64); err != nil {
		return "", 0, fmt.Errorf("SHOW MASTER STATUS: %w", err)
	}
	return rows[0][0], pos, nil
}

// ReplayBinlog does to the server to what the server from has done since a
// position of its binary log, as an administrator would: with mariadb-binlog and
// the client mariadb, which stops at the first error. Nothing of it is written to the
// binary log of to. The server from must run and be at rest; it begins a new
// binary log file.
func ReplayBinlog(ctx context.Context, from, to *Server, file string, pos uint64) (err error) {
	files, err := binlogsFrom(ctx, from, file)
	if err != nil {
		return fmt.Errorf("replay binary log: %w", err)
	}
	// The copy need not be durable while this runs; it makes replay much faster.
	flush, err := to.Value(ctx, "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit")
	if err != nil {
		return fmt.Errorf("replay binary log: %w", err)
	}
	if err := to.Exec(ctx, "SET GLOBAL innodb_flush_log_at_trx_commit=0"); err != nil {
		return fmt.Errorf("replay binary log: %w", err)
	}
	defer func() {
		err = errors.Join(err, to.Exec(context.WithoutCancel(ctx), "SET GLOBAL innodb_flush_log_at_trx_commit="+flush))
	}()
	args := []string{"--no-defaults", "--disable-log-bin", "--start-position=" + strconv.FormatUint(pos, 10)}
	encrypted, err := from.Value(ctx, "SELECT @@GLOBAL.encrypt_binlog + 0")
	if err != nil {
		return fmt.Errorf("replay binary log: %w", err)
	}
	if encrypted == "1" { // only the server can read it
		args = append(args, "--read-from-remote-server", "--skip-ssl", "--user=root", "--socket="+from.Socket)
	} else {
		for i := range files {
			files[i] = filepath.Join(from.Datadir, files[i])
		}
	}
	return pipe(
		exec.CommandContext(ctx, from.Dist.Program("mariadb-binlog"), append(args, files...)...),
		exec.CommandContext(ctx, to.Dist.Program("mariadb"), "--no-defaults", "--skip-ssl", "--user=root",
			"--socket="+to.Socket, "--binary-mode", "--max-allowed-packet=1G"))
}

// binlogsFrom closes the binary log file that is being written and returns the
// names of the closed ones from first on.
func binlogsFrom(ctx context.Context, s *Server, first string) ([]string, error) {
	if err := s.Exec(ctx, "FLUSH BINARY LOGS"); err != nil {
		return nil, err
	}
	rows, err := s.query(ctx, "SHOW BINARY LOGS")
	if err != nil {
		return nil, fmt.Errorf("SHOW BINARY LOGS: %w", err)
	}
	for i, row := range rows {
		if row[0] == first {
			var names []string
			for _, row := range rows[i : len(rows)-1] {
				names = append(names, row[0])
			}
			return names, nil
		}
	}
	return nil, fmt.Errorf("%s is not among the server's binary logs", first)
}

// pipe runs two programs, the output of the first being the input of the second.
func pipe(first, second *exec.Cmd) error {
	var complaints [2]bytes.Buffer
	first.Stderr, second.Stderr = &complaints[0], &complaints[1]
	out, err := first.StdoutPipe()
	if err != nil {
		return fmt.Errorf("replay binary log: %w", err)
	}
	second.Stdin = out
	if err := second.Start(); err != nil {
		return fmt.Errorf("replay binary log: %w", err)
	}
	// Only the second may hold the reading end: when it dies, the first must
	// notice.
	if err := errors.Join(first.Start(), out.Close()); err != nil {
		return errors.Join(fmt.Errorf("replay binary log: %w", err), second.Wait())
	}
	errSecond := second.Wait()
	errFirst := first.Wait() // may be a consequence of the other
	for i, err := range []error{errSecond, errFirst} {
		if err != nil {
			return fmt.Errorf("replay binary log: %s: %w: %s", []string{"mariadb", "mariadb-binlog"}[i], err,
				lastLines(complaints[1-i].Bytes(), 5))
		}
	}
	return nil
}
