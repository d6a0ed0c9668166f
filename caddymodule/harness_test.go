package caddymodule

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"github.com/spf13/cobra"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// TestMain keeps Caddy's own files out of the home directory.
func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "caddymodule")
	if err != nil {
		panic(err)
	}
	for _, name := range []string{"XDG_DATA_HOME", "XDG_CONFIG_HOME", "HOME"} {
		if err := os.Setenv(name, dir); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// adapt returns the JSON of a Caddyfile.
func adapt(caddyfile string) (string, error) {
	out, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	return string(out), err
}

func mustAdapt(t *testing.T, caddyfile string) string {
	t.Helper()
	out, err := adapt(caddyfile)
	if err != nil {
		t.Fatalf("adapting: %v\n%s", err, caddyfile)
	}
	return out
}

// validate provisions a configuration as caddy validate does.
func validate(configJSON string) error {
	config := new(caddy.Config)
	if err := json.Unmarshal([]byte(configJSON), config); err != nil {
		return err
	}
	return caddy.Validate(config)
}

// app wraps the JSON of the app into a whole configuration.
func app(appJSON string) string {
	return `{"admin": {"disabled": true}, "apps": {"relay": ` + appJSON + `}}`
}

// option wraps lines into a Caddyfile with nothing but the relay option.
func option(lines string) string { return "{\n\trelay {\n" + lines + "\n\t}\n}\n" }

// newSecret sets an environment variable to a fresh secret, and returns that.
func newSecret(t *testing.T, name string) string {
	t.Helper()
	secret := signature.NewStandardSecret()
	t.Setenv(name, secret)
	return secret
}

// command runs a subcommand of caddy relay with this on its standard input.
func command(t *testing.T, input string, args ...string) (string, error) {
	t.Helper()
	cmd := &cobra.Command{Use: "relay"}
	relayCommand(cmd)
	var out bytes.Buffer
	cmd.SetIn(strings.NewReader(input))
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs(args)
	err := cmd.Execute()
	return out.String(), err
}
