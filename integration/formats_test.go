package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

const (
	ofCloudEvent  = "application/cloudevents+json"
	ofCloudEvents = "application/cloudevents-batch+json; charset=utf-8"
	ofLines       = "application/x-ndjson"
)

// acceptedBatch reads a 202 that answers a batch.
func (c *instance) acceptedBatch(a answer) []receipt {
	c.t.Helper()
	var batch struct {
		Events []receipt `json:"events"`
	}
	if a.err != nil || a.status != http.StatusAccepted || json.Unmarshal(a.body, &batch) != nil {
		c.t.Fatalf("posting a batch: %s; want 202", a)
	}
	return batch.Events
}

// extensions returns what is shown as extensions of an event.
func (c *instance) extensions(id string) map[string]string {
	c.t.Helper()
	return decode[struct {
		Extensions map[string]string `json:"extensions"`
	}](c.t, c.get("/relay/events/"+id)).Extensions
}

func TestEventsOfEveryFormArriveAsTheyWerePosted(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("all", r))
	type sent struct{ contentType, body string }
	want := make(map[string]sent)

	binary := c.accepted(c.post(open, " {\"b\" : 1.50e+0}\n", "ce-specversion", "1.0", "ce-id", "1", "ce-source", "/s", "ce-type", "order.paid",
		"ce-subject", "caf%C3%A9", "ce-sampled", "true"))
	want[binary.ID] = sent{"application/json", " {\"b\" : 1.50e+0}\n"}
	image := c.accepted(c.request(http.MethodPost, open, "\x89PNG\r\n\x00\xff", "Content-Type", "image/png",
		"ce-specversion", "1.0", "ce-id", "2", "ce-source", "/s", "ce-type", "image.made"))
	want[image.ID] = sent{"image/png", "\x89PNG\r\n\x00\xff"}
	structured := c.accepted(c.post(open, `{"specversion":"1.0","id":"3","source":"/s","type":"order.paid","n":17,"data": [1 , 1e400] }`, "Content-Type", ofCloudEvent))
	want[structured.ID] = sent{"application/json", `[1 , 1e400]`}
	nothing := c.accepted(c.post(open, `{"specversion":"1.0","id":"4","source":"/s","type":"order.seen"}`, "Content-Type", ofCloudEvent))
	want[nothing.ID] = sent{"", ""}
	batch := c.acceptedBatch(c.post(open, `[{"specversion":"1.0","id":"5","source":"/s","type":"a","data":{ }},
		{"specversion":"1.0","id":"6","source":"/s","type":"b","datacontenttype":"application/xml","data":"<a b=\"\u00e9\"/>"}]`, "Content-Type", ofCloudEvents))
	want[batch[0].ID], want[batch[1].ID] = sent{"application/json", `{ }`}, sent{"application/xml", `<a b="é"/>`}
	lines := c.acceptedBatch(c.post(open, "\n"+`{"type":"c","data": "\u00e9" }`+"\r\n\n"+
		`{"specversion":"1.0","id":"7","source":"/s","type":"d","datacontenttype":"x/y","data_base64":"AAEC"}`, "Content-Type", ofLines))
	want[lines[0].ID], want[lines[1].ID] = sent{"application/json", `"\u00e9"`}, sent{"x/y", "\x00\x01\x02"}
	command := c.relay("send", "by.hand", `{"n" : 1}`, "--subject", "hands", "--json")
	var byHand receipt
	if err := json.Unmarshal([]byte(command.out), &byHand); err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	want[byHand.ID] = sent{"application/json", `{"n" : 1}`}

	for _, a := range r.want(len(want)) {
		if w := want[a.id()]; string(a.body) != w.body || a.header.Get("Content-Type") != w.contentType {
			t.Errorf("%s arrived as %q of type %q; want %q of %q", a.id(), a.body, a.header.Get("Content-Type"), w.body, w.contentType)
		}
	}
	c.drained()
	r.wantExactly(len(want))
	if got := c.extensions(binary.ID); got["sampled"] != "true" || len(got) != 1 {
		t.Errorf("the extensions are shown as %v", got)
	}
	if got := c.extensions(structured.ID); got["n"] != "17" || len(got) != 1 {
		t.Errorf("the extensions are shown as %v", got)
	}
	if e := c.event(binary.ID); e.SourceID != "1" || e.Source != "/s" {
		t.Errorf("the event is shown as %+v", e)
	}
	listed := c.relay("list", "events", "--json")
	if !strings.Contains(listed.out, `"source_id": "3"`) || !strings.Contains(listed.out, `"n": "17"`) {
		t.Errorf("caddy relay list events: %s", listed)
	}
	if got := c.relay("show", binary.ID); !strings.Contains(got.out, "source: /s\n  subject: café\n  sender's id: 1\n  extension sampled: true\n") {
		t.Errorf("caddy relay show: %s", got)
	}
	if got := c.relay("show", byHand.ID); !strings.Contains(got.out, "subject: hands\n") {
		t.Errorf("caddy relay show: %s", got)
	}
	// The admin API takes the same, and answers the same.
	again := c.acceptedBatch(c.adminRequest(http.MethodPost, "/relay/events",
		`[{"specversion":"1.0","id":"5","source":"/s","type":"a","data":{ }}]`, "Content-Type", ofCloudEvents))
	if !again[0].Duplicate || again[0].ID != batch[0].ID {
		t.Errorf("the admin API answers %+v; want a duplicate of %s", again, batch[0].ID)
	}
}

