package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/egresslist"
)

// Topics of events about the addresses that deliveries come from.
const (
	TopicEgressScheduled Topic = "relay.egress.scheduled" // a change is planned
	TopicEgressChanged   Topic = "relay.egress.changed"   // a change has happened
	TopicEgressWithdrawn Topic = "relay.egress.withdrawn" // a planned change will not happen
)

var egressTopics = map[egresslist.Kind]Topic{
	egresslist.Scheduled: TopicEgressScheduled,
	egresslist.Changed:   TopicEgressChanged,
	egresslist.Withdrawn: TopicEgressWithdrawn,
}

// EgressNotice is what an event about addresses says.
type EgressNotice struct {
	Topic  Topic  `json:"-"`
	Region string `json:"region"`
	// At is when the addresses change, or changed.
	At time.Time `json:"at"`
	// Announced is when that was first told.
	Announced time.Time `json:"announced"`
	// Added come into use, Removed go out of it.
	Added   []netip.Prefix `json:"added"`
	Removed []netip.Prefix `json:"removed"`
	// Planned is false for what happened without having been announced.
	Planned bool `json:"planned"`
	// Detail says it in words.
	Detail string `json:"detail"`
}

func newEgressNotice(a *egresslist.Announcement) EgressNotice {
	n := EgressNotice{
		Topic: egressTopics[a.Kind], Region: a.Region, At: a.At, Announced: a.Announced,
		Added: []netip.Prefix{}, Removed: []netip.Prefix{}, Planned: !a.Unplanned, Detail: a.Sentence(),
	}
	n.Added = append(n.Added, a.Added...)
	n.Removed = append(n.Removed, a.Removed...)
	return n
}

// tellEgress makes an event of an announcement, unless one was made before: its key is the
// announcement itself, so that a crash after it, or another relay with the same store,
// tells nothing twice.
func (r *Relay) tellEgress(ctx context.Context, plan *Plan, a *egresslist.Announcement) error {
	n := newEgressNotice(a)
	data, err := json.Marshal(n)
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(a.Key()))
	receipts, err := r.publish(ctx, plan, []Publication{{
		Event: &Event{Type: string(n.Topic), Source: "relay", Subject: n.Region, ContentType: "application/json", Data: data},
		Key:   &Key{Kind: KeyOwn, Text: "egress/" + hex.EncodeToString(sum[:]), Sum: sum},
	}}, nil)
	if err != nil || receipts[0].Duplicate {
		return err
	}
	level := zap.InfoLevel
	if a.Unplanned {
		level = zap.WarnLevel
	}
	r.logger.Log(level, "operational event", zap.String("topic", string(n.Topic)), zap.String("region", n.Region),
		zap.Time("at", n.At), zap.Stringers("added", n.Added), zap.Stringers("removed", n.Removed), zap.String("detail", n.Detail))
	plan.observer.EgressNoticed(n)
	return nil
}

// fieldEgressChange tells the receiver of each delivery of a region when its addresses
// change next.
const fieldEgressChange = "Relay-Egress-Change"

// egressChange is a moment at which the addresses of a region change, with the field that
// announces it.
type egressChange struct {
	at     time.Time
	header []string
}

// egressChanges are those of a region, in their order. There are none for most.
type egressChanges []egressChange

func newEgressChanges(d *egresslist.Declaration, region string) egressChanges {
	var all egressChanges
	for _, at := range d.Changes(region) {
		all = append(all, egressChange{at, []string{at.Format(time.RFC3339Nano)}})
	}
	return all
}

// header returns the field of the next change, or nil if none is planned.
func (all egressChanges) header(now time.Time) []string {
	for i := range all {
		if now.Before(all[i].at) {
			return all[i].header
		}
	}
	return nil
}
