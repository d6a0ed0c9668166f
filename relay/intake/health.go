package intake

import (
	"context"
	"io"
	"net/http"
	"time"
)

// probeWait bounds how long a probe waits for the engine; probes have short timeouts.
const probeWait = 250 * time.Millisecond

// serveHealth answers anyone, and tells nothing but yes or no. That a receiver fails
// never makes the relay unready.
func (h *Handler) serveHealth(w http.ResponseWriter, r *http.Request, ready bool) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.refuse(w, r, wrongMethod(r.Method, "GET, HEAD"))
		return
	}
	status, text := http.StatusOK, "ok\n"
	if ready && !h.isReady(r.Context()) {
		status, text = http.StatusServiceUnavailable, "not ready\n"
	}
	header := w.Header()
	header.Set("Content-Type", "text/plain; charset=utf-8")
	header.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text)
}

func (h *Handler) isReady(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	engine, err := h.engine(ctx)
	return err == nil && engine.Err() == nil
}
