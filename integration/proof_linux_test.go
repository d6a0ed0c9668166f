package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The claim of the whole project: packets to receivers come from the addresses of their
// subscription's region and from no others, and nothing goes to where it should not.
//
// The relay's machine has the addresses of two regions, and one more, which is the one that
// the kernel would choose. Behind a router stand the receivers. The router notes where every
// packet comes from, while the addresses of the regions are taken away and given back, and
// Caddy is killed and reloaded. RELAY_TEST_LONG=1 makes it 10,000 deliveries.
func TestNotOnePacketFromAnotherAddress(t *testing.T) {
	inANetworkNamespace(t, func(t *testing.T) {
		t.Run("proof", testNotOnePacketFromAnotherAddress)
	})
}

// Addresses of the proof. Those of receivers are public ones, so that the destination guard
// needs no holes; nothing leaves the network of the test.
const (
	// kernels is what the kernel would choose.
	kernels, kernels6 = "203.0.113.99", "2001:db8:1::99"
	receiverOne       = "93.184.215.14"
	receiverTwo       = "93.184.215.15"
	receiverSix       = "2606:2800:1::14"
	nameServerOfAll   = "93.184.215.53"
	metadataOfClouds  = "169.254.169.254"
	privateHost       = "10.1.2.3"
)

// pools are the addresses of the regions.
var pools = map[string][]string{
	"eu": {"203.0.113.10", "203.0.113.11", "2001:db8:1::10", "2001:db8:1::11"},
	"us": {"203.0.113.20", "203.0.113.21"},
}

// proof is a network of three machines: that of the relay, which the test runs on, the
// router, and the one that all receivers stand on.
type proof struct {
	t               *testing.T
	router, far     *host
	seen            *recorder
	six             bool
	pools           map[string][]string
	down            map[string]bool // the addresses that are taken away
	port            int             // of all receivers and canaries
	one, two, sixth *receiver
	canaries        map[string]*receiver
	names           *nameServer
}

func newProof(t *testing.T) *proof {
	p := &proof{t: t, router: newHost(t), far: newHost(t), six: hasIPv6(), port: freePort(t), down: make(map[string]bool)}
	p.pools = make(map[string][]string)
	for region, pool := range pools {
		p.pools[region] = slices.DeleteFunc(slices.Clone(pool), func(a string) bool { return !p.six && strings.Contains(a, ":") })
	}
	ip(t, "link set lo up")
	p.router.cable("uplink", "relay")
	p.router.in(func() { p.far.cable("away", "net") })

	p.add("uplink", kernels+"/24", kernels6+"/64")
	ip(t, "link set uplink up")
	for _, pool := range p.pools {
		for _, address := range pool {
			p.restore(address)
		}
	}
	for name, addresses := range map[string][]string{
		"relay": {"203.0.113.1/24", "2001:db8:1::1/64"},
		"away":  {"93.184.215.1/24", "2606:2800:1::1/64"},
		"lo":    {metadataOfClouds + "/32", privateHost + "/32"},
	} {
		p.router.in(func() { p.add(name, addresses...) })
		p.router.ip("link set " + name + " up")
	}
	p.far.in(func() {
		p.add("net", receiverOne+"/24", receiverTwo+"/24", nameServerOfAll+"/24", receiverSix+"/64")
	})
	p.far.ip("link set net up")

	p.router.set("ipv4/ip_forward", "1")
	ip(t, "route add default via 203.0.113.1")
	p.far.ip("route add default via 93.184.215.1")
	if p.six {
		p.router.set("ipv6/conf/all/forwarding", "1")
		ip(t, "-6 route add default via 2001:db8:1::1")
		p.far.ip("-6 route add default via 2606:2800:1::1")
	}
	p.seen = p.router.record("relay")
	return p
}

