// Package postgres keeps events and the progress of their deliveries in a PostgreSQL
// database: the log with cursors of [relay.Store], in tables of a schema of its own.
//
//	store          one row: whose schema this is, and the part of it in events' IDs
//	tail           one row: where the log ends, and the epoch of the members
//	members        the relays that use the schema, each with its lease (see member.go)
//	subscriptions  names by number, the head of each log, its progress, and who carries it
//	events         the log, with a partition for each day of acceptance
//	log            positions of each subscription's log: which event stands there
//	exceptions     deliveries, and spans of them, that did not simply succeed in turn
//	attempts       with a partition for each day, as events
//	keys           idempotency keys, with a partition for each day
//	notes          what the engine keeps beside events
//	requests       what one member asks another one
//	migrations     which versions of this layout were applied
//
// One goroutine of each relay writes, on a connection of its own. Whatever waits goes into
// one group: a few statements over arrays, sent together and ended by one commit. The first of
// them updates the row in tail, which locks it, gives out the numbers of the events in the
// order of commits, and fails if members have come or gone. A plain sequence would not do: its
// numbers become visible out of order, and a reader with a cursor misses some.
//
// With other members a group takes two trips: the first one locks that row, and asks for what
// the others have changed, by which the group is planned; the second one writes it. The same
// goroutine renews the lease, looks at what the others do, and decides with them who carries
// what (see govern.go): so nothing of that happens within a group. Who has the row of tail
// locked and says nothing is ended by those who wait for it.
//
// Reads take connections of a pool, and see what was committed.
//
// When a group fails, nobody knows whether it was committed (the answer may have been lost
// with the connection). Everybody who waited gets an error, nothing more is written, and the
// connection is opened anew; then the state is read from the database.
package postgres
