package integration

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddyrelay/caddyrelay/storage/postgres/postgrestest"
)

// TestRegionsOverRelays: of two machines each has the address of one region. Whichever takes an
// event, its deliveries are made where the address is; when that machine is gone they are held,
// and shown as that, and made when it is back.
func TestRegionsOverRelays(t *testing.T) {
	inANetworkNamespace(t, func(t *testing.T) {
		t.Run("two machines", testRegionsOverRelays)
	})
}

func testRegionsOverRelays(t *testing.T) {
	server := postgrestest.New(t)
	ip(t, "link set lo up")
	ip(t, "addr add 10.77.0.9/32 dev lo")
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	addresses := map[string]string{"eu": "10.77.1.2", "us": "10.77.2.2"}
	lines := fmt.Sprintf(`
		region eu %s
		region us %s
		defaults {
			allow_ips 10.77.0.9
			retry 100ms 1s
			breaker off
		}
		subscription paris %[3]s order.* {
			region eu
		}
		subscription boston %[3]s order.* {
			region us
		}`, addresses["eu"], addresses["us"], r.url())
	const token = "a-token-of-more-than-20-letters"
	consoles := freePort(t)
	machine := func(n int, name, address string) (*host, *instance) {
		h := newHost(t)
		h.cable(name, "eth")
		near := fmt.Sprintf("10.77.%d.1", n)
		ip(t, "addr add "+near+"/24 dev "+name)
		ip(t, "link set "+name+" up")
		h.ip("addr add " + address + "/24 dev eth")
		h.ip("link set eth up")
		h.ip("route add default via " + near)
		// The socket of the server is in the file system, which the machines share.
		c := prepare(t, withEnv("RELAY_POSTGRES_DSN="+server.SocketDSN("postgres")), func(c *instance) {
			c.storage = "\t\tstorage postgres {env.RELAY_POSTGRES_DSN}"
			c.bind, c.intake = address, "token "+token
			c.sites = fmt.Sprintf("http://:%d {\n\tbind %s\n\trelay_console {\n\t\thosts %[2]s\n\t}\n}\n", consoles, address)
		})
		c.configure(lines)
		return h, c
	}
	start := func(h *host, c *instance) {
		h.in(c.spawn)
		c.ready()
	}
	europe, paris := machine(1, "one", addresses["eu"])
	america, boston := machine(2, "two", addresses["us"])
	start(europe, paris)
	start(america, boston)

	post := func(c *instance, n int) {
		t.Helper()
		if a := c.post("/v1/events/order.paid", fmt.Sprintf(`{"n":%d}`, n), "Authorization", "Bearer "+token); a.status != http.StatusAccepted {
			t.Fatal(a)
		}
	}
	// Where the deliveries of a subscription come from.
	from := func(subscription string) (peers []string, n int) {
		for _, a := range r.got() {
			if a.subscription() == subscription {
				peers, n = append(peers, a.peer), n+1
			}
		}
		slices.Sort(peers)
		return slices.Compact(peers), n
	}
	for n := range 20 {
		post([]*instance{paris, boston}[n%2], n)
	}
	r.wantExactly(40)
	for _, c := range []*instance{paris, boston} {
		c.drained()
		s := c.status()
		if len(s.Instances) != 2 {
			t.Errorf("instances: %+v", s.Instances)
		}
		for i, want := range []string{"eu", "us"} {
			if c == boston {
				want = []string{"us", "eu"}[i] // whoever is asked comes first
			}
			if got := s.Instances[i].Regions; !slices.Equal(got, []string{want}) {
				t.Errorf("an instance has the regions %v; want %s", got, want)
			}
		}
	}

	paris.kill()
	held := func() bool { s := boston.subscription("paris"); return s.Reason == "no_instance" }
	eventually(t, held, func() string { return fmt.Sprintf("%+v", boston.subscription("paris")) })
	for n := range 5 {
		post(boston, 20+n)
	}
	r.wantExactly(45)
	const why = `no relay that is alive has an address of the region \"eu\"`
	if s := boston.subscription("paris"); s.Pending != 5 || s.State != "active" || !strings.Contains(string(boston.get("/relay/status").body), why) {
		t.Errorf("status: %+v", s)
	}
	waiting := 0
	for _, d := range boston.deliveries() {
		if d.State == stateHeld && d.Reason == "no_instance" && d.Subscription == "paris" && d.AttemptCount == 0 {
			waiting++
		}
	}
	if waiting != 5 {
		t.Errorf("%d deliveries are listed as held for want of a relay; want 5", waiting)
	}
	if res := boston.relay("doctor"); res.code == 0 || !strings.Contains(res.out, "start a relay where the addresses of its region are") {
		t.Errorf("doctor: %s", res)
	}
	if n := boston.metrics()[`caddy_relay_pending_deliveries{subscription="paris"}`]; n != 5 {
		t.Errorf("the metrics count %v that wait; want 5", n)
	}
	page, err := http.Get(fmt.Sprintf("http://%s:%d/subscriptions/paris", addresses["us"], consoles))
	if err != nil {
		t.Fatal(err)
	}
	defer page.Body.Close()
	text, err := io.ReadAll(page.Body)
	if err != nil {
		t.Fatal(err)
	}
	if page.StatusCode != http.StatusOK || !strings.Contains(string(text), "no relay that is alive has an address of the region") {
		t.Errorf("the console says %d:\n%s", page.StatusCode, text)
	}

	start(europe, paris)
	r.wantExactly(50)
	for _, c := range []*instance{paris, boston} {
		c.drained()
	}
	for name, region := range map[string]string{"paris": "eu", "boston": "us"} {
		if peers, n := from(name); !slices.Equal(peers, []string{addresses[region]}) || n != 25 {
			t.Errorf("%d deliveries for %s came from %v; want 25 from %s", n, name, peers, addresses[region])
		}
	}
}
