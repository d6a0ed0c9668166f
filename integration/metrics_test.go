package integration

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// metrics returns the relay's samples at Caddy's own /metrics, by name and labels.
func (c *instance) metrics() map[string]float64 {
	c.t.Helper()
	a := c.get("/metrics")
	if a.status != http.StatusOK {
		c.t.Fatalf("/metrics: %s", a)
	}
	samples := make(map[string]float64)
	for line := range strings.Lines(string(a.body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "} ")
		if ok {
			name += "}"
		} else {
			name, value, ok = strings.Cut(strings.TrimSpace(line), " ")
		}
		if !ok || !strings.HasPrefix(name, "caddy_relay_") {
			continue
		}
		n, err := strconv.ParseFloat(value, 64)
		if err != nil {
			c.t.Errorf("%q is no number: %s", value, line)
		}
		samples[name] = n
	}
	return samples
}

// counter reports whether a sample may only grow.
func counter(name string) bool {
	name, _, _ = strings.Cut(name, "{")
	for _, suffix := range []string{"_total", "_count", "_sum", "_bucket"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

func TestMetricsCountAndSurviveReloads(t *testing.T) {
	t.Parallel()
	needRegions(t)
	well, sick := newReceiver(t), newReceiver(t)
	sick.answer(with(http.StatusInternalServerError))
	config := "region eu 127.0.0.2\n" + subscribed("well", well, "topics order.*") + subscribed("sick", sick, "topics order.*", "retry off")
	c := run(t, config)

	// These are there from the start, at 0.
	fresh := c.metrics()
	for _, name := range []string{
		`caddy_relay_deliveries_total{result="delivered",subscription="well"}`,
		`caddy_relay_deliveries_total{result="failed",subscription="sick"}`,
		`caddy_relay_deliveries_total{result="superseded",subscription="well"}`,
		`caddy_relay_subscription_state{state="paused",subscription="well"}`,
		`caddy_relay_subscription_state{state="disabled",subscription="well"}`,
		`caddy_relay_pending_deliveries{subscription="well"}`,
		`caddy_relay_in_flight_attempts{subscription="well"}`,
		`caddy_relay_oldest_due_timestamp_seconds{subscription="well"}`,
		`caddy_relay_last_success_timestamp_seconds{subscription="well"}`,
		`caddy_relay_delivery_latency_seconds_count{subscription="well"}`,
		`caddy_relay_attempt_duration_seconds_count{subscription="well"}`,
		`caddy_relay_events_accepted_total`,
		`caddy_relay_events_duplicate_total`,
		`caddy_relay_events_unmatched_total`,
	} {
		if n, ok := fresh[name]; !ok || n != 0 {
			t.Errorf("%s is %v, there: %v; want 0 from the start", name, n, ok)
		}
	}

	send := func() {
		t.Helper()
		id := c.accept("order.paid", `1`, "Idempotency-Key", "k").ID
		c.accept("order.paid", `1`, "Idempotency-Key", "k")
		c.wantDelivery(id, "well", stateDelivered, "")
		c.wantDelivery(id, "sick", stateFailed, anyReason)
		c.accept("nobody.wants", `1`)
		wantProblem(t, c.post(ofType, `{`), http.StatusBadRequest)
		c.drained()
	}
	send()
	before := c.metrics()
	for name, want := range map[string]float64{
		`caddy_relay_events_accepted_total`:                                                             2,
		`caddy_relay_events_duplicate_total`:                                                            1,
		`caddy_relay_events_unmatched_total`:                                                            1,
		`caddy_relay_intake_duration_seconds_count`:                                                     3,
		`caddy_relay_deliveries_total{result="delivered",subscription="well"}`:                          1,
		`caddy_relay_deliveries_total{result="failed",subscription="sick"}`:                             1,
		`caddy_relay_attempts_total{error_kind="",outcome="delivered",region="eu",subscription="well"}`: 1,
		`caddy_relay_attempts_total{error_kind="5xx",outcome="failed",region="eu",subscription="sick"}`: 1,
		`caddy_relay_attempt_duration_seconds_count{subscription="sick"}`:                               1,
		`caddy_relay_delivery_latency_seconds_count{subscription="well"}`:                               1,
		`caddy_relay_subscription_state{state="active",subscription="well"}`:                            1,
		`caddy_relay_subscription_state{state="gone",subscription="well"}`:                              0,
		`caddy_relay_egress_up{address="127.0.0.2",region="eu"}`:                                        1,
		`caddy_relay_pending_deliveries{subscription="sick"}`:                                           0,
	} {
		if n, ok := before[name]; !ok || n != want {
			t.Errorf("%s is %v, there: %v; want %v", name, n, ok, want)
		}
	}
	rejected := 0.0
	parts := make(map[string]bool)
	for name, n := range before {
		if strings.HasPrefix(name, `caddy_relay_events_rejected_total{reason="`) {
			rejected += n
		}
		if part, ok := strings.CutPrefix(name, `caddy_relay_storage_size_bytes{part="`); ok {
			parts[strings.TrimSuffix(part, `"}`)] = true
		}
	}
	if rejected != 1 {
		t.Errorf("caddy_relay_events_rejected_total is %v in all; want 1", rejected)
	}
	for _, part := range []string{"events", "logs", "attempts", "other"} {
		if !parts[part] {
			t.Errorf("caddy_relay_storage_size_bytes lacks the part %q: %v", part, parts)
		}
	}
	if n := before[`caddy_relay_storage_free_bytes`]; n <= 0 {
		t.Errorf("caddy_relay_storage_free_bytes is %v", n)
	}
	found := false
	for name := range before {
		found = found || strings.HasPrefix(name, `caddy_relay_storage_errors_total{operation="`)
		for _, secret := range []string{"evt_", "http", "127.0.0.1"} { // what grows without bound
			if strings.Contains(name, secret) {
				t.Errorf("%s has %q as a label", name, secret)
			}
		}
	}
	if !found {
		t.Error("there is no caddy_relay_storage_errors_total")
	}

	// Over a reload nothing falls, and the next events count.
	c.mustReload(config + "subscription third https://third.example.com/ nothing.of.this {\nregion eu\n}\n")
	after := c.metrics()
	for name, n := range before {
		if counter(name) && after[name] < n {
			t.Errorf("%s fell from %v to %v with a reload", name, n, after[name])
		}
	}
	if _, ok := after[`caddy_relay_deliveries_total{result="delivered",subscription="third"}`]; !ok {
		t.Error("a subscription that came with a reload is not counted from the start")
	}
	c.accept("order.paid", `2`)
	c.drained()
	final := c.metrics()
	for _, name := range []string{
		`caddy_relay_events_accepted_total`,
		`caddy_relay_deliveries_total{result="delivered",subscription="well"}`,
		`caddy_relay_attempts_total{error_kind="5xx",outcome="failed",region="eu",subscription="sick"}`,
	} {
		if final[name] != before[name]+1 {
			t.Errorf("%s is %v after the reload and one more event; want %v", name, final[name], before[name]+1)
		}
	}
}
