package caddyrelay_test

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A file is read whole before it is changed. Four hundred lines are as much as a reader
// keeps in mind.
func TestNoFileIsTooLongToRead(t *testing.T) {
	const most = 400
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() == ".git":
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if lines := bytes.Count(text, []byte("\n")); lines > most {
			t.Errorf("%s has %d lines; split it at a noun (at most %d)", path, lines, most)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Each package has a place in the architecture page, by its path or below one that names it.
func TestArchitectureNamesEveryPackage(t *testing.T) {
	page, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (d.Name() == ".git" || path == "docs"):
			return fs.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		seen[filepath.ToSlash(filepath.Dir(path))] = true
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	delete(seen, ".")
	for dir := range seen {
		if name := filepath.Base(dir); !bytes.Contains(page, []byte("`"+dir)) && !bytes.Contains(page, []byte("`"+name+"`")) {
			t.Errorf("docs/architecture.md does not say what %s is for", dir)
		}
	}
}

// A package below relay/ that does not need the engine is a leaf, and the linter keeps it one.
func TestTheLinterKnowsEveryLeaf(t *testing.T) {
	config, err := os.ReadFile(".golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := filepath.Glob("relay/*")
	if err != nil {
		t.Fatal(err)
	}
	leaves := 0
	for _, dir := range dirs {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		leaf := len(files) > 0
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.HasSuffix(file, "_test.go") && bytes.Contains(text, []byte(`"github.com/caddyrelay/caddyrelay/relay"`)) {
				leaf = false
			}
		}
		policed := bytes.Contains(config, []byte(`"**/`+filepath.ToSlash(dir)+`/*.go"`))
		if leaf {
			leaves++
		}
		if leaf != policed {
			t.Errorf("%s: a leaf: %t; among the leaves of .golangci.yml: %t", dir, leaf, policed)
		}
	}
	if leaves < 10 {
		t.Errorf("%d leaves were found", leaves)
	}
}
