package egresslist

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/uuid"
)

// State is the list as it was published, with what was announced. It is never changed:
// [Advance] and [State.Told] return another one.
type State struct {
	// Format is that of the record.
	Format int `json:"format"`
	// FeedID identifies the feed for good, as a UUID.
	FeedID string `json:"feed_id"`
	// Version changes if, and only if, the list does; it follows from what the list says.
	Version string `json:"version"`
	// Updated is when the list last changed, in whole seconds.
	Updated time.Time `json:"updated"`
	// Regions are the declared ones, by name.
	Regions []Published `json:"regions"`
	// Planned are the changes to come, the nearest first.
	Planned []Planned `json:"planned,omitempty"`
	// History are the latest announcements, the newest last.
	History []Announcement `json:"history,omitempty"`
}

// Published is one region of the list.
type Published struct {
	Name string `json:"name"`
	// Active are the prefixes in use, sorted. Unpinned are those of the list, to come or in
	// use, that no socket is bound to.
	Active   []netip.Prefix `json:"active"`
	Unpinned []netip.Prefix `json:"unpinned,omitempty"`
}

// Planned is a change to come.
type Planned struct {
	Change
	// Announced is when it was first told.
	Announced time.Time `json:"announced"`
}

// stateFormat is the only one there is.
const stateFormat = 1

// maxHistory is how many announcements are remembered, for the feed.
const maxHistory = 100

// Encode returns the state as a record of at most limit bytes. If need be the oldest
// announcements are left out of it.
func (s *State) Encode(limit int) ([]byte, error) {
	kept := *s
	for {
		raw, err := json.Marshal(&kept)
		if err != nil || len(raw) <= limit {
			return raw, err
		}
		if len(kept.History) == 0 {
			return nil, fmt.Errorf("the egress list takes %d bytes as a record; at most %d are possible", len(raw), limit)
		}
		kept.History = kept.History[(len(kept.History)+1)/2:]
	}
}

// Decode reads what Encode has made.
func Decode(raw []byte) (*State, error) {
	var s State
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, fmt.Errorf("reading the egress list as it was last published: %w", err)
	}
	if s.Format != stateFormat {
		return nil, fmt.Errorf("reading the egress list as it was last published: it has format %d, this program knows format %d", s.Format, stateFormat)
	}
	if _, err := uuid.Parse(s.FeedID); err != nil {
		return nil, fmt.Errorf("reading the egress list as it was last published: the identity of its feed: %w", err)
	}
	return &s, nil
}

// region returns the published region of that name, or nil.
func (s *State) region(name string) *Published {
	if i := slices.IndexFunc(s.Regions, func(r Published) bool { return r.Name == name }); i >= 0 {
		return &s.Regions[i]
	}
	return nil
}

// active reports whether a prefix is on the list as in use.
func (s *State) active(region string, p netip.Prefix) bool {
	r := s.region(region)
	return r != nil && slices.Contains(r.Active, p)
}

// Blank reports whether the state says nothing: there are no regions, and there were none.
func (s *State) Blank() bool {
	return len(s.Regions) == 0 && len(s.Planned) == 0 && len(s.History) == 0
}

// Next returns when the list changes by itself, or the zero Time.
func (s *State) Next() time.Time {
	if len(s.Planned) == 0 {
		return time.Time{}
	}
	return s.Planned[0].At
}

// Pending returns the announcements of which nobody was told yet, the oldest first.
func (s *State) Pending() []Announcement {
	var all []Announcement
	for _, a := range s.History {
		if a.Pending {
			all = append(all, a)
		}
	}
	return all
}

// Told returns the state with these announcements told.
func (s *State) Told(announcements []Announcement) *State {
	next := *s
	next.History = slices.Clone(s.History)
	for i := range next.History {
		a := &next.History[i]
		a.Pending = a.Pending && !slices.ContainsFunc(announcements, func(b Announcement) bool { return a.Key() == b.Key() })
	}
	return &next
}
