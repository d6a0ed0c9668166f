package integration

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// doorkeeper is an authentication server as forward_auth asks it: it lets through who has
// its session, and sends others to its login.
type doorkeeper struct {
	*httptest.Server
	// closed ends all sessions.
	closed atomic.Bool
}

const session = "ops-session"

func newDoorkeeper(t testing.TB) *doorkeeper {
	t.Helper()
	d := new(doorkeeper)
	mux := http.NewServeMux()
	mux.HandleFunc("/check", func(w http.ResponseWriter, r *http.Request) {
		if cookie, err := r.Cookie("session"); err == nil && cookie.Value == session && !d.closed.Load() {
			w.Header().Set("Remote-User", "zoe")
			return
		}
		asked := "http://" + r.Header.Get("X-Forwarded-Host") + r.Header.Get("X-Forwarded-Uri")
		http.Redirect(w, r, d.URL+"/login?to="+url.QueryEscape(asked), http.StatusFound)
	})
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		if d.closed.Load() {
			_, _ = io.WriteString(w, "<!doctype html><link rel=\"icon\" href=\"data:,\"><title>Log in</title><h1>Who are you?</h1>")
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: session, Path: "/"})
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	})
	d.Server = httptest.NewServer(mux)
	t.Cleanup(d.Close)
	return d
}

// behindForwardAuth is a relay whose console stands behind an authentication server.
func behindForwardAuth(t testing.TB) (c *instance, door *doorkeeper, console string) {
	t.Helper()
	door = newDoorkeeper(t)
	port := freePort(t)
	sites := fmt.Sprintf(`
http://:%d {
	bind 127.0.0.1
	handle /ops/* {
		forward_auth %s {
			uri /check
			copy_headers Remote-User
		}
		relay_console
	}
}
`, port, strings.TrimPrefix(door.URL, "http://"))
	receiver := newReceiver(t)
	c = run(t, fmt.Sprintf(`
		defaults {
			allow_ips 127.0.0.1
		}
		subscription crm %s order.*
`, receiver.url()), func(c *instance) { c.sites = sites })
	return c, door, fmt.Sprintf("http://127.0.0.1:%d/ops/", port)
}

// Behind forward_auth, the browser is led to the login and back; pages, actions and the live
// list work; and once the session is over, nothing is shown any more.
func TestConsoleBehindForwardAuth(t *testing.T) {
	t.Parallel()
	c, door, console := behindForwardAuth(t)
	event := c.accept("order.paid", `{"order":4711}`)
	c.wantDelivery(event.ID, "crm", "delivered", "")
	b := openTab(t)
	b.open(console + "events/" + event.ID)
	b.wait("order.paid", "crm", "delivered")
	b.click(`table.rows a[href*="/deliveries/crm"]`)
	b.wait("order.paid to crm", "Attempt 1")
	b.open(console + "subscriptions/crm/pause")
	b.click(`form.ask button`)
	b.wait("The subscription is paused.")
	b.click(`form[action$="/resume"] button`)
	b.wait("The subscription is resumed")
	b.open(console + "deliveries?live=1")
	eventually(t, func() bool {
		c.accept("order.live", `{}`)
		time.Sleep(100 * time.Millisecond)
		return strings.Contains(b.text(), "order.live")
	}, b.text)
	b.calm()

	door.closed.Store(true)
	b.open(console + "events/" + event.ID)
	b.wait("Who are you?")
	if text := b.text(); strings.Contains(text, "order.paid") {
		t.Errorf("it is still shown: %s", text)
	}
}

// What the authentication server refuses does not reach the console: no page, no stream, no
// action.
func TestForwardAuthKeepsTheConsoleShut(t *testing.T) {
	t.Parallel()
	c, door, console := behindForwardAuth(t)
	event := c.accept("order.paid", `{"order":4711}`)
	ask := func(method, path, cookie string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, console+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Origin", strings.TrimSuffix(console, "/ops/"))
		if cookie != "" {
			r.AddCookie(&http.Cookie{Name: "session", Value: cookie})
		}
		response, err := http.DefaultTransport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.Header.Get("Content-Type") == "text/event-stream" {
			line, err := bufio.NewReader(response.Body).ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			return response, line
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, string(body)
	}
	for path, want := range map[string]string{"": "Overview", "events/" + event.ID + "/data": "4711", "stream": ": deliveries as they settle"} {
		if response, body := ask(http.MethodGet, path, session); response.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("with a session, %q: %d %.200q", path, response.StatusCode, body)
		}
		for _, cookie := range []string{"", "guessed"} {
			response, body := ask(http.MethodGet, path, cookie)
			if response.StatusCode != http.StatusFound || !strings.HasPrefix(response.Header.Get("Location"), door.URL) || strings.Contains(body, want) {
				t.Errorf("with session %q, %q: %d %.200q", cookie, path, response.StatusCode, body)
			}
		}
	}
	for _, cookie := range []string{"", "guessed"} {
		if response, _ := ask(http.MethodPost, "subscriptions/crm/pause", cookie); response.StatusCode != http.StatusFound {
			t.Errorf("with session %q it is paused: %d", cookie, response.StatusCode)
		}
	}
	if got := c.subscription("crm"); got.State != "active" {
		t.Errorf("the subscription is %s", got.State)
	}
	if response, _ := ask(http.MethodPost, "subscriptions/crm/pause", session); response.StatusCode != http.StatusSeeOther {
		t.Errorf("with a session: %d", response.StatusCode)
	}
	if got := c.subscription("crm"); got.State != "paused" {
		t.Errorf("the subscription is %s", got.State)
	}
}
