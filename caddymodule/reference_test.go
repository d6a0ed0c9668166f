package caddymodule

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// The tables of words in the reference are made of the vocabulary, the comments of the
// configuration's fields, and allSettings. They stand between lines like these:
//
//	<!-- words of a subscription: UPDATE=1 go test ./caddymodule -run Reference -->
//	<!-- end -->
const (
	referencePage = "../docs/caddyfile.md"
	tableBegin    = "<!-- words of %s: UPDATE=1 go test ./caddymodule -run Reference -->\n"
	tableEnd      = "<!-- end -->"
)

// TestReferenceIsGenerated holds the tables against what they are made of. UPDATE=1
// writes them.
func TestReferenceIsGenerated(t *testing.T) {
	page, err := os.ReadFile(referencePage)
	if err != nil {
		t.Fatal(err)
	}
	d := caddyfile.NewTestDispenser("")
	want := bytes.Clone(page)
	want = replaceTable(t, want, "the option", optionTable(t, want, (&optionParser{d: d}).words()))
	want = replaceTable(t, want, "a subscription", subscriptionTable(t, want, settingsWords(d, new(Settings), nil)))
	switch {
	case bytes.Equal(page, want):
	case os.Getenv("UPDATE") != "":
		if err := os.WriteFile(referencePage, want, 0o600); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the tables of words in %s are not those of the code; write them with: UPDATE=1 go test ./caddymodule -run Reference", referencePage)
	}
}

func replaceTable(t *testing.T, page []byte, of, table string) []byte {
	t.Helper()
	begin := fmt.Sprintf(tableBegin, of)
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, closed := strings.Cut(rest, tableEnd)
	if !ok || !closed {
		t.Fatalf("%s has no place for the words of %s: %s%s", referencePage, of, begin, tableEnd)
	}
	return []byte(before + begin + table + tableEnd + after)
}

// optionTable has the words of the option relay, in the order of the fields of App.
func optionTable(t *testing.T, page []byte, words vocabulary) string {
	comments := fieldComments(t, "app.go", "App")
	fields := map[string]string{"region": "regions", "event": "event_types", "subscription": "subscriptions"}
	var rows []tableRow
	for word, w := range words {
		field := word
		if other, ok := fields[word]; ok {
			field = other
		}
		c, ok := comments[field]
		if !ok {
			t.Fatalf("the word %q has no field of App; name it in optionTable", word)
		}
		rows = append(rows, tableRow{word: word, usage: w.usage, otherwise: defaultOf(c.text), means: sentence(c.text), order: c.order})
	}
	slices.SortFunc(rows, func(a, b tableRow) int { return a.order - b.order })
	return markdown(t, page, "## The option `relay`", rows)
}

// subscriptionTable has the words of a subscription, in the order of allSettings.
func subscriptionTable(t *testing.T, page []byte, words vocabulary) string {
	comments := fieldComments(t, "settings.go", "Settings")
	var rows []tableRow
	for _, s := range allSettings {
		otherwise := s.otherwise
		if !slices.Contains(otherwiseInProse, otherwise) {
			otherwise = "`" + otherwise + "`"
		}
		rows = append(rows, tableRow{
			word: s.word, usage: words[s.word].usage, otherwise: otherwise, means: sentence(comments[s.fields[0]].text),
		})
	}
	return markdown(t, page, "## Inside a subscription", rows)
}

type tableRow struct {
	word, usage, otherwise, means string
	order                         int
}

// markdown writes a table, with links to the sections below a heading.
func markdown(t *testing.T, page []byte, below string, rows []tableRow) string {
	t.Helper()
	sections := sectionsBelow(string(page), below)
	var out strings.Builder
	out.WriteString("| word | default | |\n|---|---|---|\n")
	for _, r := range rows {
		anchor, ok := sections[r.word]
		if !ok {
			t.Errorf("%s has no section about %q below %q", referencePage, r.word, below)
		}
		fmt.Fprintf(&out, "| [`%s`](#%s) | %s | %s |\n", strings.ReplaceAll(r.usage, "|", `\|`), anchor, r.otherwise, r.means)
	}
	return out.String()
}

// sectionsBelow returns the anchors of the sections below a heading by the words that
// stand in their headings.
func sectionsBelow(page, heading string) map[string]string {
	_, rest, _ := strings.Cut(page, heading+"\n")
	sections := make(map[string]string)
	for line := range strings.Lines(rest) {
		if strings.HasPrefix(line, "## ") {
			break
		}
		title, ok := strings.CutPrefix(strings.TrimSpace(line), "### ")
		if !ok {
			continue
		}
		anchor := strings.ReplaceAll(regexp.MustCompile(`[^a-z0-9 _-]`).ReplaceAllString(strings.ToLower(title), ""), " ", "-")
		for word := range strings.FieldsSeq(title) {
			if word = strings.Trim(word, "`,"); sections[word] == "" {
				sections[word] = anchor
			}
		}
	}
	return sections
}

type fieldComment struct {
	text  string
	order int
}

// fieldComments returns the comments of a struct's fields by their JSON names.
func fieldComments(t *testing.T, file, name string) map[string]fieldComment {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	comments := make(map[string]fieldComment)
	ast.Inspect(parsed, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok || spec.Name.Name != name {
			return true
		}
		for i, f := range spec.Type.(*ast.StructType).Fields.List {
			if f.Tag == nil {
				continue
			}
			if found := regexp.MustCompile(`json:"([^,"]+)`).FindStringSubmatch(f.Tag.Value); found != nil {
				comments[found[1]] = fieldComment{strings.Join(strings.Fields(f.Doc.Text()), " "), i}
			}
		}
		return false
	})
	if len(comments) == 0 {
		t.Fatalf("%s has no struct %s", file, name)
	}
	return comments
}

// sentence returns the first sentence of a comment, without its default.
func sentence(comment string) string {
	text, _, _ := strings.Cut(comment, "Default: ")
	text = strings.TrimSpace(text)
	text = strings.ReplaceAll(text, "e.g. ", "e.g.\u00a0")
	if end := regexp.MustCompile("\\. +[A-Z`]").FindStringIndex(text); end != nil {
		text = text[:end[0]+1]
	}
	return strings.ReplaceAll(strings.TrimSuffix(text, "."), "\u00a0", " ")
}

// defaultOf returns the default that a comment names.
func defaultOf(comment string) string {
	_, text, ok := strings.Cut(comment, "Default: ")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(text, ".")
}

// TestEveryWordIsInTheComment: the comment of UnmarshalCaddyfile is the reference in
// Go's documentation.
func TestEveryWordIsInTheComment(t *testing.T) {
	raw, err := os.ReadFile("caddyfile.go")
	if err != nil {
		t.Fatal(err)
	}
	_, comment, _ := strings.Cut(string(raw), "// UnmarshalCaddyfile reads the global option:")
	comment, _, _ = strings.Cut(comment, "\nfunc ")
	first := make(map[string]bool)
	for line := range strings.Lines(comment) {
		if fields := strings.Fields(strings.TrimPrefix(line, "//")); len(fields) > 0 {
			first[fields[0]] = true
		}
	}
	d := caddyfile.NewTestDispenser("")
	for _, words := range []vocabulary{(&optionParser{d: d}).words(), settingsWords(d, new(Settings), nil), new(BadgerStorage).words()} {
		for word, w := range words {
			if !first[word] {
				t.Errorf("the comment of UnmarshalCaddyfile, in caddyfile.go, lacks: %s", w.usage)
			}
		}
	}
}
