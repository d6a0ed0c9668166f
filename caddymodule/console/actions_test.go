package console_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// form is what a browser posts for the page that it shows.
func form(target string, pairs ...string) *http.Request {
	values := url.Values{}
	for i := 0; i+1 < len(pairs); i += 2 {
		values.Set(pairs[i], pairs[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, "http://localhost:4665"+target, strings.NewReader(values.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", "http://localhost:4665")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	return from(r, request(http.MethodGet, "/").Context().Value(http.LocalAddrContextKey).(netAddr))
}

type netAddr interface {
	Network() string
	String() string
}

// post posts a form, and returns the page that follows.
func (w *world) post(target string, pairs ...string) string {
	w.t.Helper()
	recorder := w.ask(form(target, pairs...))
	if recorder == nil || recorder.Code != http.StatusSeeOther {
		w.t.Fatalf("%s: %+v", target, recorder)
	}
	base := &url.URL{Path: target}
	to, err := base.Parse(recorder.Header().Get("Location"))
	if err != nil {
		w.t.Fatal(err)
	}
	return to.RequestURI()
}

func TestASubscriptionIsSteered(t *testing.T) {
	run(t, func(w *world) {
		w.wants("/subscriptions/well/pause", "Deliveries to well are held", "Reason")
		w.wants(w.post("/subscriptions/well/pause", "reason", "maintenance <until> noon"), "The subscription is paused.", "maintenance <until> noon", "Resume")
		id := w.publish("order.paid", `{}`)
		w.wants(delivery(id, "well"), "held")
		w.wants(w.post("/subscriptions/well/resume"), "The subscription is resumed")
		w.wait(time.Second)
		w.wants(delivery(id, "well"), "delivered")

		w.wants("/subscriptions/paused/drop", "All that waits for paused is given up: 1 at present")
		w.wants(w.post("/subscriptions/paused/drop"), "What waited was given up.", "Failed for good 1")
		w.wants(w.post("/subscriptions/well/test"), "A test event was sent.", "relay.test")

		for target, want := range map[string]int{
			"/subscriptions/paused/resume":   http.StatusConflict, // the configuration pauses it
			"/subscriptions/none/pause":      http.StatusNotFound,
			"/subscriptions/none/test":       http.StatusNotFound,
			"/jobs/none/cancel":              http.StatusNotFound,
			delivery(id, "none") + "/replay": http.StatusNotFound,
		} {
			if got := w.ask(form(target)).Code; got != want {
				t.Errorf("%s: %d, want %d", target, got, want)
			}
		}
	})
}

func TestADeliveryIsReplayed(t *testing.T) {
	run(t, func(w *world) {
		id := w.publish("order.paid", `{}`)
		w.answers["sick"] = answer(200, "")
		w.wants(w.post(delivery(id, "sick")+"/replay"), "The delivery was reopened")
		w.wait(time.Second)
		w.wants(delivery(id, "sick"), "delivered", "Attempt 4", "Replay…")
		w.wants(delivery(id, "sick")+"/replay", "is delivered to sick once more")
		if got := w.ask(form(delivery(id, "paused") + "/replay")).Code; got != http.StatusConflict {
			t.Errorf("what is not finished: %d", got)
		}
	})
}

func TestManyAreReplayedByAJob(t *testing.T) {
	run(t, func(w *world) {
		for range 4 {
			w.publish("order.paid", `{}`)
		}
		w.wants("/jobs", "There are none.")
		w.wants("/subscriptions/sick/recover", "4 deliveries failed for good so far.", "Failed: deliveries that were given up")
		w.answers["sick"] = answer(200, "")
		job := w.post("/subscriptions/sick/recover", "select", "failed", "since", "150s", "until", "30s")
		w.wait(time.Second)
		w.wants(job, "done", "2 of 2 looked at, 2 replayed")
	})
}

func TestAJobIsWatchedAndCancelled(t *testing.T) {
	run(t, func(w *world) {
		var many []relay.Publication
		for range 500 {
			many = append(many, relay.Publication{Event: &relay.Event{Type: "order.paid", ContentType: "application/json", Data: []byte("1")}})
		}
		if _, err := w.engine.Publish(context.Background(), many, nil); err != nil {
			t.Fatal(err)
		}
		w.wait(time.Hour)
		job := w.post("/subscriptions/well/recover", "select", "all")
		w.wait(time.Second)
		w.wants(job, "running", "of 500 looked at", "Cancel")
		if page := w.get(job); !strings.Contains(page, `http-equiv="refresh"`) || !strings.Contains(page, `hx-trigger="every 1s"`) {
			t.Error("it does not come up to date by itself")
		}
		w.wants(w.post(job+"/cancel"), "The job is cancelled.", "cancelled")
		w.wants("/jobs", "well", "all", "cancelled")

		w.wants(w.post("/subscriptions/well/recover", "select", "missing"), "Replay of missing")
		if got := w.ask(form("/subscriptions/well/recover", "select", "none")).Code; got != http.StatusBadRequest {
			t.Errorf("an unknown selection: %d", got)
		}
		if r := w.ask(form("/subscriptions/well/recover", "select", "all", "since", "yesterday")); r.Code != http.StatusOK || !strings.Contains(r.Body.String(), "is neither a time") {
			t.Errorf("an unknown time: %d %s", r.Code, r.Body)
		}
	})
}

// actions are all that change something.
func actions(id string) []string {
	return []string{
		delivery(id, "sick") + "/replay", "/subscriptions/well/pause", "/subscriptions/well/resume", "/subscriptions/well/test",
		"/subscriptions/paused/drop", "/subscriptions/well/recover", "/jobs/job_1/cancel",
	}
}

// Another site's page may make a browser post a form; nothing comes of it.
func TestOnlyItsOwnPagesChangeSomething(t *testing.T) {
	run(t, func(w *world) {
		id := w.publish("order.paid", `{}`)
		for _, target := range actions(id) {
			for _, foreign := range []struct{ field, value string }{
				{"Origin", "http://evil.test"}, {"Origin", "null"}, {"Origin", "http://localhost:4666"}, {"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
			} {
				r := form(target)
				r.Header.Set(foreign.field, foreign.value)
				if got := w.ask(r).Code; got != http.StatusForbidden {
					t.Errorf("%s from %+v: %d", target, foreign, got)
				}
			}
			if got := w.ask(from(form(target), network)).Code; got != http.StatusForbidden {
				t.Errorf("%s from elsewhere: %d", target, got)
			}
		}
		w.wants("/subscriptions/well", "active", "Backlog 0")
		w.wants(delivery(id, "sick"), "Attempts 3")
	})
}

func TestReadOnlyChangesNothing(t *testing.T) {
	run(t, func(w *world) {
		id := w.publish("order.paid", `{}`)
		w.options.ReadOnly = true
		for _, target := range actions(id) {
			if got := w.ask(form(target, "select", "all")).Code; got != http.StatusForbidden {
				t.Errorf("%s: %d", target, got)
			}
		}
		for target, page := range w.crawl() {
			elements(t, page, func(name string, attributes map[string]string) {
				if name == "form" && attributes["method"] == "post" && target != "/add" { // which saves nothing
					t.Errorf("%s has a form for %s", target, attributes["action"])
				}
			})
		}
		w.wants("/", "read only")
	})
}
