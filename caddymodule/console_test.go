package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyrelay/caddyrelay/relay"
)

func TestConsoleNeedsTheOption(t *testing.T) {
	err := validate(mustAdapt(t, "http://:4665 {\n\tbind 127.0.0.1\n\trelay_console\n}\n"))
	if err == nil || !strings.Contains(err.Error(), "relay_console needs the relay itself; write the global option") {
		t.Errorf("got %v", err)
	}
}

func TestConsoleJudgesItsJSON(t *testing.T) {
	for handler, want := range map[string]string{
		`{"handler": "relay_console", "hosts": ["a/b"]}`:   "relay_console: hosts: ",
		`{"handler": "relay_console", "redact": ["a..b"]}`: "relay_console: redact: ",
	} {
		err := validate(`{"admin": {"disabled": true}, "apps": {"relay": {}, "http": {"servers": {"a": {"routes": [{"handle": [` + handler + `]}]}}}}}`)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v", handler, err)
		}
	}
}

// The console finds out by itself under which path and which name it stands.
func TestConsoleStandsAnywhere(t *testing.T) {
	startCaddy(t)
	dir, port := t.TempDir(), freePort(t)
	config := mustAdapt(t, fmt.Sprintf(`{
	admin off
	persist_config off
	storage file_system %s
	relay {
		storage badger %s
	}
}
(consoles) {
	handle /plain/* {
		relay_console
	}
	handle_path /cut/off/* {
		relay_console
	}
	relay_console /matched*
	route /routed/* {
		uri strip_prefix /routed
		relay_console
	}
	handle /named/* {
		invoke console
	}
	respond "behind"
}
&(console) {
	relay_console
}
http://:%d {
	bind 127.0.0.1
	import consoles
}
http://ops.example.com:%[3]d {
	bind 127.0.0.1
	import consoles
}
http://*:%[3]d, http://localhost:%[3]d {
	bind 127.0.0.1
	import consoles
}
`, filepath.Join(dir, "caddy"), filepath.Join(dir, "store"), port))
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(host, path, proxied string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", port, path), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		if proxied != "" {
			r.Header.Set("X-Forwarded-For", proxied)
		}
		return do(t, client, r)
	}
	for _, prefix := range []string{"/plain/", "/cut/off/", "/matched/", "/routed/", "/named/", "/PLAIN/"} {
		for path, want := range map[string]string{
			prefix: "<h1>Overview</h1>", prefix + "deliveries": "<h1>Deliveries</h1>", prefix + "v1/events": "behind", prefix + "assets/console.css": ".brand",
		} {
			if status, body := get("127.0.0.1", path, ""); status != http.StatusOK || !strings.Contains(body, want) {
				t.Errorf("%s: %d, and not %q: %.300s", path, status, want, body)
			}
		}
	}
	if _, body := get("127.0.0.1", "/", ""); body != "behind" {
		t.Errorf("the root of the site is %.100q", body)
	}
	if status, _ := get("127.0.0.1", "/matched", ""); status != http.StatusPermanentRedirect {
		t.Errorf("without its last slash: %d", status)
	}
	for host, want := range map[string]int{
		"ops.example.com": http.StatusOK, "OPS.example.com": http.StatusOK,
		"localhost": http.StatusForbidden, "127.0.0.1": http.StatusForbidden, "single": http.StatusForbidden, "evil.test": http.StatusForbidden,
	} {
		if status, body := get(host, "/plain/", "192.0.2.1"); status != want {
			t.Errorf("%s by a proxy: %d, want %d: %.300s", host, status, want, body)
		}
	}
	if status, _ := get("evil.test", "/plain/", ""); status != http.StatusForbidden {
		t.Errorf("a foreign name: %d", status)
	}
}

