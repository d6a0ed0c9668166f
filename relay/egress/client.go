package egress

import "net/http"

// NewClient returns a client for requests beside deliveries, such as those for tokens. They go
// the same way out as deliveries do, by rt, under the name userAgent. Redirects are not
// followed: where credentials go must not depend on an answer. rt is required; without it
// every request panics, rather than leave by the default transport.
func NewClient(rt http.RoundTripper, userAgent string) *http.Client {
	return &http.Client{
		Transport:     named{rt, userAgent},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// named names the client of requests.
type named struct {
	http.RoundTripper
	name string
}

// RoundTrip implements [http.RoundTripper].
func (n named) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("User-Agent", n.name)
	return n.RoundTripper.RoundTrip(req)
}
