package intake

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyrelay/caddyrelay/relay/arrival"
)

// maxFields bounds the header fields of a request: each costs more memory than its bytes.
const maxFields = 100

// guard decides who may send and read, before anything of the body is read.
func (h *Handler) guard(r *http.Request) *refusal {
	if n := len(r.Header); n > maxFields {
		return refuse(problemTooManyFields, fmt.Sprintf("The request has %d header fields; at most %d are taken. Leave out those that the intake does not need.", n, maxFields))
	}
	came := arrival.Of(r)
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
	if h.hosts != nil || len(h.tokens) == 0 && came != arrival.OverUnix {
		if !h.hosts.Knows(r.Host) {
			return refuse(problemForeignHost, fmt.Sprintf("The host %.255q is not one of this intake's. Send to localhost or 127.0.0.1, or add the name to hosts in relay_intake.", r.Host))
		}
	}
	return checkBrowser(r)
}

// checkLocal refuses what did not come from this machine, or what a proxy on this
// machine sent on: such a proxy makes the whole network look local.
func checkLocal(came arrival.Way, header http.Header) *refusal {
	if came == arrival.OverNetwork {
		return refuse(problemNotLocal, "The request did not arrive on a loopback address or a unix socket, and the intake has no token. Send from the same machine to 127.0.0.1, or set token in relay_intake and send it as Authorization: Bearer.")
	}
	if name := arrival.Proxied(header); name != "" {
		return refuse(problemNotLocal, fmt.Sprintf("The request has the header %.100s, so it came through a proxy and may be from anywhere. Send it to the intake directly, or set token in relay_intake and send it as Authorization: Bearer.", name))
	}
	return nil
}

// checkToken compares digests, all of them, so that the time taken tells nothing about
// length, content or number of the tokens.
func (h *Handler) checkToken(header http.Header) *refusal {
	const challenge = `Bearer realm="relay"`
	scheme, token, _ := strings.Cut(header.Get("Authorization"), " ")
	switch {
	case scheme == "":
		return refuse(problemUnauthorized, "The intake needs a token. Send it as Authorization: Bearer <token>.").with("WWW-Authenticate", challenge)
	case !strings.EqualFold(scheme, "Bearer"):
		return refuse(problemUnauthorized, "The intake needs a token, and the request has credentials of another kind. Send Authorization: Bearer <token>; or, where Caddy decides before who may send, let it put the token in: request_header Authorization \"Bearer {env.INTAKE_TOKEN}\".").with("WWW-Authenticate", challenge)
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

// checkBrowser refuses what a browser sent for a page of another origin.
func checkBrowser(r *http.Request) *refusal {
	switch field, value := arrival.ForeignPage(r); field {
	case "":
		return nil
	case "Sec-Fetch-Site":
		return refuse(problemForeignOrigin, fmt.Sprintf("A web page of another site sent this (Sec-Fetch-Site: %.40q). Send events from a server.", value))
	default:
		return refuse(problemForeignOrigin, fmt.Sprintf("A web page sent this (Origin: %.255q). Send events from a server.", value))
	}
}
