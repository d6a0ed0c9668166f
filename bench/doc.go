// Package bench measures the relay beside Caddy's own reverse_proxy in one run: the same
// load, the same receiver, the same Caddy binary, in alternation. integration/bench is its
// command for developers, caddy relay bench that for users. It runs on Linux only, since it
// reads /proc.
package bench