// add gives an interface addresses, as far as the kernel has their family.
func (p *proof) add(name string, addresses ...string) {
	for _, address := range addresses {
		switch {
		case !strings.Contains(address, ":"):
			ip(p.t, "addr add "+address+" dev "+name)
		case p.six:
			ip(p.t, "-6 addr add "+address+" dev "+name+" nodad")
		}
	}
}

func (p *proof) remove(address string) {
	ip(p.t, "addr del "+whole(address)+" dev uplink")
	p.down[address] = true
}

func (p *proof) restore(address string) {
	p.add("uplink", whole(address))
	delete(p.down, address)
}

// whole is the prefix of one address.
func whole(address string) string {
	addr := netip.MustParseAddr(address)
	return netip.PrefixFrom(addr, addr.BitLen()).String()
}

// flip takes an address away, or gives one back.
func (p *proof) flip() {
	all := slices.Concat(p.pools["eu"], p.pools["us"])
	address := all[rand.IntN(len(all))]
	if p.down[address] {
		p.restore(address)
	} else {
		p.remove(address)
	}
}

// sources says which addresses a receiver may be reached from.
func (p *proof) sources() map[string][]string {
	return map[string][]string{
		receiverOne:     p.pools["eu"],
		receiverSix:     pools["eu"],
		receiverTwo:     pools["us"],
		nameServerOfAll: pools["eu"],
	}
}

// wrong returns the ways of packets that must not be. Neighbours that look for each other
// (RFC 4861) say so to the link, or to the router.
func (p *proof) wrong(all map[way]int) (list []string) {
	sources := p.sources()
	router := netip.MustParseAddr("2001:db8:1::1")
	for w, n := range all {
		if w.dst.IsMulticast() || w.dst.Is6() && w.dst.IsLinkLocalUnicast() || w.dst == router {
			continue
		}
		if !slices.Contains(sources[w.dst.String()], w.src.String()) {
			list = append(list, fmt.Sprintf("%d from %v to %v", n, w.src, w.dst))
		}
	}
	return list
}

func testNotOnePacketFromAnotherAddress(t *testing.T) {
	p := newProof(t)
	p.listen()
	c := run(t, p.config(false), withGrace("1s"))
	ids := p.disturb(c, counted(250, 10_000/len(p.receivers())+1))
	c.drained()
	p.arrived(c, ids)
	p.recorded(c, ids[:min(len(ids), 500)])
	p.failover(c)
	p.judge()
}

// listen starts the receivers, the canaries and the name server.
func (p *proof) listen() {
	on := func(address string) *receiver {
		return newReceiverOn(p.t, net.JoinHostPort(address, strconv.Itoa(p.port)))
	}
	p.far.in(func() {
		p.one, p.two = on(receiverOne), on(receiverTwo)
		if p.six {
			p.sixth = on(receiverSix)
		}
		p.names = newNameServer(p.t, nameServerOfAll+":53")
	})
	p.canaries = make(map[string]*receiver)
	for _, address := range []string{"127.0.0.1", kernels, pools["eu"][0], pools["us"][1]} {
		p.canaries[address] = on(address)
	}
	p.router.in(func() {
		for _, address := range []string{metadataOfClouds, privateHost} {
			p.canaries[address] = on(address)
		}
	})
	p.names.say("rebind.example.com", saying{addresses: []string{receiverOne}})
	p.two.answer(func(w http.ResponseWriter, a *arrival) {
		time.Sleep(20 * time.Millisecond) // so that addresses go while somebody waits for an answer
		if a.number%2 == 0 {
			w.Header().Set("Connection", "close") // and others while somebody connects
		}
		w.WriteHeader(http.StatusOK)
	})
	bad := p.bad()
	var redirected atomic.Int64
	p.one.answer(func(w http.ResponseWriter, a *arrival) {
		switch a.path {
		case "/redirect":
			n := int(redirected.Add(1))
			w.Header().Set("Location", fmt.Sprintf("http://%s:%d/latest/meta-data/", bad[n%len(bad)], p.port))
			w.WriteHeader([]int{301, 302, 303, 307, 308}[n%5])
		case "/rebind":
			w.Header().Set("Connection", "close") // each delivery asks for the name anew
			w.WriteHeader(http.StatusOK)
		default:
			w.WriteHeader(http.StatusOK)
		}
	})
}