// The answer to a batch may be lost with the process. Whatever became of it then, the same
// batch again is stored once, whole.
func TestBatchesAreStoredWholeAndOnceOverCrashes(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("all", r))
	const size = 200
	var ids []string
	for round := range 4 {
		var b strings.Builder
		for i := range size {
			fmt.Fprintf(&b, `{"type":"order.paid","id":"%d-%d","data":%d}`+"\n", round, i, i)
		}
		post := func() answer {
			return c.post(open, b.String(), "Content-Type", ofLines, "Idempotency-Key", fmt.Sprint("batch-", round))
		}
		answered := make(chan answer, 1)
		if round%2 == 0 {
			answered <- post()
			c.kill()
		} else {
			go func() { answered <- post() }()
			c.kill() // at some moment of it
		}
		first := <-answered
		c.start()
		events := c.acceptedBatch(post())
		if len(events) != size {
			t.Fatalf("%d events of %d", len(events), size)
		}
		for i, e := range events {
			if e.Duplicate != events[0].Duplicate {
				t.Fatalf("a part of the batch was stored: %+v", events)
			}
			if first.status == http.StatusAccepted && c.acceptedBatch(first)[i].ID != e.ID {
				t.Fatalf("event %d was answered as another one before the crash", i)
			}
			ids = append(ids, e.ID)
		}
	}
	c.drained()
	seen := make(map[string]bool)
	for _, a := range r.got() {
		seen[a.id()] = true
	}
	if len(seen) != len(ids) {
		t.Errorf("%d events arrived; want %d", len(seen), len(ids))
	}
	if all := c.events(); len(all) != len(ids) {
		t.Errorf("%d events are stored; want %d", len(all), len(ids))
	}
}

func TestConcurrentRepeatsAreOneEvent(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := run(t, subscribed("all", r))
	for form, post := range map[string]func() answer{
		"header":   func() answer { return c.post(ofType, `1`, "Idempotency-Key", "k") },
		"envelope": func() answer { return c.post(open, `{"type":"order.paid","id":"k","data":1}`) },
		"CloudEvent": func() answer {
			return c.post(open, `1`, "ce-specversion", "1.0", "ce-id", "k", "ce-source", "/s", "ce-type", "order.paid")
		},
	} {
		const callers = 32
		answers := make([]answer, callers)
		var wait sync.WaitGroup
		for i := range callers {
			wait.Go(func() { answers[i] = post() })
		}
		wait.Wait()
		fresh, first := 0, c.accepted(answers[0])
		for _, a := range answers {
			got := c.accepted(a)
			if got.ID != first.ID {
				t.Errorf("%s: two answers: %s and %s", form, got.ID, first.ID)
			}
			if !got.Duplicate {
				fresh++
			}
		}
		if fresh != 1 {
			t.Errorf("%s: %d answers are no duplicates; want 1", form, fresh)
		}
	}
	c.drained()
	r.wantExactly(3)
}

