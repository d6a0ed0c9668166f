package caddymodule

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/badger"
)

// TestStorageOptionsAtReload: limits follow the active configuration, and another key is
// refused while the old configuration goes on.
func TestStorageOptionsAtReload(t *testing.T) {
	c := startCaddy(t)
	load := func(options string) error {
		text := strings.Replace(c.json(config{}), `"engine": "badger"`, `"engine": "badger"`+options, 1)
		return caddy.Load([]byte(text), true)
	}
	if err := load(``); err != nil {
		t.Fatal(err)
	}
	c.publish("a")
	// Nothing has so much room.
	if err := load(`, "min_free": 1152921504606846976`); err != nil {
		t.Fatal(err)
	}
	if err := c.engine().Err(); !errors.Is(err, relay.ErrFull) || !strings.Contains(err.Error(), "min_free") {
		t.Fatalf("with another min_free: %v", err)
	}
	if err := load(`, "min_free": 16777216`); err != nil {
		t.Fatal(err)
	}
	c.publish("a")

	err := load(`, "min_free": 1152921504606846976, "encryption_key": "` + strings.Repeat("5a", 32) + `"`)
	if err == nil || !strings.Contains(err.Error(), "open with another key") || strings.Contains(err.Error(), "5a5a") {
		t.Fatalf("with a key for the open store: %v", err)
	}
	if n := references(c.dir); n != 1 {
		t.Errorf("%d configurations have the store; want 1", n)
	}
	c.publish("a")
}

func TestEncryptionKeys(t *testing.T) {
	for text, bits := range map[string]int{
		strings.Repeat("5a", 16):                       128,
		strings.Repeat("5a", 32) + "\n":                256,
		"WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlo=": 256,
		"WlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpa":             192,
	} {
		if key, err := parseKey(text); err != nil || len(key)*8 != bits {
			t.Errorf("%q: %d bytes, %v; want %d bits", text, len(key), err, bits)
		}
	}
	for _, text := range []string{"", "hunter2hunter2", strings.Repeat("5a", 17), "WlpaWlo="} {
		if _, err := parseKey(text); err == nil || text != "" && strings.Contains(err.Error(), text) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestDoctorReadsTheStore: sound, locked, and with a loss.
func TestDoctorReadsTheStore(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "relay")
	store, err := badger.Open(dir, badger.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_, err := store.Append(t.Context(), relay.Batch{Items: []relay.Item{{
			Event: &relay.Event{Type: "a", Data: []byte("x")}, Targets: []relay.Target{{Subscription: "crm"}},
		}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "caddy.json")
	text, err := json.Marshal(map[string]any{"apps": map[string]any{"relay": map[string]any{"storage": map[string]any{"engine": "badger", "directory": dir}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	doctor := func(args ...string) (string, error) {
		root := new(cobra.Command)
		relayCommand(root)
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetErr(&out)
		root.SetArgs(append([]string{"doctor"}, args...))
		err := root.Execute()
		return out.String(), err
	}
	want := func(text string, fails bool, args ...string) {
		t.Helper()
		out, err := doctor(args...)
		if (err != nil) != fails || !strings.Contains(out, text) {
			t.Fatalf("doctor %v: %v\n%s\nwant %q", args, err, out, text)
		}
	}
	want("locked", true, "--storage", dir)
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	want("3 events read, with 3 entries of 1 subscription", false, "--storage", dir)
	want("nothing is missing", false, "--storage", "--config", file)
	want("there is no store", true, "--storage", t.TempDir())

	// Everything but the sentinel goes.
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Name() != "SENTINEL" {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	want("3 acknowledged events are gone", true, "--storage", dir)
	if _, err := doctor(dir); err == nil || !strings.Contains(err.Error(), "--storage") {
		t.Fatalf("a directory without --storage: %v", err)
	}
}
