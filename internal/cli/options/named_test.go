package options

import (
	"strings"
	"testing"

	"mbk/internal/input/optfile"
)

func TestNameOf(t *testing.T) {
	for group, want := range map[string]string{
		"mbk repo=db1": "db1", "mbk repo = db-1.x_2": "db-1.x_2", "MBK\tRepo=DB1": "DB1", " mbk  repo=1 ": "1",
		"mbk repo=": "", "mbk repo": "", "mbk repo=a/b": "", "mbk repo=.hidden": "", "mbk repo=-x": "", "mbk repo=a b": "",
		"mbk repo=a=b": "", "mbk repo=\u00e9": "", "mbk server=a": "", "mbk x repo=a": "",
	} {
		if !isNamed(group) {
			t.Errorf("isNamed(%q) = false", group)
		} else if got := nameOf(group); got != want {
			t.Errorf("nameOf(%q) = %q, want %q", group, got, want)
		}
	}
	for _, group := range []string{"mbk", "mbk-backup", "mbk-repo x", "client", "", " ", "mysqld mbk repo=x", "mbkrepo"} {
		if isNamed(group) {
			t.Errorf("isNamed(%q) = true", group)
		}
	}
}

// FuzzNamed reads any line as the group of a repository, with whatever follows it.
func FuzzNamed(f *testing.F) {
	f.Add("mbk repo=db1", "repo", "/backup")
	f.Add("MBK repo = ", "s3-region", "x")
	f.Add("mb\u212a repo=x", "repo", "")
	f.Add("mbk \x00", "identity", "\xff")
	f.Fuzz(func(t *testing.T, group, name, value string) {
		if !isNamed(group) {
			return
		}
		repository := nameOf(group)
		if repository != "" && (!IsName(repository) || strings.ContainsAny(repository, "/: ")) {
			t.Fatalf("nameOf(%q) = %q", group, repository)
		}
		var place, region string
		main, to := NewSet(), NewSet()
		to.String(&place, NamedOption, "", "`REPO`")
		to.String(&region, "s3-region", "", "`REGION`")
		main.named.lines = []optfile.Setting{{Name: name, Value: value, HasValue: true, Group: group, File: "f", Line: 1}}
		main.named.env.Getenv = func(string) string { return "" }
		found, err := main.TakeNamed("db1", to)
		if found != (repository == "db1") && err == nil {
			t.Fatalf("group %q: found %t", group, found)
		}
	})
}
