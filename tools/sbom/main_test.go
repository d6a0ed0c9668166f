package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// The program that runs this test is a binary like any other.
func TestBillOfABinary(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	if err := run(&first, self); err != nil {
		t.Fatal(err)
	}
	if err := run(&second, self); err != nil {
		t.Fatal(err)
	}
	if first.String() != second.String() {
		t.Error("the same binary gives two bills")
	}
	var doc document
	if err := json.Unmarshal(first.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Format != "CycloneDX" || len(doc.Components) == 0 || doc.Components[0].Name != "stdlib" ||
		"go"+doc.Components[0].Version != runtime.Version() {
		t.Errorf("got %s", first.String())
	}
}

func TestBillNamesModulesAsTheyCanBeFetched(t *testing.T) {
	doc := bill(&debug.BuildInfo{
		GoVersion: "go1.26.8", Path: "caddy", Main: debug.Module{Path: "caddy", Version: "(devel)"},
		Settings: []debug.BuildSetting{{Key: "GOARCH", Value: "arm64"}, {Key: "vcs.modified", Value: "true"}},
		Deps: []*debug.Module{
			{Path: "github.com/Masterminds/sprig/v3", Version: "v3.3.0", Sum: "h1:abc="},
			{Path: "example.com/a", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1+incompatible"}},
			{Path: "example.com/here", Version: "v0.0.0", Replace: &debug.Module{Path: "/home/dev/here"}},
		},
	})
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"purl":"pkg:golang/github.com/Masterminds/sprig/v3@v3.3.0","properties":[{"name":"go:module:sum","value":"h1:abc="}]`,
		`"purl":"pkg:golang/example.com/fork@v1.0.1%2Bincompatible","properties":[{"name":"go:module:replaces","value":"example.com/a@v1.0.0"}]`,
		`"bom-ref":"example.com/here","name":"/home/dev/here","properties":`,
		`"name":"caddy","properties":[{"name":"go:build:GOARCH","value":"arm64"}]`,
		`"name":"stdlib","version":"1.26.8"`,
	} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("lacks %s\n%s", want, raw)
		}
	}
}

func TestWhatIsNoGoProgramIsRefused(t *testing.T) {
	if err := run(&bytes.Buffer{}, "main_test.go"); err == nil {
		t.Error("a text has a bill")
	}
}
