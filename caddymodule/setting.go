package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// setting is one word of a subscription as people are shown it: what it comes to, and what
// holds where nobody says anything.
type setting struct {
	// word is that of the Caddyfile, fields are the JSON fields that it fills.
	word   string
	fields []string
	// otherwise is the built-in default, as a Caddyfile would have it.
	otherwise string
	// show returns what stands behind the word, line by line; nothing if s does not have
	// the word. Secrets are masked.
	show func(s *Settings) []string
}

// Built-in defaults that are no values.
const (
	otherwiseNone     = "none"
	otherwiseRegion   = "the only region; required where there are several"
	otherwiseUnsigned = "none, with a warning"
	otherwisePublic   = "only what is public"
	otherwiseSystem   = "those of the system"
	otherwiseHost     = "the host of the URL"
	otherwiseNo       = "no"
)

var otherwiseInProse = []string{otherwiseNone, otherwiseRegion, otherwiseUnsigned, otherwisePublic, otherwiseSystem, otherwiseHost, otherwiseNo}

// allSettings has a row for every word of a subscription, in the order of the fields of
// [Settings]. From it come what `caddy relay show` prints and the table of the Caddyfile's
// reference; tests hold it against the vocabulary and the fields.
var allSettings = []setting{
	{"description", []string{"description"}, otherwiseNone, shownText(func(s *Settings) string { return s.Description })},
	{"contact", []string{"contacts"}, otherwiseNone, shownList(func(s *Settings) []string { return s.Contacts })},
	{"topics", []string{"topics"}, "*", shownList(func(s *Settings) []string { return s.Topics })},
	{"filter", []string{"filter"}, otherwiseNone, showFilter},
	{"filters", []string{"filters"}, otherwiseNone, shownText(func(s *Settings) string { return compact(s.Filters) })},
	{"expression", []string{"expression"}, otherwiseNone, func(s *Settings) []string { return lines(s.Expression) }},
	{"region", []string{"region"}, otherwiseRegion, shownText(func(s *Settings) string { return s.Region })},
	{"method", []string{"method"}, "POST", shownText(func(s *Settings) string { return s.Method })},
	{"header", []string{"header"}, otherwiseNone, func(s *Settings) []string { return showHeader(s.Header) }},
	{"secret_header", []string{"secret_header"}, otherwiseNone, func(s *Settings) []string { return showSecretHeader(s.SecretHeader) }},
	{"auth", []string{"auth"}, otherwiseNone, func(s *Settings) []string {
		if s.AuthRaw == nil {
			return nil
		}
		return []string{showGuest(s.AuthRaw, "scheme")}
	}},
	{"tls_client_auth", []string{"tls_client_auth"}, otherwiseNone, func(s *Settings) []string {
		if s.TLSClientAuth == nil {
			return nil
		}
		return []string{s.certificateFile() + " " + s.keyFile()}
	}},
	{"tls_trust_pool", []string{"tls_trust_pool"}, otherwiseSystem, func(s *Settings) []string { return lines(compact(s.TLSTrustPoolRaw)) }},
	{"tls_server_name", []string{"tls_server_name"}, otherwiseHost, shownText(func(s *Settings) string { return s.TLSServerName })},
	{"transform", []string{"transform"}, otherwiseNone, showTransform},
	{"format", []string{"format"}, "data", shownText(func(s *Settings) string { return s.Format })},
	{"sign", []string{"sign"}, otherwiseUnsigned, func(s *Settings) []string { return showGuests(s.SignRaw, "scheme") }},
	{"retry", []string{"retry"}, spellRetry(nil), func(s *Settings) []string {
		if s.Retry == nil {
			return nil
		}
		return []string{spellRetry(s.Retry)}
	}},
	{"timeout", []string{"timeout"}, spell(relay.DefaultTimeout), shownDuration(func(s *Settings) Duration { return s.Timeout })},
	{"connect_timeout", []string{"connect_timeout"}, spell(relay.DefaultConnectTimeout), shownDuration(func(s *Settings) Duration { return s.ConnectTimeout })},
	{"max_in_flight", []string{"max_in_flight"}, strconv.Itoa(relay.DefaultMaxInFlight), func(s *Settings) []string {
		if s.MaxInFlight == 0 {
			return nil
		}
		return []string{strconv.Itoa(s.MaxInFlight)}
	}},
	{"rate_limit", []string{"rate_limit"}, otherwiseNone, func(s *Settings) []string {
		if s.RateLimit == nil {
			return nil
		}
		return []string{fmt.Sprintf("%d %s", s.RateLimit.Events, spell(time.Duration(s.RateLimit.Window)))}
	}},
	{"order_by", []string{"order_by"}, otherwiseNone, shownText(func(s *Settings) string { return s.OrderBy })},
	{"debounce", []string{"debounce"}, otherwiseNone, func(s *Settings) []string {
		if s.Debounce == nil {
			return nil
		}
		return []string{spell(time.Duration(s.Debounce.Window)) + " " + s.Debounce.By}
	}},
	{"wait_for", []string{"wait_for"}, otherwiseNone, func(s *Settings) []string { return s.WaitFor.show() }},
	{"breaker", []string{"breaker"}, spellBreaker(nil), func(s *Settings) []string {
		if s.Breaker == nil {
			return nil
		}
		return []string{spellBreaker(s.Breaker)}
	}},
	{"disable_after", []string{"disable_after"}, spell(relay.DefaultDisableAfter), shownDuration(func(s *Settings) Duration { return s.DisableAfter })},
	{"allow_ips", []string{"allow_ips"}, otherwisePublic, shownList(func(s *Settings) []string { return s.AllowIPs })},
	{"allow_hosts", []string{"allow_hosts"}, otherwisePublic, shownList(func(s *Settings) []string { return s.AllowHosts })},
	{"paused", []string{"paused", "paused_reason"}, otherwiseNo, func(s *Settings) []string {
		if !s.Paused {
			return nil
		}
		return []string{strings.TrimSpace("yes " + s.PausedReason)}
	}},
}

