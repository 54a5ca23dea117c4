package cli_test

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/test/smtptest"
)

// desk is a web server that keeps what it is sent.
type desk struct {
	mu     sync.Mutex
	status int
	got    []noticed
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	var n noticed
	if err == nil {
		err = json.Unmarshal(b, &n)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || r.Method != http.MethodPost {
		n.Error = "not a notice: " + r.Method + " " + string(b)
	}
	d.got = append(d.got, n)
	w.WriteHeader(d.status)
}

// taken returns what was sent since it was last asked.
func (d *desk) taken() []noticed {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.got
	d.got = nil
	return got
}

// subjects are those of the mails that a server has taken.
func subjects(t *testing.T, srv *smtptest.Server) []string {
	t.Helper()
	var all []string
	for _, m := range srv.Mails() {
		msg, err := mail.ReadMessage(strings.NewReader(m.Data))
		if err != nil {
			t.Fatal(err)
		}
		subject, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, subject)
	}
	return all
}

// People are told how a backup went, as they want it.
func TestNotification(t *testing.T) {
	t.Parallel()
	const word, token = "geheim-43", "token-44"
	srv := newBusyServer(t, newest())
	smtp := smtptest.Start(t, smtptest.Options{StartTLS: true, User: "mbk", Password: word})
	d := &desk{status: 200}
	web := httptest.NewServer(d)
	t.Cleanup(web.Close)
	w := workshop{t.TempDir()}
	broken := w.program(t, "broken", "echo no room; exit 7")
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte(word+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mailed := []string{"--mail-to", "dba@example.com, boss@example.com", "--mail-from", "mbk@example.com", "--mail-server", smtp.Addr, "--mail-tls", "starttls", "--mail-user", "mbk", "--mail-password-file", password}
	posted := []string{"--webhook", web.URL + "/" + token}
	run := func(t *testing.T, args ...string) outcome {
		t.Helper()
		cmd := command(t, args...)
		cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+smtp.CertFile)
		o := launch(t, cmd).wait(t, time.Minute)
		if strings.Contains(o.stdout+o.stderr, word) || strings.Contains(o.stdout+o.stderr, token) {
			t.Errorf("a secret is shown: %s%s", o.stdout, o.stderr)
		}
		return o
	}
	mails := 0 // so far
	news := func(t *testing.T) (fresh []string) {
		t.Helper()
		all := subjects(t, smtp)
		fresh, mails = all[mails:], len(all)
		return fresh
	}
	full := t.TempDir()
	t.Run("of success, by mail and web", func(t *testing.T) {
		o := run(t, slices.Concat(backupArgs(srv, full, "--notify", "always", "--json"), mailed, posted)...)
		var b surrounded
		if err := json.Unmarshal([]byte(o.stdout), &b); err != nil || o.code != 0 || o.stderr != "" {
			t.Fatalf("exit code %d, %v: %s", o.code, err, o.stderr)
		}
		for _, subject := range news(t) {
			if !strings.HasPrefix(subject, "mbk: backup of ") || !strings.Contains(subject, " ok, ") || !strings.Contains(subject, "lock window ") {
				t.Errorf("subject %q", subject)
			}
		}
		all := smtp.Mails()
		if len(all) != 2 || !all[0].Encrypted || all[0].User != "mbk" || !strings.Contains(all[0].Data, b.ID) || !strings.Contains(all[0].Data, "mbk.json") {
			t.Errorf("mails %+v", all)
		}
		got := d.taken()
		if len(got) != 1 || got[0].Event != "backup" || got[0].Outcome != "ok" || got[0].ID != b.ID || got[0].Result == nil || got[0].Result.BytesRead != b.BytesRead {
			t.Errorf("posted %+v", got)
		}
		want := []string{"mail dba@example.com, boss@example.com ", "webhook " + web.URL + "/... "}
		var told []string
		for _, n := range b.Notifications {
			told = append(told, n.Channel+" "+n.To+" "+n.Error)
		}
		if !slices.Equal(told, want) {
			t.Errorf("notifications %q, want %q", told, want)
		}
		if all := historyOf(t, full); len(all) != 1 || len(all[0].Notifications) != 2 {
			t.Errorf("the history has %+v", all)
		}
	})
	t.Run("of failures, unless asked otherwise", func(t *testing.T) {
		if o := run(t, slices.Concat(backupArgs(srv, full), mailed, posted)...); o.code != 0 {
			t.Fatal(o.stderr)
		}
		if m, p := news(t), d.taken(); len(m)+len(p) > 0 {
			t.Errorf("told of a success: %q, %+v", m, p)
		}
		o := run(t, slices.Concat(backupArgs(srv, full, "--socket", "/nowhere/sock"), mailed, posted)...)
		o.wantRefusal(t, 1, "", "/nowhere/sock")
		if m := news(t); len(m) != 2 || !strings.Contains(m[0], " FAILED: ") || !strings.Contains(m[0], "/nowhere/sock") {
			t.Errorf("subjects %q", m)
		}
		if p := d.taken(); len(p) != 1 || p[0].Outcome != "failed" || p[0].ExitCode != 1 || len(p[0].Hints) == 0 || p[0].Result != nil || p[0].Text == "" {
			t.Errorf("posted %+v", p)
		}
		// The disk of the repository is not mounted.
		o = run(t, slices.Concat(backupArgs(srv, "/nowhere/repository"), mailed)...)
		o.wantRefusal(t, 2, "", "/nowhere/repository")
		if m := news(t); len(m) != 2 || !strings.Contains(m[0], "/nowhere/repository") {
			t.Errorf("subjects %q", m)
		}
	})
	t.Run("of a hook that failed after a backup", func(t *testing.T) {
		o := run(t, slices.Concat(backupArgs(srv, full, "--hook-success", broken), mailed)...)
		if m := news(t); o.code != 0 || len(m) != 2 || !strings.Contains(m[0], "ok, but a hook FAILED: hook-success "+broken+": exit status 7") {
			t.Errorf("exit code %d, subjects %q", o.code, m)
		}
	})
	t.Run("of success only, and never", func(t *testing.T) {
		run(t, slices.Concat(backupArgs(srv, full, "--hook-before", broken, "--notify", "success"), posted)...)
		run(t, slices.Concat(backupArgs(srv, full, "--hook-before", broken, "--notify", "never"), posted)...)
		if p := d.taken(); len(p) > 0 {
			t.Errorf("posted %+v", p)
		}
		run(t, slices.Concat(backupArgs(srv, full, "--notify", "success"), posted)...)
		if p := d.taken(); len(p) != 1 {
			t.Errorf("posted %+v", p)
		}
	})
	t.Run("of change", func(t *testing.T) {
		repository := t.TempDir()
		var got []string
		for _, step := range []struct {
			name string
			more []string
		}{
			{"first ok", nil}, {"ok", nil}, {"hook fails", []string{"--hook-success", broken}}, {"fails", []string{"--hook-before", broken}}, {"ok again", nil}, {"ok", nil},
		} {
			run(t, slices.Concat(backupArgs(srv, repository, "--notify", "change", "--compress", "none"), posted, step.more)...)
			if p := d.taken(); len(p) > 0 {
				got = append(got, step.name+": "+p[0].Outcome)
			}
		}
		if want := []string{"first ok: ok", "hook fails: ok", "ok again: ok"}; !slices.Equal(got, want) {
			t.Errorf("told of %q, want %q", got, want)
		}
	})
	t.Run("that nobody takes", func(t *testing.T) {
		deaf := smtptest.Start(t, smtptest.Options{User: "x"})
		down := &desk{status: 403}
		refusing := httptest.NewServer(down)
		defer refusing.Close()
		o := run(t, backupArgs(srv, full, "--notify", "always", "--mail-to", "dba@example.com", "--mail-server", deaf.Addr, "--webhook", refusing.URL+"/"+token)...)
		if o.code != 0 || !strings.Contains(o.stderr, "mbk: warning: mail server "+deaf.Addr) || !strings.Contains(o.stderr, "mbk: warning: webhook "+refusing.URL+"/...: answers 403 Forbidden\n") || !strings.Contains(o.stderr, "mbk: hint: ") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
		all := historyOf(t, full)
		if n := all[len(all)-1].Notifications; len(n) != 2 || n[0].Error == "" || !strings.Contains(n[1].Error, "403") {
			t.Errorf("the history has %+v", n)
		}
	})
	t.Run("of verifications", func(t *testing.T) {
		newest := ids(t, full)[len(ids(t, full))-1] // "latest" passes over it when it is damaged
		verify := func(more ...string) outcome {
			return run(t, slices.Concat([]string{"verify", newest, "--depth", "stored", "--repo", full, "--quiet", "--no-defaults"}, posted, more)...)
		}
		if o, p := verify(), d.taken(); o.code != 0 || len(p) > 0 {
			t.Errorf("exit code %d, posted %+v", o.code, p)
		}
		packs, err := filepath.Glob(filepath.Join(full, "backups", newest, "data-*.pack"))
		if err != nil || len(packs) == 0 {
			t.Fatal(packs, err)
		}
		b, err := os.ReadFile(packs[0])
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		rewrite(t, packs[0], b)
		o, p := verify("--notify", "change"), d.taken()
		if o.code != 3 || !strings.Contains(o.stdout, "DAMAGED") || len(p) != 1 || p[0].Event != "verify" || p[0].Outcome != "failed" || p[0].ExitCode != 3 || !strings.Contains(p[0].Text, "DAMAGED") {
			t.Errorf("exit code %d: %s%s, posted %+v", o.code, o.stdout, o.stderr, p)
		}
		if o, p := verify("--notify", "change"), d.taken(); o.code != 3 || len(p) > 0 {
			t.Errorf("exit code %d, posted %+v", o.code, p)
		}
		o, p = run(t, "verify", "latest", "--repo", "/nowhere/repository", "--quiet", "--no-defaults", posted[0], posted[1]), d.taken()
		if o.code != 2 || len(p) != 1 || !strings.Contains(p[0].Error, "/nowhere/repository") {
			t.Errorf("exit code %d: %s, posted %+v", o.code, o.stderr, p)
		}
	})
	t.Run("as a test", func(t *testing.T) {
		news(t)
		o := run(t, slices.Concat([]string{"notify-test", "--no-defaults"}, mailed, posted)...)
		if m, p := news(t), d.taken(); o.code != 0 || len(m) != 2 || len(p) != 1 || p[0].Event != "test" || !strings.Contains(o.stdout, "mail     dba@example.com, boss@example.com  ok") {
			t.Errorf("exit code %d: %s%s, subjects %q, posted %+v", o.code, o.stdout, o.stderr, m, p)
		}
		smtp := smtptest.Start(t, smtptest.Options{StartTLS: true}) // its certificate is not trusted
		o = run(t, "notify-test", "--no-defaults", "--json", "--mail-to", "dba@example.com", "--mail-tls", "starttls", "--mail-server", smtp.Addr)
		var got struct {
			OK            bool                `json:"ok"`
			Notifications []repo.Notification `json:"notifications"`
		}
		if err := json.Unmarshal([]byte(o.stdout), &got); err != nil || o.code != 1 || got.OK || len(got.Notifications) != 1 || !strings.Contains(got.Notifications[0].Error, "certificate") || !strings.Contains(o.stderr, "SSL_CERT_FILE") {
			t.Errorf("exit code %d: %s%s", o.code, o.stdout, o.stderr)
		}
		wantValid(t, "notify-test", o.stdout)
	})
}

