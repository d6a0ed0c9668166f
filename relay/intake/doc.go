// Package intake takes events over HTTP and answers 202 once they are durable. It is
// a plain [net/http] handler and knows neither Caddy nor a storage engine.
//
//	POST /v1/events/{type}   the body is the data
//	POST /v1/events          an envelope {"type","data","id","source","subject","time"},
//	                         or the data, where a [Locator] finds the type;
//	                         CloudEvents 1.0 in binary, structured and batch mode;
//	                         a line of NDJSON for each envelope or CloudEvent
//	GET  /v1/events/{id}     the event, its deliveries, their attempts
//	GET  /v1/event-types     the catalogue, see [catalogue.Catalogue]
//	GET  /openapi.json       all of this, as an OpenAPI 3.1 document
//	GET  /livez, /readyz
//
// # Bytes
//
// The data of an event is a slice of the body as it was received. It is checked to be
// JSON, but never decoded and encoded again: receivers verify signatures over bytes.
// Exceptions are what CloudEvents carry encoded (data_base64, text in a string), and
// events of a batch, which get bytes of their own: one that waits for its receiver
// must not keep the memory of all.
//
// # Who may send
//
// Without a token only this machine may: the request must have arrived on a loopback
// address or a unix socket, must not have passed a proxy, and must not come from a
// web page of another origin. Content types that a page could post without asking
// (forms, plain text) are refused for the same reason.
//
// # Memory
//
// What may be known without a body is checked before it is read. Bodies are read within
// a budget that all requests of a [Handler] share, and within a time that depends on
// their size; a sender that is refused for want of room is told when to come again.
//
// # Refusals
//
// Refusals are problem details (RFC 9457). [ProblemTypes] lists them all; their slugs
// are the reasons told to the [Observer].
package intake
