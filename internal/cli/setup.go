package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/ui"
	"mbk/stage"
)

type setupOptions struct {
	repository
	connection
	notifications notifications
	recipients    []string
	newIdentity   string
	account       string
	at            string
	archive       bool
	optionFile    string
	yes, dryRun   bool

	set *options.Set
}

func (o *setupOptions) bind(s *options.Set, p *program) {
	o.set = s
	o.repository.bind(s, p.ui)
	s.String(&o.newIdentity, "new-identity", "", "encrypt to a new identity, which goes to `FILE`")
	s.Strings(&o.recipients, "recipient", "encrypt to `RECIPIENT`; may be repeated")
	s.String(&o.account, "account", "mbk", "make the account `NAME` with the fewest rights; none: log in as now")
	s.String(&o.at, "at", "02:30", "back up each night at `TIME`")
	s.Bool(&o.archive, "archive", "follow the binary log, too, so that any moment can be restored")
	s.String(&o.optionFile, "option-file", options.OwnFile, "write the settings to `FILE`")
	s.Bool(&o.yes, "yes", "ask nothing")
	s.Bool(&o.dryRun, "dry-run", "show all steps, and change nothing")
	o.notifications.bind(s, p)
	o.connection.bind(s, p)
	outputOptions(s, p.ui)
}

func setupCommand(p *program) *command {
	var o setupOptions
	return &command{
		name: "setup", summary: "set up nightly backups of a server, step by step",
		usage: "mbk setup\n   mbk setup --repo REPO --yes [OPTIONS]",
		examples: "mbk setup\nmbk setup --repo /backup/db1 --archive --mail-to dba@example.org --dry-run\n" +
			"mbk setup --repo s3://backups/db1 --new-identity /root/db1.key --yes",
		changes: true, options: bind(func(s *options.Set) { o.bind(s, p) }),
		run: func(ctx context.Context) error { return runSetup(ctx, &o, p.ui) },
	}
}

// setupDocument is what "setup --json" prints.
type setupDocument struct {
	DryRun bool          `json:"dry_run"`
	Steps  []setupResult `json:"steps"`
	Card   string        `json:"card"` // of the newest backup; "" in a dry run
}

// setupResult says what became of a step.
type setupResult struct {
	Name    string   `json:"name"`
	Outcome string   `json:"outcome"` // one of the constants below
	What    []string `json:"what"`    // what was done, in lines; what is there; what to do by hand
	Undo    string   `json:"undo"`    // how to take it back; "" if there is nothing to take back
}

// Outcomes of a step.
const (
	stepDone   = "done"
	stepThere  = "there" // already
	stepWould  = "would be done"
	stepByHand = "by hand" // what is left to a person
)

func runSetup(ctx context.Context, o *setupOptions, u *ui.UI) error {
	ask := u.Typed && !o.yes && !o.dryRun
	var q *questions
	if ask {
		q = &questions{in: bufio.NewReader(u.Stdin), u: u}
		if err := q.askAll(o); err != nil {
			return err
		}
	}
	if err := o.check(); err != nil {
		return err
	}
	if !ask && !o.yes && !o.dryRun {
		return hint.Wrap(usagef("mbk setup asks at a terminal, and there is none"),
			"give the answers as options, and "+hint.Option("yes")+" to carry them out, or "+hint.Option("dry-run"))
	}
	server, err := o.connection.connect(ctx)
	if err != nil {
		return err
	}
	defer server.Close()
	s, err := newSetup(ctx, o, server, u)
	if err != nil {
		return err
	}
	if ask {
		if err := s.show(ctx); err != nil {
			return err
		}
		if yes, err := q.yes("Carry out these steps?", true); err != nil || !yes {
			return errors.Join(err, u.Rows([]string{"nothing was changed"}))
		}
	}
	d, err := s.run(ctx)
	if err != nil {
		return hint.Wrap(err, "what was done before stays; call mbk setup again when that is mended: it goes on there")
	}
	return u.Result(d, func() error { return printSetup(u, d) })
}

// check checks the answers that no other command does.
func (o *setupOptions) check() error {
	if err := o.repository.named(); err != nil {
		return err
	}
	if _, err := o.notifications.resolve(); err != nil {
		return err
	}
	if _, err := time.Parse("15:04", o.at); err != nil {
		return usagef("%s is a time of day such as 02:30, not %q", hint.Option("at"), o.at)
	}
	for _, path := range []*string{&o.optionFile, &o.newIdentity, &o.s3.CredentialsFile} {
		if *path == "" {
			continue
		}
		full, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = full
	}
	return nil
}