// bad are where nothing may go.
func (p *proof) bad() []string { return slices.Sorted(maps.Keys(p.canaries)) }

// receivers are those that get every event, by subscription.
func (p *proof) receivers() map[string]*receiver {
	all := map[string]*receiver{"one": p.one, "two": p.two}
	if p.six {
		all["six"] = p.sixth
	}
	return all
}

// config returns the lines of the relay option; the other ones change nothing that receivers
// may notice.
func (p *proof) config(other bool) string {
	eu, us := slices.Clone(p.pools["eu"]), slices.Clone(p.pools["us"])
	if other {
		slices.Reverse(eu)
		slices.Reverse(us)
	}
	text := fmt.Sprintf(`
		region us %[1]s
		region eu %[2]s {
			resolvers %[3]s
		}
		defaults {
			region eu
			timeout 2s
			retry %[4]s
			breaker off
		}
		subscription one http://%[5]s:%[7]d/
		subscription two http://%[6]s:%[7]d/ {
			region us
		}
		subscription rebind http://rebind.example.com:%[7]d/rebind {
			retry off
		}
		subscription redirect http://%[5]s:%[7]d/redirect {
			retry off
		}
`, strings.Join(us, " "), strings.Join(eu, " "), nameServerOfAll, strings.Repeat("300ms ", 60), receiverOne, receiverTwo, p.port)
	if p.six {
		text += fmt.Sprintf("subscription six http://[%s]:%d/\n", receiverSix, p.port)
	}
	return text
}

// disturb posts so many events, and meanwhile takes addresses away and gives them back, lets
// a name lead elsewhere, kills Caddy and reloads it. It returns the ids of the events.
func (p *proof) disturb(c *instance, events int) (ids []string) {
	var posted atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range events {
			if id := p.post(c, i); id != "" {
				ids = append(ids, id)
			}
			posted.Add(1)
			time.Sleep(8 * time.Millisecond)
		}
	}()
	bad := p.bad()
	killed, reloaded := false, false
	for going := true; going; {
		p.flip()
		says := receiverOne
		if n := rand.IntN(2 * len(bad)); n < len(bad) {
			says = bad[n]
		}
		p.names.say("rebind.example.com", saying{addresses: []string{says}})
		select {
		case <-done:
			going = false
		case <-time.After(time.Duration(30+rand.IntN(150)) * time.Millisecond):
		}
		switch n := int(posted.Load()); {
		case !killed && n > events/3:
			c.kill()
			c.start()
			killed = true
		case !reloaded && n > 2*events/3:
			c.mustReload(p.config(true))
			reloaded = true
		}
	}
	if !killed || !reloaded || len(ids) != events {
		p.t.Fatalf("killed: %v, reloaded: %v, taken: %d of %d", killed, reloaded, len(ids), events)
	}
	for _, address := range slices.Collect(maps.Keys(p.down)) {
		p.restore(address)
	}
	return ids
}

// post repeats an event until it is taken. Some are large: these take another way through
// the relay.
func (p *proof) post(c *instance, i int) string {
	body := fmt.Sprintf(`{"n":%d}`, i)
	if i%10 == 0 {
		body = fmt.Sprintf(`{"n":%d,"text":%q}`, i, strings.Repeat("x", 20<<10))
	}
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		a := c.post("/v1/events/order.paid", body, "Idempotency-Key", fmt.Sprintf("proof-%d", i))
		var taken receipt
		if a.status == http.StatusAccepted && json.Unmarshal(a.body, &taken) == nil {
			return taken.ID
		}
		if time.Now().After(deadline) {
			p.t.Errorf("event %d was not taken: %s", i, a)
			return ""
		}
	}
}

