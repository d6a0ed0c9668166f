package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
	"github.com/caddyrelay/caddyrelay/relay/destination"
	"github.com/caddyrelay/caddyrelay/relay/expression"
	"github.com/caddyrelay/caddyrelay/relay/signature"
	"github.com/caddyrelay/caddyrelay/relay/topic"
)

// Settings are what can be said of a subscription beside its name and URL, either
// for itself or, in `defaults`, for all.
//
// What a subscription says wins over `defaults`. Lists are not merged: those of
// `defaults` (contacts, topics, filter, filters, header, secret_header, sign, allow_ips,
// allow_hosts) are used only where the subscription has none of that name. The same
// holds for retry, as a whole.
type Settings struct {
	// What the receiver is, for people.
	Description string `json:"description,omitempty"`

	// Who is told when egress addresses change: `mailto:` or other URLs.
	Contacts []string `json:"contacts,omitempty"`

	// Patterns of event types, compared without regard to case. `*` alone is every
	// type but those under `relay.`; a `.*` at the end is this and all below;
	// elsewhere `*` is one segment. Default: `*`
	Topics []string `json:"topics,omitempty"`

	// Conditions on values in the data of an event. All of them have to be met.
	Filter []Filter `json:"filter,omitempty"`

	// The array `filters` of a webhook definition of Contentful, as it is. All of them
	// have to match, and those of filter too.
	Filters json.RawMessage `json:"filters,omitempty"`

	// A condition in CEL over event.type, .source, .subject, .time, .id and .data. An event
	// for which it has no answer, since a value is absent or of another type, is not meant.
	Expression string `json:"expression,omitempty"`

	// The region that deliveries leave from. Default: the only region there is;
	// required where there are several.
	Region string `json:"region,omitempty"`

	// The HTTP method: POST, PUT, PATCH, GET or DELETE. GET and DELETE are sent
	// without a body. Default: POST
	Method string `json:"method,omitempty"`

	// Changes to the header fields of each request, in order.
	Header []HeaderChange `json:"header,omitempty"`

	// Header fields whose values are secret. They are set after those of header, and
	// masked wherever they could be seen.
	SecretHeader []SecretHeader `json:"secret_header,omitempty"`

	// The credentials of each request. Guests are modules that implement [AuthProvider].
	// Default: none
	AuthRaw json.RawMessage `json:"auth,omitempty" caddy:"namespace=relay.auth inline_key=scheme"`

	// The certificate that is shown to servers that ask for one. It is read when the
	// configuration is loaded. Default: none
	TLSClientAuth *ClientCertificate `json:"tls_client_auth,omitempty"`

	// The authorities that are trusted to certify the server, in the place of those of the
	// system. Guests are those of Caddy's reverse proxy. Default: those of the system
	TLSTrustPoolRaw json.RawMessage `json:"tls_trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`

	// The name that the server's certificate must have, and that is sent to the server (SNI).
	// Default: the host of the URL
	TLSServerName string `json:"tls_server_name,omitempty"`

	// What makes the body of each request. Guests are modules that implement
	// [TransformProvider]. Default: it is the event's data
	TransformRaw json.RawMessage `json:"transform,omitempty" caddy:"namespace=relay.transforms inline_key=engine"`

	// What goes on the wire: the bytes as received (data); a CloudEvent in binary or
	// structured mode; the header fields and content type that receivers of Contentful or
	// Phraseanet expect (contentful, phraseanet). Default: data
	Format string `json:"format,omitempty"`

	// How requests are signed; each scheme at most once. Guests are modules that
	// implement [SignerProvider]. Default: not at all, with a warning.
	SignRaw []json.RawMessage `json:"sign,omitempty" caddy:"namespace=relay.signers inline_key=scheme"`

	// When failed attempts are made again. Default: ten attempts over three and a
	// half days.
	Retry *Retry `json:"retry,omitempty"`

	// The time that one attempt may take in all: connecting, TLS, request, response
	// and its body. Default: 15s
	Timeout Duration `json:"timeout,omitempty"`

	// The part of the timeout that connecting may take. Default: 5s
	ConnectTimeout Duration `json:"connect_timeout,omitempty"`

	// The number of attempts that may be under way at once, 1 to 1000. Default: 16
	MaxInFlight int `json:"max_in_flight,omitempty"`

	// How many attempts may be made over time. Default: no limit
	RateLimit *RateLimit `json:"rate_limit,omitempty"`

	// Makes deliveries first-in-first-out for each value of this placeholder of the
	// event, e.g. `{event.subject}` or `{event.data.customer.id}`. One that fails holds
	// those of its key, and no others. Default: no order
	OrderBy string `json:"order_by,omitempty"`

	// Sends only the last event of a key within a window of time; the others become
	// superseded. Default: every event is sent
	Debounce *Debounce `json:"debounce,omitempty"`

	// Holds each delivery until another URL, often that of a CDN, shows what it is about.
	// Default: none is held
	WaitFor *WaitFor `json:"wait_for,omitempty"`

	// When an endpoint whose attempts fail is left alone for a while. Default: on
	Breaker *Breaker `json:"breaker,omitempty"`

	// The time with nothing but failures after which the subscription is disabled: its
	// deliveries are held until somebody resumes it. Default: 5d
	DisableAfter Duration `json:"disable_after,omitempty"`

	// Addresses or prefixes that may be dialled although they are not public.
	AllowIPs []string `json:"allow_ips,omitempty"`

	// Host names, or `*.suffix`, that may stand in the URL although they are none of
	// the public Internet. Their addresses must still be public, or in allow_ips.
	AllowHosts []string `json:"allow_hosts,omitempty"`

	// Holds all deliveries. None is lost: they are made when this is taken out.
	Paused bool `json:"paused,omitempty"`

	// Why it is paused, for people.
	PausedReason string `json:"paused_reason,omitempty"`

	auth          AuthProvider
	authKey       string
	transform     *relay.Transformation
	signers       []signature.Signer
	condition     *expression.Expression
	guestWarnings []string
}

