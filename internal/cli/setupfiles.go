package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"mbk/backup/preflight"
	"mbk/internal/cli/options"
	"mbk/internal/hint"
)

// The lines around what setup writes into an option file.
const (
	setupBegins = "# What \"mbk setup\" has written begins here."
	setupEnds   = "# What \"mbk setup\" has written ends here."
)

// wayToServer are the options of the connection, beside the socket and those of TLS, that do
// not depend on the account.
var wayToServer = map[string]bool{"host": true, "port": true, "protocol": true}

// settings are the lines for the option file.
func (s *setup) settings(isNew bool) []string {
	lines := []string{setupBegins, "[mbk]", "repo = " + s.repository}
	for name, answer := range map[string]string{"s3-endpoint": s.o.s3.Endpoint,
		"s3-credentials-file": s.o.s3.CredentialsFile} {
		if answer != "" && !s.o.set.IsSet(name) && strings.HasPrefix(s.repository, "s3://") {
			lines = append(lines, name+" = "+answer)
		}
	}
	slices.Sort(lines[3:])
	for _, o := range s.o.set.Options() {
		switch o.Category {
		case categoryS3, categorySFTP, categoryNotification:
			if o.IsSet() && o.Name != "mail-to" {
				lines = append(lines, o.Name+" = "+o.Shown())
			}
		}
	}
	for _, to := range s.o.notifications.to {
		lines = append(lines, "mail-to = "+to)
	}
	login := s.login()
	for _, command := range []string{"backup", "check", "archive"} {
		its := login
		if command == "backup" && isNew { // the file of the packages has such lines
			its = append(slices.Clone(login), "incremental", "full-every = 7d")
		}
		if len(its) > 0 {
			lines = append(append(lines, "[mbk-"+command+"]"), its...)
		}
	}
	if isNew {
		lines = append(lines, "[mbk-expire]", "keep-daily = 7", "keep-weekly = 4", "keep-monthly = 6")
	}
	return append(lines, setupEnds)
}

// login are the lines by which a command of the night connects to the server.
func (s *setup) login() (lines []string) {
	if s.o.socket != "" {
		lines = append(lines, "socket = "+s.o.socket)
	}
	for _, o := range s.o.set.Options() {
		if o.Category == categoryConnection && o.IsSet() && (wayToServer[o.Name] || strings.HasPrefix(o.Name, "ssl")) {
			lines = append(lines, o.Name+" = "+o.Shown())
		}
	}
	if s.o.wantsAccount() {
		a, file := s.o.newAccount()
		return append(lines, "user = "+a.Name, "password-file = "+file)
	}
	if s.o.user != "" {
		lines = append(lines, "user = "+s.o.user)
	}
	return lines
}

// optionFile writes the settings: into a new file, or behind what is in one. Later lines count.
func (s *setup) optionFile() {
	path := s.o.optionFile
	old, err := os.ReadFile(path)
	isNew := errors.Is(err, fs.ErrNotExist)
	before, mine, has := strings.Cut(string(old), setupBegins)
	lines := s.settings(isNew || has && strings.TrimSpace(before) == "")
	text := strings.Join(lines, "\n") + "\n"
	undo := "rm " + path
	if !isNew {
		undo = "remove the lines from " + path + "; the file as it was is " + path + ".before-setup"
	}
	s.add(setupStep{name: "option file", what: append([]string{"into " + path + ":"}, lines...), undo: undo,
		there: func(context.Context) (string, error) {
			switch {
			case err != nil && !isNew:
				return "", err
			case !has:
				return "", nil
			}
			if mine, _, _ = strings.Cut(mine, setupEnds); setupBegins+mine+setupEnds+"\n" != text {
				return "", hint.Wrap(&configError{fmt.Errorf("%s has other settings of an earlier mbk setup", path)},
					"give the same answers, or remove the lines between the two comments about mbk setup from that file")
			}
			return path + " has these settings already", nil
		},
		do: func(context.Context) error {
			if isNew {
				return writeShown(path, []byte(text))
			}
			if err := writeNew(path+".before-setup", old); err != nil {
				return err
			}
			return appendTo(path, "\n"+text)
		},
	})
}

// writeShown writes a new file that everybody may read, and its folder if there is none.
func writeShown(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := writeNew(path, text); err != nil {
		return err
	}
	return os.Chmod(path, 0o644)
}

// appendTo writes a text behind what is in a file.
func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// Folders of systemd, and the file of a drop-in that setup makes.
const (
	systemdRuns  = "/run/systemd/system"
	systemdUnits = "/etc/systemd/system"
	dropIn       = "mbk-setup.conf"
)

