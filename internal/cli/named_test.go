package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// named is what "list --json" prints of several repositories.
type named struct {
	Repository string
	Name       string
	Error      string
	Backups    []struct{ ID string }
	Others     []named
}

// Repositories have names in an option file; each has its own place, and a name counts for
// --repo, --to and the environment.
func TestRepositoriesByName(t *testing.T) {
	t.Parallel()
	a, b := newChains(t), t.TempDir()
	file := optionFile(t, "[mbk]", "quiet", "[mbk repo=first]", "repo="+a, "[MBK  repo = second]", "repo="+b,
		"[mbk repo=gone]", "repo="+filepath.Join(b, "none"), "[mbk repo=first]", "s3-region=x")
	here := "--defaults-file=" + file
	must(t, "copy", "latest", "--repo", "first", "--to", "second", here)
	all := document[named](t, "list", "--repo", "first", "--repo", "second", here)
	if all.Name != "first" || all.Repository != a || len(all.Backups) != 5 || len(all.Others) != 1 ||
		all.Others[0].Name != "second" || all.Others[0].Repository != b || len(all.Others[0].Backups) != 2 {
		t.Errorf("list prints %+v", all)
	}
	o := mbk(t, "list", "--repo", "first", "-r", "gone", "-r", "second", here)
	if o.code != 2 || !strings.Contains(o.stdout, "first: "+a+"\nID ") || !strings.Contains(o.stdout, "gone: "+b) ||
		!strings.Contains(o.stdout, "second: "+b+"\nID ") || !strings.Contains(o.stderr, "repository gone: ") {
		t.Errorf("list exits with %d and prints\n%s%s", o.code, o.stdout, o.stderr)
	}
	o = in(t, []string{"MBK_REPO=second"}, "list", here)
	if o.code != 0 || strings.Count(o.stdout, "202") < 2 || strings.Contains(o.stdout, "second") {
		t.Errorf("list exits with %d and prints\n%s%s", o.code, o.stdout, o.stderr)
	}
}

// What a repository's group sets counts for it alone, and the command line for all.
func TestOptionsOfNamedRepositories(t *testing.T) {
	t.Parallel()
	lines := []string{"[mbk]", "s3-region=general", "s3-profile=general", "identity=/general",
		"[mbk repo=a]", "repo=s3://bucket/a", "s3-region=of-a", "identity=/a1", "identity=/a2"}
	for name, tt := range map[string]struct {
		variables, args []string
		want            []string // lines of "config restore"
	}{
		"a path": {args: []string{"--repo", "/x"},
			want: []string{"s3-region general", "s3-profile general", "identity /general"}},
		"a name": {args: []string{"--repo", "a"},
			want: []string{"repo s3://bucket/a", "s3-region of-a", "s3-profile general", "identity /a1 /a2"}},
		"a variable": {variables: []string{"MBK_S3_REGION=x", "MBK_S3_PROFILE=x"}, args: []string{"--repo=a"},
			want: []string{"s3-region of-a", "s3-profile x"}},
		"the command line": {args: []string{"--repo", "a", "--s3-region", "typed", "--identity", "/typed"},
			want: []string{"s3-region typed", "identity /typed", "repo s3://bucket/a"}},
	} {
		o := in(t, tt.variables, append([]string{"config", "restore", "--defaults-file=" + optionFile(t, lines...)},
			tt.args...)...)
		text := strings.Join(strings.Fields(o.stdout), " ") + " "
		for _, want := range tt.want {
			if o.code != 0 || !strings.Contains(text, want+" ") {
				t.Errorf("%s: config exits with %d and does not print %q:\n%s%s", name, o.code, want, o.stdout, o.stderr)
			}
		}
	}
}

// Groups with a name that say nothing, or too much, are errors that name the line.
func TestWrongNamedRepositories(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		lines []string
		says  string
	}{
		"another kind":   {[]string{"[mbk server=a]", "repo=/x"}, "line 2: group [mbk server=a] is none of mbk's"},
		"no name":        {[]string{"[mbk repo]", "repo=/x"}, "[mbk repo=NAME]"},
		"a path":         {[]string{"[mbk repo=a/b]", "repo=/x"}, "[mbk repo=NAME]"},
		"no place":       {[]string{"[mbk repo=a]", "s3-region=x"}, "needs a line repo="},
		"another option": {[]string{"[mbk repo=a]", "repo=/x", "threads=3"}, "option threads is not about a repository"},
		"no option":      {[]string{"[mbk repo=a]", "repo=/x", "rubbish=3"}, `mbk has no option "rubbish"`},
		"a loose option": {[]string{"[mbk repo=a]", "repo=/nowhere", "loose-rubbish=3"}, "folder /nowhere"},
		"no such name":   {[]string{"[mbk repo=b]", "repo=/x"}, "no option file has a group [mbk repo=a]"},
		"empty":          {[]string{"[mbk repo=a]", "repo="}, "no repository is named"},
	} {
		o := mbk(t, "list", "--repo", "a", "--defaults-file="+optionFile(t, tt.lines...))
		if o.code != 2 || !strings.Contains(o.stderr, tt.says) {
			t.Errorf("%s: list exits with %d and says\n%s", name, o.code, o.stderr)
		}
	}
	if os.Getuid() == 0 {
		file := optionFile(t, "[mbk repo=a]", "repo=/x")
		if err := os.Chown(file, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		o := mbk(t, "list", "--repo", "a", "--defaults-file="+file)
		if o.code != 2 || !strings.Contains(o.stderr, "belongs to user 12345") {
			t.Errorf("list of another's group exits with %d and says\n%s", o.code, o.stderr)
		}
	}
}
