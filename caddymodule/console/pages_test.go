package console_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/storage/storagetest"
)

// crawl follows every link from the first page, and returns the pages that were found.
func (w *world) crawl() map[string]string {
	w.t.Helper()
	found := make(map[string]string)
	open := []string{w.site.Mount}
	for len(open) > 0 {
		at := open[0]
		open = open[1:]
		if _, ok := found[at]; ok {
			continue
		}
		recorder := w.ask(request(http.MethodGet, at))
		if recorder == nil || recorder.Code != http.StatusOK {
			w.t.Fatalf("%s leads nowhere: %+v", at, recorder)
		}
		found[at] = recorder.Body.String()
		if !strings.HasPrefix(recorder.Header().Get("Content-Type"), "text/html") {
			continue
		}
		base, err := url.Parse(at)
		if err != nil {
			w.t.Fatal(err)
		}
		elements(w.t, found[at], func(name string, attributes map[string]string) {
			for _, attribute := range []string{"href", "src", "action"} {
				link, ok := attributes[attribute]
				if !ok {
					continue
				}
				u, err := url.Parse(link)
				if err != nil || u.IsAbs() || u.Host != "" || strings.HasPrefix(u.Path, "/") {
					w.t.Errorf("%s links to %q", at, link)
					continue
				}
				to := base.ResolveReference(u)
				to.Fragment = ""
				if !strings.HasPrefix(to.Path, w.site.Mount) {
					w.t.Errorf("%s links to %s, outside of %s", at, to, w.site.Mount)
				}
				if name != "form" || attributes["method"] != "post" {
					open = append(open, to.String())
				}
			}
		})
	}
	return found
}

// Every page is reached from the first one, wherever the console stands, and no link leads
// out of it.
func TestEveryPageIsReachedUnderAnyPath(t *testing.T) {
	for _, mount := range []string{"/", "/ops/", "/a/b/"} {
		run(t, func(w *world) {
			w.site.Mount = mount
			for range 3 {
				w.publish("order.paid", `{"customer":{"email":"a@example.com"}}`)
			}
			found := w.crawl()
			var paths []string
			for target := range found {
				path, _, _ := strings.Cut(strings.TrimPrefix(target, w.site.Mount), "?")
				paths = append(paths, path)
			}
			for _, wanted := range []string{"", "deliveries", "events", "subscriptions", "system", "try", "add", "jobs", "subscriptions/well", "assets/pico.min.css", "assets/console.js", "assets/htmx.min.js"} {
				if !slices.Contains(paths, wanted) {
					t.Errorf("%q is not reached from %s", wanted, w.site.Mount)
				}
			}
			for _, part := range []string{"events/evt_", "/deliveries/well", "/data"} {
				if !slices.ContainsFunc(paths, func(p string) bool { return strings.Contains(p, part) }) {
					t.Errorf("no %s is reached", part)
				}
			}
		})
	}
}

// What is not the console's goes to whoever stands behind it.
func TestTheRestIsPassedOn(t *testing.T) {
	run(t, func(w *world) {
		for _, target := range []string{"/v1/events", "/v1/events/evt_1", "/openapi.json", "/livez", "/readyz", "/egress.json", "/deliveries/", "/events/", "/assets/", "/index.html", "//", "/subscriptions/a/b"} {
			if w.ask(request(http.MethodGet, target)) != nil {
				t.Errorf("%s was answered", target)
			}
		}
		w.site.Mount = "/ops/"
		for _, target := range []string{"/", "/deliveries", "/opsx/", "/ops"} {
			if w.ask(request(http.MethodGet, target)) != nil {
				t.Errorf("%s was answered", target)
			}
		}
	})
}

