package postgres

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/shard"
)

// change is what a member does about a subscription.
type change int

const (
	leaveIt change = iota
	takeIt         // carry it from now on
	wantIt         // ask its owner for it
	unwantIt
	spareIt // tell the others that one would rather not carry it
	unspareIt
)

// standing is all that matters for who carries a subscription.
type standing struct {
	// offered: it is in the configuration, and there are addresses for it. preferred: of all
	// that make deliveries of its region this member should have it.
	offered, preferred bool
	// Of owner and wanted, those that are alive, 0: none.
	owner, wanted int32
	spare         bool
	// free is for how long nobody has carried it. fresh: its owner has not had it for long.
	free  time.Duration
	fresh bool
}

// judge says what the member me does. Nobody gives up by itself what it can serve and what
// nobody asks for; and nobody asks for what has just moved, so that nothing goes to and fro
// while members do not agree, as while one after the other gets a new configuration.
func (s *standing) judge(me int32, patience time.Duration) change {
	switch {
	case s.owner == me && s.spare != !s.offered:
		if s.spare {
			return unspareIt
		}
		return spareIt
	case s.owner == me:
		return leaveIt
	case !s.offered:
		if s.wanted == me {
			return unwantIt
		}
		return leaveIt
	case s.owner == 0 && (s.preferred || s.free >= patience):
		return takeIt
	case s.owner == 0:
		return leaveIt
	case s.preferred && !s.fresh && s.wanted != me, s.spare && s.wanted == 0:
		return wantIt
	case s.wanted == me && !s.preferred && !s.spare:
		return unwantIt
	}
	return leaveIt
}

// sharing says who should have which shard, by region. It holds for certain members.
type sharing struct {
	members []string
	regions map[string][]string // the ID of a member for each shard
}

// of returns the ID of the member that should have a subscription, "" if there is none.
func (s *sharing) of(name, region string, shards int, members []member) string {
	if s.regions == nil {
		s.regions = make(map[string][]string)
	}
	assigned, ok := s.regions[region]
	if !ok {
		var ids []string
		for i := range members {
			if members[i].serves(region) {
				ids = append(ids, members[i].id)
			}
		}
		for _, i := range shard.Assign(region, shards, ids) {
			assigned = append(assigned, ids[i])
		}
		s.regions[region] = assigned
	}
	if len(assigned) == 0 {
		return ""
	}
	return assigned[shard.Of(name, shards)]
}

// renew forgets what held for other members than these.
func (s *sharing) renew(members []member) {
	var all []string
	for i := range members {
		if m := &members[i]; m.offers && !m.dead {
			all = append(append(append(all, "", m.id), m.regions...), "")
		}
	}
	if !slices.Equal(all, s.members) {
		*s = sharing{members: all}
	}
}

// governs reports whether there is anything to be done about who carries what.
func (c *committer) governs() bool {
	if c.s.engine() == nil {
		return false
	}
	if len(c.dead()) > 0 || c.offersAnew() || len(c.s.yielded()) > 0 {
		return true
	}
	found := false
	c.judge(func(string, change) { found = true })
	return found
}

// dead lists members whose rows are to be removed.
func (c *committer) dead() (numbers []int32) {
	for i := range c.place.members {
		if m := &c.place.members[i]; m.number != c.place.me && c.gone(m.number) {
			numbers = append(numbers, m.number)
		}
	}
	return numbers
}

// offersAnew reports whether the row of this member does not say what it offers.
func (c *committer) offersAnew() bool {
	self, offer := c.place.self(), c.s.offer()
	return self != nil && (self.offers != (len(offer.Subscriptions) > 0) || !slices.Equal(self.regions, offer.Regions))
}

