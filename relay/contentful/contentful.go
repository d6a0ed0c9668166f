// Package contentful knows what webhooks of Contentful look like, for receivers that were
// written for them.
package contentful

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/payload"
)

// ContentType is that of Contentful's bodies, unless a webhook says otherwise.
const ContentType = "application/vnd.contentful.management.v1+json"

// topicPrefix begins each topic on the wire.
const topicPrefix = "ContentManagement."

// Topic returns the full form of a topic: an event type may leave the prefix out.
func Topic(typ string) string {
	if n := len(topicPrefix); len(typ) >= n && strings.EqualFold(typ[:n], topicPrefix) {
		return typ
	}
	return topicPrefix + typ
}

// Call is one request of a webhook.
type Call struct {
	// Event and Webhook identify the delivery; the idempotency key is made of them.
	Event, Webhook string
	Type           string
	// Time is when it happened.
	Time time.Time
	// Attempt counts from 1.
	Attempt int
	// Body is what the event carries, whether or not that is what is sent.
	Body []byte
}

// SetHeader adds the fields that Contentful sends with a call, but for those of a signature
// and the content type.
func (c *Call) SetHeader(h http.Header) {
	h["X-Contentful-Topic"] = []string{Topic(c.Type)}
	h["X-Contentful-Webhook-Name"] = []string{c.Webhook}
	key := sha256.Sum256([]byte(c.Event + " " + c.Webhook))
	h["X-Contentful-Idempotency-Key"] = []string{hex.EncodeToString(key[:])}
	h["X-Contentful-Event-Datetime"] = []string{c.Time.UTC().Format("2006-01-02T15:04:05.000Z")}
	h["X-Contentful-Webhook-Request-Attempt"] = []string{strconv.Itoa(c.Attempt)}
	if crn := CRN(c.Body); crn != "" {
		h["X-Contentful-Crn"] = []string{crn}
	}
}

// collections are the parts of a CRN that stand for a type. Tombstones have types of their
// own.
var collections = map[string]string{
	"Entry": "entries", "DeletedEntry": "entries", "Asset": "assets", "DeletedAsset": "assets",
}

// CRN returns the name of the resource that a body is about, or nothing if the body does
// not tell: it is no entry or asset, or it is of the time before there were environments.
func CRN(body []byte) string {
	d := payload.OpenDocument(body)
	defer d.Close()
	id := func(path ...string) string {
		v, ok := d.Lookup(payload.Path(path))
		if !ok || !isID(v.Text()) {
			return ""
		}
		return v.Text()
	}
	collection := collections[id("sys", "type")]
	space, environment := id("sys", "space", "sys", "id"), id("sys", "environment", "sys", "id")
	name := id("sys", "id")
	if collection == "" || space == "" || environment == "" || name == "" {
		return ""
	}
	return "crn:contentful:::content:spaces/" + space + "/environments/" + environment + "/" + collection + "/" + name
}

// isID reports whether a text is one of Contentful's identifiers.
func isID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	return !strings.ContainsFunc(s, func(r rune) bool {
		return (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && !strings.ContainsRune("._-", r)
	})
}
