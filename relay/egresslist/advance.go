package egresslist

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Advance returns the state at a moment at which d is declared, after old: the state
// before, or nil if nothing was ever published. What is new in it and to be told is
// pending. If nothing is new it returns old itself.
//
// The first list that is published is no change, since nobody knew another one; what it
// plans is announced.
func Advance(old *State, d *Declaration, now time.Time) *State {
	step := &step{declared: d, now: now, told: instant(now).Truncate(time.Millisecond), old: old, first: old == nil}
	if step.first {
		step.old = &State{Format: stateFormat, FeedID: uuid.NewString()}
	}
	next := step.take()
	if !step.first && next.Version == old.Version && len(step.made) == 0 && slices.Equal(next.Planned, old.Planned) {
		return old
	}
	return next
}

// step is one call of Advance.
type step struct {
	declared *Declaration
	old      *State
	first    bool
	now      time.Time
	// told is now, as it is remembered.
	told time.Time

	planned []Planned
	made    []Announcement
	// happened are the planned changes whose moment has come.
	happened []Change
}

func (s *step) take() *State {
	declared := s.declared.changes()
	s.settle(declared)
	if !s.first {
		s.compare()
	}
	s.plan(declared)
	slices.SortStableFunc(s.made, func(a, b Announcement) int {
		if n := a.Made().Compare(b.Made()); n != 0 {
			return n
		}
		return strings.Compare(a.Region, b.Region)
	})
	next := &State{
		Format: stateFormat, FeedID: s.old.FeedID, Updated: s.old.Updated,
		Regions: s.declared.published(s.now), Planned: s.planned,
		History: slices.Concat(s.old.History, s.made),
	}
	excess := len(next.History) - maxHistory
	next.History = slices.DeleteFunc(next.History, func(a Announcement) bool {
		drop := excess > 0 && !a.Pending
		if drop {
			excess--
		}
		return drop
	})
	if next.Version = next.version(); next.Version != s.old.Version {
		next.Updated = s.updated()
	}
	return next
}

// settle looks at what was planned: it has happened, is still to come, or will not.
func (s *step) settle(declared []Change) {
	for _, p := range s.old.Planned {
		same := slices.ContainsFunc(declared, p.same)
		as := s.declared.active(p.Region, p.Prefix, s.now) == p.Added
		switch {
		case p.At.After(s.now) && same:
			s.planned = append(s.planned, p)
		case p.At.After(s.now) && as:
			// It is so already, before its time: compare tells.
		case same, as:
			s.happened = append(s.happened, p.Change)
			s.tell(Announcement{Kind: Changed, At: p.At, Announced: p.Announced}, p.Change)
		default:
			s.tell(Announcement{Kind: Withdrawn, At: p.At, Announced: s.told}, p.Change)
		}
	}
}

// compare looks for what is in use now, or is not, against what follows from the list as it
// was published and from what was planned.
func (s *step) compare() {
	for _, r := range s.declared.published(s.now) {
		before := s.old.region(r.Name)
		for _, p := range r.Active {
			if !s.believed(r.Name, p) {
				s.surprise(Change{Region: r.Name, Prefix: p, Added: true, At: s.told}, before == nil)
			}
		}
	}
	for _, r := range s.old.Regions {
		prefixes := slices.Clone(r.Active)
		for _, h := range s.happened {
			if h.Region == r.Name && !slices.Contains(prefixes, h.Prefix) {
				prefixes = append(prefixes, h.Prefix)
			}
		}
		for _, p := range prefixes {
			if s.believed(r.Name, p) && !s.declared.active(r.Name, p, s.now) {
				s.surprise(Change{Region: r.Name, Prefix: p, At: s.told}, false)
			}
		}
	}
}

// believed reports whether a prefix is in use for those who heard everything so far.
func (s *step) believed(region string, p netip.Prefix) bool {
	for _, h := range slices.Backward(s.happened) {
		if h.Region == region && h.Prefix == p {
			return h.Added
		}
	}
	return s.old.active(region, p)
}

func (s *step) surprise(c Change, newRegion bool) {
	s.tell(Announcement{Kind: Changed, At: c.At, Announced: s.told, Unplanned: true, NewRegion: newRegion}, c)
}

// plan looks for changes to come that nobody knows yet.
func (s *step) plan(declared []Change) {
	for _, c := range declared {
		if !c.At.After(s.now) || slices.ContainsFunc(s.planned, func(p Planned) bool { return p.same(c) }) {
			continue
		}
		s.planned = append(s.planned, Planned{c, s.announced(c)})
		s.tell(Announcement{Kind: Scheduled, At: c.At, Announced: s.told}, c)
	}
	slices.SortStableFunc(s.planned, func(a, b Planned) int { return compareChanges(a.Change, b.Change) })
}

// announced returns since when a change is known. One that was put off is known since it
// was first announced.
func (s *step) announced(c Change) time.Time {
	for _, p := range s.old.Planned {
		if p.Region == c.Region && p.Prefix == c.Prefix && p.Added == c.Added && p.At.Before(c.At) && p.At.After(s.now) {
			return p.Announced
		}
	}
	return s.told
}

// tell adds a change to what is announced with it.
func (s *step) tell(a Announcement, c Change) {
	i := slices.IndexFunc(s.made, func(b Announcement) bool {
		return a.Kind == b.Kind && c.Region == b.Region && a.At.Equal(b.At) && a.Unplanned == b.Unplanned
	})
	if i < 0 {
		i = len(s.made)
		a.Region, a.Pending = c.Region, true
		s.made = append(s.made, a)
	}
	b := &s.made[i]
	if a.Announced.After(b.Announced) {
		b.Announced = a.Announced // the shortest notice
	}
	if c.Added {
		b.Added = append(b.Added, c.Prefix)
	} else {
		b.Removed = append(b.Removed, c.Prefix)
	}
}

// updated returns when the list has become what it is: at the moment of what was planned,
// or now.
func (s *step) updated() time.Time {
	at := s.told
	if len(s.made) > 0 && !slices.ContainsFunc(s.made, func(a Announcement) bool { return a.Kind != Changed || a.Unplanned }) {
		at = s.made[len(s.made)-1].At
	}
	if at = at.Truncate(time.Second); at.Before(s.old.Updated) {
		return s.old.Updated
	}
	return at
}

// published returns the regions as they are at a moment.
func (d *Declaration) published(now time.Time) []Published {
	all := make([]Published, len(d.regions))
	for i, r := range d.regions {
		all[i] = Published{Name: r.name, Active: []netip.Prefix{}}
		for _, p := range r.prefixes {
			active := p.active(now)
			if active {
				all[i].Active = append(all[i].Active, p.Prefix)
			}
			listed := active || slices.ContainsFunc(p.spans, func(s span) bool { return s.from.After(now) })
			if listed && !p.pinned {
				all[i].Unpinned = append(all[i].Unpinned, p.Prefix)
			}
		}
	}
	return all
}

// version is a digest of what the list says.
func (s *State) version() string {
	raw, err := json.Marshal(s.List().Regions)
	if err != nil {
		panic(err) // nothing in it can fail
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:8])
}
