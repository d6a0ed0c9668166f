package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddyrelay/caddyrelay/relay"
)

func init() { caddy.RegisterModule(new(otherApp)) }

// otherApp is one that fails to start.
type otherApp struct{}

func (*otherApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "relay_test_failing", New: func() caddy.Module { return new(otherApp) }}
}
func (*otherApp) Start() error { return errors.New("this app never starts") }
func (*otherApp) Stop() error  { return nil }

// running is a Caddy in this process. There is one at a time.
type running struct {
	t   *testing.T
	dir string
	log string
}

func startCaddy(t *testing.T) *running {
	dir := t.TempDir()
	c := &running{t: t, dir: filepath.Join(dir, "store"), log: filepath.Join(dir, "log")}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping: %v", err)
		}
	})
	return c
}

// config describes one configuration of a running Caddy.
type config struct {
	// dir is the storage directory. Default: that of the running one.
	dir string
	// subscriptions is the JSON of a list.
	subscriptions string
	// regions is the JSON of a list. Default: there is none.
	regions string
	// apps is the JSON of further apps, each with a comma before it.
	apps string
	// admin is the path of the admin endpoint's unix socket. Default: there is none.
	admin string
}

func (c *running) json(o config) string {
	quote := func(v string) string {
		out, _ := json.Marshal(v)
		return string(out)
	}
	admin := `"disabled": true`
	if o.admin != "" {
		admin = `"listen": ` + quote("unix/"+o.admin)
	}
	return fmt.Sprintf(`{
		"admin": {%s, "config": {"persist": false}},
		"logging": {"logs": {"default": {"writer": {"output": "file", "filename": %s}, "level": "DEBUG"}}},
		"apps": {"relay": {"storage": {"engine": "badger", "directory": %s}, "regions": %s, "subscriptions": %s} %s}
	}`, admin, quote(c.log), quote(cmp.Or(o.dir, c.dir)), cmp.Or(o.regions, "[]"), cmp.Or(o.subscriptions, "[]"), o.apps)
}

func (c *running) load(o config) {
	c.t.Helper()
	if err := caddy.Load([]byte(c.json(o)), true); err != nil {
		c.t.Fatalf("loading: %v", err)
	}
}

// app returns the app of the configuration that is active.
func (c *running) app() *App {
	c.t.Helper()
	found, err := caddy.ActiveContext().AppIfConfigured("relay")
	if err != nil {
		c.t.Fatal(err)
	}
	return found.(*App)
}

func (c *running) engine() *relay.Relay {
	c.t.Helper()
	e, err := c.app().Relay(context.Background())
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}

func (c *running) publish(typ string) {
	c.t.Helper()
	event := &relay.Event{Type: typ, ContentType: "application/json", Data: []byte(`{"id":1}`)}
	if _, err := c.engine().Publish(context.Background(), []relay.Publication{{Event: event}}, nil); err != nil {
		c.t.Fatalf("publishing: %v", err)
	}
}

// references returns how many configurations have the store in dir.
func references(dir string) int {
	key, err := canonicalPath(dir)
	if err != nil {
		return -1
	}
	n, _ := engines.References(key)
	return n
}

func (c *running) wantLog(text string) {
	c.t.Helper()
	var all []byte
	eventually(c.t, func() bool {
		all, _ = os.ReadFile(c.log)
		return strings.Contains(string(all), text)
	}, func() string { return fmt.Sprintf("the log lacks %q:\n%s", text, all) })
}

// patience bounds every wait for something that will happen; only what never happens takes
// so long.
const patience = time.Minute

func eventually(t *testing.T, done func() bool, failure func() string) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(failure())
		}
	}
}

// receiver is an endpoint of a subscription.
type receiver struct {
	*httptest.Server
	// hold keeps requests waiting until it is closed, if it is not nil.
	hold chan struct{}
	// status is what it answers; 0: 200.
	status atomic.Int64

	mu   sync.Mutex
	got  []http.Header
	came chan struct{}
}

func newReceiver(t *testing.T) *receiver {
	r := &receiver{came: make(chan struct{}, 1000)}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.came <- struct{}{}
		if r.hold != nil {
			<-r.hold
		}
		r.mu.Lock()
		r.got = append(r.got, req.Header.Clone())
		r.mu.Unlock()
		if status := r.status.Load(); status != 0 {
			w.WriteHeader(int(status))
		}
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) headers() []http.Header {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]http.Header(nil), r.got...)
}

func (r *receiver) want(t *testing.T, n int) []http.Header {
	t.Helper()
	eventually(t, func() bool { return len(r.headers()) >= n }, func() string {
		return fmt.Sprintf("%d deliveries came; want %d", len(r.headers()), n)
	})
	return r.headers()
}

// subscription returns the JSON of a subscription of everything.
func (r *receiver) subscription(name string, more ...string) string {
	return fmt.Sprintf(`{"name": %q, "url": %q, "allow_ips": ["127.0.0.1"] %s}`, name, r.URL, strings.Join(append([]string{""}, more...), ", "))
}

// freePort returns a port on which nobody listens.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
