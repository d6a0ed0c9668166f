package re2

import (
	"strings"
	"testing"
)

func TestPatternsAreFound(t *testing.T) {
	for pattern, texts := range map[string]map[string]bool{
		`^c-\d+$`: {"c-17": true, "xc-17": false, "c-": false},
		`b`:       {"abc": true, "": false},
		``:        {"": true, "abc": true},
	} {
		p, err := Compile(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for text, want := range texts {
			if p.Match([]byte(text)) != want || p.MatchString(text) != want {
				t.Errorf("%q in %q: want %t", pattern, text, want)
			}
		}
		if p.String() != pattern {
			t.Errorf("%q is shown as %q", pattern, p)
		}
	}
}

func TestWrongPatternsAreExplained(t *testing.T) {
	for pattern, want := range map[string]string{
		"[":                                    `the pattern "[" is none of RE2: missing closing ]`,
		"(?!a)":                                "invalid or unsupported Perl syntax",
		"x{1001}":                              "invalid repeat count",
		"(a.{999}){2}":                         "invalid repeat count",
		".{999}.{999}.{999}":                   "is too large: it comes to 2999 instructions, and may have 2000; a repetition such as {1000} counts as often as it repeats",
		strings.Repeat("abcdefghi ", 1_000):    `abcdefghi ..." is too large: it comes to 10002 instructions`,
		strings.Repeat("é", MaxInstructions*2): "is too large",
	} {
		if _, err := Compile(pattern); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 300 {
			t.Errorf("%.40s: %v; want %s", pattern, err, want)
		}
	}
}

// A text that is too long for its pattern is not looked at, so that no event costs more than
// its share.
func TestWorkIsBounded(t *testing.T) {
	small, err := Compile("x$")
	if err != nil {
		t.Fatal(err)
	}
	large, err := Compile("(.*a){300}x")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("a", 1000<<10)
	if !small.Takes(len(long)) || !small.MatchString(long+"x") {
		t.Error("a small pattern takes no event of the largest size")
	}
	if large.Takes(len(long)) || large.Match([]byte(long+"x")) || large.MatchString(long+"x") {
		t.Error("a large pattern takes an event of the largest size")
	}
	if !large.MatchString(strings.Repeat("a", 10_000) + "x") {
		t.Error("a large pattern takes no value as they are")
	}
}

func FuzzCompile(f *testing.F) {
	for _, seed := range []string{"", "^c-", "(a|b)*", "x{1000}", "(?i)é+", "[", `\pL{2,}`, "((a{9}){9}){9}"} {
		f.Add(seed, "abc")
	}
	f.Fuzz(func(t *testing.T, pattern, text string) {
		p, err := Compile(pattern)
		if err != nil {
			return
		}
		if p.longest < MaxWork/MaxInstructions {
			t.Errorf("%q takes %d bytes", pattern, p.longest)
		}
		if p.Match([]byte(text)) != p.MatchString(text) {
			t.Errorf("%q in %q: text and bytes disagree", pattern, text)
		}
	})
}
