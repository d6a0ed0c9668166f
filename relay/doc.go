// Package relay is a durable webhook relay as a plain Go library. It knows
// neither Caddy nor any storage engine.
//
// # Model
//
// An [Event] is appended once to the log of a [Store]. Each [Subscription] that
// it matches gets an entry in a log of its own; event and entries are one atomic,
// synced write. A delivery is one event for one subscription; its identity is
// that pair. There is no row per delivery that changes state: a subscription has
// a low-water mark (everything at or below it is finished), a short list of what
// is finished above it, and exceptions: one record for each delivery that is
// retried, given up or set aside (see [Progress] and [Exception]).
//
// # Engine and plan
//
// [Relay] is the engine. It lives as long as the process keeps the store open, and
// owns every goroutine. A [Plan] is what one configuration says: subscriptions,
// regions, logger, observer. It is immutable and owns nothing that runs. Plans are
// attached to the engine as a stack; the last one attached is active, so that a
// configuration that is rolled back leaves the one before it active.
//
// # Guarantees
//
// [Relay.Publish] returns without an error only after the store has synced the
// event. From then on each delivery is made at least once, or is listed as held or
// failed with a reason. An attempt that a stop or a crash cuts is made again and
// is not counted as failed.
package relay
