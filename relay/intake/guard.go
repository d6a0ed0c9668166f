package intake

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// maxFields bounds the header fields of a request: each costs more memory than its bytes.
const maxFields = 100

// guard decides who may send and read, before anything of the body is read.
func (h *Handler) guard(r *http.Request) *refusal {
	if n := len(r.Header); n > maxFields {
		return refuse(problemTooManyFields, fmt.Sprintf("The request has %d header fields; at most %d are taken. Leave out those that the intake does not need.", n, maxFields))
	}
	came := arrival(r)
	if len(h.tokens) > 0 {
		if ref := h.checkToken(r.Header); ref != nil {
			return ref
		}
	} else if ref := checkLocal(came, r.Header); ref != nil {
		return ref
	}
	// A web page can neither speak to a unix socket nor know a token. Everywhere else
	// the name is what tells a page that was served under a name of its own, which now
	// resolves to 127.0.0.1, from an application.
	if h.hosts != nil || len(h.tokens) == 0 && came != overUnix {
		if !h.knownHost(r.Host) {
			return refuse(problemForeignHost, fmt.Sprintf("The host %.255q is not one of this intake's. Send to localhost or 127.0.0.1, or add the name to hosts in relay_intake.", r.Host))
		}
	}
	return checkBrowser(r)
}

// way is how a request came to this machine.
type way int

const (
	overNetwork way = iota
	overLoopback
	overUnix
)

func arrival(r *http.Request) way {
	switch addr := r.Context().Value(http.LocalAddrContextKey).(type) {
	case nil:
		return overNetwork // not known, so not trusted
	case *net.TCPAddr:
		if addr != nil && addr.IP.IsLoopback() {
			return overLoopback
		}
	case *net.UnixAddr:
		return overUnix
	case net.Addr: // UDP below HTTP/3, or a listener's own type
		if strings.HasPrefix(addr.Network(), "unix") {
			return overUnix
		}
		if at, err := netip.ParseAddrPort(addr.String()); err == nil && at.Addr().Unmap().IsLoopback() {
			return overLoopback
		}
	}
	return overNetwork
}

// checkLocal refuses what did not come from this machine, or what a proxy on this
// machine sent on: such a proxy makes the whole network look local.
func checkLocal(came way, header http.Header) *refusal {
	if came == overNetwork {
		return refuse(problemNotLocal, "The request did not arrive on a loopback address or a unix socket, and the intake has no token. Send from the same machine to 127.0.0.1, or set token in relay_intake and send it as Authorization: Bearer.")
	}
	for name := range header {
		// nginx sends none of these unless told to; X-Real-Ip is what its users add.
		if name == "Via" || name == "Forwarded" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded-") {
			return refuse(problemNotLocal, fmt.Sprintf("The request has the header %.100s, so it came through a proxy and may be from anywhere. Send it to the intake directly, or set token in relay_intake and send it as Authorization: Bearer.", name))
		}
	}
	return nil
}

// checkToken compares digests, all of them, so that the time taken tells nothing about
// length, content or number of the tokens.
func (h *Handler) checkToken(header http.Header) *refusal {
	const challenge = `Bearer realm="relay"`
	scheme, token, _ := strings.Cut(header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return refuse(problemUnauthorized, "The intake needs a token. Send it as Authorization: Bearer <token>.").with("WWW-Authenticate", challenge)
	}
	sum := sha256.Sum256([]byte(strings.TrimSpace(token)))
	right := 0
	for i := range h.tokens {
		right |= subtle.ConstantTimeCompare(sum[:], h.tokens[i][:])
	}
	if right == 0 {
		return refuse(problemUnauthorized, "The token is not one of this intake's.").with("WWW-Authenticate", challenge+`, error="invalid_token"`)
	}
	return nil
}

func (h *Handler) knownHost(hostport string) bool {
	host := hostName(hostport)
	if strings.EqualFold(host, "localhost") {
		return true
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		if ip = ip.Unmap(); ip.IsLoopback() {
			return true
		}
		host = ip.String()
	}
	return h.hosts[strings.ToLower(host)]
}

// hostName returns the host of a Host header: without port, brackets and the dot of a
// fully qualified name.
func hostName(hostport string) string {
	if inner, ok := strings.CutPrefix(hostport, "["); ok {
		host, _, _ := strings.Cut(inner, "]")
		return host
	}
	host := hostport
	if i := strings.IndexByte(host, ':'); i >= 0 && i == strings.LastIndexByte(host, ':') {
		host = host[:i]
	}
	return strings.TrimSuffix(host, ".")
}

// parseHostName checks an entry of the configuration and returns it as knownHost
// compares it.
func parseHostName(name string) (string, error) {
	if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return ip.Unmap().String(), nil
	}
	host := strings.ToLower(strings.TrimSuffix(name, "."))
	if host == "" || strings.ContainsAny(host, ":/*@ \t") {
		return "", fmt.Errorf("%q is not a host name; write the bare name, e.g. relay.example.com (any port will do)", name)
	}
	return host, nil
}

// checkBrowser refuses what a browser sent for a page of another origin. Browsers add
// Sec-Fetch-Site to every request to localhost (Fetch Metadata, section 2.2), and
// Origin to every POST (Fetch, section 3.2); applications send neither.
func checkBrowser(r *http.Request) *refusal {
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "same-origin" && site != "none" {
			return refuse(problemForeignOrigin, fmt.Sprintf("A web page of another site sent this (Sec-Fetch-Site: %.40q). Send events from a server.", site))
		}
	}
	for _, origin := range r.Header["Origin"] {
		// "null", the origin of sandboxed pages, has no host and so is foreign.
		if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return refuse(problemForeignOrigin, fmt.Sprintf("A web page sent this (Origin: %.255q). Send events from a server.", origin))
		}
	}
	return nil
}
