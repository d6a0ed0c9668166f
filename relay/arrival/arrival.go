// Package arrival tells how a request came to this machine: over which way, under which
// name, and whether a page of another site made a browser send it. What answers without
// asking who it is, because it answers this machine alone, has to know all three.
package arrival

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Way is how a request came to this machine.
type Way int

// Ways. The zero value is the one that is not trusted.
const (
	OverNetwork Way = iota
	OverLoopback
	OverUnix // a unix socket: no web page can speak to it
)

// Of returns the way of a request to an [http.Server].
func Of(r *http.Request) Way {
	switch addr := r.Context().Value(http.LocalAddrContextKey).(type) {
	case nil:
		return OverNetwork // not known, so not trusted
	case *net.TCPAddr:
		if addr != nil && addr.IP.IsLoopback() {
			return OverLoopback
		}
	case *net.UnixAddr:
		return OverUnix
	case net.Addr: // UDP below HTTP/3, or a listener's own type
		if strings.HasPrefix(addr.Network(), "unix") {
			return OverUnix
		}
		if at, err := netip.ParseAddrPort(addr.String()); err == nil && at.Addr().Unmap().IsLoopback() {
			return OverLoopback
		}
	}
	return OverNetwork
}

// Proxied returns the header field that says that a proxy sent the request on, or nothing.
// Such a proxy makes the whole network look local.
func Proxied(header http.Header) string {
	for name := range header {
		// nginx sends none of these unless told to; X-Real-Ip is what its users add.
		if name == "Via" || name == "Forwarded" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			return name
		}
	}
	return ""
}
