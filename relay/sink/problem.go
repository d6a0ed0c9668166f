package sink

import (
	"encoding/json"
	"net/http"
)

// problem is an error in HTTP's own form (RFC 9457). Its type is about:blank, which
// means that the status says it all.
type problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

func writeProblem(w http.ResponseWriter, status int, detail string) {
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
	_ = json.NewEncoder(w).Encode(problem{title, status, detail})
}
