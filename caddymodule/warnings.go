package caddymodule

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddyrelay/caddyrelay/relay"
)

// warnings are about what is allowed, but seldom meant. They are logged while the
// configuration is provisioned, so that caddy validate shows them, too.
func (a *App) warnings() []string {
	var all []string
	if len(a.Regions) == 0 && len(a.Subscriptions) > 0 {
		all = append(all, "no region is declared: the kernel chooses the address that deliveries leave from, and receivers cannot rely on it; add: region <name> <ip>")
	}
	for _, r := range a.Regions {
		all = append(all, r.idle(time.Now())...)
		all = append(all, r.warnings...)
	}
	if s, ok := a.opener.(interface{ warnings() []string }); ok {
		all = append(all, s.warnings()...)
	}
	if a.Defaults != nil {
		for _, text := range a.Defaults.warnings() {
			all = append(all, "defaults: "+text)
		}
	}
	for _, s := range a.Subscriptions {
		texts := append(s.Settings.warnings(), a.undeclared(s)...)
		if len(s.effective.signers) == 0 {
			texts = append(texts, "deliveries are not signed, so that the receiver cannot tell them from forged ones; add: sign standard {file./path/to/secret}")
		}
		for _, text := range texts {
			all = append(all, fmt.Sprintf("subscription %q: %s", s.Name, text))
		}
	}
	return all
}

// warnings are about secrets that can be seen.
func (s *Settings) warnings() []string {
	all := append(s.guestWarnings, headerWarnings(s.Header, s.SecretHeader)...)
	if s.WaitFor != nil {
		if len(s.WaitFor.SecretHeader) > 0 && strings.HasPrefix(strings.ToLower(s.WaitFor.URL), "http://") {
			all = append(all, "wait_for: the URL is not https: whoever is on the way can read what secret_header holds")
		}
		for _, text := range headerWarnings(s.WaitFor.Header, s.WaitFor.SecretHeader) {
			all = append(all, "wait_for: "+text)
		}
	}
	return all
}

func headerWarnings(header []HeaderChange, secret []SecretHeader) (all []string) {
	for _, h := range header {
		if relay.HoldsCredentials(h.Field) && headerOps[h.Op] != '-' {
			all = append(all, fmt.Sprintf("header %s: the value is not masked; write: secret_header %s <value>", h.Field, h.Field))
		}
	}
	for _, h := range secret {
		if !hasSecretPlaceholder(h.Value) {
			all = append(all, fmt.Sprintf("secret_header %s: %s", h.Field, literalWarning))
		}
	}
	return all
}
