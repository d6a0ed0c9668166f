package egresslist

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/problem"
)

// Content types of the files.
const (
	typeJSON = "application/json"
	typeText = "text/plain; charset=utf-8"
	typeAtom = "application/atom+xml"
)

// maxAge is how long an answer may be kept where no change is planned. An unplanned one is
// to be seen soon.
const maxAge = 5 * time.Minute

// Files serves the list. It may be public: what it tells is what receivers see anyway.
type Files struct {
	// State returns the list as it is now, or why there is none yet.
	State func(context.Context) (*State, error)
}

// renderers make the files, by the last segment of their paths.
var renderers = map[string]struct {
	contentType string
	render      func(s *State, r *http.Request, regions []string) ([]byte, error)
}{
	"egress.json": {typeJSON, func(s *State, _ *http.Request, regions []string) ([]byte, error) {
		return s.List(regions...).JSON()
	}},
	"egress.txt": {typeText, func(s *State, r *http.Request, regions []string) ([]byte, error) {
		query := r.URL.Query()
		wanted, err := strconv.ParseBool(query.Get("scheduled"))
		return s.List(regions...).Text(query.Has("scheduled") && (err != nil || wanted)), nil
	}},
	"egress.atom": {typeAtom, func(s *State, _ *http.Request, regions []string) ([]byte, error) {
		return s.Feed(regions...)
	}},
}

// Serve answers GET and HEAD of the three files under any prefix, and reports whether it
// did: other requests are somebody else's.
func (f *Files) Serve(w http.ResponseWriter, r *http.Request) bool {
	file, ok := renderers[path.Base(r.URL.Path)]
	if !ok || strings.HasSuffix(r.URL.Path, "/") || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	s, err := f.State(r.Context())
	if err != nil {
		w.Header().Set("Retry-After", "1")
		problem.Write(w, http.StatusServiceUnavailable, "The list is not ready: "+err.Error()+".")
		return true
	}
	regions := r.URL.Query()["region"]
	for _, name := range regions {
		if s.region(name) == nil {
			problem.Write(w, http.StatusNotFound, fmt.Sprintf("There is no region %q; there %s.", name, s.names()))
			return true
		}
	}
	body, err := file.render(s, r, regions)
	if err != nil {
		problem.Write(w, http.StatusInternalServerError, "The list cannot be written: "+err.Error()+".")
		return true
	}
	h := w.Header()
	h.Set("Content-Type", file.contentType)
	h.Set("X-Content-Type-Options", "nosniff")
	// Without "public", which would also let shared caches keep what a password protects.
	h.Set("Cache-Control", fmt.Sprintf("max-age=%d", s.maxAge(time.Now())/time.Second))
	// Of the bytes, as a strong one has to be (RFC 9110, section 8.8.3).
	sum := sha256.Sum256(body)
	h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	http.ServeContent(w, r, "", s.Updated, bytes.NewReader(body))
	return true
}

// maxAge is how long the list may be kept: never beyond its next change.
func (s *State) maxAge(now time.Time) time.Duration {
	next := s.Next()
	if next.IsZero() {
		return maxAge
	}
	return min(max(next.Sub(now), 0), maxAge)
}

// names lists the regions, for people.
func (s *State) names() string {
	if len(s.Regions) == 0 {
		return "is none"
	}
	names := make([]string, len(s.Regions))
	for i, r := range s.Regions {
		names[i] = r.Name
	}
	slices.Sort(names)
	return "are " + strings.Join(names, ", ")
}
