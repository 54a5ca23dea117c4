package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/sshtest"
)

// sftpArgs returns what makes a function that adds the options of a repository on a server.
func sftpArgs(ssh *sshtest.Server, folder string) func(args ...string) []string {
	at := []string{"--repo", ssh.URL(folder), "--ssh-key", ssh.Key, "--ssh-known-hosts", ssh.KnownHosts}
	return func(args ...string) []string { return slices.Concat(args, at) }
}

// A repository on an SSH server is used as one in a folder is.
func TestSFTPRepository(t *testing.T) {
	t.Parallel()
	ssh, folder := sshtest.New(t), t.TempDir()
	with := sftpArgs(ssh, folder)
	full, _ := shopTwice(t, newest(), with)
	must(t, with("pin", full)...)
	must(t, with("unpin", full)...)
	must(t, with("consolidate", "latest", "--quiet")...)
	must(t, with("expire", "--keep-last", "1", "--quiet")...)
	must(t, with("remove", full, "--with-dependents", "--quiet")...)
	must(t, "verify", "latest", "--repo", folder, "--depth", "pages", "--quiet") // the format is that of a folder
	if labels, err := filepath.Glob(folder + "/backups/*/label.json"); err != nil || len(labels) != 1 {
		t.Errorf("there are %q, %v, want one backup", labels, err)
	}
}

// The server of the repository goes away in the middle of a backup, or an object is cut off.
func TestSFTPBreaks(t *testing.T) {
	t.Parallel()
	ssh, folder := sshtest.New(t), t.TempDir()
	with := sftpArgs(ssh, folder)
	srv := newBusyServer(t, newest())
	backup := with("backup", "--socket", srv.Socket, "--user", "root", "--quiet")
	r := launch(t, command(t, append(slices.Clone(backup), "--rate-limit", "2MB")...))
	until(t, "wait for data", func() bool {
		temps, err := filepath.Glob(folder + "/backups/*/.put-*")
		return err == nil && len(temps) > 0
	})
	ssh.Stop()
	time.Sleep(time.Second)
	ssh.Start(t) // soon enough for mbk to clean up and to give its lock back
	o := r.wait(t, time.Minute)
	if o.code != 1 || !strings.Contains(o.stderr, "connection to 127.0.0.1") ||
		!strings.Contains(o.stderr, "look at the network") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	wantFree(t, srv)
	began := time.Now()
	must(t, backup...)
	if took := time.Since(began); took > time.Minute {
		t.Errorf("the next backup took %s: did it wait for the lock of the one before?", took)
	}
	must(t, with("verify", "latest", "--depth", "stored", "--quiet")...)
	packs, err := filepath.Glob(folder + "/backups/*/data-0001.pack")
	if err != nil || len(packs) != 1 {
		t.Fatalf("packs: %q, %v", packs, err)
	}
	if err := os.Truncate(packs[0], 1000); err != nil {
		t.Fatal(err)
	}
	if o := mbk(t, with("verify", "latest", "--depth", "stored", "--quiet")...); o.code != 3 {
		t.Errorf("verify of a truncated object: exit code %d: %s", o.code, o.stderr)
	}
	ssh.Stop()
	if o := mbk(t, with("list")...); o.code != 1 || !strings.Contains(o.stderr, "connection refused") {
		t.Errorf("list without a server: exit code %d: %s", o.code, o.stderr)
	}
}

// What is wrong with the call is said, and how it is right.
func TestSFTPRefusals(t *testing.T) {
	t.Parallel()
	ssh, folder := sshtest.New(t), t.TempDir()
	wrong := filepath.Join(t.TempDir(), "wrong")
	sshtest.WriteKey(t, wrong)
	empty := filepath.Join(t.TempDir(), "known_hosts")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	url, key, hosts := ssh.URL(folder), "--ssh-key="+ssh.Key, "--ssh-known-hosts="+ssh.KnownHosts
	for name, c := range map[string]struct {
		args         []string
		advice, says string
	}{
		"a password":    {[]string{"--repo", "sftp://me:hush-hush@h/x"}, "sftp://USER@HOST:PORT/PATH", "uses keys"},
		"no path":       {[]string{"--repo", "sftp://h"}, "sftp://USER@HOST:PORT/PATH", "names no path"},
		"unknown host":  {[]string{"--repo", url, key, "--ssh-known-hosts", empty}, "ssh-keyscan", "is not known"},
		"wrong key":     {[]string{"--repo", url, hosts, "--ssh-key", wrong}, "authorized_keys", "none of these keys"},
		"no folder":     {[]string{"--repo", url + "/x", hosts, key}, "mkdir -m 700 -p " + folder + "/x", "not exist"},
		"no repository": {[]string{"--repo", url, hosts, key}, "the first", "not an mbk repository"},
		"no program":    {[]string{"--repo", url, "--sftp-command", "/nowhere/ssh"}, "may execute", "--sftp-command"},
	} {
		t.Run(name, func(t *testing.T) {
			o := mbk(t, append([]string{"list", "--quiet"}, c.args...)...)
			o.wantRefusal(t, 2, c.advice, c.says)
			if strings.Contains(o.stderr, "hush-hush") {
				t.Errorf("the password is in %q", o.stderr)
			}
		})
	}
}
