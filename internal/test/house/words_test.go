package house

import (
	"go/ast"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

const design = "docs/design.md"

// termRow finds a term in the glossary.
var termRow = regexp.MustCompile(`(?m)^\| ([^|]+?) \| ([^|]+) \|$`)

// TestGlossaryIsOfThisCode makes sure that each term is explained once, in the order of
// the alphabet, and that the code speaks of it.
func TestGlossaryIsOfThisCode(t *testing.T) {
	var terms []string
	for _, m := range termRow.FindAllStringSubmatch(section(t, document(t, design), "Glossary"), -1) {
		if m[1] != "term" && !strings.HasPrefix(m[1], "-") {
			terms = append(terms, m[1])
		}
	}
	if len(terms) < 25 {
		t.Fatalf("%s explains %d terms: %q", design, len(terms), terms)
	}
	if !slices.IsSortedFunc(terms,
		func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }) {
		t.Errorf("the terms are not sorted: %q", terms)
	}
	for i := 1; i < len(terms); i++ {
		if terms[i] == terms[i-1] {
			t.Errorf("%q is explained twice", terms[i])
		}
	}
	_, all := sources(t)
	for _, term := range terms {
		// "lock window" is also LockWindow, and lock_window.
		words := strings.FieldsFunc(term, func(r rune) bool { return r == ' ' || r == '-' })
		used := regexp.MustCompile(`(?i)` + strings.Join(words, `[-_ ]?(?:\n\s*// )?`))
		if !slices.ContainsFunc(all, func(s source) bool { return !s.test && used.MatchString(s.text) }) {
			t.Errorf("no code speaks of %q, which %s explains", term, design)
		}
	}
}

// givenUp are words that were private to this code, or meant several things, with what
// is said instead.
var givenUp = map[string]string{
	"anew":     "again",
	"calm":     "background",
	"far":      "external",
	"gentle":   "limits",
	"grab":     "open",
	"grabbed":  "openFile",
	"hurry":    "urgent",
	"keeper":   "selection",
	"near":     "local",
	"news":     "notifications",
	"night":    "job",
	"settle":   "initialize, quiescent, resolve, stable",
	"settled":  "quiescent, resolved, stable",
	"spare":    "unreferenced, preserve, reserved",
	"surround": "job",
	"tidy":     "dropOrphans",
	"unborn":   "not yet created",
	"urge":     "urgent",
	"urged":    "urgent",
}

// TestWordsThatWereGivenUpStayAway looks at what the code declares, and at names of files.
func TestWordsThatWereGivenUpStayAway(t *testing.T) {
	fset, all := sources(t)
	wrong := func(name string) (word, instead string) {
		for _, word := range wordsOf(name) {
			if instead, ok := givenUp[word]; ok {
				return word, instead
			}
		}
		return "", ""
	}
	for _, s := range all {
		if word, instead := wrong(strings.TrimSuffix(path.Base(s.name), ".go")); word != "" {
			t.Errorf("%s: not %q, but %s", s.name, word, instead)
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok {
				if word, instead := wrong(id.Name); word != "" {
					t.Errorf("%v: %s: not %q, but %s", fset.Position(id.Pos()), id.Name, word, instead)
				}
			}
			return true
		})
	}
}

// wordsOf takes a name apart: "newPageCache" and "new_page_cache" have three words.
func wordsOf(name string) []string {
	var words []string
	word := ""
	flush := func() {
		if word != "" {
			words = append(words, strings.ToLower(word))
		}
		word = ""
	}
	runes := []rune(name)
	for i, r := range runes {
		inside := unicode.IsLower(r) || i > 0 && unicode.IsUpper(runes[i-1]) &&
			(i+1 == len(runes) || !unicode.IsLower(runes[i+1]))
		switch {
		case !unicode.IsLetter(r):
			flush()
			continue
		case !inside:
			flush()
		}
		word += string(r)
	}
	flush()
	return words
}

func TestWordsOf(t *testing.T) {
	for name, want := range map[string]string{
		"newPageCache": "new page cache", "new_page_cache": "new page cache", "LSN": "lsn", "endLSN": "end lsn",
		"LSNEnd": "lsn end", "a1b": "a b", "Far": "far", "TestFarSpaces": "test far spaces", "farther": "farther",
	} {
		if got := strings.Join(wordsOf(name), " "); got != want {
			t.Errorf("wordsOf(%s) = %q, want %q", name, got, want)
		}
	}
}
