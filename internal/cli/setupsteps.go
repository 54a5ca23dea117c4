package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"mbk/backup/preflight"
	"mbk/internal/cli/options"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
	"mbk/internal/ui"
	"mbk/stage"
)

// setup carries out the steps of mbk setup.
type setup struct {
	o      *setupOptions
	server *stage.Server
	owner  fsuser.User // of the server's data directory: the units run as that user
	ui     *ui.UI
	steps  []setupStep
	dryRun bool

	repository string // full path or URL
	encrypted  bool   // it is, or will be
	recipients []string
	newest     string // id of the newest backup, "" before the first
}

// setupStep is a step. Each field but name and do may be empty.
type setupStep struct {
	name   string
	what   []string // what do does, in lines
	undo   string
	byHand bool // do does nothing: what is left to a person

	// there says what is there already, so that there is nothing to do; "" if nothing is
	there func(ctx context.Context) (string, error)
	do    func(ctx context.Context) error
}

// newSetup plans the steps.
func newSetup(ctx context.Context, o *setupOptions, server *stage.Server, u *ui.UI) (*setup, error) {
	s := &setup{o: o, server: server, ui: u, dryRun: o.dryRun, recipients: o.recipients}
	facts, err := server.Facts(ctx)
	if err != nil {
		return nil, err
	}
	if s.owner, err = fsuser.OwnerOf(facts.Datadir); err != nil {
		return nil, err
	}
	if o.archive {
		if _, err := server.LogSource(ctx); err != nil {
			return nil, hint.Wrap(err, "or leave out "+hint.Option("archive"))
		}
	}
	if s.repository, err = o.repository.fullPath(); err != nil {
		return nil, err
	}
	existing, err := s.existing(ctx)
	if err != nil {
		return nil, err
	}
	s.encrypted = o.encrypted() || existing != nil && existing.Encrypted()
	s.identity()
	s.folder()
	s.account()
	s.optionFile()
	s.init()
	s.check()
	s.firstBackup()
	s.proof()
	s.schedule()
	return s, nil
}

// existing opens the repository, nil if there is none yet.
func (s *setup) existing(ctx context.Context) (*repo.Repository, error) {
	if _, err := os.Stat(s.repository); errors.Is(err, fs.ErrNotExist) && !strings.Contains(s.repository, "://") {
		return nil, nil
	}
	r, err := s.o.open(ctx)
	if errors.Is(err, repo.ErrNotRepository) {
		return nil, nil
	}
	return r, err
}

func (s *setup) add(step setupStep) { s.steps = append(s.steps, step) }

// show prints the steps for somebody who has to agree to them.
func (s *setup) show(ctx context.Context) error {
	plan := *s
	plan.dryRun = true
	d, err := plan.run(ctx)
	if err != nil {
		return err
	}
	return printSetup(s.ui, d)
}

// run carries out the steps, or says in a dry run what it would do.
func (s *setup) run(ctx context.Context) (setupDocument, error) {
	d := setupDocument{DryRun: s.dryRun, Steps: []setupResult{}}
	for i := range s.steps {
		r, err := s.step(ctx, &s.steps[i])
		if err != nil {
			return d, fmt.Errorf("setup, step %q: %w", s.steps[i].name, err)
		}
		if !s.dryRun {
			s.ui.Note("%s: %s", r.Name, r.Outcome)
		}
		d.Steps = append(d.Steps, r)
	}
	if s.dryRun {
		return d, nil
	}
	var err error
	d.Card, err = s.mbk(ctx, s.reading("card", "latest", "--repo", s.repository)...)
	return d, err
}

