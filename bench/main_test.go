//go:build linux

package bench_test

import (
	"os"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddyrelay/caddyrelay/bench"
	_ "github.com/caddyrelay/caddyrelay/caddymodule"
)

func TestMain(m *testing.M) {
	bench.Act(caddycmd.Main) // the tests start this program as sink, load and Caddy
	os.Exit(m.Run())
}
