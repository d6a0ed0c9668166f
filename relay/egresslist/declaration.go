package egresslist

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Entry is a prefix that deliveries come from.
type Entry struct {
	Prefix netip.Prefix
	// From is the first moment at which they do, Until the first at which they do so no
	// more. Zero: since ever, for ever.
	From, Until time.Time
	// Pinned says that sockets are bound to the address. Where the kernel chooses, it is
	// the operator's network that has to keep what is published.
	Pinned bool
}

// Region is what a configuration says of one region.
type Region struct {
	Name    string
	Entries []Entry
}

// Declaration is what a configuration says of all its regions. It is immutable.
type Declaration struct {
	regions []region // by name
}

type region struct {
	name     string
	prefixes []prefix // sorted
}

// prefix is one prefix of a region with all entries that lead to it: two addresses behind
// one NAT are one for receivers.
type prefix struct {
	netip.Prefix
	pinned bool
	spans  []span // disjoint, not even touching, in their order
}

// span is a time in which a prefix is in use; a zero end is none.
type span struct{ from, until time.Time }

func (s span) holds(at time.Time) bool {
	return !at.Before(s.from) && (s.until.IsZero() || at.Before(s.until))
}

// Change is one prefix that comes into use or goes out of it.
type Change struct {
	Region string       `json:"region"`
	Prefix netip.Prefix `json:"prefix"`
	// Added: it comes into use; otherwise it goes out of it.
	Added bool      `json:"added,omitempty"`
	At    time.Time `json:"at"`
}

// same reports whether two changes are one. Times are compared as instants.
func (c Change) same(other Change) bool {
	return c.Region == other.Region && c.Prefix == other.Prefix && c.Added == other.Added && c.At.Equal(other.At)
}

func compareChanges(a, b Change) int {
	if n := a.At.Compare(b.At); n != 0 {
		return n
	}
	if n := strings.Compare(a.Region, b.Region); n != 0 {
		return n
	}
	return comparePrefixes(a.Prefix, b.Prefix)
}

// comparePrefixes orders by address, IPv4 first, then by length.
func comparePrefixes(a, b netip.Prefix) int {
	if n := a.Addr().Compare(b.Addr()); n != 0 {
		return n
	}
	return a.Bits() - b.Bits()
}

// Declare reads the regions of a configuration.
func Declare(regions []Region) *Declaration {
	d := &Declaration{regions: make([]region, len(regions))}
	for i, r := range regions {
		d.regions[i] = region{name: r.Name, prefixes: join(r.Entries)}
	}
	slices.SortFunc(d.regions, func(a, b region) int { return strings.Compare(a.name, b.name) })
	return d
}

// join makes one of all entries of a prefix.
func join(entries []Entry) []prefix {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b Entry) int {
		if n := comparePrefixes(a.Prefix, b.Prefix); n != 0 {
			return n
		}
		return a.From.Compare(b.From)
	})
	var all []prefix
	for _, e := range entries {
		s := span{instant(e.From), instant(e.Until)}
		if n := len(all); n == 0 || all[n-1].Prefix != e.Prefix {
			all = append(all, prefix{Prefix: e.Prefix, pinned: e.Pinned, spans: []span{s}})
			continue
		}
		p := &all[len(all)-1]
		p.pinned = p.pinned && e.Pinned
		last := &p.spans[len(p.spans)-1]
		switch {
		case !last.until.IsZero() && s.from.After(last.until):
			p.spans = append(p.spans, s)
		case s.until.IsZero() || last.until.IsZero():
			last.until = time.Time{}
		case s.until.After(last.until):
			last.until = s.until
		}
	}
	return all
}

// instant returns t in UTC and without a reading of the monotonic clock.
func instant(t time.Time) time.Time { return t.Round(0).UTC() }

// Changes returns the moments at which the list of a region changes, past ones too, in
// their order and each once.
func (d *Declaration) Changes(region string) []time.Time {
	var all []time.Time
	for _, r := range d.regions {
		if r.name != region {
			continue
		}
		for _, c := range r.changes() {
			all = append(all, c.At)
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return slices.CompactFunc(all, time.Time.Equal)
}

// changes returns all that the region ever changes.
func (r *region) changes() []Change {
	var all []Change
	for _, p := range r.prefixes {
		for _, s := range p.spans {
			if !s.from.IsZero() {
				all = append(all, Change{Region: r.name, Prefix: p.Prefix, Added: true, At: s.from})
			}
			if !s.until.IsZero() {
				all = append(all, Change{Region: r.name, Prefix: p.Prefix, At: s.until})
			}
		}
	}
	return all
}

// changes returns all that is ever to change, in its order.
func (d *Declaration) changes() []Change {
	var all []Change
	for i := range d.regions {
		all = append(all, d.regions[i].changes()...)
	}
	slices.SortStableFunc(all, compareChanges)
	return all
}

// active reports whether a prefix is in use at a moment.
func (d *Declaration) active(name string, p netip.Prefix, at time.Time) bool {
	for _, r := range d.regions {
		if r.name == name {
			return slices.ContainsFunc(r.prefixes, func(q prefix) bool { return q.Prefix == p && q.active(at) })
		}
	}
	return false
}

func (p *prefix) active(at time.Time) bool {
	return slices.ContainsFunc(p.spans, func(s span) bool { return s.holds(at) })
}