// step carries out one step.
func (s *setup) step(ctx context.Context, step *setupStep) (setupResult, error) {
	r := setupResult{Name: step.name, Outcome: stepDone, What: append([]string{}, step.what...), Undo: step.undo}
	if step.there != nil {
		text, err := step.there(ctx)
		if err != nil {
			return r, err
		}
		if text != "" {
			r.Outcome, r.What, r.Undo = stepThere, []string{text}, ""
			return r, nil
		}
	}
	switch {
	case step.byHand:
		r.Outcome = stepByHand
	case s.dryRun:
		r.Outcome = stepWould
	default:
		return r, step.do(ctx)
	}
	return r, nil
}

// identity makes the identity of an encrypted repository.
func (s *setup) identity() {
	file := s.o.newIdentity
	if file == "" {
		return
	}
	s.add(setupStep{
		name: "identity", undo: "rm " + file + ", as long as nothing is encrypted to it",
		what: []string{"mbk init --new-identity " + file,
			"without this file nobody can restore: keep copies of it away from this machine, and then remove it here"},
		there: func(context.Context) (string, error) {
			text, err := os.ReadFile(file)
			if errors.Is(err, fs.ErrNotExist) {
				return "", nil
			}
			for line := range strings.Lines(string(text)) {
				if public, ok := strings.CutPrefix(line, "# public key: "); ok {
					s.recipients = append(s.recipients, strings.TrimSpace(public))
					return file + " is there already", err
				}
			}
			return "", errors.Join(err, &configError{fmt.Errorf("%s is there, and no identity with its public key in it", file)})
		},
		do: func(ctx context.Context) error {
			out, err := s.mbk(ctx, "init", "--new-identity", file, "--no-defaults")
			s.recipients = append(s.recipients, strings.TrimSpace(out))
			return err
		},
	})
}

// folder makes the folder of the repository. Buckets and SSH servers are others' business.
func (s *setup) folder() {
	if strings.Contains(s.repository, "://") {
		return
	}
	owner := preflight.OwnerName(s.owner)
	s.add(setupStep{
		name: "folder", what: []string{"install -d -m 700 and the owner " + owner + ": " + s.repository},
		undo: "rmdir " + s.repository,
		there: func(context.Context) (string, error) {
			info, err := os.Stat(s.repository)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return "", nil
			case err == nil && !info.IsDir():
				err = &configError{fmt.Errorf("%s is no folder", s.repository)}
			case err == nil && !s.mayWrite(s.repository):
				err = hint.Wrap(&configError{fmt.Errorf("%s is there, and %s, as whom the backups of the night run, "+
					"may not write to it", s.repository, owner)},
					hint.Text("run: chown -R "+owner+" "+s.repository), "or name another folder with "+hint.Option("repo"))
			}
			return s.repository + " is there already", err
		},
		do: func(context.Context) error {
			if err := os.MkdirAll(s.repository, 0o700); err != nil {
				return err
			}
			return s.give(s.repository)
		},
	})
}

// give makes a file or folder that of the server's user, as whom the units run.
func (s *setup) give(path string) error {
	if !s.owner.Other() {
		return nil
	}
	return os.Lchown(path, s.owner.UID, s.owner.GID)
}

// mayWrite reports whether the server's user may list a folder and write to it.
func (s *setup) mayWrite(path string) bool {
	return s.owner.Do(func() error {
		return unix.Faccessat(unix.AT_FDCWD, path, unix.R_OK|unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	}) == nil
}

// account makes the account and the file of its password.
func (s *setup) account() {
	if !s.o.wantsAccount() {
		return
	}
	a, file := s.o.newAccount()
	s.add(setupStep{
		name: "account",
		what: append(a.Statements("..."), "the password is a random one, and goes to "+file+", mode 600, of "+
			preflight.OwnerName(s.owner)),
		undo: "DROP USER " + a.String() + "; and rm " + file,
		there: func(ctx context.Context) (string, error) {
			has, err := s.server.HasAccount(ctx, a)
			if err != nil {
				return "", err
			}
			_, err = os.Stat(file)
			switch {
			case err == nil && has:
				return fmt.Sprintf("%s and %s are there already", a, file), nil
			case err == nil || has:
				err = &configError{fmt.Errorf("of the account %s and its password in %s only one is there", a, file)}
				return "", hint.Wrap(err,
					"drop or remove what is there, or name another account with "+hint.Option("account"))
			case !errors.Is(err, fs.ErrNotExist):
				return "", err
			}
			return "", nil
		},
		do: func(ctx context.Context) error {
			password := rand.Text()
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return err
			}
			if err := writeNew(file, []byte(password+"\n")); err != nil {
				return err
			}
			err := s.give(file)
			if err == nil {
				err = s.server.MakeAccount(ctx, a, password)
			}
			if err != nil {
				return errors.Join(err, os.Remove(file))
			}
			return nil
		},
	})
}

