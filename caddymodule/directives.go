package caddymodule

import "github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

// All directives stand directly before respond, in this order: each registration puts
// its directive next to respond, and so behind the ones before it.
func init() {
	for _, directive := range []struct {
		name  string
		parse httpcaddyfile.UnmarshalHandlerFunc
	}{
		{"relay_console", parseConsole},
		{"relay_egress", parseEgressList},
		{"relay_sink", parseSink},
		{"relay_intake", parseIntake},
	} {
		httpcaddyfile.RegisterHandlerDirective(directive.name, directive.parse)
		httpcaddyfile.RegisterDirectiveOrder(directive.name, httpcaddyfile.Before, "respond")
	}
}
