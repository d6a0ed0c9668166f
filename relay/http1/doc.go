// Package http1 makes HTTP/1.1 requests, each in the goroutine of its caller (RFC 9112). The
// connections, by TLS or without, are made by others.
//
// [net/http.Transport] keeps two goroutines for each connection, and hands every request
// and answer from one to the other; for small requests on busy processors that costs more
// than the exchange. A delivery has a goroutine already, and nothing to do while it waits.
// What is hard to read safely, all but the plainest of answers, is left to net/http.
package http1