// What is wrong with the options of notifications shows before anything is done.
func TestWrongNotification(t *testing.T) {
	t.Parallel()
	repository := t.TempDir()
	for _, c := range []struct {
		args         []string
		part, advice string
	}{
		{[]string{"--notify", "sometimes", "--webhook", "http://localhost/"}, `--notify is failure, success, always, change or never, not "sometimes"`, "--help"},
		{[]string{"--notify", "always"}, "--notify always has nobody to tell", "--help"},
		{[]string{"--mail-to", "dba"}, `"dba" is not an address`, "check --mail-to"},
		{[]string{"--mail-to", "a@example.com", "--mail-tls", "ssl"}, `not "ssl"`, "check --mail-to"},
		{[]string{"--mail-to", "a@example.com", "--mail-server", "mail:x"}, "port", "check --mail-to"},
		{[]string{"--mail-to", "a@example.com", "--mail-user", "mbk"}, "--mail-user mbk has no password", "$MBK_MAIL_PASSWORD"},
		{[]string{"--mail-to", "a@example.com", "--mail-user", "mbk", "--mail-password-file", "/nowhere/x"}, "--mail-password-file: open /nowhere/x", "can read"},
		{[]string{"--mail-to", "a@example.com", "--mail-password-file", "/nowhere/x"}, "--mail-password-file /nowhere/x is for nobody", "--help"},
		{[]string{"--webhook", "hooks.example.com/secret"}, "--webhook: the address does not look like", "https://hooks"},
	} {
		args := append([]string{"backup", "--repo", repository, "--quiet", "--no-defaults", "--socket", "/nowhere/sock"}, c.args...)
		mbk(t, args...).wantRefusal(t, 2, c.advice, c.part)
	}
	mbk(t, "notify-test", "--no-defaults").wantRefusal(t, 2, "--mail-to", "nobody to tell")
}
