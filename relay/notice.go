package relay

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"go.uber.org/zap"
)

// Topic is the type of an event that the relay itself makes.
type Topic string

// Topics of operational events.
const (
	TopicFailing        Topic = "relay.subscription.failing"   // its breaker opened
	TopicRecovered      Topic = "relay.subscription.recovered" // an attempt succeeded again
	TopicDisabled       Topic = "relay.subscription.disabled"  // by 410, or after failures for long
	TopicDeliveryFailed Topic = "relay.delivery.failed"        // a delivery was given up
)

// Notice is what an operational event says.
type Notice struct {
	Topic        Topic     `json:"-"`
	Subscription string    `json:"subscription"`
	At           time.Time `json:"at"`
	// Event and EventType are those of the delivery that it is about; empty if it is about
	// the subscription alone.
	Event     string `json:"event,omitempty"`
	EventType string `json:"event_type,omitempty"`
	// Detail says why, in words.
	Detail string `json:"detail,omitempty"`
	// Suppressed is the number of notices of this kind that were left out since the last.
	Suppressed int `json:"suppressed,omitempty"`
}

// noticeEvery is how often a notice of one kind is made about one subscription: an
// endpoint that fails a thousand times a second does not make a thousand events.
const noticeEvery = time.Minute

// noticeQueue is how many notices may wait; more are left out.
const noticeQueue = 256

// announcer makes operational events, from its own goroutine, so that deliveries do not
// wait for it.
type announcer struct {
	engine *Relay
	queue  chan Notice
	last   map[noticeKind]*noticeCount
}

type noticeKind struct {
	subscription string
	topic        Topic
}

type noticeCount struct {
	at         time.Time
	suppressed int
}

func newAnnouncer(r *Relay) *announcer {
	return &announcer{engine: r, queue: make(chan Notice, noticeQueue), last: make(map[noticeKind]*noticeCount)}
}

// announce queues a notice, or drops it if too many wait.
func (a *announcer) announce(n Notice) {
	select {
	case a.queue <- n:
	default:
	}
}

func (a *announcer) run(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case n := <-a.queue:
			a.make(n)
		}
	}
}

// make turns a notice into an event, unless there was one like it a moment ago.
func (a *announcer) make(n Notice) {
	kind := noticeKind{n.Subscription, n.Topic}
	count := a.last[kind]
	if count == nil {
		count = new(noticeCount)
		a.last[kind] = count
	}
	if !count.at.IsZero() && n.At.Sub(count.at) < noticeEvery {
		count.suppressed++
		return
	}
	n.Suppressed, count.suppressed, count.at = count.suppressed, 0, n.At

	plan := a.engine.matching.Load()
	if plan == nil {
		return
	}
	plan.logger.Warn("operational event", zap.String("topic", string(n.Topic)),
		zap.String("subscription", n.Subscription), zap.String("event", n.Event), zap.String("detail", n.Detail))
	plan.observer.Noticed(n)
	n.At = n.At.UTC().Truncate(time.Millisecond)
	data, err := json.Marshal(n)
	if err != nil {
		plan.logger.Error("describing an operational event failed", zap.Error(err))
		return
	}
	_, err = a.engine.publish(context.Background(), plan, []Publication{{Event: &Event{
		Type: string(n.Topic), Source: "relay", Subject: n.Subscription, ContentType: "application/json", Data: data,
	}}}, nil)
	if err != nil {
		plan.logger.Warn("an operational event could not be stored", zap.String("topic", string(n.Topic)), zap.Error(err))
	}
}

// notices returns what is to be told of an attempt's result. About the relay's own events
// nothing is: an endpoint that takes them could fail on the news of its failure.
func (r settled) notices(j *job) []Notice {
	if j.event == nil || strings.HasPrefix(j.event.Type, ReservedPrefix) {
		return nil
	}
	base := Notice{Subscription: j.sub.Name, At: r.now, Detail: r.message}
	var all []Notice
	add := func(topic Topic, happened bool) {
		if happened {
			n := base
			n.Topic = topic
			all = append(all, n)
		}
	}
	add(TopicFailing, r.tripped)
	add(TopicRecovered, r.recovered)
	add(TopicDisabled, r.disabled)
	if r.state == StateFailed && j.event.Erased.IsZero() && !j.erased {
		n := base
		n.Topic, n.Event, n.EventType = TopicDeliveryFailed, j.event.ID, j.event.Type
		all = append(all, n)
	}
	return all
}
