package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
)

// eventsOfSDK are events as applications make them with the SDK, with ids that begin so.
func eventsOfSDK(t *testing.T, prefix string) []cloudevents.Event {
	t.Helper()
	var events []cloudevents.Event
	made := func(contentType string, data any, change func(*cloudevents.Event)) {
		e := cloudevents.NewEvent()
		e.SetID(fmt.Sprintf("%s-%d", prefix, len(events)))
		e.SetType("com.example.order.paid")
		// Without a %: the SDK does not encode it in header fields, where it is decoded.
		e.SetSource("https://shop.example.com/orders?a=b")
		if data != nil {
			if err := e.SetData(contentType, data); err != nil {
				t.Fatal(err)
			}
		}
		if change != nil {
			change(&e)
		}
		events = append(events, e)
	}
	made(cloudevents.ApplicationJSON, map[string]any{"order": 42, "html": "<&>", "text": "Zoë"}, func(e *cloudevents.Event) {
		e.SetSubject("orders/42")
		e.SetTime(time.Date(2026, 11, 21, 20, 23, 59, 123_000_000, time.UTC))
		e.SetDataSchema("https://shop.example.com/order.json")
		e.SetExtension("partitionkey", "812")
		e.SetExtension("sequence", 17)
		e.SetExtension("sampled", true)
	})
	// Not another type of JSON: in structured mode the SDK makes a string of it.
	made("application/json; charset=utf-8", []int{1, 2, 3}, nil)
	made(cloudevents.ApplicationJSON, "a text", nil)
	made("application/octet-stream", []byte{0, 1, 2, 0xff}, nil)
	made("application/xml", []byte("<a b='é'/>"), nil)
	made("", nil, nil)
	return events
}

// TestCloudEventsOfTheSDKAreUnderstoodInEveryMode has the SDK of the CloudEvents project
// as its client: what it sends in any mode is the same event.
func TestCloudEventsOfTheSDKAreUnderstoodInEveryMode(t *testing.T) {
	t.Parallel()
	r, binary, structured := newReceiver(t), newReceiver(t), newReceiver(t)
	c := run(t, subscribed("all", r)+subscribed("binary", binary, "format binary")+subscribed("structured", structured, "format structured"))
	client, err := cloudevents.NewClientHTTP(cehttp.WithTarget(c.url(open)), cehttp.WithClient(*clientOf))
	if err != nil {
		t.Fatal(err)
	}
	modes := map[string]func(context.Context) context.Context{"binary": cloudevents.WithEncodingBinary, "structured": cloudevents.WithEncodingStructured}
	want := make(map[string]cloudevents.Event)
	for mode, encoded := range modes {
		for _, e := range eventsOfSDK(t, mode) {
			want[e.ID()] = e
			for range 2 { // the second time it is a repeat
				if result := client.Send(encoded(t.Context()), e); !cloudevents.IsACK(result) {
					t.Fatalf("%s: %s: %v", mode, e, result)
				}
			}
		}
	}
	// Sent again in the other mode, it is the same event.
	for _, e := range eventsOfSDK(t, "binary") {
		if result := client.Send(cloudevents.WithEncodingStructured(t.Context()), e); !cloudevents.IsACK(result) {
			t.Errorf("%s: %v", e, result)
		}
	}
	batch := eventsOfSDK(t, "batch")
	for _, e := range batch {
		want[e.ID()] = e
	}
	for range 2 {
		req, err := cehttp.NewHTTPRequestFromEvents(t.Context(), c.url(open), batch)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.acceptedBatch(do(clientOf, req)); len(got) != len(batch) {
			t.Errorf("%d answers for %d events", len(got), len(batch))
		}
	}
	c.drained()
	for _, forwarded := range []*receiver{binary, structured} {
		for _, a := range forwarded.wantExactly(len(want)) {
			compareForwarded(t, &a, want)
		}
	}
	for _, a := range r.wantExactly(len(want)) {
		shown := decode[sdkView](t, c.get("/relay/events/"+a.id()))
		e, known := want[shown.SourceID]
		if !known {
			t.Errorf("%+v was never sent", shown)
			continue
		}
		delete(want, shown.SourceID)
		shown.compare(t, e)
		if string(a.body) != string(e.Data()) || a.header.Get("Content-Type") != e.DataContentType() {
			t.Errorf("%s: %q of type %q arrived; want %q of %q", e.ID(), a.body, a.header.Get("Content-Type"), e.Data(), e.DataContentType())
		}
	}
	if len(want) > 0 {
		t.Errorf("%d events did not arrive", len(want))
	}
}

