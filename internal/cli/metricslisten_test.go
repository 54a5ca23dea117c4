package cli_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// Prometheus may ask mbk itself: what is measured is that of the moment, a repository that is gone
// is no repository without backups, and a signal ends it.
func TestMetricsListen(t *testing.T) {
	onlyIn(t, "it takes the repository away", inFolder)
	t.Parallel()
	source := mariadbtest.New(t, newest())
	repository := t.TempDir()
	must(t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	for _, wrong := range []string{"localhost", "a:b:c", ":"} {
		if o := mbk(t, "metrics", "--repo", repository, "--listen", wrong); o.code != 2 {
			t.Errorf("--listen %s: %+v", wrong, o)
		}
	}
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close() //nolint:errcheck // nothing was written
	if o := mbk(t, "metrics", "--repo", repository, "--listen", taken.Addr().String()); o.code != 2 ||
		!strings.Contains(o.stderr, "address already in use") {
		t.Errorf("an address that is taken: %+v", o)
	}

	cmd := command(t, "metrics", "--repo", repository, "--listen", "0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer endIfStuck(t, cmd.Process)()
	said := bufio.NewReader(stderr)
	line, err := said.ReadString('\n')
	at := regexp.MustCompile(`http://127\.0\.0\.1:\d+/metrics`).FindString(line)
	if err != nil || at == "" {
		t.Fatalf("mbk says %q, %v", line, err)
	}
	code, text := fetch(t, at)
	if code != http.StatusOK || scrape(t, text, repository)["mbk_backup_attempts_total,ok"] != 1 {
		t.Errorf("%d: %s", code, text)
	}
	if code, _ = fetch(t, strings.TrimSuffix(at, "metrics")); code != http.StatusNotFound {
		t.Errorf("another path is answered with %d", code)
	}
	if err := os.Rename(repository, repository+".away"); err != nil {
		t.Fatal(err)
	}
	if code, text = fetch(t, at); code != http.StatusServiceUnavailable || strings.Contains(text, "mbk_") {
		t.Errorf("without the repository: %d: %s", code, text)
	}
	if line, err = said.ReadString('\n'); err != nil || !strings.Contains(line, "warning: no metrics: ") {
		t.Errorf("without the repository mbk says %q, %v", line, err)
	}
	if err := os.Rename(repository+".away", repository); err != nil {
		t.Fatal(err)
	}
	if code, _ = fetch(t, at); code != http.StatusOK {
		t.Errorf("when it is back: %d", code)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, said) // until it has ended
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != 130 {
		t.Errorf("after SIGTERM it ends with %d", cmd.ProcessState.ExitCode())
	}
}

// fetch asks for a page.
func fetch(t *testing.T, url string) (code int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it was only read
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}
