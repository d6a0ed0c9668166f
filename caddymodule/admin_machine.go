package caddymodule

import (
	"net/http"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// machineCheck is what GET /relay/machine answers: what only the running process knows of where
// it runs. What cannot be found out is empty or 0.
type machineCheck struct {
	// Filesystem is the type of the one that the store is on, such as "ext4".
	Filesystem string `json:"filesystem"`
	// Clock is "synchronised" or "unsynchronised".
	Clock string `json:"clock"`
	// OpenFiles is the limit of descriptors.
	OpenFiles uint64 `json:"open_files"`
	// GraceSeconds is how long attempts in flight may take when the process stops.
	GraceSeconds float64 `json:"grace_seconds"`
	// Unit is the systemd service that the process belongs to.
	Unit string `json:"unit"`
}

// What may be known of the clock.
const (
	clockSynchronised   = "synchronised"
	clockUnsynchronised = "unsynchronised"
)

// adminMachine answers GET /relay/machine.
func adminMachine(w http.ResponseWriter, r *http.Request, a *App, engine *relay.Relay) error {
	stats, err := engine.Stats(r.Context())
	if err != nil {
		stats.Location = "" // the storage is away; the rest can be looked at
	}
	check := machineCheck{GraceSeconds: a.grace().Round(time.Millisecond).Seconds()}
	check.lookAround(stats.Location)
	return writeJSON(w, http.StatusOK, check)
}