// init makes the repository.
func (s *setup) init() {
	s.add(setupStep{
		name: "repository", what: []string{"mbk init --repo " + s.repository},
		undo: "remove what is in " + s.repository + ", with all backups",
		there: func(ctx context.Context) (string, error) {
			r, err := s.existing(ctx)
			if r == nil || err != nil {
				return "", err
			}
			if s.o.encrypted() && !r.Encrypted() {
				return "", hint.Wrap(&configError{fmt.Errorf("%s is a repository already, and not encrypted", s.repository)},
					"name another one with "+hint.Option("repo")+", or leave it as it is without encryption")
			}
			list, err := r.List(ctx)
			for i := range list {
				s.newest = list[i].ID
			}
			return s.repository + " is a repository already, with " + ui.Count(len(list), "backup"), err
		},
		do: func(ctx context.Context) error {
			args := []string{"init", "--repo", s.repository}
			for _, r := range s.recipients {
				args = append(args, "--recipient", r)
			}
			_, err := s.mbk(ctx, s.configured(args...)...)
			return err
		},
	})
}

// check lets mbk check look for what would fail at night.
func (s *setup) check() {
	s.add(setupStep{name: "check", what: []string{"mbk check"}, do: func(ctx context.Context) error {
		_, err := s.asUnit(ctx, s.configured("check", "--repo", s.repository)...)
		return err
	}})
}

// firstBackup takes the first backup.
func (s *setup) firstBackup() {
	s.add(setupStep{
		name: "first backup", what: []string{"mbk backup"}, undo: "mbk remove latest",
		there: func(context.Context) (string, error) {
			if s.newest == "" {
				return "", nil
			}
			return "backup " + s.newest + " is there already", nil
		},
		do: func(ctx context.Context) error {
			_, err := s.asUnit(ctx, s.configured("backup", "--repo", s.repository)...)
			return err
		},
	})
}

// proof restores the newest backup privately and starts a server on it, unless the machine has
// no identity for it.
func (s *setup) proof() {
	step := setupStep{name: "proof", what: []string{"mbk verify latest --depth boot"},
		do: func(ctx context.Context) error {
			_, err := s.mbk(ctx, s.reading("verify", "latest", "--repo", s.repository, "--depth", "boot")...)
			return err
		},
		there: func(ctx context.Context) (string, error) {
			if s.newest == "" {
				return "", nil
			}
			r, err := s.o.open(ctx)
			if err != nil {
				return "", err
			}
			proofs, err := r.Verifications(ctx, s.newest)
			proven := slices.ContainsFunc(proofs, func(v repo.Verification) bool {
				return v.Depth == "boot" && (v.Outcome == repo.VerdictProven || v.Outcome == repo.VerdictAsOnSource)
			})
			if !proven {
				return "", err
			}
			return "backup " + s.newest + " is proven already", err
		},
	}
	if s.encrypted && s.o.newIdentity == "" {
		step.byHand, step.there = true, nil
		step.what = []string{"where the identity is: mbk verify latest --depth boot --repo " + s.repository +
			" --identity FILE"}
	}
	s.add(step)
}

