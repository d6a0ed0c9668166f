package intake

import "net/http"

// problemBase is the page that explains the problem types, each under its slug.
const problemBase = "https://github.com/caddyrelay/caddyrelay/blob/main/docs/problems.md#"

// ProblemType is one way in which a request is refused (RFC 9457).
type ProblemType struct {
	// Slug is the reason in metrics and the fragment of the type's URI.
	Slug string
	// Title is the same for every occurrence.
	Title string
	// Status is the HTTP status.
	Status int
	// Description says what to do about it, in Markdown.
	Description string
}

// URI returns the type's identifier, which is the address of its description.
func (p ProblemType) URI() string { return problemBase + p.Slug }

// ProblemTypes lists all types, for the documentation and for metrics.
func ProblemTypes() []ProblemType { return append([]ProblemType(nil), problemTypes[:]...) }

// problem is an index of problemTypes.
type problem int

const (
	problemNotFound problem = iota
	problemNoEvent
	problemMethod
	problemUnauthorized
	problemNotLocal
	problemForeignHost
	problemForeignOrigin
	problemMediaType
	problemCoding
	problemTooManyFields
	problemTooLarge
	problemTooSlow
	problemUnreadable
	problemMalformed
	problemDuplicate
	problemDeep
	problemEncoding
	problemKey
	problemFoundKey
	problemType
	problemEnvelope
	problemCloudEvent
	problemBatch
	problemSchema
	problemNarrowing
	problemKeyReused
	problemBatchTooLarge
	problemTooMuch
	problemBusy
	problemFull
	problemBroken
	problemNotReady
	problemInternal
	problemCount
)

