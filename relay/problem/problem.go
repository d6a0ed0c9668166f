// Package problem answers errors in HTTP's own form: application/problem+json (RFC 9457).
// It is for handlers whose status says it all; the intake has types of its own.
package problem

import (
	"encoding/json"
	"net/http"
)

// Write answers with the status, and with the detail for a person: what happened, and
// how to mend it. The problem has no type, which means about:blank: that the status says
// what kind it is (section 4.2.1).
func Write(w http.ResponseWriter, status int, detail string) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	title := http.StatusText(status)
	if title == "" {
		title = "Failure"
	}
	w.WriteHeader(status)
	// It fails if the client is gone, or for a status that has no body (304).
	_ = json.NewEncoder(w).Encode(struct {
		Title  string `json:"title"`
		Status int    `json:"status"`
		Detail string `json:"detail"`
	}{title, status, detail})
}