// judge judges all subscriptions that may concern this member.
func (c *committer) judge(found func(name string, what change)) {
	p, offer := &c.place, c.s.offer()
	p.sharing.renew(p.members)
	id, now := c.s.id, time.Now()
	one := func(name string, u *sub, region string, offered bool) {
		s := standing{offered: offered && (region == "" || slices.Contains(offer.Regions, region))}
		if u != nil {
			r := &u.current
			if r.owner == p.me || r.owner != 0 && !c.gone(r.owner) {
				s.owner = r.owner
			}
			if r.wanted == p.me || p.alive(r.wanted) {
				s.wanted = r.wanted
			}
			s.spare, s.fresh = r.spare, now.Sub(u.moved) < 3*c.s.times.patience
		}
		if s.offered {
			s.preferred = p.sharing.of(name, region, c.s.shards, p.members) == id
		}
		switch since, ok := p.free[name]; {
		case s.owner != 0 && ok:
			delete(p.free, name)
		case s.owner == 0 && s.offered && !ok:
			p.free[name] = now
		case s.owner == 0:
			s.free = now.Sub(since)
		}
		if what := s.judge(p.me, c.s.times.patience); what != leaveIt {
			found(name, what)
		}
	}
	for name, region := range offer.Subscriptions {
		one(name, c.s.subs.get(name), region, true)
	}
	for _, u := range c.s.subs.all() {
		if _, ok := offer.Subscriptions[u.name]; !ok && (u.current.owner == p.me || u.current.wanted == p.me) {
			one(u.name, u, "", false)
		}
	}
}

// governRequest changes who carries what. It is the committer's own.
type governRequest struct {
	done chan error

	yielded []string
	gone    []int32
	given   []*sub
}

func (r *governRequest) keys(func(*relay.Key)) {}
func (r *governRequest) alone() bool           { return true }
func (r *governRequest) answer() chan error    { return r.done }

// plan implements request. The row of the tail is locked.
func (r *governRequest) plan(ctx context.Context, c *committer) error {
	if err := c.loadMembers(ctx); err != nil {
		return c.spoil(err)
	}
	r.given = nil
	if r.gone = c.dead(); len(r.gone) > 0 {
		c.group.add(deleteMembers, r.gone)
		c.tail.epoch++
	}
	if c.offersAnew() {
		offer := c.s.offer()
		regions := offer.Regions
		if regions == nil {
			regions = []string{}
		}
		c.group.add(offerMember, c.place.me, len(offer.Subscriptions) > 0, regions)
	}
	r.yielded = c.s.yielded()
	for _, name := range r.yielded {
		if u := c.s.subs.get(name); u != nil && u.current.owner == c.place.me {
			to := u.current.wanted
			if !c.place.alive(to) {
				to = 0
			}
			c.pass(u, to)
			r.given = append(r.given, u)
		}
	}
	changes := make(map[string]change)
	c.judge(func(name string, what change) { changes[name] = what })
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		if u := c.find(name); u == nil || !slices.Contains(r.given, u) {
			c.change(name, changes[name])
		}
	}
	c.group.hint = !c.empty()
	return nil
}

// pass makes a member the owner of a subscription.
func (c *committer) pass(u *sub, to int32) {
	c.touch(u)
	u.next.owner, u.next.wanted, u.next.spare = to, 0, false
	u.next.Epoch++
}

func (c *committer) change(name string, what change) {
	u := c.sub(name)
	c.touch(u)
	switch what {
	case takeIt:
		c.pass(u, c.place.me)
	case wantIt:
		u.next.wanted = c.place.me
	case unwantIt:
		u.next.wanted = 0
	case spareIt, unspareIt:
		u.next.spare = what == spareIt
	case leaveIt:
	}
}

// settle implements request.
func (r *governRequest) settle(err error) {}

// finish implements finisher: it comes before the engine is told.
func (r *governRequest) finish(_ context.Context, c *committer) {
	var given []string
	for _, u := range r.given {
		u.told = 0 // the engine gave it back itself
		given = append(given, u.name)
	}
	c.s.setTold(nil, given)
	c.s.forgetYielded(r.yielded)
	p := &c.place
	p.members = slices.DeleteFunc(p.members, func(m member) bool { return slices.Contains(r.gone, m.number) })
	if self, offer := p.self(), c.s.offer(); self != nil {
		self.offers, self.regions = len(offer.Subscriptions) > 0, offer.Regions
	}
	c.s.setMembers(p.members)
	p.settle()
}
