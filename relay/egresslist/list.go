package egresslist

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"time"
)

// List is what receivers read as egress.json.
type List struct {
	// Version changes if, and only if, the regions below do.
	Version string `json:"version"`
	// Updated is when they did.
	Updated time.Time             `json:"updated"`
	Regions map[string]RegionList `json:"regions"`
}

// RegionList is one region of the list.
type RegionList struct {
	// Active are the prefixes that deliveries come from now. One that retires is among
	// them until its time.
	Active []netip.Prefix `json:"active"`
	// Scheduled will be active, Retiring will be no more.
	Scheduled []ScheduledPrefix `json:"scheduled"`
	Retiring  []RetiringPrefix  `json:"retiring"`
	// Unpinned are those of the prefixes above that the sender's network keeps, and not
	// the sender itself. Left out if there are none.
	Unpinned []netip.Prefix `json:"unpinned,omitempty"`
}

// ScheduledPrefix comes into use at From, until Until if that is planned, too.
type ScheduledPrefix struct {
	Prefix netip.Prefix `json:"prefix"`
	From   time.Time    `json:"from"`
	Until  time.Time    `json:"until,omitzero"`
}

// RetiringPrefix goes out of use at Until.
type RetiringPrefix struct {
	Prefix netip.Prefix `json:"prefix"`
	Until  time.Time    `json:"until"`
}

// List returns the list of these regions, or of all if none is named. Names that are none
// are left out.
func (s *State) List(regions ...string) List {
	l := List{Version: s.Version, Updated: s.Updated, Regions: make(map[string]RegionList)}
	for _, r := range s.Regions {
		if len(regions) > 0 && !slices.Contains(regions, r.Name) {
			continue
		}
		l.Regions[r.Name] = s.regionList(r)
	}
	return l
}

func (s *State) regionList(r Published) RegionList {
	list := RegionList{Active: r.Active, Scheduled: []ScheduledPrefix{}, Retiring: []RetiringPrefix{}, Unpinned: r.Unpinned}
	for _, p := range s.Planned {
		switch {
		case p.Region != r.Name:
		case p.Added:
			list.Scheduled = append(list.Scheduled, ScheduledPrefix{Prefix: p.Prefix, From: p.At})
		case !list.end(p.Prefix, p.At):
			list.Retiring = append(list.Retiring, RetiringPrefix{Prefix: p.Prefix, Until: p.At})
		}
	}
	return list
}

// end notes the end of a prefix that is scheduled, if it is.
func (l *RegionList) end(p netip.Prefix, at time.Time) bool {
	for i := range l.Scheduled {
		if s := &l.Scheduled[i]; s.Prefix == p && s.Until.IsZero() {
			s.Until = at
			return true
		}
	}
	return false
}

// JSON returns the list as egress.json.
func (l List) JSON() ([]byte, error) {
	raw, err := json.Marshal(l)
	return append(raw, '\n'), err
}

// Text returns the list as egress.txt: the active prefixes, and the scheduled ones if asked
// for, each on a line and once, sorted.
func (l List) Text(scheduled bool) []byte {
	var all []netip.Prefix
	for _, r := range l.Regions {
		all = append(all, r.Active...)
		for _, p := range r.Scheduled {
			if scheduled {
				all = append(all, p.Prefix)
			}
		}
	}
	slices.SortFunc(all, comparePrefixes)
	var out bytes.Buffer
	for _, p := range slices.Compact(all) {
		out.WriteString(p.String() + "\n")
	}
	return out.Bytes()
}
