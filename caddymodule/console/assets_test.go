package console_test

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"os"
	"strings"
	"testing"
)

// What others wrote is what they published, byte for byte, and comes with their licence.
func TestWhatOthersWroteIsUnchanged(t *testing.T) {
	list, err := os.ReadFile("vendored.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"console.css": true, "console.js": true, "keys.js": true, "icon.svg": true}
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		if len(fields) != 7 {
			t.Fatalf("%q has not seven fields", line)
		}
		content, err := os.ReadFile("assets/" + fields[0])
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != fields[6] {
			t.Errorf("%s is not what %s %s has", fields[0], fields[1], fields[2])
		}
		if _, err := os.Stat("licenses/" + fields[5]); err != nil {
			t.Error(err)
		}
		if strings.Contains(string(content), "sourceMappingURL") {
			t.Errorf("%s asks for another file", fields[0])
		}
		known[fields[0]] = true
	}
	files, err := os.ReadDir("assets")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !known[f.Name()] {
			t.Errorf("assets/%s stands neither in vendored.txt nor is it the console's own", f.Name())
		}
	}
}

func TestBrowsersKeepAssets(t *testing.T) {
	run(t, func(w *world) {
		first := w.ask(request(http.MethodGet, "/assets/console.css"))
		tag := first.Header().Get("ETag")
		if first.Code != 200 || tag == "" || first.Header().Get("Content-Type") != "text/css; charset=utf-8" || strings.Contains(first.Header().Get("Cache-Control"), "immutable") {
			t.Fatalf("%d %v", first.Code, first.Header())
		}
		again := request(http.MethodGet, "/assets/console.css")
		again.Header.Set("If-None-Match", tag)
		if got := w.ask(again); got.Code != http.StatusNotModified || got.Body.Len() > 0 {
			t.Errorf("%d with %d bytes", got.Code, got.Body.Len())
		}
		versioned := w.ask(request(http.MethodGet, "/assets/console.css?v="+strings.Trim(tag, `"`)))
		if !strings.Contains(versioned.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%v", versioned.Header())
		}
	})
}
