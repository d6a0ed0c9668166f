// Package destination judges where deliveries may go. A relay dials URLs that
// other people chose, from inside a network that trusts it; without a guard it
// would carry their requests to metadata services, databases and its own admin
// endpoint (server-side request forgery).
//
// There are two layers:
//
//   - [Guard.CheckURL] judges the text of a URL while a configuration is loaded.
//     It makes errors readable, and it makes sure that every program that reads
//     the URL reads the same host in it. It needs no network.
//   - [Guard.CheckAddr] judges an address. The dialer asks it about every answer
//     of a lookup and once more about the address that a socket is about to
//     connect to. That second question is the security boundary: whatever a name
//     resolves to, however a host is spelled, the socket's address is looked at.
//
// Addresses are refused unless they are public unicast ones by the registries of
// RFC 6890 (as they stand today), and also if they belong to this machine.
// Ranges of 2000::/3 that no registry has handed out are let through: a list of
// what is handed out ages, and nothing answers there.
//
// Rules open holes: allow_ips for addresses, allow_hosts for names. Each opens
// what it names and nothing else.
package destination
