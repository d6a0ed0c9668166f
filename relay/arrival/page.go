package arrival

import (
	"net/http"
	"net/url"
	"strings"
)

// ForeignPage returns the header field, and its value, by which a browser says that a page
// of another origin made it send this; nothing if none did. Browsers add Sec-Fetch-Site to
// every request to localhost (Fetch Metadata, section 2.2), and Origin to every POST
// (Fetch, section 3.2); applications send neither.
func ForeignPage(r *http.Request) (field, value string) {
	for _, site := range r.Header["Sec-Fetch-Site"] {
		if site != "same-origin" && site != "none" {
			return "Sec-Fetch-Site", site
		}
	}
	for _, origin := range r.Header["Origin"] {
		// "null", the origin of sandboxed pages, has no host and so is foreign.
		if u, err := url.Parse(origin); err != nil || u.Host == "" || !strings.EqualFold(u.Host, r.Host) {
			return "Origin", origin
		}
	}
	return "", ""
}
