package egress

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// hosts are many destinations.
func hosts() []string {
	list := make([]string, 400)
	for i := range list {
		list[i] = fmt.Sprintf("h%d.example.com", i)
	}
	return list
}

// chosen returns which address each host gets.
func chosen(r *Region, family Family, without ...*Address) map[string]netip.Addr {
	by := make(map[string]netip.Addr)
	for _, host := range hosts() {
		if a := r.pick(host, time.Now(), without).of(family); a != nil {
			by[host] = a.Addr
		}
	}
	return by
}

func count(by map[string]netip.Addr) map[string]int {
	n := make(map[string]int)
	for _, addr := range by {
		n[addr.String()]++
	}
	return n
}

// A host sees one address of a region as long as that is up, and all hosts
// together see all of them.
func TestSourcesAreStableAndSpread(t *testing.T) {
	r := region(t, "127.0.0.2", "::1", "127.0.0.3", "127.0.0.4", "127.0.0.5")
	first := chosen(r, IPv4)
	for host, addr := range chosen(region(t, "127.0.0.5", "127.0.0.3", "127.0.0.4", "127.0.0.2"), IPv4) {
		if first[host] != addr {
			t.Fatalf("%s leaves from %v, and in a region that lists its addresses otherwise from %v", host, first[host], addr)
		}
	}
	n := count(first)
	for _, a := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"} {
		if n[a] < 60 {
			t.Errorf("%v is chosen for %d of 400 hosts", a, n[a])
		}
	}
	if n := count(chosen(r, IPv6)); n["::1"] != 400 {
		t.Errorf("IPv6: %v", n)
	}
}

// What one address had is spread over the others when it goes, nothing else moves, and
// when it is back everything is as before.
func TestOnlyTheHostsOfALostAddressMove(t *testing.T) {
	r := region(t, "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5")
	before := chosen(r, IPv4)
	lost := &r.Addresses[1]
	r.state[1].down.Store(true)
	moved := make(map[string]netip.Addr)
	for host, addr := range chosen(r, IPv4) {
		switch {
		case addr == lost.Addr:
			t.Fatalf("%s leaves from an address that is down", host)
		case before[host] == lost.Addr:
			moved[host] = addr
		case before[host] != addr:
			t.Errorf("%s moved from %v to %v", host, before[host], addr)
		}
	}
	if n := count(moved); len(n) != 3 {
		t.Errorf("the hosts of the lost address moved to %v", n)
	}
	for host, addr := range chosen(r, IPv4, lost) {
		if before[host] == lost.Addr && moved[host] != addr {
			t.Errorf("%s: what dialling finds out leads elsewhere than what the watch sees", host)
		}
	}
	r.state[1].down.Store(false)
	for host, addr := range chosen(r, IPv4) {
		if before[host] != addr {
			t.Errorf("%s did not come back to %v", host, before[host])
		}
	}
}

// A new address takes its share from all, and moves nobody between the others.
func TestANewAddressTakesItsShare(t *testing.T) {
	before := chosen(region(t, "127.0.0.2", "127.0.0.3"), IPv4)
	taken := 0
	for host, addr := range chosen(region(t, "127.0.0.2", "127.0.0.3", "127.0.0.4"), IPv4) {
		if addr.String() == "127.0.0.4" {
			taken++
		} else if before[host] != addr {
			t.Errorf("%s moved from %v to %v", host, before[host], addr)
		}
	}
	if taken < 80 || taken > 200 {
		t.Errorf("the new one of three addresses took %d of 400 hosts", taken)
	}
}

// What a watch last saw is not the last word where nothing else is left.
func TestTheLastAddressIsLookedAtAgain(t *testing.T) {
	r := region(t, "127.0.0.2", goneA)
	r.state[0].down.Store(true)
	r.state[1].down.Store(true)
	some := 0
	for _, host := range hosts() {
		if a := r.pick(host, time.Now(), nil).v4; a != nil {
			some++
			if a.Addr.String() != "127.0.0.2" {
				t.Fatalf("%s leaves from %v, which is not here", host, a)
			}
		}
	}
	if some == 0 {
		t.Error("nothing can leave although an address is back")
	}
}

func TestPickingAllocatesNothing(t *testing.T) {
	r := region(t, "127.0.0.2", "127.0.0.3", "::1")
	if n := testing.AllocsPerRun(100, func() { r.pick("hooks.example.com", time.Now(), nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPick(b *testing.B) {
	r, err := NewRegion("eu", bound("127.0.0.2", "127.0.0.3", "127.0.0.4", "::1"))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.pick("hooks.example.com", time.Now(), nil)
	}
}
