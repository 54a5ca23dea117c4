package mariadbd

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"syscall"

	"mbk/internal/sys/fsuser"
)

// Instance is a program and what it must be told to open a data directory.
type Instance struct {
	Program  Program
	Settings Settings
	Owner    fsuser.User // of the data directory; root runs the server as that user
	Writer   fsuser.User // with whose rights the log is written
	Data     string      // the data directory
	Temp     string      // folder for temporary files, beside the data directory
	Log      string      // file to which the error logs of all runs are appended
	Buffer   int64       // bytes of InnoDB's buffer pool
	Options  []string    // the user's own; they win
	Grants   bool        // Serve heeds the grants in the data: statements about accounts and events need that
	Partial  bool        // the dictionary knows tables of which there are no files
	Known    []Known     // tables with which something was wrong before

	EncryptedRedo bool
}

// Known is a table with which something was wrong before the server came to it. What
// the error log says of that table is no error.
type Known struct {
	Table string         // "shop.orders"
	Named *regexp.Regexp // matches a text that names the table or one of its files
}

// common are the options that every run of the server gets. It keeps to itself:
// no network, no replication, no binary log, no events, no option files.
func (i Instance) common(logSize int64) []string {
	args := slices.Concat([]string{"--no-defaults"}, i.Program.args, []string{
		"--datadir=" + i.Data,
		"--tmpdir=" + i.Beside(), // a list, whose folders are separated by colons
		"--slave-load-tmpdir=" + i.Beside(),
		"--pid-file=" + filepath.Join(i.Temp, "pid"),
		"--skip-networking",
		"--skip-grant-tables",
		"--skip-log-bin",
		"--skip-slave-start",
		"--event-scheduler=OFF",
		"--performance-schema=OFF",
		"--loose-skip-ssl", // from 11.4 on a server makes itself a key, which takes longer than to start
		"--loose-wsrep-on=OFF",
		"--loose-feedback=OFF",
		"--lc-messages=en_US", // its error log is read
		"--innodb-data-file-path=" + i.Settings.DataFilePath,
		"--innodb-undo-directory=" + i.Settings.UndoDir,
		"--innodb-log-group-home-dir=.",
		"--aria-log-dir-path=" + i.Settings.AriaDir,
		"--innodb-log-file-size=" + strconv.FormatInt(logSize, 10),
		"--innodb-buffer-pool-size=" + strconv.FormatInt(i.Buffer, 10),
		"--innodb-buffer-pool-load-at-startup=OFF",
		"--innodb-buffer-pool-dump-at-shutdown=OFF",
		"--innodb-encryption-threads=0",
		"--innodb-fast-shutdown=1",
		"--key-buffer-size=16M", // of MyISAM, which a recovery leaves alone; to set up 128 MiB is a quarter of a start
	}, i.Settings.Options(), i.Settings.Plugins)
	if os.Geteuid() == 0 && i.Owner.UID == 0 {
		args = append(args, "--user=root")
	}
	return args
}

// Beside is the folder for temporary files as seen from the data directory, in which
// the server runs. Whatever a path on this machine holds, this one is plain.
func (i Instance) Beside() string {
	return "../" + filepath.Base(i.Temp)
}

// command prepares a run of the server.
func (i Instance) command(args []string) *exec.Cmd {
	return i.run(i.Program.Path, append(args, i.Options...)...)
}

// run prepares a run of a program as the owner of the files. It does not outlive this
// process.
func (i Instance) run(path string, args ...string) *exec.Cmd {
	cmd := exec.Command(path, args...)
	cmd.Env = Environment(os.Environ(), slices.Concat(i.Settings.Plugins, i.Options)...)
	cmd.Dir = i.Data
	cmd.SysProcAttr = i.Owner.RunAs()
	cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Pdeathsig = true, syscall.SIGKILL
	return cmd
}
