package sink

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"mime"
	"net/http"
	"strings"

	"github.com/caddyrelay/caddyrelay/relay/problem"
)

var (
	//go:embed page.html
	pageText string
	//go:embed page.css
	pageStyle string

	page = template.Must(template.New("page").Parse(strings.Replace(pageText, "/* page.css */", pageStyle, 1)))

	// pagePolicy allows the one style sheet, by its hash, and nothing else: neither
	// script nor address, whatever a request may have brought into the page. The
	// style is within the page, since under a path prefix it would have no address
	// of its own that is sure.
	pagePolicy = "default-src 'none'; style-src 'sha256-" + styleHash() + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

func styleHash() string {
	sum := sha256.Sum256([]byte(pageStyle))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// view is what page and JSON show.
type view struct {
	Items []Record `json:"items"`
	Total uint64   `json:"total"`
	// Checked says that the sink has a secret.
	Checked bool `json:"signatures_checked"`
}

func (s *Sink) show(w http.ResponseWriter, r *http.Request) {
	items, total := s.records.last()
	v := view{items, total, s.options.Secret != ""}

	h := w.Header()
	h.Set("Vary", "Accept")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", pagePolicy)
	h.Set("Referrer-Policy", "no-referrer")

	// Whole before any of it is sent, so that a failure is seen as one.
	var out bytes.Buffer
	var err error
	if acceptsJSON(r) {
		h.Set("Content-Type", "application/json")
		err = json.NewEncoder(&out).Encode(v)
	} else {
		h.Set("Content-Type", "text/html; charset=utf-8")
		err = page.Execute(&out, v)
	}
	if err != nil {
		problem.Write(w, http.StatusInternalServerError, err.Error())
		return
	}
	_, _ = out.WriteTo(w) // a reader that is gone needs no answer
}

// acceptsJSON reports whether the client names JSON and not HTML. Browsers name
// HTML; */* and nothing get the page.
func acceptsJSON(r *http.Request) bool {
	wants := false
	for part := range strings.SplitSeq(strings.Join(r.Header.Values("Accept"), ","), ",") {
		switch kind, _, _ := mime.ParseMediaType(part); kind {
		case "text/html":
			return false
		case "application/json":
			wants = true
		}
	}
	return wants
}
