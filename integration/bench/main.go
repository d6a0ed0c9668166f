//go:build linux

// Command bench measures the relay beside Caddy's own reverse_proxy in one run: the
// same load, the same receiver, the same Caddy binary, in alternation. See README.md.
package main

import (
	"os"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard" // what xcaddy builds in as well

	"github.com/caddyrelay/caddyrelay/bench"
	_ "github.com/caddyrelay/caddyrelay/caddymodule" // the relay's modules
)

func main() {
	bench.Act(caddycmd.Main) // a child of a benchmark never returns from it
	os.Exit(bench.Command(os.Args[1:]))
}
