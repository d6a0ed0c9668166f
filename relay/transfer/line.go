package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// line is one of them; only one of its members is set.
type line struct {
	Head         *Head           `json:"caddy_relay_export,omitempty"`
	Subscription *steering       `json:"subscription,omitempty"`
	Event        *event          `json:"event,omitempty"`
	Key          *key            `json:"key,omitempty"`
	Egress       json.RawMessage `json:"egress,omitempty"`
	End          *end            `json:"end,omitempty"`
}

// format is the only one there is.
const format = 1

// Head is the first line.
type Head struct {
	Format int `json:"format"`
	// Version is that of the relay that has written it.
	Version string    `json:"version"`
	At      time.Time `json:"at"`
	// Select is "unfinished" or "all".
	Select string `json:"select"`
	// Events is about how many there are, for those who show progress.
	Events int `json:"events"`
}

// end is the last line.
type end struct {
	Counts
	// SHA256 is the digest of all lines before this one, in hexadecimal.
	SHA256 string `json:"sha256"`
}

// Counts says how many lines there are of each sort.
type Counts struct {
	Events        int `json:"events"`
	Keys          int `json:"keys"`
	Subscriptions int `json:"subscriptions"`
}

type steering struct {
	Name           string `json:"name"`
	Paused         bool   `json:"paused,omitempty"`
	PausedReason   string `json:"paused_reason,omitempty"`
	Disabled       bool   `json:"disabled,omitempty"`
	DisabledReason string `json:"disabled_reason,omitempty"`
}

func newSteering(s *relay.Steering) *steering {
	return &steering{s.Subscription, s.Paused, s.PausedReason, s.Disabled, s.DisabledReason}
}

func (s *steering) value() (*relay.Steering, error) {
	if s.Name == "" {
		return nil, fmt.Errorf("a subscription has no name")
	}
	if !subscriptionName.MatchString(s.Name) {
		return nil, fmt.Errorf("%q is no name of a subscription", s.Name)
	}
	return &relay.Steering{
		Subscription: s.Name, Paused: s.Paused, PausedReason: s.PausedReason, Disabled: s.Disabled, DisabledReason: s.DisabledReason,
	}, nil
}

// key is an idempotency key. What stands for it is a digest: the key itself is not kept.
type key struct {
	Hash     string    `json:"hash"`
	Sum      string    `json:"sum"`
	Stored   time.Time `json:"stored"`
	Receipts []receipt `json:"receipts"`
}

type receipt struct {
	ID      string   `json:"id"`
	Type    string   `json:"type"`
	Matched []string `json:"matched"`
}

func newKey(k *relay.MovedKey) *key {
	v := &key{Hash: hex.EncodeToString(k.Hash[:]), Sum: hex.EncodeToString(k.Sum[:]), Stored: k.Stored, Receipts: make([]receipt, len(k.Receipts))}
	for i, r := range k.Receipts {
		v.Receipts[i] = receipt{ID: r.ID, Type: r.Type, Matched: r.Matched}
	}
	return v
}

func (k *key) value() (*relay.MovedKey, error) {
	hash, err := hex.DecodeString(k.Hash)
	if err != nil || len(hash) != len(relay.KeyHash{}) {
		return nil, fmt.Errorf("the hash %q of an idempotency key is none", k.Hash)
	}
	sum, err := hex.DecodeString(k.Sum)
	if err != nil || len(sum) != sha256.Size {
		return nil, fmt.Errorf("the sum %q of an idempotency key is none", k.Sum)
	}
	if len(k.Receipts) == 0 {
		return nil, fmt.Errorf("the idempotency key %s has no receipt", k.Hash)
	}
	v := &relay.MovedKey{Hash: relay.KeyHash(hash), Sum: [sha256.Size]byte(sum), Stored: k.Stored, Receipts: make([]relay.Receipt, len(k.Receipts))}
	for i, r := range k.Receipts {
		if _, _, err := relay.ParseID(r.ID); err != nil {
			return nil, err
		}
		v.Receipts[i] = relay.Receipt{ID: r.ID, Type: r.Type, Matched: r.Matched}
	}
	return v, nil
}
