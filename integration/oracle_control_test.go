package integration

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// The oracle is worth something only if it notices: each of these histories breaks one
// promise.
func TestOracleNoticesEachBreach(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, want string
		spoil      func(h *history)
	}{
		{"nothing", "", func(*history) {}},
		{"repeat after a kill", "", func(h *history) {
			h.oracle.kills = []time.Time{h.now.Add(time.Second)}
			h.arrive("evt_1", `{"n":1}`, 1, h.now.Add(10*time.Second), http.StatusOK)
		}},
		{"absent", "I1: {evt_1 crm} is absent", func(h *history) { h.listed = nil }},
		{"neither", "I1: {evt_1 crm} is neither", func(h *history) { h.listed[0].State = statePending }},
		{"claimed", "I1: {evt_1 crm} is listed as delivered, but never came", func(h *history) { h.got = nil }},
		{"failed, called delivered", "but never came", func(h *history) { h.got[0].status = http.StatusTeapot }},
		{"listed twice", "is listed twice", func(h *history) { h.listed = append(h.listed, h.listed[0]) }},
		{"invented", "a body that nobody posted", func(h *history) { h.arrive("evt_2", `{"n":2}`, 1, h.now, http.StatusOK) }},
		{"changed", "a body that nobody posted", func(h *history) { h.got[0].body = []byte(`{"n": 1}`) }},
		{"mistaken", "was delivered as {evt_9 crm}", func(h *history) { h.arrive("evt_9", `{"n":1}`, 1, h.now, http.StatusOK) }},
		{"unsigned", "I2: {evt_1 crm}: there is no", func(h *history) { h.got[0].header.Del("webhook-signature") }},
		{"signed by another", "no matching signature", func(h *history) { h.oracle.secret = newSecret() }},
		{"signed long before", "I2: {evt_1 crm}: its webhook-timestamp is", func(h *history) { h.got[0].at = h.now.Add(tolerance + time.Second) }},
		{"other source", "I6: ", func(h *history) { h.got[0].peer = "127.0.0.1" }},
		{"other subscription", "does not match", func(h *history) { h.got[0].header.Set("Relay-Subscription", "erp") }},
		{"repeated", "I4: ", func(h *history) { h.arrive("evt_1", `{"n":1}`, 1, h.now.Add(time.Second), http.StatusOK) }},
		{"repeated long after", "I4: ", func(h *history) {
			h.oracle.kills = []time.Time{h.now.Add(time.Minute)}
			h.arrive("evt_1", `{"n":1}`, 1, h.now.Add(2*time.Minute), http.StatusOK)
		}},
		{"refused", "I5: ", func(h *history) {
			h.oracle.sending("order.paid", `{"n":3}`)
			h.oracle.answered(`{"n":3}`, answer{status: http.StatusBadRequest})
			h.arrive("evt_3", `{"n":3}`, 1, h.now, http.StatusOK)
		}},
		{"listed from nowhere", "I5: ", func(h *history) {
			h.listed = append(h.listed, delivery{Event: "evt_7", Subscription: "crm", State: stateHeld, Reason: reasonGone})
		}},
		{"stale timestamp", "the webhook-timestamp goes back", func(h *history) {
			h.got[0].status = http.StatusServiceUnavailable
			h.arrive("evt_1", `{"n":1}`, 2, h.now.Add(-time.Minute), http.StatusOK)
		}},
		{"attempts counted anew", "the Relay-Attempt goes back", func(h *history) {
			h.got = nil
			h.arrive("evt_1", `{"n":1}`, 3, h.now, http.StatusServiceUnavailable)
			h.arrive("evt_1", `{"n":1}`, 1, h.now.Add(time.Second), http.StatusOK)
		}},
		{"two ids", "one event has the ids evt_1 and evt_4", func(h *history) {
			h.oracle.answered(`{"n":1}`, answer{status: http.StatusAccepted, body: []byte(`{"id":"evt_4","matched":["crm"]}`)})
		}},
		{"matched too few", "evt_1 matched []", func(h *history) {
			h.oracle.answered(`{"n":1}`, answer{status: http.StatusAccepted, body: []byte(`{"id":"evt_1","matched":[]}`)})
		}},
		{"empty 200", "neither 202", func(h *history) { h.oracle.answered(`{"n":1}`, answer{status: http.StatusOK}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHistory()
			c.spoil(h)
			found := strings.Join(h.oracle.breaches(h.got, h.listed), "\n")
			if (found == "") != (c.want == "") || !strings.Contains(found, c.want) {
				t.Errorf("found %q; want %q", found, c.want)
			}
		})
	}
}

// history is one event that was accepted and delivered, and nothing wrong with it.
type history struct {
	oracle *oracle
	now    time.Time
	got    []arrival
	listed []delivery
}

func newHistory() *history {
	h := &history{now: time.Now(), oracle: &oracle{
		secret:   newSecret(),
		sources:  map[string]string{"crm": "127.0.0.2"},
		matching: func(string) []string { return []string{"crm"} },
	}}
	h.oracle.sending("order.paid", `{"n":1}`)
	h.oracle.answered(`{"n":1}`, answer{status: http.StatusAccepted, body: []byte(`{"id":"evt_1","matched":["crm"]}`)})
	h.arrive("evt_1", `{"n":1}`, 1, h.now, http.StatusOK)
	h.listed = []delivery{{Event: "evt_1", Subscription: "crm", State: stateDelivered}}
	return h
}

func (h *history) arrive(id, body string, number int, at time.Time, status int) {
	webhook, err := standardwebhooks.NewWebhook(h.oracle.secret)
	if err != nil {
		panic(err)
	}
	signature, err := webhook.Sign(id, at, []byte(body))
	if err != nil {
		panic(err)
	}
	header := http.Header{}
	for name, value := range map[string]string{
		"webhook-id": id, "webhook-timestamp": strconv.FormatInt(at.Unix(), 10), "webhook-signature": signature,
		"Relay-Subscription": "crm", "Relay-Attempt": strconv.Itoa(number),
	} {
		header.Set(name, value)
	}
	h.got = append(h.got, arrival{at: at, peer: "127.0.0.2", header: header, body: []byte(body), status: status, answered: at})
}
