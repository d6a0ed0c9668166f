package caddyrelay_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages are the texts of the project, by their paths.
func pages(t *testing.T) map[string]string {
	t.Helper()
	found := make(map[string]string)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "node_modules" || d.Name() == "testdata" || path == "dist"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".md"):
			return nil
		}
		text, err := os.ReadFile(path)
		found[filepath.ToSlash(path)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 20 {
		t.Fatalf("only %d pages were found", len(found))
	}
	return found
}

var comment = regexp.MustCompile(`(?s)<!--.*?-->`)

// prose returns a page without its blocks of code, line by line.
func prose(page string) string {
	var out strings.Builder
	fence := ""
	for line := range strings.Lines(page) {
		trimmed := strings.TrimSpace(line)
		switch {
		case fence == "" && strings.HasPrefix(trimmed, "```"):
			fence = trimmed[:len(trimmed)-len(strings.TrimLeft(trimmed, "`"))]
			line = "\n"
		case fence != "" && trimmed == fence:
			fence, line = "", "\n"
		case fence != "":
			line = "\n"
		}
		out.WriteString(line)
	}
	return comment.ReplaceAllString(out.String(), "")
}

// TestGuaranteesNameTheirTests: each promise says which tests prove it. Whatever page names
// a test names one that is there.
func TestGuaranteesNameTheirTests(t *testing.T) {
	functions := testFunctions(t)
	named := regexp.MustCompile("`((?:Test|Fuzz|Benchmark)[A-Z][A-Za-z0-9]*)`")
	for page, text := range pages(t) {
		for _, found := range named.FindAllStringSubmatch(prose(text), -1) {
			if !functions[found[1]] {
				t.Errorf("%s names %s, which is no test of the project", page, found[1])
			}
		}
	}
	text, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	promises := strings.Split(prose(string(text)), "\n### ")[1:]
	if len(promises) < 10 {
		t.Errorf("the page has only %d promises", len(promises))
	}
	for _, promise := range promises {
		if title, _, _ := strings.Cut(promise, "\n"); !named.MatchString(promise) {
			t.Errorf("the promise %q has no test", title)
		}
	}
}

// testFunctions are the names of all tests, fuzz tests and benchmarks.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, "_test.go"):
			return nil
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && f.Recv == nil {
				names[f.Name.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
