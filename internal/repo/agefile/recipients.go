package agefile

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
	"filippo.io/age/tag"

	"mbk/internal/hint"
)

// Bounds of what recipients are read from.
const (
	maxRecipients = 100
	maxRecipient  = 16 << 10 // characters; a post-quantum one has 1959
)

// Recipients are the public keys of those to whom something is encrypted. They may be used by
// several goroutines.
type Recipients struct {
	texts []string
	list  []age.Recipient
}

// NewRecipients parses recipients: age1... of age, ssh-ed25519 and ssh-rsa of OpenSSH, and
// those of age's plugins. Each counts once. Errors: *RecipientError, ErrMixed.
func NewRecipients(texts []string) (*Recipients, error) {
	r := &Recipients{}
	var hybrid, classic bool
	for _, text := range texts {
		one, err := parseRecipient(strings.TrimSpace(text))
		if err != nil {
			return nil, err
		}
		if slices.Contains(r.texts, one.text) {
			continue
		}
		r.texts, r.list = append(r.texts, one.text), append(r.list, one.recipient)
		hybrid, classic = hybrid || one.kind == kindHybrid, classic || one.kind == kindClassic
	}
	switch {
	case len(r.list) > maxRecipients:
		return nil, &configError{fmt.Errorf("%d recipients, at most %d can be given", len(r.list), maxRecipients)}
	case hybrid && classic:
		return nil, mixed()
	}
	return r, nil
}

// Texts returns the recipients as text, an OpenSSH key without its comment.
func (r *Recipients) Texts() []string { return slices.Clone(r.texts) }

// hybrid reports whether the recipients resist quantum computers. Plugins are asked.
func (r *Recipients) hybrid() (bool, error) {
	if len(r.list) == 0 {
		return false, &configError{errors.New("there are no recipients")}
	}
	labelled, ok := r.list[0].(age.RecipientWithLabels)
	if !ok {
		return false, nil
	}
	key := make([]byte, 16)
	rand.Read(key) // never fails
	_, labels, err := labelled.WrapWithLabels(key)
	if err != nil {
		return false, wrapError(err)
	}
	return slices.Contains(labels, "postquantum"), nil
}

// encrypt returns bytes as an age file to the recipients.
func (r *Recipients) encrypt(b []byte) ([]byte, error) {
	var out bytes.Buffer
	if _, err := encrypt(&out, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	}, r.list...); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// Kinds of recipients.
const (
	kindClassic = iota
	kindHybrid
	kindPlugin // only its plugin knows
)

// parsed is a recipient that was parsed.
type parsed struct {
	text      string
	recipient age.Recipient
	kind      int
}

// parseRecipient parses a recipient. It does not show a text that may be secret.
func parseRecipient(text string) (p parsed, err error) {
	switch {
	case strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-"),
		strings.HasPrefix(strings.ToUpper(text), "AGE-PLUGIN-"), strings.HasPrefix(text, "-----BEGIN"):
		return p, hint.Wrap(&RecipientError{Err: errors.New("this is an identity, which is secret")},
			"give its recipient instead: age-keygen -y prints it")
	case len(text) > maxRecipient || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl):
		return p, &RecipientError{Err: errors.New("not the text of a recipient")}
	case strings.HasPrefix(text, "age1tag1"), strings.HasPrefix(text, "age1tagpq1"):
		var r *tag.Recipient
		if r, err = tag.ParseRecipient(text); err == nil {
			p = parsed{r.String(), r, kindClassic}
			if r.Hybrid() {
				p.kind = kindHybrid
			}
		}
	case strings.HasPrefix(text, "age1pq1"):
		var r *age.HybridRecipient
		if r, err = age.ParseHybridRecipient(text); err == nil {
			p = parsed{r.String(), r, kindHybrid}
		}
	case strings.HasPrefix(text, "age1") && strings.Count(text, "1") > 1:
		var r *plugin.Recipient
		if r, err = plugin.NewRecipient(text, &plugin.ClientUI{}); err == nil {
			p = parsed{text, &limited{name: "age-plugin-" + r.Name(), limit: wrapTime, wrap: r}, kindPlugin}
		}
	case strings.HasPrefix(text, "age1"):
		var r *age.X25519Recipient
		if r, err = age.ParseX25519Recipient(text); err == nil {
			p = parsed{r.String(), r, kindClassic}
		}
	case strings.HasPrefix(text, "ssh-"):
		return parseSSH(text)
	default:
		err = errors.New("of no known kind: it begins neither with age1 nor with ssh-ed25519 or ssh-rsa")
	}
	if err != nil {
		return p, &RecipientError{Name(text), err}
	}
	return p, nil
}

// parseSSH parses a public key of OpenSSH. Its comment, which names a user and a host, is
// left out.
func parseSSH(text string) (parsed, error) {
	fields := strings.Fields(text)
	bare := strings.Join(fields[:min(2, len(fields))], " ")
	r, err := agessh.ParseRecipient(bare)
	if err != nil {
		return parsed{}, hint.Wrap(&RecipientError{Name(bare), err},
			"ssh-ed25519, and ssh-rsa of 2048 bits or more, can be used")
	}
	return parsed{bare, r, kindClassic}, nil
}

// ReadRecipients reads the text of a recipients file, one a line; lines that are empty or
// begin with "#" are passed over. The error has the number of the line.
func ReadRecipients(b []byte) ([]string, error) {
	var texts []string
	line := 0
	for text := range strings.Lines(string(b)) {
		line++
		text = strings.TrimSpace(text)
		if text == "" || text[0] == '#' {
			continue
		}
		p, err := parseRecipient(text)
		if err != nil {
			return nil, hint.Wrap(fmt.Errorf("line %d: %w", line, err), "each line has one recipient, or begins with #")
		}
		texts = append(texts, p.text)
	}
	if len(texts) == 0 {
		return nil, &configError{errors.New("there is no recipient in it")}
	}
	return texts, nil
}

// Name shortens a recipient for messages: a post-quantum one has 1959 characters.
func Name(text string) string {
	const most, end = 90, 12
	if len(text) <= most {
		return text
	}
	return text[:40] + "..." + text[len(text)-end:]
}

// names lists recipients for messages.
func names(texts []string) string {
	const most = 5
	if len(texts) == 0 {
		return "recipients that are not known"
	}
	shown := make([]string, 0, most+1)
	for _, text := range texts[:min(most, len(texts))] {
		shown = append(shown, Name(text))
	}
	if more := len(texts) - most; more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(shown, ", ")
}
