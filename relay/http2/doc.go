// Package http2 makes small HTTP/2 requests, each in the goroutine of its caller (RFC 9113),
// over connections of TLS that others make.
//
// [net/http.Transport] starts a goroutine for each request, which hands what it does from one
// to the other, and writes header and body one after the other. It also puts every value of
// a header into the table by which the next ones are compressed (RFC 7541), from which those
// that no other request has, as an event's signature, drive out what all of them have. Here
// a request is written at once, and a value gets into the table when it comes again.
//
// Frames and the compression of headers are read and written by golang.org/x/net. There is
// one goroutine for each connection, which reads.
package http2
