package caddyrelay_test

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

var (
	codeSpan = regexp.MustCompile("`[^`\n]*`")
	// A link or an image; its text may hold an image, its title is left out.
	link        = regexp.MustCompile(`\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(([^()\s]+(?:\([^()\s]*\))?)[^()]*\)`)
	linkedTitle = regexp.MustCompile(`\[([^\[\]]*)\]\([^()]*\)`)
)

// blobOfThis begins links to pages of this project that are written out, as in what senders
// are answered.
const blobOfThis = "https://github.com/caddyrelay/caddyrelay/blob/main/"

// anchors returns what "#..." may name in a page, as GitHub makes it of headings.
func anchors(page string) map[string]bool {
	all := make(map[string]bool)
	for line := range strings.Lines(prose(page)) {
		title := strings.TrimLeft(line, "#")
		if depth := len(line) - len(title); depth == 0 || depth > 6 || !strings.HasPrefix(title, " ") {
			continue
		}
		name := slug(linkedTitle.ReplaceAllString(strings.TrimSpace(title), "$1"))
		unique := name
		for n := 1; all[unique]; n++ {
			unique = name + "-" + strconv.Itoa(n)
		}
		all[unique] = true
	}
	return all
}

func slug(title string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, title)
}

// TestLinksLeadSomewhere: each link of a page to a file of the project names one that is
// there, and a heading that it has.
func TestLinksLeadSomewhere(t *testing.T) {
	all := pages(t)
	seen := 0
	for page, text := range all {
		for _, target := range links(text) {
			from := page
			if ours, ok := strings.CutPrefix(target, blobOfThis); ok {
				from, target = "README.md", ours
			}
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			seen++
			if why := deadEnd(all, from, target); why != "" {
				t.Errorf("%s: [...](%s): %s", page, target, why)
			}
		}
	}
	if seen < 100 {
		t.Errorf("only %d links were found", seen)
	}
	// The control.
	for _, dead := range []string{"docs/no-such-page.md", "docs/intake.md#no-such-heading", "#nowhere"} {
		if deadEnd(all, "README.md", dead) == "" {
			t.Errorf("%s leads somewhere", dead)
		}
	}
}

func links(page string) (targets []string) {
	text := codeSpan.ReplaceAllString(prose(page), "code")
	for _, found := range link.FindAllStringSubmatch(text, -1) {
		targets = append(targets, found[1])
	}
	return targets
}

// deadEnd says why a link leads nowhere; empty if it does not.
func deadEnd(all map[string]string, page, target string) string {
	file, fragment, hasFragment := strings.Cut(target, "#")
	file, err := url.PathUnescape(file)
	if err != nil {
		return err.Error()
	}
	if file == "" {
		file = page
	} else {
		file = filepath.ToSlash(filepath.Join(filepath.Dir(page), file))
	}
	if _, err := os.Stat(file); err != nil {
		return "there is no " + file
	}
	if text, isPage := all[file]; hasFragment && isPage && !anchors(text)[fragment] {
		return file + " has no heading for it"
	}
	return ""
}
