package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Shared is a [Store] that several relays use at the same time: its members. All of them
// append events. The deliveries of one subscription are made by one member at a time, the
// one that carries it: it alone commits updates of it, so that order and rates hold over all
// of them. Every change of who carries a subscription gives it a new epoch in the store, and
// a commit under an earlier one changes nothing: a member that was frozen, or cut off, while
// another one took over cannot undo what was done meanwhile.
//
// What the store does differently from one that has a single user:
//
//   - Commit applies the updates of subscriptions that this member carries, under the Epoch of
//     their Progress, and of those that nobody ever carried. If there were others, they are
//     left out, and it returns a [NotCarriedError] that names them: also those of an earlier
//     time at which this member carried the same subscription.
//   - The same holds for the updates of Erase, without an error: who carries the others has
//     to be asked.
//   - Trim does nothing, and reports no more, in all members but one.
//   - Heads grow by what others append; see [Member.Learn].
type Shared interface {
	Store

	// Join makes an engine a member, before it appends anything, and is called once. From
	// then on, until Close, the store calls methods of m, one after the other. m learns of
	// what has changed since the engine's first call of Progress, which comes before. ctx
	// bounds joining alone.
	Join(ctx context.Context, m Member) error

	// Offer says what this member could carry from now on, in place of what it said before.
	// What it carries beyond that is asked back by [Member.Yield] as soon as another member
	// could have it. It does not wait.
	Offer(o Offer)

	// Yielded gives back subscriptions that [Member.Yield] has asked for: nothing of them is
	// in flight any more, and what became of it is committed.
	Yielded(names []string)

	// CarriedUntil is when this member's lease ends, unless it is renewed before: by its own
	// clock, with a margin. No attempt may begin later, since another member may take over
	// then. After it has passed it does not move on before [Member.Lost] has returned for all
	// that others have taken over. It takes no lock that is held while Member is called; nor
	// does Carrier.
	CarriedUntil() time.Time

	// Members lists those that are alive, this one first.
	Members(ctx context.Context) ([]MemberStatus, error)

	// Carrier is the ID of the member that carries a subscription, as far as this one knows;
	// empty if nobody does.
	Carrier(subscription string) string

	// Ask sends a request to another member, or to whoever carries a subscription, and
	// returns what its [Member.Answer] has returned. It may be answered even where ctx has
	// ended before. The error is [ErrNoAnswer] if nobody is there to answer, or that of ctx.
	Ask(ctx context.Context, to Addressee, request []byte) ([]byte, error)
}

// Member is what a [Shared] store tells an engine. Its methods do not block, but for Answer,
// which is called from a goroutine of its own; and they call nothing of the store that writes.
type Member interface {
	// Carry says that this member carries subscriptions from now on. Each comes with its
	// progress as it is stored now: what the engine may have in memory of it is void.
	Carry(all []Progress)

	// Yield asks for subscriptions back: no attempt of them may begin any more; when those in
	// flight have ended and what became of them is committed, [Shared.Yielded] is to be
	// called. It may be called again for the same.
	Yield(names []string)

	// Lost says that others carry subscriptions already, since this member was silent for too
	// long. What it has in memory of them is void, and no commit of it would be taken.
	Lost(names []string)

	// Learn tells how subscriptions stand whose records have changed, in the store and not by
	// this member: of those that it carries only Head counts, the others are as whoever
	// carries them has left them.
	Learn(all []Progress)

	// Answer answers a request of another member. It may call the store as it likes.
	Answer(ctx context.Context, request []byte) []byte
}

// Offer is what a member could carry.
type Offer struct {
	// Subscriptions are those of its configuration, each with its region: empty if it has
	// none.
	Subscriptions map[string]string
	// Regions are those that it has addresses of, by which it may make deliveries. A
	// subscription without a region needs none.
	Regions []string
}

// Addressee is whom a member asks: the member with an ID or, where that is empty, the one
// that carries a subscription when the request is read.
type Addressee struct {
	Member       string
	Subscription string
}

// MemberStatus is what an operator is told of a member.
type MemberStatus struct {
	// ID is unique among all that there ever were, and tells an operator which one it is, for
	// example "web1-4711-k3x9".
	ID string
	// Regions are those of its [Offer].
	Regions []string
	// Shards are the parts of all subscriptions of which it carries some, ascending. A shard
	// of subscriptions moves as one.
	Shards []int
	// Carries counts the subscriptions that it carries.
	Carries int
	// Seen is when it last renewed its lease.
	Seen time.Time
}

// ErrNoAnswer means that the member which is asked is gone, or that nobody carries the
// subscription at present.
var ErrNoAnswer = errors.New("no relay answers for it at present; try again in a few seconds")

// NotCarriedError means that updates were left out, since this member does not carry their
// subscriptions (any more).
type NotCarriedError struct{ Subscriptions []string }

func (e *NotCarriedError) Error() string {
	return fmt.Sprintf("another relay makes the deliveries of %s", strings.Join(e.Subscriptions, ", "))
}
