package caddymodule

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestJSONOfRegionsIsJudgedAsTheCaddyfileIs(t *testing.T) {
	for _, c := range []struct{ line, field string }{
		{"egress hooks.example.com", `"egress": [{"address": "hooks.example.com"}]`},
		{"egress 192.0.2.0/24", `"egress": [{"address": "192.0.2.0/24"}]`},
		{"egress 192.0.2.1 as 10.0.0.1", `"egress": [{"address": "192.0.2.1", "as": "10.0.0.1"}]`},
		{"egress 192.0.2.1 as ::1", `"egress": [{"address": "192.0.2.1", "as": "::1"}]`},
		{"egress auto", `"egress": [{"address": "auto"}]`},
		{"egress auto as x", `"egress": [{"address": "auto", "as": "x"}]`},
		{"egress 192.0.2.1 until 0001-01-01T00:00:01Z from 2027-01-01T00:00:00Z", `"egress": [{"address": "192.0.2.1", "from": "2027-01-01T00:00:00Z", "until": "0001-01-01T00:00:01Z"}]`},
		{"egress 192.0.2.1\nprefer 6", `"egress": [{"address": "192.0.2.1"}], "prefer": "6"`},
		{"egress 192.0.2.1\nresolvers x", `"egress": [{"address": "192.0.2.1"}], "resolvers": ["x"]`},
		{"egress 192.0.2.1\nresolvers ::1", `"egress": [{"address": "192.0.2.1"}], "resolvers": ["::1"]`},
		{"egress 192.0.2.1\nnetwork_proxy url x", `"egress": [{"address": "192.0.2.1"}], "network_proxy": {"from": "url", "url": "x"}`},
	} {
		_, inCaddyfile := adapt(option("region eu {\n" + c.line + "\n}"))
		_, inJSON := provision(t, `{"regions": [{"name": "eu", `+c.field+`}]}`)
		if inCaddyfile == nil || inJSON == nil {
			t.Errorf("%s: Caddyfile: %v; JSON: %v", c.line, inCaddyfile, inJSON)
			continue
		}
		text, _, _ := strings.Cut(strings.TrimPrefix(inCaddyfile.Error(), "parsing caddyfile tokens for 'relay': "), ", at Caddyfile:")
		if text != inJSON.Error() {
			t.Errorf("the same mistake has two texts:\n%s\n%s", text, inJSON)
		}
	}
}

// What the kernel chooses is up, and marked as not pinned; what it has not is down; and
// two lines of "auto" are two series of the metric.
func TestStatusOfRegions(t *testing.T) {
	a := mustProvision(t, `{"regions": [
		{"name": "eu", "egress": [
			{"address": "127.0.0.1"},
			{"address": "203.0.113.77", "as": "198.51.100.7", "until": "2020-01-01T00:00:00Z"}
		]},
		{"name": "pods", "egress": [{"address": "auto", "as": "198.51.100.16/28"}, {"address": "auto", "as": "2001:db8::7", "from": "2120-01-01T00:00:00Z"}]}
	]}`)
	type row struct {
		region, address, public string
		pinned, up, active      bool
	}
	var got []row
	for _, r := range a.regionStatus() {
		for _, s := range r.Addresses {
			got = append(got, row{r.Name, s.Address, s.Public, s.Pinned, s.Up, s.Active})
			if (s.Error == "") != s.Up {
				t.Errorf("%s: up is %v, and the error %q", s.Address, s.Up, s.Error)
			}
		}
	}
	want := []row{
		{"eu", "127.0.0.1", "127.0.0.1", true, true, true},
		{"eu", "203.0.113.77", "198.51.100.7", true, false, false},
		{"pods", "auto", "198.51.100.16/28", false, true, true},
		{"pods", "auto", "2001:db8::7", false, true, false},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got %+v, want %+v", got[i], want[i])
		}
	}
	if eu := a.regionStatus()[0].Addresses; !eu[0].Until.IsZero() || eu[1].Until.Year() != 2020 {
		t.Errorf("until: %v and %v", eu[0].Until, eu[1].Until)
	}

	// Of those in use alone: whoever alerts on 0 is not told of what is yet to come.
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&gauges{app: a})
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "caddy_relay_egress_up" || len(families[0].GetMetric()) != 2 {
		t.Errorf("%v, %v; want two series of caddy_relay_egress_up", families, err)
	}
}
