package console

import (
	"fmt"
	"net/http"

	"github.com/caddyrelay/caddyrelay/relay/arrival"
)

func parseHosts(names []string) (arrival.Hosts, error) {
	hosts, err := arrival.ParseHosts(names)
	if err != nil {
		return nil, fmt.Errorf("hosts: %w", err)
	}
	return hosts, nil
}

// refuse says why a request is not answered, or nothing. A console that has no name is for
// this machine alone: whoever opens it to others says under which name, and is expected to
// ask them who they are.
func (h *Handler) refuse(r *http.Request, site Site) string {
	came := arrival.Of(r)
	open := site.Named || h.hosts != nil
	if !open {
		if came == arrival.OverNetwork {
			return "The console answers this machine alone: the request did not arrive on a loopback address or a unix socket. To open it to others, give its site a name, or set hosts in relay_console, and put basic_auth or forward_auth in front of it."
		}
		if field := arrival.Proxied(r.Header); field != "" {
			return fmt.Sprintf("The console answers this machine alone: the request has the header %.100s, so it came through a proxy and may be from anywhere. To open the console to others, give its site a name, or set hosts in relay_console, and put basic_auth or forward_auth in front of it.", field)
		}
	}
	// The name tells a page that was served under a name of its own, which now resolves to
	// 127.0.0.1, from the console. No page can speak to a unix socket.
	if h.hosts != nil || !site.Named && came != arrival.OverUnix {
		if !h.hosts.Knows(r.Host) {
			return fmt.Sprintf("The host %.255q is not one of this console's. Open it as localhost or 127.0.0.1, or add the name to hosts in relay_console.", r.Host)
		}
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		if field, value := arrival.ForeignPage(r); field != "" {
			return fmt.Sprintf("A page of another site sent this (%s: %.255q). Only the console's own pages change something.", field, value)
		}
	}
	return ""
}

// near reports whether whoever asks sits at this machine.
func near(r *http.Request) bool {
	return arrival.Of(r) != arrival.OverNetwork && arrival.Proxied(r.Header) == ""
}
