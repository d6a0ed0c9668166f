package arrival

import (
	"fmt"
	"net/netip"
	"strings"
)

// Hosts are the names that requests may be addressed to, besides localhost and loopback
// addresses. They tell a page that was served under a name of its own, which now resolves
// to 127.0.0.1, from one that is meant to be here. Nil: there are no others.
type Hosts map[string]bool

// ParseHosts checks names as a configuration gives them: without a port.
func ParseHosts(names []string) (Hosts, error) {
	var hosts Hosts
	for _, name := range names {
		host, err := parseHost(name)
		if err != nil {
			return nil, err
		}
		if hosts == nil {
			hosts = make(Hosts, len(names))
		}
		hosts[host] = true
	}
	return hosts, nil
}

func parseHost(name string) (string, error) {
	if ip, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return ip.Unmap().String(), nil
	}
	host := strings.ToLower(strings.TrimSuffix(name, "."))
	if host == "" || strings.ContainsAny(host, ":/*@ \t") {
		return "", fmt.Errorf("%q is not a host name; write the bare name, e.g. relay.example.com (any port will do)", name)
	}
	return host, nil
}

// Knows reports whether the Host of a request is one of them, or names this machine.
func (h Hosts) Knows(hostport string) bool {
	if Local(hostport) {
		return true
	}
	host := hostName(hostport)
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.Unmap().String()
	}
	return h[strings.ToLower(host)]
}

// Local reports whether a host, with or without port, is localhost or a loopback address.
func Local(hostport string) bool {
	host := hostName(hostport)
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
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
