package cli

import (
	"strings"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/job"
	"mbk/internal/job/notify"
)

// mailPasswordVariable may hold the password of the mail account.
const mailPasswordVariable = "MBK_MAIL_PASSWORD"

const mailPasswordFileOption = "mail-password-file"

// notifications holds the options about who is notified of the outcome of a run.
type notifications struct {
	when                                  string
	to                                    []string
	from, server, tls, user, passwordFile string
	webhook                               string

	set     *options.Set
	program *program
}

func (o *notifications) bind(s *options.Set, p *program) {
	s = s.In(categoryNotification)
	o.set, o.program = s, p
	s.String(&o.when, "notify", job.WhenFailure,
		"send a message at `WHAT`: failure, success, always, change (of one into the other) or never")
	s.Strings(&o.to, "mail-to", "mail it to `ADDRESS`; may be repeated")
	s.String(&o.from, "mail-from", "", "mail it from `ADDRESS` (default: mbk at this machine)")
	s.String(&o.server, "mail-server", "localhost", "send mails by way of the server `HOST[:PORT]`")
	s.String(&o.tls, "mail-tls", "", "protect the way to the mail server by `KIND`: starttls, tls or none "+
		"(default: tls on port 465, none to this machine without a login, else starttls)")
	s.String(&o.user, "mail-user", "", "log in at the mail server as `NAME`, with the password in $MBK_MAIL_PASSWORD")
	s.String(&o.passwordFile, mailPasswordFileOption, "", "take the password for the mail server from `FILE`")
	s.String(&o.webhook, "webhook", "", "send it as JSON to `URL`, by POST")
}

// resolve returns the notifications after all checks that are possible before the run.
func (o *notifications) resolve() (*job.Notifications, error) {
	n := &job.Notifications{When: strings.ToLower(o.when)}
	switch n.When {
	case job.WhenFailure, job.WhenSuccess, job.WhenAlways, job.WhenChange, job.WhenNever:
	default:
		return nil, usagef("%s is failure, success, always, change or never, not %q", hint.Option("notify"), n.When)
	}
	if len(o.to) > 0 {
		n.Mail = &notify.Mail{Server: o.server, TLS: notify.TLS(strings.ToLower(o.tls)), From: o.from, User: o.user}
		for _, text := range o.to {
			n.Mail.To = append(n.Mail.To, addresses(text)...)
		}
		if err := n.Mail.Validate(); err != nil {
			return nil, hint.Wrap(options.Usage(err), hint.Textf("check %s, %s, %s and %s",
				hint.Option("mail-to"), hint.Option("mail-from"), hint.Option("mail-server"), hint.Option("mail-tls")))
		}
		var err error
		if n.Mail.Password, err = o.password(); err != nil {
			return nil, err
		}
	}
	if o.webhook != "" {
		n.Webhook = &notify.Webhook{URL: o.webhook, Agent: tool()}
		if err := n.Webhook.Validate(); err != nil {
			return nil, hint.Wrap(usagef("%s%s", hint.Option("webhook"), strings.TrimPrefix(err.Error(), "webhook")),
				"an address looks like https://hooks.example.com/path")
		}
	}
	if o.set.IsSet("notify") && n.When != job.WhenNever && !n.Any() {
		return nil, usagef("%s %s has nobody to tell: name somebody with %s or %s",
			hint.Option("notify"), n.When, hint.Option("mail-to"), hint.Option("webhook"))
	}
	return n, nil
}

// password reads the password from a file or from the environment.
func (o *notifications) password() (string, error) {
	if o.user == "" {
		if o.set.IsSet(mailPasswordFileOption) {
			return "", usagef("%s %s is for nobody: name the account with %s",
				hint.Option(mailPasswordFileOption), o.passwordFile, hint.Option("mail-user"))
		}
		return "", nil
	}
	if o.passwordFile != "" {
		return readPassword(o.program.ui, mailPasswordFileOption, o.passwordFile)
	}
	if word := o.program.getenv(mailPasswordVariable); word != "" {
		return word, nil
	}
	return "", hint.Wrap(&configError{hint.Errorf("%s %s has no password", hint.Option("mail-user"), o.user)},
		"name a file that holds it with "+hint.Option("mail-password-file")+", or put it into $"+mailPasswordVariable)
}

// addresses splits "a@b, c@d". A quoted name may contain a comma.
func addresses(text string) []string {
	var all []string
	quoted, begin := false, 0
	for i, r := range text + "," {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			if one := strings.TrimSpace(text[begin:min(i, len(text))]); one != "" {
				all = append(all, one)
			}
			begin = i + 1
		}
	}
	return all
}
