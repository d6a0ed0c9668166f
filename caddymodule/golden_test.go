package caddymodule

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

const rule = "\n----------\n"

// TestCaddyfiles holds each file in testdata against what stands below its rule: the
// JSON that it adapts to, or a part of the error. UPDATE=1 writes what is missing there.
func TestCaddyfiles(t *testing.T) {
	files, err := filepath.Glob("testdata/*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".caddyfiletest"), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, ok := strings.Cut(string(raw), rule)
			if !ok {
				t.Fatalf("%s has no rule", file)
			}
			input, want = input+"\n", strings.TrimSpace(want)
			if got := string(caddyfile.Format([]byte(input))); got != input && strings.HasPrefix(want, "{") {
				t.Errorf("not formatted; want:\n%s", got)
			}
			got, err := adapt(input)
			if err != nil {
				got = strings.ReplaceAll(err.Error(), here+string(filepath.Separator), "")
			} else {
				got = indent(t, got)
			}
			switch {
			case want == "" && os.Getenv("UPDATE") != "":
				if err := os.WriteFile(file, []byte(strings.TrimSuffix(input, "\n")+rule+got+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			case want == "":
				t.Errorf("nothing is expected; got:\n%s", got)
			case strings.HasPrefix(want, "{") && got != want:
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			case !strings.HasPrefix(want, "{") && (err == nil || !strings.Contains(got, want)):
				t.Errorf("got:\n%s\nwant an error with:\n%s", got, want)
			}
		})
	}
}

func indent(t *testing.T, text string) string {
	t.Helper()
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(text), "", "\t"); err != nil {
		t.Fatal(err)
	}
	return out.String()
}
