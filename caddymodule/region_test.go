package caddymodule

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

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

	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&gauges{app: a})
	families, err := registry.Gather()
	if err != nil || len(families) != 1 || families[0].GetName() != "caddy_relay_egress_up" || len(families[0].GetMetric()) != 4 {
		t.Errorf("%v, %v; want four series of caddy_relay_egress_up", families, err)
	}
}