// No page says anything that its policy forbids, whatever is asked for.
func TestEveryAnswerIsUnderThePolicy(t *testing.T) {
	run(t, func(w *world) {
		w.publish("order.paid", `{}`)
		targets := []string{"/events/evt_none", "/subscriptions/none", "/deliveries?state=nonsense", "/deliveries?cursor=x", "/assets/none", "/events/" + w.publish("a", "1") + "?explain=none"}
		for target := range w.crawl() {
			targets = append(targets, target)
		}
		for _, target := range targets {
			for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodPost} {
				recorder := w.ask(request(method, target))
				h := recorder.Header()
				policy := h.Get("Content-Security-Policy")
				if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || !strings.Contains(policy, "frame-ancestors 'none'") {
					t.Errorf("%s %s: policy %q", method, target, policy)
				}
				if !strings.HasPrefix(target, "/assets/") && h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" {
					t.Errorf("%s %s: %v", method, target, h)
				}
				if method == http.MethodPut && recorder.Code != http.StatusMethodNotAllowed {
					t.Errorf("PUT %s: %d", target, recorder.Code)
				}
				if !strings.HasPrefix(h.Get("Content-Type"), "text/html") {
					continue
				}
				elements(t, recorder.Body.String(), func(name string, attributes map[string]string) {
					if name == "style" || name == "script" && attributes["src"] == "" || name == "iframe" || name == "base" {
						t.Errorf("%s has an element %s", target, name)
					}
					for attribute := range attributes {
						if attribute == "style" || strings.HasPrefix(attribute, "on") || strings.HasPrefix(attribute, "hx-on") {
							t.Errorf("%s has an attribute %s", target, attribute)
						}
					}
				})
			}
		}
	})
}

func TestWhatIsNotThereIsSaid(t *testing.T) {
	run(t, func(w *world) {
		id := w.publish("order.paid", `{}`)
		for target, want := range map[string]int{
			"/events/evt_00000000000000000000": 404, "/events/nonsense": 404, "/subscriptions/none": 404, delivery(id, "none"): 404,
			"/assets/none": 404, "/deliveries?state=lost": 400, "/deliveries?since=yesterday": 400, "/deliveries?until=-5m": 400,
			"/deliveries?cursor=x": 400, "/events?cursor=x": 400, "/events?since=1x": 400, "/events?until=x": 400, "/events/" + id + "?from=-1": 400,
			"/events/" + id + "?from=9": 400, "/events/" + id + "?explain=none": 404, "/subscriptions?show=x": 400, "/subscriptions?from=x": 400,
		} {
			if got := w.ask(request(http.MethodGet, target)).Code; got != want {
				t.Errorf("%s: %d, want %d", target, got, want)
			}
		}
	})
}

// A filter that cannot be read stands there again, to be mended.
func TestAWrongFilterIsMendedWhereItStands(t *testing.T) {
	run(t, func(w *world) {
		for target, want := range map[string]string{
			"/deliveries?since=tomorrow&type=order.paid": `Since: "tomorrow" is neither a time`,
			"/deliveries?state=lost&type=order.paid":     `There is no state "lost".`,
			"/events?until=tomorrow&type=order.paid":     `Until: "tomorrow" is neither a time`,
		} {
			page := w.ask(request(http.MethodGet, target)).Body.String()
			if !strings.Contains(words(t, page), want) || !strings.Contains(page, `value="order.paid"`) || !strings.Contains(page, `role="alert"`) {
				t.Errorf("%s: %s", target, words(t, page))
			}
		}
	})
}

func TestTheFirstPageSaysWhatIsWrong(t *testing.T) {
	run(t, func(w *world) {
		w.setup.warnings = []string{"something is <odd>"}
		w.wants("/", "Nothing leaves from 192.0.2.10", "it is not on this machine", "1 warning", "something is <odd>", "Nothing: every subscription takes its deliveries.", "There are none. Send an event")
		w.answers["sick"] = nil
		w.publish("order.paid", `{}`)
		w.wants("/", "sick", "failing since", "order.paid", "1 min ago")
	})
}

