package sink

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/signature"
)

// Bounds of what is remembered: at most about half a megabyte in all.
const (
	keptRequests = 100
	keptBody     = 1 << 10
	keptField    = 255
)

// Record is what a sink remembers of a request. Its strings come from the sender,
// cut to 255 bytes (the body to 1 KiB) and with U+FFFD for what is not UTF-8.
type Record struct {
	// At is when the request came, in UTC.
	At time.Time `json:"at"`
	// Number counts the requests of this sink, from 1.
	Number uint64 `json:"number"`

	// ID, Type and Subscription are webhook-id, Relay-Event and Relay-Subscription.
	ID           string `json:"id"`
	Type         string `json:"type"`
	Subscription string `json:"subscription"`
	// Attempt is Relay-Attempt; 0 if the request does not say.
	Attempt int `json:"attempt"`

	Method      string `json:"method"`
	Path        string `json:"path"`
	ContentType string `json:"content_type"`
	// RemoteAddr is the address and port of the sender's socket.
	RemoteAddr string `json:"remote_address"`

	// Verified says that the signature was checked and is right.
	Verified bool `json:"verified"`
	// Error says what was wrong with the request; empty if nothing was.
	Error string `json:"error,omitempty"`
	// Status is that of the answer; 0 if the sender went away before it.
	Status int `json:"status"`
	// Simulated says that Status is not an answer to the request, but a failure on
	// purpose.
	Simulated bool `json:"simulated"`

	// BodySize is in bytes, as far as the body was read.
	BodySize int `json:"body_size"`
	// Body is its beginning.
	Body string `json:"body"`
}

func newRecord(r *http.Request, at time.Time) Record {
	// An attempt that is no number is one that the request does not say.
	attempt, _ := strconv.Atoi(r.Header.Get("Relay-Attempt"))
	return Record{
		At:           at.UTC(),
		ID:           cut(r.Header.Get(signature.HeaderID), keptField),
		Type:         cut(r.Header.Get("Relay-Event"), keptField),
		Subscription: cut(r.Header.Get("Relay-Subscription"), keptField),
		Attempt:      max(0, attempt),
		Method:       cut(r.Method, keptField),
		Path:         cut(r.URL.Path, keptField),
		ContentType:  cut(r.Header.Get("Content-Type"), keptField),
		RemoteAddr:   cut(r.RemoteAddr, keptField),
	}
}

// cut copies, so that a short piece does not keep a long header or body in memory.
func cut(s string, n int) string {
	return strings.ToValidUTF8(strings.Clone(s[:min(len(s), n)]), "\uFFFD")
}

// records are the last requests.
type records struct {
	mu    sync.Mutex
	ring  [keptRequests]Record
	total uint64
}

// add numbers the record and keeps it.
func (l *records) add(r Record) Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	r.Number = l.total
	l.ring[(l.total-1)%keptRequests] = r
	return r
}

// last returns the requests that are kept, newest first, and how many there were.
func (l *records) last() ([]Record, uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := make([]Record, min(l.total, keptRequests))
	for i := range list {
		list[i] = l.ring[(l.total-1-uint64(i))%keptRequests]
	}
	return list, l.total
}
