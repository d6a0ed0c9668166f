package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// testDoctor has everything wrong that can be with addresses and the ways from them.
func testDoctor(t *testing.T) {
	r := newReceiverOn(t, fmt.Sprintf("10.77.0.9:%d", freePort(t)))
	idle := fmt.Sprintf("10.77.0.10:%d", freePort(t))
	in := func(d time.Duration) string { return time.Now().Add(d).UTC().Format(time.RFC3339) }
	c := run(t, fmt.Sprintf(`
		region eu {
			egress 10.77.0.2 until %s
			egress 10.77.0.66
			egress 10.77.0.67 from %s
		}
		region us 10.77.0.3
		region pods {
			egress auto as 198.51.100.0/28
		}
		subscription crm %s {
			region eu
			allow_ips 10.77.0.9
		}
		subscription far http://203.0.113.9 {
			region us
			allow_ips 203.0.113.9
		}
		subscription idle http://%s {
			region pods
			allow_ips 10.77.0.10
		}`, in(time.Hour), in(2*time.Hour), r.url(), idle), withEnv("HTTPS_PROXY=http://"+proxyAddress))

	res := c.relay("doctor")
	if res.code == 0 {
		t.Errorf("nothing is wrong: %s", res)
	}
	for _, want := range []string{
		"HTTPS_PROXY of the running instance: deliveries ignore it",
		"10.77.0.2 can be used, on lo",
		"FAIL  egress eu", "10.77.0.66: binding to 10.77.0.66", "fix: ip addr add 10.77.0.66/32 dev <interface>",
		"10.77.0.67, which is planned from ",
		"the address 10.77.0.67 comes into use on ",
		"unpinned, the kernel chooses",
		"eu to " + r.address + "  ", "there is a route from 10.77.0.2\n",
		"FAIL  us to 203.0.113.9:80", "there is no route from 10.77.0.3 to 203.0.113.9:80: ", "network is unreachable", "fix: give the address a route: ip route get 203.0.113.9 from 10.77.0.3",
		"there is a route from 10.77.0.10 (the kernel's choice)",
		"for each address and endpoint; at most 16 are needed at once",
	} {
		if !strings.Contains(res.out, want) {
			t.Errorf("doctor lacks %q:\n%s", want, res.out)
		}
	}
	r.wantSilence("an endpoint that the doctor was not to reach")

	res = c.relay("doctor", "--reach")
	for _, want := range []string{"reached from 10.77.0.2 in ", "no connection from 10.77.0.10 to " + idle, "connection refused", "fix: ask the receiver whether its firewall lets 10.77.0.10 in"} {
		if !strings.Contains(res.out, want) {
			t.Errorf("doctor --reach lacks %q:\n%s", want, res.out)
		}
	}
	if n := r.connections.Load(); n != 1 || len(r.got()) != 0 {
		t.Errorf("%d connections and %d requests; want one connection, and nothing sent", n, len(r.got()))
	}

	// With a second address that is there, both ways are tried.
	ip(t, "addr add 10.77.0.66/32 dev lo")
	defer ip(t, "addr del 10.77.0.66/32 dev lo")
	eventually(t, func() bool {
		res = c.relay("doctor", "--reach")
		return strings.Contains(res.out, "reached from 10.77.0.2 in ") && strings.Contains(res.out, ", 10.77.0.66 in ")
	}, func() string { return res.String() })
}