func TestDeliveriesAreFilteredByTheURL(t *testing.T) {
	run(t, func(w *world) {
		w.publish("order.paid", `{}`)
		w.publish("customer.created", `{}`)
		for target, want := range map[string]string{
			"/deliveries":                                            "customer.created well, customer.created sick, customer.created paused, order.paid well, order.paid sick, order.paid paused",
			"/deliveries?state=failed":                               "customer.created sick, order.paid sick",
			"/deliveries?state=held&type=Order.Paid":                 "order.paid paused",
			"/deliveries?subscription=well":                          "customer.created well, order.paid well",
			"/deliveries?subscription=well&type=customer.created":    "customer.created well",
			"/deliveries?subscription=well&since=90s":                "customer.created well",
			"/deliveries?until=90s&state=delivered":                  "order.paid well",
			"/deliveries?since=2000-01-01&until=2000-01-01+00:00:30": "order.paid well, order.paid sick, order.paid paused",
			"/deliveries?subscription=nobody":                        "",
		} {
			if got := strings.Join(w.rows(target), ", "); got != want {
				t.Errorf("%s: %s", target, got)
			}
		}
		w.wants("/deliveries?type=nothing", "No delivery matches the filter.")
	})
}

// rows returns event and subscription of the rows of a list of deliveries.
func (w *world) rows(target string) []string {
	w.t.Helper()
	var rows []string
	elements(w.t, w.get(target), func(name string, attributes map[string]string) {
		_, rest, ok := strings.Cut(attributes["href"], "events/evt_")
		if name != "a" || !ok {
			return
		}
		id, subscription, _ := strings.Cut(rest, "/deliveries/")
		e, err := w.engine.Event(context.Background(), "evt_"+id)
		if err != nil {
			w.t.Fatal(err)
		}
		rows = append(rows, e.Type+" "+subscription)
	})
	return rows
}

// A list is read page by page; no page is slower because of those before it.
func TestListsGoOn(t *testing.T) {
	run(t, func(w *world) {
		w.setup.names = []string{"well"}
		w.attach()
		var events []relay.Publication
		for i := range 120 {
			events = append(events, relay.Publication{Event: &relay.Event{Type: fmt.Sprintf("n.%d", i), ContentType: "application/json", Data: []byte("1")}})
		}
		if _, err := w.engine.Publish(context.Background(), events, nil); err != nil {
			t.Fatal(err)
		}
		w.wait(time.Minute)
		for _, list := range []string{"/deliveries", "/deliveries?subscription=well", "/events"} {
			seen, pages := 0, 0
			for target := list; target != ""; pages++ {
				page := w.get(target)
				here := target
				target = ""
				elements(t, page, func(name string, attributes map[string]string) {
					href := attributes["href"]
					if strings.Contains(href, "/evt_") {
						seen++
					}
					if strings.HasPrefix(href, "?") && strings.Contains(href, "cursor=") {
						target, _, _ = strings.Cut(here, "?")
						target += href
					}
				})
			}
			if seen != 120 || pages != 3 {
				t.Errorf("%s: %d rows on %d pages", list, seen, pages)
			}
		}
	})
}

func TestADeliveryTellsItsStory(t *testing.T) {
	run(t, func(w *world) {
		id := w.publish("order.paid", `{"n":1}`)
		w.wants(delivery(id, "sick"), "failed", "All attempts that its schedule allows have failed.", "Attempt 3", "Attempt 2", "Attempt 1", "500", "<script>alert('answer')</script>",
			"webhook-id", id, "X-Key ***", "standard secret={env.SECRET}", "POST https://example.com/{env.HOOK}", `curl --request POST 'https://example.com/{env.HOOK}'`, `--data-binary '{"n":1}'`)
		w.wants(delivery(id, "paused"), "held", "The subscription is paused.", "None was made yet.")
		w.wants(delivery(id, "well"), "delivered", "thanks", "Attempt 1")
		for _, name := range []string{"well", "sick"} {
			if page := w.get(delivery(id, name)); strings.Contains(page, "header-secret") || strings.Contains(page, "secret-path") {
				t.Errorf("%s shows a secret", name)
			}
		}
	})
}

