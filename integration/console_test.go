package integration

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// withConsoles adds a site with consoles to an instance, and returns its URL.
func withConsoles(t testing.TB) (option, string) {
	port := freePort(t)
	sites := fmt.Sprintf(`
http://:%d {
	bind 127.0.0.1
	handle_path /ops/* {
		basic_auth {
			# hiccup
			ops $2a$14$Zkx19XLiW6VYouLHR5NmfOFU0z2GTNmpkT/5qqR7hx4IjWJPDhjvG
		}
		relay_console
	}
	handle /whole/* {
		relay_console {
			read_only
			redact customer.email
		}
	}
	handle {
		relay_console
	}
}
`, port)
	return func(c *instance) { c.sites = sites }, fmt.Sprintf("http://127.0.0.1:%d/", port)
}

// story is a relay with something of everything.
func story(t testing.TB) (c *instance, url string, event receipt) {
	t.Helper()
	well, sick := newReceiver(t), newReceiver(t)
	sick.answer(with(http.StatusServiceUnavailable))
	consoles, url := withConsoles(t)
	c = run(t, fmt.Sprintf(`
		region here 127.0.0.1
		region away 192.0.2.77 {
			egress 127.0.0.9 from 2099-01-01T00:00:00Z
		}
		defaults {
			allow_ips 127.0.0.1
			region here
			retry off
		}
		subscription well %s {
			description "takes everything"
		}
		subscription sick %s order.* {
			secret_header X-Key hush-hush
		}
		subscription picky %[1]s {
			filter customer.email equals nobody@example.com
		}
		subscription held-for-a-reason-that-takes-a-long-name-to-be-told-in-one-line %[1]s order.* {
			paused "until <b>Friday</b>"
		}
		subscription away %[1]s order.* {
			region away
		}
`, well.url(), sick.url()), consoles)
	event = c.accept("order.paid", `{"order":42,"note":"</code><script>alert(1)</script><img src=x onerror=alert(2)>","customer":{"email":"zoe@example.com"}}`)
	c.accept("invoice.<svg>", `"a<b"`)
	for range 60 {
		c.accept("order.sent", `{}`)
	}
	c.wantDelivery(event.ID, "sick", "failed", "schedule")
	c.wantDelivery(event.ID, "well", "delivered", "")
	return c, url, event
}

// screens are the paths of all pages of a story.
func screens(event receipt) map[string]string {
	one := "events/" + event.ID
	return map[string]string{
		"overview": "", "deliveries": "deliveries", "filtered": "deliveries?state=failed&subscription=sick", "nothing": "deliveries?type=none",
		"live": "deliveries?live=1", "failed": one + "/deliveries/sick", "delivered": one + "/deliveries/well", "held": one + "/deliveries/away",
		"events": "events", "event": one + "?explain=picky", "hidden": one + "?payload=hide", "subscriptions": "subscriptions", "subscription": "subscriptions/sick",
		"pause": "subscriptions/sick/pause", "drop": "subscriptions/away/drop", "recover": "subscriptions/sick/recover", "replay": one + "/deliveries/well/replay",
		"jobs": "jobs", "system": "system", "try": "try?event=" + event.ID, "add": "add",
	}
}

// Every screen, in light and dark, on a desk and on a phone: nothing that the policy
// forbids, no error of a script, no finding of axe, and nothing wider than the window.
func TestConsoleScreens(t *testing.T) {
	t.Parallel()
	_, url, event := story(t)
	b := openTab(t)
	for _, scheme := range []string{"light", "dark"} {
		for _, width := range []int64{1280, 390} {
			b.look(scheme, width)
			for name, path := range screens(event) {
				what := fmt.Sprintf("%s, %s, %d px", name, scheme, width)
				b.open(url + path)
				if dark := evaluate[string](b, "getComputedStyle(document.documentElement).backgroundColor"); (dark == "rgb(19, 23, 31)") != (scheme == "dark") {
					t.Errorf("%s: the background is %s", what, dark)
				}
				if over := evaluate[int](b, "document.documentElement.scrollWidth - document.documentElement.clientWidth"); over > 0 {
					t.Errorf("%s: %d px wider than the window", what, over)
				}
				b.accessible(what)
				b.calm()
			}
		}
	}
}

