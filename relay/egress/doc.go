// Package egress makes the connections of deliveries: from the addresses of a
// region, and to nowhere that the destination guard refuses.
//
// Receivers let deliveries in by the address that they come from. So a socket is
// bound to an address of its [Region] before it connects, and there is no
// fallback to another one, ever: if none can be used, dialling fails with an
// [UnavailableError], nothing has been sent, and the delivery is held until an
// address is back.
//
// A [Dialer] resolves a name once, judges every answer, and connects to the very
// addresses that it judged; then the guard looks once more at the address of each
// socket. [NewTransport] puts an HTTP transport over it.
//
// One transport belongs to one region and one set of rules: it does not know whose
// rules its connections passed. It keeps them by where they leave from. A [Watch]
// tells which addresses are there.
package egress
