package caddymodule

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/relay/view"
)

// egressCheck is what GET /relay/egress/check answers: what only the running instance can
// tell of its addresses and of the ways from them.
type egressCheck struct {
	Addresses []checkedAddress  `json:"addresses"`
	Endpoints []checkedEndpoint `json:"endpoints"`
	// Skipped are endpoints that were not looked at, since there are too many or the time
	// was up.
	Skipped int `json:"skipped"`
	// Gaps are times in which nothing can leave from a region.
	Gaps []checkedGap `json:"gaps"`
	// EphemeralPorts is how many connections one address can have to one endpoint; 0 if
	// unknown.
	EphemeralPorts int `json:"ephemeral_ports"`
	// ProxyVariables of the environment are set, and ignored.
	ProxyVariables []string `json:"proxy_variables"`
}

type checkedAddress struct {
	Region string `json:"region"`
	addressStatus
	// Interface is the one that has the address, if any has.
	Interface string `json:"interface"`
}

// checkedEndpoint is where some subscriptions of one region deliver to.
type checkedEndpoint struct {
	Region        string   `json:"region"`
	Endpoint      string   `json:"endpoint"`
	Subscriptions []string `json:"subscriptions"`
	// MaxInFlight is the sum of theirs.
	MaxInFlight int `json:"max_in_flight"`
	// Proxy says that another host makes the connections.
	Proxy bool          `json:"proxy"`
	Paths []checkedPath `json:"paths"`
	// Error is why there is no way at all. Lacks says what it is for want of: "address",
	// where those of the region are not on this machine, or "family", where it has none
	// that would do; empty for an error of the lookup or of the guard.
	Error string `json:"error"`
	Lacks string `json:"lacks"`
}

// What an endpoint may lack.
const (
	lacksAddress = "address"
	lacksFamily  = "family"
)

// checkedPath is a way from one address to the endpoint.
type checkedPath struct {
	// From is empty where the kernel chooses.
	From string `json:"from"`
	To   string `json:"to"`
	// Source is what packets would carry.
	Source     string `json:"source"`
	RouteError string `json:"route_error"`
	// Reached is null where no connection was tried.
	Reached    *bool  `json:"reached"`
	ReachError string `json:"reach_error"`
	TookMS     int64  `json:"took_ms"`
}

type checkedGap struct {
	Region string        `json:"region"`
	Family egress.Family `json:"family"`
	From   view.Time     `json:"from"`
	// Until is null where no other address begins.
	Until view.Time `json:"until"`
}

// Bounds of a check.
const (
	checkEndpoints = 500
	checkers       = 16
	checkTime      = time.Minute
)

// adminEgressCheck answers GET /relay/egress/check. With reach=true it makes connections.
func adminEgressCheck(w http.ResponseWriter, r *http.Request, a *App, _ *relay.Relay) error {
	q := newQuery(r, "reach")
	reach := oneOf(q, "reach", []string{"true", "false"}) == "true"
	if q.err != nil {
		return q.err
	}
	ctx, cancel := context.WithTimeout(r.Context(), checkTime)
	defer cancel()
	c := egressCheck{Addresses: []checkedAddress{}, Endpoints: []checkedEndpoint{}, Gaps: []checkedGap{}, ProxyVariables: proxyVariables(os.Getenv)}
	for i, region := range a.regionStatus() {
		for _, address := range region.Addresses {
			checked := checkedAddress{Region: region.Name, addressStatus: address}
			if addr, err := netip.ParseAddr(address.Address); err == nil {
				checked.Interface = egress.InterfaceOf(addr)
			}
			c.Addresses = append(c.Addresses, checked)
		}
		for _, gap := range a.egress[i].Gaps(time.Now()) {
			c.Gaps = append(c.Gaps, checkedGap{Region: region.Name, Family: gap.Family, From: view.Time{Time: gap.From}, Until: view.Time{Time: gap.Until}})
		}
	}
	if n, err := egress.EphemeralPorts(); err == nil {
		c.EphemeralPorts = n
	}
	c.Endpoints, c.Skipped = a.survey.probe(ctx, reach)
	return writeJSON(w, http.StatusOK, c)
}

