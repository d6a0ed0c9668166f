package destination

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxURLLength is in bytes.
const MaxURLLength = 8192

// CheckURL judges the text of a URL and returns it in its canonical form, which
// is what must be dialled: scheme and host in lower case, the host in ASCII (UTS
// 46), an address in its shortest form, no default port, a path of at least "/",
// everything outside ASCII escaped. A host that is an address is judged as one;
// a name is judged by its form alone, since what it resolves to is only known at
// the dial. The error is a [*BlockedError] and never holds the URL itself, which
// may carry a password or a token.
//
// Parsers disagree about odd URLs, and attacks live on that (WHATWG URL, RFC
// 3986). So what is odd is refused, not repaired.
func (g *Guard) CheckURL(raw string) (*url.URL, error) {
	scheme, authority, tail, reason := splitURL(raw)
	if reason != "" {
		return nil, &BlockedError{Reason: reason}
	}
	u, err := url.Parse(scheme + "://" + authority + escapeTail(tail))
	if err != nil {
		return nil, &BlockedError{Reason: "the URL cannot be read: " + parseReason(err)}
	}
	if u.Host != authority {
		return nil, &BlockedError{Reason: "the URL can be read in two ways"}
	}
	host, blocked := g.checkHost(u)
	if blocked == nil {
		blocked = checkPort(u)
	}
	if blocked != nil {
		return nil, blocked
	}
	if port := u.Port(); port != "" && port != defaultPorts[u.Scheme] {
		host += ":" + port
	}
	u.Host = host
	if u.Path == "" {
		u.Path = "/"
	}
	if n := len(u.String()); n > MaxURLLength {
		return nil, &BlockedError{Host: u.Hostname(), Reason: tooLong(n)}
	}
	return u, nil
}

var defaultPorts = map[string]string{"http": "80", "https": "443"}

// splitURL cuts a URL into the parts that matter and refuses what a lenient
// parser might cut elsewhere.
func splitURL(raw string) (scheme, authority, tail, reason string) {
	if len(raw) > MaxURLLength {
		return "", "", "", tooLong(len(raw))
	}
	for i := range len(raw) {
		if c := raw[i]; c <= ' ' || c == 0x7f || c == '\\' {
			return "", "", "", fmt.Sprintf("the URL has the character %q at position %d", rune(c), i+1)
		}
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	scheme = strings.ToLower(scheme)
	switch {
	case !utf8.ValidString(raw):
		return "", "", "", "the URL is not valid UTF-8"
	case !ok || scheme != "http" && scheme != "https":
		return "", "", "", "the URL does not begin with http:// or https://"
	case strings.Contains(rest, "#"):
		return "", "", "", `the URL has a fragment; it is never sent, leave out "#" and what follows`
	}
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, tail = rest[:end], rest[end:]
	switch {
	case authority == "":
		return "", "", "", "the URL has no host"
	case strings.Contains(authority, "@"):
		return "", "", "", "the URL has user information, which ends up in logs; use a secret_header Authorization"
	case strings.Contains(authority, "%"):
		return "", "", "", "the URL has a percent sign in its host"
	}
	return scheme, authority, tail, ""
}

func tooLong(n int) string {
	return fmt.Sprintf("the URL has %d bytes; at most %d are allowed", n, MaxURLLength)
}

// escapeTail escapes what may not stand in a path or a query. It is done before
// parsing: net/url would escape the decoded path, in which %2F has become a slash.
func escapeTail(tail string) string {
	const odd = "\"<>^`{|}"
	var b strings.Builder
	for i := range len(tail) {
		if c := tail[i]; c >= utf8.RuneSelf || strings.IndexByte(odd, c) >= 0 {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// parseReason returns the error of url.Parse without the URL.
func parseReason(err error) string {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return err.Error()
}

// checkHost returns the host in canonical form, an IPv6 address in brackets.
func (g *Guard) checkHost(u *url.URL) (string, *BlockedError) {
	host := u.Hostname()
	if strings.HasPrefix(u.Host, "[") {
		return g.checkIPv6(host)
	}
	name, reason := canonicalName(host)
	switch {
	case reason != "":
		return "", &BlockedError{Host: host, Reason: reason}
	case endsInNumber(name):
		return g.checkIPv4(host)
	}
	if reason := privateName(name); reason != "" && !g.allowsHost(name) {
		return "", &BlockedError{Host: name, Reason: reason, Opens: "allow_hosts " + name}
	}
	return name, nil
}

// checkIPv4 judges a host that ends in a number. Only the four decimal numbers
// that every program reads alike are accepted, as they were written.
func (g *Guard) checkIPv4(host string) (string, *BlockedError) {
	addr, err := netip.ParseAddr(host)
	if err != nil || !addr.Is4() {
		return "", &BlockedError{Host: host, Reason: "it ends in a number, and programs disagree about which address that is; write an address as four decimal numbers, without leading zeros"}
	}
	if blocked := g.judge(addr); blocked != nil {
		return "", blocked.withHost(host)
	}
	return host, nil
}

// checkIPv6 judges what stands in brackets.
func (g *Guard) checkIPv6(host string) (string, *BlockedError) {
	addr, err := netip.ParseAddr(host)
	switch {
	case err != nil || addr.Is4():
		return "", &BlockedError{Host: "[" + host + "]", Reason: "the brackets hold no IPv6 address"}
	case addr.Is4In6():
		return "", &BlockedError{Host: "[" + host + "]", Reason: "it is an IPv4 address written as IPv6 (RFC 4291, IPv4-mapped); write " + addr.Unmap().String()}
	}
	if blocked := g.judge(addr); blocked != nil {
		return "", blocked.withHost(addr.String())
	}
	return "[" + addr.String() + "]", nil
}

// checkPort applies Contentful's rule: the ports of the web, and those above the
// well-known ones, where mail servers, shells and databases of old do not listen.
func checkPort(u *url.URL) *BlockedError {
	port := u.Port()
	if port == "" && !strings.HasSuffix(u.Host, ":") {
		return nil
	}
	n, err := strconv.ParseUint(port, 10, 16)
	switch {
	case err != nil || port != strconv.FormatUint(n, 10):
		return &BlockedError{Host: u.Hostname(), Reason: fmt.Sprintf("%q is no port; write a number without leading zeros", port)}
	case n != 80 && n != 443 && n <= 1023:
		return &BlockedError{Host: u.Hostname(), Reason: fmt.Sprintf("port %d is not allowed; deliveries go to port 80, 443 or one above 1023", n)}
	}
	return nil
}
