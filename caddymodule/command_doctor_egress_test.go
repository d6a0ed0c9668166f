package caddymodule

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/relay/egresslist"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// judged returns what the doctor says of a check, a line for each finding.
func judged(list egressAnswer, check egressCheck) string {
	var d doctor
	d.judgeEgress(&list, &check)
	var lines []string
	for _, f := range d.findings {
		line := f.Grade + " " + f.Check + ": " + f.Detail
		if f.Fix != "" {
			line += " | fix: " + f.Fix
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

// TestDoctorJudgesEgress: each thing that may be wrong is named, with one way to mend it.
func TestDoctorJudgesEgress(t *testing.T) {
	yes, no := true, false
	soon, past := view.Time{Time: time.Now().Add(time.Hour)}, view.Time{Time: time.Now().Add(-time.Hour)}
	when := func(t view.Time) string { return t.UTC().Format(time.RFC3339) }
	one := egressAnswer{Regions: []egressRegion{{Name: "eu"}}}
	address := func(a addressStatus) egressCheck {
		return egressCheck{Addresses: []checkedAddress{{Region: "eu", addressStatus: a, Interface: map[bool]string{true: "eth0"}[a.Up]}}}
	}
	endpoint := func(e checkedEndpoint) egressCheck {
		e.Region, e.Endpoint, e.Subscriptions = "eu", "crm.example.com:443", []string{"crm"}
		return egressCheck{Endpoints: []checkedEndpoint{e}}
	}
	for name, c := range map[string]struct {
		list  egressAnswer
		check egressCheck
		want  string
	}{
		"no region": {egressAnswer{}, egressCheck{}, "warn egress: no region is declared: the kernel chooses the address that deliveries leave from | fix: add to the relay option: region <name> <ip>"},
		"proxy variables": {
			one,
			egressCheck{ProxyVariables: []string{"HTTPS_PROXY", "http_proxy"}},
			"ok proxy variables: HTTPS_PROXY, http_proxy of the running instance: deliveries ignore it, as they must",
		},
		"up":  {one, address(addressStatus{Address: "192.0.2.10", Public: "192.0.2.10", Pinned: true, Up: true}), "ok egress eu: 192.0.2.10 can be used, on eth0"},
		"NAT": {one, address(addressStatus{Address: "10.0.0.5", Public: "192.0.2.10", Pinned: true, Up: true}), "ok egress eu: 10.0.0.5 as 192.0.2.10 can be used, on eth0"},
		"down": {
			one, address(addressStatus{Address: "192.0.2.10", Public: "192.0.2.10", Pinned: true, Error: "not here"}),
			"FAIL egress eu: 192.0.2.10: not here | fix: ip addr add 192.0.2.10/32 dev <interface>, and make it permanent; deliveries that need it are held meanwhile",
		},
		"down IPv6": {
			one, address(addressStatus{Address: "2001:db8::10", Public: "2001:db8::10", Pinned: true, Error: "not here"}),
			"FAIL egress eu: 2001:db8::10: not here | fix: ip addr add 2001:db8::10/128 dev <interface>, and make it permanent; deliveries that need it are held meanwhile",
		},
		"planned": {
			one, address(addressStatus{Address: "192.0.2.10", Public: "192.0.2.10", Pinned: true, From: soon, Error: "not here"}),
			"warn egress eu: 192.0.2.10, which is planned from " + when(soon) + ": not here | fix: ip addr add 192.0.2.10/32 dev <interface>, and make it permanent, before then",
		},
		"planned and up": {
			one, address(addressStatus{Address: "192.0.2.10", Public: "192.0.2.10", Pinned: true, Up: true, From: soon}),
			"ok egress eu: 192.0.2.10 can be used, on eth0; planned from " + when(soon),
		},
		"over": {
			one, address(addressStatus{Address: "192.0.2.10", Public: "192.0.2.10", Pinned: true, Until: past, Error: "not here"}),
			"ok egress eu: 192.0.2.10 is no longer in use, since " + when(past),
		},
		"unpinned": {
			one, address(addressStatus{Address: "auto", Public: "198.51.100.0/28", Up: true}),
			"warn egress eu: auto as 198.51.100.0/28: unpinned, the kernel chooses where deliveries leave from | fix: see to it that the network lets them out as 198.51.100.0/28 and as nothing else; where the address can be bound, write it in place of auto",
		},
		"overlap": {
			one,
			egressCheck{Addresses: []checkedAddress{
				{Region: "eu", addressStatus: addressStatus{Address: "auto", Public: "198.51.100.0/28", Up: true}},
				{Region: "eu", addressStatus: addressStatus{Address: "auto", Public: "198.51.100.3", Up: true}},
				{Region: "us", addressStatus: addressStatus{Address: "10.0.0.1", Public: "198.51.100.4", Pinned: true, Up: true}},
				{Region: "us", addressStatus: addressStatus{Address: "10.0.0.2", Public: "198.51.100.4", Pinned: true, Up: true}},
			}},
			"198.51.100.3 is a part of 198.51.100.0/28, and published twice | fix: leave out the smaller one",
		},
		"gap": {
			one,
			egressCheck{Gaps: []checkedGap{{Region: "eu", Family: egress.IPv4, From: soon}, {Region: "eu", Family: egress.IPv6, From: past, Until: soon}}},
			"warn egress eu: from " + when(soon) + " on no IPv4 address is in use, and no other one begins: deliveries that need one are held | fix: let the next address begin before the last one ends (from, until)\n" +
				"warn egress eu: from " + when(past) + " on no IPv6 address is in use, until " + when(soon) + ": deliveries that need one are held | fix: let the next address begin before the last one ends (from, until)",
		},
		"late": {
			egressAnswer{Regions: one.Regions, Warnings: []egresslist.Warning{{Region: "eu", Text: "192.0.2.10 vanished", Fix: "put it back"}}},
			egressCheck{},
			"warn egress eu: 192.0.2.10 vanished | fix: put it back",
		},
		"lookup": {
			one, endpoint(checkedEndpoint{Error: "lookup crm.example.com: no such host"}),
			"warn eu to crm.example.com:443: lookup crm.example.com: no such host | fix: check the name in the URL, and the resolvers",
		},
		"family": {
			one, endpoint(checkedEndpoint{Error: "region eu cannot be used: crm.example.com has IPv6 addresses only, and the region has none of those", Lacks: lacksFamily}),
			"warn eu to crm.example.com:443: region eu cannot be used: crm.example.com has IPv6 addresses only, and the region has none of those | fix: give the region a usable address of a family that the endpoint has",
		},
		"address": {
			one,
			egressCheck{Endpoints: []checkedEndpoint{{Region: "eu", Error: "x", Lacks: lacksAddress}, {Region: "eu", Error: "x", Lacks: lacksAddress}}},
			"FAIL egress eu: no way to 2 endpoints while its address is not on this machine | fix: as above",
		},
		"forbidden": {
			one, endpoint(checkedEndpoint{Error: "destination 10.0.0.1 is refused: private"}),
			"warn eu to crm.example.com:443: destination 10.0.0.1 is refused: private | fix: correct the URL, or if it is meant, allow it: allow_ips <prefix>, allow_hosts <name>",
		},
		"routes": {
			one, endpoint(checkedEndpoint{Paths: []checkedPath{{From: "192.0.2.10", To: "203.0.113.9:443", Source: "192.0.2.10"}, {From: "2001:db8::10", To: "[2001:db8::9]:443", Source: "2001:db8::10"}}}),
			"ok eu to crm.example.com:443: there is a route from 192.0.2.10, 2001:db8::10",
		},
		"no route": {
			one, endpoint(checkedEndpoint{Paths: []checkedPath{{From: "192.0.2.10", To: "203.0.113.9:443", Source: "192.0.2.10"}, {From: "2001:db8::10", To: "[2001:db8::9]:443", Source: "2001:db8::10", RouteError: "network is unreachable"}}}),
			"FAIL eu to crm.example.com:443: there is no route from 2001:db8::10 to [2001:db8::9]:443: network is unreachable | fix: give the address a route: ip route get 2001:db8::9 from 2001:db8::10",
		},
		"reached": {
			one, endpoint(checkedEndpoint{Proxy: true, Paths: []checkedPath{{From: "192.0.2.10", To: "203.0.113.9:443", Source: "192.0.2.10", Reached: &yes, TookMS: 12}}}),
			"ok eu to crm.example.com:443: through a proxy, reached from 192.0.2.10 in 12 ms",
		},
		"not reached": {
			one, endpoint(checkedEndpoint{Paths: []checkedPath{{To: "203.0.113.9:443", Source: "10.0.0.7", Reached: &no, ReachError: "i/o timeout"}}}),
			"FAIL eu to crm.example.com:443: no connection from 10.0.0.7 to 203.0.113.9:443: i/o timeout | fix: ask the receiver whether its firewall lets 10.0.0.7 in, and look where packets go: tcptraceroute, or tcpdump at the router",
		},
		"kernel's choice": {
			one,
			egressCheck{Endpoints: []checkedEndpoint{{Endpoint: "crm.example.com:443", Paths: []checkedPath{{To: "203.0.113.9:443", Source: "10.0.0.7"}}}}},
			"ok kernel's choice to crm.example.com:443: there is a route from 10.0.0.7 (the kernel's choice)",
		},
		"many": {one, egressCheck{Skipped: 3}, "warn endpoints: 3 endpoints more were not looked at"},
	} {
		got := judged(c.list, c.check)
		if name == "overlap" { // the addresses themselves are judged, too
			got = got[strings.LastIndex(got, ": 198")+len(": "):]
		}
		if got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, c.want)
		}
	}
}

// A port is one of an address towards one endpoint: that is what max_in_flight is held
// against, over all subscriptions of that endpoint.
func TestDoctorComparesPortsWithWhatMayBeInFlight(t *testing.T) {
	check := egressCheck{EphemeralPorts: 1000, Addresses: []checkedAddress{
		{Region: "eu", addressStatus: addressStatus{Address: "192.0.2.10", Public: "192.0.2.10", Pinned: true, Up: true, Active: true}},
		{Region: "eu", addressStatus: addressStatus{Address: "192.0.2.11", Public: "192.0.2.11", Pinned: true, Up: true, Active: true}},
		{Region: "eu", addressStatus: addressStatus{Address: "192.0.2.12", Public: "192.0.2.12", Pinned: true, Active: true, Error: "not here"}},
		{Region: "eu", addressStatus: addressStatus{Address: "2001:db8::10", Public: "2001:db8::10", Pinned: true, Up: true}},
	}}
	add := func(endpoint string, sum int) {
		check.Endpoints = append(check.Endpoints, checkedEndpoint{Region: "eu", Endpoint: endpoint, MaxInFlight: sum, Paths: []checkedPath{{From: "192.0.2.10"}}})
	}
	ports := func() (lines []string) {
		for line := range strings.Lines(judged(egressAnswer{Regions: []egressRegion{{Name: "eu"}}}, check)) {
			if strings.Contains(line, " ports: ") {
				lines = append(lines, strings.TrimSpace(line))
			}
		}
		return lines
	}
	add("a.example.com:443", 1000)
	add("b.example.com:443", 900)
	add("a.example.com:443", 1000)
	if got := ports(); len(got) != 1 || got[0] != "ok ports: 1000 for each address and endpoint; at most 2000 are needed at once" {
		t.Errorf("%q", got)
	}
	add("a.example.com:443", 1)
	if got := ports(); len(got) != 1 || !strings.HasPrefix(got[0], "warn ports: a.example.com:443: max_in_flight of its subscriptions is 2001 in all, but there are only 2000 ports for it | fix: lower max_in_flight") {
		t.Errorf("%q", got)
	}
}

func TestDoctorAsksTheRunningInstance(t *testing.T) {
	t.Setenv("https_proxy", "http://127.0.0.1:1")
	r := newReceiver(t)
	c := startSteered(t)
	c.running.load(config{
		admin: c.socket, regions: egressRegions(),
		subscriptions: "[" + r.subscription("crm", `"region": "eu", "max_in_flight": 5`) + ", " + r.subscription("erp", `"region": "eu", "max_in_flight": 5`) + "]",
	})
	endpoint := strings.TrimPrefix(r.URL, "http://")
	var check egressCheck
	c.want(http.StatusOK, "GET /relay/egress/check", "", &check)
	if len(check.Endpoints) != 1 || check.Endpoints[0].Endpoint != endpoint || check.Endpoints[0].MaxInFlight != 10 || len(check.Endpoints[0].Subscriptions) != 2 ||
		len(check.Endpoints[0].Paths) != 1 || check.Endpoints[0].Paths[0].Reached != nil {
		t.Errorf("%+v", check)
	}
	if len(r.came) != 0 {
		t.Error("the endpoint was asked something")
	}
	c.refused(http.StatusBadRequest, "GET /relay/egress/check?reach=maybe", "", `reach="maybe" is none of true, false`)
	out := c.mustRun("doctor")
	for _, want := range []string{
		"https_proxy of the running instance: deliveries ignore it",
		"127.0.0.1 can be used, on lo",
		"unpinned, the kernel chooses where deliveries leave from",
		fmt.Sprintf("eu to %s  there is a route from 127.0.0.1\n", endpoint),
		"for each address and endpoint; at most 10 are needed at once",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("doctor lacks %q:\n%s", want, out)
		}
	}
	if out := c.mustRun("doctor", "--reach"); !strings.Contains(out, "reached from 127.0.0.1 in ") {
		t.Error(out)
	}
	r.Close()
	if out, err := c.run("doctor", "--reach"); err == nil || !strings.Contains(out, "FAIL  eu to "+endpoint) {
		t.Errorf("%v\n%s", err, out)
	}
}
