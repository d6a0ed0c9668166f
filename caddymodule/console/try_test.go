package console_test

import (
	"net/http"
	"strings"
	"testing"
)

func TestAnEventIsTried(t *testing.T) {
	run(t, func(w *world) {
		said := func(pairs ...string) string {
			r := w.ask(form("/try", pairs...))
			if r.Code != http.StatusOK {
				t.Fatalf("%+v: %d", pairs, r.Code)
			}
			return words(t, r.Body.String())
		}
		for _, c := range []struct{ typ, data, do, want string }{
			{"order.paid", `{"customer":{"email":"nobody@example.com"}}`, "check", "It would be meant for well sick paused filtered"},
			{"order.paid", `{}`, "check", "It would be meant for well sick paused Caddy Relay"},
			{"relay.test", `{}`, "check", "is reserved"},
			{"", `{}`, "check", "The event type is missing."},
			{"a", `{`, "check", "The data is no JSON."},
			{"a", " ", "send", "The data is missing"},
			{"refused", `{}`, "send", "the intake refuses it"},
		} {
			if got := said("type", c.typ, "data", c.data, "do", c.do); !strings.Contains(got, c.want) {
				t.Errorf("%+v: %s", c, got)
			}
		}
		w.wants("/events", "There are none yet.")
		w.wants(w.post("/try", "type", "order.paid", "data", `{"n":1}`, "do", "send"), "The event is stored.", "order.paid")
	})
}

func TestTryingBeginsWithAnEventThatThereIs(t *testing.T) {
	run(t, func(w *world) {
		id := w.publish("order.paid", `{"customer":{"email":"a@example.com"}}`)
		if page := w.get("/try?event=" + id); !strings.Contains(page, "a@example.com") || !strings.Contains(page, `value="order.paid"`) {
			t.Error(page)
		}
		w.options.Redact = []string{"customer.email"}
		if page := w.get("/try?event=" + id); strings.Contains(page, "a@example.com") {
			t.Error("what is redacted is in the form")
		}
	})
}

// The form makes lines for the Caddyfile, and holds no secret.
func TestAWebhookIsAdded(t *testing.T) {
	run(t, func(w *world) {
		w.publish("order.paid", `{}`)
		post := func(pairs ...string) string {
			r := w.ask(form("/add", pairs...))
			if r.Code != http.StatusOK {
				t.Fatalf("%+v: %d", pairs, r.Code)
			}
			return words(t, r.Body.String())
		}
		got := post("name", "crm", "url", "https://crm.example.com/", "topics", "order.* customer.created", "region", "eu", "description", `the "CRM" # of the shop`,
			"filters", "customer.country in FR DE\n\n total exists", "headers", "X-Team: shop floor", "auth", "bearer", "auth_secret", "CRM_TOKEN", "sign", "CRM_SECRET")
		for _, line := range []string{
			"subscription crm https://crm.example.com/ order.* customer.created {", `description "the \"CRM\" # of the shop"`, "region eu", "filter customer.country in FR DE", "filter total exists",
			`header X-Team "shop floor"`, "auth bearer {env.CRM_TOKEN}", "sign standard {env.CRM_SECRET} }", "Of the newest 2 events, 1 would have been meant for it.",
		} {
			if !strings.Contains(got, line) {
				t.Errorf("no %s in %s", line, got)
			}
		}
		for _, c := range []struct{ field, value, want string }{
			{"name", "wrong", "Something is <wrong>."},
			{"sign", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw=", "Sign:"},
			{"headers", "no colon", "Header"},
			{"auth_secret", "a b", "is no name of an environment variable"},
			{"auth_secret", "", "is missing"},
		} {
			pairs := []string{"name", "crm", "url", "https://crm.example.com/", "auth", "basic", "user", "u", "auth_secret", "X", c.field, c.value}
			if got := post(pairs...); !strings.Contains(got, c.want) || strings.Contains(got, "For the Caddyfile") {
				t.Errorf("%+v: %s", c, got)
			}
		}
		if got := post("name", "a\nb {", "url", "x\n}"); !strings.Contains(got, `subscription "a b {" "x }" {`) {
			t.Errorf("a word became several: %s", got)
		}
	})
}
