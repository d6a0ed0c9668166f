package caddymodule

import (
	"runtime/debug"
	"strings"
	"sync"
)

// modulePath is that of this project.
const modulePath = "github.com/caddyrelay/caddyrelay"

// version returns the version of this module in the running program, without the v;
// "dev" where the build does not know it, as from a checkout.
var version = sync.OnceValue(func() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return unknownVersion
	}
	return moduleVersion(info)
})

const unknownVersion = "dev"

func moduleVersion(info *debug.BuildInfo) string {
	for _, m := range append([]*debug.Module{&info.Main}, info.Deps...) {
		if m.Path != modulePath {
			continue
		}
		if m.Replace != nil {
			m = m.Replace
		}
		if v, ok := strings.CutPrefix(m.Version, "v"); ok {
			return v
		}
	}
	return unknownVersion
}

// userAgent is that of the relay's requests.
func userAgent() string { return "caddy-relay/" + version() }