// newAccount returns the account to make, and the file of its password.
func (o *setupOptions) newAccount() (a stage.Account, passwordFile string) {
	return stage.Account{Name: o.account, Archive: o.archive},
		filepath.Join(filepath.Dir(o.optionFile), o.account+".password")
}

// wantsAccount reports whether an account is to be made.
func (o *setupOptions) wantsAccount() bool { return o.account != "" && o.account != "none" }

// encrypted reports whether a new repository is to be encrypted.
func (o *setupOptions) encrypted() bool { return o.newIdentity != "" || len(o.recipients) > 0 }

// printSetup prints the steps and the card.
func printSetup(u *ui.UI, d setupDocument) error {
	for i, s := range d.Steps {
		fmt.Fprintf(u.Stdout, "%d. %s: %s\n", i+1, s.Name, s.Outcome)
		for _, line := range s.What {
			fmt.Fprintf(u.Stdout, "     %s\n", line)
		}
		if s.Undo != "" {
			fmt.Fprintf(u.Stdout, "   undo: %s\n", s.Undo)
		}
	}
	if d.Card != "" {
		fmt.Fprintf(u.Stdout, "\n%s", d.Card)
	}
	return nil
}

// questions asks a person at a terminal.
type questions struct {
	in *bufio.Reader
	u  *ui.UI
}

// askAll asks for all answers. Options are what is proposed.
func (q *questions) askAll(o *setupOptions) error {
	for _, ask := range []func(*setupOptions) error{q.where, q.encryption, q.server, q.when, q.mail} {
		if err := ask(o); err != nil {
			return err
		}
	}
	return nil
}

func (q *questions) where(o *setupOptions) (err error) {
	if o.path == "" {
		o.path = "/var/lib/mbk"
	}
	err = q.text("1. Where do the backups go: a folder, s3://BUCKET/PREFIX or sftp://USER@HOST/PATH?", &o.path)
	if err == nil && strings.HasPrefix(o.path, "s3://") && !o.set.IsSet("s3-endpoint") {
		err = q.text("   URL of the object store (nothing: AWS)?", &o.s3.Endpoint)
	}
	if err == nil && strings.HasPrefix(o.path, "s3://") && !o.set.IsSet("s3-credentials-file") {
		err = q.text("   File with its credentials, which the server's user can read (nothing: as AWS's programs find them)?",
			&o.s3.CredentialsFile)
	}
	return err
}

func (q *questions) encryption(o *setupOptions) error {
	wanted, err := q.yes("2. Encrypt them, so that only who has an identity can read them?",
		o.encrypted() || strings.Contains(o.path, "://"))
	if err != nil || !wanted {
		o.newIdentity, o.recipients = "", nil
		return err
	}
	if len(o.recipients) > 0 {
		return nil
	}
	if o.newIdentity == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return err
		}
		o.newIdentity = filepath.Join(home, "mbk-identity.key")
	}
	return q.text("   Which file gets the new identity?", &o.newIdentity)
}

func (q *questions) server(o *setupOptions) error {
	if err := q.text("3. Socket of the server (nothing: the usual one)?", &o.socket); err != nil {
		return err
	}
	return q.text("   Account to make for the backups (none: log in as now)?", &o.account)
}

func (q *questions) when(o *setupOptions) (err error) {
	if err = q.text("4. At which time of night?", &o.at); err == nil {
		o.archive, err = q.yes("   Follow the binary log, too, so that any moment can be restored?", o.archive)
	}
	return err
}

func (q *questions) mail(o *setupOptions) error {
	to := strings.Join(o.notifications.to, ", ")
	if err := q.text("5. Who gets a mail when something fails (nothing: nobody)?", &to); err != nil || to == "" {
		o.notifications.to = nil
		return err
	}
	o.notifications.to = []string{to}
	return nil
}

// text asks for a text. An empty line leaves what is proposed.
func (q *questions) text(question string, answer *string) error {
	prompt := question
	if *answer != "" {
		prompt += " [" + *answer + "]"
	}
	fmt.Fprint(q.u.Stdout, prompt+" ")
	line, err := q.in.ReadString('\n')
	if errors.Is(err, io.EOF) && line == "" {
		return &configError{errors.New("the answers ended before the questions did; nothing was changed")}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if line = strings.TrimSpace(line); line != "" {
		*answer = line
	}
	return nil
}

// yes asks a question that is answered by y or n.
func (q *questions) yes(question string, proposed bool) (bool, error) {
	for {
		answer := map[bool]string{true: "y", false: "n"}[proposed]
		if err := q.text(question+" y/n", &answer); err != nil {
			return false, err
		}
		switch strings.ToLower(answer) {
		case "y", "yes":
			return true, nil
		case "n", "no":
			return false, nil
		}
	}
}