// schedule enables the units, or says what to do where there are none.
func (s *setup) schedule() {
	units := []string{"mbk-backup.timer"}
	if !s.encrypted { // the drill needs an identity
		units = append(units, "mbk-verify.timer")
	}
	if s.o.archive {
		units = append(units, "mbk-archive.service")
	}
	switch missing := s.noUnits(); {
	case missing != "":
		s.add(setupStep{name: "every night", byHand: true, what: append([]string{missing + "; as /etc/cron.d/mbk:"},
			s.crontab()...)})
		return
	case strings.HasPrefix(s.repository, "s3://") && s.o.s3.CredentialsFile == "":
		s.add(setupStep{name: "credentials", byHand: true, what: []string{
			"the units do not have the environment of this shell: put credentials that the server's user can read into " +
				"a file, and name it in " + s.o.optionFile + " with s3-credentials-file"}})
	}
	drops := s.dropIns(units)
	what := []string{}
	for path, text := range drops {
		what = append(what, path+": "+strings.ReplaceAll(strings.TrimSpace(text), "\n", " "))
	}
	enable := append([]string{"enable", "--now"}, units...)
	s.add(setupStep{name: "every night", what: append(what, "systemctl "+strings.Join(enable, " ")),
		undo: "systemctl disable --now " + strings.Join(units, " ") + "; and rm " + systemdUnits + "/mbk-*.d/" + dropIn,
		do: func(ctx context.Context) error {
			for path, text := range drops {
				err := writeShown(path, []byte(text))
				if have, _ := os.ReadFile(path); errors.Is(err, fs.ErrExist) && string(have) == text {
					err = nil
				}
				if err != nil {
					return err
				}
			}
			for _, args := range [][]string{{"daemon-reload"}, enable} {
				if out, err := exec.CommandContext(ctx, "systemctl", args...).CombinedOutput(); err != nil {
					return fmt.Errorf("systemctl %s: %w: %s", strings.Join(args, " "), err, out)
				}
			}
			return nil
		},
	})
}

// noUnits says why no unit is enabled, "" if they can be.
func (s *setup) noUnits() string {
	if _, err := os.Stat(systemdRuns); err != nil {
		return "systemd does not run here"
	}
	if _, err := os.Stat("/usr/lib/systemd/system/mbk-backup.timer"); err != nil {
		return "the units of the package are not installed"
	}
	if s.o.optionFile != options.OwnFile {
		return "the units read " + options.OwnFile + ", and the settings are in " + s.o.optionFile
	}
	return ""
}

// dropIns are what the units need beside what the package says, by path.
func (s *setup) dropIns(units []string) map[string]string {
	files := map[string]string{}
	if s.o.at != "02:30" {
		files[filepath.Join(systemdUnits, "mbk-backup.timer.d", dropIn)] =
			"[Timer]\nOnCalendar=\nOnCalendar=*-*-* " + s.o.at + "\n"
	}
	backup := filepath.Join(systemdUnits, "mbk-backup.service.d", dropIn)
	if s.encrypted { // without an identity the objects can be compared, and no page be read
		files[backup] = "[Service]\nExecStart=\nExecStart=/usr/bin/mbk backup --quiet\n" +
			"ExecStart=/usr/bin/mbk verify latest --depth stored --quiet\nExecStart=/usr/bin/mbk expire --quiet\n"
	}
	if strings.Contains(s.repository, "://") || s.repository == "/var/lib/mbk" {
		return files
	}
	for _, u := range units {
		service := strings.TrimSuffix(u, ".timer")
		service = strings.TrimSuffix(service, ".service") + ".service.d"
		path := filepath.Join(systemdUnits, service, dropIn)
		if files[path] == "" {
			files[path] = "[Service]\n"
		}
		if s.inHome() { // of which the units see nothing
			files[path] += "ProtectHome=tmpfs\nBindPaths=" + s.repository + "\n"
			continue
		}
		files[path] += "ReadWritePaths=" + s.repository + "\n"
	}
	return files
}

// inHome reports whether the repository is below a folder that ProtectHome hides.
func (s *setup) inHome() bool {
	return slices.ContainsFunc([]string{"/home/", "/root/", "/run/user/"}, func(above string) bool {
		return strings.HasPrefix(s.repository, above)
	})
}

// crontab are the lines for machines without systemd.
func (s *setup) crontab() []string {
	hour, minute, _ := strings.Cut(s.o.at, ":")
	with := strings.Join(s.configured("--quiet"), " ") + " >/dev/null"
	user, _, _ := strings.Cut(preflight.OwnerName(s.owner), ":")
	depth := "pages"
	if s.encrypted {
		depth = "stored"
	}
	lines := []string{fmt.Sprintf("%s %s * * *  %s  mbk backup %s && mbk verify latest --depth %s %s && mbk expire %s",
		minute, hour, user, with, depth, with, with)}
	if s.o.archive {
		lines = append(lines, "and keep running, restarted if it ends: mbk archive "+
			strings.Join(s.configured("--quiet"), " "))
	}
	return lines
}
