package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mbk/internal/cli"
	"mbk/internal/test/executable"
)

// installed makes mbk a program on a PATH of its own.
func installed(t *testing.T) (path string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	script := fmt.Sprintf("#!/bin/sh\nexec env %s=1 '%s' \"$@\"\n", asMbk, self)
	if err := executable.Write(filepath.Join(dir, "mbk"), []byte(script)); err != nil {
		t.Fatal(err)
	}
	return dir + ":" + os.Getenv("PATH")
}

// Every shell offers commands, options, and the values of options.
func TestCompletion(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(t.TempDir(), "a folder", "below")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	folder = filepath.Dir(folder)
	path, repository := installed(t), newChains(t)
	shells := map[string]string{ // what completes the words that follow
		"bash": `mbk_words=("$@"); COMP_WORDS=("${mbk_words[@]}"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _mbk; printf '%s\n' "${COMPREPLY[@]}"`,
		"fish": `complete -C (string join ' ' -- $argv[1..-2] (string escape -n -- $argv[-1])) | string split -f1 \t; true`,
	}
	for shell, complete := range shells {
		t.Run(shell, func(t *testing.T) {
			if _, err := exec.LookPath(shell); err != nil {
				t.Skip(err)
			}
			file := filepath.Join(t.TempDir(), "script")
			if err := os.WriteFile(file, []byte(must(t, "completion", shell).stdout+complete+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			offers := func(words ...string) []string {
				cmd := exec.Command(shell, append([]string{file, "mbk"}, words...)...)
				cmd.Env = append(os.Environ(), "PATH="+path, "HOME="+t.TempDir())
				out, err := cmd.Output()
				if err != nil {
					t.Fatalf("%s %q: %v", shell, words, err)
				}
				return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
			}
			for _, c := range []struct{ typed, want []string }{
				{[]string{"ba"}, []string{"backup"}},
				{[]string{"expire", "--keep-y"}, []string{"--keep-yearly"}},
				{[]string{"list", "--keep-y"}, []string{""}},
				{[]string{"verify", "--depth", ""}, []string{"boot", "pages", "stored"}},
				{[]string{"backup", "--quiet", "--progress", ""}, []string{"auto", "bar", "json", "none", "plain"}},
				{[]string{"backup", "--compress", ""}, []string{"none", "s2", "zstd"}},
				{[]string{"backup", "--ionice", "b"}, []string{"best-effort"}},
				{[]string{"backup", "--threads", ""}, []string{""}},
				{[]string{"completion", ""}, []string{"bash", "fish", "zsh"}},
				{[]string{"config", "ver"}, []string{"verify"}},
				{[]string{"show", "lat"}, []string{"latest"}},
				{[]string{"backup", "--repo", folder + "/b"}, []string{folder + "/below"}},
				{[]string{"man", ""}, []string{""}}, // hidden
				{[]string{"help", "ver"}, []string{"verify"}},
				{[]string{"show", "--repo", repository, ""}, []string{oldFull, oldIncr, oldIncr2, newFull, newIncr, "latest"}},
				{[]string{"remove", "--repo", repository, "20261108"}, []string{newFull}},
				{[]string{"remove", "--repo", repository, "lat"}, []string{""}}, // it wants the id
			} {
				got := offers(c.typed...)
				for i := range got {
					got[i] = strings.ReplaceAll(strings.TrimSuffix(got[i], "/"), `\ `, " ")
				}
				slices.Sort(got)
				if !slices.Equal(got, c.want) {
					t.Errorf("%s offers %q for %q, want %q", shell, got, c.typed, c.want)
				}
			}
		})
	}
	t.Run("zsh", func(t *testing.T) {
		if _, err := exec.LookPath("zsh"); err != nil {
			t.Skip(err)
		}
		cmd := exec.Command("zsh", "-f", "-c", "compdef() { : }; source =(mbk completion zsh) && whence -w _mbk")
		cmd.Env = append(os.Environ(), "PATH="+path, "HOME="+t.TempDir())
		if out, err := cmd.CombinedOutput(); err != nil || string(out) != "_mbk: function\n" {
			t.Errorf("zsh says %q, %v", out, err)
		}
	})
	mbk(t, "completion", "tcsh").wantRefusal(t, 2, `"mbk completion --help"`, "bash, zsh or fish")
}

// The manual page has every option, and the programs that format it find nothing
// to complain about.
func TestManPage(t *testing.T) {
	t.Parallel()
	page, text := filepath.Join(t.TempDir(), "mbk.1"), must(t, "man").stdout
	if err := os.WriteFile(page, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// Who looks an option up has not read the one before: its text stands alone.
	hanging := regexp.MustCompile(`(?m)^\.TP\n\.B (.*)\n((?:Or|And|By way|Their|Its|The same|Protect that)\b.*)$`)
	for _, m := range hanging.FindAllStringSubmatch(text, -1) {
		t.Errorf("%s is explained by %q", m[1], m[2])
	}
	for _, lint := range [][]string{
		{"mandoc", "-T", "lint", "-W", "warning", page},
		{"man", "--warnings", "-E", "UTF-8", "-l", page},
	} {
		if _, err := exec.LookPath(lint[0]); err != nil {
			t.Logf("%s is not here: %v", lint[0], err)
			continue
		}
		cmd := exec.Command(lint[0], lint[1:]...)
		cmd.Env = append(os.Environ(), "MANWIDTH=80", "LC_ALL=C.UTF-8", "MANPAGER=cat")
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if lint[0] == "mandoc" { // it complains on standard output, and wants a date
			for line := range strings.Lines(string(out)) {
				if !strings.Contains(line, "missing date") {
					complaints.WriteString(line)
				}
			}
			err = nil
		} else {
			for _, name := range optionNames() {
				if !strings.Contains(string(out), name) {
					t.Errorf("the manual page has no %s", name)
				}
			}
		}
		if err != nil || complaints.Len() > 0 {
			t.Errorf("%q: %v: %s", lint, err, complaints.String())
		}
	}
}

// optionNames are all options of all commands.
func optionNames() []string {
	var all []string
	for _, f := range cli.Flags() {
		all = append(all, strings.Replace(f.Names[0], "--ssl", "ssl", 1)) // --[skip-]ssl
	}
	return all
}
