// Command sbom writes a software bill of materials of a Go program: which modules, in
// which versions, are in the binary itself, as "go version -m" reads them. Form is CycloneDX
// 1.6 in JSON. The same binary gives the same bytes: there is no time and no number in it.
//
//	go run ./sbom <binary>
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: sbom <binary>")
		os.Exit(2)
	}
	if err := run(os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(to io.Writer, binary string) error {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return fmt.Errorf("reading what %s was built of: %w", binary, err)
	}
	out := json.NewEncoder(to)
	out.SetEscapeHTML(false)
	out.SetIndent("", "  ")
	return out.Encode(bill(info))
}

// The parts of CycloneDX that are used: https://cyclonedx.org/docs/1.6/json/
type (
	document struct {
		Format     string      `json:"bomFormat"`
		Spec       string      `json:"specVersion"`
		Version    int         `json:"version"`
		Metadata   metadata    `json:"metadata"`
		Components []component `json:"components"`
	}
	metadata struct {
		Component component `json:"component"`
	}
	component struct {
		Type       string     `json:"type"`
		Ref        string     `json:"bom-ref"`
		Name       string     `json:"name"`
		Version    string     `json:"version,omitempty"`
		PURL       string     `json:"purl,omitempty"`
		Properties []property `json:"properties,omitempty"`
	}
	property struct {
		Name  string `json:"name"`
		Value string `json:"value"`
	}
)

// bill lists what a binary was built of: the modules, the Go that compiled them with its
// standard library, and the settings of the build that change the result.
func bill(info *debug.BuildInfo) document {
	program := component{Type: "application", Ref: info.Path, Name: info.Path, Version: strings.TrimPrefix(info.Main.Version, "(devel)")}
	for _, s := range info.Settings {
		if s.Key == "GOOS" || s.Key == "GOARCH" || s.Key == "CGO_ENABLED" || s.Key == "-trimpath" || s.Key == "-tags" {
			program.Properties = append(program.Properties, property{"go:build:" + s.Key, s.Value})
		}
	}
	language := strings.TrimPrefix(info.GoVersion, "go")
	doc := document{
		Format: "CycloneDX", Spec: "1.6", Version: 1,
		Metadata:   metadata{Component: program},
		Components: []component{{Type: "library", Ref: purl("stdlib", language), Name: "stdlib", Version: language, PURL: purl("stdlib", language)}},
	}
	for _, m := range info.Deps {
		used := m
		if m.Replace != nil {
			used = m.Replace
		}
		c := component{Type: "library", Name: used.Path, Version: used.Version}
		if used.Version != "" { // a folder that stands in for a module has none, and nobody could fetch it
			c.PURL = purl(used.Path, used.Version)
		}
		if c.Ref = c.PURL; c.Ref == "" {
			c.Ref = m.Path
		}
		if used != m {
			c.Properties = append(c.Properties, property{"go:module:replaces", m.Path + "@" + m.Version})
		}
		if used.Sum != "" { // of the files of the module, as in go.sum; not a hash of one file
			c.Properties = append(c.Properties, property{"go:module:sum", used.Sum})
		}
		doc.Components = append(doc.Components, c)
	}
	return doc
}

// purl is a package URL: https://github.com/package-url/purl-spec, type golang. Slashes of
// a module's path separate its segments; everything else is escaped.
func purl(path, version string) string {
	segments := strings.Split(path, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return "pkg:golang/" + strings.Join(segments, "/") + "@" + strings.ReplaceAll(url.PathEscape(version), "+", "%2B")
}