func TestConsoleGestures(t *testing.T) {
	t.Parallel()
	c, url, event := story(t)
	b := openTab(t)
	b.look("light", 1280)

	// A failed delivery is found by a filter, and replayed.
	b.open(url)
	b.click(`nav a[href$="deliveries"]`)
	b.wait("Event type")
	b.choose(`select[name=state]`, "failed")
	b.fill(`input[name=type]`, "order.paid")
	b.click(`form.filter button`)
	eventually(t, func() bool {
		search := b.search()
		return search.Get("state") == "failed" && search.Get("type") == "order.paid"
	}, func() string { return fmt.Sprint("the filter is not in the URL: ", b.search()) })
	b.wait("order.paid", "503")
	b.click(`table.rows tbody a[href*="/deliveries/sick"]`)
	b.wait("order.paid to sick", "Attempt 1")
	b.click(`form[action$="/replay"] button`)
	b.wait("The delivery was reopened", "Attempt 2")

	// Steering.
	b.open(url + "subscriptions/well")
	b.click(`a[href$="/pause"]`)
	b.fill(`input[name=reason]`, "for a while")
	b.click(`form.ask button`)
	b.wait("The subscription is paused.", "for a while")
	b.click(`form[action$="/resume"] button`)
	b.wait("The subscription is resumed")
	b.click(`form[action$="/test"] button`)
	b.wait("A test event was sent.", "relay.test to well", "delivered")

	// Many at once, watched and cancelled.
	b.open(url + "subscriptions/well/recover")
	b.click(`input[value=all]`)
	b.click(`form.ask button`)
	b.wait("Replay of all to well", "done", "replayed")

	// What waits is given up, after a question.
	b.open(url + "subscriptions/away")
	b.click(`a[href$="/drop"]`)
	b.wait("is given up")
	b.click(`button.grave`)
	b.wait("What waited was given up.")
	if got := c.subscription("away"); got.Pending != 0 || got.Failed == 0 {
		t.Errorf("%+v", got)
	}

	// An event by hand: first whom it would be meant for, then it is sent.
	b.open(url + "try")
	b.fill(`input[name=type]`, "order.tried")
	b.click(`button[value=check]`)
	b.wait("It would be meant for", "sick")
	b.click(`button[value=send]`)
	b.wait("The event is stored.", "order.tried")

	// A webhook for the Caddyfile, judged as the Caddyfile is.
	b.open(url + "add")
	b.fill(`input[name=name]`, "sick")
	b.fill(`input[name=url]`, "https://crm.example.com/hooks")
	b.fill(`input[name=topics]`, "order.*")
	b.choose(`select[name=region]`, "here")
	b.click(`form.ask button`)
	b.wait("the configuration has one of this name already")
	b.fill(`input[name=name]`, "two-")
	b.fill(`textarea[name=filters]`, "order equals 42")
	b.click(`form.ask button`)
	b.wait("For the Caddyfile", "subscription two-sick https://crm.example.com/hooks order.* {", "filter order equals 42", "would have been meant for it")

	// Why somebody did not get an event.
	b.open(url + "events/" + event.ID)
	b.click(`ul.names a[href*="explain=picky"]`)
	b.wait("does not match picky", "customer.email equals nobody@example.com", "zoe@example.com")
}

