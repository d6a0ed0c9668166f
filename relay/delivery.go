package relay

import "time"

// State is what a delivery is in, as users see it.
type State string

// States of a delivery.
const (
	StatePending    State = "pending"    // not tried yet
	StateRetrying   State = "retrying"   // tried and failed, due again
	StateHeld       State = "held"       // not tried yet and held, see the reason
	StateDelivered  State = "delivered"  // answered with a 2xx status
	StateFailed     State = "failed"     // given up
	StateSuperseded State = "superseded" // a newer event took its place
)

// States lists all states of a delivery.
var States = []State{StatePending, StateRetrying, StateHeld, StateDelivered, StateFailed, StateSuperseded}

// Finished reports whether no further attempt will be made by itself.
func (s State) Finished() bool {
	return s == StateDelivered || s == StateFailed || s == StateSuperseded
}

// Reason says why something is held or failed, in a word.
type Reason string

// Reasons for which a whole subscription is held. A failed delivery's reason is
// "schedule", "give_up_after", "status", or a word of a later step.
const (
	ReasonNone       Reason = ""
	ReasonPaused     Reason = "paused"
	ReasonDisabled   Reason = "disabled"
	ReasonGone       Reason = "gone"        // its name is not in the configuration
	ReasonRetryAfter Reason = "retry_after" // the endpoint asked to wait
	ReasonEgress     Reason = "egress"      // no usable address of the region
	ReasonBreaker    Reason = "breaker"     // too many attempts failed
	ReasonNoInstance Reason = "no_instance" // of the relays that share the store none makes them
	// Of one delivery: behind another of its key; until a newer one may take its place no
	// more, or, of a superseded one, because a newer one did.
	ReasonOrder    Reason = "order"
	ReasonDebounce Reason = "debounce"
	// Until something outside shows what it is about, or, of a failed one, because it did not.
	ReasonWaiting Reason = "waiting"

	ReasonSchedule    Reason = "schedule"      // the last retry failed
	ReasonGiveUpAfter Reason = "give_up_after" // the time allowed is over
	ReasonStatus      Reason = "status"        // a status that is not retried
	ReasonDropped     Reason = "dropped"       // the operator gave it up
	ReasonQuarantined Reason = "quarantined"   // its record cannot be read or sent
	ReasonErased      Reason = "erased"        // the operator erased its event
)

// Delivery is one event for one subscription, as users see it.
type Delivery struct {
	Event string
	// EventType and Accepted are those of the event.
	EventType    string
	Accepted     time.Time
	Subscription string
	Region       string
	State        State
	Reason       Reason
	// NextAttempt is zero if none is planned.
	NextAttempt time.Time
	// WaitingFor is the ID of the event behind which this one waits in order, or empty.
	WaitingFor string
	// AttemptCount counts attempts made, also those no longer kept.
	AttemptCount int
	// Attempts are those kept, ascending; only where one event is shown, or the last one
	// alone where a list was asked for it.
	Attempts []Attempt

	// behind is the key in whose order it waits, where only another relay knows for what.
	behind string
}

// Attempt is one try to make a delivery.
type Attempt struct {
	// Number counts from 1 and goes on over replays.
	Number   int
	At       time.Time
	Duration time.Duration
	// Status is the HTTP status, 0 if there was none.
	Status int
	// Error is a sentence for people, ErrorKind a word; both empty on success.
	Error     string
	ErrorKind ErrorKind
	// Local and Remote are the addresses of the connection as the kernel reported
	// them, "ip:port", or empty.
	Local, Remote string
	// Excerpt is the beginning of the response's body.
	Excerpt []byte
}

// ErrorKind classifies why an attempt failed. It is a label of metrics.
type ErrorKind string

// Kinds of errors.
const (
	KindNone      ErrorKind = ""
	Kind3xx       ErrorKind = "3xx"
	Kind4xx       ErrorKind = "4xx"
	Kind429       ErrorKind = "429"
	Kind5xx       ErrorKind = "5xx"
	KindProtocol  ErrorKind = "protocol"
	KindTimeout   ErrorKind = "timeout"
	KindDNS       ErrorKind = "dns"
	KindConnect   ErrorKind = "connect"
	KindTLS       ErrorKind = "tls"
	KindReset     ErrorKind = "reset"
	KindBlocked   ErrorKind = "blocked" // the destination guard refused
	KindAuth      ErrorKind = "auth"
	KindTransform ErrorKind = "transform"
	KindSign      ErrorKind = "sign"
	KindPanic     ErrorKind = "panic"
)

// Limits of what is kept of a response, in bytes.
const (
	maxFailedExcerpt    = 16 << 10
	maxDeliveredExcerpt = 1 << 10
	maxResponseRead     = 64 << 10
)
