package caddyrelay_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// opening are the names of the standard library that open connections or look names up, by
// package. They may stand in relay/egress alone: what leaves this machine leaves it there,
// from the address of a region and past the destination guard.
var opening = map[string][]string{
	"net": {
		"Dial", "DialTimeout", "DialTCP", "DialUDP", "DialIP", "DialUnix", "Dialer", "ListenUDP", "ListenPacket", "ListenIP",
		"DefaultResolver", "Resolver", "LookupHost", "LookupIP", "LookupAddr", "LookupCNAME", "LookupTXT", "LookupMX", "LookupNS", "LookupSRV",
		"ResolveTCPAddr", "ResolveUDPAddr", "ResolveIPAddr",
	},
	"net/http": {
		"DefaultClient", "DefaultTransport", "Client", "Transport", "Get", "Head", "Post", "PostForm",
		"ProxyFromEnvironment", "ProxyURL",
	},
	"net/rpc":                {"*"},
	"net/smtp":               {"*"},
	"crypto/tls":             {"Dial", "DialWithDialer", "Dialer"},
	"golang.org/x/net/http2": {"Transport", "ConfigureTransport", "ConfigureTransports", "ClientConn"},
	"golang.org/x/net/proxy": {"*"},
}

// elsewhere are the files outside of relay/egress that may use such names, and why.
var elsewhere = map[string]string{
	"caddymodule/demo_watch.go": "the command demo posts to its own intake on the loopback",
	"docs/clients/send.go":      "an example for applications; the relay does not have it",
}

// TestThereIsOneWayOut: a connection that is made anywhere else would leave from an address
// that nobody was told, to wherever its URL says.
func TestThereIsOneWayOut(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		file = filepath.ToSlash(file)
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && file != "." || file == "relay/egress" || file == "integration" || file == "bench" || file == "tools"):
			return fs.SkipDir
		case d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go"):
			return nil
		}
		seen++
		for _, use := range waysOut(t, file) {
			if elsewhere[file] == "" {
				t.Errorf("%s: only relay/egress opens connections; use the Transport or Dialer that it makes", use)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 50 {
		t.Errorf("only %d files were looked at", seen)
	}
	// The control: where connections are opened, that is found.
	for _, file := range []string{"relay/egress/connect.go", "relay/egress/dialer.go", "relay/egress/pool.go", "caddymodule/demo_watch.go"} {
		if len(waysOut(t, file)) == 0 {
			t.Errorf("%s opens connections, and that is not noticed", file)
		}
	}
}

// waysOut returns where a file uses what opens connections.
func waysOut(t *testing.T, file string) (uses []string) {
	t.Helper()
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, file, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	names := make(map[string][]string) // by the name under which the package is known here
	for _, spec := range parsed.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		forbidden, ok := opening[imported]
		if !ok {
			continue
		}
		name := path.Base(imported)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		if name == "." || forbidden[0] == "*" {
			uses = append(uses, files.Position(spec.Pos()).String()+": "+imported)
		}
		names[name] = forbidden
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		selector, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		pkg, ok := selector.X.(*ast.Ident)
		if !ok {
			return true
		}
		for _, name := range names[pkg.Name] {
			if selector.Sel.Name == name {
				uses = append(uses, files.Position(selector.Pos()).String()+": "+pkg.Name+"."+name)
			}
		}
		return true
	})
	return uses
}