// maxMaxInFlight bounds max_in_flight: a subscription must not be able to use up the
// sockets of the process.
const maxMaxInFlight = 1000

var methods = []string{http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodGet, http.MethodDelete}

// check judges everything that can be judged without the rest of the configuration,
// and without secrets. The Caddyfile's words call the same functions line by line.
func (s *Settings) check() error {
	errs := []error{
		eachOf(s.Contacts, checkContact),
		eachOf(s.Topics, checkTopic),
		eachOf(s.Filter, Filter.check),
		checkFilters(s.Filters),
		s.compile(),
		checkMethod(s.Method),
		eachOf(s.Header, HeaderChange.check),
		eachOf(s.SecretHeader, SecretHeader.check),
		checkInline("auth", authNamespace, "scheme", s.AuthRaw),
		s.TLSClientAuth.check(),
		checkTrustPool(s.TLSTrustPoolRaw),
		checkServerName(s.TLSServerName),
		checkInline("transform", transformNamespace, "engine", s.TransformRaw),
		checkFormat(s.Format),
		checkSchemes(s.SignRaw),
		s.Retry.check(),
		checkOptional("timeout", s.Timeout),
		checkOptional("connect_timeout", s.ConnectTimeout),
		checkMaxInFlight(s.MaxInFlight),
		s.RateLimit.check(),
		checkOrderBy(s.OrderBy),
		s.Debounce.check(),
		s.WaitFor.check(),
		s.Breaker.check(),
		checkOptional("disable_after", s.DisableAfter),
		eachOf(s.AllowIPs, checkAllowIP),
		eachOf(s.AllowHosts, checkAllowHost),
	}
	if s.PausedReason != "" && !s.Paused {
		errs = append(errs, errors.New("paused_reason stands without paused; set paused to true, or leave the reason out"))
	}
	// One at a time, in the order of the fields: the first is often the cause.
	return errs[max(0, slices.IndexFunc(errs, func(err error) bool { return err != nil }))]
}

// eachOf returns the first error of the items.
func eachOf[T any](items []T, check func(T) error) error {
	for _, item := range items {
		if err := check(item); err != nil {
			return err
		}
	}
	return nil
}

func checkContact(contact string) error {
	u, err := url.Parse(contact)
	if err != nil || u.Scheme == "" || u.Opaque == "" && u.Host == "" || u.Scheme == "mailto" && !strings.Contains(u.Opaque, "@") {
		return fmt.Errorf("contact: %q is no URL; write e.g. mailto:ops@example.com or https://example.com/status", contact)
	}
	return nil
}

