package destination

import (
	"net/netip"
	"strings"
)

// BlockedError says that the guard refuses a destination. It is found with
// [errors.As] in what a dial or an HTTP client returns.
type BlockedError struct {
	// Host is the host as the URL has it, or the name that was looked up. It is
	// empty where an address was judged by itself, or no host could be read.
	Host string
	// Addr is the address that is refused; the zero value if a name or the form
	// of the URL is what is refused.
	Addr netip.Addr
	// Reason is a clause that says why: "it is private (10.0.0.0/8, RFC 1918)".
	Reason string
	// Opens is the line of a subscription that would open it,
	// "allow_ips 10.1.2.3/32"; empty if nothing does.
	Opens string
}

// Error tells what is refused, why, and the word that would open it.
func (e *BlockedError) Error() string {
	var b strings.Builder
	b.WriteString("destination ")
	addr := ""
	if e.Addr.IsValid() {
		addr = e.Addr.String()
	}
	switch {
	case e.Host != "":
		b.WriteString(e.Host)
		b.WriteString(" is refused")
		if addr != "" && addr != e.Host {
			b.WriteString(" because of its address ")
			b.WriteString(addr)
		}
	case addr != "":
		b.WriteString(addr)
		b.WriteString(" is refused")
	default:
		b.WriteString("is refused")
	}
	b.WriteString(": ")
	b.WriteString(e.Reason)
	switch {
	case e.Opens == "":
	case e.Addr.IsValid():
		b.WriteString(`; "` + e.Opens + `" would open it`)
	default:
		b.WriteString(`; "` + e.Opens + `" would open the name, and "allow_ips" its addresses if they are not public`)
	}
	return b.String()
}

// withHost returns err with the host filled in.
func (e *BlockedError) withHost(host string) *BlockedError {
	named := *e
	named.Host = host
	return &named
}