// arrived: every event came to every receiver, and none was given up.
func (p *proof) arrived(c *instance, ids []string) {
	for name, r := range p.receivers() {
		got := make(map[string]bool)
		for _, a := range r.got() {
			if a.subscription() != name {
				continue
			}
			got[a.id()] = true
			if !slices.Contains(p.sources()[hostOf(r.address)], a.peer) {
				p.t.Errorf("%s saw a delivery from %s", name, a.peer)
			}
		}
		for _, id := range ids {
			if !got[id] {
				p.t.Errorf("%s did not arrive at %s: %+v", id, name, c.delivery(id, name))
			}
		}
		if s := c.subscription(name); s.Failed != 0 {
			p.t.Errorf("%s: %d were given up", name, s.Failed)
		}
	}
}

// recorded: attempts have the addresses of their region, and rebinding was refused.
func (p *proof) recorded(c *instance, ids []string) {
	attempts, blocked := 0, 0
	for _, id := range ids {
		for _, d := range c.event(id).Deliveries {
			pool := p.pools["eu"]
			if d.Subscription == "two" {
				pool = p.pools["us"]
			}
			for _, a := range d.Attempts {
				attempts++
				if a.ErrorKind == "blocked" {
					blocked++
				}
				if a.LocalAddress != "" && !slices.Contains(pool, hostOf(a.LocalAddress)) {
					p.t.Errorf("an attempt of %s was made from %s", d.Subscription, a.LocalAddress)
				}
			}
		}
	}
	if blocked == 0 {
		p.t.Error("no rebinding was refused: the proof shows nothing")
	}
	p.t.Logf("%d attempts of %d events, %d refused by the guard", attempts, len(ids), blocked)
}

// judge looks at what the router has noted, and at the canaries.
func (p *proof) judge() {
	t := p.t
	t.Helper()
	// The control: a packet from another address is noticed. It is the last one of all, so
	// that the recorder has seen what was before.
	conn, err := net.Dial("tcp", p.one.address)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	control := way{netip.MustParseAddr(kernels), netip.MustParseAddr(receiverOne)}
	eventually(t, func() bool { seen, _ := p.seen.ways(); return len(p.wrong(seen)) > 0 && seen[control] > 0 },
		func() string { return "the recorder is blind" })

	seen, lost := p.seen.ways()
	delete(seen, control)
	if list := p.wrong(seen); len(list) != 0 {
		t.Errorf("packets that must not be: %v", list)
	}
	if lost != 0 {
		t.Errorf("%d packets were not noted", lost)
	}
	used := make(map[string]int)
	for w, n := range seen {
		used[w.src.String()] += n
	}
	for region, pool := range p.pools {
		for _, address := range pool {
			if used[address] == 0 {
				t.Errorf("nothing ever came from %s of region %s", address, region)
			}
		}
	}
	t.Logf("packets by source: %v", used)

	for address, canary := range p.canaries {
		canary.wantSilence(address)
		// The control: it can be reached.
		if resp, err := http.Get(canary.url()); err != nil {
			t.Errorf("%s cannot be reached at all: %v", address, err)
		} else {
			resp.Body.Close()
		}
	}
}

// failover: the address that a receiver sees is gone, and it sees the other one of the
// region; it is back, and seen again. So every address is used at least once.
func (p *proof) failover(c *instance) {
	p.t.Helper()
	for name, r := range p.receivers() {
		from := func() string {
			d := c.wantDelivery(c.accept("order.paid", `1`, "Relay-Subscriptions", name).ID, name, stateDelivered, "")
			return hostOf(d.Attempts[len(d.Attempts)-1].LocalAddress)
		}
		first := from()
		p.remove(first)
		if second := from(); second == first || !slices.Contains(p.sources()[hostOf(r.address)], second) {
			p.t.Errorf("without %s a delivery of %s left from %s", first, name, second)
		}
		p.restore(first)
		eventually(p.t, func() bool { return from() == first }, func() string { return "deliveries do not come back to " + first })
	}
}

// hostOf is the address without its port.
func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}
