// Package caddyrelay builds the relay into Caddy. It registers nothing itself: it
// imports the package that holds the modules, so that
//
//	xcaddy build --with github.com/caddyrelay/caddyrelay
//
// finds them. See https://pkg.go.dev/github.com/caddyrelay/caddyrelay/caddymodule.
package caddyrelay

import _ "github.com/caddyrelay/caddyrelay/caddymodule" // registers the modules