// What happens within moments is seen without loading the page again: the answer to a test
// event, say. What waits for a time that is known stays as it is.
func TestADeliveryIsFollowedWhileItIsDue(t *testing.T) {
	run(t, func(w *world) {
		asked, answered := make(chan struct{}), make(chan struct{})
		w.answers["well"] = func() (*http.Response, error) {
			close(asked)
			<-answered
			return answer(200, "thanks")()
		}
		receipts, err := w.engine.Publish(context.Background(), []relay.Publication{{Event: &relay.Event{Type: "order.paid", Data: []byte("1")}}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		<-asked
		w.wait(0)
		page := delivery(receipts[0].ID, "well")
		follows := func(target string) bool {
			found := false
			elements(t, w.get(target), func(_ string, attributes map[string]string) {
				found = found || attributes["id"] == "delivery" && strings.HasSuffix(attributes["hx-get"], target) && attributes["hx-trigger"] != ""
			})
			return found
		}
		if !follows(page) {
			t.Errorf("a delivery that is being made is not followed:\n%s", w.get(page))
		}
		if sick := delivery(receipts[0].ID, "sick"); follows(sick) {
			t.Errorf("a delivery that waits for its time is followed:\n%s", w.get(sick))
		}
		close(answered)
		w.wait(time.Minute)
		if follows(page) {
			t.Errorf("a delivery that is over is followed:\n%s", w.get(page))
		}
	})
}

func TestAnEventSaysWhyItWasNotMeantForSomebody(t *testing.T) {
	run(t, func(w *world) {
		id := w.publish("order.paid", `{"customer":{"email":"a@example.com"}}`)
		w.wants("/events/"+id, "order.paid", "well", "sick", "Not meant for: filtered", `"email": "a@example.com"`)
		w.wants("/events/"+id+"?explain=filtered", "does not match filtered", "customer.email equals nobody@example.com", "a@example.com", "yes", "no")
		w.wants("/events/"+id+"?explain=well", "matches well")
	})
}

func TestASubscriptionShowsWhatItComesTo(t *testing.T) {
	run(t, func(w *world) {
		w.publish("order.paid", `{}`)
		w.wants("/subscriptions", "4 subscriptions", "well", "paused", "filtered")
		w.wants("/subscriptions?show=failed", "1 subscription", "sick")
		w.wants("/subscriptions?name=ELL", "1 subscription", "well")
		w.wants("/subscriptions?show=gone", "No subscription matches the filter.")
		w.wants("/subscriptions/paused", "until <b>Friday</b>", "https://example.com/{env.HOOK}", "standard secret={env.SECRET}", "defaults", "Backlog 1")
		w.setup.names = []string{"well"}
		w.attach()
		w.wants("/subscriptions/paused", "gone", "The configuration has no subscription of this name.")
	})
}

func TestTheSystemPageShowsAddressesAndSpace(t *testing.T) {
	run(t, func(w *world) {
		w.wants("/system", "192.0.2.10", "198.51.100.10", "down", "it is not on this machine", "Engine memory", "Events stored so far 0")
	})
}

// Relays that share a storage are shown; where there is one there is nothing to show.
func TestTheSystemPageShowsRelaysOfOneStorage(t *testing.T) {
	cluster := storagetest.NewCluster(time.Now)
	runOn(t, func() relay.Store { return cluster.Open() }, func(w *world) {
		w.wants("/system", "Relays", "m1 this one", "Subscriptions Last seen")
	})
	run(t, func(w *world) {
		if strings.Contains(w.get("/system"), "Those that share this storage") {
			t.Error("one relay is shown as several")
		}
	})
}

// Long lists of subscriptions have pages, and an event that was meant for many, too.
func TestManySubscriptions(t *testing.T) {
	run(t, func(w *world) {
		w.setup.names = nil
		for i := range 230 {
			w.setup.names = append(w.setup.names, fmt.Sprintf("s%03d", i))
		}
		w.attach()
		id := w.publish("order.paid", `{}`)
		w.wants("/subscriptions", "230 subscriptions", "s099", "Next")
		w.wants("/subscriptions?from=200", "s229", "Previous")
		w.wants("/events/"+id, "s049", "Next")
		w.wants("/events/"+id+"?from=200", "s229", "Previous")
		w.setup.names = append(w.setup.names, "t000")
		for i := range 110 {
			w.setup.names = append(w.setup.names, fmt.Sprintf("u%03d", i))
		}
		w.attach()
		w.wants("/events/"+id, "t000", "u098", "And more: ask for one of them by its name.")
	})
}