// A list that is followed shows what happens, and can be paused.
func TestConsoleLive(t *testing.T) {
	t.Parallel()
	c, url, _ := story(t)
	b := openTab(t)
	b.open(url + "deliveries")
	b.click(`p.live a`)
	b.wait("Live: what becomes of deliveries")
	// The stream is open once something has come by it.
	eventually(t, func() bool {
		c.accept("live.first", `{}`)
		time.Sleep(100 * time.Millisecond)
		return strings.Contains(b.text(), "live.first")
	}, b.text)
	b.click(`#live-pause`)
	c.accept("live.second", `{}`)
	eventually(t, func() bool { return !strings.Contains(b.text(), "Paused, 0 new") }, b.text)
	if strings.Contains(b.text(), "live.second") {
		t.Error("it is shown although the list is paused")
	}
	b.click(`#live-pause`)
	b.wait("live.second", "Live:")
	b.accessible("live")
	// What came last stands above what came before, whatever else is retried meanwhile.
	if first := evaluate[string](b, `[...document.querySelectorAll("#rows tr")].map(r => r.innerText).filter(t => /live\.[^]*\bwell\b/.test(t))[0]`); !strings.Contains(first, "live.second") {
		t.Errorf("on top stands %s", first)
	}
}

// Nothing needs JavaScript.
func TestConsoleWithoutJavaScript(t *testing.T) {
	t.Parallel()
	_, url, event := story(t)
	b := openTab(t)
	b.noScripts()
	for _, path := range screens(event) {
		b.open(url + path)
		b.wait("Caddy Relay", "Overview")
	}
	b.open(url + "deliveries")
	b.fill(`input[name=type]`, "order.paid")
	b.click(`form.filter button`)
	b.wait("order.paid")
	b.open(url + "subscriptions/sick/recover")
	b.click(`form.ask button`)
	b.wait("Replay of failed to sick", "done") // it comes up to date by itself
	b.open(url + "subscriptions/sick")
	b.click(`a[href$="/pause"]`)
	b.click(`form.ask button`)
	b.wait("The subscription is paused.")
}

// Under a prefix that is cut off, behind authentication, and under one that is not.
func TestConsoleUnderAPrefix(t *testing.T) {
	t.Parallel()
	_, url, event := story(t)
	b := openTab(t)
	b.open(strings.Replace(url, "//", "//ops:hiccup@", 1) + "ops/")
	b.wait("Newest deliveries")
	b.click(`nav a[href$="subscriptions"]`)
	b.click(`table.rows a[href$="subscriptions/sick"]`)
	b.click(`form[action$="/test"] button`)
	b.wait("A test event was sent.")
	if got := evaluate[string](b, "location.pathname"); !strings.HasPrefix(got, "/ops/events/") {
		t.Errorf("it led to %s", got)
	}
	b.open(url + "whole/events/" + event.ID)
	b.wait(`"email": "[redacted]"`, "read only")
	if text := b.text(); strings.Contains(text, "zoe@example.com") {
		t.Error("what is redacted is shown")
	}
	b.click(`table.rows a[href*="/deliveries/sick"]`)
	b.wait("order.paid to sick")
	if n := evaluate[int](b, `document.querySelectorAll("form[method=post]").length`); n > 0 {
		t.Errorf("%d forms in a console that is read only", n)
	}
}

// All can be reached and done with the keyboard alone.
func TestConsoleByKeyboard(t *testing.T) {
	t.Parallel()
	_, url, _ := story(t)
	b := openTab(t)
	b.open(url)
	focused := func() string {
		return evaluate[string](b, `document.activeElement?.innerText ?? ""`)
	}
	b.keys("\t")
	if got := focused(); got != "Skip to the content" {
		t.Errorf("first comes %q", got)
	}
	if hidden := evaluate[bool](b, `document.activeElement.getBoundingClientRect().left < 0`); hidden {
		t.Error("the link to the content is not seen when it has the focus")
	}
	for range 30 {
		if focused() == "Subscriptions" {
			break
		}
		b.keys("\t")
	}
	b.keys("\r")
	b.wait("5 subscriptions")
	for range 30 {
		if focused() == "sick" {
			break
		}
		b.keys("\t")
	}
	b.keys("\r")
	b.wait("Send a test")
	for range 30 {
		if focused() == "Send a test" {
			break
		}
		b.keys("\t")
	}
	b.keys("\r")
	b.wait("A test event was sent.")
}
