package caddymodule

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// TestDocumentedCaddyfiles adapts and provisions every Caddyfile of the documentation, as
// caddy validate does. A block is a whole Caddyfile, or says behind the language where
// its lines belong:
//
//	```caddyfile                 a whole Caddyfile
//	```caddyfile relay           lines of the option relay
//	```caddyfile subscription    lines of a subscription
//	```caddyfile site            lines of a site
func TestDocumentedCaddyfiles(t *testing.T) {
	found := 0
	for _, page := range documentation(t) {
		for _, block := range caddyfileBlocks(t, page) {
			found++
			t.Run(fmt.Sprintf("%s:%d", filepath.Base(page), block.line), func(t *testing.T) {
				input, err := block.whole()
				if err != nil {
					t.Fatal(err)
				}
				if formatted := string(caddyfile.Format([]byte(input))); formatted != input {
					t.Errorf("not formatted; caddy fmt makes of it:\n%s", formatted)
				}
				if err := validate(supply(t, mustAdapt(t, input))); err != nil {
					t.Errorf("%v\n%s", err, input)
				}
			})
		}
	}
	if found == 0 {
		t.Error("no block was found")
	}
}

// TestEveryWordIsDocumented: each word that the parser knows begins a line of a block of
// the reference.
func TestEveryWordIsDocumented(t *testing.T) {
	const page = "../docs/caddyfile.md"
	shown := make(map[string]bool)
	for _, block := range caddyfileBlocks(t, page) {
		for line := range strings.Lines(block.text) {
			if fields := strings.Fields(line); len(fields) > 0 {
				shown[fields[0]] = true
			}
		}
	}
	d := caddyfile.NewTestDispenser("")
	words := []string{
		"delivered", "failed", "idempotency_keys", "secret", "jitter", "on_status", "give_up_after", "until", "interval", "on_timeout",
		"header", "algorithm", "encoding", "prefix", "over", "token_url", "client_id", "client_secret", "scopes", "audience",
		"description", "schema", "relay_intake", "token", "max_event_size", "max_batch", "default_source", "type_from", "key_from", "accept", "hosts",
		"relay_sink", "fail", "delay", "relay_egress", "relay_console", "read_only", "redact",
	}
	for w := range new(EgressList).words() {
		words = append(words, w)
	}
	for w := range new(Region).words(d) {
		words = append(words, w)
	}
	for w := range new(BadgerStorage).words() {
		words = append(words, w)
	}
	for w := range new(PostgresStorage).words() {
		words = append(words, w)
	}
	for w := range (&optionParser{d: d}).words() {
		words = append(words, w)
	}
	for w := range settingsWords(d, new(Settings), nil) {
		words = append(words, w)
	}
	for _, w := range words {
		if !shown[w] {
			t.Errorf("%s has no example of %q; write one, in a block that begins with ```caddyfile", page, w)
		}
	}
}

var longFlag = regexp.MustCompile(`--[a-z][a-z0-9-]*`)

// docPage is the text of a page of the documentation.
func docPage(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../docs/" + name + ".md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDocumentedNames: there is a page that shows each route of the admin API, and one that
// shows each subcommand.
func TestDocumentedNames(t *testing.T) {
	admin, commands := docPage(t, "admin"), docPage(t, "command")
	for pattern := range adminRoutes {
		method, path, _ := strings.Cut(pattern, " ")
		if !strings.Contains(admin, "`"+method+" "+path) {
			t.Errorf("admin.md does not show %s %s", method, path)
		}
	}
	all := new(cobra.Command)
	relayCommand(all)
	for _, sub := range all.Commands() {
		if !strings.Contains(commands, "\n## caddy relay "+sub.Name()+"\n") {
			t.Errorf("command.md has no section about caddy relay %s", sub.Name())
		}
		for _, flag := range longFlag.FindAllString(sub.NonInheritedFlags().FlagUsages(), -1) {
			if !strings.Contains(commands, flag) {
				t.Errorf("command.md does not tell of %s of caddy relay %s", flag, sub.Name())
			}
		}
	}
}

// documentation are the pages that may hold Caddyfiles and commands.
func documentation(t *testing.T) []string {
	t.Helper()
	pages, err := filepath.Glob("../*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	err = filepath.WalkDir("../docs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".md") {
			pages = append(pages, path)
		}
		return err
	})
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages: %v", len(pages), err)
	}
	return pages
}

// caddyfileBlock is a fenced block of a page.
type caddyfileBlock struct {
	line  int
	place string // what stands behind the language
	text  string
}

const fence = "```"