// compareForwarded reads a delivery in a format of CloudEvents with the SDK: what comes out
// is what went in.
func compareForwarded(t *testing.T, a *arrival, want map[string]cloudevents.Event) {
	t.Helper()
	req := &http.Request{Header: a.header, Body: io.NopCloser(bytes.NewReader(a.body))}
	got, err := cehttp.NewEventFromHTTPRequest(req)
	if err != nil || got.Validate() != nil {
		t.Fatalf("the SDK cannot read %v %s: %v", a.header, a.body, err)
	}
	original := want[got.ID()]
	e := original.Clone()
	if e.Time().IsZero() {
		e.SetTime(got.Time())
	}
	for name, value := range e.Extensions() {
		e.SetExtension(name, fmt.Sprint(value)) // text is what is kept
	}
	if got.Source() != e.Source() || got.Type() != e.Type() || got.Subject() != e.Subject() || !got.Time().Equal(e.Time()) ||
		got.DataSchema() != e.DataSchema() || got.DataContentType() != e.DataContentType() || !bytes.Equal(got.Data(), e.Data()) ||
		fmt.Sprint(got.Extensions()) != fmt.Sprint(e.Extensions()) {
		t.Errorf("%s came out as\n%s; want\n%s", a.subscription(), got, e)
	}
}

// sdkView is what the relay shows of a CloudEvent.
type sdkView struct {
	Type, Source, Subject, Time string
	SourceID                    string `json:"source_id"`
	Extensions                  map[string]string
}

func (v *sdkView) compare(t *testing.T, e cloudevents.Event) {
	t.Helper()
	want := sdkView{Type: e.Type(), Source: e.Source(), Subject: e.Subject(), SourceID: e.ID()}
	if e.Time().IsZero() {
		want.Time = v.Time // the client makes one up, another one for each time that it sends
	} else {
		want.Time = e.Time().UTC().Format("2006-01-02T15:04:05.000Z")
	}
	for name, value := range e.Extensions() {
		if want.Extensions == nil {
			want.Extensions = make(map[string]string)
		}
		want.Extensions[name] = fmt.Sprint(value)
	}
	if e.DataSchema() != "" {
		want.Extensions["dataschema"] = e.DataSchema()
	}
	if fmt.Sprint(*v) != fmt.Sprint(want) {
		t.Errorf("%s is shown as\n%+v; want\n%+v", e.ID(), *v, want)
	}
}

// What the SDK holds for wrong is refused, attribute by attribute.
func TestWhatTheSDKRefusesIsRefused(t *testing.T) {
	t.Parallel()
	c := run(t, "")
	for _, name := range []string{"id", "source", "type"} {
		text, err := eventsOfSDK(t, "wrong")[0].MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		var members map[string]any
		if err := json.Unmarshal(text, &members); err != nil {
			t.Fatal(err)
		}
		delete(members, name)
		if text, err = json.Marshal(members); err != nil {
			t.Fatal(err)
		}
		var e cloudevents.Event
		if err := json.Unmarshal(text, &e); err == nil && e.Validate() == nil {
			t.Fatalf("the SDK finds nothing wrong without %s", name)
		}
		a := c.post(open, string(text), "Content-Type", ofCloudEvent)
		wantProblem(t, a, http.StatusUnprocessableEntity)
		if !strings.Contains(string(a.body), fmt.Sprintf(`{"pointer":"/%s","detail":`, name)) {
			t.Errorf("%s: %s", name, a)
		}
	}
}