func TestMountsOfAConsole(t *testing.T) {
	site := consoleSite{mounts: []string{"/ops/", "/ops/relay/"}}
	for path, want := range map[string]string{
		"/": "/", "/deliveries": "/", "/ops": "/ops/", "/ops/": "/ops/", "/OPS/x": "/OPS/", "/ops/relay/x": "/ops/relay/", "/opsx": "/", "": "/", "/ops/relayed": "/ops/",
	} {
		if got := site.mount(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

// The folder's name is in what was asked for, also where it was cut off on the way.
func TestTheMissingSlashIsAdded(t *testing.T) {
	h := new(Console)
	for asked, seen := range map[string]string{"/a/ops": "", "/ops": "/ops"} {
		server := &caddyhttp.Server{Routes: caddyhttp.RouteList{{
			MatcherSets: caddyhttp.MatcherSets{{caddyhttp.MatchPath{"/ops*"}}}, Handlers: []caddyhttp.MiddlewareHandler{h},
		}}}
		ctx := context.WithValue(t.Context(), caddyhttp.ServerCtxKey, server)
		ctx = context.WithValue(ctx, caddyhttp.OriginalRequestCtxKey, http.Request{URL: &url.URL{Path: asked}})
		w := httptest.NewRecorder()
		if err := h.ServeHTTP(w, (&http.Request{Method: http.MethodGet, URL: &url.URL{Path: seen}}).WithContext(ctx), nil); err != nil {
			t.Fatal(err)
		}
		if got := w.Header().Get("Location"); got != "./ops/" {
			t.Errorf("%s: %q", asked, got)
		}
	}
}

// What the form makes is judged as the Caddyfile is.
func TestDraftsAreJudgedAsTheCaddyfile(t *testing.T) {
	app := &App{
		Regions:       []*Region{{Name: "eu", Egress: []Egress{{Address: "127.0.0.1"}}}, {Name: "us", Egress: []Egress{{Address: "127.0.0.2"}}}},
		Subscriptions: []*Subscription{{Name: "crm"}},
	}
	setup := consoleSetup{app}
	for block, want := range map[string]string{
		"subscription Big https://crm.example.com/ {\n}":                                                 "is no name",
		"subscription crm https://crm.example.com/ {\n}":                                                 "has one of this name already",
		"subscription new {\n}":                                                                          "URL missing",
		"subscription new http://localhost/ {\n\tregion eu\n}":                                           "localhost",
		"subscription new https://crm.example.com/ {\n}":                                                 "region missing",
		"subscription new https://crm.example.com/ {\n\tregion asia\n}":                                  `there is no region "asia"`,
		"subscription new https://crm.example.com/ {\n\tregion eu\n\tfilter a like b\n}":                 "filter",
		"subscription new https://crm.example.com/ {\n\tregion eu\n\theader Host a\n}":                   "Host",
		"subscription new https://crm.example.com/ {\n\tregion eu\n\tsign standard {env.NOT_SET_YET}\n}": "",
		"subscription new https://crm.example.com/ a..b {\n\tregion eu\n}":                               "topic",
		"subscription new https://crm.example.com/ {\n\tregion eu\n}\nimport /etc/passwd":                "something follows",
	} {
		draft, err := setup.Draft(block)
		if want == "" && (err != nil || draft.Name != "new") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s\ngot:  %v\nwant: %s", block, err, want)
		}
	}
	draft, err := setup.Draft("subscription new https://crm.example.com/ order.* {\n\tregion us\n\tfilter total equals 5\n\texpression event.subject == \"a\"\n}")
	if err != nil {
		t.Fatal(err)
	}
	e := relay.Event{Type: "order.paid", Subject: "a", ContentType: "application/json", Data: []byte(`{"total":5}`)}
	if !draft.Wants(&e) {
		t.Error("it does not want what it asks for")
	}
	for _, other := range []relay.Event{
		{Type: "customer.paid", Subject: "a", ContentType: "application/json", Data: e.Data},
		{Type: "order.paid", Subject: "b", ContentType: "application/json", Data: e.Data},
		{Type: "order.paid", Subject: "a", ContentType: "application/json", Data: []byte(`{"total":6}`)},
	} {
		if draft.Wants(&other) {
			t.Errorf("it wants %+v", other)
		}
	}
}