var problemTypes = [problemCount]ProblemType{
	problemNotFound: {
		"not-found", "No such path", http.StatusNotFound,
		"The intake knows `POST /v1/events/{type}`, `POST /v1/events`, `GET /v1/events/{id}` and `GET /v1/event-types`. Check the path, also for a prefix that a proxy or `handle_path` adds or takes away.",
	},
	problemNoEvent: {
		"no-such-event", "No such event", http.StatusNotFound,
		"There is no event with this id, or it is no longer kept (`retention`).",
	},
	problemMethod: {
		"method-not-allowed", "Method not allowed", http.StatusMethodNotAllowed,
		"The header `Allow` lists the methods that this path takes.",
	},
	problemUnauthorized: {
		"unauthorized", "A token is needed", http.StatusUnauthorized,
		"The intake has a `token`. Send it as `Authorization: Bearer <token>`.",
	},
	problemNotLocal: {
		"not-local", "Not from this machine", http.StatusForbidden,
		"Without a `token` the intake takes requests from this machine only: those that arrive on a loopback address or a unix socket and passed no proxy. Bind the site to 127.0.0.1 or a unix socket, or set `token`.",
	},
	problemForeignHost: {
		"foreign-host", "Unknown host name", http.StatusForbidden,
		"The header `Host` must be localhost, a loopback address, or one of `hosts`: otherwise a web page could reach the intake by a name that it points here (DNS rebinding).",
	},
	problemForeignOrigin: {
		"foreign-origin", "Sent by a web page", http.StatusForbidden,
		"A browser sent this for a page of another origin. Events come from applications; send them from a server.",
	},
	problemMediaType: {
		"unsupported-media-type", "Content type not taken", http.StatusUnsupportedMediaType,
		"Send JSON with `Content-Type: application/json` (or any `+json` type), CloudEvents as `application/cloudevents+json`, `application/cloudevents-batch+json` or with `ce-*` header fields, or lines of JSON as `application/x-ndjson`. Forms and plain text are refused, since any web page could post them.",
	},
	problemCoding: {
		"content-encoding", "Content encoding not taken", http.StatusUnsupportedMediaType,
		"Bodies are kept, signed and delivered byte for byte. Send them without `Content-Encoding`.",
	},
	problemTooManyFields: {
		"too-many-fields", "Too many header fields", http.StatusRequestHeaderFieldsTooLarge,
		"A request may have 100 header fields. (Caddy itself refuses a header of more than 16 KiB, `max_header_size`, with 431 and a line of text.)",
	},
	problemTooLarge: {
		"body-too-large", "Body too large", http.StatusRequestEntityTooLarge,
		"The body is larger than `max_event_size`, or a batch larger than 2 MiB. Send a reference to large content, or raise `max_event_size` (at most 1000KiB); send what is too large for one batch in several.",
	},
	problemTooSlow: {
		"body-too-slow", "Body too slow", http.StatusRequestTimeout,
		"A body must be there within 10 seconds, and one more for each 32 KiB of it. Nothing was stored; send it again, with the same idempotency key.",
	},
	problemUnreadable: {
		"body-unreadable", "Body could not be read", http.StatusBadRequest,
		"The body ended early. Nothing was stored; send it again.",
	},
	problemMalformed: {
		"malformed-json", "Not JSON", http.StatusBadRequest,
		"The body is not one JSON value. `errors` says where.",
	},
	problemDuplicate: {
		"duplicate-name", "A name stands twice", http.StatusBadRequest,
		"An object has a name twice. Filters and receivers could each see another value, so it is refused.",
	},
	problemDeep: {
		"too-deep", "Nested too deep", http.StatusBadRequest,
		"The data may nest 64 levels deep.",
	},
	problemEncoding: {
		"not-utf-8", "Not UTF-8", http.StatusBadRequest,
		"JSON is exchanged in UTF-8, without a byte order mark (RFC 8259 section 8.1).",
	},
	problemKey: {
		"invalid-idempotency-key", "Idempotency-Key not valid", http.StatusBadRequest,
		"An idempotency key has 1 to 255 visible ASCII characters or spaces, bare or in double quotes, and is sent once.",
	},
	problemFoundKey: {
		"invalid-key", "Key not valid", http.StatusUnprocessableEntity,
		"What `key_from` or `accept` finds as idempotency key must have 1 to 255 characters and no control characters.",
	},
	problemType: {
		"invalid-type", "Event type not valid", http.StatusUnprocessableEntity,
		"A type has 1 to 255 visible ASCII characters, with dots between segments, e.g. `order.paid`. Types under `relay.` are reserved.",
	},
	problemEnvelope: {
		"invalid-envelope", "Envelope not valid", http.StatusUnprocessableEntity,
		"`POST /v1/events` takes an object with `type` and `data`, and optionally `id`, `source`, `subject` and `time`. If the body is itself the data, POST it to `/v1/events/{type}`.",
	},
	problemCloudEvent: {
		"invalid-cloudevent", "CloudEvent not valid", http.StatusUnprocessableEntity,
		"An attribute is missing or is not what CloudEvents 1.0 says: `specversion` (1.0), `id`, `source` and `type` are required; names of extensions have lower-case letters and digits only. `errors` names each one, as a `pointer` into the body or as a `header`.",
	},
	problemBatch: {
		"invalid-batch", "Batch not valid", http.StatusUnprocessableEntity,
		"Something is wrong with one event of a batch, or with several; none was stored. `errors` names each by `pointer`, e.g. `/17/type` for the eighteenth event, and for NDJSON also by `line`.",
	},
	problemSchema: {
		"invalid-data", "Data not valid by its schema", http.StatusUnprocessableEntity,
		"The type is declared with a JSON schema (`event` in the option `relay`), and the data does not fit it. `errors` says where. `GET /v1/event-types` shows the schema. In a batch this is one of the reasons of `invalid-batch`.",
	},
	problemNarrowing: {
		"unknown-subscription", "No such subscription", http.StatusUnprocessableEntity,
		"`Relay-Subscriptions` names a subscription that the configuration does not have, or none at all.",
	},
	problemKeyReused: {
		"key-reused", "Idempotency key used before", http.StatusUnprocessableEntity,
		"The same key came before with another type, source, content type, `Relay-Subscriptions` or body. Use a new key for each event, and repeat a request unchanged.",
	},
	problemBatchTooLarge: {
		"batch-too-large", "Too many events at once", http.StatusRequestEntityTooLarge,
		"A batch is stored whole or not at all, and this one has more events than `max_batch`, or does not fit into one storage transaction with all its deliveries. `fits` says how many of its events, from the first on, would be taken.",
	},
	problemTooMuch: {
		"too-much-at-once", "Too much from one address", http.StatusTooManyRequests,
		"The requests under way from this address hold so much memory that there would be none for others. Send again after `Retry-After`, with the same idempotency key, and fewer at once.",
	},
	problemBusy: {
		"busy", "Too much under way", http.StatusServiceUnavailable,
		"The requests under way hold all the memory that there is for them. Send again after `Retry-After`, with the same idempotency key: it grows with the number of senders that wait.",
	},
	problemFull: {
		"store-full", "No room", http.StatusServiceUnavailable,
		"The disk has less than `min_free` left, the store has reached `max_size`, or the disk of the [database server](postgres.md#when-its-disk-is-full) is full. Deliveries go on. Send again after `Retry-After`, with the same idempotency key.",
	},
	problemBroken: {
		"store-failed", "Storage failed", http.StatusServiceUnavailable,
		"The store cannot keep events safe at present; the relay's log says why. Send again after `Retry-After`, with the same idempotency key.",
	},
	problemNotReady: {
		"not-ready", "Not ready", http.StatusServiceUnavailable,
		"The relay is starting or stopping, or its store did not answer in time. Send again after `Retry-After`, with the same idempotency key.",
	},
	problemInternal: {
		"internal-error", "The relay failed", http.StatusInternalServerError,
		"Something unexpected went wrong; the relay's log says what. Send again with the same idempotency key.",
	},
}
