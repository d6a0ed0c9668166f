package view

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyrelay/caddyrelay/relay"
)

func marshal(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func same(t *testing.T, got, want string) {
	t.Helper()
	want = strings.NewReplacer("\n", "", "\t", "").Replace(want)
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

var (
	paris  = time.FixedZone("", 2*3600)
	event  = relay.Event{ID: "evt_1", Type: "order.paid", Accepted: time.Date(2026, 11, 21, 22, 23, 59, 120_999_999, paris), ContentType: "application/json", Size: 4}
	before = relay.Delivery{Event: "evt_1", Subscription: "crm", Region: "eu", State: relay.StatePending}
)

// The members that every event has are there also where the sender said nothing.
func TestEventWithoutAnythingOptional(t *testing.T) {
	same(t, marshal(t, NewEvent(&event, nil)), `{"id":"evt_1","type":"order.paid","source":"","subject":"","time":null,"accepted":"2026-11-21T20:23:59.120Z","content_type":"application/json","size":4,"deliveries":[]}`)
}

func TestEventWithEverything(t *testing.T) {
	e := event
	e.Source, e.Subject, e.SourceID = "/shop", "order/42", "i-1"
	e.Time = time.Date(2026, 11, 21, 20, 0, 0, 0, time.UTC)
	e.Extensions = map[string]string{"partition": "7"}
	d := before
	d.State, d.Reason, d.AttemptCount = relay.StateRetrying, relay.ReasonEgress, 2
	d.NextAttempt = time.Date(2026, 11, 21, 20, 24, 4, 0, time.UTC)
	d.Attempts = []relay.Attempt{{
		Number: 2, At: e.Time, Duration: 1234567 * time.Microsecond, Status: 503, Error: "the endpoint answered 503", ErrorKind: relay.Kind5xx,
		Local: "192.0.2.10:40000", Remote: "203.0.113.5:443", Excerpt: []byte("busy\n"),
	}}
	same(t, marshal(t, NewEvent(&e, []relay.Delivery{d, before})), `{
		"id":"evt_1","type":"order.paid","source":"/shop","subject":"order/42","time":"2026-11-21T20:00:00.000Z",
		"accepted":"2026-11-21T20:23:59.120Z","content_type":"application/json","size":4,"source_id":"i-1","extensions":{"partition":"7"},
		"deliveries":[{"event":"evt_1","subscription":"crm","region":"eu","state":"retrying","reason":"egress",
		"next_attempt":"2026-11-21T20:24:04.000Z","attempt_count":2,"attempts":[
		{"number":2,"at":"2026-11-21T20:00:00.000Z","duration_ms":1234,"status":503,"error":"the endpoint answered 503","error_kind":"5xx",
		"local_address":"192.0.2.10:40000","remote_address":"203.0.113.5:443","response_excerpt":"busy\n"}]},
		{"event":"evt_1","subscription":"crm","region":"eu","state":"pending","reason":"","next_attempt":null,"attempt_count":0,"attempts":[]}]}`)
}

func TestListsLeaveOutTheAttempts(t *testing.T) {
	d := before
	d.Attempts = []relay.Attempt{{Number: 1}}
	const listed = `{"event":"evt_1","subscription":"crm","region":"eu","state":"pending","reason":"","next_attempt":null,"attempt_count":0}`
	same(t, marshal(t, NewListedDelivery(&d)), listed)
	same(t, marshal(t, NewListedEvent(&event, []relay.Delivery{d})), `{"id":"evt_1","type":"order.paid","source":"","subject":"","time":null,"accepted":"2026-11-21T20:23:59.120Z","content_type":"application/json","size":4,"deliveries":[`+listed+`]}`)
	same(t, marshal(t, NewListedEvent(&event, nil)), marshal(t, NewEvent(&event, nil)))
}

func TestSuccessfulAttempt(t *testing.T) {
	same(t, marshal(t, NewAttempt(&relay.Attempt{Number: 1, At: time.Unix(0, 0), Status: 200})), `{"number":1,"at":"1970-01-01T00:00:00.000Z","duration_ms":0,
		"status":200,"error":"","error_kind":"","local_address":"","remote_address":"","response_excerpt":""}`)
}

func TestExcerpt(t *testing.T) {
	const bad = "\uFFFD"
	full := strings.Repeat("x", MaxExcerpt)
	for raw, want := range map[string]string{
		"":                       "",
		"a\x00\xff\xfeb":         "a\x00" + bad + bad + "b",
		"\xe2\x82":               bad + bad, // one for each byte
		"caf\xe9":                "caf" + bad,
		"ok " + bad:              "ok " + bad,
		full:                     full,
		full + "y":               full,
		full[1:] + "é":           full[1:], // no half character
		full[2:] + "é":           full[2:] + "é",
		full[2:] + "\xff":        full[2:], // no room for three bytes
		full[3:] + "\xff":        full[3:] + bad,
		full[3:] + bad:           full[3:] + bad,
		full[4:] + "\U0001F600!": full[4:] + "\U0001F600",
	} {
		got := excerpt([]byte(raw))
		if got != want {
			t.Errorf("%.20q of %d bytes: %d bytes, want %d", raw, len(raw), len(got), len(want))
		}
	}
	if got := excerpt([]byte(strings.Repeat("\xff", 2*MaxExcerpt))); len(got) > MaxExcerpt || !utf8.ValidString(got) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestTimesRoundTrip(t *testing.T) {
	v := NewEvent(&event, []relay.Delivery{before})
	var again Event
	if err := json.Unmarshal([]byte(marshal(t, v)), &again); err != nil {
		t.Fatal(err)
	}
	if marshal(t, again) != marshal(t, v) || !again.Accepted.Equal(time.Date(2026, 11, 21, 20, 23, 59, 120_000_000, time.UTC)) || !again.Deliveries[0].NextAttempt.IsZero() {
		t.Errorf("%+v", again)
	}
	for _, wrong := range []string{`7`, `"yesterday"`, `{}`} {
		var at Time
		if err := json.Unmarshal([]byte(wrong), &at); err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
}

// The admin API and the intake show the same; nobody adds a field in one place only.
func TestFieldsOfTheContract(t *testing.T) {
	for want, v := range map[string]any{
		"id type source subject time accepted content_type size erased source_id extensions deliveries":          Event{},
		"event subscription region state reason waiting_for next_attempt attempt_count attempts":                 Delivery{},
		"number at duration_ms status error error_kind local_address remote_address response_excerpt":            Attempt{},
		"at type event subscription region state reason waiting_for next_attempt attempt_count attempts attempt": Settlement{},
	} {
		var names []string
		for _, field := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if field.Anonymous || len(field.Index) > 1 && field.Type == reflect.TypeOf(time.Time{}) {
				continue
			}
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			names = append(names, name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
