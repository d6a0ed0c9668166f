package relay_test

import (
	"encoding/json"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

func TestOperationalEventsReachThoseWhoNameThem(t *testing.T) {
	run(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		s := subscription("crm", endpoint(&status))
		s.Retry.Off = true
		s.Breaker = relay.BreakerPolicy{Ratio: 0.5, Least: 3, Window: time.Minute, Pause: 10 * time.Second}
		var ops, all receiver
		w.plan(s, subscription("ops", &ops, "relay.*"), subscription("all", &all))
		for range 5 {
			w.publish("order.paid", "1")
		}
		w.wait(time.Minute)
		status.Store(200)
		w.publish("order.paid", "1")
		w.wait(time.Minute)
		status.Store(410)
		w.publish("order.paid", "1")
		w.wait(time.Minute)

		count := make(map[string]int)
		for _, r := range ops.all() {
			topic := r.header.Get("Relay-Event")
			count[topic]++
			var n relay.Notice
			if err := json.Unmarshal([]byte(r.body), &n); err != nil || n.Subscription != "crm" || n.At.IsZero() {
				t.Errorf("%s says %s (%v)", topic, r.body, err)
			}
			if topic == string(relay.TopicDeliveryFailed) && (n.Event == "" || n.EventType != "order.paid") {
				t.Errorf("%s says %s", topic, r.body)
			}
		}
		for topic, least := range map[relay.Topic]int{
			relay.TopicFailing: 1, relay.TopicRecovered: 1, relay.TopicDisabled: 1, relay.TopicDeliveryFailed: 1,
		} {
			if count[string(topic)] < least {
				t.Errorf("%d events %s", count[string(topic)], topic)
			}
		}
		// Five deliveries failed within one minute and a bit.
		if n := count[string(relay.TopicDeliveryFailed)]; n > 2 {
			t.Errorf("%d events about failed deliveries in two minutes", n)
		}
		for _, r := range all.all() {
			if topic := r.header.Get("Relay-Event"); topic != "order.paid" {
				t.Errorf("\"*\" got %s", topic)
			}
		}
	})
}

func TestNoNewsOfNewsThatFailed(t *testing.T) {
	run(t, func(w *world) {
		var status atomic.Int64
		status.Store(500)
		failing := subscription("crm", endpoint(&status))
		failing.Retry.Off = true
		ops := endpoint(&status)
		s := subscription("ops", ops, "relay.*")
		s.Retry.Off = true
		w.plan(failing, s)
		w.publish("order.paid", "1")
		w.wait(time.Hour)
		if n := len(ops.all()); n != 1 {
			t.Errorf("%d operational events, want 1", n)
		}
	})
}