// configured adds the option file to a call of mbk.
func (s *setup) configured(args ...string) []string {
	if s.o.optionFile == options.OwnFile {
		return args
	}
	return append(args, "--defaults-file", s.o.optionFile)
}

// reading adds what it takes to read backups.
func (s *setup) reading(args ...string) []string {
	if s.o.newIdentity != "" {
		args = append(args, "--identity", s.o.newIdentity)
	}
	return s.configured(args...)
}

// mbk runs a command of mbk as a person would, and returns what it prints.
func (s *setup) mbk(ctx context.Context, args ...string) (string, error) {
	return s.runAs(ctx, nil, args)
}

// asUnit runs a command of mbk as the units do: as the server's user, with its groups and
// without root's home. So a file that only root can read shows now, and not at night.
func (s *setup) asUnit(ctx context.Context, args ...string) (string, error) {
	as := s.owner.RunAs()
	if as.Credential == nil {
		return s.mbk(ctx, args...)
	}
	if account, err := user.LookupId(strconv.Itoa(s.owner.UID)); err == nil {
		ids, _ := account.GroupIds() // without them fewer files can be read
		for _, id := range ids {
			if n, err := strconv.ParseUint(id, 10, 32); err == nil {
				as.Credential.Groups = append(as.Credential.Groups, uint32(n))
			}
		}
	}
	out, err := s.runAs(ctx, as, args)
	if errors.Is(err, fs.ErrPermission) {
		err = hint.Wrap(err, "install mbk where "+hint.Text(preflight.OwnerName(s.owner))+
			" can run it, such as /usr/local/bin")
	}
	return out, err
}

// runAs runs a command of mbk; as is nil for the user who runs this one.
func (s *setup) runAs(ctx context.Context, as *syscall.SysProcAttr, args []string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	var out, messages bytes.Buffer
	cmd := exec.CommandContext(ctx, self, append(args, "--log-format=json")...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.Stdout, cmd.Stderr = &out, &messages
	if cmd.SysProcAttr = as; as != nil {
		cmd.Dir = "/"
		cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool {
			return strings.HasPrefix(v, "HOME=") || strings.HasPrefix(v, "XDG_")
		})
	}
	s.ui.Note("mbk %s", shown(args))
	if err = cmd.Run(); err == nil {
		return out.String(), nil
	}
	if cmd.ProcessState == nil {
		return "", fmt.Errorf("run %s: %w", self, err)
	}
	failed := &childError{command: args[0], code: cmd.ProcessState.ExitCode()}
	for line := range strings.Lines(messages.String()) {
		var m ui.Message
		if json.Unmarshal([]byte(line), &m) != nil {
			continue
		}
		switch m.Event {
		case "error":
			failed.texts = append(failed.texts, m.Text)
		case "hint":
			failed.hints = append(failed.hints, hint.Text(m.Text))
		}
	}
	return "", hint.Wrap(failed, failed.hints...)
}

// shown is a call for a message. A post-quantum recipient has 1959 characters.
func shown(args []string) string {
	args = slices.Clone(args)
	for i, a := range args {
		if strings.HasPrefix(a, "age1") && len(a) > 70 {
			args[i] = a[:16] + "..."
		}
	}
	return strings.Join(args, " ")
}

// childError is a command of mbk that failed.
type childError struct {
	command string
	code    int
	texts   []string
	hints   []hint.Text
}

func (e *childError) Error() string {
	if len(e.texts) == 0 {
		return fmt.Sprintf("mbk %s ends with exit code %d", e.command, e.code)
	}
	return "mbk " + e.command + ": " + strings.Join(e.texts, "; ")
}

// Fault is what the exit code of the command says.
func (e *childError) Fault() fault.Kind {
	switch e.code {
	case exitUsage:
		return fault.Config
	case exitDamage:
		return fault.Damage
	case exitBusy:
		return fault.Busy
	}
	return fault.Failed
}