func shownText(get func(*Settings) string) func(*Settings) []string {
	return func(s *Settings) []string {
		if text := get(s); text != "" {
			return []string{text}
		}
		return nil
	}
}

func shownList(get func(*Settings) []string) func(*Settings) []string {
	return shownText(func(s *Settings) string { return strings.Join(get(s), " ") })
}

func shownDuration(get func(*Settings) Duration) func(*Settings) []string {
	return shownText(func(s *Settings) string {
		if d := get(s); d != 0 {
			return spell(time.Duration(d))
		}
		return ""
	})
}

func lines(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, "\n")
}

func compact(raw json.RawMessage) string {
	var out bytes.Buffer
	if json.Compact(&out, raw) != nil {
		return string(raw)
	}
	return out.String()
}

func showFilter(s *Settings) []string {
	var all []string
	for _, f := range s.Filter {
		if built, err := f.build(); err == nil { // Provision has refused others
			all = append(all, built.String())
		}
	}
	return all
}

func showHeader(header []HeaderChange) []string {
	var all []string
	for _, h := range header {
		sign := strings.Trim(string(headerOps[h.Op]), "=")
		value := h.Value
		if relay.HoldsCredentials(h.Field) {
			value = masked(value)
		}
		all = append(all, strings.TrimSpace(sign+h.Field+" "+value))
	}
	return all
}

func showSecretHeader(header []SecretHeader) []string {
	var all []string
	for _, h := range header {
		all = append(all, h.Field+" "+masked(h.Value))
	}
	return all
}

// spell writes a duration as people do: 5m, 1h30m, 7d.
func spell(d time.Duration) string {
	const day = 24 * time.Hour
	if d != 0 && d%day == 0 {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if short, ok := strings.CutSuffix(text, zero); ok {
			text = short + zero[:1]
		}
	}
	return text
}

// spellRetry takes nil for the default.
func spellRetry(r *Retry) string {
	p := r.policy()
	if p.Off {
		return "off"
	}
	var words []string
	for _, d := range p.Delays {
		if d >= 24*time.Hour && d <= 48*time.Hour {
			words = append(words, fmt.Sprintf("%dh", d/time.Hour)) // as in the schedule of Standard Webhooks
			continue
		}
		words = append(words, spell(d))
	}
	words = append(words, fmt.Sprintf("jitter %v", p.Jitter))
	for i, status := range p.OnStatus {
		if i == 0 {
			words = append(words, "on_status")
		}
		if status < 10 {
			words = append(words, fmt.Sprintf("%dxx", status))
			continue
		}
		words = append(words, strconv.Itoa(status))
	}
	if p.GiveUpAfter != 0 {
		words = append(words, "give_up_after "+spell(p.GiveUpAfter))
	}
	return strings.Join(words, " ")
}

// spellBreaker takes nil for the default.
func spellBreaker(b *Breaker) string {
	p := b.build()
	if p.Off {
		return "off"
	}
	return fmt.Sprintf("%v %d %s %s", p.Ratio, p.Least, spell(p.Window), spell(p.Pause))
}