// What a client does that is told how much of its batch fits: it sends so many, and the
// rest after them.
func TestBatchesThatDoNotFitAreToldHowMuchDoes(t *testing.T) {
	t.Parallel()
	var many strings.Builder
	for i := range 60 {
		fmt.Fprintf(&many, "subscription s%d https://s%d.example.com/ {\npaused\n}\n", i, i)
	}
	c := run(t, many.String())
	lines := make([]string, 1000)
	for i := range lines {
		lines[i] = fmt.Sprintf(`{"type":"order.paid","id":"%d","data":null}`, i)
	}
	post := func(lines []string) answer { return c.post(open, strings.Join(lines, "\n"), "Content-Type", ofLines) }
	a := post(lines)
	wantProblem(t, a, http.StatusRequestEntityTooLarge)
	if n := len(c.events()); n != 0 {
		t.Errorf("%d events of a batch that was refused are stored", n)
	}
	var p struct{ Fits int }
	if err := json.Unmarshal(a.body, &p); err != nil || p.Fits < 1 || p.Fits >= len(lines) {
		t.Fatalf("fits is %d of %d (%v): %s", p.Fits, len(lines), err, a)
	}
	for sent := 0; sent < len(lines); {
		part := lines[sent:min(sent+p.Fits, len(lines))]
		if got := c.acceptedBatch(post(part)); len(got) != len(part) || len(got[0].Matched) != 60 {
			t.Fatalf("%d answers for %d events", len(got), len(part))
		}
		sent += len(part)
	}
	if n := len(c.events()); n != len(lines) {
		t.Errorf("%d events are stored; want %d", n, len(lines))
	}
	// Each event of a batch is counted by itself.
	c.acceptedBatch(post(lines[:10]))
	metrics := string(c.get("/metrics").body)
	for _, line := range []string{"caddy_relay_events_accepted_total 1000\n", "caddy_relay_events_duplicate_total 10\n", `caddy_relay_events_rejected_total{reason="batch-too-large"} 1` + "\n"} {
		if !strings.Contains(metrics, line) {
			t.Errorf("the metrics lack %q", line)
		}
	}
	// As much as 2 MiB fits.
	large := strings.Repeat(`{"type":"big","data":"`+strings.Repeat("x", 500<<10)+`"}`+"\n", 4)
	if got := c.acceptedBatch(c.post(open, large, "Content-Type", ofLines)); len(got) != 4 {
		t.Errorf("%d answers for 4 large events", len(got))
	}
}

func TestCatalogueIsShownCheckedAndReadAgainByAReload(t *testing.T) {
	t.Parallel()
	r := newReceiver(t)
	c := prepare(t)
	schema := c.write("order.json", `{"required":["order"]}`)
	relay := fmt.Sprintf("event order.paid {\ndescription \"somebody has paid\"\nschema %s\n}\n", schema) + subscribed("all", r)
	c.configure(relay)
	c.start()
	shown := func() string {
		return string(c.request(http.MethodGet, "/v1/event-types", "").body)
	}
	if want := `{"items":[{"type":"order.paid","description":"somebody has paid","schema":{"required":["order"]}}],"next":""}` + "\n"; shown() != want {
		t.Errorf("GET /v1/event-types: %s", shown())
	}
	wantProblem(t, c.post(ofType, `{}`), http.StatusUnprocessableEntity)
	wantProblem(t, c.post(open, `{"type":"ORDER.PAID","data":{}}`), http.StatusUnprocessableEntity)
	// The admin API answers as intake does, and so does the command.
	if a := c.adminRequest(http.MethodPost, "/relay/events", `{"type":"order.paid","data":{}}`); a.status != http.StatusUnprocessableEntity {
		t.Errorf("POST /relay/events: %s", a)
	}
	if got := c.relay("send", "order.paid", `{}`); got.code == 0 || !strings.Contains(got.errors, "order") {
		t.Errorf("caddy relay send: %s", got)
	}
	c.accept("order.paid", `{"order":1}`)
	c.accept("order.seen", `{}`)

	c.write("order.json", `{"required":["id"]}`)
	if got := c.reload("--force"); got.code != 0 { // the configuration itself is unchanged
		t.Fatalf("reloading: %s", got)
	}
	if a := c.post(ofType, `{"order":2}`, "Idempotency-Key", "k"); a.err == nil {
		wantProblem(t, a, http.StatusUnprocessableEntity)
	}
	c.accept("order.paid", `{"id":1}`)
	// One that cannot be read keeps the configuration that is running.
	c.write("order.json", `{`)
	if got := c.reload("--force"); got.code == 0 || !strings.Contains(got.errors, "order.json is not JSON") {
		t.Errorf("reloading: %s", got)
	}
	c.accept("order.paid", `{"id":2}`)
	c.drained()
	r.wantExactly(4)
}
