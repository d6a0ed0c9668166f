package integration

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// testResolversOfARegion: they are asked from its address, the system's is not asked, and
// what they say is judged.
func testResolversOfARegion(t *testing.T) {
	names := newNameServer(t, "10.77.0.9:5353")
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	_, port, _ := net.SplitHostPort(r.address)
	canary := newReceiverOn(t, "127.0.0.1:"+port)
	r.answer(with(http.StatusOK, "Connection", "close")) // each delivery asks for the name anew
	names.say("crm.example.com", saying{addresses: []string{"10.77.0.9"}})
	names.say("six.example.com", saying{addresses: []string{"2606:2800::1"}})
	c := run(t, fmt.Sprintf(`
		region eu 10.77.0.2 {
			resolvers 10.77.0.9:5353
		}
		subscription crm http://crm.example.com:%[1]s {
			allow_ips 10.77.0.9
			retry 1ms
		}
		subscription six http://six.example.com:%[1]s {
			retry off
		}`, port))
	d := c.wantDelivery(c.accept("order.paid", `1`, "Relay-Subscriptions", "crm").ID, "crm", stateDelivered, "")
	if !strings.HasPrefix(d.Attempts[0].LocalAddress, "10.77.0.2:") {
		t.Errorf("%+v", d)
	}
	names.say("crm.example.com", saying{addresses: []string{"10.77.0.9", "127.0.0.1"}})
	d = c.wantDelivery(c.accept("order.paid", `2`, "Relay-Subscriptions", "crm").ID, "crm", stateFailed, anyReason)
	if d.Attempts[0].ErrorKind != "blocked" {
		t.Errorf("%+v; want it blocked", d)
	}
	canary.wantSilence("the canary")

	// F26: the names of a family that the region has no address of. It is held, and said
	// in words.
	d = c.wantDelivery(c.accept("order.paid", `3`, "Relay-Subscriptions", "six").ID, "six", stateHeld, reasonEgress)
	if d.AttemptCount != 0 {
		t.Errorf("%+v; want nothing charged", d)
	}
	if res := c.relay("list", "subscriptions"); !strings.Contains(res.out, "six.example.com has IPv6 addresses only, and the region has none of those") {
		t.Errorf("%s", res)
	}

	names.mu.Lock()
	defer names.mu.Unlock()
	if len(names.askers) != 1 || names.askers["10.77.0.2"] == 0 {
		t.Errorf("the resolver was asked from %v; want the region's address alone", names.askers)
	}
}

// testPlannedChange: one address until a moment, another one from then on, by the clock
// and without a reload, over connections that are kept.
func testPlannedChange(t *testing.T) {
	const before, after = "10.77.0.2", "10.77.0.3"
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	change := time.Now().Add(3 * time.Second).Truncate(time.Second)
	c := run(t, fmt.Sprintf(`
		region eu {
			egress %[1]s until %[3]s
			egress %[2]s from %[3]s
		}
		subscription crm %[4]s {
			allow_ips 10.77.0.9
		}`, before, after, change.UTC().Format(time.RFC3339), r.url()))
	var ids []string
	for time.Now().Before(change.Add(500 * time.Millisecond)) {
		ids = append(ids, c.accept("order.paid", `1`).ID)
		time.Sleep(5 * time.Millisecond)
	}
	seen := map[string]int{}
	for _, id := range ids {
		for _, a := range c.wantDelivery(id, "crm", stateDelivered, "").Attempts {
			at := parseTime(t, a.At)
			from, _, _ := strings.Cut(a.LocalAddress, ":")
			seen[from]++
			ended := at.Add(time.Duration(a.DurationMS+1) * time.Millisecond)
			if !at.Before(change) && from != after || ended.Before(change) && from != before {
				t.Errorf("an attempt at %s, with the change at %v, was made from %s", a.At, change, from)
			}
		}
	}
	if seen[before] == 0 || seen[after] == 0 {
		t.Errorf("attempts came from %v; want some from both", seen)
	}
	if n := r.connections.Load(); n > 4 {
		t.Errorf("%d connections were made: they are not kept", n)
	}
	status := c.status().Regions[0].Addresses
	if len(status) != 2 || status[0].Active || !status[1].Active {
		t.Errorf("%+v", status)
	}
}

// connectProxy is a forward proxy that notes what it is asked, and by whom.
type connectProxy struct {
	mu    sync.Mutex
	asked []string
}

func newConnectProxy(t *testing.T, address string) *connectProxy {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p := new(connectProxy)
	var open sync.WaitGroup
	t.Cleanup(func() { _ = listener.Close(); open.Wait() })
	open.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			open.Go(func() { p.serve(conn) })
		}
	})
	return p
}

func (p *connectProxy) serve(conn net.Conn) {
	defer conn.Close()
	req, err := http.ReadRequest(bufio.NewReader(conn))
	if err != nil {
		return
	}
	from, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	p.mu.Lock()
	p.asked = append(p.asked, fmt.Sprintf("%s: %s %s %s", from, req.Method, req.RequestURI, req.Header.Get("Proxy-Authorization")))
	p.mu.Unlock()
	there, err := net.Dial("tcp", req.RequestURI)
	if err != nil {
		return
	}
	defer there.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
	go func() {
		defer there.Close()
		_, _ = io.Copy(there, conn)
	}()
	_, _ = io.Copy(conn, there)
}

// testProxyOfARegion: the relay judges the receiver, and tells the proxy its address.
func testProxyOfARegion(t *testing.T) {
	names := newNameServer(t, "10.77.0.9:5353")
	proxy := newConnectProxy(t, "10.77.0.10:3130")
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	r.answer(with(http.StatusOK, "Connection", "close"))
	_, port, _ := net.SplitHostPort(r.address)
	canary := newReceiverOn(t, "127.0.0.1:"+port)
	names.say("crm.example.com", saying{addresses: []string{"10.77.0.9"}})
	c := run(t, fmt.Sprintf(`
		region eu 10.77.0.2 {
			resolvers 10.77.0.9:5353
			network_proxy url http://me:{env.PROXY_PASSWORD}@10.77.0.10:3130
		}
		subscription crm http://crm.example.com:%s {
			allow_ips 10.77.0.9
			retry off
		}`, port), withEnv("PROXY_PASSWORD=s3cret-s3cret"))
	d := c.wantDelivery(c.accept("order.paid", `1`).ID, "crm", stateDelivered, "")
	if !strings.HasPrefix(d.Attempts[0].LocalAddress, "10.77.0.2:") {
		t.Errorf("%+v", d)
	}
	if got := r.wantExactly(1); got[0].header.Get("Host") != "" || got[0].peer == "10.77.0.2" {
		t.Errorf("it came from %s; want the proxy", got[0].peer)
	}
	names.say("crm.example.com", saying{addresses: []string{"127.0.0.1"}})
	if d := c.wantDelivery(c.accept("order.paid", `2`).ID, "crm", stateFailed, anyReason); d.Attempts[0].ErrorKind != "blocked" {
		t.Errorf("%+v; want it blocked", d)
	}
	canary.wantSilence("the canary")
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	if !slices.Equal(proxy.asked, []string{"10.77.0.2: CONNECT 10.77.0.9:" + port + " Basic bWU6czNjcmV0LXMzY3JldA=="}) {
		t.Errorf("the proxy was asked %q", proxy.asked)
	}
	if config := c.get("/config/").body; strings.Contains(c.log(), "s3cret-s3cret") || strings.Contains(string(config), "s3cret-s3cret") {
		t.Error("the password of the proxy can be seen")
	}
}