func caddyfileBlocks(t *testing.T, page string) []caddyfileBlock {
	t.Helper()
	raw, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []caddyfileBlock
	var open *caddyfileBlock
	within := false // a block of any language
	for i, line := range strings.Split(string(raw), "\n") {
		info, isFence := strings.CutPrefix(strings.TrimSpace(line), fence)
		language, place, _ := strings.Cut(info, " ")
		switch {
		case isFence && within:
			if open != nil {
				blocks = append(blocks, *open)
			}
			within, open = false, nil
		case isFence:
			within = true
			if language == "caddyfile" {
				open = &caddyfileBlock{line: i + 1, place: strings.TrimSpace(place)}
			}
		case open != nil:
			open.text += line + "\n"
		}
	}
	if within {
		t.Errorf("%s: a block is not closed", page)
	}
	return blocks
}

// whole returns the block with what stands around it.
func (b caddyfileBlock) whole() (string, error) {
	indented := func(tabs string) string {
		var out strings.Builder
		for line := range strings.Lines(b.text) {
			if strings.TrimSpace(line) != "" {
				out.WriteString(tabs)
			}
			out.WriteString(line)
		}
		return out.String()
	}
	switch b.place {
	case "":
		return b.text, nil
	case "relay":
		return "{\n\trelay {\n" + indented("\t\t") + "\t}\n}\n", nil
	case "subscription":
		return "{\n\trelay {\n\t\tregion eu 192.0.2.10\n\t\tregion us 198.51.100.20\n\t\tdefaults {\n\t\t\tregion eu\n\t\t}\n" +
			"\t\tsubscription crm https://crm.example.com/hooks {\n" + indented("\t\t\t") + "\t\t}\n\t}\n}\n", nil
	case "site":
		return "{\n\trelay\n}\n\nhttp://:4665 {\n\tbind 127.0.0.1\n" + indented("\t") + "}\n", nil
	}
	return "", fmt.Errorf("no such place: %q", b.place)
}

var (
	envPlaceholder  = regexp.MustCompile(`\{env\.([A-Z0-9_]+)\}`)
	certificatePath = regexp.MustCompile(`/etc/caddy/[a-z-]+\.(crt|key|pem)`)
	filePlaceholder = regexp.MustCompile(`\{file\.(/[^{}]+)\}`)
	schemaFile      = regexp.MustCompile(`"schema":\s*"(/[^"]+\.json)"`)
)

// supply gives the placeholders of a configuration something to stand for: the variables
// are set, and the files lie in a temporary folder, as do its schemas.
func supply(t *testing.T, input string) string {
	t.Helper()
	for _, found := range envPlaceholder.FindAllStringSubmatch(input, -1) {
		value := signature.NewStandardSecret()
		switch name := found[1]; {
		case strings.Contains(name, "ED25519"):
			value, _ = signature.NewEd25519Pair()
		case strings.Contains(name, "CONTENTFUL"):
			value = strings.Repeat("c", signature.ContentfulSecretLength)
		case strings.HasSuffix(name, "_URL"):
			value = "https://crm.example.com/hooks"
		case strings.HasSuffix(name, "_DSN"):
			value = "postgres://relay@127.0.0.1/relay"
		case strings.HasSuffix(name, "_DIR"):
			value = t.TempDir()
		case strings.HasSuffix(name, "_KEY"):
			value = strings.Repeat("5a", 32)
		}
		t.Setenv(found[1], value)
	}
	root := t.TempDir()
	for _, found := range schemaFile.FindAllStringSubmatch(input, -1) {
		file := filepath.Join(root, filepath.Base(found[1]))
		if err := os.WriteFile(file, []byte("{}"), 0o600); err != nil {
			t.Fatal(err)
		}
		input = strings.ReplaceAll(input, found[1], file)
	}
	var paths []string
	for _, found := range filePlaceholder.FindAllStringSubmatch(input, -1) {
		paths = append(paths, found[1])
	}
	if certificates := certificatePath.FindAllString(input, -1); len(certificates) > 0 {
		certificate, key := pair(t, time.Now().Add(time.Hour))
		for _, path := range certificates {
			with := certificate
			if strings.HasSuffix(path, ".key") {
				with = key
			}
			input = strings.ReplaceAll(input, path, with)
		}
	}
	slices.Sort(paths)
	for _, path := range slices.Compact(paths) {
		file := filepath.Join(root, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(signature.NewStandardSecret()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		input = strings.ReplaceAll(input, "{file."+path+"}", "{file."+file+"}")
	}
	return input
}
