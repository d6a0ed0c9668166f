package egress

import (
	"slices"
	"sync/atomic"
	"time"
)

// addressState is what a region knows of one of its addresses.
type addressState struct {
	// hash is of the address's text.
	hash   uint64
	family Family
	// down is set by a [Watch] while the address is not on this machine. Without a
	// watch it is false, and dialling finds out.
	down atomic.Bool
}

// sources are the addresses that connections to one destination leave from, one for
// each family; nil if there is none. They can be compared.
type sources struct{ v4, v6 *Address }

// unbound leaves the choice to the kernel, where a region has no addresses at all.
var unbound = new(Address)

func (s sources) of(family Family) *Address {
	if family == IPv6 {
		return s.v6
	}
	return s.v4
}

// pick returns where connections to host leave from at that time. The choice is the
// same each time, so that a receiver sees one address as long as that is up; another
// address that comes or goes moves only the hosts that it takes or had. All hosts
// together use all addresses. Those in without are known not to be there.
//
// r may be nil.
func (r *Region) pick(host string, now time.Time, without []*Address) sources {
	if r == nil || len(r.Addresses) == 0 {
		return sources{unbound, unbound}
	}
	h := hash(host)
	return sources{r.best(IPv4, h, now, without), r.best(IPv6, h, now, without)}
}

// best is the address with the highest weight for a host (rendezvous hashing, Thaler
// and Ravishankar 1998) of those that can be used.
func (r *Region) best(family Family, host uint64, now time.Time, without []*Address) *Address {
	var (
		best, lost *Address // lost was not there when it was looked at last
		most, some uint64
	)
	for i := range r.Addresses {
		a := &r.Addresses[i]
		if r.state[i].family != family || !a.Active(now) || slices.Contains(without, a) {
			continue
		}
		weight := mix(host ^ r.state[i].hash)
		switch {
		case !r.state[i].down.Load():
			if best == nil || weight > most {
				best, most = a, weight
			}
		case lost == nil || weight > some:
			lost, some = a, weight
		}
	}
	if best == nil && lost != nil && !missing(lost.Addr) {
		return lost // it is back, and the watch has not seen it yet
	}
	return best
}

// usable reports whether all of the sources are in use now and were there when they
// were looked at last.
func (r *Region) usable(s sources, now time.Time) bool {
	for i := range r.Addresses {
		a := &r.Addresses[i]
		if (a == s.v4 || a == s.v6) && (!a.Active(now) || r.state[i].down.Load()) {
			return false
		}
	}
	return true
}

// unavailable says why nothing can leave from the region now: in one family, or at all
// if that is empty.
func (r *Region) unavailable(family Family, now time.Time) *UnavailableError {
	switch {
	case family != "":
	case !r.Serves(IPv6):
		family = IPv4
	case !r.Serves(IPv4):
		family = IPv6
	}
	e := &UnavailableError{Region: r.Name, Family: family}
	for _, a := range r.Addresses {
		if (family == "" || a.Family() == family) && a.Pinned() && a.Active(now) {
			e.Addresses = append(e.Addresses, a.Addr)
		}
	}
	if len(e.Addresses) > 0 {
		e.Reason = notHere(e.Addresses)
	} else {
		e.Reason = notNow(family, r.Idle(now))
	}
	return e
}

// hash is FNV-1a. It is the same in each process, so that a restart does not move
// a receiver to another source.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix spreads what differs in few bits over all of them (the finalizer of SplitMix64).
func mix(h uint64) uint64 {
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}