// proxyVariables are those of the environment that other programs obey.
func proxyVariables(getenv func(string) string) []string {
	set := []string{}
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy"} {
		if getenv(name) != "" {
			set = append(set, name)
		}
	}
	return set
}

// endpoint is the host and port of a URL, the port written out.
func endpoint(u *url.URL) (host string, port uint16) {
	text := cmp.Or(u.Port(), map[string]string{"https": "443"}[u.Scheme], "80")
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return u.Hostname(), 0 // the guard has judged the URL
	}
	return u.Hostname(), uint16(n)
}

// way is what is equal for subscriptions that deliver to one endpoint from one region by
// the same rules.
type way struct {
	dialer *egress.Dialer
	scheme string
	host   string
	port   uint16
}

// probed is a way with what is found on it.
type probed struct {
	way
	endpoint checkedEndpoint
}

// probe looks for ways to all destinations, and returns how many it has left out.
func (s *survey) probe(ctx context.Context, reach bool) ([]checkedEndpoint, int) {
	ways := s.ways()
	skipped := max(len(ways)-checkEndpoints, 0)
	ways = ways[:len(ways)-skipped]
	next := make(chan *probed)
	var all sync.WaitGroup
	for range min(checkers, len(ways)) {
		all.Go(func() {
			for p := range next {
				p.look(ctx, reach)
			}
		})
	}
	looked := 0
	for ; looked < len(ways) && ctx.Err() == nil; looked++ {
		next <- ways[looked]
	}
	close(next)
	all.Wait()
	endpoints := make([]checkedEndpoint, looked)
	for i := range endpoints {
		endpoints[i] = ways[i].endpoint
	}
	return endpoints, skipped + len(ways) - looked
}

// ways are those of all subscriptions, each once, in the order of the configuration.
func (s *survey) ways() []*probed {
	var all []*probed
	known := make(map[way]*probed)
	for _, place := range s.places {
		host, port := endpoint(place.url)
		key := way{place.dialer, place.url.Scheme, strings.ToLower(host), port}
		p := known[key]
		if p == nil {
			p = &probed{way: key, endpoint: checkedEndpoint{
				Endpoint: net.JoinHostPort(host, strconv.Itoa(int(port))), Proxy: key.dialer.Proxy != nil, Paths: []checkedPath{},
			}}
			if key.dialer.Region != nil {
				p.endpoint.Region = key.dialer.Region.Name
			}
			known[key] = p
			all = append(all, p)
		}
		if !slices.Contains(p.endpoint.Subscriptions, place.subscription) { // one may need a place twice
			p.endpoint.Subscriptions = append(p.endpoint.Subscriptions, place.subscription)
		}
		p.endpoint.MaxInFlight += place.maxInFlight
	}
	return all
}

func (p *probed) look(ctx context.Context, reach bool) {
	paths, err := p.dialer.Probe(ctx, p.scheme, p.host, p.port, reach)
	if err != nil {
		p.endpoint.Error = err.Error()
		if unavailable, ok := errors.AsType[*egress.UnavailableError](err); ok {
			p.endpoint.Lacks = lacksFamily
			if len(unavailable.Addresses) > 0 {
				p.endpoint.Lacks = lacksAddress
			}
		}
	}
	for _, path := range paths {
		shown := checkedPath{To: path.To.String(), Source: path.Source.String(), TookMS: path.Took.Milliseconds()}
		if path.From != nil && path.From.Pinned() {
			shown.From = path.From.String()
		}
		if path.Route != nil {
			shown.RouteError = causeOf(path.Route)
		}
		if reach {
			reached := path.Reach == nil
			if shown.Reached = &reached; !reached {
				shown.ReachError = causeOf(path.Reach)
			}
		}
		p.endpoint.Paths = append(p.endpoint.Paths, shown)
	}
}

// causeOf leaves out of an error between which addresses it was, since those stand beside
// it.
func causeOf(err error) string {
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}