func checkTopic(pattern string) error {
	if strings.Contains(pattern, "://") {
		return fmt.Errorf("%q is a second URL, where topics are expected; a subscription has one URL: declare another one for this", shown(pattern))
	}
	_, err := topic.Parse(pattern)
	return err
}

func checkMethod(method string) error {
	if method == "" || slices.Contains(methods, method) {
		return nil
	}
	if upper := strings.ToUpper(method); slices.Contains(methods, upper) {
		return fmt.Errorf("method: %q must be in upper case: %s", method, upper)
	}
	return fmt.Errorf("method: %q is not possible; write one of %s", method, strings.Join(methods, ", "))
}

func checkOptional(name string, d Duration) error {
	if d == 0 {
		return nil
	}
	return checkDuration(name, time.Duration(d))
}

// checkMaxInFlight takes 0 for the default.
func checkMaxInFlight(n int) error {
	if n < 0 || n > maxMaxInFlight {
		return fmt.Errorf("max_in_flight: %d is not possible; write a number from 1 to %d", n, maxMaxInFlight)
	}
	return nil
}

func checkAllowIP(text string) error {
	_, err := destination.ParsePrefix(text)
	return err
}

func checkAllowHost(pattern string) error {
	_, err := destination.New(destination.Rules{AllowHosts: []string{pattern}})
	return err
}

// over returns s with what it leaves open taken from the defaults, which may be nil.
func (s Settings) over(defaults *Settings) Settings {
	if defaults == nil {
		return s
	}
	pick(&s.Description, defaults.Description)
	pickList(&s.Contacts, defaults.Contacts)
	pickList(&s.Topics, defaults.Topics)
	pickList(&s.Filter, defaults.Filter)
	pickList(&s.Filters, defaults.Filters)
	if s.Expression == "" {
		s.Expression, s.condition = defaults.Expression, defaults.condition
	}
	pick(&s.Region, defaults.Region)
	pick(&s.Method, defaults.Method)
	pickList(&s.Header, defaults.Header)
	pickList(&s.SecretHeader, defaults.SecretHeader)
	pickList(&s.AuthRaw, defaults.AuthRaw)
	if s.auth == nil {
		s.auth, s.authKey = defaults.auth, defaults.authKey
	}
	pick(&s.TLSClientAuth, defaults.TLSClientAuth)
	pickList(&s.TLSTrustPoolRaw, defaults.TLSTrustPoolRaw)
	pick(&s.TLSServerName, defaults.TLSServerName)
	pickList(&s.TransformRaw, defaults.TransformRaw)
	pick(&s.transform, defaults.transform)
	pick(&s.Format, defaults.Format)
	pickList(&s.SignRaw, defaults.SignRaw)
	pickList(&s.signers, defaults.signers)
	pick(&s.Retry, defaults.Retry)
	pick(&s.Timeout, defaults.Timeout)
	pick(&s.ConnectTimeout, defaults.ConnectTimeout)
	pick(&s.MaxInFlight, defaults.MaxInFlight)
	pick(&s.RateLimit, defaults.RateLimit)
	pick(&s.OrderBy, defaults.OrderBy)
	pick(&s.Debounce, defaults.Debounce)
	pick(&s.WaitFor, defaults.WaitFor)
	pick(&s.Breaker, defaults.Breaker)
	pick(&s.DisableAfter, defaults.DisableAfter)
	pickList(&s.AllowIPs, defaults.AllowIPs)
	pickList(&s.AllowHosts, defaults.AllowHosts)
	if !s.Paused {
		s.Paused, s.PausedReason = defaults.Paused, defaults.PausedReason
	}
	return s
}

func pick[T comparable](own *T, otherwise T) {
	var none T
	if *own == none {
		*own = otherwise
	}
}

func pickList[S ~[]T, T any](own *S, otherwise S) {
	if len(*own) == 0 {
		*own = otherwise
	}
}

// rules returns what the destination guard is to open.
func (s *Settings) rules() (destination.Rules, error) {
	rules := destination.Rules{AllowHosts: s.AllowHosts}
	for _, text := range s.AllowIPs {
		p, err := destination.ParsePrefix(text)
		if err != nil {
			return rules, err
		}
		rules.AllowIPs = append(rules.AllowIPs, p)
	}
	return rules, nil
}
