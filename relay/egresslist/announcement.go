package egresslist

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Kind is what an announcement says.
type Kind string

// Kinds of announcements.
const (
	Scheduled Kind = "scheduled" // a change is planned
	Changed   Kind = "changed"   // a change has happened
	Withdrawn Kind = "withdrawn" // a change that was planned will not happen
)

// Announcement is what is told of one region at once: all that changes in it at one
// moment.
type Announcement struct {
	Kind   Kind   `json:"kind"`
	Region string `json:"region"`
	// At is when it happens, or happened.
	At time.Time `json:"at"`
	// Announced is when it was first told of.
	Announced time.Time `json:"announced"`
	// Added come into use, Removed go out of it, or would have.
	Added   []netip.Prefix `json:"added,omitempty"`
	Removed []netip.Prefix `json:"removed,omitempty"`
	// Unplanned: it happened at once, without having been announced.
	Unplanned bool `json:"unplanned,omitempty"`
	// NewRegion: the region was not on the list before, so that nobody relies on it.
	NewRegion bool `json:"new_region,omitempty"`
	// Pending: nobody was told yet.
	Pending bool `json:"pending,omitempty"`
}

// Made is when the announcement was made: at the moment of a change that was planned,
// however long after it somebody looked.
func (a *Announcement) Made() time.Time {
	if a.Kind == Changed {
		return a.At
	}
	return a.Announced
}

// Key is equal for equal announcements, and for no others.
func (a *Announcement) Key() string {
	var key strings.Builder
	fmt.Fprintf(&key, "%s %s %s %s", a.Kind, a.Region, a.At.Format(time.RFC3339Nano), a.Announced.Format(time.RFC3339Nano))
	for _, p := range a.Added {
		key.WriteString(" +" + p.String())
	}
	for _, p := range a.Removed {
		key.WriteString(" -" + p.String())
	}
	return key.String()
}

// Title says what is announced, in a few words.
func (a *Announcement) Title() string {
	var parts []string
	if len(a.Added) > 0 {
		parts = append(parts, "+ "+addresses(a.Added))
	}
	if len(a.Removed) > 0 {
		parts = append(parts, "− "+addresses(a.Removed))
	}
	verb := map[Kind]string{Scheduled: "planned for", Changed: "changed on", Withdrawn: "withdrawn, was planned for"}[a.Kind]
	return fmt.Sprintf("Region %s: %s (%s %s)", a.Region, strings.Join(parts, ", "), verb, moment(a.At))
}

// Sentence says what is announced, for people.
func (a *Announcement) Sentence() string {
	var parts []string
	if len(a.Added) > 0 {
		parts = append(parts, "also come from "+addresses(a.Added))
	}
	if len(a.Removed) > 0 {
		parts = append(parts, "no longer come from "+addresses(a.Removed))
	}
	text := fmt.Sprintf("from %s on, deliveries of region %s %s", moment(a.At), a.Region, strings.Join(parts, " and "))
	switch {
	case a.Kind == Withdrawn:
		return "this will not happen as announced: " + text
	case a.Unplanned && !a.NewRegion:
		return text + "; this was not announced before"
	}
	return text
}

// addresses writes prefixes as people do: a single address without its length.
func addresses(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = address(p)
	}
	return strings.Join(texts, ", ")
}

func address(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// moment writes a time as it stands in the list.
func moment(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }
