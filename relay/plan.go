package relay

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddyrelay/caddyrelay/relay/auth"
	"github.com/caddyrelay/caddyrelay/relay/egress"
	"github.com/caddyrelay/caddyrelay/relay/egresslist"
	"github.com/caddyrelay/caddyrelay/relay/expression"
	"github.com/caddyrelay/caddyrelay/relay/filter"
	"github.com/caddyrelay/caddyrelay/relay/signature"
	"github.com/caddyrelay/caddyrelay/relay/topic"
)

// Defaults of a subscription.
const (
	DefaultTimeout        = 15 * time.Second
	DefaultConnectTimeout = 5 * time.Second
	DefaultMaxInFlight    = 16
	DefaultJitter         = 0.2
	DefaultDisableAfter   = 5 * 24 * time.Hour
)

// DefaultSchedule is the example schedule of Standard Webhooks 1.0.0: ten attempts
// over three and a half days.
var DefaultSchedule = []time.Duration{
	5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
	10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// everything is the default of a subscription's topics.
var everything = func() topic.Pattern {
	p, err := topic.Parse("*")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	return p
}()

// Subscription is one destination with what it wants and how it is delivered. It is
// not changed after [NewPlan].
type Subscription struct {
	// Name identifies the subscription over configurations: deliveries are kept under
	// it, everything else is taken from the plan of the moment.
	Name        string
	Description string
	// Contacts are told when egress addresses change: mailto: or other URLs.
	Contacts []string

	// Topics select event types; none means every type but the relay's own.
	Topics []topic.Pattern
	// Filters have to match the data, all of them.
	Filters []*filter.Filter
	// Expression has to be true; nil: it is.
	Expression *expression.Expression

	Method string
	// URL is the canonical destination, as the destination guard made it.
	URL *url.URL
	// URLTemplate makes the URL of each event, where it has placeholders; otherwise nil. URL
	// has marks in their place then, and is not requested.
	URLTemplate *URLTemplate
	// Transform makes the body; nil: it is the data.
	Transform *Transformation
	// Format says what goes on the wire. Empty: [FormatData].
	Format Format
	// Auth puts credentials into each request; nil: there are none.
	Auth auth.Authorizer
	// Header is applied in order, after the relay's own fields and before signing.
	Header []HeaderRule
	// Signers sign each attempt, in order; none is allowed.
	Signers []signature.Signer

	Retry RetryPolicy
	// Timeout bounds one attempt: connecting, TLS, request, response and its body.
	Timeout time.Duration
	// MaxInFlight bounds attempts under way at once.
	MaxInFlight int
	// RateLimit bounds attempts over time; zero: no bound.
	RateLimit RateLimit
	// OrderBy makes deliveries first-in-first-out for each value of it; nil: no order.
	OrderBy *Placeholder
	// Debounce sends only the last event of a key within a window; nil: all of them.
	Debounce *Debounce
	// WaitFor holds each delivery until another URL shows what it is about; nil: none is.
	WaitFor *WaitFor
	// Breaker leaves an endpoint alone whose attempts fail. The zero value is
	// [DefaultBreaker].
	Breaker BreakerPolicy
	// DisableAfter disables the subscription when there were only failures for so long.
	// 0: [DefaultDisableAfter]; negative: never.
	DisableAfter time.Duration

	// Paused holds deliveries by configuration.
	Paused       bool
	PausedReason string

	// Region names where the attempts leave from; empty: the kernel chooses.
	Region string
	// Egress is that region, asked whether an address is still there when an attempt on a
	// kept connection fails; nil: not asked.
	Egress *egress.Region
	// changes are those of the region's addresses.
	changes egressChanges
	// Transport makes the requests. It does not follow redirects, binds to addresses of
	// the region and refuses forbidden destinations.
	Transport http.RoundTripper
}

// RateLimit is a bucket of Events tokens that refills evenly over Window; each attempt
// takes one.
type RateLimit struct {
	Events int
	Window time.Duration
}

// Retention says how long finished records are kept, counted from acceptance.
type Retention struct {
	Delivered       time.Duration
	Failed          time.Duration
	IdempotencyKeys time.Duration
}

// DefaultRetention is used for each zero field of a plan's [Retention].
var DefaultRetention = Retention{
	Delivered:       7 * 24 * time.Hour,
	Failed:          30 * 24 * time.Hour,
	IdempotencyKeys: 24 * time.Hour,
}

// PlanOptions are the parts of a plan.
type PlanOptions struct {
	Subscriptions []*Subscription
	Retention     Retention
	// Egress are the addresses of all regions, as receivers are told them.
	Egress []egresslist.Region
	// Regions are those whose addresses may be on this machine or not, which decides about
	// what this relay carries where several share a store. One that is not among them counts
	// as usable.
	Regions []*egress.Region
	// Notice is how long ahead their changes are to be announced. 0:
	// [egresslist.DefaultNotice].
	Notice time.Duration
	// UserAgent of the requests.
	UserAgent string
	Logger    *zap.Logger
	Observer  Observer
	// Tracer makes spans; nil: nothing is traced.
	Tracer Tracer
}

// Plan is what one configuration says. It is immutable and owns nothing that runs.
type Plan struct {
	subscriptions []*Subscription
	byName        map[string]*Subscription
	index         *topic.Index[*Subscription]
	// selective: there are subscriptions that look at more than the type.
	selective bool
	retention Retention
	egress    *egresslist.Declaration
	regions   []*egress.Region
	notice    time.Duration
	userAgent []string
	logger    *zap.Logger
	observer  Observer
	tracer    Tracer
}

// NewPlan checks the parts and compiles them. Zero durations and counts get their
// defaults.
func NewPlan(o PlanOptions) (*Plan, error) {
	p := &Plan{
		subscriptions: o.Subscriptions,
		byName:        make(map[string]*Subscription, len(o.Subscriptions)),
		retention:     o.Retention.withDefaults(),
		egress:        egresslist.Declare(o.Egress),
		regions:       o.Regions,
		notice:        cmp.Or(o.Notice, egresslist.DefaultNotice),
		userAgent:     []string{o.UserAgent},
		logger:        o.Logger,
		observer:      o.Observer,
		tracer:        o.Tracer,
	}
	if p.logger == nil {
		p.logger = zap.NewNop()
	}
	if p.observer == nil {
		p.observer = NopObserver{}
	}
	entries := make([]topic.Entry[*Subscription], len(o.Subscriptions))
	for i, s := range o.Subscriptions {
		if err := s.prepare(); err != nil {
			return nil, fmt.Errorf("subscription %q: %w", s.Name, err)
		}
		if p.byName[s.Name] != nil {
			return nil, fmt.Errorf("subscription %q is declared twice", s.Name)
		}
		s.changes = newEgressChanges(p.egress, s.Region)
		p.byName[s.Name] = s
		p.selective = p.selective || s.selective()
		entries[i] = topic.Entry[*Subscription]{Patterns: s.Topics, Value: s}
	}
	p.index = topic.NewIndex(entries)
	return p, nil
}

func (r Retention) withDefaults() Retention {
	if r.Delivered == 0 {
		r.Delivered = DefaultRetention.Delivered
	}
	if r.Failed == 0 {
		r.Failed = DefaultRetention.Failed
	}
	if r.IdempotencyKeys == 0 {
		r.IdempotencyKeys = DefaultRetention.IdempotencyKeys
	}
	return r
}

func (s *Subscription) prepare() error {
	switch {
	case s.Name == "":
		return errors.New("the name is missing")
	case s.URL == nil:
		return errors.New("the URL is missing")
	case s.Transport == nil:
		return errors.New("the transport is missing")
	}
	if s.Method == "" {
		s.Method = http.MethodPost
	}
	if s.Format == "" {
		s.Format = FormatData
	}
	if s.Timeout == 0 {
		s.Timeout = DefaultTimeout
	}
	if s.MaxInFlight == 0 {
		s.MaxInFlight = DefaultMaxInFlight
	}
	if s.Retry.Delays == nil && !s.Retry.Off {
		s.Retry.Delays = DefaultSchedule
	}
	if s.Breaker == (BreakerPolicy{}) {
		s.Breaker = DefaultBreaker
	}
	if s.DisableAfter == 0 {
		s.DisableAfter = DefaultDisableAfter
	}
	if len(s.Topics) == 0 {
		s.Topics = []topic.Pattern{everything}
	}
	return s.WaitFor.prepare()
}

// Subscriptions returns the subscriptions in the order of the configuration.
func (p *Plan) Subscriptions() []*Subscription { return p.subscriptions }

// Subscription returns the subscription of that name, or nil.
func (p *Plan) Subscription(name string) *Subscription { return p.byName[name] }

// Retention returns how long finished records are kept.
func (p *Plan) Retention() Retention { return p.retention }

// usableRegions asks the kernel which regions have an address on this machine that is in use
// now, and returns their names in the order of the alphabet.
func (p *Plan) usableRegions() []string {
	usable := make(map[string]bool)
	for _, s := range p.subscriptions {
		usable[s.Region] = true
	}
	for _, r := range p.regions {
		usable[r.Name] = slices.ContainsFunc(r.Status(), func(s egress.AddressStatus) bool { return s.Up && s.Active })
	}
	var names []string
	for name, is := range usable {
		if is && name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// unknown returns the first of the names that is no subscription of the plan.
func (p *Plan) unknown(names []string) (string, bool) {
	for _, n := range names {
		if p.byName[n] == nil {
			return n, true
		}
	}
	return "", false
}

// UnknownSubscriptionError means that the sender narrowed an event to a subscription
// that the configuration does not have.
type UnknownSubscriptionError struct {
	Name string
	// Item is the index in the batch.
	Item int
}

func (e *UnknownSubscriptionError) Error() string {
	return fmt.Sprintf("there is no subscription named %q", e.Name)
}
